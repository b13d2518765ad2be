//! The cluster that a command talks to: kubeconfig, proxy, the caller's user name, requests by name, and errors of the API server.
use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
    core::PartialObjectMeta,
};

use crate::{
    api::{API_VERSION, CredentialReset},
    core::text::{MESSAGE, is_object_name, printable},
    k8s::{client::client, liveness::Life},
};

/// Flags that say which cluster a command talks to, and as whom; with kubectl's meaning.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub struct Access {
    /// The kubeconfig, instead of the files of KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// Act as this user (impersonation)
    #[arg(long = "as", value_name = "USER")]
    pub(super) impersonate: Option<String>,
    /// With --as: act as a member of this group, too; can be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub(super) impersonate_groups: Vec<String>,
}

impl Access {
    /// The kubeconfig of the flag, of KUBECONFIG or of the home folder, and what names it. `None`: there is none, and none is named.
    fn kubeconfig(&self) -> anyhow::Result<Option<(Kubeconfig, String)>> {
        if let Some(file) = &self.kubeconfig {
            return Ok(Some((read(file)?, file.display().to_string())));
        }
        let variable = std::env::var_os("KUBECONFIG").unwrap_or_default();
        let named: Vec<PathBuf> =
            std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty()).collect();
        let home = || std::env::home_dir().map(|home| home.join(".kube/config"));
        let files = if named.is_empty() { home().into_iter().collect() } else { named.clone() };
        let name = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        let mut all: Option<Kubeconfig> = None;
        // As kubectl does: of several files, some may be missing.
        for file in files.iter().filter(|file| file.exists()) {
            let next = read(file)?;
            all = Some(match all {
                None => next,
                Some(before) => before.merge(next).with_context(|| format!("{} cannot be merged", file.display()))?,
            });
        }
        match all {
            None if !named.is_empty() => Err(anyhow!("KUBECONFIG names {name}, which does not exist")),
            all => Ok(all.map(|config| (config, name))),
        }
    }

    /// Whether there is a kubeconfig: if not, a Pod's account is used.
    ///
    /// # Errors
    /// One sentence: which file cannot be read.
    pub(super) fn has_kubeconfig(&self) -> anyhow::Result<bool> {
        Ok(self.kubeconfig()?.is_some())
    }

    /// The namespace of the kubeconfig's context, if it names one.
    pub(super) fn namespace(&self) -> Option<String> {
        let (config, _) = self.kubeconfig().ok().flatten()?;
        let name = self.context.as_ref().or(config.current_context.as_ref())?;
        let context = config.contexts.iter().find(|context| context.name == *name)?;
        context.context.as_ref()?.namespace.clone().filter(|namespace| !namespace.is_empty())
    }

    /// Names of the contexts of the kubeconfig, if it can be read.
    pub(super) fn contexts(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig().ok().flatten();
        kubeconfig.into_iter().flat_map(|(config, _)| config.contexts).map(|context| context.name).collect()
    }

    /// The configuration from the kubeconfig, or that of a Pod.
    ///
    /// # Errors
    /// One sentence: what is missing.
    pub(super) async fn config(&self) -> anyhow::Result<Config> {
        let mut config = match self.kubeconfig()? {
            Some((kubeconfig, name)) => self.config_of(kubeconfig, &name).await?,
            None if self.context.is_some() => return Err(anyhow!("--context needs a kubeconfig, and there is none")),
            None => Config::incluster().map_err(|_| {
                anyhow!(
                    "no Kubernetes configuration: there is no ~/.kube/config, KUBECONFIG is not set, and this is no Pod"
                )
            })?,
        };
        if let Some(user) = &self.impersonate {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                Some(self.impersonate_groups.clone()).filter(|groups| !groups.is_empty());
        }
        Ok(config)
    }

    async fn config_of(&self, kubeconfig: Kubeconfig, name: &str) -> anyhow::Result<Config> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.map_err(|error| match error {
            KubeconfigError::CurrentContextNotSet => anyhow!("{name} has no current-context: add --context NAME"),
            KubeconfigError::LoadContext(context) => anyhow!("{name} has no context {context}"),
            error => anyhow!("{name} cannot be used: {error}"),
        })?;
        // kube 5.0 compares NO_PROXY with the proxy's host instead of the API server's.
        let set =
            |names: [&str; 2]| names.into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let direct = set(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        if Matcher::builder().all("http://any").no(direct).build().intercept(&config.cluster_url).is_none() {
            config.proxy_url = None;
        } else if config.proxy_url.is_none() {
            config.proxy_url = set(["HTTPS_PROXY", "https_proxy"]).and_then(|proxy| proxy.parse().ok());
        }
        Ok(config)
    }
}

fn read(file: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(file).map_err(|error| match error {
        KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => {
            anyhow!("{}, the kubeconfig, does not exist", file.display())
        }
        KubeconfigError::ReadConfig(error, _) => {
            anyhow!("{}, the kubeconfig, cannot be read: {error}", file.display())
        }
        error => anyhow!("{} is not a kubeconfig: {error}", file.display()),
    })
}

/// A client for the cluster that the flags name. The cluster has our API group.
///
/// # Errors
/// One sentence: what is missing.
pub(super) async fn connect(access: &Access) -> anyhow::Result<Client> {
    let config = access.config().await?;
    let url = config.cluster_url.to_string();
    let client = client(config, &Life::default()).context("the Kubernetes configuration cannot be used")?;
    match client.list_api_group_resources(API_VERSION).await {
        Ok(_) => Ok(client),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            anyhow::bail!("the API server at {url} does not know {API_VERSION}: install chart credreset-crds")
        }
        Err(kube::Error::Api(status)) => Err(api_error(kube::Error::Api(status))),
        Err(_) => anyhow::bail!("the API server at {url} does not answer"),
    }
}

/// Parses the name of a request: NAME, or creset/NAME as kubectl prints it.
///
/// # Errors
/// If it is no name that an object can have.
pub(super) fn request_name(text: &str) -> Result<String, String> {
    const KINDS: [&str; 5] =
        ["creset", "credentialreset", "credentialresets", "creset.credreset.dev", "credentialreset.credreset.dev"];
    let name = text.split_once('/').filter(|(kind, _)| KINDS.contains(kind)).map_or(text, |(_, name)| name);
    match name.split_once('/') {
        _ if is_object_name(name) => Ok(name.to_owned()),
        Some((namespace, name)) if is_object_name(namespace) && is_object_name(name) => {
            Err(format!("a namespace goes into its own flag: {name} -n {namespace}"))
        }
        _ => Err("not a name of a request, such as annette-locked-out or creset/annette-locked-out".to_owned()),
    }
}

/// The request of that name, or `None`.
///
/// # Errors
/// The API server's answer.
pub(super) async fn find_request(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Option<CredentialReset>> {
    let requests: Api<CredentialReset> = Api::namespaced(client.clone(), namespace);
    let found = requests.get_opt(name).await.map_err(api_error);
    found.with_context(|| format!("request {namespace}/{name} could not be read"))
}

/// The request of that name.
///
/// # Errors
/// Where there is one of that name instead, if the caller may list requests of all namespaces.
pub(super) async fn request(client: &Client, namespace: &str, name: &str) -> anyhow::Result<CredentialReset> {
    match find_request(client, namespace, name).await? {
        Some(found) => Ok(found),
        None => Err(no_request(client, namespace, name).await),
    }
}

/// Who asks, as far as it is known: the requester, or else who created the request.
pub(super) fn requester(requested_by: Option<&str>, filed_by: Option<&str>) -> String {
    match (requested_by, filed_by) {
        (Some(by), _) => by.to_owned(),
        (None, Some(by)) => format!("(not named; filed by {by})"),
        (None, None) => "(unknown)".to_owned(),
    }
}

/// Says that there is no request of that name in that namespace, and where one is.
async fn no_request(client: &Client, namespace: &str, name: &str) -> anyhow::Error {
    let missing = format!("there is no request {name} in namespace {namespace}");
    let everywhere: Api<PartialObjectMeta<CredentialReset>> = Api::all(client.clone());
    let of_name = ListParams::default().fields(&format!("metadata.name={name}"));
    let Ok(found) = everywhere.list_metadata(&of_name).await else {
        return anyhow!("{missing}: if it is in another one, add -n NAMESPACE");
    };
    let mut namespaces: Vec<String> = found.items.iter().filter_map(ResourceExt::namespace).collect();
    match namespaces.pop() {
        None => anyhow!("{missing}, nor in another one"),
        Some(only) if namespaces.is_empty() => anyhow!("{missing}: it is in namespace {only}: add -n {only}"),
        Some(last) => {
            anyhow!("{missing}: there are requests of that name in {} and {last}: add -n", namespaces.join(", "))
        }
    }
}

/// The API server's own message, without what kube wraps around it; any other error as it is.
pub(super) fn api_error(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow::anyhow!(printable(&status.message, MESSAGE)),
        error => error.into(),
    }
}

/// Whether the API server refuses the caller, who lacks the right.
pub(super) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// Why `what` could not be read, in words without a full stop.
pub(super) fn why_unread(error: &kube::Error, what: &str) -> String {
    if is_forbidden(error) { format!("you may not read {what}") } else { "the API server did not answer".to_owned() }
}

/// The user name that the API server authenticates the caller as.
pub(super) async fn whoami(client: &Client) -> anyhow::Result<String> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = api
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .map_err(api_error)
        .context("the API server does not report your user name")?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.context("the API server does not report your user name")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_requests() {
        for (text, expected) in [
            ("annette", Ok("annette")),
            ("creset/annette", Ok("annette")),
            ("credentialreset.credreset.dev/annette", Ok("annette")),
            ("helpdesk/annette", Err("annette -n helpdesk")),
            ("A B", Err("not a name")),
            ("creset/", Err("not a name")),
        ] {
            match (super::request_name(text), expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{text}: {why}"),
                (result, _) => panic!("{text}: {result:?} should be {expected:?}"),
            }
        }
    }
}
