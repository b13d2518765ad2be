//! Waits, by a watch, until an object of the API server is as a test expects.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    process::Command,
    time::Instant,
};

use futures::{FutureExt, StreamExt};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde_json::{Deserializer, Value};

use super::{LIMIT, Process, SYSTEM, Site, TEAM};

/// Objects of one kind in one namespace.
pub struct Objects {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    namespace: &'static str,
}

pub const RESETS: Objects =
    Objects { group: "credreset.dev", version: "v1alpha1", kind: "CredentialReset", namespace: TEAM };
pub const RECORDS: Objects =
    Objects { group: "credreset.dev", version: "v1alpha1", kind: "CredentialResetRecord", namespace: SYSTEM };
/// The operators' Leases.
pub const LEASES: Objects = Objects { group: "coordination.k8s.io", version: "v1", kind: "Lease", namespace: SYSTEM };

/// Whether each of these requests has an outcome.
pub fn all_ended(requests: &BTreeMap<String, Value>) -> bool {
    requests.values().all(|request| request["status"]["outcome"].is_string())
}

/// All that the API server has had of objects of one kind, from when it began.
pub struct Versions {
    _watch: Process,
    file: PathBuf,
}

impl Versions {
    /// Those that have come so far: each object once more for each write.
    pub fn all(&self) -> Vec<Value> {
        let text = fs::read(&self.file).unwrap();
        // Of the last there may be a part so far.
        Deserializer::from_slice(&text).into_iter().map_while(Result::ok).collect()
    }
}

impl Site {
    /// Keeps the events of these objects, in all namespaces.
    pub fn versions(&self, kind: &str) -> Versions {
        let file = self.dir.join(format!("{kind}.json"));
        let mut kubectl = Command::new(&self.kubectl.program);
        kubectl.args(["get", kind, "-A", "-w", "-o", "json"]).stdout(File::create(&file).unwrap());
        Versions { _watch: Process::start(self.tools(&mut kubectl)), file }
    }

    /// Waits until the operator with this identity leads.
    pub fn until_leads(&self, identity: &str) {
        let leads = |lease: &Value| {
            lease["spec"]["holderIdentity"].as_str()?.strip_prefix(identity)?.strip_prefix('/').map(drop)
        };
        self.when(&format!("{identity} to lead"), &LEASES, |all| leads(all.get("credreset")?));
    }

    /// Watches these objects until `ready` finds in them, by name, what it looks for. It fails after `LIMIT` without a change, and
    /// after ten times that in any case.
    pub fn when<T>(
        &self,
        what: &str,
        objects: &Objects,
        mut ready: impl FnMut(&BTreeMap<String, Value>) -> Option<T>,
    ) -> T {
        let kubeconfig = self.kubectl(&["config", "view", "--raw", "--flatten", "--minify"]);
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            if self.instance.is_some() {
                config.proxy_url = None; // of the environment
            }
            let kind = GroupVersionKind::gvk(objects.group, objects.version, objects.kind);
            let client = Client::try_from(config).unwrap();
            let api = Api::<DynamicObject>::namespaced_with(client, objects.namespace, &ApiResource::from_gvk(&kind));
            let mut changes = watcher(api, watcher::Config::default()).default_backoff().boxed();
            let (mut all, mut whole) = (BTreeMap::new(), false);
            let began = Instant::now();
            let mut last = began;
            loop {
                let limit = (last + LIMIT).min(began + 10 * LIMIT);
                let change = tokio::time::timeout_at(limit.into(), changes.next()).await;
                let mut change = change.unwrap_or_else(|_| panic!("{what} did not come: {all:#?}\n{}", self.logs()));
                // What has come meanwhile is looked at once.
                while let Some(event) = change {
                    if event.is_ok() {
                        last = Instant::now();
                    }
                    match event {
                        Ok(Event::Init) => (all, whole) = (BTreeMap::new(), false),
                        Ok(Event::InitApply(object) | Event::Apply(object)) => {
                            let name = object.metadata.name.clone().unwrap();
                            all.insert(name, serde_json::to_value(object).unwrap());
                        }
                        Ok(Event::InitDone) => whole = true,
                        Ok(Event::Delete(object)) => drop(all.remove(&object.metadata.name.unwrap())),
                        Err(error) => println!("watch: {error}"),
                    }
                    change = changes.next().now_or_never().flatten();
                }
                if whole && let Some(found) = ready(&all) {
                    return found;
                }
            }
        })
    }
}
