//! The charts, with helm itself.
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{
    Cluster, SYSTEM, Setup, Site, TEAM, blocks, helm, mfa_reset, password_reset, path, template, template_of, text,
    wait_for,
};

fn all_output(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// examples/install.yaml is what the chart makes with the values that the README names.
#[test]
fn installed_without_helm() {
    let mut command = Command::new(helm());
    command.args(["template", "credreset", "--skip-tests", "--namespace", SYSTEM, "--set", "namespaces={helpdesk}"]);
    let output = command.arg(path("charts/credreset")).output().unwrap();
    assert!(output.status.success(), "{}", all_output(&output));
    let file = path("examples/install.yaml");
    let before = text("examples/install.yaml");
    let (head, shown) = before.split_once('\n').unwrap();
    let made = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("CREDRESET_UPDATE").is_some() {
        std::fs::write(&file, format!("{head}\n{made}")).unwrap();
    }
    assert_eq!(shown, made, "CREDRESET_UPDATE=1 writes {} anew", file.display());
}

fn of<'a>(all: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    all.iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name)
}

#[test]
fn values_do_what_they_say_and_nonsense_is_refused() {
    for folder in ["charts/credreset-crds", "charts/credreset"] {
        let output = Command::new(helm()).args(["lint", "--strict"]).arg(path(folder)).output().unwrap();
        assert!(output.status.success(), "{}", all_output(&output));
    }
    let plain = template(&[]).unwrap();
    assert!(of(&plain, "NetworkPolicy", "credreset").is_some() && of(&plain, "Role", "credreset-passwords").is_none());
    assert!(of(&plain, "ConfigMap", "credreset-argocd-health").is_none());
    let all = template(&[
        r#"namespaces=["helpdesk","branch"]"#,
        r#"access=[{"directory":"zylker","verbs":["use","vouch"],"subjects":[{"kind":"ServiceAccount","name":"flux","namespace":"x"}]}]"#,
        r#"directories={"zylker":{"provider":{"keycloak":{"url":"https://sso.example","realm":"r","credentials":{"secret":"s"}}}}}"#,
        "networkPolicy.enabled=false",
        "argocd.health=true",
        r#"admission.writers=["system:serviceaccount:velero:velero"]"#,
        r#"imagePullSecrets=[{"name":"registry"}]"#,
        r#"nodeSelector={"a":"b"}"#,
        r#"tolerations=[{"key":"a","operator":"Exists"}]"#,
        "operator.grace=60",
        "operator.keepRecords=400",
        r#"image.tag="v9""#,
    ])
    .unwrap();
    assert!(of(&all, "NetworkPolicy", "credreset").is_none());
    assert_eq!(all.iter().filter(|d| d["kind"] == "Role" && d["metadata"]["name"] == "credreset-passwords").count(), 2);
    let access = of(&all, "ClusterRole", "credreset-use-vouch-zylker-0").unwrap();
    assert_eq!(access["rules"][0]["resourceNames"], json!(["zylker"]));
    assert_eq!(of(&all, "Directory", "zylker").unwrap()["spec"]["provider"]["keycloak"]["realm"], "r");
    let health = of(&all, "ConfigMap", "credreset-argocd-health").unwrap();
    let script = health["data"]["resource.customizations.health.credreset.dev_CredentialReset"].as_str().unwrap();
    assert_eq!(script.trim(), text("charts/credreset/files/health.lua").trim());
    let kept = &of(&all, "Directory", "zylker").unwrap()["metadata"]["annotations"];
    assert_eq!(kept, &json!({"helm.sh/resource-policy": "keep"}));
    let records = of(&all, "ValidatingAdmissionPolicy", "credreset-records").unwrap();
    let expression = records["spec"]["validations"][0]["expression"].as_str().unwrap();
    assert!(expression.contains("'system:serviceaccount:velero:velero'"), "{expression}");
    let pod = &of(&all, "Deployment", "credreset").unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 70);
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
    assert!(pod["containers"][0]["image"].as_str().unwrap().ends_with(":v9"));
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let pinned = template(&[&format!(r#"image.digest="{digest}""#)]).unwrap();
    let pod = &of(&pinned, "Deployment", "credreset").unwrap()["spec"]["template"]["spec"];
    assert!(pod["containers"][0]["image"].as_str().unwrap().ends_with(&format!("@{digest}")), "{pod}");
    let pod = &of(&all, "Deployment", "credreset").unwrap()["spec"]["template"]["spec"];
    let help = Command::new(env!("CARGO_BIN_EXE_credreset")).args(["run", "--help"]).output().unwrap();
    for variable in pod["containers"][0]["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(all_output(&help).contains(&format!("[env: {name}=")), "{name} is not a setting of credreset run");
    }
    for (value, kind, name) in [
        ("serviceMonitor", "ServiceMonitor", "credreset"),
        ("rules", "PrometheusRule", "credreset"),
        ("dashboard", "ConfigMap", "credreset-dashboard"),
    ] {
        assert!(of(&plain, kind, name).is_none() && of(&all, kind, name).is_none(), "{kind} without being asked for");
        let asked = format!("monitoring.{value}.enabled=true");
        let with = template(&[&asked, r#"monitoring.labels={"release":"kps"}"#]).unwrap();
        assert_eq!(with.len(), plain.len() + 1, "{value}");
        let labels = &of(&with, kind, name).unwrap()["metadata"]["labels"];
        let (label, text) = if value == "dashboard" { ("grafana_dashboard", "1") } else { ("release", "kps") };
        assert_eq!((&labels[label], &labels["app.kubernetes.io/name"]), (&json!(text), &json!("credreset")), "{kind}");
    }
    let dashboard = template(&["monitoring.dashboard.enabled=true"]).unwrap();
    let shipped = &of(&dashboard, "ConfigMap", "credreset-dashboard").unwrap()["data"]["credreset.json"];
    assert_eq!(shipped.as_str().unwrap().trim(), text("charts/credreset/files/dashboard.json").trim());
    for nonsense in [
        "replicas=0",
        r#"replicas="two""#,
        "replica=2",
        r#"namespaces="helpdesk""#,
        r#"namespaces=["Help Desk"]"#,
        "operator.concurrency=65",
        r#"operator.logFormat="xml""#,
        r#"access=[{"directory":"zylker","verbs":["impersonate"],"subjects":[{"kind":"User","name":"x"}]}]"#,
        r#"access=[{"verbs":["use"],"subjects":[]}]"#,
        r#"directories={"zylker":{}}"#,
        r#"admission.writers=["x' || true || 'x"]"#,
        r#"admission.writers=["x\ny"]"#,
        "networkPolicy.directoryPorts=[0]",
        r#"monitoring.rules.enabled="yes""#,
        "monitoring.alerts=true",
        r#"monitoring.labels={"release":1}"#,
        "networkPolicy.directoryPorts=[]",
        "networkPolicy.apiServerPorts=[]",
        r#"image.digest="v9""#,
        r#"image.digest="sha256:0123""#,
    ] {
        let printed = template(&[nonsense]).expect_err(nonsense);
        assert!(printed.contains("don't meet the specifications of the schema"), "{nonsense}: {printed}");
    }
}

/// What YAML would take for a number, a truth or nothing stays a name; and lists may be empty or left out.
#[test]
fn names_stay_names() {
    let directory =
        r#"{"provider":{"keycloak":{"url":"https://sso.example","realm":"r","credentials":{"secret":"s"}}}}"#;
    let directories = format!(r#"directories={{"2024":{directory},"on":{directory},"null":{directory}}}"#);
    let access: Vec<Value> = ["2024", "on", "null"]
        .map(|name| json!({"directory": name, "verbs": ["use"], "subjects": [{"kind": "User", "name": name}]}))
        .into();
    let access = format!("access={}", json!(access));
    let names = [r#"namespaces=["2024","on","null"]"#, &directories, &access, r#"admission.writers=["2024","on"]"#];
    for (namespace, values) in [
        ("2024", &names[..]),
        (
            "on",
            &[
                "replicas=1",
                "monitoring.serviceMonitor.enabled=true",
                "monitoring.rules.enabled=true",
                "monitoring.dashboard.enabled=true",
                r#"commonLabels={"cost-centre":"4711","on":"null"}"#,
                r#"podAnnotations={"checked":"true"}"#,
                r#"priorityClassName="2024""#,
                r#"runtimeClassName="null""#,
                r#"monitoring.namespace="on""#,
                r#"monitoring.dashboard.folder="2024""#,
            ],
        ),
        ("null", &["argocd.health=true"]),
        (
            SYSTEM,
            &[
                "namespaces=[]",
                "access=[]",
                "directories={}",
                "admission.writers=[]",
                "imagePullSecrets=[]",
                "tolerations=[]",
            ],
        ),
        (SYSTEM, &["admission.writers=null", "namespaces=null", "access=null", "directories=null"]),
    ] {
        let all = template_of("2024", namespace, values).unwrap();
        for document in &all {
            let metadata = &document["metadata"];
            assert!(metadata["name"].is_string(), "{document}");
            assert!(metadata["namespace"].is_null() || metadata["namespace"].is_string(), "{document}");
            let labels = metadata["labels"].as_object().into_iter().flatten();
            let annotations = metadata["annotations"].as_object().into_iter().flatten();
            assert!(labels.chain(annotations).all(|(_, value)| value.is_string()), "{document}");
            for subject in document["subjects"].as_array().into_iter().flatten() {
                assert!(subject["name"].is_string(), "{document}");
                assert!(subject["namespace"].is_string() || subject["kind"] != "ServiceAccount", "{document}");
            }
            for rule in document["rules"].as_array().into_iter().flatten() {
                let names = rule["resourceNames"].as_array().into_iter().flatten();
                assert!(names.into_iter().all(Value::is_string), "{document}");
            }
        }
        let count =
            |kind: &str, name: &str| all.iter().filter(|d| d["kind"] == kind && d["metadata"]["name"] == name).count();
        assert_eq!(count("Role", "credreset-passwords"), if namespace == "2024" { 3 } else { 0 });
        assert_eq!(count("Directory", "null"), usize::from(namespace == "2024"));
        assert_eq!(count("ConfigMap", "credreset-argocd-health"), usize::from(namespace == "null"));
    }
}

/// The Pod that the Deployment would run is one that the strictest Pod security takes.
fn strict_pod_security(site: &Site) {
    site.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]);
    let deployment = site.get(&["deployment", "-n", SYSTEM, "credreset"]);
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": SYSTEM}});
    pod["spec"] = deployment["spec"]["template"]["spec"].clone();
    let fine = site.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
    let missing = "serviceaccount \"credreset\" not found";
    assert!(fine.status.success() || all_output(&fine).contains(missing), "{}", all_output(&fine));
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let bad = site.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
    assert!(all_output(&bad).contains("violates PodSecurity"), "{}", all_output(&bad));
}

/// helm itself, from nothing to nothing, beside a request that was carried out.
#[test]
fn install_upgrade_rollback_uninstall() {
    // Kubernetes' controllers delete namespaces.
    let site = Site::with(&Setup { cluster: Cluster::Empty, controllers: true, ..Setup::default() });
    if !site.is_own() {
        return;
    }
    let run = |commands: &str| site.shell(&path("."), commands);
    let typed = |blocks: Vec<String>| run(&blocks.concat());
    let notes = typed(blocks("README.md", "sh install"));
    assert!(notes.contains(&format!("Passwords are delivered in: {TEAM}")), "{notes}");

    site.usual_directory();
    let operator = site.operator();
    site.apply(&mfa_reset("one", "annette.c@zylker.biz", json!({})));
    site.until("one", "Applied");
    let directory = r#"directories={"given":{"suspend":true,"provider":{"keycloak":{"url":"https://sso.example","realm":"r","credentials":{"secret":"s"}}}}}"#;
    run(&format!(
        "helm upgrade credreset charts/credreset -n {SYSTEM} --reset-then-reuse-values --set replicas=3 --set-json '{directory}'"
    ));
    let replicas = || site.get(&["deployment", "-n", SYSTEM, "credreset"])["spec"]["replicas"].clone();
    assert_eq!(replicas(), 3);
    strict_pod_security(&site);
    // So is that of `helm test`. There is no node: this is what it would run and report.
    for (operator, phase) in [(operator.url.as_str(), "Succeeded"), ("http://127.0.0.1:1", "Failed")] {
        std::thread::scope(|scope| {
            let test = scope
                .spawn(|| run(&format!("helm test credreset -n {SYSTEM} --timeout 60s && echo fine || echo failed")));
            let pod = wait_for("the test's Pod", || {
                let found = site.try_kubectl(&["get", "pod", "-n", SYSTEM, "credreset-test", "-o", "json"], "");
                let pod: Value = serde_json::from_slice(&found.stdout).ok()?;
                pod["status"]["phase"].as_str().filter(|phase| *phase == "Pending").map(|_| pod.clone())
            });
            let service = site.get(&["service", "-n", SYSTEM, "credreset"]);
            let container = &pod["spec"]["containers"][0];
            let url = format!("http://credreset.{SYSTEM}:{}", service["spec"]["ports"][0]["port"]);
            assert_eq!((&container["command"], &container["args"]), (&Value::Null, &json!(["ready", url])));
            let ran = Command::new(env!("CARGO_BIN_EXE_credreset"))
                .args(["ready", operator, "--timeout", "1"])
                .output()
                .unwrap();
            assert_eq!(ran.status.code(), Some(i32::from(phase == "Failed")), "{}", all_output(&ran));
            if phase == "Failed" {
                let sentence =
                    "credreset: no operator is ready at http://127.0.0.1:1/readyz: no connection could be made";
                assert!(
                    all_output(&ran).starts_with(sentence) && all_output(&ran).lines().count() == 1,
                    "{}",
                    all_output(&ran)
                );
            }
            let status = json!({"status": {"phase": phase}}).to_string();
            site.kubectl(&[
                "patch",
                "pod",
                "-n",
                SYSTEM,
                "credreset-test",
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ]);
            let test = test.join().unwrap();
            assert_eq!(test.ends_with("\nfine\n"), phase == "Succeeded", "{test}");
        });
    }
    // The page's upgrade keeps the values, and its rollback takes back that upgrade alone.
    typed(blocks("docs/operations.md", "sh upgrade"));
    let history = run(&format!("helm history credreset -n {SYSTEM}"));
    assert!(history.contains("Rollback to 2") && replicas() == 3, "{history}");
    run(&format!("helm rollback credreset 1 -n {SYSTEM}"));
    assert_eq!(replicas(), 2);
    assert_eq!(site.get(&["directory", "given"])["spec"]["suspend"], true, "taken out of values, and still there");
    site.apply(&password_reset("two", "jan.n@zylker.biz", json!({})));
    site.until("two", "Applied");
    // Before an older state of etcd comes back: no operator runs, and what is open is shown.
    assert_eq!(operator.stop(), Some(0));
    site.apply(&mfa_reset("open", "kim.l@zylker.biz", json!({})));
    let shown = typed(blocks("docs/operations.md", "sh older-state"));
    let open: Vec<&str> = shown.lines().filter(|line| line.starts_with(TEAM)).collect();
    assert!(open.len() == 1 && open[0].contains(" open ") && replicas() == 0, "{shown}");

    typed(blocks("docs/operations.md", "sh uninstall"));
    run(&format!("helm uninstall credreset-crds -n {SYSTEM}"));
    assert_eq!(
        site.kubectl(&["get", "clusterrole,validatingadmissionpolicy", "-o", "name"]).matches("credreset").count(),
        0
    );
    assert_eq!((site.reset("one")["status"]["outcome"].as_str(), site.records().len()), (Some("Applied"), 2));
    assert_eq!(site.get(&["directory", "zylker"])["metadata"]["name"], "zylker");
    assert_eq!((site.sandbox.count("reset-mfa"), site.sandbox.count("reset-password")), (1, 1));
    // An uninstallation keeps what was delivered.
    assert_eq!(site.leaks(), [""; 0]);
    typed(blocks("docs/operations.md", "sh rid-of-it"));
    assert_eq!(site.kubectl(&["get", "crd,namespace", "-o", "name"]).matches("credreset").count(), 0);
    assert!(!site.secret(TEAM, "two-password", "password").is_empty());
    // Kinds that came without helm are taken over.
    let install = format!("helm install credreset-crds charts/credreset-crds -n {SYSTEM}");
    let crds = format!("kubectl create namespace {SYSTEM}; credreset crds | kubectl apply -f -");
    let printed = run(&format!("{crds}; ! {install} 2>&1; {install} --take-ownership"));
    assert!(printed.contains("invalid ownership metadata") && printed.contains("STATUS: deployed"), "{printed}");
}
