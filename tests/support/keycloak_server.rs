//! A real Keycloak (tests/support/servers/keycloak.sh): one for all tests of a run, with a realm for each of them, and what its
//! users see. All answers below were seen on Keycloak 26.
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio, id},
    sync::{
        Arc, LazyLock, Mutex, OnceLock, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use http::{Method, header};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{RUN, SYSTEM, Site, merge, path, text, wait_for};

mod browser;
pub use browser::{Browser, CODE, REFUSED, SIGNED_IN, their_code};

/// The operator's client in every realm.
pub const CLIENT: &str = "credreset";
pub const CLIENT_SECRET: &str = "credreset-secret";

static NEXT: AtomicU32 = AtomicU32::new(0);
/// The realms of Directories, by the folders of sites and the names of these. They keep no server up.
static REALMS: Mutex<BTreeMap<(PathBuf, String), Known>> = Mutex::new(BTreeMap::new());
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A server. It is gone when this is dropped, and when its owner ends in whatever way: the test, or what runs the tests.
pub struct Keycloak {
    pub url: String,
    pub https_url: String,
    /// PEM, of the authority that signed its certificate.
    pub ca: String,
    instance: String,
    owner: u32,
    admin: [String; 2],
    /// Where its command-line tools are.
    tools: String,
    client: reqwest::Client,
}

/// The answer of a server.
pub struct Answer {
    pub status: u16,
    pub text: String,
    location: String,
    cookies: Vec<String>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Keycloak {
    /// The one that the tests of a run share, which are processes of their own; it is started with the first.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Keycloak>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Self::start(RUN.0.clone(), RUN.1)))
    }

    /// One for a test that stops it.
    pub fn own() -> Arc<Self> {
        Self::start(format!("t{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed)), id())
    }

    /// It ends with the process that has this number.
    fn start(instance: String, owner: u32) -> Arc<Self> {
        let output = script(&instance, owner, "up")
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/support/servers/keycloak.sh");
        assert!(output.status.success(), "tests/support/servers/keycloak.sh up failed");
        let printed = String::from_utf8(output.stdout).unwrap();
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{name} is missing in: {printed}")).to_owned()
        };
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Arc::new(Self {
            url: value("KEYCLOAK_URL"),
            https_url: value("KEYCLOAK_HTTPS_URL"),
            ca: std::fs::read_to_string(value("KEYCLOAK_CA_FILE")).unwrap(),
            instance,
            owner,
            admin: [value("KEYCLOAK_ADMIN_CLIENT"), value("KEYCLOAK_ADMIN_SECRET")],
            tools: value("KEYCLOAK_BIN"),
            client: client.build().unwrap(),
        })
    }

    /// As the script says: `stop`, and `up` again on the same port and data.
    pub fn run(&self, what: &str) {
        assert!(
            script(&self.instance, self.owner, what).stdout(Stdio::null()).status().unwrap().success(),
            "keycloak.sh {what}"
        );
    }

    /// A realm of a test's own: that of keycloak-realm.json, with `patch` merged into it. Its passwords are hashed once instead of as
    /// often as is secure, which took most of a test's time.
    pub fn realm(self: &Arc<Self>, patch: Value) -> Realm {
        let mut document = document();
        let policy = document["passwordPolicy"].as_str().unwrap();
        document["passwordPolicy"] = json!(format!("hashAlgorithm(pbkdf2-sha256) and hashIterations(1) and {policy}"));
        let name = format!("acme-{}-{}", id(), NEXT.fetch_add(1, Ordering::Relaxed));
        merge(&mut document, patch);
        document["realm"] = json!(name);
        let answer = self.admin(&Method::POST, "", Some(&document));
        assert_eq!(answer.status, 201, "{}", answer.text);
        let realm = Realm::of(self, &name);
        for user in document["users"].as_array().into_iter().flatten() {
            realm.know(user);
        }
        realm
    }

    fn token(&self, realm: &str, client: &str, secret: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("client_id", client), ("client_secret", secret)];
        let url = format!("{}/realms/{realm}/protocol/openid-connect/token", self.url);
        let answer = send(self.client.post(url).form(&form));
        answer.json()["access_token"].as_str().unwrap_or_else(|| panic!("no token: {}", answer.text)).to_owned()
    }

    /// A call of the server's administrator, below `/admin/realms`.
    fn admin(&self, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        // With every call anew: a token names only the realms that were there when it was given.
        let [id, secret] = &self.admin;
        self.call(&self.token("master", id, secret), method, path, body)
    }

    fn call(&self, token: &str, method: &Method, path: &str, body: Option<&Value>) -> Answer {
        let request =
            self.client.request(method.clone(), format!("{}/admin/realms{path}", self.url)).bearer_auth(token);
        send(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        let _ = script(&self.instance, self.owner, "down").stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn document() -> Value {
    serde_json::from_str(&text("tests/support/servers/keycloak-realm.json")).unwrap()
}

/// A user as keycloak-realm.json has it.
pub fn realm_user(name: &str) -> Value {
    document()["users"].as_array().unwrap().iter().find(|user| user["username"] == name).unwrap().clone()
}

fn script(instance: &str, owner: u32, what: &str) -> Command {
    let mut command = Command::new(path("tests/support/servers/keycloak.sh"));
    command.arg(what).env("INSTANCE", instance).env("DIE_WITH", owner.to_string());
    command
}

fn send(request: reqwest::RequestBuilder) -> Answer {
    RUNTIME.block_on(async {
        let response = request.send().await.unwrap_or_else(|e| panic!("Keycloak: {e:?}"));
        let texts = |name| {
            let values = response.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        Answer {
            status: response.status().as_u16(),
            location: texts(header::LOCATION).pop().unwrap_or_default(),
            cookies: texts(header::SET_COOKIE),
            text: response.text().await.unwrap(),
        }
    })
}

/// A realm's server, its name, and what its users know.
type Known = (Weak<Keycloak>, String, Passwords);

/// What users know, by their names and addresses.
type Passwords = Arc<Mutex<BTreeMap<String, String>>>;

/// A realm, as its administrator and its users see it.
pub struct Realm {
    pub server: Arc<Keycloak>,
    pub name: String,
    passwords: Passwords,
}

impl Realm {
    pub fn of(server: &Arc<Keycloak>, name: &str) -> Self {
        Self { server: Arc::clone(server), name: name.to_owned(), passwords: Arc::default() }
    }

    /// Keeps what a user is made with.
    fn know(&self, user: &Value) {
        let credentials = user["credentials"].as_array().into_iter().flatten();
        let password = credentials.filter(|one| one["type"] == "password").find_map(|one| one["value"].as_str());
        for name in ["username", "email"].iter().filter_map(|field| user[field].as_str()) {
            if let Some(password) = password {
                self.knows(name, password);
            }
        }
    }

    /// The user knows this password from now on.
    pub fn knows(&self, name: &str, password: &str) {
        self.passwords.lock().unwrap().insert(name.to_lowercase(), password.to_owned());
    }

    /// What the user knows, if there is anything.
    pub fn known(&self, name: &str) -> Option<String> {
        self.passwords.lock().unwrap().get(&name.to_lowercase()).cloned()
    }

    /// A call of the administrator, below the realm; it must succeed.
    pub fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.server.admin(&method, &format!("/{}{path}", self.name), body.as_ref());
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
        answer.json()
    }

    pub fn get(&self, path: &str) -> Value {
        self.admin(Method::GET, path, None)
    }

    /// Changes settings of the realm.
    pub fn set(&self, patch: Value) {
        self.admin(Method::PUT, "", Some(patch));
    }

    /// The status of a call of the operator's client, which has this secret.
    pub fn as_operator(&self, secret: &str, method: Method, path: &str, body: Option<Value>) -> u16 {
        let token = self.server.token(&self.name, CLIENT, secret);
        self.server.call(&token, &method, &format!("/{}{path}", self.name), body.as_ref()).status
    }

    /// Takes the whole realm away.
    pub fn delete(&self) {
        self.admin(Method::DELETE, "", None);
    }

    /// Runs commands of a page with `kcadm.sh`, for this realm and server instead of the page's; returns what they print. The first
    /// signs in as a user with this password.
    pub fn commands(&self, password: &str, commands: &str) -> String {
        // Where kcadm.sh keeps its sign-in is its user's home. A program so short-lived is not worth compiling well.
        let script = format!(
            "set -euo pipefail; home=$(mktemp -d); trap 'rm -rf \"$home\"' EXIT\n\
             export KC_OPTS=\"-Duser.home=$home -XX:TieredStopAtLevel=1 -XX:+UseSerialGC\"\n\
             {commands}"
        );
        let script = script.replace("https://sso.acme.example", &self.server.url);
        let script = script.replace("realm=acme\n", &format!("realm={}\n", self.name));
        let path = format!("{}:{}", self.server.tools, std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        // It asks for the password on a terminal, where this is not set.
        bash.args(["-c", &script]).env("PATH", path).env("KC_CLI_PASSWORD", password).stdin(Stdio::null());
        let output = bash.output().unwrap();
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn user(&self, name: &str) -> Value {
        self.get(&format!("/users?username={name}&exact=true"))[0].clone()
    }

    pub fn id(&self, name: &str) -> String {
        self.user(name)["id"].as_str().unwrap_or_else(|| panic!("no user {name}")).to_owned()
    }

    /// Adds a user with the password `NAME-old-1` and the address NAME@acme.example; returns the id.
    pub fn add_user(&self, name: &str, patch: Value) -> String {
        let mut user = json!({
            "username": name, "email": format!("{name}@acme.example"), "emailVerified": true, "enabled": true,
            "firstName": "Some", "lastName": "Body", "credentials": [{"type": "password", "value": format!("{name}-old-1")}],
        });
        merge(&mut user, patch);
        self.know(&user);
        self.admin(Method::POST, "/users", Some(user));
        self.id(name)
    }

    /// As a colleague does it by hand.
    pub fn reset_by_hand(&self, id: &str, password: &str) {
        let body = json!({"type": "password", "value": password, "temporary": false});
        self.admin(Method::PUT, &format!("/users/{id}/reset-password"), Some(body));
    }

    pub fn credentials(&self, id: &str) -> Vec<Value> {
        self.get(&format!("/users/{id}/credentials")).as_array().unwrap().clone()
    }

    /// The kinds of the user's credentials, in order.
    pub fn kinds(&self, id: &str) -> Vec<String> {
        let mut kinds: Vec<_> = self.credentials(id).iter().map(|c| c["type"].as_str().unwrap().to_owned()).collect();
        kinds.sort();
        kinds
    }

    /// Resets of the user's password that Keycloak's own admin events know of, by any client.
    pub fn resets(&self, id: &str) -> usize {
        let path = format!("/admin-events?operationTypes=ACTION&resourcePath=users/{id}/reset-password&max=100");
        self.get(&path).as_array().unwrap().len()
    }

    /// Gives the operator another client secret.
    pub fn rotate_secret(&self) -> String {
        let client = self.client(CLIENT);
        let secret = self.admin(Method::POST, &format!("/clients/{client}/client-secret"), None);
        secret["value"].as_str().unwrap().to_owned()
    }

    /// Keycloak's own id of a client.
    pub fn client(&self, id: &str) -> String {
        self.get(&format!("/clients?clientId={id}"))[0]["id"].as_str().unwrap().to_owned()
    }

    /// A token of the operator's client.
    pub fn operators_token(&self) -> String {
        self.server.token(&self.name, CLIENT, CLIENT_SECRET)
    }

    fn endpoint(&self, what: &str) -> String {
        format!("{}/realms/{}/protocol/openid-connect/{what}", self.server.url, self.name)
    }

    /// What the token endpoint says to the client `shop`.
    fn grant(&self, form: &[(&str, &str)]) -> Value {
        self.grant_to("shop", form)
    }

    fn grant_to(&self, client: &str, form: &[(&str, &str)]) -> Value {
        let request = self.server.client.post(self.endpoint("token"));
        send(request.form(&[form, &[("client_id", client)]].concat())).json()
    }

    fn grant_by_password(&self, name: &str, password: &str, more: &[(&str, &str)]) -> Value {
        self.grant(&[&[("grant_type", "password"), ("username", name), ("password", password)], more].concat())
    }

    /// What the token endpoint answers to the operator's client if that signs in with this assertion.
    pub fn grant_by_assertion(&self, assertion: &str) -> Value {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let form =
            [("grant_type", "client_credentials"), ("client_assertion_type", kind), ("client_assertion", assertion)];
        self.grant_to(CLIENT, &form)
    }

    /// Signs in: `signed in`, or why not.
    pub fn sign_in(&self, name: &str, password: &str) -> String {
        sign_in_result(&self.grant_by_password(name, password, &[]))
    }

    /// The same with a code of the authenticator that keycloak-realm.json gives to bob and fay.
    pub fn sign_in_with_code(&self, name: &str, password: &str) -> String {
        sign_in_result(&self.grant_by_password(name, password, &[("totp", &their_code())]))
    }

    /// A refresh token of an online session, or of one that needs no session (`offline`).
    pub fn refresh_token(&self, name: &str, password: &str, offline: bool) -> String {
        let scope = if offline { "openid offline_access" } else { "openid" };
        let answer = self.grant_by_password(name, password, &[("scope", scope)]);
        answer["refresh_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Whether a refresh token is still good.
    pub fn lives(&self, token: &str) -> bool {
        self.lives_of("shop", token)
    }

    /// The same of one of another client's.
    pub fn lives_of(&self, client: &str, token: &str) -> bool {
        let answer = self.grant_to(client, &[("grant_type", "refresh_token"), ("refresh_token", token)]);
        answer["access_token"].is_string()
    }

    /// A refresh token of this client that needs no session.
    pub fn offline_token_of(&self, client: &str, name: &str, password: &str) -> String {
        let form = [
            ("grant_type", "password"),
            ("username", name),
            ("password", password),
            ("scope", "openid offline_access"),
        ];
        let answer = self.grant_to(client, &form);
        answer["refresh_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Two failures within a second lock a user out.
    pub fn lock_out(&self, name: &str, id: &str) {
        wait_for("a lock-out", || {
            self.sign_in(name, "not-the-password");
            self.is_locked_out(id).then_some(())
        });
    }

    pub fn is_locked_out(&self, id: &str) -> bool {
        self.get(&format!("/attack-detection/brute-force/users/{id}"))["disabled"] == true
    }

    /// Failed sign-ins since the last that succeeded.
    pub fn failures(&self, id: &str) -> u64 {
        self.get(&format!("/attack-detection/brute-force/users/{id}"))["numFailures"].as_u64().unwrap()
    }

    /// Takes back that a sign-in has failed, once it counts.
    pub fn forgive(&self, id: &str) {
        wait_for("a failure that counts", || (self.failures(id) > 0).then_some(()));
        self.admin(Method::DELETE, &format!("/attack-detection/brute-force/users/{id}"), None);
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser::new(self)
    }
}

fn sign_in_result(grant: &Value) -> String {
    if grant["access_token"].is_string() {
        return "signed in".to_owned();
    }
    grant["error_description"].as_str().unwrap_or_else(|| panic!("{grant}")).to_owned()
}

impl Site {
    /// A Directory for the realm, found at `url`, which may be a proxy's; `patch` is merged into its spec.
    pub fn keycloak(&self, name: &str, realm: &Realm, url: &str, patch: Value) {
        self.leads_to(name, realm);
        self.apply_own(directory(name, realm, url, patch).into());
    }

    /// The Directory of this name is for the realm.
    pub fn leads_to(&self, directory: &str, realm: &Realm) {
        let known = (Arc::downgrade(&realm.server), realm.name.clone(), Arc::clone(&realm.passwords));
        REALMS.lock().unwrap().insert((self.dir.clone(), directory.to_owned()), known);
    }

    /// The realm that this Directory is for, if it is for one.
    pub fn realm_of(&self, directory: &str) -> Option<Realm> {
        let (server, name, passwords) = REALMS.lock().unwrap().get(&(self.dir.clone(), directory.to_owned()))?.clone();
        Some(Realm { server: server.upgrade()?, name, passwords })
    }

    /// The Secret that this Directory names, with the operator's client.
    pub fn keycloak_secret(&self, directory: &str, client: &str, secret: &str) {
        self.apply_own(vec![credentials(directory, client, secret)]);
    }
}

/// A Directory for the realm, with `patch` merged into its spec, and the Secret that it names.
pub fn directory(name: &str, realm: &Realm, url: &str, patch: Value) -> [Value; 2] {
    let keycloak = json!({"url": url, "realm": realm.name, "credentials": {"secret": format!("{name}-keycloak")}});
    let mut spec = json!({
        "provider": {"keycloak": keycloak},
        "allow": [{"name": "all", "namespaces": ["helpdesk"], "modes": ["Password", "MFA"], "users": {"everyone": true}}],
        "protect": {"groups": ["/Board"]},
        "limits": {"resetsPerHour": 100_000, "minIntervalPerUser": "0s"},
    });
    merge(&mut spec, patch);
    [
        json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": name}, "spec": spec}),
        credentials(name, CLIENT, CLIENT_SECRET),
    ]
}

fn credentials(directory: &str, client: &str, secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("{directory}-keycloak"), "namespace": SYSTEM},
        "stringData": {"client-id": client, "client-secret": secret},
    })
}
