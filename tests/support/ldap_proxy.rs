//! A proxy before an LDAP server, inside its TLS. It parses messages, and cuts or holds a chosen one.
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::ldap_server::Server;

/// What becomes of the first change of an entry. Unless it was delayed, the connection is gone from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// So many bytes of the request arrive.
    Request(usize),
    /// So many bytes of the answer do.
    Answer(usize),
    /// The request waits until it is released. Then it arrives, though its client no longer waits for an answer.
    Held,
    /// The request waits until it is released. Then it goes on as if nothing had been.
    Delayed,
    /// The server has answered; when the answer is released, it is lost.
    AnswerHeld,
}

#[derive(Default)]
struct Shared {
    /// By a part of the entry's name.
    rules: Mutex<HashMap<String, Cut>>,
    /// Bytes of changes that were made and of their answers that came whole: the longest.
    longest: Mutex<(usize, usize)>,
    held: Mutex<usize>,
    /// How many messages clients have sent.
    asked: Mutex<usize>,
    hide_vendor: AtomicBool,
}

pub struct LdapProxy {
    pub url: String,
    shared: Arc<Shared>,
    release: watch::Sender<bool>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LdapProxy {
    pub fn before(server: &Server) -> Self {
        let [certificate, key] = server.certificate();
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()));
        let connector = TlsConnector::from(server.tls());
        let address = server.value("LDAPS_URL").strip_prefix("ldaps://").unwrap().to_owned();
        let address = if address.contains(':') { address } else { format!("{address}:636") };

        let shared = Arc::<Shared>::default();
        let (release, released) = watch::channel(false);
        let (end, ended) = tokio::sync::oneshot::channel();
        let (port, bound) = mpsc::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                port.send(listener.local_addr().unwrap().port()).unwrap();
                let accept = async {
                    loop {
                        let Ok((stream, _)) = listener.accept().await else { continue };
                        let (acceptor, connector, address) = (acceptor.clone(), connector.clone(), address.clone());
                        let (shared, released) = (Arc::clone(&serving), released.clone());
                        tokio::spawn(async move {
                            let _ = pass(stream, &acceptor, &connector, &address, &shared, released).await;
                        });
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_background();
        });
        let url = format!("ldaps://localhost:{}", bound.recv().unwrap());
        Self { url, shared, release, end: Some(end), thread: Some(thread) }
    }

    /// The first change of an entry with `about` in its name ends so. What was held before must be gone by now.
    pub fn cut(&self, about: &str, cut: Cut) {
        self.release.send_replace(false);
        self.shared.rules.lock().unwrap().insert(about.to_owned(), cut);
    }

    /// From now on clients cannot see that they talk to Samba.
    pub fn hide_vendor(&self) {
        self.shared.hide_vendor.store(true, Ordering::Relaxed);
    }

    /// The rules whose change has not come.
    pub fn left(&self) -> usize {
        self.shared.rules.lock().unwrap().len()
    }

    /// How long requests and answers that came whole were at most.
    pub fn longest(&self) -> (usize, usize) {
        *self.shared.longest.lock().unwrap()
    }

    /// How many changes, or answers to them, are held.
    pub fn held(&self) -> usize {
        *self.shared.held.lock().unwrap()
    }

    /// How many messages clients have sent.
    pub fn asked(&self) -> usize {
        *self.shared.asked.lock().unwrap()
    }

    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

impl Drop for LdapProxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

const SEQUENCE: u8 = 0x30;
const VENDOR: &[u8] = b"Samba Team";
const MODIFY: u8 = 0x66;
const MODIFIED: u8 = 0x67;

async fn pass(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    address: &str,
    shared: &Arc<Shared>,
    mut released: watch::Receiver<bool>,
) -> io::Result<()> {
    let host = address.split(':').next().unwrap().to_owned();
    let upstream = TcpStream::connect(address).await?;
    upstream.set_nodelay(true)?;
    let upstream = connector.connect(ServerName::try_from(host).unwrap(), upstream).await?;
    let client = acceptor.accept(stream).await?;
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_server, mut to_server) = tokio::io::split(upstream);
    // Both wires are gone with them.
    let mut readers = JoinSet::new();
    let (mut from_client, mut from_server) = (messages(from_client, &mut readers), messages(from_server, &mut readers));
    // What becomes of the answers to these messages.
    let (mut cut_answers, mut sizes) = (HashMap::new(), HashMap::new());
    loop {
        tokio::select! {
            message = from_client.recv() => {
                let Some(message) = message else { return Ok(()) };
                let (id, kind) = head(&message);
                *shared.asked.lock().unwrap() += 1;
                if kind == MODIFY {
                    sizes.insert(id, message.len());
                    let text = String::from_utf8_lossy(&message).into_owned();
                    let rule = {
                        let mut rules = shared.rules.lock().unwrap();
                        let about = rules.keys().find(|about| text.contains(about.as_str())).cloned();
                        about.and_then(|about| rules.remove(&about))
                    };
                    match rule {
                        Some(Cut::Request(bytes)) => {
                            to_server.write_all(&message[..bytes.min(message.len())]).await?;
                            to_server.flush().await?;
                            return Ok(());
                        }
                        Some(Cut::Delayed) => {
                            *shared.held.lock().unwrap() += 1;
                            let _ = released.wait_for(|released| *released).await;
                            *shared.held.lock().unwrap() -= 1;
                        }
                        Some(cut @ (Cut::Answer(_) | Cut::AnswerHeld)) => drop(cut_answers.insert(id, cut)),
                        Some(Cut::Held) => {
                            *shared.held.lock().unwrap() += 1;
                            let _ = released.wait_for(|released| *released).await;
                            to_server.write_all(&message).await?;
                            to_server.flush().await?;
                            // Until it is answered.
                            while from_server.recv().await.is_some_and(|message| head(&message) != (id, MODIFIED)) {}
                            *shared.held.lock().unwrap() -= 1;
                            return Ok(());
                        }
                        None => {}
                    }
                }
                to_server.write_all(&message).await?;
                to_server.flush().await?;
            }
            message = from_server.recv() => {
                let Some(mut message) = message else { return Ok(()) };
                let (id, kind) = head(&message);
                if shared.hide_vendor.load(Ordering::Relaxed)
                    && let Some(at) = message.windows(VENDOR.len()).position(|text| text == VENDOR)
                {
                    message[at] = b'?';
                }
                if kind == MODIFIED {
                    match cut_answers.get(&id) {
                        Some(Cut::Answer(bytes)) => {
                            to_client.write_all(&message[..message.len().min(*bytes)]).await?;
                            to_client.flush().await?;
                            return Ok(());
                        }
                        Some(_) => {
                            *shared.held.lock().unwrap() += 1;
                            let _ = released.wait_for(|released| *released).await;
                            *shared.held.lock().unwrap() -= 1;
                            return Ok(());
                        }
                        None => {}
                    }
                    let asked = sizes.remove(&id).unwrap_or(0);
                    // A check sends one that is always refused.
                    if message.windows(3).any(|code| code == [0x0a, 1, 0]) {
                        let mut longest = shared.longest.lock().unwrap();
                        *longest = (longest.0.max(asked), longest.1.max(message.len()));
                    }
                }
                to_client.write_all(&message).await?;
                to_client.flush().await?;
            }
        }
    }
}

/// The messages that come, whole; of what is encrypted, the records.
pub fn messages(
    mut stream: impl AsyncRead + Send + Unpin + 'static,
    readers: &mut JoinSet<()>,
) -> tokio::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    readers.spawn(async move {
        while let Ok(message) = read(&mut stream).await {
            if sender.send(message).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// One whole message: `SEQUENCE`, length, contents. Or a record of TLS: its type, its version and its length in two bytes each
/// (RFC 8446, section 5.1).
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![stream.read_u8().await?, stream.read_u8().await?];
    let mut length = usize::from(message[1]);
    if message[0] != SEQUENCE {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).await?;
        message.extend(rest);
        length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
    } else if length > 0x7f {
        let mut bytes = vec![0; length & 0x7f];
        stream.read_exact(&mut bytes).await?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        message.extend(bytes);
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    message.extend(rest);
    Ok(message)
}

/// The message's id and what kind it is.
fn head(message: &[u8]) -> (u32, u8) {
    let at = if message[1] > 0x7f { 2 + usize::from(message[1] & 0x7f) } else { 2 };
    let end = at + 2 + usize::from(message[at + 1]);
    let id = message[at + 2..end].iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    (id, message[end])
}
