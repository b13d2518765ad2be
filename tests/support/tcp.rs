//! A TCP server of a test's own, for replies that no real server gives.
use std::net::{TcpListener, TcpStream};

/// Starts a server that calls `serve` for every connection, and returns its address. It ends with the test's process.
pub fn server(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}
