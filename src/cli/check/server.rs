//! Whether a directory's addresses lead anywhere: the name, the connection, the certificate.
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
    api::directory::{DirectorySpec, Provider},
    core::text::{NAME, shown},
    directory::{self, http::is_loopback, ldap},
};

/// For each step.
const LIMIT: Duration = Duration::from_secs(5);

/// A line for each address.
pub(super) async fn lines(spec: &DirectorySpec) -> Vec<Line> {
    let (bundle, start_tls) = match &spec.provider {
        Provider::Zoho(zoho) => (&zoho.ca_bundle, false),
        Provider::Keycloak(keycloak) => (&keycloak.ca_bundle, false),
        Provider::OpenLdap(openldap) => (&openldap.ldap.ca_bundle, openldap.ldap.start_tls),
        Provider::ActiveDirectory(domain) => (&domain.ldap.ca_bundle, domain.ldap.start_tls),
    };
    let mut lines = Vec::new();
    for url in directory::addresses(spec).into_iter().collect::<BTreeSet<_>>() {
        let address = shown(url.as_str().trim_end_matches('/'), NAME);
        lines.push(if by_proxy(&url) {
            Line::note(About::Server, format!("{address} is reached by a proxy of the environment."))
        } else {
            match reach(&url, bundle.as_deref(), start_tls).await {
                Ok(how) => Line::ok(About::Server, format!("{address}: {how}")),
                Err(why) => Line::wrong(About::Server, format!("{address}: {why}")),
            }
        });
    }
    lines
}

fn by_proxy(url: &Url) -> bool {
    let named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    url.scheme() == "https"
        && !is_loopback(url)
        && ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].iter().any(named)
}

async fn reach(url: &Url, bundle: Option<&str>, start_tls: bool) -> Result<String, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(if url.scheme() == "ldaps" { 636 } else { 389 });
    let found = timeout(LIMIT, lookup_host((host, port))).await.ok().and_then(Result::ok);
    let addresses =
        found.ok_or_else(|| format!("the name {host} leads to no address here: look at its spelling, and at DNS."))?;
    let mut stream = Err(format!("{host} has no address."));
    for address in addresses {
        if let Ok(Ok(connected)) = timeout(LIMIT, TcpStream::connect(address)).await {
            stream = Ok((connected, address));
            break;
        }
        stream = Err(format!(
            "nothing answers at {address}: look whether the server runs, at the port, at firewalls and NetworkPolicies."
        ));
    }
    let (mut stream, address) = stream?;
    if !start_tls && !matches!(url.scheme(), "https" | "ldaps") {
        return Ok(format!("{address} answers."));
    }
    let tls = Arc::new(ldap::tls(bundle).map_err(|wrong| format!("{wrong}."))?);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no name for a certificate."))?;
    let secured = async {
        if start_tls {
            ldap::stream::start_tls(&mut stream).await?;
        }
        TlsConnector::from(tls).connect(name, stream).await.map(drop)
    };
    match timeout(LIMIT, secured).await {
        Ok(Ok(())) => Ok(format!("{address} answers, and its certificate is trusted.")),
        Ok(Err(error)) => Err(format!("{address} answers, but {}", untrusted(&error))),
        Err(_) => Err(format!("{address} answers, but does not go on with TLS: look at the port.")),
    }
}

/// Why there is no TLS, and what to do.
fn untrusted(error: &Error) -> String {
    let why = shown(&error.to_string(), NAME);
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
            "its certificate is signed by nobody who is trusted ({why}): put the certificate of the authority that signed it into caBundle."
        ),
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!("its certificate is not trusted ({why}): have it renewed, or use the name that it is for.")
        }
        _ => format!("no TLS connection comes about ({why}): look at the port."),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// What a certificate comes to that `caBundle` names, one for another name, and one that nobody trusted has signed.
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
        for (host, bundle, says) in [
            ("localhost", Some(bundle.as_str()), Ok("its certificate is trusted.")),
            ("127.0.0.1", Some(bundle.as_str()), Err("or use the name that it is for")),
            ("localhost", None, Err("put the certificate of the authority that signed it into caBundle")),
            ("localhost", Some("nonsense"), Err("caBundle holds no PEM certificate")),
        ] {
            for scheme in ["https", "ldaps"] {
                let url = Url::parse(&format!("{scheme}://{host}:{port}")).unwrap();
                match (reach(&url, bundle, false).await, says) {
                    (Ok(said), Ok(says)) | (Err(said), Err(says)) => assert!(said.contains(says), "{url}: {said}"),
                    (said, _) => panic!("{url}: {said:?} should be {says:?}"),
                }
            }
        }
    }
}
