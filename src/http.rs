//! A strict HTTP client: no redirects, no retries, bounded bodies, and clear errors.
use std::{mem, net::IpAddr, time::Duration};

use reqwest::{
    Client, IntoUrl, Method, RequestBuilder, Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

use crate::directory::watch::{self, Request, Watched, form, names};

/// Bytes of a body. A larger one is refused and not kept in memory.
pub const MAX_BODY: usize = 8 * 1024 * 1024;
/// JSON values in a body. No API answers with more, and a decoded value takes up to a hundred times its size.
pub const MAX_VALUES: usize = 40_000;

/// A client that follows no redirect and trusts `ca_bundle` (PEM) in addition to the system's authorities. `timeout` bounds a whole
/// exchange. `local`: it is for addresses on this machine, which a proxy cannot reach.
///
/// # Errors
/// What is wrong with `ca_bundle`.
pub fn client(ca_bundle: Option<&str>, timeout: Duration, local: bool) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("credreset/", env!("CARGO_PKG_VERSION")))
        // Shorter than `timeout`, to distinguish a connection that was never made from an answer that never came.
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

/// Sends requests to a directory. If there is a watcher, it approves each of them.
#[derive(Debug)]
pub struct Http {
    client: Client,
    /// Approves each request before it is sent.
    pub watch: Watched,
}

/// A request that the watcher, if there is one, has approved.
pub struct Approved {
    request: RequestBuilder,
    call: Option<Request>,
}

impl Approved {
    /// Adds a header that the watcher is not shown.
    #[must_use]
    pub fn header(self, name: header::HeaderName, value: HeaderValue) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }
}

/// An answer, of which at least the status line was received.
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or why it was not read.
    pub body: Result<Vec<u8>, Failed>,
}

impl Answered {
    /// Reads the whole body.
    pub async fn read(mut response: Response) -> Self {
        let (status, headers) = (response.status(), mem::take(response.headers_mut()));
        Self { status, headers, body: body(response).await }
    }
}

impl Http {
    /// Sends requests without a watcher.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, watch: None }
    }

    /// A request. Headers that the watcher must not be shown are added to [`Approved`].
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Asks the watcher, if there is one, whether the request may be sent.
    ///
    /// # Errors
    /// [`Failed::NotSent`]: it may not.
    pub async fn ask(&self, request: RequestBuilder) -> Result<Approved, Failed> {
        let Some(watch) = &self.watch else { return Ok(Approved { request, call: None }) };
        let (client, built) = request.build_split();
        let built = built?;
        let call = call(&built);
        if !watch.allow(call.clone()).await {
            return Err(Failed::NotSent);
        }
        Ok(Approved { request: RequestBuilder::from_parts(client, built), call: Some(call) })
    }

    /// Sends the request, once.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send(&self, Approved { request, call }: Approved) -> Result<Answered, Failed> {
        let answered = match request.send().await.map_err(Failed::from) {
            Ok(response) => Ok(Answered::read(response).await),
            Err(failed) => Err(failed),
        };
        if let (Some(watch), Some(call)) = (&self.watch, call) {
            watch.answered(&call, response(answered.as_ref()));
        }
        answered
    }
}

/// What the watcher is shown of a request.
fn call(request: &reqwest::Request) -> Request {
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let is_form =
        request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"urlencoded"));
    let body: Value = if is_form {
        let pairs = form_urlencoded::parse(body).into_owned();
        Value::Object(pairs.map(|(name, value)| (name, value.into())).collect())
    } else {
        serde_json::from_slice(body).unwrap_or_default()
    };
    Request {
        verb: request.method().to_string(),
        target: request.url().to_string(),
        fields: names(&form(&body)),
        is_read: request.method() == Method::GET,
    }
}

/// What the watcher is shown of an answer.
fn response(answered: Result<&Answered, &Failed>) -> watch::Response {
    let answered = match answered {
        Ok(answered) => answered,
        Err(failed) => return watch::Response { summary: failed.to_string(), form: Value::Null },
    };
    let after = retry_after(&answered.headers).map(|seconds| format!("Retry-After {seconds}"));
    let (form, trouble) = match &answered.body {
        Ok(body) if body.is_empty() => (Value::Null, Some("no body".to_owned())),
        Ok(body) => match serde_json::from_slice(body) {
            Ok(body) => (form(&body), None),
            Err(_) => (Value::Null, Some("a body that is not JSON".to_owned())),
        },
        Err(failed) => (Value::Null, Some(failed.to_string())),
    };
    let summary: Vec<String> =
        [Some(answered.status.as_u16().to_string()), after, trouble].into_iter().flatten().collect();
    watch::Response { summary: summary.join(", "), form }
}

/// The certificates of a `caBundle`.
///
/// # Errors
/// If it holds none.
pub fn certificates(pem: &str) -> Result<Vec<reqwest::Certificate>, String> {
    let found = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap_or_default();
    if found.is_empty() { Err("caBundle holds no PEM certificate that could be read".to_owned()) } else { Ok(found) }
}

/// Parses a base address: https, or http to this machine, for tests and the sandbox. `field` names it.
///
/// # Errors
/// What is wrong with it.
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

/// Whether an address is on this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        // For schemes other than http, the parser does not recognize IP addresses.
        Some(Host::Domain(name)) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// `base` with `path`, which begins with a slash, appended to its path.
#[must_use]
pub fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

/// Whether an access token is safe to put into a header.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The value of an `Authorization` header. Logs do not show it.
#[must_use]
pub fn authorization(scheme: &'static str, token: &SecretString) -> HeaderValue {
    let text = format!("{scheme} {}", token.expose_secret());
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(scheme));
    value.set_sensitive(true);
    value
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// Nothing was sent: name resolution, connection or TLS handshake failed.
    #[error("no connection could be made (name, network or certificate)")]
    NotSent,
    /// The request was sent, at least in part, and no answer came that could be read.
    #[error("the connection broke or no answer came in time")]
    Broken,
    /// The answer is larger than [`MAX_BODY`].
    #[error("the answer is larger than {} MiB", MAX_BODY / 1024 / 1024)]
    TooLarge,
    /// The answer has more than [`MAX_VALUES`].
    #[error("the answer has more than {MAX_VALUES} values")]
    TooMany,
}

impl From<reqwest::Error> for Failed {
    /// reqwest reports failures of name resolution, connection and handshake as `is_connect`. After any other error, the request may have
    /// been sent.
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() { Self::NotSent } else { Self::Broken }
    }
}

/// The body, unless it or its decoded form is too large.
///
/// # Errors
/// Why it could not be read.
pub async fn body(mut response: Response) -> Result<Vec<u8>, Failed> {
    let announced =
        response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |l| l > MAX_BODY));
    if announced {
        return Err(Failed::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MAX_BODY {
            return Err(Failed::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    if has_more_values(&bytes, MAX_VALUES) { Err(Failed::TooMany) } else { Ok(bytes) }
}

/// Whether a JSON text has more values than `max`. Each value follows one of three characters, which do not count within strings.
fn has_more_values(json: &[u8], max: usize) -> bool {
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
        values > max
    })
}

/// Seconds. A longer pause is an error of the server, and would stop all resets until the operator is restarted.
const MAX_PAUSE: u32 = 24 * 3600;

/// Seconds of a `Retry-After` header (RFC 9110, section 10.2.3), at most a day. An HTTP date counts from now.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<u32> {
    pause(headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim(), jiff::Timestamp::now())
}

fn pause(value: &str, now: jiff::Timestamp) -> Option<u32> {
    let seconds = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().unwrap_or(MAX_PAUSE)
    } else {
        let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        let seconds = date.duration_since(now).as_secs();
        if seconds < 0 {
            return None;
        }
        u32::try_from(seconds).unwrap_or(MAX_PAUSE)
    };
    Some(seconds.min(MAX_PAUSE))
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
