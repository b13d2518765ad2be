//! Checks a directory's servers: name, connection and certificate.
use std::{collections::BTreeSet, io::Error, sync::Arc, time::Duration};

use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{About, Line};
use crate::{
    api::directory::{DirectorySpec, ProviderSpec},
    core::text::{NAME, printable},
    directory::{self, ldap},
    http::is_loopback,
};

/// Timeout of each step.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// One line for each address.
pub(super) async fn lines(spec: &DirectorySpec) -> Vec<Line> {
    let (bundle, start_tls) = match &spec.provider {
        ProviderSpec::Zoho(zoho) => (&zoho.ca_bundle, false),
        ProviderSpec::Keycloak(keycloak) => (&keycloak.ca_bundle, false),
        ProviderSpec::OpenLdap(openldap) => (&openldap.ldap.ca_bundle, openldap.ldap.start_tls),
        ProviderSpec::ActiveDirectory(domain) => (&domain.ldap.ca_bundle, domain.ldap.start_tls),
    };
    let mut lines = Vec::new();
    for url in directory::addresses(spec).into_iter().collect::<BTreeSet<_>>() {
        let address = printable(url.as_str().trim_end_matches('/'), NAME);
        lines.push(if uses_proxy(&url) {
            Line::note(
                About::Server,
                format!("{address} is reached through a proxy from the environment; not checked."),
            )
        } else {
            match reach(&url, bundle.as_deref(), start_tls).await {
                Ok(how) => Line::ok(About::Server, format!("{address}: {how}")),
                Err(why) => Line::wrong(About::Server, format!("{address}: {why}")),
            }
        });
    }
    lines
}

/// Whether HTTP requests to this address go through a proxy of the environment.
fn uses_proxy(url: &Url) -> bool {
    let named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    url.scheme() == "https"
        && !is_loopback(url)
        && ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().any(named)
}

/// Connects. Returns a sentence: the address that answered; or what failed.
async fn reach(url: &Url, bundle: Option<&str>, start_tls: bool) -> Result<String, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
    let found = timeout(STEP_TIMEOUT, lookup_host((host, port))).await.ok().and_then(Result::ok);
    let addresses =
        found.ok_or_else(|| format!("the name {host} does not resolve here: check its spelling and DNS."))?;
    let mut stream = Err(format!("{host} has no address."));
    for address in addresses {
        if let Ok(Ok(connected)) = timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
            stream = Ok((connected, address));
            break;
        }
        stream =
            Err(format!("nothing answers at {address}: check the server, the port, firewalls and NetworkPolicies."));
    }
    let (mut stream, address) = stream?;
    if !start_tls && !matches!(url.scheme(), "https" | "ldaps") {
        return Ok(format!("{address} answers."));
    }
    let tls = Arc::new(ldap::tls(bundle).map_err(|wrong| format!("{wrong}."))?);
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is not a valid name for a certificate."))?;
    let handshake = async {
        if start_tls {
            ldap::stream::start_tls(&mut stream).await?;
        }
        TlsConnector::from(tls).connect(name, stream).await.map(drop)
    };
    match timeout(STEP_TIMEOUT, handshake).await {
        Ok(Ok(())) => Ok(format!("{address} answers, and its certificate is trusted.")),
        Ok(Err(error)) => Err(format!("{address} answers, but {}", tls_failure(&error))),
        Err(_) => Err(format!("{address} answers, but does not continue the TLS handshake: check the port.")),
    }
}

/// Why the TLS handshake failed, and what to do.
fn tls_failure(error: &Error) -> String {
    let why = printable(&error.to_string(), NAME);
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
            "its certificate is not signed by a trusted authority ({why}): put that authority's certificate into caBundle."
        ),
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!("its certificate is not trusted ({why}): renew it, or use the name that it was issued for.")
        }
        _ => format!("the TLS handshake failed ({why}): check the port."),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A certificate that is in `caBundle`, one for another name, and one of an unknown authority.
    #[tokio::test]
    async fn certificates() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = own.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let bundle = own.cert.pem();
        for (host, bundle, expected) in [
            ("localhost", Some(bundle.as_str()), Ok("its certificate is trusted.")),
            ("127.0.0.1", Some(bundle.as_str()), Err("or use the name that it was issued for")),
            ("localhost", None, Err("put that authority's certificate into caBundle")),
            ("localhost", Some("nonsense"), Err("caBundle holds no PEM certificate")),
        ] {
            for scheme in ["https", "ldaps"] {
                let url = Url::parse(&format!("{scheme}://{host}:{port}")).unwrap();
                match (reach(&url, bundle, false).await, expected) {
                    (Ok(line), Ok(text)) | (Err(line), Err(text)) => assert!(line.contains(text), "{url}: {line}"),
                    (result, _) => panic!("{url}: {result:?} should be {expected:?}"),
                }
            }
        }
    }
}
