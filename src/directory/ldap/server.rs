//! Addresses of servers, and the TLS settings for them.
use std::sync::Arc;

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::{BuilderVerifierExt, Verifier};
use url::Url;

use crate::http;

/// Parses the address of a server. `field` names the settings that hold it.
pub(super) fn server(field: &str, text: &str, start_tls: bool) -> Result<Url, String> {
    let wrong = || format!("{field}.urls: {text:?} is not an address such as ldaps://host");
    let url = Url::parse(text).map_err(|_| wrong())?;
    let extra =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    if extra || url.host_str().is_none_or(str::is_empty) || !matches!(url.path(), "" | "/") {
        return Err(wrong());
    }
    match (url.scheme(), start_tls) {
        ("ldaps", false) | ("ldap", true) => Ok(url),
        ("ldaps", true) => {
            Err(format!("{field}: startTLS is for addresses that begin with ldap://, and {text:?} does not"))
        }
        ("ldap", false) if http::is_loopback(&url) => Ok(url),
        ("ldap", false) => Err(format!(
            "{field}.urls: {text:?} would show passwords to the network: use ldaps://, or set {field}.startTLS: true"
        )),
        _ => Err(wrong()),
    }
}

/// Default ports, by scheme.
pub const PORTS: [(&str, u16); 2] = [("ldaps", 636), ("ldap", 389)];

/// Host and port of a server.
pub(super) fn address(url: &Url) -> String {
    let default = PORTS.into_iter().find(|(scheme, _)| *scheme == url.scheme()).map_or(0, |(_, port)| port);
    let port = url.port().unwrap_or(default);
    format!("{}:{port}", url.host_str().unwrap_or_default().to_lowercase())
}

/// TLS settings that trust `ca_bundle` (PEM) in addition to the system's authorities.
///
/// # Errors
/// What is wrong with `ca_bundle`.
pub fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let unusable = || "the TLS set-up is not usable: no trusted certificate authorities were found".to_owned();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable())?;
    let builder = match ca_bundle {
        None => builder.with_platform_verifier().map_err(|_| unusable())?,
        Some(pem) => {
            let unreadable = || "caBundle holds no PEM certificate that could be read".to_owned();
            let all: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            let all = all.ok().filter(|all| !all.is_empty()).ok_or_else(unreadable)?;
            let verifier = Verifier::new_with_extra_roots(all, provider).map_err(|_| unreadable())?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    Ok(builder.with_no_client_auth())
}
