//! What a platform team demands of the chart: an API server with policies for Pods, an upgrade that keeps the values, a proxy.
use std::{
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

use super::values::{everything, find};
use crate::support::{Cluster, SYSTEM, Setup, Site, TEAM, blocks, path, template, wait_for};

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
