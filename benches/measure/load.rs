//! Requests, an operator or a bare client that works them off, and when each is done.
use std::{
    collections::HashSet,
    path::Path,
    process::Command,
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use kube::{
    Api, Client, Config, ResourceExt,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    IMAGE,
    support::{Operator, Setup, Site, TEAM, cpu, merge, mfa_reset, password_reset, program, time},
};

/// Longer than anything takes; a limit for what hangs, not a measure.
pub const LIMIT: Duration = Duration::from_secs(300);

/// This process, and those that it starts from now on, run on this processor alone; `None`: on all.
pub fn run_on(processor: Option<usize>) {
    let all = thread::available_parallelism().map_or(1, usize::from).max(2) - 1;
    let (list, own) = (processor.map_or(format!("0-{all}"), |one| one.to_string()), std::process::id().to_string());
    let done = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &list, &own]).output();
    assert!(done.expect("taskset").status.success(), "the benchmark needs two processors");
}

/// A site whose sandbox has these flags.
pub fn site(sandbox: &[&str]) -> Site {
    let sandbox = sandbox.iter().map(|&flag| flag.to_owned()).collect();
    Site::with(&Setup { benchmark: true, sandbox, ..Setup::default() })
}

/// The sandbox's Directory, with limits that no reset reaches.
pub fn directory(site: &Site) {
    site.directory("zylker", json!({"limits": {"resetsPerHour": 100_000, "minIntervalPerUser": "0s"}}));
}

/// The operator of the image, as it is installed; returns when it is ready.
pub fn operator(site: &Site, name: &str) -> Operator {
    site.operator_of(&program(IMAGE), name, "info")
}

/// Names of one kind.
pub fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{kind}-{n:05}")).collect()
}

/// A request of this name for the user with this name at the Directory `directory`.
pub fn password(directory: &str, name: &str, patch: Value) -> Value {
    // Asked for now: users are made right before, and that is a change of theirs.
    let mut spec = json!({"directory": directory, "user": {"email": null, "username": name}, "requestedAt": time(0)});
    merge(&mut spec, patch);
    object(&password_reset(name, "", json!({ "spec": spec })))
}

/// A request of this name for one of the sandbox's users: the `nth` of them in turn.
pub fn of_sandbox(mfa: bool, name: &str, nth: usize, users: usize) -> Value {
    let email = format!("user{:04}@zylker.biz", nth % users + 1);
    object(&if mfa { mfa_reset(name, &email, json!({})) } else { password_reset(name, &email, json!({})) })
}

fn object(manifest: &str) -> Value {
    serde_json::from_str(manifest).unwrap()
}

/// A client with the credentials of the kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

pub fn api(client: &Client, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("credreset.dev", "v1alpha1", kind));
    Api::namespaced_with(client.clone(), namespace, &kind)
}

/// Creates requests, as fast as that goes.
pub fn create(site: &Site, requests: Vec<Value>) {
    runtime().block_on(async {
        let api = api(&client(site.kubeconfig()).await, "CredentialReset", TEAM);
        let all = requests.into_iter().map(|request| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &serde_json::from_value(request).unwrap()).await }
        });
        stream::iter(all).buffer_unordered(32).try_for_each(|_| async { Ok(()) }).await.unwrap();
    });
}

/// Creates a request.
pub async fn create_one(client: &Client, request: Value) {
    let request = serde_json::from_value(request).unwrap();
    api(client, "CredentialReset", TEAM).create(&PostParams::default(), &request).await.unwrap();
}

/// Tells when each request's status says that it was applied.
pub struct Done(mpsc::Receiver<(String, Instant)>);

impl Done {
    pub fn watch(site: &Site) -> Self {
        let (sender, receiver) = mpsc::channel();
        let kubeconfig = site.kubeconfig().to_owned();
        // Ends with the receiver, or with the process.
        thread::spawn(move || {
            runtime().block_on(async {
                let kind =
                    ApiResource::from_gvk(&GroupVersionKind::gvk("credreset.dev", "v1alpha1", "CredentialReset"));
                let api: Api<PartialObjectMeta<DynamicObject>> =
                    Api::namespaced_with(client(&kubeconfig).await, TEAM, &kind);
                let applied = watcher::Config::default().fields("status.outcome=Applied");
                let mut events = std::pin::pin!(watcher(api, applied).applied_objects());
                let mut ended = HashSet::new();
                while let Some(event) = events.next().await {
                    // A watch that begins anew shows all of them again.
                    let Ok(object) = event else { continue };
                    let name = object.name_any();
                    if ended.insert(name.clone()) && sender.send((name, Instant::now())).is_err() {
                        return;
                    }
                }
            });
        });
        Self(receiver)
    }

    /// The next one.
    pub fn next(&self) -> (String, Instant) {
        self.0.recv_timeout(LIMIT).expect("requests that are carried out")
    }

    /// When this one was done.
    pub fn wait(&self, name: &str) -> Instant {
        loop {
            let (done, at) = self.next();
            if done == name {
                return at;
            }
        }
    }

    /// Forgets those that have been reported by now.
    pub fn forget(&self) {
        while self.0.try_recv().is_ok() {}
    }

    /// How many were done a second, from the first of `count` on to the last; and what `meter` has moved by meanwhile.
    pub fn rate(&self, count: u32, meter: impl Fn() -> f64) -> (f64, f64) {
        let (first, before) = (self.next().1, meter());
        let mut last = first;
        for _ in 1..count {
            last = self.next().1;
        }
        (f64::from(count - 1) / (last - first).as_secs_f64(), meter() - before)
    }
}

/// So many bare clients at once, each of which takes the next of `names` until there is none left. Returns the seconds of a processor
/// that they have used.
pub fn at_once<'n>(names: &'n [String], clients: usize, client: impl AsyncFn(&dyn Fn() -> Option<&'n str>)) -> f64 {
    let left = Mutex::new(names.iter());
    let next = || left.lock().unwrap().next().map(String::as_str);
    let used = || cpu("/proc/thread-self/stat");
    let before = used();
    runtime().block_on(join_all((0..clients).map(|_| client(&next))));
    used() - before
}

/// All in the calling thread, so that its use of a processor can be measured.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Per second, from the times (in seconds) at which each was done.
pub fn rate(times: &[f64]) -> f64 {
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::from(u32::try_from(times.len() - 1).unwrap()) / (last - first)
}

/// Has an operator carry them out, that begins when all of them are there. Returns when all are done and it has ended.
pub fn carry_out(site: &Site, done: &Done, requests: Vec<Value>) {
    let name = |request: &Value| request["metadata"]["name"].as_str().unwrap().to_owned();
    let mut left: HashSet<String> = requests.iter().map(name).collect();
    create(site, requests);
    let operator = operator(site, "op");
    while !left.is_empty() {
        left.remove(&done.next().0);
    }
    assert_eq!(operator.stop(), Some(0));
}
