//! Each value of the chart: what it makes of the objects, and which values the chart refuses.
mod examples;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{SYSTEM, template, text};
pub(super) use examples::everything;
use examples::{Example, container, examples, pod};

const README: &str = "charts/credreset/README.md";

pub(super) fn find<'a>(all: &'a [Value], object: &str) -> Option<&'a Value> {
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
