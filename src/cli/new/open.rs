//! Requests in a folder that have not ended: another one for the same user would reset them a second time.
use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use crate::{
    api::CredentialReset,
    cli::sources::manifests::{self, Change},
    core::{request::Mode, text::folded},
};

/// A request of the folder whose time is not over.
pub(super) struct Open {
    /// The path of its file.
    pub file: String,
    pub namespace: String,
    pub name: String,
}

/// Whose requests they are: Directory, mode, and the user as typed, without regard to case.
pub(super) type Whose = (String, Mode, String);

/// The open requests of a folder.
pub(super) type Requests = BTreeMap<Whose, Open>;

pub(super) fn whose(directory: &str, mode: Mode, user: &str) -> Whose {
    (directory.to_owned(), mode, folded(user))
}

/// The open requests in `folder` and all folders below it; none if there is no such folder.
///
/// # Errors
/// A file that cannot be read, or is not YAML.
pub(super) fn requests(folder: &Path, now: Timestamp) -> anyhow::Result<Requests> {
    let mut open = Requests::new();
    if !folder.is_dir() {
        return Ok(open);
    }
    for manifest in manifests::read(folder)? {
        if manifest.change != Change::Added {
            continue;
        }
        let Ok(object) = serde_json::from_value::<CredentialReset>(manifest.object) else { continue };
        let Ok(request) = object.request() else { continue };
        if request.deadline() > now {
            let whose = whose(&request.directory, request.mode(), request.user.typed());
            open.insert(whose, Open { file: manifest.file, namespace: request.namespace, name: request.name });
        }
    }
    Ok(open)
}
