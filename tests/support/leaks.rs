//! Every output of a site, searched for every secret that was used there.
use std::{collections::BTreeSet, fs};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::Site;

/// In the directories' credentials, whatever becomes of the Secret that holds them, and how every signed token begins.
const KNOWN: [&str; 5] =
    ["sandbox-client-secret", "1000.sandbox-refresh-token", "Sandbox-admin-pw-1", "credreset-secret", "eyJhbGciOi"];
/// A shorter one is found in any text.
const SHORTEST: usize = 8;

/// What is secret at the site: values of Secrets, the sandbox's passwords and tokens.
fn secrets(site: &Site) -> BTreeSet<String> {
    let values = r#"go-template={{range .items}}{{range $key, $value := .data}}{{if ne $key "username"}}{{$value | base64decode}}{{"\n"}}{{end}}{{end}}{{end}}"#;
    let output = site.try_kubectl(&["get", "secrets", "-A", "-o", values], "");
    let mut all: BTreeSet<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let state = fs::read_to_string(site.dir.join("sandbox.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&state).unwrap_or_default();
    all.extend(state["tokens"].as_object().into_iter().flatten().map(|(token, _)| token.clone()));
    let accounts = state["accounts"].as_object().into_iter().flatten();
    all.extend(accounts.filter_map(|(_, account)| Some(account["password"].as_str()?.to_owned())));
    all.extend(KNOWN.map(str::to_owned));
    // The name of the operator's client at a directory is the operator's own.
    all.remove("credreset");
    all.retain(|secret| secret.len() >= SHORTEST);
    all
}

/// The outputs with a secret in them; they are named, what was found is not.
pub(super) fn leaks(site: &Site) -> Vec<String> {
    let patterns: Vec<String> = secrets(site).iter().flat_map(|secret| forms(secret)).collect();
    let search = AhoCorasick::new(&patterns).unwrap();
    let mut found = Vec::new();
    let mut look = |name: &str, text: &[u8]| {
        if let Some(hit) = search.find(text) {
            let line = text[..hit.start()].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            let from = line.max(hit.start().saturating_sub(200));
            let before = String::from_utf8_lossy(&text[from..hit.start()]);
            found.push(format!("{name}, after {before:?}"));
        }
    };
    for entry in fs::read_dir(&site.dir).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The API server's own audit log is not an output of the operator.
        if entry.path().extension().is_some_and(|e| e == "log") && name != "audit.log" {
            look(&name, &fs::read(entry.path()).unwrap_or_default());
        }
    }
    for objects in [
        "/apis/credreset.dev/v1alpha1/credentialresets",
        "/apis/credreset.dev/v1alpha1/credentialresetrecords",
        "/apis/credreset.dev/v1alpha1/directories",
        "/apis/events.k8s.io/v1/events",
        "/api/v1/events",
    ] {
        // The API server may be down by now.
        look(objects, &site.try_kubectl(&["get", "--raw", objects], "").stdout);
    }
    found
}

/// Plain, base64, URL-encoded, and as the API server writes it in JSON.
fn forms(secret: &str) -> [String; 4] {
    let base64 = {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        // Of whole groups only, so that it is found within longer texts, too.
        let whole = &secret.as_bytes()[..secret.len() / 3 * 3];
        whole.chunks(3).fold(String::new(), |mut out, c| {
            let n = (u32::from(c[0]) << 16) | (u32::from(c[1]) << 8) | u32::from(c[2]);
            out.extend([18, 12, 6, 0].map(|shift| char::from(DIGITS[(n >> shift & 63) as usize])));
            out
        })
    };
    let url = secret.bytes().fold(String::new(), |out, b| {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out + &char::from(b).to_string()
        } else {
            out + &format!("%{b:02X}")
        }
    });
    let quoted = Value::from(secret).to_string();
    let json = quoted[1..quoted.len() - 1].replace('<', r"\u003c").replace('>', r"\u003e").replace('&', r"\u0026");
    [secret.to_owned(), base64, url, json]
}
