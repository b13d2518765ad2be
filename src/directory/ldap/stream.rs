//! Network connections to a server, and bounds for its responses.
//!
//! The library accepts any response: it decodes nested elements by recursion, and waits for as many bytes as a length announces. So it
//! gets one end of a pair of sockets, and this module checks what the server sends before it passes it on.
use std::{
    io::{Error, ErrorKind, Result},
    os::unix::net,
    sync::{Arc, OnceLock},
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{connection::MAX_CONNECTION_AGE, server::PORTS};
use crate::directory::TASK_TIMEOUT;

/// More levels than any response has: the values of an attribute are at the sixth.
const MAX_DEPTH: usize = 32;
/// Bytes of a response, all entries of a search together.
const MAX_BYTES: u64 = 2 << 20;
/// Elements of a response. A decoded element takes many times its size. An entry without attributes has five.
const MAX_ELEMENTS: usize = 100_000;

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
/// The number of such a tag continues in the next byte. LDAP has no such tags.
const LONG_TAG: u8 = 0x1f;

/// Why a response was rejected and its connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Its elements are nested too deeply.
    #[error("the server sent an answer that is nested deeper than {MAX_DEPTH} levels")]
    Nested,
    /// It is too long, or announces too great a length.
    #[error("the server sent an answer that is larger than {} MiB", MAX_BYTES >> 20)]
    Long,
    /// It has too many elements: entries, attributes, values.
    #[error("the server sent an answer of more than {MAX_ELEMENTS} elements")]
    Many,
    /// It breaks RFC 4511, section 5.1: lengths are definite, and no element extends beyond the one that contains it.
    #[error("the server sent something that is not an LDAP message")]
    NotLdap,
}

/// Checks the messages of a server as their bytes arrive, in pieces of any size.
#[derive(Default)]
struct Bounds {
    /// Number of bytes received so far.
    at: u64,
    /// Tag and length of the next element, as far as they have been received.
    head: Vec<u8>,
    /// Where the elements end whose contents are being received, the outermost first.
    open: Vec<u64>,
    /// Where the value ends that is being received. Its contents are not checked.
    value: u64,
    /// Received since the last request.
    bytes: u64,
    elements: usize,
}

impl Bounds {
    /// Starts the count for the response to another request.
    fn reset(&mut self) {
        (self.bytes, self.elements) = (0, 0);
    }

    /// Checks the next bytes.
    fn take(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Excess> {
        self.bytes += bytes.len() as u64;
        if self.bytes > MAX_BYTES {
            return Err(Excess::Long);
        }
        while let [first, rest @ ..] = bytes {
            let within = usize::try_from(self.value.saturating_sub(self.at)).unwrap_or(usize::MAX).min(bytes.len());
            if within > 0 {
                self.at += within as u64;
                bytes = bytes.get(within..).unwrap_or_default();
            } else {
                self.at += 1;
                self.head.push(*first);
                self.check_head()?;
                bytes = rest;
            }
            while self.head.is_empty() && self.open.last().is_some_and(|end| *end <= self.at) {
                self.open.pop();
            }
        }
        Ok(())
    }

    /// Checks `head` after another byte of it was received.
    fn check_head(&mut self) -> std::result::Result<(), Excess> {
        let length = length(&self.head)?;
        // An incomplete head has at least one more byte.
        let end = self.at + length.unwrap_or(1);
        if self.open.last().is_some_and(|outer| end > *outer) {
            return Err(Excess::NotLdap);
        }
        let (Some(_), Some(tag)) = (length, self.head.first().copied()) else { return Ok(()) };
        self.head.clear();
        self.elements += 1;
        match tag {
            _ if self.open.is_empty() && tag != SEQUENCE => return Err(Excess::NotLdap),
            _ if self.elements > MAX_ELEMENTS => return Err(Excess::Many),
            _ if tag & CONSTRUCTED == 0 => self.value = end,
            _ if self.open.len() == MAX_DEPTH => return Err(Excess::Nested),
            _ => self.open.push(end),
        }
        Ok(())
    }

    /// Whether the last message is complete.
    fn is_complete(&self) -> bool {
        self.head.is_empty() && self.open.is_empty()
    }
}

/// The length that the head of an element announces. `None`: the head is incomplete.
fn length(head: &[u8]) -> std::result::Result<Option<u64>, Excess> {
    let length = match head {
        [tag, ..] if tag & LONG_TAG == LONG_TAG => return Err(Excess::NotLdap),
        [_, short @ ..0x80] => u64::from(*short),
        [_, 0x80 | 0x89.., ..] => return Err(Excess::NotLdap),
        [_, long, bytes @ ..] if bytes.len() == usize::from(long & 0x7f) => {
            bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
        }
        _ => return Ok(None),
    };
    if length > MAX_BYTES { Err(Excess::Long) } else { Ok(Some(length)) }
}

/// Connects: without TLS, or with TLS from the start, or from `StartTLS` on.
async fn dial(url: &Url, start_tls: bool, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let default = PORTS.into_iter().find(|(scheme, _)| *scheme == url.scheme()).map_or(0, |(_, port)| port);
    let mut stream = TcpStream::connect((host, url.port().unwrap_or(default))).await?;
    if start_tls {
        self::start_tls(&mut stream).await?;
    } else if url.scheme() == "ldap" {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|e| Error::new(ErrorKind::InvalidInput, e))?;
    Ok(Box::new(TlsConnector::from(tls).connect(name, stream).await?))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Requests TLS on this connection (RFC 4511, section 4.14). Reads nothing beyond the response.
///
/// # Errors
/// If the server refuses, or does not respond.
pub async fn start_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    stream.write_all(REQUEST).await?;
    stream.flush().await?;
    let (mut answer, mut bounds) = (Vec::new(), Bounds::default());
    while answer.is_empty() || !bounds.is_complete() {
        let byte = stream.read_u8().await?;
        bounds.take(&[byte]).map_err(|excess| Error::new(ErrorKind::InvalidData, excess))?;
        answer.push(byte);
    }
    if is_granted(&answer) { Ok(()) } else { Err(Error::other("StartTLS is refused")) }
}

/// Whether the response grants it: `SEQUENCE { INTEGER, [APPLICATION 24] { ENUMERATED 0, ... } }`
fn is_granted(answer: &[u8]) -> bool {
    let granted = || {
        let (message, _) = element(SEQUENCE, answer)?;
        let (_, message) = element(0x02, message)?;
        let (response, _) = element(0x78, message)?;
        let (code, _) = element(0x0a, response)?;
        Some(code.iter().all(|byte| *byte == 0))
    };
    granted().unwrap_or(false)
}

/// The contents of the first element, if it has this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let of_head = |n: &usize| bytes.get(..*n).is_some_and(|head| length(head) != Ok(None));
    let (head, rest) = bytes.split_at_checked((2..=10).find(of_head)?)?;
    let length = usize::try_from(length(head).ok()??).ok()?;
    rest.split_at_checked(length).filter(|_| head.first() == Some(&tag))
}

/// Opens a connection and returns the library's end of it. A response that exceeds the bounds closes the connection and is reported in
/// `excess`. The connection lasts as long as the pool keeps one, and then as long as a task at the directory may take.
///
/// # Errors
/// If no connection can be made.
pub async fn open(
    url: &Url,
    start_tls: bool,
    tls: Arc<ClientConfig>,
    excess: Arc<OnceLock<Excess>>,
) -> Result<net::UnixStream> {
    let server = dial(url, start_tls, tls).await?;
    let (ours, theirs) = net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let client = UnixStream::from_std(ours)?;
    tokio::spawn(async move {
        let passing = pass(server, client, |found| {
            let _ = excess.set(found);
        });
        // This also ends if the server reads nothing any more and no task waits for its response.
        drop(tokio::time::timeout(MAX_CONNECTION_AGE + TASK_TIMEOUT, passing).await);
    });
    Ok(theirs)
}

/// Passes bytes in both directions until either end is closed, or a response exceeds the bounds, which it reports.
async fn pass(mut server: Box<dyn Stream>, mut client: UnixStream, report: impl FnOnce(Excess)) -> Result<()> {
    let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let mut bounds = Bounds::default();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Some(request @ [_, ..]) = asked.get(..read?) else { return Ok(()) };
                bounds.reset();
                server.write_all(request).await?;
                server.flush().await?;
            }
            read = server.read(&mut answered) => {
                let Some(answer @ [_, ..]) = answered.get(..read?) else { return Ok(()) };
                if let Err(excess) = bounds.take(answer) {
                    report(excess);
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An element with these contents, and a length of this many bytes (0: the short form).
    fn element_of(tag: u8, length_bytes: u8, contents: &[u8]) -> Vec<u8> {
        let length = (contents.len() as u64).to_be_bytes();
        let mut all = vec![tag];
        match length_bytes {
            0 => all.push(u8::try_from(contents.len()).unwrap()),
            n => {
                all.push(0x80 | n);
                all.extend(&length[8 - usize::from(n)..]);
            }
        }
        all.extend(contents);
        all
    }

    fn nested(levels: usize) -> Vec<u8> {
        let heads = (1..levels).rev().flat_map(|within| {
            let [a, b, c, d] = u32::try_from(6 * within - 4).unwrap().to_be_bytes();
            [SEQUENCE, 0x84, a, b, c, d]
        });
        heads.chain([SEQUENCE, 0]).collect()
    }

    fn check(bytes: &[u8]) -> std::result::Result<bool, Excess> {
        let mut bounds = Bounds::default();
        bounds.take(bytes)?;
        Ok(bounds.is_complete())
    }

    #[test]
    fn bounds() {
        let long = vec![0; 1 << 20];
        let many = element_of(SEQUENCE, 4, &[0x04, 0].repeat(MAX_ELEMENTS - 1));
        for (bytes, is_whole) in [
            (nested(MAX_DEPTH), true),
            (many.clone(), true),
            (element_of(SEQUENCE, 3, &element_of(0x04, 4, &long)), true),
            (vec![SEQUENCE, 0x84, 0, 0], false),
            (vec![SEQUENCE, 3, 0x02, 1], false),
        ] {
            assert_eq!(check(&bytes), Ok(is_whole), "{:?}", &bytes[..4]);
        }
        for (bytes, excess) in [
            (nested(MAX_DEPTH + 1), Excess::Nested),
            (nested(100_000), Excess::Nested),
            ([many, vec![SEQUENCE, 0]].concat(), Excess::Many),
            (vec![SEQUENCE, 0x84, 0x7f, 0xff, 0xff, 0xff], Excess::Long),
            (vec![SEQUENCE, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Excess::Long),
            (element_of(SEQUENCE, 3, &element_of(0x04, 3, &long)).repeat(2), Excess::Long),
            (vec![SEQUENCE, 0x80], Excess::NotLdap),
            (vec![SEQUENCE, 0x89], Excess::NotLdap),
            (vec![SEQUENCE, 2, 0x04, 1], Excess::NotLdap),
            (vec![SEQUENCE, 3, 0x04, 0x81, 1], Excess::NotLdap),
            (vec![SEQUENCE, 1, 0x04], Excess::NotLdap),
            (vec![SEQUENCE, 2, 0x1f, 0x81], Excess::NotLdap),
            (b"HTTP/1.1 400 Bad Request".to_vec(), Excess::NotLdap),
        ] {
            assert_eq!(check(&bytes), Err(excess), "{:?}", &bytes[..2]);
        }
    }

    /// Endless small entries, first with requests between them, then without.
    #[test]
    fn an_answer_is_all_that_comes_for_a_request() {
        let mut bounds = Bounds::default();
        let entry = element_of(SEQUENCE, 2, &element_of(0x04, 2, &[0; 1000]));
        for _ in 0..4 {
            bounds.reset();
            for _ in 0..1000 {
                bounds.take(&entry).unwrap();
            }
        }
        assert_eq!((0..).find_map(|_| bounds.take(&entry).err()), Some(Excess::Long));
    }

    #[test]
    fn start_tls_is_granted_or_not() {
        let answer = |code, length_bytes| {
            let response = [vec![0x0a, 1, code], vec![0x04, 0], vec![0x04, 0]].concat();
            let operation = element_of(0x78, length_bytes, &response);
            element_of(SEQUENCE, length_bytes, &[vec![0x02, 1, 1], operation].concat())
        };
        for length_bytes in [0, 1, 4] {
            assert!(is_granted(&answer(0, length_bytes)));
            assert!(!is_granted(&answer(52, length_bytes)));
        }
        for other in [&[][..], &[SEQUENCE, 0], &answer(0, 0)[..9], b"\x30\x05\x02\x01\x01\x61\x00"] {
            assert!(!is_granted(other), "{other:?}");
        }
    }

    proptest! {
        /// The pieces in which a message arrives make no difference, and nothing panics.
        #[test]
        fn pieces(bytes in proptest::collection::vec(prop_oneof![Just(0x30u8), 0u8..8, any::<u8>()], 0..60), cut in 0usize..60) {
            let whole = check(&bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut bounds = Bounds::default();
            let pieces = bounds.take(first).and_then(|()| bounds.take(second)).map(|()| bounds.is_complete());
            prop_assert_eq!(pieces, whole);
            let _ = (is_granted(&bytes), element(SEQUENCE, &bytes));
        }
    }
}
