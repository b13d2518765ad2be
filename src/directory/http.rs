//! What HTTP directories share: one strict client, bounded bodies, and what a failed request means.
use std::{net::IpAddr, time::Duration};

use reqwest::{Client, Response, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// Larger answers are refused without being held in memory.
pub const MOST: usize = 8 * 1024 * 1024;
/// More values than any answer has. One takes up to a hundred times its size once it is decoded.
pub const VALUES: usize = 40_000;

/// A client that follows no redirect and trusts `ca_bundle` (PEM) besides the system's authorities. `timeout` bounds a whole
/// exchange. `local`: it is for addresses on this very machine, which no proxy can reach and plain http may go to.
///
/// # Errors
/// What is wrong with `ca_bundle`.
pub fn client(ca_bundle: Option<&str>, timeout: Duration, local: bool) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("credreset/", env!("CARGO_PKG_VERSION")))
        // Less than the whole: a connection that is never made must be told from an answer that never comes.
        .connect_timeout(Duration::from_secs(5).min(timeout * 3 / 4))
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    if local {
        builder = builder.no_proxy();
    }
    if let Some(pem) = ca_bundle {
        builder = builder.tls_certs_merge(certificates(pem)?);
    }
    builder
        .build()
        .map_err(|_| "the TLS set-up is not usable: no trusted certificate authorities were found".to_owned())
}

/// The certificates of a `caBundle`.
///
/// # Errors
/// If there is none.
pub fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, String> {
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if found.is_empty() { Err("caBundle holds no PEM certificate that could be read".to_owned()) } else { Ok(found) }
}

/// A base address: https, or http to this very machine, for tests and the sandbox.
///
/// # Errors
/// What is wrong with `text`, which is named `field`.
pub fn base(field: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{field}: {text:?} is not an address such as https://host"))?;
    let plain =
        !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    if plain || url.host().is_none() {
        return Err(format!("{field} must be an address such as https://host/path, without user, query and fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(format!("{field}: plain http would show passwords to the network: use https")),
        _ => Err(format!("{field} must be an https address")),
    }
}

/// Whether an address is on this very machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // In addresses of other schemes than http the parser leaves numbers as they are.
        Some(Host::Domain(name)) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// `base` with `path` (which begins with a slash) after its own.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Whether an access token can be put into a header as it is.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// An `Authorization` header of this scheme, which is not shown in logs.
#[must_use]
pub fn authorization(scheme: &'static str, token: &SecretString) -> header::HeaderValue {
    let text = format!("{scheme} {}", token.expose_secret());
    let mut value = header::HeaderValue::from_str(&text).unwrap_or_else(|_| header::HeaderValue::from_static(scheme));
    value.set_sensitive(true);
    value
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Nothing was sent: name resolution, connection or TLS handshake failed.
    #[error("no connection could be made (name, network or certificate)")]
    NotSent,
    /// It was sent, at least in part, and no answer came that could be read.
    #[error("the connection broke or no answer came in time")]
    Broken,
    /// The answer is larger than [`MOST`].
    #[error("the answer is larger than {} MiB", MOST / 1024 / 1024)]
    TooLarge,
    /// The answer has more than [`VALUES`].
    #[error("the answer has more than {VALUES} values")]
    TooMany,
}

impl From<reqwest::Error> for Failed {
    /// reqwest reports name resolution, connection and handshake as `is_connect`; all else may have been sent.
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() { Self::NotSent } else { Self::Broken }
    }
}

/// The body, if it is not too large, as it is or decoded.
///
/// # Errors
/// Why it could not be read.
pub async fn body(mut response: Response) -> Result<Vec<u8>, Failed> {
    let announced = response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |l| l > MOST));
    if announced {
        return Err(Failed::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MOST {
            return Err(Failed::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    if has_more_values(&bytes, VALUES) { Err(Failed::TooMany) } else { Ok(bytes) }
}

/// Whether a JSON text has more values than `most`. Each comes after one of three characters, which may be in texts as often as
/// somebody likes.
fn has_more_values(json: &[u8], most: usize) -> bool {
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
        values > most
    })
}

/// A longer pause is a mistake of the server's, and would close the directory until the operator is started anew.
const LONGEST_PAUSE: u32 = 24 * 3600;

/// Seconds of a `Retry-After` header (RFC 9110, section 10.2.3), at most a day. An HTTP date counts from now.
#[must_use]
pub fn retry_after(response: &Response) -> Option<u32> {
    pause(response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim(), jiff::Timestamp::now())
}

fn pause(value: &str, now: jiff::Timestamp) -> Option<u32> {
    let seconds = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().unwrap_or(LONGEST_PAUSE)
    } else {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        let seconds = date.duration_since(now).as_secs();
        if seconds < 0 {
            return None;
        }
        u32::try_from(seconds).unwrap_or(LONGEST_PAUSE)
    };
    Some(seconds.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_texts_are_not() {
        for (text, count) in [
            ("[", 1),
            (r#"{"a": [1, {"b": 2}], "c": []}"#, 6),
            (r#"{"[,{\"[,{": "\\", "[": "\\\",,,"}"#, 2),
            ("<html>, [", 2),
        ] {
            assert!(has_more_values(text.as_bytes(), count - 1) && !has_more_values(text.as_bytes(), count), "{text}");
        }
    }
}
