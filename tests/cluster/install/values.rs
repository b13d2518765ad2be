//! Each value of the chart: what it makes of the objects, and what an API server and a platform team's policies say to them.
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs::default_provider};
use serde_json::{Value, json};

use crate::support::{Cluster, SYSTEM, Setup, Site, TEAM, blocks, path, template, text, wait_for};

const README: &str = "charts/credreset/README.md";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "/spec/template/spec";

/// A value, what it is set to, and where that shows: the object, and the place in it.
struct Example {
    key: &'static str,
    value: Value,
    object: &'static str,
    at: String,
    shown: Value,
}

fn example(key: &'static str, value: Value, object: &'static str, at: impl Into<String>, shown: Value) -> Example {
    Example { key, value, object, at: at.into(), shown }
}

/// The same, of a value that shows as it is.
fn same(key: &'static str, value: Value, object: &'static str, at: impl Into<String>) -> Example {
    example(key, value.clone(), object, at, value)
}

fn pod(field: &str) -> String {
    format!("{POD}/{field}")
}

fn container(field: &str) -> String {
    format!("{POD}/containers/0/{field}")
}

/// Of every value, but for the two that take an object away.
#[allow(clippy::too_many_lines, reason = "one table")]
fn examples() -> Vec<Example> {
    let image = json!(format!("registry.acme.example/credreset:v9@{DIGEST}"));
    let people = json!([{"kind": "Group", "name": "staff", "apiGroup": "rbac.authorization.k8s.io"}]);
    let peer = |name: &str| json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]);
    let relabel = |name: &str| json!([{"action": "replace", "targetLabel": name, "replacement": "identity"}]);
    let keycloak = json!({"url": "https://sso.acme.example", "realm": "acme", "credentials": {"secret": "s"}});
    let directory = json!({"acme": {"suspend": true, "provider": {"keycloak": keycloak}}});
    let zone =
        json!({"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"});
    let affinity = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}},
    ]}});
    let further = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "acme-authorities", "namespace": "{{ .Release.Namespace }}"},
        "data": {"authorities.pem": "..."},
    }]);
    let wiki = "https://wiki.acme.example/credreset";
    let aggregate = |role: &str| format!("/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-{role}");
    vec![
        example(
            "image.repository",
            json!("registry.acme.example/credreset"),
            "Deployment/credreset",
            container("image"),
            image.clone(),
        ),
        example("image.tag", json!("v9"), "Deployment/credreset", container("image"), image.clone()),
        example("image.digest", json!(DIGEST), "Deployment/credreset", container("image"), image),
        same("image.pullPolicy", json!("Always"), "Deployment/credreset", container("imagePullPolicy")),
        same("imagePullSecrets", json!([{"name": "registry"}]), "Deployment/credreset", pod("imagePullSecrets")),
        same("replicas", json!(3), "Deployment/credreset", "/spec/replicas"),
        example("namespaces", json!(["default"]), "Role/credreset-passwords", "/metadata/namespace", json!("default")),
        same("passwordReaders", people.clone(), "RoleBinding/credreset-read-passwords", "/subjects"),
        example("operator.concurrency", json!(9), "Deployment/credreset", container("env/3/value"), json!("9")),
        example("operator.keepRecords", json!(400), "Deployment/credreset", container("env/4/value"), json!("400")),
        example("operator.grace", json!(60), "Deployment/credreset", pod("terminationGracePeriodSeconds"), json!(70)),
        same("operator.log", json!("debug"), "Deployment/credreset", container("env/6/value")),
        same("operator.logFormat", json!("human"), "Deployment/credreset", container("env/7/value")),
        example(
            "admission.writers",
            json!(["system:serviceaccount:velero:velero"]),
            "ValidatingAdmissionPolicy/credreset-records",
            "/spec/validations/0/expression",
            json!("'system:serviceaccount:velero:velero'"),
        ),
        example(
            "access",
            json!([{"directory": "acme", "verbs": ["use"], "subjects": people}]),
            "ClusterRole/credreset-use-acme-0",
            "/rules/0/resourceNames",
            json!(["acme"]),
        ),
        example("directories", directory, "Directory/acme", "/spec/suspend", json!(true)),
        example("rbac.aggregateToView", json!(false), "ClusterRole/credreset-view", aggregate("view"), Value::Null),
        example("rbac.aggregateToEdit", json!(false), "ClusterRole/credreset-approve", aggregate("edit"), Value::Null),
        example(
            "rbac.aggregateToAdmin",
            json!(false),
            "ClusterRole/credreset-request",
            aggregate("admin"),
            Value::Null,
        ),
        example(
            "networkPolicy.directoryPorts",
            json!([8443]),
            "NetworkPolicy/credreset",
            "/spec/egress/2/ports",
            json!([{"port": 8443}]),
        ),
        same(
            "networkPolicy.directoryPeers",
            json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]),
            "NetworkPolicy/credreset",
            "/spec/egress/2/to",
        ),
        example(
            "networkPolicy.apiServerPorts",
            json!([6444]),
            "NetworkPolicy/credreset",
            "/spec/egress/1/ports",
            json!([{"port": 6444}]),
        ),
        same(
            "networkPolicy.apiServerPeers",
            json!([{"ipBlock": {"cidr": "192.0.2.1/32"}}]),
            "NetworkPolicy/credreset",
            "/spec/egress/1/to",
        ),
        same("networkPolicy.dnsPeers", peer("kube-system"), "NetworkPolicy/credreset", "/spec/egress/0/to"),
        example(
            "networkPolicy.ingressFrom",
            peer("monitoring"),
            "NetworkPolicy/credreset",
            "/spec/ingress/0/from/1",
            peer("monitoring")[0].clone(),
        ),
        example(
            "commonLabels",
            json!({"cost-centre": "4711"}),
            "ServiceAccount/credreset",
            "/metadata/labels/cost-centre",
            json!("4711"),
        ),
        same(
            "deploymentAnnotations",
            json!({"acme.example/owner": "identity"}),
            "Deployment/credreset",
            "/metadata/annotations",
        ),
        same("revisionHistoryLimit", json!(3), "Deployment/credreset", "/spec/revisionHistoryLimit"),
        same("strategy", json!({"rollingUpdate": {"maxSurge": 0}}), "Deployment/credreset", "/spec/strategy"),
        same(
            "podAnnotations",
            json!({"acme.example/scan": "no"}),
            "Deployment/credreset",
            "/spec/template/metadata/annotations",
        ),
        example(
            "podLabels",
            json!({"team": "identity"}),
            "Deployment/credreset",
            "/spec/template/metadata/labels/team",
            json!("identity"),
        ),
        same(
            "serviceAccount.annotations",
            json!({"acme.example/role": "none"}),
            "ServiceAccount/credreset",
            "/metadata/annotations",
        ),
        example(
            "serviceAccount.labels",
            json!({"tier": "b"}),
            "ServiceAccount/credreset",
            "/metadata/labels/tier",
            json!("b"),
        ),
        same("priorityClassName", json!("platform"), "Deployment/credreset", pod("priorityClassName")),
        same("runtimeClassName", json!("sandboxed"), "Deployment/credreset", pod("runtimeClassName")),
        example(
            "resources.requests",
            json!({"cpu": "1"}),
            "Deployment/credreset",
            container("resources/requests/cpu"),
            json!("1"),
        ),
        example(
            "resources.limits",
            json!({"memory": "1Gi"}),
            "Deployment/credreset",
            container("resources/limits/memory"),
            json!("1Gi"),
        ),
        same("nodeSelector", json!({"kubernetes.io/os": "linux"}), "Deployment/credreset", pod("nodeSelector")),
        same(
            "tolerations",
            json!([{"key": "platform", "operator": "Exists"}]),
            "Deployment/credreset",
            pod("tolerations"),
        ),
        same("affinity", affinity, "Deployment/credreset", pod("affinity")),
        example(
            "topologySpreadConstraints",
            json!([zone]),
            "Deployment/credreset",
            pod("topologySpreadConstraints/0/maxSkew"),
            json!(2),
        ),
        same("dnsPolicy", json!("None"), "Deployment/credreset", pod("dnsPolicy")),
        same("dnsConfig", json!({"nameservers": ["192.0.2.53"]}), "Deployment/credreset", pod("dnsConfig")),
        same(
            "hostAliases",
            json!([{"ip": "192.0.2.7", "hostnames": ["dc1.acme.example"]}]),
            "Deployment/credreset",
            pod("hostAliases"),
        ),
        example(
            "extraEnv",
            json!([{"name": "NO_PROXY", "value": ".acme.example"}]),
            "Deployment/credreset",
            container("env/8"),
            json!({"name": "NO_PROXY", "value": ".acme.example"}),
        ),
        same(
            "extraVolumes",
            json!([{"name": "authorities", "configMap": {"name": "acme-authorities"}}]),
            "Deployment/credreset",
            pod("volumes"),
        ),
        same(
            "extraVolumeMounts",
            json!([{"name": "authorities", "mountPath": "/etc/acme", "readOnly": true}]),
            "Deployment/credreset",
            container("volumeMounts"),
        ),
        example("extraObjects", further, "ConfigMap/acme-authorities", "/metadata/namespace", json!(SYSTEM)),
        example(
            "monitoring.labels",
            json!({"release": "kps"}),
            "ServiceMonitor/credreset",
            "/metadata/labels/release",
            json!("kps"),
        ),
        same("monitoring.namespace", json!("default"), "PrometheusRule/credreset", "/metadata/namespace"),
        example(
            "monitoring.serviceMonitor.enabled",
            json!(true),
            "ServiceMonitor/credreset",
            "/spec/endpoints/0/port",
            json!("metrics"),
        ),
        same(
            "monitoring.serviceMonitor.interval",
            json!("1m30s"),
            "ServiceMonitor/credreset",
            "/spec/endpoints/0/interval",
        ),
        same(
            "monitoring.serviceMonitor.scrapeTimeout",
            json!("10s"),
            "ServiceMonitor/credreset",
            "/spec/endpoints/0/scrapeTimeout",
        ),
        same(
            "monitoring.serviceMonitor.relabelings",
            relabel("team"),
            "ServiceMonitor/credreset",
            "/spec/endpoints/0/relabelings",
        ),
        same(
            "monitoring.serviceMonitor.metricRelabelings",
            relabel("part"),
            "ServiceMonitor/credreset",
            "/spec/endpoints/0/metricRelabelings",
        ),
        example(
            "monitoring.rules.enabled",
            json!(true),
            "PrometheusRule/credreset",
            "/spec/groups/0/name",
            json!("credreset"),
        ),
        example(
            "monitoring.rules.alertLabels",
            json!({"team": "identity"}),
            "PrometheusRule/credreset",
            "/spec/groups/0/rules/0/labels",
            json!({"severity": "warning", "team": "identity"}),
        ),
        example(
            "monitoring.rules.runbookUrl",
            json!(wiki),
            "PrometheusRule/credreset",
            "/spec/groups/0/rules/0/annotations/runbook_url",
            json!(format!("{wiki}#credresetoutcomeunknown")),
        ),
        example(
            "monitoring.dashboard.enabled",
            json!(true),
            "ConfigMap/credreset-dashboard",
            "/metadata/name",
            json!("credreset-dashboard"),
        ),
        example(
            "monitoring.dashboard.label",
            json!("acme_dashboard"),
            "ConfigMap/credreset-dashboard",
            "/metadata/labels/acme_dashboard",
            json!("yes"),
        ),
        example(
            "monitoring.dashboard.labelValue",
            json!("yes"),
            "ConfigMap/credreset-dashboard",
            "/metadata/labels/acme_dashboard",
            json!("yes"),
        ),
        example(
            "monitoring.dashboard.annotations",
            json!({"acme.example/owner": "identity"}),
            "ConfigMap/credreset-dashboard",
            "/metadata/annotations/acme.example~1owner",
            json!("identity"),
        ),
        example(
            "monitoring.dashboard.folder",
            json!("Identity"),
            "ConfigMap/credreset-dashboard",
            "/metadata/annotations/acme_folder",
            json!("Identity"),
        ),
        example(
            "monitoring.dashboard.folderAnnotation",
            json!("acme_folder"),
            "ConfigMap/credreset-dashboard",
            "/metadata/annotations/acme_folder",
            json!("Identity"),
        ),
        example(
            "argocd.health",
            json!(true),
            "ConfigMap/credreset-argocd-health",
            "/metadata/name",
            json!("credreset-argocd-health"),
        ),
    ]
}

/// What the chart makes with all of them.
pub(super) fn everything() -> Vec<Value> {
    let values: Vec<String> = examples().iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    template(&values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn find<'a>(all: &'a [Value], object: &str) -> Option<&'a Value> {
    let (kind, name) = object.split_once('/').unwrap();
    all.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name)
}

/// What stands there; `Null` where nothing does.
fn at(all: &[Value], object: &str, place: &str) -> Value {
    find(all, object).and_then(|one| one.pointer(place)).cloned().unwrap_or_default()
}

#[test]
fn each_value_shows_in_an_object() {
    let (plain, all) = (template(&[]).unwrap(), everything());
    // Or, of an expression, within it.
    let has = |there: &Value, shown: &Value| match (there.as_str(), shown.as_str()) {
        (Some(there), Some(shown)) if there.contains("||") => there.contains(shown),
        _ => there == shown,
    };
    for Example { key, object, at: place, shown, .. } in examples() {
        let (before, after) = (at(&plain, object, &place), at(&all, object, &place));
        assert!(!has(&before, &shown), "{key} shows at {object} {place} without being set: {before}");
        assert!(has(&after, &shown), "{key} does not show at {object} {place}: {after}");
    }
    let absent = ["networkPolicy.enabled", "podDisruptionBudget.enabled"];
    for (key, object) in absent.iter().zip(["NetworkPolicy/credreset", "PodDisruptionBudget/credreset"]) {
        assert!(find(&plain, object).is_some());
        let without = template(&[&format!("{key}=false")]).unwrap();
        assert!(find(&without, object).is_none() && without.len() == plain.len() - 1, "{key}");
    }
    let rows = text(README);
    let (_, rows) = rows.split_once("\n## Values\n").unwrap();
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).filter(|key| *key != "Key");
    let shown = examples().into_iter().map(|one| one.key).chain(absent);
    assert_eq!(rows.collect::<BTreeSet<_>>(), shown.collect());
}

/// What a value does beside what it is named for, and what it leaves alone.
#[test]
fn values_go_no_further_than_they_say() {
    let (plain, all) = (template(&[]).unwrap(), everything());
    // Labels are on every object, and on every Pod; none of them takes a label of the chart's own away.
    let further = find(&all, "ConfigMap/acme-authorities").unwrap();
    for object in all.iter().filter(|object| *object != further) {
        assert_eq!(object["metadata"]["labels"]["cost-centre"], "4711", "{object}");
    }
    let labels = &at(&all, "Deployment/credreset", "/spec/template/metadata/labels");
    for (label, value) in at(&all, "Deployment/credreset", "/spec/selector/matchLabels").as_object().unwrap() {
        assert_eq!(&labels[label], value);
    }
    assert_eq!(labels["cost-centre"], "4711");
    // So is what policies demand of Pods, on the one of `helm test`, which is not the operator.
    let test = find(&all, "Pod/credreset-test").unwrap();
    let (labels, annotations) = (&test["metadata"]["labels"], &test["metadata"]["annotations"]);
    assert_eq!((&labels["cost-centre"], &labels["team"]), (&json!("4711"), &json!("identity")));
    assert_eq!(labels["app.kubernetes.io/name"], "credreset-test");
    assert_eq!(annotations, &json!({"helm.sh/hook": "test", "acme.example/scan": "no"}));
    for field in
        ["priorityClassName", "runtimeClassName", "nodeSelector", "tolerations", "affinity", "imagePullSecrets"]
    {
        assert_eq!(test["spec"][field], at(&all, "Deployment/credreset", &pod(field)), "{field}");
        assert!(!test["spec"][field].is_null() && find(&plain, "Pod/credreset-test").unwrap()["spec"][field].is_null());
    }
    // It reads /readyz, whoever else may read metrics.
    let peer = at(&all, "NetworkPolicy/credreset", "/spec/ingress/0/from/0/podSelector/matchLabels");
    assert!(peer.as_object().unwrap().iter().all(|(label, value)| &labels[label] == value), "{peer}");
    // Security is not among them.
    for field in ["securityContext", "hostNetwork", "automountServiceAccountToken"] {
        assert_eq!(at(&plain, "Deployment/credreset", &pod(field)), at(&all, "Deployment/credreset", &pod(field)));
    }
    let context = container("securityContext");
    assert_eq!(at(&plain, "Deployment/credreset", &context), at(&all, "Deployment/credreset", &context));
    // A spread is about the operator's Pods unless it says about which.
    let selector = pod("topologySpreadConstraints/0/labelSelector");
    let ours = at(&all, "Deployment/credreset", "/spec/selector");
    assert_eq!(
        (at(&all, "Deployment/credreset", &selector), at(&plain, "Deployment/credreset", &selector)),
        (ours.clone(), ours)
    );
    let other = json!([{"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"a": "b"}}}]);
    let with = template(&[&format!("topologySpreadConstraints={other}")]).unwrap();
    assert_eq!(at(&with, "Deployment/credreset", &pod("topologySpreadConstraints")), other);
    let without = template(&["topologySpreadConstraints=[]"]).unwrap();
    assert_eq!(at(&without, "Deployment/credreset", &pod("topologySpreadConstraints")), Value::Null);
    // A ServiceMonitor elsewhere finds the Service here; alerts without a page name none; the dashboard without a folder, neither.
    assert_eq!(at(&all, "ServiceMonitor/credreset", "/spec/namespaceSelector"), json!({"matchNames": [SYSTEM]}));
    let quiet = template(&[
        "monitoring.rules.enabled=true",
        r#"monitoring.rules.runbookUrl="""#,
        "monitoring.serviceMonitor.enabled=true",
        "monitoring.dashboard.enabled=true",
    ])
    .unwrap();
    assert_eq!(at(&quiet, "ServiceMonitor/credreset", "/spec/namespaceSelector"), Value::Null);
    for rule in at(&quiet, "PrometheusRule/credreset", "/spec/groups/0/rules").as_array().unwrap() {
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["runbook_url"].is_null(), "{rule}");
    }
    assert_eq!(at(&quiet, "ConfigMap/credreset-dashboard", "/metadata/annotations"), Value::Null);
    // More particular labels win.
    let both = template(&[r#"commonLabels={"team":"a"}"#, r#"podLabels={"team":"b"}"#]).unwrap();
    assert_eq!(at(&both, "Deployment/credreset", "/metadata/labels/team"), "a");
    assert_eq!(at(&both, "Deployment/credreset", "/spec/template/metadata/labels/team"), "b");
}

#[test]
fn nonsense_is_refused_by_its_name() {
    for (key, value) in [
        ("commonLabels", r#"{"app.kubernetes.io/name":"x"}"#),
        ("commonLabels", r#"{"rbac.authorization.k8s.io/aggregate-to-admin":"true"}"#),
        ("podLabels", r#"{"team":"not a label"}"#),
        ("podAnnotations", r#"{"a":1}"#),
        ("deploymentAnnotations", r#"["a"]"#),
        ("serviceAccount", r#"{"name":"other"}"#),
        ("extraEnv", r#"[{"name":"CREDRESET_NAMESPACE","value":"x"}]"#),
        ("extraEnv", r#"[{"name":"A","value":1}]"#),
        ("extraVolumes", "[{}]"),
        ("extraVolumeMounts", r#"[{"name":"a","mountPath":"etc"}]"#),
        ("extraObjects", r#"[{"kind":"ConfigMap"}]"#),
        ("extraObjects", r#"["kind: ConfigMap"]"#),
        ("affinity", r#"{"nodeafinity":{}}"#),
        ("topologySpreadConstraints", "[{}]"),
        ("networkPolicy.ingressFrom", "[{}]"),
        ("networkPolicy.directoryPeers", r#"[{"cidr":"192.0.2.0/24"}]"#),
        ("monitoring.serviceMonitor", "true"),
        ("monitoring.serviceMonitor.interval", r#""soon""#),
        ("monitoring.rules.runbookUrl", r#""wiki""#),
        ("monitoring.rules.alertLabels", r#"{"severity":"page"}"#),
        ("monitoring.rules.alertLabels", r#"{"no-label":"x"}"#),
        ("monitoring.dashboard.label", r#""""#),
        ("dnsPolicy", r#""Fast""#),
        ("strategy", r#"{"type":"BlueGreen"}"#),
        ("revisionHistoryLimit", "-1"),
        ("priorityClassName", "1"),
        ("podDisruptionBudget", "false"),
        ("rbac.aggregate", "false"),
    ] {
        let printed = template(&[&format!("{key}={value}")]).expect_err(key);
        assert!(printed.contains("don't meet the specifications of the schema"), "{key}={value}: {printed}");
        let named = key.rsplit('.').next().unwrap();
        assert!(printed.contains(named), "{key}={value}: {printed}");
    }
}

/// A policy like those of Kyverno's library, which look at Pods and at what makes them.
const DEMANDS: &str = r#"
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: platform}
value: 1000
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: sandboxed}
handler: sandboxed
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: platform}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [pods]}
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  variables:
  - {name: pod, expression: "request.kind.kind == 'Pod' ? object : object.spec.template"}
  validations:
  - expression: variables.pod.spec.?priorityClassName.orValue('') == 'platform'
    message: every Pod has a priorityClass
  - expression: "'cost-centre' in variables.pod.metadata.?labels.orValue({})"
    message: every Pod has a cost-centre
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: platform}
spec: {policyName: platform, validationActions: [Deny]}
"#;

/// A folder in which the commands of pages are typed: the charts are there, and the values of the chart's README.
fn folder(site: &Site, name: &str) -> PathBuf {
    let folder = site.dir.join(name);
    fs::create_dir_all(folder.join("charts")).unwrap();
    for chart in ["credreset", "credreset-crds"] {
        symlink(path("charts").join(chart), folder.join("charts").join(chart)).unwrap();
    }
    fs::write(folder.join("values.yaml"), blocks("charts/credreset/README.md", "yaml values").concat()).unwrap();
    folder
}

/// The chart of a later version, with a value that today's has not.
fn later_chart(site: &Site) -> PathBuf {
    let folder = folder(site, "later");
    let chart = folder.join("charts/credreset");
    fs::remove_file(&chart).unwrap();
    site.shell(&folder, &format!("cp -r '{}' charts/credreset", path("charts/credreset").display()));
    let write = |file: &str, change: &dyn Fn(String) -> String| {
        let file = chart.join(file);
        fs::write(&file, change(fs::read_to_string(&file).unwrap_or_default())).unwrap();
    };
    write("values.yaml", &|values| values + "later: {greeting: hello}\n");
    write("values.schema.json", &|schema| {
        schema.replacen(r#""global""#, r#""later": {"type": "object"}, "global""#, 1)
    });
    write("templates/later.yaml", &|_| {
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: later}\ndata: {greeting: {{ .Values.later.greeting }}}\n"
            .to_owned()
    });
    folder
}

/// Installed as the chart's README says, where each Pod needs a priority class and a cost centre, and upgraded as the page says.
#[test]
fn a_platform_teams_policies_are_met() {
    let site = Site::with(&Setup { cluster: Cluster::Empty, ..Setup::default() });
    if !site.is_own() {
        return;
    }
    let here = folder(&site, "typed");
    // The notes say what is missing.
    let notes = site.shell(&here, &format!("helm install credreset charts/credreset -n {SYSTEM} --dry-run=server"));
    assert!(
        notes.contains("NOT YET: the API server does not know CredentialReset, CredentialResetApproval"),
        "{notes}"
    );
    assert!(notes.contains("Before `helm uninstall`: suspend the Directories"), "{notes}");

    site.kubectl(&["create", "namespace", "refused"]);
    // Nobody makes them here, where no controllers run.
    for account in ["credreset", "default"] {
        site.kubectl(&["create", "serviceaccount", "-n", "refused", account]);
    }
    let refused = |object: &Value| {
        let mut object = object.clone();
        object["metadata"]["namespace"] = json!("refused");
        let output = site.try_kubectl(&["create", "--dry-run=server", "-f", "-"], &object.to_string());
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        (!output.status.success()).then_some(printed)
    };
    let plain = template(&[]).unwrap();
    site.shell(&here, &format!("kubectl apply -f - <<'end'\n{DEMANDS}\nend"));
    for object in ["Deployment/credreset", "Pod/credreset-test"] {
        let printed = wait_for("the policy", || refused(find(&plain, object).unwrap()));
        assert!(printed.contains("every Pod has a"), "{object}: {printed}");
    }

    let notes = site.shell(&here, &blocks("charts/credreset/README.md", "sh install").concat());
    assert!(notes.contains(&format!("Passwords are delivered in: {TEAM}")), "{notes}");
    site.kubectl(&["create", "serviceaccount", "-n", SYSTEM, "default"]);
    site.kubectl(&["label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=restricted"]);
    let deployment = site.get(&["deployment", "-n", SYSTEM, "credreset"]);
    let mut made = json!({"apiVersion": "v1", "kind": "Pod", "metadata": deployment["spec"]["template"]["metadata"]});
    made["metadata"]["name"] = json!("credreset-0");
    made["metadata"]["namespace"] = json!(SYSTEM);
    made["spec"] = deployment["spec"]["template"]["spec"].clone();
    let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
    let output = site.try_kubectl(&create, &made.to_string());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(made["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/etc/acme");
    assert_eq!(site.get(&["configmap", "-n", SYSTEM, "acme-authorities"])["data"], json!({"authorities.pem": "..."}));

    // With all values, the API server takes each object; those of the Prometheus operator are in monitoring.rs.
    let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let ours = |object: &&Value| !object["apiVersion"].as_str().unwrap().starts_with("monitoring.coreos.com/");
    for object in everything().iter().filter(ours) {
        let output = site.try_kubectl(&apply, &object.to_string());
        assert!(output.status.success(), "{}\n{object:#}", String::from_utf8_lossy(&output.stderr));
    }

    // The page's upgrade keeps what was set, and takes the default of a value that is new. Another flag would not.
    let later = later_chart(&site);
    let upgrade = blocks("docs/operations.md", "sh upgrade").concat();
    let upgrade: String =
        upgrade.lines().filter(|line| line.starts_with("helm upgrade")).map(|line| line.to_owned() + "\n").collect();
    let other = format!("! helm upgrade credreset charts/credreset -n {SYSTEM} --reuse-values 2>&1");
    let printed = site.shell(&later, &other);
    assert!(printed.contains("nil pointer"), "{printed}");
    let notes = site.shell(&later, &upgrade);
    assert!(!notes.contains("NOT YET"), "{notes}");
    assert_eq!(site.get(&["configmap", "-n", SYSTEM, "later"])["data"], json!({"greeting": "hello"}));
    let kept = site.get(&["deployment", "-n", SYSTEM, "credreset"])["spec"]["template"].clone();
    assert_eq!(
        (&kept["spec"]["priorityClassName"], &kept["metadata"]["labels"]["cost-centre"]),
        (&json!("platform"), &json!("4711"))
    );
}

/// A proxy that takes one connection, as the server that is asked for; sends what it was asked, by the proxy's and by the server's rules.
fn proxy(host: &str, authorities: &Path) -> (String, mpsc::Receiver<(String, String)>) {
    let own = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    fs::write(authorities, own.cert.pem()).unwrap();
    let key = own.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut plain = BufReader::new(stream);
        let mut asked = String::new();
        plain.read_line(&mut asked).unwrap();
        let mut header = String::new();
        while header != "\r\n" {
            header.clear();
            plain.read_line(&mut header).unwrap();
        }
        let mut stream = plain.into_inner();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let mut inside = BufReader::new(StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream));
        let mut line = String::new();
        let read = inside.read_line(&mut line);
        told.send((asked, read.map_or_else(|e| format!("no request within: {e}"), |_| line))).unwrap();
    });
    (url, heard)
}

/// What `extraEnv` is described for: a directory behind a proxy, with an authority that the image does not have.
#[test]
fn the_operator_goes_through_a_proxy_and_trusts_its_authorities() {
    let site = Site::start();
    let authorities = site.dir.join("authorities.pem");
    let (url, heard) = proxy("sso.acme.example", &authorities);
    let mut command = site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), "op", "trace", None);
    // In a Pod the API server is never behind it; here it is named in a kubeconfig.
    command.env("HTTPS_PROXY", url).env("NO_PROXY", "127.0.0.1,localhost").env("SSL_CERT_FILE", &authorities);
    let operator = site.run(&mut command);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "acme", "namespace": SYSTEM},
        "stringData": {"client-id": "credreset", "client-secret": "a-secret-of-the-client"}});
    let keycloak = json!({"url": "https://sso.acme.example", "realm": "acme", "credentials": {"secret": "acme"}});
    let directory = json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": "acme"},
    "spec": {"provider": {"keycloak": keycloak}, "allow": [
        {"name": "staff", "namespaces": [TEAM], "modes": ["Password"], "users": {"everyone": true}},
    ]}});
    site.apply_own(vec![secret, directory]);
    let (asked, inside) = wait_for("a connection through the proxy", || heard.try_recv().ok());
    assert_eq!(asked, "CONNECT sso.acme.example:443 HTTP/1.1\r\n");
    assert!(inside.contains(" HTTP/") || inside.starts_with("PRI * HTTP/2.0"), "{inside}");
    assert_eq!(operator.stop(), Some(0));
}
