//! The client of the API server, with what kube does not set: a name, and limits for the whole of an answer, not its head alone.
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
    client::{Body as Asked, ClientBuilder, DynBody},
};
use tokio::time::timeout;
use tower::{Layer, Service};

use super::life::Life;

/// Who asks: in the audit log, and up to the slash as manager of the fields that are written.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("credreset/", env!("CARGO_PKG_VERSION")));
/// For a call and its answer, and for the head of a watch's; kube ends a watch without events after five minutes.
const LIMIT: Duration = Duration::from_secs(30);
/// Larger than any page of a list.
const LONGEST: usize = 32 << 20;
/// An event of a watch has one object, for which etcd has a limit of a few megabytes.
const LONGEST_EVENT: usize = 8 << 20;

/// A client as `config` has it. What it asks is told to `life`.
///
/// # Errors
/// If `config` cannot be used.
pub fn client(config: Config, life: &Life) -> kube::Result<Client> {
    Ok(builder(config, life)?.build())
}

/// The same, for one that has more to it.
///
/// # Errors
/// As above.
pub fn builder(
    mut config: Config,
    life: &Life,
) -> kube::Result<
    ClientBuilder<
        impl Service<Request<Asked>, Response = Response<Body>, Error = BoxError, Future: Send> + Send + use<>,
    >,
> {
    config.headers.push((header::USER_AGENT, AGENT));
    Ok(ClientBuilder::try_from(config)?.with_layer(&Bounds(life.clone())))
}

/// Puts bounds around a service.
struct Bounds(Life);

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, service: S) -> Bounded<S> {
        Bounded { service, life: self.0.clone() }
    }
}

struct Bounded<S> {
    service: S,
    life: Life,
}

impl<S> Service<Request<Asked>> for Bounded<S>
where
    S: Service<Request<Asked>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        self.life.asks(request.uri());
        let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
        let answer = self.service.call(request);
        let whole = async move {
            let (head, body) = answer.await?.into_parts();
            let body = Body::new(body);
            let body = if watches && head.status.is_success() {
                Body::from_stream(events(body.into_data_stream()))
            } else {
                Body::from(to_bytes(body, LONGEST).await?)
            };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(async move { timeout(LIMIT, whole).await.map_err(|_| "the API server did not answer in time")? })
    }
}

/// The lines of a watch, none of which is without end.
fn events(
    pieces: impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let mut line = 0;
    pieces.map(move |piece| -> Result<Bytes, BoxError> {
        let piece = piece?;
        line = piece.iter().rev().position(|byte| *byte == b'\n').unwrap_or(line + piece.len());
        if line > LONGEST_EVENT { Err("the API server sent an event without end".into()) } else { Ok(piece) }
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

    /// A client of a server that answers everything with `head`, then with `piece` so many times, and then says nothing.
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

    /// The time goes on by itself as soon as there is nothing to do but wait.
    #[tokio::test(start_paused = true)]
    async fn half_an_answer_is_given_up() {
        for (path, head) in [("/api", "Content-Length: 99"), ("/api", "Transfer-Encoding: chunked\r\n\r\n9")] {
            let said = client_of(head, "{\"half", 1).request::<Value>(get(path)).await.unwrap_err().to_string();
            assert!(said.contains("did not answer in time"), "{said}");
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        const BLANKS: &str = "                                                                ";
        let client = client_of("Connection: close", BLANKS, usize::MAX);
        let said = client.request::<Value>(get("/api")).await.unwrap_err().to_string();
        assert!(said.contains("length limit exceeded"), "{said}");
        let mut events = Box::pin(client.request_events::<Value>(get("/api?watch=true")).await.unwrap());
        let said = futures::TryStreamExt::try_next(&mut events).await.unwrap_err().to_string();
        assert!(said.contains("an event without end"), "{said}");
    }

    #[tokio::test]
    async fn a_watch_goes_on() {
        const EVENT: &str =
            "{\"type\": \"ADDED\", \"object\": {\"much\": \"                                       \"}}\n";
        let times = 2 * LONGEST_EVENT / EVENT.len();
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
