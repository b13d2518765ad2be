//! A proxy in the test's own process: it stands before the API server or before the directory, and does to single calls what
//! networks and crashes do.
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use futures::{FutureExt, Stream, StreamExt, stream};
use http::{HeaderMap, Method, Response, StatusCode, Uri, header, request::Parts};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request,
    body::{Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

mod cut;
use cut::Cut;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It waits before it is forwarded.
    HoldRequest,
    /// It is forwarded, and the reply waits.
    HoldReply,
    /// The connection ends; nothing is forwarded.
    DropRequest,
    /// It is forwarded, and the connection ends without a reply.
    DropReply,
    /// It is forwarded, and the connection ends after so many bytes of the reply's body.
    CutReply(usize),
    /// It is forwarded, and after so many bytes of the reply's body nothing comes.
    StallReply(usize),
    /// It is forwarded, and the connection ends after so many bytes of the reply, its head included.
    CutAt(usize),
    /// It is answered with this status, in the shape that Kubernetes has; nothing is forwarded.
    Answer(u16),
}

/// Which call, and what happens to it.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: Method,
    /// `*` stands for one segment.
    pub path: String,
    /// Occurs in the path or the body, or did in the body with which the object that the path names was created.
    pub about: String,
    /// Occurs in the body; may be empty.
    pub body_has: &'static str,
    /// 1: the first such call; 0: every one.
    pub nth: usize,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Held,
    Released,
    Dropped,
}

/// A rule that waits for its call.
pub struct Armed {
    rule: Rule,
    /// Not before this one's call has come; and then for all that follow, too.
    after: Option<Arc<Armed>>,
    seen: AtomicUsize,
    hit: AtomicBool,
    arrived: AtomicBool,
    hold: watch::Sender<Hold>,
    over: AtomicBool,
}

impl Armed {
    /// Calls go through as if there were no such rule.
    pub fn disarm(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether it is for the call that is the `count`th of its kind.
    fn is_due(&self, count: usize) -> bool {
        [0, count].contains(&self.rule.nth) || (self.after.is_some() && count > self.rule.nth)
    }

    fn may_count(&self) -> bool {
        self.after.as_ref().is_none_or(|other| other.seen.load(Ordering::SeqCst) >= other.rule.nth.max(1))
    }

    /// Its call has come; if the reply is held, it was carried out, too.
    pub fn is_hit(&self) -> bool {
        self.hit.load(Ordering::SeqCst)
    }

    /// Its call was forwarded, and upstream has answered.
    pub fn has_arrived(&self) -> bool {
        self.arrived.load(Ordering::SeqCst)
    }

    /// What is held goes on, whether or not its client is still there.
    pub fn release(&self) {
        self.hold.send_replace(Hold::Released);
    }

    /// What is held is lost.
    pub fn lose(&self) {
        self.hold.send_replace(Hold::Dropped);
    }

    /// Waits until it is decided; fails if the call is lost.
    async fn held(&self) -> Result<(), Failure> {
        self.hit.store(true, Ordering::SeqCst);
        match *self.hold.subscribe().wait_for(|hold| *hold != Hold::Held).await? {
            Hold::Released => Ok(()),
            Hold::Held | Hold::Dropped => Err(lost()),
        }
    }
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    rules: Mutex<Vec<Arc<Armed>>>,
    /// Objects that were created: the end of their path, and the body.
    created: Mutex<Vec<(String, String)>>,
    /// What came: method, path and query.
    calls: Mutex<Vec<String>>,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    open: watch::Sender<bool>,
    listening: watch::Receiver<bool>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before the API server of `kubeconfig`.
    pub fn before_api_server(kubeconfig: &Path) -> Self {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).now_or_never().expect("files only").unwrap();
        Self::start(&config.cluster_url.to_string(), &config.root_cert.unwrap_or_default())
    }

    /// Before `upstream`. `roots`: DER certificates, if upstream speaks TLS.
    pub fn start(upstream: &str, roots: &[Vec<u8>]) -> Self {
        let roots = roots.iter().map(|der| reqwest::Certificate::from_der(der).unwrap());
        let client = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only(roots)
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            rules: Mutex::default(),
            created: Mutex::default(),
            calls: Mutex::default(),
        });
        let (open, opened) = watch::channel(true);
        let (opened_sender, listening) = watch::channel(false);
        let (end, ended) = tokio::sync::oneshot::channel();
        let (address, bound) = mpsc::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(serving, opened, opened_sender, address) => {}
                    _ = ended => {}
                }
            });
            // Calls that are held end with it.
            runtime.shutdown_background();
        });
        let url = format!("http://{}", bound.recv().unwrap());
        Self { url, shared, open, listening, end: Some(end), thread: Some(thread) }
    }

    pub fn arm(&self, rule: Rule) -> Arc<Armed> {
        self.armed(rule, None)
    }

    /// For the call that the rule names and all such that follow it, counted from the other one's call on: one that is held for too long is
    /// given up and comes again.
    pub fn arm_after(&self, other: &Arc<Armed>, rule: Rule) -> Arc<Armed> {
        self.armed(rule, Some(Arc::clone(other)))
    }

    fn armed(&self, rule: Rule, after: Option<Arc<Armed>>) -> Arc<Armed> {
        let armed = Arc::new(Armed {
            rule,
            after,
            seen: AtomicUsize::new(0),
            hit: AtomicBool::new(false),
            arrived: AtomicBool::new(false),
            hold: watch::Sender::new(Hold::Held),
            over: AtomicBool::new(false),
        });
        self.shared.rules.lock().unwrap().push(Arc::clone(&armed));
        armed
    }

    /// The calls that came so far, as `METHOD path?query`.
    pub fn calls(&self) -> Vec<String> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// Connections end, and new ones are refused.
    pub fn cut(&self) {
        self.turn(false);
    }

    /// On the same port.
    pub fn heal(&self) {
        self.turn(true);
    }

    fn turn(&self, open: bool) {
        self.open.send_replace(open);
        super::wait_for("the proxy", || (*self.listening.borrow() == open).then_some(()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    shared: Arc<Shared>,
    mut open: watch::Receiver<bool>,
    listening: watch::Sender<bool>,
    bound: mpsc::Sender<SocketAddr>,
) {
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    loop {
        let listener = listen(address);
        address = listener.local_addr().unwrap();
        let _ = bound.send(address);
        listening.send_replace(true);
        // Dropped with the listener: then every connection ends.
        let (alive, over) = watch::channel(());
        while *open.borrow_and_update() {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (shared, mut over) = (Arc::clone(&shared), over.clone());
                    tokio::spawn(async move {
                        let left = Arc::new(AtomicUsize::new(usize::MAX));
                        let service = service_fn(|request| pass(Arc::clone(&shared), request, Arc::clone(&left)));
                        let stream = TokioIo::new(Cut::new(stream, Arc::clone(&left)));
                        tokio::select! {
                            _ = http1::Builder::new().serve_connection(stream, service) => {}
                            _ = over.changed() => {}
                        }
                    });
                }
                _ = open.changed() => {}
            }
        }
        drop((listener, alive));
        listening.send_replace(false);
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    socket.listen(1024).unwrap()
}

fn lost() -> Failure {
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

/// A failure ends the connection without an answer.
async fn pass(
    shared: Arc<Shared>,
    request: Request<Incoming>,
    left: Arc<AtomicUsize>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    // A call that has been sent goes on whatever becomes of its client.
    tokio::spawn(async move { shared.forward(&head, body, &left).await }).await?
}

impl Shared {
    /// `left`: bytes that the call's connection may still carry back.
    async fn forward(&self, head: &Parts, body: Bytes, left: &AtomicUsize) -> Result<Response<Body>, Failure> {
        self.calls.lock().unwrap().push(format!("{} {}", head.method, head.uri));
        let rule = self.rule(head, &String::from_utf8_lossy(&body));
        let action = rule.as_ref().map(|armed| armed.rule.action);
        if let Some(armed) = &rule {
            match armed.rule.action {
                Action::HoldRequest => armed.held().await?,
                Action::DropRequest | Action::Answer(_) => armed.hit.store(true, Ordering::SeqCst),
                Action::HoldReply
                | Action::DropReply
                | Action::CutReply(_)
                | Action::StallReply(_)
                | Action::CutAt(_) => {}
            }
        }
        match action {
            Some(Action::DropRequest) => return Err(lost()),
            Some(Action::Answer(code)) => return Ok(answer(code)),
            _ => {}
        }
        let response = self.ask(head, body).await?;
        let Some(armed) = rule else { return Ok(response) };
        armed.arrived.store(true, Ordering::SeqCst);
        match armed.rule.action {
            Action::HoldReply => armed.held().await?,
            Action::DropReply | Action::CutReply(_) | Action::StallReply(_) | Action::CutAt(_) => {
                armed.hit.store(true, Ordering::SeqCst);
            }
            Action::HoldRequest | Action::DropRequest | Action::Answer(_) => {}
        }
        match armed.rule.action {
            Action::DropReply => Err(lost()),
            Action::CutReply(bytes) => {
                let rest = stream::once(async {
                    // What came before is written first.
                    tokio::task::yield_now().await;
                    Err(lost())
                });
                part(response, bytes, rest).await
            }
            Action::StallReply(bytes) => part(response, bytes, stream::pending()).await,
            Action::CutAt(bytes) => {
                left.store(bytes, Ordering::SeqCst);
                Ok(response)
            }
            _ => Ok(response),
        }
    }

    async fn ask(&self, head: &Parts, body: Bytes) -> Result<Response<Body>, Failure> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.upstream).parse()?;
        let mut headers = head.headers.clone();
        hop_by_hop(&mut headers);
        headers.remove(header::HOST);
        headers.remove(header::CONTENT_LENGTH);
        let request = self.client.request(head.method.clone(), uri.to_string()).headers(headers).body(body);
        let (mut head, body) = http::Response::from(request.send().await?).into_parts();
        hop_by_hop(&mut head.headers);
        Ok(Response::from_parts(head, body.map_err(Failure::from).boxed_unsync()))
    }

    /// The rule that is for this call.
    fn rule(&self, head: &Parts, body: &str) -> Option<Arc<Armed>> {
        let path = head.uri.path();
        let mut created = self.created.lock().unwrap();
        if head.method == Method::POST
            && let Some(name) = serde_json::from_str::<Value>(body).ok().and_then(|o| name_of(&o))
        {
            created.push((format!("/{name}"), body.to_owned()));
        }
        let known = |what: &str| created.iter().any(|(name, with)| path.ends_with(name) && with.contains(what));
        let is_about = |what: &str| path.contains(what) || body.contains(what) || known(what);
        let all = self.rules.lock().unwrap();
        let due = all.iter().find(|armed| {
            let rule = &armed.rule;
            rule.method == head.method
                && fits(&rule.path, path)
                && body.contains(rule.body_has)
                && is_about(&rule.about)
                && !armed.over.load(Ordering::SeqCst)
                && armed.may_count()
                && armed.is_due(armed.seen.fetch_add(1, Ordering::SeqCst) + 1)
        });
        due.cloned()
    }
}

fn name_of(object: &Value) -> Option<String> {
    Some(object["metadata"]["name"].as_str()?.to_owned())
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(expected), Some(segment)) if expected == "*" || expected == segment => {}
            _ => return false,
        }
    }
}

/// What concerns one connection only.
fn hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

fn answer(code: u16) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({
        // What the API server says, and what a directory does.
        "error": "PATTERN_NOT_MATCHED", "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the test answers so",
    });
    let mut response = Response::new(Full::from(status.to_string()).map_err(never).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    if code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    response
}

fn never(never: Infallible) -> Failure {
    match never {}
}

/// The whole was carried out; the client gets the head and some of the body, and then the rest.
async fn part(
    response: Response<Body>,
    bytes: usize,
    rest: impl Stream<Item = Result<Frame<Bytes>, Failure>> + Send + 'static,
) -> Result<Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let whole = body.collect().await?.to_bytes();
    let part = Frame::data(whole.slice(..bytes.min(whole.len())));
    Ok(Response::from_parts(head, StreamBody::new(stream::iter([Ok(part)]).chain(rest)).boxed_unsync()))
}
