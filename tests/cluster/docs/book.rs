//! What pages show is so: the API server takes their manifests, and sessions go as they are printed.
use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Site, TEAM, blocks, fences, gist, kubeconfig_of, merge, pages, password_reset, path, wait_for};

const SET: [&str; 4] = ["apply", "--server-side", "--force-conflicts", "--validate=strict"];
/// The request that both pages show, and its Secret.
const NAME: &str = "annette-locked-out";
const SECRET: &str = "annette-password";

#[test]
fn manifests_and_sessions_of_the_book() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    manifests(&site);
    readme(&site);
    site.delete(NAME);
    site.kubectl(&["delete", "secret", "-n", TEAM, SECRET]);
    approvals(&site);
}

/// As kubectl sends it. Pages of directories show parts of a Directory's: each with those before it.
fn manifests(site: &Site) {
    let take = |page: &str, object: &Value| {
        let output = site.try_kubectl(&[&SET[..], &["--dry-run=server", "-f", "-"]].concat(), &object.to_string());
        assert!(output.status.success(), "{page}: {}\n{object:#}", String::from_utf8_lossy(&output.stderr));
    };
    let mut taken = 0;
    // Those of approvals are applied below.
    for page in pages().iter().filter(|page| *page != "docs/approvals.md") {
        let head = json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": "shown"}});
        let mut directory = head;
        for (_, block) in fences(page).into_iter().filter(|(kind, _)| kind == "yaml") {
            for document in serde_saphyr::from_multiple::<Value>(&block).unwrap() {
                if document["kind"] == "Directory" {
                    directory = document;
                    // Another than that of the operator.
                    directory["metadata"]["name"] = json!("shown");
                    take(page, &directory);
                } else if document["kind"].is_null() {
                    merge(&mut directory, document);
                    take(page, &directory);
                } else {
                    take(page, &document);
                }
                taken += 1;
            }
        }
    }
    assert!(taken >= 6, "{taken} manifests");
    for folder in ["active-directory", "keycloak", "openldap", "zoho-sandbox"] {
        let folder = path("examples").join(folder);
        site.kubectl(&[&SET[..], &["--dry-run=server", "-f", folder.to_str().unwrap()]].concat());
    }
}

/// Types what stands behind each `$`, and sees what stands below it, in that order.
fn session(site: &Site, who: &Path, shown: &str, answers: &str) {
    for step in format!("\n{shown}").split("\n$ ").skip(1) {
        let (command, below) = step.split_once('\n').unwrap_or((step, ""));
        let printed = site.terminal(who, command, answers);
        let all = gist(&printed);
        let mut rest = all.as_str();
        for line in below.lines() {
            // What is typed ahead a terminal shows at once, and not behind the question.
            let line = line.replace("[y/N] y", "[y/N]");
            let wanted = gist(line.split("...").next().unwrap());
            let at = rest.find(&wanted);
            let at = at.unwrap_or_else(|| panic!("{line:?} ({wanted}) is not there, or not then:\n{printed}\n{all}"));
            rest = &rest[at + wanted.len()..];
        }
    }
}

/// The time of writing, as a request has it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%FT%TZ").to_string()
}

/// Its manifest, and the same again.
fn readme(site: &Site) {
    let manifest = blocks("README.md", "yaml").concat().replace("2026-11-24T09:00:00Z", &now());
    let folder = site.dir.join("readme");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("password.yaml"), &manifest).unwrap();
    site.apply(&manifest);
    let shown = blocks("README.md", "console kubectl").concat();
    let shown = shown.replace("password.yaml", folder.join("password.yaml").to_str().unwrap());
    session(site, site.kubeconfig(), &shown, "");
    assert_eq!(site.sandbox.count("reset-password"), 1);
}

/// A rule that asks for approvals, the roles of those who give them, and both ways to give one.
fn approvals(site: &Site) {
    site.guarded();
    let all = blocks("docs/approvals.md", "yaml");
    let [rule, roles, approval] = &all[..] else { panic!("{all:?}") };
    let output = site.try_kubectl(&[&SET[..], &["-f", "-"]].concat(), rule);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.apply_own(serde_saphyr::from_multiple(roles).unwrap());

    let asked = |name: &str, email: &str, secret: &str| {
        let spec = json!({
            "requestedAt": now(), "requestedBy": "hana@zylker.biz",
            "reason": "Locked out, identity checked by phone, HELP-4711", "password": {"deliverTo": {"secret": secret}},
        });
        site.apply(&password_reset(name, email, json!({ "spec": spec })));
        site.until(name, "AwaitingApproval")["status"]["digest"].clone()
    };
    asked(NAME, "annette.c@zylker.biz", SECRET);
    let digest = asked("jan-locked-out", "jan.n@zylker.biz", "jan-password");

    let olga = ["--as=olga@zylker.biz", "--as-group=helpdesk-leads"];
    for right in [
        &["create", "credentialresetapprovals.credreset.dev", "-n", TEAM][..],
        &["approve", "directories.credreset.dev/zylker"],
    ] {
        wait_for("RBAC to be taken up", || {
            let output = site.try_kubectl(&[&["auth", "can-i"], right, &olga].concat(), "");
            output.status.success().then_some(())
        });
    }
    let file = kubeconfig_of(site, "olga@zylker.biz");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    config["users"][0]["user"]["as-groups"] = json!(["helpdesk-leads"]);
    fs::write(&file, config.to_string()).unwrap();
    session(site, &file, &blocks("docs/approvals.md", "console").concat(), "y\n");
    site.until(NAME, "Applied");

    let mut approval: Value = serde_saphyr::from_str(approval).unwrap();
    let user = site.reset("jan-locked-out")["status"]["user"]["id"].clone();
    merge(&mut approval, json!({"spec": {"request": "jan-locked-out", "digest": digest, "user": user}}));
    let output = site.try_kubectl(&[&["create", "-f", "-"], &olga[..]].concat(), &approval.to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.until("jan-locked-out", "Applied");
    assert_eq!(site.sandbox.count("reset-password"), 3);
}
