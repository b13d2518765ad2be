//! What a person on call sees: metrics, alerts and dashboard, with Prometheus itself.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use serde_json::{Value, json};

use super::values::everything;
use crate::support::{
    Cluster, Process, SYSTEM, Setup, Site, blocks, clock, http_get, mfa_reset, password_reset, path, template, text,
    wait_for,
};

const ALERTS: &str = "charts/credreset/files/alerts.yaml";
const DASHBOARD: &str = "charts/credreset/files/dashboard.json";

/// What tests/support/servers/prometheus.sh provides, by name.
static TOOLS: LazyLock<BTreeMap<String, PathBuf>> = LazyLock::new(|| {
    let output = Command::new(path("tests/support/servers/prometheus.sh")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "tests/support/servers/prometheus.sh failed");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.into())).collect()
});

fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(&TOOLS["PROMTOOL"])
        .args(arguments)
        .current_dir(path("."))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {arguments:?}: {printed}");
    printed
}

/// The rules of the alerts.
fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&text(ALERTS)).unwrap();
    file["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The first columns of docs/monitoring.md that begin so.
fn documented(prefix: &str) -> impl Iterator<Item = String> {
    let start = format!("| `{prefix}");
    let lines: Vec<String> = text("docs/monitoring.md").lines().map(str::to_owned).collect();
    lines
        .into_iter()
        .filter(move |line| line.starts_with(&start))
        .map(|line| line.split('`').nth(1).unwrap().to_owned())
}

#[test]
fn alerts_fire_on_what_a_person_must_look_at() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", ALERTS], "");
    promtool(&["test", "rules", "tests/cluster/install/alerts.yaml"], "");
    let tests = text("tests/cluster/install/alerts.yaml");
    for rule in alerts() {
        let name = rule["alert"].as_str().unwrap();
        assert!(documented("Credreset").any(|alert| alert == name), "{name}");
        assert!(tests.contains(&format!(r#"ALERTS{{alertname="{name}""#)), "no test has {name} fire");
        assert!(["warning", "critical"].iter().any(|severity| rule["labels"]["severity"] == *severity), "{name}");
        let annotations: Vec<&str> = rule["annotations"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(annotations, ["description", "runbook_url", "summary"], "{name}");
        // tests/packaging.rs shows that this anchor is there.
        let page = format!("/docs/monitoring.md#{}", name.to_lowercase());
        assert!(rule["annotations"]["runbook_url"].as_str().unwrap().ends_with(&page), "{name}");
    }
    assert_eq!(documented("Credreset").count(), alerts().len());
}

/// The kinds of the Prometheus operator, as it installs them, take what the page's command makes.
#[test]
fn the_prometheus_operator_takes_what_the_chart_makes() {
    let site = Site::with(&Setup { cluster: Cluster::Empty, ..Setup::default() });
    if !site.is_own() {
        return; // foreign kinds are not ours to install
    }
    site.shell(&path("."), &blocks("README.md", "sh install").concat());
    for kind in ["servicemonitors", "prometheusrules"] {
        let file = TOOLS["KINDS"].join(format!("monitoring.coreos.com_{kind}.yaml"));
        site.kubectl(&["create", "-f", file.to_str().unwrap()]);
        let name = format!("crd/{kind}.monitoring.coreos.com");
        site.established(&[&name]);
    }
    // helm does not mind fields that a kind does not know.
    let both = ["monitoring.serviceMonitor.enabled=true", "monitoring.rules.enabled=true"];
    let (some, all) = (template(&both).unwrap(), everything());
    let objects = some.iter().chain(&all).filter(|o| o["apiVersion"] == "monitoring.coreos.com/v1");
    assert_eq!(objects.clone().count(), 4);
    for object in objects {
        let strictly = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = site.try_kubectl(&strictly, &object.to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    site.shell(&path("."), &blocks("docs/monitoring.md", "sh").concat());
    let made = |kind: &str, name: &str| site.get(&[kind, "-n", SYSTEM, name]);
    let (monitor, rules) = (made("servicemonitor", "credreset"), made("prometheusrule", "credreset"));
    assert_eq!(rules["spec"]["groups"][0]["rules"], json!(alerts()));
    for object in [&monitor, &rules] {
        assert_eq!(object["metadata"]["labels"]["release"], "kube-prometheus-stack");
    }
    assert_eq!(made("configmap", "credreset-dashboard")["metadata"]["labels"]["grafana_dashboard"], "1");
    // It finds the Service by its labels, and its port by name.
    let (monitor, service) = (&monitor["spec"], made("service", "credreset"));
    for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&service["metadata"]["labels"][label], value);
    }
    assert_eq!(monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
}

/// A Prometheus with the alerts of the chart.
struct Prometheus {
    _process: Process,
    url: String,
}

impl Prometheus {
    /// It reads `target`; all it keeps is in the site's folder.
    fn start(site: &Site, target: &str) -> Self {
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [path(ALERTS)],
            "scrape_configs": [{"job_name": "credreset", "static_configs": [{"targets": [target.trim_start_matches("http://")]}]}],
        });
        let file = site.dir.join("prometheus.yaml");
        fs::write(&file, config.to_string()).unwrap();
        loop {
            // It cannot be asked for any free port: another program may take this one first.
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let log = site.dir.join("prometheus.log");
            let mut process = Process::start(
                Command::new(&TOOLS["PROMETHEUS"])
                    .arg(format!("--config.file={}", file.display()))
                    .arg(format!("--storage.tsdb.path={}", site.dir.join("prometheus").display()))
                    .arg(format!("--web.listen-address={address}"))
                    .stdout(Stdio::null())
                    .stderr(fs::File::create(&log).unwrap()),
            );
            let url = format!("http://{address}");
            let ready = wait_for("Prometheus", || {
                if process.has_ended() { Some(false) } else { (http_get(&url, "/-/ready").0 == 200).then_some(true) }
            });
            if ready {
                return Self { _process: process, url };
            }
            let printed = fs::read_to_string(&log).unwrap();
            assert!(printed.contains("address already in use"), "{printed}");
        }
    }

    fn get(&self, path: &str) -> Value {
        let (_, body) = http_get(&self.url, path);
        let answer: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].clone()
    }

    /// The labels and values of what an expression finds now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        self.get(&format!("/api/v1/query?query={query}"))["result"].as_array().unwrap().clone()
    }

    fn until(&self, expression: &str) -> Vec<Value> {
        wait_for(expression, || Some(self.query(expression)).filter(|found| !found.is_empty()))
    }

    /// The alerts that are not inactive, with their states.
    fn alerts(&self) -> BTreeMap<String, Value> {
        let all = self.get("/api/v1/alerts")["alerts"].as_array().unwrap().clone();
        all.into_iter().map(|alert| (alert["labels"]["alertname"].as_str().unwrap().to_owned(), alert)).collect()
    }
}

/// A run with resets that were applied, were refused, wait, and whose outcome is unknown. Every query of the dashboard and of
/// the alerts finds what it is about.
#[test]
fn prometheus_reads_a_real_run() {
    let site = Site::start();
    site.directory("zylker", json!({"limits": {"resetsPerHour": 2, "requestTimeout": "1s"}}));
    let nowhere = "http://127.0.0.1:1";
    let urls = json!({"accounts": nowhere, "api": nowhere, "mail": nowhere});
    site.directory("away", json!({"provider": {"zoho": {"urls": urls}}}));
    let before = site.operator();
    site.until_directory("zylker", "Connected");
    site.sandbox.fault(json!({"call": "reset-password", "fault": "apply-then-502"}));
    site.apply(&password_reset("lost", "annette.c@zylker.biz", json!({})));
    site.until("lost", "Verifying");
    assert_eq!(before.stop(), Some(0));
    // By whose clock the time to look for evidence is over.
    let mut command = site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), "after", "trace", None);
    let operator = site.run(command.env("LD_PRELOAD", clock(&site)).env("CREDRESET_TEST_CLOCK", "28"));
    let prometheus = Prometheus::start(&site, &operator.url);
    prometheus.until("credreset_leader == 1");
    prometheus.until("count(credreset_directory_ready) == 2");
    site.until("lost", "OutcomeUnknown");

    site.apply(&mfa_reset("applied", "jan.n@zylker.biz", json!({})));
    site.until("applied", "Applied");
    site.apply(&mfa_reset("refused", "nobody@zylker.biz", json!({})));
    site.until("refused", "UserNotFound");
    site.apply(&mfa_reset("waiting", "kim.l@zylker.biz", json!({})));
    site.until("waiting", "LimitReached");
    site.apply(&mfa_reset("elsewhere", "jan.n@zylker.biz", json!({"spec": {"directory": "away"}})));
    site.until("elsewhere", "DirectoryNotReady");

    // By the naming rules. promtool reads the older format, where a counter's full name is its type's, too.
    let metrics = operator.metrics();
    let older = metrics.lines().map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        ["#", "TYPE", name, "counter"] => format!("# TYPE {name}_total counter\n"),
        ["#", "HELP", name, ..] if metrics.contains(&format!("# TYPE {name} counter")) => {
            line.replacen(name, &format!("{name}_total"), 1) + "\n"
        }
        _ => format!("{line}\n"),
    });
    let printed = promtool(&["check", "metrics"], &older.collect::<String>());
    assert_eq!(printed, "");
    let documented: BTreeSet<String> = documented("credreset_").collect();
    let family = |line: &str| {
        let [_, "TYPE", name, kind] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        Some(name.to_owned() + if kind == "counter" { "_total" } else { "" })
    };
    assert_eq!(metrics.lines().filter_map(family).collect::<BTreeSet<_>>(), documented);

    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
            let found = prometheus.until(&expression);
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            for label in legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0)) {
                assert!(found.iter().all(|one| one["metric"][label].is_string()), "{label} of {expression}: {found:?}");
            }
        }
    }
    for rule in alerts().iter().filter(|rule| rule["alert"] != "CredresetNoLeader") {
        let expression = rule["expr"].as_str().unwrap();
        prometheus.until(expression.rsplit_once(" > ").map_or(expression, |(measured, _)| measured));
    }
    // As the run was.
    for (expression, value) in [
        (r#"credreset_requests_total{outcome="Applied",reason="Applied"}"#, "1"),
        (r#"credreset_requests_total{outcome="NotApplied",reason="UserNotFound"}"#, "1"),
        (r#"credreset_requests_total{outcome="Unknown",reason="OutcomeUnknown"}"#, "1"),
        (r#"credreset_open_requests{reason="LimitReached"}"#, "1"),
        (r#"credreset_limit_reached_total{directory="zylker"}"#, "1"),
        ("sum(credreset_open_requests)", "2"),
        ("credreset_unknown_outcomes", "1"),
        (r#"credreset_directory_ready{directory="zylker"}"#, "1"),
        (r#"credreset_directory_ready{directory="away"}"#, "0"),
        (r#"credreset_directory_call_duration_seconds_count{call="reset-mfa",result="done"}"#, "1"),
        ("credreset_panics_total", "0"),
    ] {
        wait_for(expression, || (prometheus.query(expression).first()?["value"][1] == value).then_some(()));
    }

    let fires = |name: &str, state: &str| {
        let alert = wait_for(name, || prometheus.alerts().remove(name).filter(|alert| alert["state"] == state));
        alert["annotations"]["summary"].as_str().unwrap().to_owned()
    };
    assert!(fires("CredresetOutcomeUnknown", "firing").ends_with(": 1"));
    assert!(fires("CredresetLimitReached", "firing").contains("zylker"));
    assert!(fires("CredresetDirectoryNotReady", "pending").contains("away"));
    let firing = prometheus.alerts().into_iter().filter(|(_, alert)| alert["state"] == "firing").map(|(name, _)| name);
    assert_eq!(firing.collect::<Vec<_>>(), ["CredresetLimitReached", "CredresetOutcomeUnknown"]);
    assert_eq!(operator.stop(), Some(0));
    fires("CredresetNoLeader", "pending");
    for rule in prometheus.get("/api/v1/rules")["groups"][0]["rules"].as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule:#}");
    }
}
