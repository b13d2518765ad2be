//! The way to a server, and bounds for what comes back.
//!
//! The library takes any answer: it decodes nested elements by recursion, and waits for as many bytes as a length announces. So it
//! gets one end of a pair of sockets, and what a server sends is looked at before it is passed on.
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

use super::{OLDEST, PORTS};
use crate::directory::LONGEST as LONGEST_TASK;

/// More levels than any answer has: the values of an entry's attribute are at the sixth.
const DEEPEST: usize = 32;
/// Bytes of an answer, all entries of a search together.
const LONGEST: u64 = 2 << 20;
/// Elements of an answer: one takes many times its size once it is decoded. An entry without attributes has five.
const ELEMENTS: usize = 100_000;

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
/// The number of such a tag goes on in the next byte. LDAP has none.
const LONG_TAG: u8 = 0x1f;

/// What is wrong with an answer, for which the connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Elements within elements.
    #[error("the server sent an answer that is nested deeper than {DEEPEST} levels")]
    Nested,
    /// As it is, or as it is announced.
    #[error("the server sent an answer that is larger than {} MiB", LONGEST >> 20)]
    Long,
    /// Entries, attributes, values.
    #[error("the server sent an answer of more than {ELEMENTS} elements")]
    Many,
    /// RFC 4511, section 5.1: definite lengths, and nothing reaches beyond what it is part of.
    #[error("the server sent something that is no LDAP message")]
    NoMessage,
}

/// Follows the messages that come from a server, which need not be there as a whole.
#[derive(Default)]
struct Bounds {
    /// Bytes that came so far.
    at: u64,
    /// Tag and length of the next element, as far as they are there.
    head: Vec<u8>,
    /// Where the elements end whose contents come: the outermost first.
    open: Vec<u64>,
    /// Up to here there is a value, of which nothing is looked at.
    value: u64,
    /// Since the last request.
    bytes: u64,
    elements: usize,
}

impl Bounds {
    /// What comes now answers another request.
    fn asked(&mut self) {
        (self.bytes, self.elements) = (0, 0);
    }

    fn take(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Excess> {
        self.bytes += bytes.len() as u64;
        if self.bytes > LONGEST {
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
                self.begun()?;
                bytes = rest;
            }
            while self.head.is_empty() && self.open.last().is_some_and(|end| *end <= self.at) {
                self.open.pop();
            }
        }
        Ok(())
    }

    /// A byte of a tag or a length came.
    fn begun(&mut self) -> std::result::Result<(), Excess> {
        let length = length(&self.head)?;
        // Of a head that goes on there is at least one byte more.
        let end = self.at + length.unwrap_or(1);
        if self.open.last().is_some_and(|outer| end > *outer) {
            return Err(Excess::NoMessage);
        }
        let (Some(_), Some(tag)) = (length, self.head.first().copied()) else { return Ok(()) };
        self.head.clear();
        self.elements += 1;
        match tag {
            _ if self.open.is_empty() && tag != SEQUENCE => return Err(Excess::NoMessage),
            _ if self.elements > ELEMENTS => return Err(Excess::Many),
            _ if tag & CONSTRUCTED == 0 => self.value = end,
            _ if self.open.len() == DEEPEST => return Err(Excess::Nested),
            _ => self.open.push(end),
        }
        Ok(())
    }

    /// Everything that has begun has ended.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.open.is_empty()
    }
}

/// The length that the head of an element announces, once it is whole.
fn length(head: &[u8]) -> std::result::Result<Option<u64>, Excess> {
    let length = match head {
        [tag, ..] if tag & LONG_TAG == LONG_TAG => return Err(Excess::NoMessage),
        [_, short @ ..0x80] => u64::from(*short),
        [_, 0x80 | 0x89.., ..] => return Err(Excess::NoMessage),
        [_, long, bytes @ ..] if bytes.len() == usize::from(long & 0x7f) => {
            bytes.iter().fold(0, |length, byte| length << 8 | u64::from(*byte))
        }
        _ => return Ok(None),
    };
    if length > LONGEST { Err(Excess::Long) } else { Ok(Some(length)) }
}

/// A connection as the Directory describes it: in clear, or under TLS from the start, or from `StartTLS` on.
async fn dial(url: &Url, start_tls: bool, tls: Arc<ClientConfig>) -> Result<Box<dyn Stream>> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let usual = PORTS.into_iter().find(|(scheme, _)| *scheme == url.scheme()).map_or(0, |(_, port)| port);
    let mut stream = TcpStream::connect((host, url.port().unwrap_or(usual))).await?;
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

/// Asks for TLS on this connection (RFC 4511, section 4.14). Nothing is read beyond the answer.
///
/// # Errors
/// If it is refused, or not answered.
pub async fn start_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    stream.write_all(REQUEST).await?;
    stream.flush().await?;
    let (mut answer, mut bounds) = (Vec::new(), Bounds::default());
    while answer.is_empty() || !bounds.is_between() {
        let byte = stream.read_u8().await?;
        bounds.take(&[byte]).map_err(|excess| Error::new(ErrorKind::InvalidData, excess))?;
        answer.push(byte);
    }
    if is_granted(&answer) { Ok(()) } else { Err(Error::other("StartTLS is refused")) }
}

/// `SEQUENCE { INTEGER, [APPLICATION 24] { ENUMERATED 0, ... } }`
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

/// The contents of the element that comes first, if it has this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let of_head = |n: &usize| bytes.get(..*n).is_some_and(|head| length(head) != Ok(None));
    let (head, rest) = bytes.split_at_checked((2..=10).find(of_head)?)?;
    let length = usize::try_from(length(head).ok()??).ok()?;
    rest.split_at_checked(length).filter(|_| head.first() == Some(&tag))
}

/// One end of a connection to the server for the library. An answer beyond the bounds ends it, and is told in `excess`. It lasts as
/// long as connections are taken up, and then as long as a task at the directory may take.
///
/// # Errors
/// If there is no connection.
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
        // Also where a server takes nothing any more, and nobody waits for its answer.
        drop(tokio::time::timeout(OLDEST + LONGEST_TASK, passing).await);
    });
    Ok(theirs)
}

/// Until either end is gone, or the server's answer is beyond the bounds.
async fn pass(mut server: Box<dyn Stream>, mut client: UnixStream, told: impl FnOnce(Excess)) -> Result<()> {
    let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    let mut bounds = Bounds::default();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Some(request @ [_, ..]) = asked.get(..read?) else { return Ok(()) };
                bounds.asked();
                server.write_all(request).await?;
                server.flush().await?;
            }
            read = server.read(&mut answered) => {
                let Some(answer @ [_, ..]) = answered.get(..read?) else { return Ok(()) };
                if let Err(excess) = bounds.take(answer) {
                    told(excess);
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

    /// An element with these contents, its length in as many bytes.
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

    fn taken(bytes: &[u8]) -> std::result::Result<bool, Excess> {
        let mut bounds = Bounds::default();
        bounds.take(bytes)?;
        Ok(bounds.is_between())
    }

    #[test]
    fn bounds() {
        let long = vec![0; 1 << 20];
        let many = element_of(SEQUENCE, 4, &[0x04, 0].repeat(ELEMENTS - 1));
        for (bytes, is_whole) in [
            (nested(DEEPEST), true),
            (many.clone(), true),
            (element_of(SEQUENCE, 3, &element_of(0x04, 4, &long)), true),
            (vec![SEQUENCE, 0x84, 0, 0], false),
            (vec![SEQUENCE, 3, 0x02, 1], false),
        ] {
            assert_eq!(taken(&bytes), Ok(is_whole), "{:?}", &bytes[..4]);
        }
        for (bytes, excess) in [
            (nested(DEEPEST + 1), Excess::Nested),
            (nested(100_000), Excess::Nested),
            ([many, vec![SEQUENCE, 0]].concat(), Excess::Many),
            (vec![SEQUENCE, 0x84, 0x7f, 0xff, 0xff, 0xff], Excess::Long),
            (vec![SEQUENCE, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Excess::Long),
            (element_of(SEQUENCE, 3, &element_of(0x04, 3, &long)).repeat(2), Excess::Long),
            (vec![SEQUENCE, 0x80], Excess::NoMessage),
            (vec![SEQUENCE, 0x89], Excess::NoMessage),
            (vec![SEQUENCE, 2, 0x04, 1], Excess::NoMessage),
            (vec![SEQUENCE, 3, 0x04, 0x81, 1], Excess::NoMessage),
            (vec![SEQUENCE, 1, 0x04], Excess::NoMessage),
            (vec![SEQUENCE, 2, 0x1f, 0x81], Excess::NoMessage),
            (b"HTTP/1.1 400 Bad Request".to_vec(), Excess::NoMessage),
        ] {
            assert_eq!(taken(&bytes), Err(excess), "{:?}", &bytes[..2]);
        }
    }

    /// Entries without end, each of them small, and others after another request.
    #[test]
    fn an_answer_is_all_that_comes_for_a_request() {
        let mut bounds = Bounds::default();
        let entry = element_of(SEQUENCE, 2, &element_of(0x04, 2, &[0; 1000]));
        for _ in 0..4 {
            bounds.asked();
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
        /// It makes no difference in what pieces a message comes, and nothing panics.
        #[test]
        fn pieces(bytes in proptest::collection::vec(prop_oneof![Just(0x30u8), 0u8..8, any::<u8>()], 0..60), cut in 0usize..60) {
            let whole = taken(&bytes);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut bounds = Bounds::default();
            let pieces = bounds.take(first).and_then(|()| bounds.take(second)).map(|()| bounds.is_between());
            prop_assert_eq!(pieces, whole);
            let _ = (is_granted(&bytes), element(SEQUENCE, &bytes));
        }
    }
}
