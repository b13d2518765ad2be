//! The client of the API server, with what kube does not set: a user agent, and limits for the whole answer instead of its head.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, Bytes, to_bytes},
    http::{HeaderValue, Request, Response, header},
};
use futures::{Stream, StreamExt};
use kube::{
    Client, Config,
    client::{Body as RequestBody, ClientBuilder, DynBody},
};
use tokio::time::timeout;
use tower::{Layer, Service};

use super::liveness::Life;

/// The client's name in the audit log. The part before the slash is the manager of the fields that it writes.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("credreset/", env!("CARGO_PKG_VERSION")));
/// For a request and its whole answer; for a watch, for the head of its answer. kube ends a watch without events after five minutes.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer: more than any page of a list has.
const MAX_BODY: usize = 32 << 20;
/// Bytes of a watch event. It has one object, which etcd limits to a few megabytes.
const MAX_EVENT: usize = 8 << 20;

/// A client for `config`. `life` takes note of its requests.
///
/// # Errors
/// If `config` cannot be used.
pub fn client(config: Config, life: &Life) -> kube::Result<Client> {
    Ok(builder(config, life)?.build())
}

/// The builder of [`client`], for further layers.
///
/// # Errors
/// As for [`client`].
pub fn builder(
    mut config: Config,
    life: &Life,
) -> kube::Result<
    ClientBuilder<
        impl Service<Request<RequestBody>, Response = Response<Body>, Error = BoxError, Future: Send> + Send + use<>,
    >,
> {
    config.headers.push((header::USER_AGENT, USER_AGENT));
    Ok(ClientBuilder::try_from(config)?.with_layer(&LimitLayer(life.clone())))
}

/// Limits the answers of a service, and notes its requests.
struct LimitLayer(Life);

impl<S> Layer<S> for LimitLayer {
    type Service = Limited<S>;

    fn layer(&self, service: S) -> Limited<S> {
        Limited { service, life: self.0.clone() }
    }
}

struct Limited<S> {
    service: S,
    life: Life,
}

impl<S> Service<Request<RequestBody>> for Limited<S>
where
    S: Service<Request<RequestBody>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        self.life.note_request(request.uri());
        let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let answer = self.service.call(request);
        let whole = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Body::new(body);
            let body = if watches && head.status.is_success() {
                Body::from_stream(events(body.into_data_stream()))
            } else {
                Body::from(to_bytes(body, MAX_BODY).await?)
            };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(
            async move { timeout(REQUEST_TIMEOUT, whole).await.map_err(|_| "the API server did not answer in time")? },
        )
    }
}

/// The lines of a watch. A line that is longer than [`MAX_EVENT`] is an error.
fn events(
    pieces: impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let mut line = 0;
    pieces.map(move |piece| -> Result<Bytes, BoxError> {
        let piece = piece?;
        line = piece.iter().rev().position(|byte| *byte == b'\n').unwrap_or(line + piece.len());
        if line > MAX_EVENT { Err("the API server sent an event that is too long".into()) } else { Ok(piece) }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use serde_json::Value;

    use super::*;

    /// A client of a server that answers every request with `head`, then sends `piece` so many times, and then nothing more.
    fn client_of(head: &'static str, piece: &'static str, times: usize) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 8192]);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
                for _ in 0..times {
                    if stream.write_all(piece.as_bytes()).is_err() {
                        break;
                    }
                }
                std::mem::forget(stream);
            }
        });
        client(Config::new(url.parse().unwrap()), &Life::default()).unwrap()
    }

    fn get(path: &str) -> Request<Vec<u8>> {
        Request::get(path).body(Vec::new()).unwrap()
    }

    /// The virtual time advances by itself as soon as every task waits.
    #[tokio::test(start_paused = true)]
    async fn half_an_answer_is_given_up() {
        for (path, head) in [("/api", "Content-Length: 99"), ("/api", "Transfer-Encoding: chunked\r\n\r\n9")] {
            let error = client_of(head, "{\"half", 1).request::<Value>(get(path)).await.unwrap_err().to_string();
            assert!(error.contains("did not answer in time"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        const BLANKS: &str = "                                                                ";
        let client = client_of("Connection: close", BLANKS, usize::MAX);
        let error = client.request::<Value>(get("/api")).await.unwrap_err().to_string();
        assert!(error.contains("length limit exceeded"), "{error}");
        let mut events = Box::pin(client.request_events::<Value>(get("/api?watch=true")).await.unwrap());
        let error = futures::TryStreamExt::try_next(&mut events).await.unwrap_err().to_string();
        assert!(error.contains("an event that is too long"), "{error}");
    }

    #[tokio::test]
    async fn a_watch_goes_on() {
        const EVENT: &str =
            "{\"type\": \"ADDED\", \"object\": {\"much\": \"                                       \"}}\n";
        let times = 2 * MAX_EVENT / EVENT.len();
        let client = client_of("Connection: close", EVENT, times);
        let events = client.request_events::<Value>(get("/api?watch=true&resourceVersion=1")).await.unwrap();
        assert_eq!(
            futures::TryStreamExt::into_stream(events)
                .take(times)
                .filter(|event| std::future::ready(event.is_ok()))
                .count()
                .await,
            times
        );
    }
}
