//! The operator against real directory servers, seen from the user's side. Each directory has modules of its own, by whose names
//! `make test-directories ONLY=...` chooses.
#![cfg(test)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::format_push_string,
    reason = "json!(..) arguments and short helpers read better so"
)]
#[path = "../support/mod.rs"]
mod support;
use support::{check_command, folder, keycloak_server, ldap_proxy, ldap_server, ldap_users, person, proxy, wire};

mod check;
mod groups;
mod keycloak;
mod keycloak_crashes;
mod keycloak_evidence;
mod keycloak_failures;
mod keycloak_identity;
mod keycloak_rights;
mod keycloak_untidy;
mod ldap_both;
mod openldap;
mod openldap_failures;
mod openldap_lost;
mod openldap_replica;
mod openldap_start_tls;
mod samba;
mod samba_failures;
mod samba_lost;
mod samba_rights;
mod sign_in;
mod trial;

use serde_json::{Value, json};

use support::{Site, TEAM, condition, merge, message, mfa_reset, password_reset, time};

/// A password reset of the user with this name, under that very name, asked for now: whatever was done before was done before.
/// `patch` is merged into its spec.
fn password(directory: &str, user: &str, patch: Value) -> String {
    asked(&password_reset(user, "", json!({})), directory, user, patch)
}

/// The same for MFA.
fn mfa(directory: &str, user: &str, patch: Value) -> String {
    asked(&mfa_reset(user, "", json!({"spec": {"mfa": {"confirm": user}}})), directory, user, patch)
}

fn asked(manifest: &str, directory: &str, user: &str, patch: Value) -> String {
    let mut object: Value = serde_json::from_str(manifest).unwrap();
    let spec = &mut object["spec"];
    merge(spec, json!({"directory": directory, "user": {"email": null, "username": user}, "requestedAt": time(0)}));
    merge(spec, patch);
    object.to_string()
}

/// Names of so many users, none of which begins with another.
fn names(kind: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{kind}{i}x")).collect()
}

/// In the user's own words, chosen by the request's author.
fn entered(site: &Site, user: &str, password: &str) -> Value {
    let name = format!("{user}-chosen");
    site.apply_own(vec![json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": TEAM},
        "stringData": {"password": password},
    })]);
    json!({"password": {"generate": null, "deliverTo": null, "fromSecret": {"name": name, "key": "password"}}})
}

/// The password that was delivered.
fn delivered(site: &Site, name: &str) -> String {
    site.secret(TEAM, &format!("{name}-password"), "password")
}

/// Waits until the request is done, and signs in as the person would; returns how it is known.
fn applied(site: &Site, name: &str) -> String {
    let evidence = evidence(site, name);
    sign_in::signs_in(site, &site.reset(name));
    evidence
}

/// Waits until the request is done, and does not sign in, since no user can now.
fn evidence(site: &Site, name: &str) -> String {
    let reset = site.until(name, "Applied");
    assert_eq!(reset["status"]["outcome"], "Applied", "{name}");
    assert_eq!(condition(&reset, "Succeeded").unwrap().0, "True", "{name}");
    reset["status"]["evidence"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the request is refused for this reason; returns the message.
fn refused(site: &Site, name: &str, reason: &str) -> String {
    let reset = site.until(name, reason);
    assert_eq!(reset["status"]["outcome"], "NotApplied", "{name}");
    let msg = message(&reset);
    println!("{name}: {reason}: {msg}");
    msg
}
