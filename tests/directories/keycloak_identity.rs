//! The operator signs in at a real Keycloak with a token of its own `ServiceAccount`, from a real API server: there is no secret that
//! somebody could steal. Set up by the very commands of docs/keycloak.md.
use std::io::{Read, Write};

use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    keycloak_rights::administrator,
    keycloak_server::{self, CLIENT, Keycloak, Realm},
    password,
    support::{SYSTEM, Site, blocks, merge, message, tcp, template, wait_for},
};

/// Where the keys of the cluster can be fetched without credentials: a copy.
fn published(keys: String) -> String {
    let address = tcp::server(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", keys.len());
        let _ = write!(stream, "{head}Connection: close\r\n\r\n{keys}");
    });
    format!("http://{address}/jwks")
}

/// The operator may request tokens of its own account, as the chart lets it.
fn may_request_tokens(site: &Site) {
    let objects = template(&["workloadIdentity=true"]).unwrap();
    let is_own = |object: &&Value| object["kind"] == "Role" && object["metadata"]["name"] == "credreset";
    let own = objects.iter().find(is_own).unwrap();
    let rule = own["rules"].as_array().unwrap().iter().find(|rule| rule["resources"][0] == "serviceaccounts/token");
    assert_eq!(
        rule.unwrap(),
        &json!({"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["credreset"], "verbs": ["create"]})
    );
    site.apply_own(vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "test-token", "namespace": SYSTEM}, "rules": [rule],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "test-token", "namespace": SYSTEM},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "test-token"},
            "subjects": [{"kind": "ServiceAccount", "name": "credreset", "namespace": SYSTEM}],
        }),
    ]);
}

/// A Directory for the realm without a Secret.
fn directory(site: &Site, name: &str, realm: &Realm, identity: Value) {
    let [mut directory, _] = keycloak_server::directory(name, realm, &realm.server.url, json!({}));
    let mut provider = json!({"credentials": null, "workloadIdentity": {"clientID": CLIENT}});
    merge(&mut provider["workloadIdentity"], identity);
    merge(&mut directory["spec"]["provider"]["keycloak"], provider);
    site.leads_to(name, realm);
    site.apply_own(vec![directory]);
}

/// Has the Directory checked now. There is no Secret whose change would do that.
fn again(site: &Site) {
    let now = site.get(&["directory", "acme"]);
    let other = now["spec"]["limits"]["resetsPerHour"].as_i64().unwrap() - 1;
    let patch = json!({"spec": {"limits": {"resetsPerHour": other}}}).to_string();
    site.kubectl(&["patch", "directory", "acme", "--type=merge", "-p", &patch]);
}

/// Changes the realm, and waits until the Directory says this of it.
fn lacks(site: &Site, realm: &Realm, path: &str, change: Value, expected: &[&str]) {
    let before = realm.get(path);
    let mut changed = before.clone();
    merge(&mut changed, change);
    realm.admin(Method::PUT, path, Some(changed));
    again(site);
    let now = wait_for("the Directory to say what is missing", || {
        let now = site.get(&["directory", "acme"]);
        let message = message(&now);
        expected.iter().all(|part| message.contains(part)).then_some(now)
    });
    println!("{path}: {}", message(&now));
    realm.admin(Method::PUT, path, Some(before));
}

#[test]
fn no_secret_to_steal() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let site = Site::start();
    administrator(&server, "trustee");
    realm.admin(Method::DELETE, &format!("/clients/{}", realm.client(CLIENT)), None);

    // The page's commands, with the cluster's own issuer and keys.
    let keys = site.kubectl(&["get", "--raw", "/openid/v1/jwks"]);
    let discovery: Value =
        serde_json::from_str(&site.kubectl(&["get", "--raw", "/.well-known/openid-configuration"])).unwrap();
    let issuer = discovery["issuer"].as_str().unwrap();
    let commands = blocks("docs/keycloak.md", "sh identity").concat();
    let published = published(keys);
    let commands = commands
        .replace("https://keys.acme.example/jwks", &published)
        .replace("kubectl ", &format!("kubectl --kubeconfig='{}' ", site.kubeconfig().display()));
    let rights = blocks("docs/keycloak.md", "sh roles").concat();
    let rights: Vec<&str> =
        rights.lines().filter(|line| line.contains("add-roles") || line.contains("--rolename")).collect();
    let commands = [blocks("docs/keycloak.md", "sh sign-in").concat(), commands, rights.join("\n")].concat();
    realm.commands("trustee-old-1", &commands.replace("--user admin", "--user trustee"));

    // Without the right to ask for tokens, the message says which one.
    directory(&site, "acme", &realm, json!({}));
    let operator = site.operator();
    let msg = site.until_directory("acme", "CredentialsRefused");
    let asks = "the operator may not request tokens of ServiceAccount credreset-system/credreset: set chart value workloadIdentity: true";
    assert!(msg.contains(asks), "{msg}");
    may_request_tokens(&site);
    again(&site);
    site.until_directory("acme", "Connected");
    site.apply(&password("acme", "ann", json!({})));
    assert_eq!(applied(&site, "ann"), "Response");
    assert_eq!(realm.sign_in("ann", &delivered(&site, "ann")), "Account is not fully set up");
    let secrets = site.kubectl(&["get", "secrets", "-n", SYSTEM, "-o", "name"]);
    assert_eq!(secrets.trim(), "", "the operator has no Secret");

    // The token that is mounted into its Pod, and one for another audience, open nothing here.
    let mounted = site.kubectl(&["create", "token", "-n", SYSTEM, "credreset"]);
    let elsewhere =
        site.kubectl(&["create", "token", "-n", SYSTEM, "credreset", "--audience=https://elsewhere.example"]);
    site.kubectl(&["create", "serviceaccount", "-n", SYSTEM, "other"]);
    let audience = format!("--audience={}/realms/{}", server.url, realm.name);
    let other = site.kubectl(&["create", "token", "-n", SYSTEM, "other", &audience]);
    for (token, expected) in [(&mounted, "audience"), (&elsewhere, "audience"), (&other, "Invalid client")] {
        let grant = realm.grant_by_assertion(token.trim());
        assert!(grant["access_token"].is_null(), "{grant}");
        assert!(grant["error_description"].as_str().unwrap().contains(expected), "{grant}");
    }
    // Nor does a Directory get a token that is for something else than a realm of this name.
    directory(&site, "greedy", &realm, json!({"audience": issuer}));
    let msg = site.until_directory("greedy", "InvalidConfiguration");
    assert!(msg.contains("spec.provider.keycloak.workloadIdentity.audience must be the issuer of the realm"), "{msg}");
    let audience = format!("https://elsewhere.example/realms/{}", realm.name);
    directory(&site, "wrong", &realm, json!({ "audience": audience }));
    let msg = site.until_directory("wrong", "CredentialsRefused");
    let says =
        format!("takes no token for the audience {audience}: set spec.provider.keycloak.workloadIdentity.audience");
    assert!(msg.contains(&says), "{msg}");

    every_trust_that_is_missing(&site, &realm, issuer);
    drop(operator);
    let refused = site.try_kubectl(
        &[
            "patch",
            "directory",
            "acme",
            "--type=merge",
            "-p",
            &json!({"spec": {"provider": {"keycloak": {"credentials": {"secret": "acme-keycloak"}}}}}).to_string(),
        ],
        "",
    );
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(error.contains("set exactly one of credentials and workloadIdentity"), "{error}");
}

/// What the realm needs is named in words that can be copied into it.
fn every_trust_that_is_missing(site: &Site, realm: &Realm, issuer: &str) {
    let provider = "/identity-provider/instances/cluster".to_owned();
    let client = format!("/clients/{}", realm.client(CLIENT));
    let trust = [
        "Keycloak does not trust the operator's token",
        issuer,
        "system:serviceaccount:credreset-system:credreset",
        "supportsClientAssertions",
        "jwt.credential.sub",
    ];
    for (path, change) in [
        (&provider, json!({"enabled": false})),
        (&provider, json!({"config": {"supportsClientAssertions": "false"}})),
        (&provider, json!({"config": {"issuer": "https://elsewhere.example"}})),
        (&provider, json!({"config": {"jwksUrl": "http://127.0.0.1:9/jwks"}})),
        (&client, json!({"attributes": {"jwt.credential.sub": "system:serviceaccount:other:other"}})),
        (&client, json!({"attributes": {"jwt.credential.issuer": "elsewhere"}})),
        (&client, json!({"clientAuthenticatorType": "client-secret"})),
        (&client, json!({"enabled": false})),
    ] {
        lacks(site, realm, path, change, &trust);
        again(site);
        site.until_directory("acme", "Connected");
    }
    // With it Keycloak deletes the account's user, whose rights are gone.
    lacks(site, realm, &client, json!({"serviceAccountsEnabled": false}), &["has no service account: switch it on"]);
}
