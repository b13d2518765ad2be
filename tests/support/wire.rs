//! A wire to an LDAP server that can be cut. It sees what anybody sees: messages until TLS begins, and from then on its records.
use std::{
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{ldap_proxy::messages, ldap_server::RUNTIME};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
}

/// Where a connection ends: at the nth of the messages or records that go this way, which arrives or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub way: Way,
    pub nth: usize,
    pub arrives: bool,
}

struct Shared {
    /// For the next connection.
    place: Mutex<Option<Place>>,
    /// What the latest connection has carried to the server, and back.
    carried: Mutex<[usize; 2]>,
    /// Every change ends the connections that there are.
    generation: watch::Sender<usize>,
}

pub struct Wire {
    /// Its `HOST:PORT`.
    pub address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Wire {
    /// To the server that listens at this `HOST:PORT`.
    pub fn to(server: &str) -> Self {
        let shared =
            Arc::new(Shared { place: Mutex::default(), carried: Mutex::default(), generation: watch::Sender::new(0) });
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (serving, server) = (Arc::clone(&shared), server.to_owned());
        let task = RUNTIME.spawn(async move {
            // They end with this task.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (shared, server) = (Arc::clone(&serving), server.clone());
                let mut generation = serving.generation.subscribe();
                connections.spawn(async move {
                    tokio::select! {
                        _ = carry(stream, &server, &shared) => {}
                        _ = generation.changed() => {}
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    /// Connections end, and the next one does at this place.
    pub fn cut(&self, place: Option<Place>) {
        *self.shared.place.lock().unwrap() = place;
        self.shared.generation.send_modify(|generation| *generation += 1);
    }

    /// The place has not been come to.
    pub fn is_left(&self) -> bool {
        self.shared.place.lock().unwrap().is_some()
    }

    /// How many messages and records the latest connection has carried to the server, and back.
    pub fn carried(&self) -> [usize; 2] {
        *self.shared.carried.lock().unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: &str, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let (mut client, mut server) = (JoinSet::new(), JoinSet::new());
    let (mut from_client, mut from_server) = (messages(from_client, &mut client), messages(from_server, &mut server));
    *shared.carried.lock().unwrap() = [0; 2];
    let mut carried = [0; 2];
    loop {
        let (way, message) = tokio::select! {
            message = from_client.recv() => (Way::ToServer, message),
            message = from_server.recv() => (Way::ToClient, message),
        };
        let Some(message) = message else { return Ok(()) };
        let here = {
            let mut place = shared.place.lock().unwrap();
            place.take_if(|place| place.way == way && place.nth == carried[way as usize])
        };
        if here.is_none_or(|place| place.arrives) {
            match way {
                Way::ToServer => to_server.write_all(&message).await?,
                Way::ToClient => to_client.write_all(&message).await?,
            }
        }
        if here.is_some() {
            // The server does not learn of it: it gives up what it has been asked by a client that has gone, if it has not begun with it.
            drop((to_client, client));
            while from_server.recv().await.is_some() {}
            return Ok(());
        }
        carried[way as usize] += 1;
        *shared.carried.lock().unwrap() = carried;
    }
}
