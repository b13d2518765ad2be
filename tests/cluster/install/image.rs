//! The image: what its archive says and holds, and the walk-through of examples/kind with its program where the kubelet would run it.
use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use url::Url;

use crate::{
    IMAGE,
    support::{Cluster, SYSTEM, Setup, Site, TEAM, blocks, chart, path, text},
};

/// An archive, unpacked: its root is what a container would see.
struct Image {
    name: String,
    config: Value,
    /// What `tar -tv` says of each entry of the layers: mode, owner and path.
    entries: Vec<[String; 3]>,
    root: PathBuf,
}

fn stdout_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Image {
    fn unpack(dir: &Path) -> Self {
        let archive = path(IMAGE).join("credreset.tar");
        assert!(archive.exists(), "the image is missing: make tested-image");
        let [layout, root] = ["layout", "root"].map(|name| dir.join(name));
        for folder in [&layout, &root] {
            fs::create_dir_all(folder).unwrap();
        }
        stdout_of(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&layout));
        let json = |file: PathBuf| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
        let blob =
            |descriptor: &Value| layout.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"));
        assert_eq!(json(layout.join("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
        let index = json(layout.join("index.json"));
        let [only] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
        let manifest = json(blob(only));
        let mut entries = Vec::new();
        for layer in manifest["layers"].as_array().unwrap() {
            for line in stdout_of(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(blob(layer))).lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                entries.push([words[0], words[1], words[5]].map(str::to_owned));
            }
            stdout_of(Command::new("tar").arg("-xzf").arg(blob(layer)).arg("-C").arg(&root));
        }
        let name = only["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned();
        Self { name, config: json(blob(&manifest["config"])), entries, root }
    }

    /// A program that runs the image's entrypoint with the image as root. Only /dev is the machine's, as for a container.
    fn program(&self) -> PathBuf {
        fs::create_dir_all(self.root.join("dev")).unwrap();
        let [entrypoint] = &self.config["config"]["Entrypoint"].as_array().unwrap()[..] else { panic!() };
        let script = format!(
            "#!/bin/sh\nexec unshare --map-root-user --mount sh -c \
             'mount --rbind /dev \"$0/dev\" && exec chroot \"$0\" {} \"$@\"' '{}' \"$@\"\n",
            entrypoint.as_str().unwrap(),
            self.root.display()
        );
        let file = self.root.with_extension("sh");
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let file = self.root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
}

fn deployment() -> Value {
    chart(&[]).into_iter().find(|object| object["kind"] == "Deployment").unwrap()
}

#[test]
fn archive_says_and_holds_what_it_should() {
    let dir = std::env::temp_dir().join(format!("credreset-test-image-{}", std::process::id()));
    let image = Image::unpack(&dir);
    let pod = &deployment()["spec"]["template"]["spec"];
    assert_eq!(image.name, pod["containers"][0]["image"], "the chart asks for another one");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    assert_eq!((&image.config["os"], &image.config["architecture"]), (&json!("linux"), &json!(architecture)));
    let context = &pod["securityContext"];
    assert_eq!(image.config["config"]["User"], format!("{}:{}", context["runAsUser"], context["runAsGroup"]));
    let version = &image.config["config"]["Labels"]["org.opencontainers.image.version"];
    assert_eq!(*version, env!("CARGO_PKG_VERSION"));

    // The Dockerfile makes the same one.
    let dockerfile = text("Dockerfile");
    let last = dockerfile.split("\nFROM scratch\n").nth(1).expect("a last stage from scratch");
    let instruction = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let (_, labels) = last.split_once("LABEL ").unwrap();
    let labels = labels.lines().map(|line| {
        let (key, value) = line.trim_end_matches('\\').trim().split_once('=').unwrap();
        (key.to_owned(), serde_json::from_str::<Value>(value).unwrap())
    });
    assert_eq!(
        image.config["config"],
        json!({
            "User": instruction("USER "),
            "Entrypoint": serde_json::from_str::<Value>(instruction("ENTRYPOINT ")).unwrap(),
            "Labels": labels.collect::<serde_json::Map<_, _>>(),
        })
    );

    let folder = |path: &str| ["drwxr-xr-x", "0/0", path].map(str::to_owned);
    let file = |path: &str| ["-rw-r--r--", "0/0", path].map(str::to_owned);
    let program = ["-rwxr-xr-x", "0/0", "credreset"].map(str::to_owned);
    assert_eq!(
        image.entries,
        [
            program,
            folder("etc/"),
            file("etc/nsswitch.conf"),
            folder("etc/ssl/"),
            folder("etc/ssl/certs/"),
            file("etc/ssl/certs/ca-certificates.crt"),
        ]
    );
    let program = image.root.join("credreset");
    let headers = stdout_of(Command::new("readelf").arg("-lW").arg(&program));
    assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "not static: {headers}");
    let bytes = fs::read(&program).unwrap();
    let home = std::env::var("HOME").unwrap();
    for path in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/.cargo")] {
        assert!(!bytes.windows(path.len()).any(|part| part == path.as_bytes()), "{path} is in the program");
    }
    assert_eq!(
        stdout_of(Command::new(image.program()).arg("--version")).trim(),
        concat!("credreset ", env!("CARGO_PKG_VERSION"))
    );
    fs::remove_dir_all(dir).unwrap();
}

/// The walk-through's own commands; the operator is the image's program, with the Deployment's arguments and environment.
#[test]
fn walk_through_of_kind() {
    let site = Site::with(&Setup { cluster: Cluster::Empty, ..Setup::default() });
    if !site.is_own() {
        return;
    }
    let copy = site.dir.join("project");
    fs::create_dir(&copy).unwrap();
    stdout_of(Command::new("cp").arg("-r").args(["charts", "examples"].map(path)).arg(&copy));
    // The test's sandbox has a port and a name of its own.
    let manifest = copy.join("examples/zoho-sandbox/directory.yaml");
    let moved = site.sandbox.url.replace("127.0.0.1", "localhost");
    let url = "http://127.0.0.1:8090";
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replace(url, &moved)).unwrap();

    let commands = blocks("examples/kind/README.md", "sh");
    let [install, sandbox, reset] = &commands[..] else { panic!("{commands:?}") };
    site.shell(&copy, install);
    site.shell(&copy, sandbox);
    let deployment = site.get(&["deployment", "-n", SYSTEM, "credreset"]);
    assert_eq!(deployment["spec"]["replicas"], 1, "each Pod would have a sandbox of its own");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = |name: &str| pod["containers"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
    assert_eq!(container("sandbox")["image"], container("credreset")["image"]);
    assert_eq!(container("sandbox")["args"], json!(["sandbox", "--listen", url.strip_prefix("http://").unwrap()]));

    let image = Image::unpack(&site.dir);
    let _dns = mount(&site, &image);
    let mut command = Command::new(image.program());
    command.env_clear().envs(service(&site));
    for variable in container("credreset")["env"].as_array().unwrap() {
        let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.namespace") => SYSTEM,
            Some(_) => "credreset-0",
            None => variable["value"].as_str().unwrap(),
        };
        command.env(variable["name"].as_str().unwrap(), value);
    }
    command.args(container("credreset")["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()));
    command.args(["--listen", "127.0.0.1:0"]); // all Pods of this machine share its address
    let operator = site.run(&mut command);
    let shown = site.shell(&copy, reset);
    let password = site.secret(TEAM, "annette-password", "password");
    assert!(shown.contains("Applied") && shown.trim_end().ends_with(&password), "{shown}");
    assert_eq!(site.sandbox.sign_in("annette.c@zylker.biz", &password), "must-change");
    assert_eq!(site.leader().split('/').next(), Some("credreset-0"));
    assert_eq!(operator.stop(), Some(0));
}

/// The API server's address and certificate authority, and the account's token, from its kubeconfig.
fn account(site: &Site) -> (Url, Vec<u8>, String) {
    let config: Value = serde_json::from_slice(&fs::read(site.service_account(None)).unwrap()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let authority = BASE64_STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
    let token = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    (cluster["server"].as_str().unwrap().parse().unwrap(), authority, token)
}

/// The kubelet's environment variables about the API server, as each container has them.
fn service(site: &Site) -> [(&'static str, String); 2] {
    let (server, ..) = account(site);
    let port = server.port().unwrap().to_string();
    [("KUBERNETES_SERVICE_HOST", server.host_str().unwrap().to_owned()), ("KUBERNETES_SERVICE_PORT", port)]
}

/// What the kubelet puts into each container: the account's token, and where names are looked up. Only root may listen where DNS
/// does: without it the name is in /etc/hosts.
fn mount(site: &Site, image: &Image) -> Option<tokio::runtime::Runtime> {
    let (_, authority, token) = account(site);
    let folder = "var/run/secrets/kubernetes.io/serviceaccount";
    for (name, text) in [("ca.crt", &authority[..]), ("token", token.as_bytes()), ("namespace", SYSTEM.as_bytes())] {
        image.write(&format!("{folder}/{name}"), text);
    }
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 53, high, low);
    let Ok(socket) = UdpSocket::bind((address, 53)) else {
        image.write("etc/hosts", "127.0.0.1 localhost\n");
        return None;
    };
    image.write("etc/resolv.conf", format!("nameserver {address}\n"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    socket.set_nonblocking(true).unwrap();
    runtime.spawn(async move {
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        let mut query = [0; 512];
        while let Ok((count, client)) = socket.recv_from(&mut query).await {
            // Every name has the address 127.0.0.1, and nothing else (RFC 1035). The question stands after 12 bytes; its last four
            // are type and class.
            let mut end = 12;
            while query[end] != 0 {
                end += 1 + usize::from(query[end]);
            }
            let is_address = query[end + 1..end + 3] == [0, 1];
            let mut answer = query[..count.min(end + 5)].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
            if is_address {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, client).await;
        }
    });
    Some(runtime)
}
