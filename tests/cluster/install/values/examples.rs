//! Each value of the chart, what it is set to, and where that shows.
use serde_json::{Value, json};

use crate::support::{SYSTEM, template};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "/spec/template/spec";

/// A value, what it is set to, and where that shows: the object, and the place in it.
pub(super) struct Example {
    pub(super) key: &'static str,
    value: Value,
    pub(super) object: &'static str,
    pub(super) at: String,
    pub(super) shown: Value,
}

fn example(key: &'static str, value: Value, object: &'static str, at: impl Into<String>, shown: Value) -> Example {
    Example { key, value, object, at: at.into(), shown }
}

/// The same, of a value that shows as it is.
fn same(key: &'static str, value: Value, object: &'static str, at: impl Into<String>) -> Example {
    example(key, value.clone(), object, at, value)
}

pub(super) fn pod(field: &str) -> String {
    format!("{POD}/{field}")
}

pub(super) fn container(field: &str) -> String {
    format!("{POD}/containers/0/{field}")
}

/// Of every value, but for the two that take an object away.
#[allow(clippy::too_many_lines, reason = "one table")]
pub(super) fn examples() -> Vec<Example> {
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
        example(
            "workloadIdentity",
            json!(true),
            "Role/credreset",
            "/rules/3/resources/0",
            json!("serviceaccounts/token"),
        ),
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
pub(in crate::install) fn everything() -> Vec<Value> {
    let values: Vec<String> = examples().iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    template(&values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}
