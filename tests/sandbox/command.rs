//! `credreset sandbox` as a process: where it listens, how it ends, and its page in the book.
use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::harness::TempFile;

use crate::support::{
    blocks,
    folder::{Folder, captured},
};

#[tokio::test]
async fn it_says_where_it_listens_and_ends_cleanly() {
    for signal in ["TERM", "INT"] {
        let file = TempFile::new();
        let mut child = Command::new(env!("CARGO_BIN_EXE_credreset"))
            .args(["sandbox", "--listen", "127.0.0.1:0", "--scopes", "ZohoDirectory.Users.READ", "--state"])
            .arg(&file.0)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let url = line.strip_prefix("listening on ").unwrap();
        let scopes = reqwest::get(format!("{url}/sandbox/scopes")).await.unwrap().text().await.unwrap();
        assert_eq!(scopes, r#"["ZohoDirectory.Users.READ"]"#);
        assert!(file.0.exists());
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().await.unwrap().success());
        assert!(child.wait().await.unwrap().success(), "SIG{signal}");
    }
}

/// What docs/sandbox.md does by hand, with what it shows.
#[tokio::test]
async fn the_page_of_the_book() {
    let folder = Folder::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_credreset"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = blocks("docs/sandbox.md", "sh").concat().replace("8090", &port.to_string());
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null' EXIT\n{page}");
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::from(folder.command("bash".as_ref())).args(["-ec", &script]).env("PATH", path).output().await;
    let (_, shown, complaint) = captured(&output.unwrap());
    assert_eq!((shown.as_str(), complaint.as_str()), (blocks("docs/sandbox.md", "text").concat().as_str(), ""));
}
