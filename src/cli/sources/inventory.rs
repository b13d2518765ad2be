//! Directory objects and the Secrets they name, from a cluster or from files.
use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::{Context, bail};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{cluster::credentials, files};
use crate::{
    api::{Directory, directory::DirectorySpec},
    cli::cluster::{Access, api_error, connect},
    core::text::{MESSAGE, printable},
    directory::{Credentials, NotReady, Provider},
    k8s::{self, identity::OwnAccount, secrets::Secrets},
};

/// Where Directories and their Secrets are read.
pub enum Inventory {
    /// A cluster, and the Secrets of its operator's namespace.
    Cluster(Client, Secrets),
    /// Secrets from files, by name.
    Files(HashMap<String, Credentials>),
}

impl Inventory {
    /// The contents of a Secret.
    ///
    /// # Errors
    /// A sentence that names the Secret.
    pub async fn secret(&self, name: &str) -> Result<Credentials, String> {
        match self {
            Self::Cluster(_, secrets) => credentials(secrets, name).await,
            Self::Files(secrets) => {
                let found = secrets.get(name).cloned();
                found.ok_or_else(|| format!("Secret {name} is not among the files of --directories."))
            }
        }
    }

    /// The contents of the Secret that a Directory names; empty if it names none.
    ///
    /// # Errors
    /// A sentence that names the Secret.
    pub async fn credentials(&self, spec: &DirectorySpec) -> Result<Credentials, String> {
        match spec.provider.credentials() {
            Some(named) => self.secret(&named.secret).await,
            None => Ok(Credentials::new()),
        }
    }

    /// A connection to a directory. Where its Directory names no Secret, it signs in with tokens that the caller requests for the
    /// operator's `ServiceAccount`.
    ///
    /// # Errors
    /// What is wrong with the settings or the Secret.
    pub fn connect(&self, spec: &DirectorySpec, credentials: &Credentials) -> Result<Provider, NotReady> {
        let provider = Provider::connect(spec, credentials)?;
        Ok(match self {
            Self::Cluster(client, secrets) => {
                provider.identified_by(Arc::new(OwnAccount::for_caller(client.clone(), secrets.namespace())))
            }
            Self::Files(_) => provider,
        })
    }
}

/// The Directory of that name, or all Directories; from the files at `path`, or from the cluster. At least one, but for all of a cluster.
///
/// # Errors
/// If there is none, or the files or the cluster cannot be read.
pub async fn find(
    directory: Option<&str>,
    path: Option<&Path>,
    operator_namespace: &str,
    access: &Access,
) -> anyhow::Result<(Inventory, Vec<Directory>)> {
    let (inventory, mut objects) = if let Some(path) = path {
        let (objects, secrets) = files::directories(path, true)?;
        (Inventory::Files(secrets), objects)
    } else {
        let client = connect(access).await?;
        let objects =
            from_cluster(&client, directory).await.map_err(api_error).context("the Directories could not be read")?;
        let secrets = Secrets::for_caller(client.clone(), operator_namespace);
        (Inventory::Cluster(client, secrets), objects)
    };
    objects.retain(|object| directory.is_none_or(|name| object.name_any() == name));
    if objects.is_empty() && (directory.is_some() || path.is_some()) {
        let source = path.map_or_else(|| "the cluster".to_owned(), |path| path.display().to_string());
        match directory {
            Some(name) => bail!("there is no Directory {} in {source}", printable(name, MESSAGE)),
            None => bail!("there is no Directory in {source}"),
        }
    }
    Ok((inventory, objects))
}

/// The Directory of that name if it exists, or all Directories.
async fn from_cluster(client: &Client, name: Option<&str>) -> kube::Result<Vec<Directory>> {
    let api: Api<Directory> = Api::all(client.clone());
    if let Some(name) = name {
        return Ok(api.get_opt(name).await?.into_iter().collect());
    }
    let mut all = Vec::new();
    k8s::for_each_page(&api, ListParams::default(), |object| all.push(object)).await?;
    Ok(all)
}
