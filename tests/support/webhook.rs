//! A webhook of a test's own: it keeps what is posted to it, also in a file that is searched for secrets.
use std::{
    cell::Cell,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use serde_json::Value;

use super::{LIMIT, tcp::server};

pub struct Webhook {
    pub url: String,
    /// What was taken, and a signal for each.
    taken: Arc<(Mutex<Vec<Value>>, Condvar)>,
}

impl Webhook {
    /// Refuses the first posts, this many of them, as one that is down. Writes `NAME.log` in this folder.
    pub fn start(dir: &Path, name: &str, refused: usize) -> Self {
        let taken = Arc::<(Mutex<Vec<Value>>, Condvar)>::default();
        let (keep, left) = (taken.clone(), Cell::new(refused));
        let log = File::create(dir.join(format!("{name}.log"))).unwrap();
        let address = server(move |mut stream| {
            let Some(body) = body(&stream) else { return };
            (&log).write_all(&[&body[..], b"\n"].concat()).unwrap();
            let up = left.get() == 0;
            left.set(left.get().saturating_sub(1));
            // First, so that a sender which has its answer finds the body kept.
            if up {
                let text = || Value::from(String::from_utf8_lossy(&body).into_owned());
                keep.0.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or_else(|_| text()));
                keep.1.notify_all();
            }
            let status = if up { "200 OK" } else { "503 Service Unavailable" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        });
        Self { url: format!("http://{address}"), taken }
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Value> {
        self.taken.0.lock().unwrap().clone()
    }

    /// Waits until `ready` finds in what was taken what it looks for.
    pub fn until<T>(&self, what: &str, mut ready: impl FnMut(&[Value]) -> Option<T>) -> T {
        let (all, signal) = &*self.taken;
        let mut all = all.lock().unwrap();
        loop {
            if let Some(found) = ready(&all) {
                return found;
            }
            let (now, late) = signal.wait_timeout(all, LIMIT).unwrap();
            assert!(!late.timed_out(), "{what} did not come: {:#?}", *now);
            all = now;
        }
    }
}

/// The body of a request. `None`: the connection has none.
fn body(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            _ if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut bytes = vec![0; length?];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}
