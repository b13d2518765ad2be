//! docs/install.md, followed on clusters that have nothing yet.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::support::{Cluster, SYSTEM, Setup, Site, TEAM, blocks, path, text, wait_for};

const PAGE: &str = "docs/install.md";

/// A site without anything; `None` on a foreign cluster, where this would be in others' way.
fn empty() -> Option<Site> {
    let site = Site::with(&Setup { cluster: Cluster::Empty, ..Setup::default() });
    site.is_own().then_some(site)
}

/// Types what a page has, where the project's files are; returns what it prints.
fn typed(site: &Site, blocks: Vec<String>) -> String {
    site.shell(&path("."), &blocks.concat())
}

/// With a Directory and an operator, the page's last commands find nothing wrong.
fn works(site: &Site) {
    site.usual_directory();
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let shown = typed(site, blocks("docs/install.md", "sh see"));
    for part in ["client    ", "leader    op/", "zylker   True    Connected", "\nall checks passed"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}

/// What a role lets its holders read, and what it lets them write.
type Rights = [BTreeSet<String>; 2];

/// The rows of the page's table of roles.
fn roles_of_the_page() -> BTreeMap<String, Rights> {
    let page = text(PAGE);
    let rows = page.lines().filter(|line| line.starts_with("| ClusterRole `") || line.starts_with("| Role `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [role, _, reads, writes, _] = cells[..] else { panic!("not five cells: {row}") };
        let rights: Rights =
            [reads, writes].map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect());
        (role.replace('`', ""), rights)
    })
    .collect()
}

/// The same, as the API server has them; and the verbs on Directories that are granted by name.
fn roles_of_the_cluster(site: &Site) -> (BTreeMap<String, Rights>, BTreeSet<String>) {
    let (mut roles, mut verbs_by_name) = (BTreeMap::new(), BTreeSet::new());
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    for role in site.get(&["clusterroles,roles", "-A"])["items"].as_array().unwrap() {
        let name = role["metadata"]["name"].as_str().unwrap();
        if !name.starts_with("credreset") {
            continue;
        }
        let mut rights = Rights::default();
        let mut by_name = false;
        for rule in role["rules"].as_array().unwrap() {
            let verbs = words(&rule["verbs"]);
            if words(&rule["resourceNames"]) == ["zylker"] {
                by_name = true;
                verbs_by_name.extend(verbs);
                continue;
            }
            for verb in verbs {
                let writes = match verb.as_str() {
                    "get" | "list" | "watch" => 0,
                    "create" | "update" | "patch" | "delete" => 1,
                    other => panic!("{name}: {other}"),
                };
                rights[writes].extend(words(&rule["resources"]));
            }
        }
        if !by_name {
            roles.insert(format!("{} {name}", role["kind"].as_str().unwrap()), rights);
        }
    }
    (roles, verbs_by_name)
}

#[test]
fn installed_with_helm_and_roles_as_the_page_has_them() {
    let Some(site) = empty() else { return };
    let values = site.dir.join("values.yaml");
    fs::write(&values, blocks("docs/install.md", "yaml values").concat()).unwrap();
    let commands = blocks("docs/install.md", "sh helm").concat().replace("values.yaml", values.to_str().unwrap());
    let notes = typed(&site, vec![commands]);
    assert!(notes.contains(&format!("Passwords are delivered in: {TEAM}")), "{notes}");
    typed(&site, blocks("docs/install.md", "sh roles"));
    let (roles, verbs) = roles_of_the_cluster(&site);
    assert_eq!(roles, roles_of_the_page(), "left: the cluster's, right: {PAGE}");
    assert_eq!(verbs, BTreeSet::from(["approve", "get", "settle", "use"].map(str::to_owned)));

    // Each group may do its own work, and not another's.
    for (group, verb, what, namespace, may) in [
        ("helpdesk-staff", "create", "credentialresets.credreset.dev", TEAM, true),
        ("helpdesk-staff", "use", "directories.credreset.dev/zylker", TEAM, true),
        ("helpdesk-staff", "get", "directories.credreset.dev/zylker", TEAM, true),
        ("helpdesk-staff", "get", "secrets", TEAM, true),
        ("helpdesk-staff", "get", "secrets", SYSTEM, false),
        ("helpdesk-staff", "create", "credentialresetapprovals.credreset.dev", TEAM, false),
        ("helpdesk-leads", "create", "credentialresetapprovals.credreset.dev", TEAM, true),
        ("helpdesk-leads", "approve", "directories.credreset.dev/zylker", TEAM, true),
        ("helpdesk-leads", "settle", "directories.credreset.dev/zylker", TEAM, true),
        ("helpdesk-leads", "create", "credentialresetsettlements.credreset.dev", SYSTEM, true),
        ("helpdesk-leads", "list", "credentialresets.credreset.dev", "default", true),
        ("helpdesk-leads", "create", "credentialresets.credreset.dev", TEAM, false),
        ("helpdesk-leads", "get", "secrets", TEAM, false),
        ("auditors", "list", "credentialresetrecords.credreset.dev", SYSTEM, true),
        ("auditors", "list", "credentialresets.credreset.dev", TEAM, false),
        ("identity-admins", "update", "directories.credreset.dev", TEAM, true),
        ("identity-admins", "get", "secrets", SYSTEM, false),
    ] {
        let group = format!("--as-group={group}");
        let question = ["auth", "can-i", verb, what, "-n", namespace, "--as=olga@zylker.biz", &group];
        let answer = || site.try_kubectl(&question, "").status.success();
        if may {
            wait_for("RBAC to be taken up", || answer().then_some(()));
        } else {
            assert!(!answer(), "{question:?}");
        }
    }
    works(&site);
}

#[test]
fn installed_from_manifests() {
    let Some(site) = empty() else { return };
    typed(&site, blocks("docs/install.md", "sh manifests"));
    works(&site);
}
