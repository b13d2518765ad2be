//! What `GitOps` tools do every day, with their field managers, on a real API server: none of it reaches the directory. And the repository
//! layout of examples/gitops, from a copy to an applied reset.
use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::support::{
    ANNETTE, SYSTEM, Setup, Site, TEAM, blocks, condition, merge, message, password_reset, path, text, time, wait_for,
};

const LAYOUT: &str = "examples/gitops";
const FLUX: &str = "kustomize-controller";
const PIPELINE: &str = "system:serviceaccount:helpdesk:credreset-pipeline";
const ARGO_CD: &str = "argocd-controller";

/// As Flux and Argo CD apply: server-side, taking over whatever another manager holds. `more` are flags.
fn sync(site: &Site, manager: &str, manifests: &str, more: &[&str]) -> Result<String, String> {
    let manager = format!("--field-manager={manager}");
    let mut arguments = vec!["apply", "--server-side", &manager, "-f", "-"];
    arguments.extend(more);
    let output = site.try_kubectl(&arguments, manifests);
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn with(manifest: &str, patch: Value) -> String {
    let mut object: Value = serde_json::from_str(manifest).unwrap();
    merge(&mut object, patch);
    object.to_string()
}

#[test]
fn habits_of_tools_send_nothing_twice() {
    const FORCE: &[&str] = &["--force-conflicts"];
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let annette = "annette.c@zylker.biz";
    let manifest = password_reset("annette", annette, json!({"metadata": {"labels": {"team": "helpdesk"}}}));
    let calls = || site.sandbox.count("reset-password");

    // A dry run of the whole set, which Flux makes before every sync: nothing is created, nothing is sent.
    let others = ["first", "second"].map(|name| password_reset(name, annette, json!({}))).join("\n---\n");
    let set = format!("{manifest}\n---\n{others}");
    let printed = sync(&site, FLUX, &set, &["--dry-run=server"]).unwrap();
    assert_eq!(printed.matches("serverside-applied (server dry run)").count(), 3, "{printed}");
    assert!(site.get(&["creset", "-n", TEAM])["items"].as_array().unwrap().is_empty());

    sync(&site, FLUX, &manifest, FORCE).unwrap();
    let applied = site.until("annette", "Applied");
    assert_eq!(calls(), 1);
    // What the operator writes has its name.
    for what in [
        &["creset", "-n", TEAM, "annette"][..],
        &["secret", "-n", TEAM, "annette-password"],
        &["crecord", "-n", SYSTEM, applied["status"]["record"].as_str().unwrap()],
        &["lease", "-n", SYSTEM, "credreset"],
        &["directory", "zylker"],
    ] {
        let object = site.get(&[what, &["--show-managed-fields"]].concat());
        let managers = object["metadata"]["managedFields"].as_array().unwrap().iter().map(|m| &m["manager"]);
        let others = [FLUX, "kubectl-client-side-apply", "kubectl-create"];
        let mut names: BTreeSet<&str> = managers.map(|name| name.as_str().unwrap()).collect();
        names.retain(|name| !others.contains(name));
        assert_eq!(names, BTreeSet::from(["credreset"]), "{what:?}");
    }

    // The same again by another tool, by hand, and by `replace`: one object, with more managers.
    for manager in [FLUX, ARGO_CD, "kubectl"] {
        sync(&site, manager, &manifest, FORCE).unwrap();
    }
    let output = site.try_kubectl(&["replace", "-f", "-"], &manifest);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A field that another manager holds is a conflict, unless it is taken over; then only a label changes.
    let relabelled = with(&manifest, json!({"metadata": {"labels": {"team": "servicedesk"}}}));
    let conflict = sync(&site, "another-manager", &relabelled, &[]).unwrap_err();
    assert!(
        conflict.contains("conflict") && conflict.contains(FLUX) && conflict.contains(".metadata.labels.team"),
        "{conflict}"
    );
    sync(&site, ARGO_CD, &relabelled, FORCE).unwrap();
    let now = site.reset("annette");
    assert_eq!(now["metadata"]["labels"]["team"], "servicedesk");
    assert_eq!((&now["metadata"]["uid"], &now["status"]), (&applied["metadata"]["uid"], &applied["status"]));

    // An edited file is refused, in the dry run already, and the message names the request and what to do. So is the same time in
    // other letters: each accepted edit is a generation that the operator has not seen.
    let edited = with(&manifest, json!({"spec": {"password": {"forceChangeOnLogin": false}}}));
    let respelt = |from: &str, to: &str| {
        assert!(manifest.contains(from), "{manifest}");
        manifest.replace(from, to)
    };
    let asked = now["spec"]["requestedAt"].as_str().unwrap().strip_suffix('Z').unwrap();
    for (manifests, more) in [
        (format!("{edited}\n---\n{others}"), &["--dry-run=server", "--force-conflicts"][..]),
        (edited.clone(), FORCE),
        (respelt(&format!("{asked}Z"), &format!("{asked}+00:00")), FORCE),
        (respelt(&format!("{asked}Z"), &format!("{asked}-00:00")), FORCE),
        (with(&manifest, json!({"spec": {"validFor": "1440m"}})), FORCE),
    ] {
        let refused = sync(&site, FLUX, &manifests, more).unwrap_err();
        assert!(refused.contains(r#"The CredentialReset "annette" is invalid"#), "{refused}");
        assert!(refused.contains("a request never changes: file a new one under another name"), "{refused}");
    }
    // Numbers have one form when they are stored.
    let _ = sync(&site, FLUX, &respelt("\"length\":20", "\"length\":20.0"), FORCE);
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", "-n", TEAM, "creset/annette"]);
    assert_eq!(site.reset("annette")["metadata"]["generation"], 1);
    // What Flux with `force: true` does then: deletes and creates. The ledger knows that very request, with other flags.
    site.delete("annette");
    sync(&site, FLUX, &edited, FORCE).unwrap();
    let msg = message(&site.until("annette", "ConflictingRequest"));
    assert_eq!((calls(), site.sandbox.user(ANNETTE)["passwordResets"].as_u64()), (1, Some(1)), "{msg}");

    // Hooks, `Replace=true` with `Force=true`, and habits of people: deleted and applied again at every sync.
    let mut uids = BTreeSet::new();
    for round in 0..20 {
        let manager = if round % 2 == 0 { FLUX } else { ARGO_CD };
        site.delete("annette");
        sync(&site, manager, &manifest, FORCE).unwrap();
        let again = site.until("annette", "AlreadyApplied");
        assert_eq!(again["status"]["outcome"], "Applied");
        uids.insert(again["metadata"]["uid"].to_string());
        assert_eq!(calls(), 1, "round {round}");
    }
    assert_eq!(uids.len(), 20);
    // The last file is removed: the object goes, what was done stays done, and the password stays delivered.
    site.delete("annette");
    assert_eq!(site.sandbox.sign_in(annette, &site.secret(TEAM, "annette-password", "password")), "must-change");
    assert_eq!((calls(), site.records().len()), (1, 1));
}

/// An older or loosened definition lets an edit through that changes nothing. The status follows the generation.
#[test]
fn settled_request_takes_over_a_generation() {
    let site = Site::start();
    if !site.is_own() {
        return; // it changes a kind
    }
    site.usual_directory();
    let operator = site.operator();
    let email = "annette.c@zylker.biz";
    site.apply(&password_reset("annette", email, json!({})));
    site.apply(&password_reset("other", "hiro.t@zylker.biz", json!({"spec": {"requestedAt": time(-2)}})));
    site.apply(&password_reset("waits", email, json!({"spec": {"directory": "later"}})));
    site.until("annette", "Applied");
    site.until("other", "Applied");
    site.until("waits", "DirectoryMissing");
    let rules = r#"[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"}]"#;
    site.kubectl(&["patch", "crd", "credentialresets.credreset.dev", "--type=json", "-p", rules]);
    let edit = |name: &str, spec: Value| {
        let patch = json!({ "spec": spec }).to_string();
        let patch = ["patch", "creset", "-n", TEAM, name, "--type=merge", "-p", &patch];
        wait_for("the kind", || site.try_kubectl(&patch, "").status.success().then_some(()));
    };
    let respelt = |name: &str| {
        let asked = site.reset(name)["spec"]["requestedAt"].as_str().unwrap().replace('Z', "+00:00");
        edit(name, json!({ "requestedAt": asked }));
    };
    let seen = |name: &str| {
        site.kubectl(&[
            "wait",
            "--for=jsonpath={.status.observedGeneration}=2",
            "--timeout=600s",
            "-n",
            TEAM,
            &format!("creset/{name}"),
        ]);
        let object = site.reset(name);
        assert_eq!(object["metadata"]["generation"], 2);
        for condition in object["status"]["conditions"].as_array().unwrap() {
            assert_eq!(condition["observedGeneration"], 2);
        }
        object
    };
    respelt("annette");
    assert_eq!(seen("annette")["status"]["outcome"], "Applied");
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=10s", "-n", TEAM, "creset/annette"]);
    respelt("waits");
    assert_eq!(condition(&seen("waits"), "Ready").unwrap().1, "DirectoryMissing");
    // A request for something else was not carried out, and is not reported so. While no operator runs, the other is not handled either.
    assert_eq!(operator.stop(), Some(0));
    edit("other", json!({"password": {"forceChangeOnLogin": false}}));
    site.delete("waits");
    site.apply(&password_reset(
        "waits",
        "hiro.t@zylker.biz",
        json!({"spec": {"requestedAt": time(-3), "directory": "zylker"}}),
    ));
    let _operator = site.operator();
    site.until("waits", "Applied");
    let other = site.reset("other");
    assert_eq!((&other["metadata"]["generation"], &other["status"]["observedGeneration"]), (&json!(2), &json!(1)));
    assert_eq!(site.sandbox.count("reset-password"), 3);
}

/// The README's own commands, in a clone with the provider changed, as Flux and as Argo CD.
#[test]
fn layout_is_copied_and_a_reset_settles() {
    let site = Site::with(&Setup { sandbox: ["--users", "20"].map(str::to_owned).to_vec(), ..Setup::default() });
    if !site.is_own() {
        println!("the layout's account and roles are made only where the API server is our own");
        return;
    }
    let copy = site.dir.join("repository");
    let layout = path(LAYOUT);
    let clone = format!(
        "export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
        git init -q -b main work; cp -r {}/. work; git -C work add -A
        git -C work -c user.name=olga -c user.email=olga@zylker.biz commit -q -m layout
        git init -q -b main --bare repository.git; git -C work push -q ../repository.git main; git clone -q repository.git repository",
        layout.display()
    );
    site.shell(&site.dir, &clone);
    // The first of the three things to change.
    let sandbox = text("examples/zoho-sandbox/directory.yaml").replace("http://127.0.0.1:8090", &site.sandbox.url);
    let sandbox: Vec<Value> = serde_saphyr::from_multiple(&sandbox).unwrap();
    site.apply(&sandbox[0].to_string());
    let file = copy.join("directories/zylker.yaml");
    let mut directory: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    directory["spec"]["provider"] = sandbox[1]["spec"]["provider"].clone();
    fs::write(&file, directory.to_string()).unwrap();

    let _operator = site.operator();
    let commands = blocks("examples/gitops/README.md", "sh").concat();
    let shown = site.shell(&copy, &commands);
    assert!(shown.contains("annette.c@zylker.biz"), "{shown}");
    assert_eq!(site.reset("annette-locked-out")["status"]["outcome"], "Applied");
    let password = site.secret(TEAM, "annette-password", "password");
    assert_eq!(site.sandbox.sign_in("annette.c@zylker.biz", &password), "must-change");

    // The next pull request, in a repository that Argo CD syncs, too: the first reset is as it was.
    let first = fs::read_to_string(copy.join("resets/annette-locked-out.yaml")).unwrap();
    let next = text("examples/gitops/resets/annette-locked-out.yaml")
        .replace("annette.c@zylker.biz", "user0001@zylker.biz")
        .replace("annette", "user1");
    fs::create_dir(copy.join("resets/2026")).unwrap();
    fs::write(copy.join("resets/2026/user1-locked-out.yaml"), next).unwrap();
    let again = commands.replace(FLUX, ARGO_CD).replace("resets/annette", "resets/2026/annette");
    let shown = site.shell(&copy, &again.replace("annette-locked-out", "user1-locked-out"));
    assert!(shown.contains("user0001@zylker.biz"), "{shown}");
    for name in ["annette-locked-out", "user1-locked-out"] {
        assert_eq!(site.reset(name)["status"]["outcome"], "Applied", "{name}");
    }
    assert_eq!(fs::read_to_string(copy.join("resets/annette-locked-out.yaml")).unwrap(), first);
    assert_eq!(site.sandbox.count("reset-password"), 2);

    // Argo CD's configuration before: the chart's script, among other scripts.
    site.kubectl(&["create", "namespace", "argocd"]);
    let settings = ["configmap", "-n", "argocd", "argocd-cm"];
    site.kubectl(&[&["create"], &settings[..], &["--from-literal=url=https://argocd.zylker.biz"]].concat());
    site.shell(&path("charts/credreset/files"), &blocks("examples/gitops/README.md", "sh argocd-cm").concat());
    let data = site.get(&settings)["data"].clone();
    for kind in ["CredentialReset", "Directory"] {
        let script = &data[format!("resource.customizations.health.credreset.dev_{kind}")];
        assert_eq!(script, &text("charts/credreset/files/health.lua"));
    }
    assert_eq!(data["url"], "https://argocd.zylker.biz");

    // A Secret that kustomize makes gets another name, of which the request knows nothing.
    let names = |options: Value| {
        let generator = json!({"secretGenerator": [{"name": "chosen", "literals": ["password=x"], "options": options}], "resources": ["reset.yaml"]});
        let folder = site.dir.join("generated");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("kustomization.yaml"), generator.to_string()).unwrap();
        let from = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": "chosen"}});
        fs::write(folder.join("reset.yaml"), password_reset("x", "x@y.example", json!({"spec": {"password": from}})))
            .unwrap();
        let built: Vec<Value> =
            serde_saphyr::from_multiple(&site.kubectl(&["kustomize", folder.to_str().unwrap()])).unwrap();
        let of = |kind: &str| built.iter().find(|object| object["kind"] == kind).unwrap().clone();
        (
            of("Secret")["metadata"]["name"].clone(),
            of("CredentialReset")["spec"]["password"]["fromSecret"]["name"].clone(),
        )
    };
    let (made, asked) = names(json!({}));
    assert!(made.as_str().unwrap().starts_with("chosen-") && asked == "chosen", "{made} {asked}");
    assert_eq!(names(json!({"disableNameSuffixHash": true})), (json!("chosen"), json!("chosen")));

    // Whatever else is merged into resets/ is refused.
    let role = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": TEAM}});
    let refused = sync(&site, FLUX, &role.to_string(), &[&format!("--as={PIPELINE}")]).unwrap_err();
    assert!(refused.contains("Forbidden") && refused.contains("cannot patch resource \"configmaps\""), "{refused}");
}

/// All objects of a folder of the layout.
fn objects(folder: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path(LAYOUT).join(folder)).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "yaml") {
            all.extend(serde_saphyr::from_multiple::<Value>(&fs::read_to_string(entry.path()).unwrap()).unwrap());
        }
    }
    all
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// What the layout's own objects name is there: folders, accounts, namespaces, one another.
#[test]
fn layout_hangs_together() {
    let [directories, resets] = ["directories", "resets"].map(objects);
    let account = named(&directories, "ServiceAccount", "credreset-pipeline");
    let directory = named(&directories, "Directory", "zylker");
    for reset in &resets {
        assert_eq!(reset["kind"], "CredentialReset");
        assert_eq!(reset["metadata"]["namespace"], account["metadata"]["namespace"]);
        assert_eq!(reset["spec"]["directory"], directory["metadata"]["name"]);
        assert!(directory["spec"]["allow"][0]["namespaces"].as_array().unwrap().contains(&json!(TEAM)));
    }
    let role = named(&directories, "ClusterRole", "credreset-pipeline-zylker");
    assert_eq!(role["rules"][0]["resourceNames"], json!([directory["metadata"]["name"]]));
    assert_eq!(role["rules"][0]["verbs"], json!(["use"]));

    let cluster = objects("flux/cluster");
    for kustomization in cluster.iter().filter(|object| object["kind"] == "Kustomization") {
        let spec = &kustomization["spec"];
        assert!(path(LAYOUT).join(spec["path"].as_str().unwrap()).is_dir(), "{spec}");
        assert!(spec["force"].is_null(), "it would delete what is refused, and create it again");
        for needed in spec["dependsOn"].as_array().into_iter().flatten() {
            let other = named(&cluster, "Kustomization", needed["name"].as_str().unwrap());
            let namespace = if needed["namespace"].is_null() { &kustomization["metadata"] } else { needed };
            assert_eq!(other["metadata"]["namespace"], namespace["namespace"]);
        }
    }
    let flux = named(&cluster, "Kustomization", "credreset-resets");
    // Flux looks for the account where the Kustomization is.
    assert_eq!(flux["metadata"]["namespace"], account["metadata"]["namespace"]);
    assert_eq!(flux["spec"]["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!((&flux["spec"]["wait"], &flux["spec"]["prune"]), (&json!(true), &json!(true)));
    assert!(flux["spec"]["commonMetadata"].is_null(), "of what it skips Flux does not look at the health");
    let charts = objects("flux/operator");
    for release in charts.iter().filter(|object| object["kind"] == "HelmRelease") {
        named(&charts, "OCIRepository", release["spec"]["chartRef"]["name"].as_str().unwrap());
    }
    // The image comes from where the charts are.
    let release = named(&charts, "HelmRelease", "credreset");
    let registry = named(&charts, "OCIRepository", "credreset")["spec"]["url"].as_str().unwrap();
    let image = release["spec"]["values"]["image"]["repository"].as_str().unwrap();
    assert_eq!(registry.strip_prefix("oci://").unwrap().split('/').next(), image.split('/').next());

    let argo_cd = objects("argocd");
    for application in argo_cd.iter().filter(|object| object["kind"] == "Application") {
        let spec = &application["spec"];
        let folder = spec["source"]["path"].as_str();
        assert!(folder.is_none_or(|folder| path(LAYOUT).join(folder).is_dir()), "{spec}");
        for option in spec["syncPolicy"]["syncOptions"].as_array().unwrap() {
            assert!(!["Replace=true", "Force=true"].contains(&option.as_str().unwrap()), "deletes and creates again");
        }
    }
    let operator = named(&argo_cd, "Application", "credreset");
    assert_eq!(operator["spec"]["source"]["helm"]["valuesObject"]["image"]["repository"], image);
    let application = named(&argo_cd, "Application", "credreset-resets");
    assert_eq!(application["spec"]["source"]["directory"]["recurse"], true);
    assert_eq!(application["spec"]["syncPolicy"]["retry"]["limit"], -1);
    let project = named(&argo_cd, "AppProject", application["spec"]["project"].as_str().unwrap());
    assert_eq!(project["spec"]["destinations"], json!([application["spec"]["destination"]]));
    assert_eq!(project["spec"]["sourceRepos"], json!([application["spec"]["source"]["repoURL"]]));
    let impersonated = &project["spec"]["destinationServiceAccounts"][0];
    assert_eq!(impersonated["namespace"], account["metadata"]["namespace"]);
    assert_eq!(impersonated["defaultServiceAccount"], account["metadata"]["name"]);
    for tool in [&cluster, &argo_cd] {
        for name in ["credreset-system", TEAM] {
            named(tool, "Namespace", name);
        }
    }
}
