//! The cluster that a command talks to: kubeconfig, proxy, the caller's user name, and errors of the API server.
use anyhow::Context;
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{InferConfigError, KubeConfigOptions},
};

use crate::{
    api::API_VERSION,
    core::text::{MESSAGE, printable},
    k8s::{client::client, liveness::Life},
};

/// The configuration from the kubeconfig, or that of a Pod.
pub(super) async fn config() -> Result<Config, InferConfigError> {
    let Ok(mut config) = Config::from_kubeconfig(&KubeConfigOptions::default()).await else {
        return Config::infer().await;
    };
    // kube 5.0 compares NO_PROXY with the proxy's host instead of the API server's.
    let set = |names: [&str; 2]| names.into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let direct = set(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    if Matcher::builder().all("http://any").no(direct).build().intercept(&config.cluster_url).is_none() {
        config.proxy_url = None;
    } else if config.proxy_url.is_none() {
        config.proxy_url = set(["HTTPS_PROXY", "https_proxy"]).and_then(|proxy| proxy.parse().ok());
    }
    Ok(config)
}

/// A client for the cluster of the kubeconfig. The cluster has our API group.
///
/// # Errors
/// One sentence: what is missing.
pub(super) async fn connect() -> anyhow::Result<Client> {
    let config = config().await.map_err(|_| anyhow::anyhow!("no Kubernetes configuration: set KUBECONFIG"))?;
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

/// The API server's own message, without what kube wraps around it; any other error as it is.
pub(super) fn api_error(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => anyhow::anyhow!(printable(&status.message, MESSAGE)),
        error => error.into(),
    }
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
