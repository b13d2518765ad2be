//! Sandbox and operator as processes, and how to talk to them.
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::LIMIT;

/// Proxies of the machine are not for loopback; those that a test sets stay.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// A child that ends with this process, also if this process is killed and drops nothing.
pub struct Process {
    child: Child,
    /// Kills the child once its stdin closes without a line.
    guard: Child,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        for name in PROXIES {
            if !command.get_envs().any(|(set, value)| set == name && value.is_some()) {
                command.env_remove(name);
            }
        }
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let guard = Command::new("sh")
            .args(["-c", r#"trap "" INT TERM HUP; read -r ended || kill -KILL "$0" 2>&-"#, &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        Self { child, guard }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut stdin) = self.guard.stdin.take() {
            let _ = stdin.write_all(b"ended\n");
        }
        let _ = self.guard.wait();
    }
}

/// `credreset sandbox`.
pub struct Sandbox {
    process: Process,
    pub url: String,
}

impl Sandbox {
    pub fn at(listen: &str, dir: &Path, flags: &[String]) -> Self {
        Self::of(Path::new(env!("CARGO_BIN_EXE_credreset")), listen, dir, Some("sandbox.json"), flags)
    }

    /// `state`: its file in `dir`.
    pub fn of(binary: &Path, listen: &str, dir: &Path, state: Option<&str>, flags: &[String]) -> Self {
        let state = state.map(|name| dir.join(name));
        let mut process = Process::start(
            Command::new(binary)
                .args(["sandbox", "--listen", listen])
                .args(state.iter().flat_map(|file| [OsStr::new("--state"), file.as_os_str()]))
                .args(flags)
                .stdout(Stdio::piped())
                .stderr(fs::OpenOptions::new().create(true).append(true).open(dir.join("sandbox.log")).unwrap()),
        );
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the sandbox printed {line:?}"))
            .to_owned();
        Self { process, url }
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = http_get(&self.url, path);
        assert_eq!(status, 200, "GET {path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> String {
        let (status, answer) = http(&self.url, method, path, Some(&body.to_string()));
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub fn fault(&self, fault: Value) {
        self.send("POST", "/sandbox/faults", &json!([fault]));
    }

    pub fn user(&self, id: &str) -> Value {
        self.get(&format!("/sandbox/users/{id}"))
    }

    /// Calls of this kind that arrived.
    pub fn count(&self, kind: &str) -> u64 {
        self.get("/sandbox/counts")[kind].as_u64().unwrap_or(0)
    }

    pub fn sign_in(&self, email: &str, password: &str) -> String {
        let answer = self.send("POST", "/sandbox/sign-in", &json!({"email": email, "password": password}));
        serde_json::from_str::<Value>(&answer).unwrap()["result"].as_str().unwrap().to_owned()
    }

    pub fn stop(&mut self) {
        self.process.kill();
    }
}

/// `credreset run`.
pub struct Operator {
    process: Process,
    log: PathBuf,
    pub url: String,
}

impl Operator {
    /// Starts it; returns when it reports that it is ready. `command` is `credreset run` as [`super::Site::operator_command`] has it.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let mut process = Process::start(command.stderr(fs::File::create(&log).unwrap()));
        let mut wait = |ready: &dyn Fn(&str) -> Option<String>| {
            wait_for("the operator's readiness", || {
                let text = fs::read_to_string(&log).unwrap();
                let ended = process.child.try_wait().unwrap();
                assert!(ended.is_none(), "the operator has ended with {ended:?}: {text}");
                ready(&text)
            })
        };
        let url = wait(&|text| {
            let listen =
                text.lines().find_map(|l| serde_json::from_str::<Value>(l).ok()?["listen"].as_str().map(str::to_owned));
            listen.map(|listen| format!("http://{listen}"))
        });
        wait(&|_| (http_get(&url, "/readyz").0 == 200).then(String::new));
        Self { process, log, url }
    }

    pub fn read_log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn metrics(&self) -> String {
        http_get(&self.url, "/metrics").1
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Sends SIGKILL, as in a crash.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits for its end; returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        wait_for("the operator's end", || self.process.child.try_wait().unwrap()).code()
    }

    /// CPU seconds that it has used.
    pub fn cpu(&self) -> f64 {
        cpu(&format!("/proc/{}/stat", self.process.child.id()))
    }

    /// Resident memory in bytes: all of it, and what is the process's own alone.
    pub fn memory(&self) -> (u64, u64) {
        (self.status("VmRSS"), self.status("RssAnon"))
    }

    /// The most that was ever resident, in bytes.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM")
    }

    /// A size in bytes, by its name in proc(5).
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Seconds of a processor, from a process's or a thread's `stat` (proc(5): `utime` and `stime`, in hundredths on Linux).
pub fn cpu(stat: &str) -> f64 {
    let text = fs::read_to_string(stat).unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Polls what cannot be watched. The limit is for what hangs.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(began.elapsed() < LIMIT, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn http_get(url: &str, path: &str) -> (u16, String) {
    http(url, "GET", path, None)
}

/// One request on one connection; status 0: there was no answer.
pub fn http(url: &str, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
    let address = url.strip_prefix("http://").expect("plain http");
    let Ok(mut stream) = TcpStream::connect(address) else { return (0, String::new()) };
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    if stream.write_all(head.as_bytes()).is_err() || stream.read_to_end(&mut answer).is_err() {
        return (0, String::new());
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), body.to_owned())
}
