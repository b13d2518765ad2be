//! Directories, and the Secrets with their credentials, from files.
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use secrecy::SecretString;

use super::{DirectorySource, manifests};
use crate::{
    api::{self, is_ours},
    core::text,
    directory::Credentials,
};

/// The Directories of these names from a file or folder.
///
/// # Errors
/// What cannot be read or parsed.
pub async fn directory_sources(
    path: &Path,
    wanted: &BTreeSet<String>,
    offline: bool,
) -> anyhow::Result<HashMap<String, DirectorySource>> {
    let (directories, secrets) = directories(path, !offline)?;
    let mut sources: HashMap<String, DirectorySource> =
        wanted.iter().map(|name| (name.clone(), DirectorySource::absent())).collect();
    for object in directories.iter().filter(|object| wanted.contains(&object.name_any())) {
        sources.insert(object.name_any(), DirectorySource::from_file(object, &secrets, offline).await);
    }
    Ok(sources)
}

/// All Directories in a file or folder and, if asked for, all Secrets by name.
///
/// # Errors
/// What cannot be read or parsed.
pub fn directories(
    path: &Path,
    with_secrets: bool,
) -> anyhow::Result<(Vec<api::Directory>, HashMap<String, Credentials>)> {
    let mut directories = Vec::new();
    let mut secrets = HashMap::new();
    for (file, object) in manifests::all(path)? {
        let wrong = |e: serde_json::Error| anyhow::anyhow!("{file}: {e}");
        if object["kind"] == "Directory" && is_ours(&object) {
            directories.push(serde_json::from_value::<api::Directory>(object).map_err(wrong)?);
        } else if object["kind"] == "Secret" && object["apiVersion"] == "v1" && with_secrets {
            // The parser's message is not repeated: it may quote a password.
            let name = text::printable(object["metadata"]["name"].as_str().unwrap_or_default(), text::NAME);
            let secret: Secret = serde_json::from_value(object).map_err(|_| {
                anyhow::anyhow!(
                    "{file}: Secret {name} has an invalid value: data must be base64, stringData text, quoted if it is a number or yes"
                )
            })?;
            secrets.insert(secret.name_any(), contents(secret));
        }
    }
    Ok((directories, secrets))
}

fn contents(secret: Secret) -> Credentials {
    let data = secret
        .data
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, ByteString(bytes))| Some((key, String::from_utf8(bytes).ok()?)));
    let all = data.chain(secret.string_data.unwrap_or_default());
    all.map(|(key, value)| (key, SecretString::from(value))).collect()
}
