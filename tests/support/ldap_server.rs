//! A real LDAP server of a test's own (tests/support/servers/openldap.sh, samba.sh), as its administrator and its users see it.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, Mod, Scope, SearchEntry, controls::RawControl};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{RESETS, SYSTEM, Site, TEAM, all_ended, condition, merge, message, path};

pub const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Where the users of Directories sign in, by the folders of sites and the names of these.
static DOORS: Mutex<BTreeMap<(PathBuf, String), Door>> = Mutex::new(BTreeMap::new());
pub static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A server. It is gone when this is dropped, and when the test process ends in whatever way.
pub struct Server {
    script: &'static str,
    instance: String,
    environment: Vec<(&'static str, String)>,
    values: BTreeMap<String, String>,
    tls: Arc<ClientConfig>,
}

/// Where its users sign in.
#[derive(Clone)]
pub struct Door {
    /// Of directory.
    pub kind: String,
    url: String,
    tls: Arc<ClientConfig>,
}

impl Door {
    pub fn sign_in(&self, dn: &str, password: &str) -> SignIn {
        RUNTIME.block_on(async { sign_in(&mut connect(&self.url, Arc::clone(&self.tls)).await, dn, password).await })
    }
}

/// What a sign-in is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    pub code: u32,
    pub diagnostic: String,
    /// The password policy's error.
    pub policy: Option<u8>,
}

/// A name and the attributes of a new entry.
pub type Entry<'a> = (String, Vec<(&'a str, Vec<u8>)>);

impl Server {
    pub fn openldap() -> Self {
        Self::start("openldap", &[])
    }

    /// A read-only copy of this server, under the same certificate. It has its changes from it alone.
    pub fn replica(&self, environment: &[(&'static str, &str)]) -> Self {
        let provider = [("PROVIDER", self.instance.as_str())];
        Self::start(self.script, &[environment, &provider].concat())
    }

    pub fn samba() -> Self {
        Self::start("samba", &[])
    }

    pub fn start(script: &'static str, environment: &[(&'static str, &str)]) -> Self {
        let instance = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut server = Self { script, instance, environment, values: BTreeMap::new(), tls: trusting(&[]) };
        let output = server.command("up").stderr(Stdio::inherit()).output().expect(script);
        assert!(output.status.success(), "{script}.sh up failed");
        let printed = String::from_utf8(output.stdout).unwrap();
        server.values = printed
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        server.tls = trusting(&[server.ca()]);
        server
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(path(&format!("tests/support/servers/{}.sh", self.script)));
        command.arg(what).env("INSTANCE", &self.instance).env("DIE_WITH", std::process::id().to_string());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// As the script says: `stop`, and `up` again on the same port and data.
    pub fn run(&self, what: &str) {
        assert!(self.command(what).stdout(Stdio::null()).status().unwrap().success(), "{}.sh {what}", self.script);
    }

    /// Runs a shell's commands with the server's own tools.
    pub fn sh(&self, commands: &str) {
        let output = self.command("sh").arg(commands).output().unwrap();
        assert!(output.status.success(), "{commands}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the script has printed.
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).unwrap_or_else(|| panic!("{}.sh up prints no {name}", self.script))
    }

    /// What the script prints where this machine has what it takes.
    pub fn has(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// PEM, of the authority that signed its certificate.
    pub fn ca(&self) -> String {
        std::fs::read_to_string(self.value("CA_FILE")).unwrap()
    }

    /// PEM, of its own certificate and key.
    pub fn certificate(&self) -> [String; 2] {
        let folder = std::path::Path::new(self.value("CA_FILE")).parent().unwrap();
        ["server.pem", "server.key"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap())
    }

    /// For clients of it.
    pub fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    async fn connect(&self) -> Ldap {
        connect(self.value("LDAPS_URL"), self.tls()).await
    }

    async fn bind(&self, dn: &str, password: &str) -> (Ldap, SignIn) {
        let mut ldap = self.connect().await;
        let answer = sign_in(&mut ldap, dn, password).await;
        (ldap, answer)
    }

    /// The user's own view.
    pub fn sign_in(&self, dn: &str, password: &str) -> SignIn {
        RUNTIME.block_on(self.bind(dn, password)).1
    }

    /// The same for many, in their order.
    pub fn sign_ins(&self, all: &[(String, &str)]) -> Vec<SignIn> {
        RUNTIME.block_on(async {
            let mut ldap = self.connect().await;
            let mut answers = Vec::new();
            for (dn, password) in all {
                answers.push(sign_in(&mut ldap, dn, password).await);
            }
            answers
        })
    }

    /// The user chooses another password.
    pub fn change_own(&self, dn: &str, old: &str, new: &str) {
        RUNTIME.block_on(async {
            let (mut ldap, _) = self.bind(dn, old).await;
            let changes = vec![Mod::Replace("userPassword", HashSet::from([new]))];
            ldap.modify(dn, changes).await.unwrap().success().unwrap();
        });
    }

    fn administrator(&self) -> (&str, &str) {
        (self.value("ADMIN_DN"), self.value("ADMIN_PASSWORD"))
    }

    /// As the administrator. No values: the attribute is removed.
    pub fn set(&self, dn: &str, attribute: &str, values: &[&str]) {
        RUNTIME.block_on(async {
            let (user, password) = self.administrator();
            let (mut ldap, _) = self.bind(user, password).await;
            let changes = vec![Mod::Replace(attribute, values.iter().copied().collect())];
            ldap.modify(dn, changes).await.unwrap().success().unwrap();
        });
    }

    /// As another user: what a change of one attribute is answered.
    pub fn try_set(&self, user: &str, password: &str, dn: &str, attribute: &str, value: &str) -> u32 {
        RUNTIME.block_on(async {
            let (mut ldap, answer) = self.bind(user, password).await;
            assert_eq!(answer.code, 0, "{user}");
            ldap.modify(dn, vec![Mod::Replace(attribute, HashSet::from([value]))]).await.unwrap().rc
        })
    }

    /// As the administrator: entries with their attributes.
    pub fn add(&self, entries: &[Entry<'_>]) {
        RUNTIME.block_on(async {
            let (user, password) = self.administrator();
            let (mut ldap, _) = self.bind(user, password).await;
            for (dn, attributes) in entries {
                // Values of one attribute belong together.
                let mut all: HashMap<Vec<u8>, HashSet<Vec<u8>>> = HashMap::new();
                for (name, value) in attributes {
                    all.entry(name.as_bytes().to_vec()).or_default().insert(value.clone());
                }
                ldap.add(dn, all.into_iter().collect()).await.unwrap().success().unwrap();
            }
        });
    }

    /// As the administrator: an entry with its operational attributes.
    pub fn entry(&self, dn: &str, attributes: &[&str]) -> SearchEntry {
        self.entries(&[dn.to_owned()], attributes).remove(0)
    }

    /// The same of several.
    pub fn entries(&self, dns: &[String], attributes: &[&str]) -> Vec<SearchEntry> {
        RUNTIME.block_on(async {
            let (user, password) = self.administrator();
            let (mut ldap, _) = self.bind(user, password).await;
            let mut all = Vec::new();
            for dn in dns {
                let found =
                    ldap.search(dn, Scope::Base, "(objectClass=*)", attributes).await.unwrap().success().unwrap();
                all.push(SearchEntry::construct(found.0.into_iter().next().unwrap_or_else(|| panic!("no {dn}"))));
            }
            all
        })
    }

    /// As the administrator: how many values of this attribute each entry has.
    pub fn count(&self, attribute: &str) -> HashMap<String, usize> {
        RUNTIME.block_on(async {
            let (user, password) = self.administrator();
            let (mut ldap, _) = self.bind(user, password).await;
            let base = self.value("BASE_DN");
            let found =
                ldap.search(base, Scope::Subtree, "(objectClass=*)", [attribute]).await.unwrap().success().unwrap();
            let entries = found.0.into_iter().map(SearchEntry::construct);
            entries.map(|entry| (entry.dn, entry.attrs.get(attribute).map_or(0, Vec::len))).collect()
        })
    }

    /// The values of one attribute.
    pub fn get(&self, dn: &str, attribute: &str) -> Vec<String> {
        self.entry(dn, &[attribute]).attrs.remove(attribute).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.command("down").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

async fn connect(url: &str, tls: Arc<ClientConfig>) -> Ldap {
    let settings = LdapConnSettings::new().set_config(tls);
    let (connection, ldap) = LdapConnAsync::with_settings(settings, url).await.unwrap();
    tokio::spawn(async move { drop(connection.drive().await) });
    ldap
}

async fn sign_in(ldap: &mut Ldap, dn: &str, password: &str) -> SignIn {
    ldap.with_controls(RawControl { ctype: POLICY.to_owned(), crit: false, val: None });
    let result = ldap.simple_bind(dn, password).await.unwrap();
    let policy = result.ctrls.iter().find(|control| control.1.ctype == POLICY);
    // SEQUENCE { error [1] ENUMERATED }, and nothing else where there is an error.
    let policy = policy.and_then(|control| match control.1.val.as_deref() {
        Some([0x30, 3, 0x81, 1, code]) => Some(*code),
        _ => None,
    });
    SignIn { code: result.rc, diagnostic: result.text, policy }
}

fn trusting(authorities: &[String]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in authorities {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Site {
    /// A Directory of this kind for the server, found at `url`, which may be a proxy's; `patch` is merged into its spec.
    pub fn ldap(&self, name: &str, kind: &str, server: &Server, url: &str, patch: Value) {
        self.ldaps(&[(name, url)], kind, server, &patch);
    }

    /// Several of them, by name and URL.
    pub fn ldaps(&self, all: &[(&str, &str)], kind: &str, server: &Server, patch: &Value) {
        let mut objects = Vec::new();
        for (name, url) in all {
            let door = Door { kind: kind.to_owned(), url: server.value("LDAPS_URL").to_owned(), tls: server.tls() };
            DOORS.lock().unwrap().insert((self.dir.clone(), (*name).to_owned()), door);
            objects.extend(directory(name, kind, server, url, patch));
        }
        self.apply_own(objects);
    }

    /// Where the users of this Directory sign in.
    pub fn door_of(&self, directory: &str) -> Option<Door> {
        DOORS.lock().unwrap().get(&(self.dir.clone(), directory.to_owned())).cloned()
    }

    /// Waits until every request is settled, as long as one after the other is; returns for each its reason, and the evidence
    /// if it was applied.
    pub fn ends(&self) -> BTreeMap<String, (String, String)> {
        let end = |reset: &Value| {
            let name = reset["metadata"]["name"].as_str()?.to_owned();
            reset["status"]["outcome"].as_str()?;
            // The evidence, or the message where there is none.
            let evidence = reset["status"]["evidence"].as_str().map_or_else(|| message(reset), str::to_owned);
            Some((name, (condition(reset, "Ready")?.1, evidence)))
        };
        self.when("the end of every request", &RESETS, |all| {
            (!all.is_empty() && all_ended(all)).then(|| all.values().filter_map(end).collect())
        })
    }

    /// The passwords that were delivered, by the name of the request.
    pub fn delivered(&self) -> BTreeMap<String, String> {
        let of_request =
            |(name, password): (String, String)| Some((name.strip_suffix("-password")?.to_owned(), password));
        self.passwords(TEAM).into_iter().filter_map(of_request).collect()
    }

    /// Has the Directory checked now: after an outage that may take minutes.
    pub fn look_again(&self, directory: &str) {
        let secret = format!("secret/{directory}-ldap");
        self.kubectl(&["annotate", "-n", SYSTEM, &secret, "looked-at=again", "--overwrite"]);
    }

    /// The Secret that this Directory names.
    pub fn ldap_secret(&self, directory: &str, dn: &str, password: &str) {
        self.apply_own(vec![credentials(directory, dn, password)]);
    }
}

/// A Directory of this kind, with `patch` merged into its spec, and the Secret that it names.
pub fn directory(name: &str, kind: &str, server: &Server, url: &str, patch: &Value) -> [Value; 2] {
    let provider = json!({
        "urls": [url], "baseDN": server.value("BASE_DN"), "caBundle": server.ca(), "credentials": {"secret": format!("{name}-ldap")},
    });
    let mut spec = json!({
        "provider": {kind: provider},
        "allow": [{"name": "all", "namespaces": ["helpdesk"], "modes": ["Password", "MFA"], "users": {"everyone": true}}],
        "limits": {"resetsPerHour": 100_000, "minIntervalPerUser": "0s"},
    });
    merge(&mut spec, patch.clone());
    [
        json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": name}, "spec": spec}),
        credentials(name, server.value("BIND_DN"), server.value("BIND_PASSWORD")),
    ]
}

fn credentials(directory: &str, dn: &str, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("{directory}-ldap"), "namespace": SYSTEM},
        "stringData": {"bind-dn": dn, "bind-password": password},
    })
}
