//! Objects without most of their metadata. A user who may write an object may put as much into its metadata as the API server accepts:
//! 1.5 MB of labels or finalizers, which take many times that in memory. Such metadata is skipped while an object is read.
//!
//! An object may also have a shape that this version does not know: a later version wrote it, and was then rolled back. A list or a watch
//! of [`Guarded`] objects goes on without that one.
use std::{borrow::Cow, fmt::Debug, ops::Deref};

use futures::{Stream, StreamExt, future::ready};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, Resource,
    core::ObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event, watcher},
    },
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::core::text::{MESSAGE, printable};

/// Objects in one page of a list. Even if each has the maximum size, and is in memory twice while it is
/// read, a page leaves room for others.
pub const PAGE: u32 = 16;

/// A `K` with only the metadata that this program uses. It is read, and never written back.
#[derive(Clone, Debug)]
pub struct Lean<K>(pub K);

impl<K> Deref for Lean<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.0
    }
}

impl<K: Resource> Resource for Lean<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// A `K` as [`Lean`] has it, or why it is not a `K`.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<Lean<K>, Unreadable>);

/// An object of a shape that this version does not know.
#[derive(Clone, Debug)]
pub struct Unreadable {
    metadata: ObjectMeta,
    /// What is wrong with it; printable, without a full stop.
    pub why: String,
}

impl<K: Resource<DynamicType = ()>> Guarded<K> {
    /// The object. `None`: it is unreadable, which is logged.
    pub fn readable(self) -> Option<Lean<K>> {
        self.0.inspect_err(Unreadable::log::<K>).ok()
    }
}

impl Unreadable {
    /// Logs that the object, a `K`, is left out.
    pub fn log<K: Resource<DynamicType = ()>>(&self) {
        let (namespace, name) = (self.metadata.namespace.as_deref(), self.metadata.name.as_deref());
        let kind = K::kind(&());
        tracing::warn!(kind = &*kind, namespace, name, error = self.why, "left out an object that cannot be read");
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &K::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &K::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

/// Watches all objects that `config` selects, but for the unreadable ones.
pub fn watch<K>(client: Client, config: watcher::Config) -> impl Stream<Item = watcher::Result<Event<Lean<K>>>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let events = watcher(Api::<Guarded<K>>::all(client), config.page_size(PAGE)).default_backoff();
    events.filter_map(|event| ready(event.map(readable_event).transpose()))
}

fn readable_event<K: Resource<DynamicType = ()>>(event: Event<Guarded<K>>) -> Option<Event<Lean<K>>> {
    Some(match event {
        Event::Apply(object) => Event::Apply(object.readable()?),
        Event::Delete(object) => Event::Delete(object.readable()?),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object.readable()?),
        Event::InitDone => Event::InitDone,
    })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Serialize, Deserialize)]
struct Labels {
    #[serde(rename = "velero.io/restore-name", skip_serializing_if = "Option::is_none")]
    restored: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Annotations {
    // The key is `FILED_BY`: an attribute takes no constant.
    #[serde(rename = "credreset.dev/filed-by", skip_serializing_if = "Option::is_none", default)]
    filed_by: Option<ShortText>,
}

/// A text that was cut to the length of a message.
#[derive(Serialize)]
struct ShortText(String);

impl<'de> Deserialize<'de> for ShortText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(printable(&text, MESSAGE)))
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Guarded::deserialize(deserializer)?.0.map_err(|unreadable| serde::de::Error::custom(unreadable.why))
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Deserialization skips the fields that are not named.
        #[derive(Deserialize)]
        struct Parts {
            metadata: Metadata,
            /// At most as large as the kind's definition allows.
            #[serde(flatten)]
            rest: Map<String, Value>,
        }
        let Parts { metadata, mut rest } = Parts::deserialize(deserializer)?;
        let metadata = serde_json::to_value(metadata).map_err(serde::de::Error::custom)?;
        let kept = ObjectMeta::deserialize(&metadata).map_err(serde::de::Error::custom)?;
        rest.insert("metadata".to_owned(), metadata);
        let object = serde_json::from_value(Value::Object(rest));
        let unreadable =
            |error: serde_json::Error| Unreadable { metadata: kept, why: printable(&error.to_string(), MESSAGE) };
        Ok(Self(object.map(Lean).map_err(unreadable)))
    }
}

#[cfg(test)]
mod tests {
    use kube::{ResourceExt, client::Body};
    use serde_json::json;

    use super::*;
    use crate::{
        api::CredentialReset,
        k8s::{clock::Clock, ledger::Ledger},
    };

    /// A client of an API server that answers as `answer` says of the query.
    fn client(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> Client {
        let service = tower::service_fn(move |request: ::http::Request<Body>| {
            let answer = answer(request.uri().query().unwrap_or_default());
            async move { Ok::<_, std::convert::Infallible>(::http::Response::new(Body::from(answer.into_bytes()))) }
        });
        Client::new(service, "default")
    }

    fn list(kind: &str, items: &Value) -> String {
        json!({"apiVersion": "credreset.dev/v1alpha1", "kind": kind, "metadata": {"resourceVersion": "6"}, "items": items})
            .to_string()
    }

    fn reset(name: &str, mode: &str) -> Value {
        json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
            "metadata": {"name": name, "namespace": "helpdesk", "resourceVersion": "7"},
            "spec": {
                "directory": "zylker", "user": {"email": "annette.c@zylker.biz"}, "mode": mode,
                "requestedAt": "2026-11-24T09:00:00Z", "reason": "Locked out, HELP-4711",
            },
        })
    }

    /// The list and the watch after it each have a mode that a later version may know.
    #[tokio::test]
    async fn an_unreadable_object_stops_neither_the_watch_nor_the_others() {
        let client = client(|query| {
            if !query.contains("watch=true") {
                let items = [reset("first", "MFA"), reset("broken", "Passkey"), reset("listed", "MFA")];
                return list("CredentialResetList", &json!(items));
            }
            let events = [
                ("ADDED", reset("later", "Passkey")),
                ("MODIFIED", reset("listed", "Passkey")),
                ("ADDED", reset("new", "MFA")),
            ];
            events.map(|(kind, object)| json!({"type": kind, "object": object}).to_string() + "\n").concat()
        });
        let events = watch::<CredentialReset>(client, watcher::Config::default());
        let seen = events.take(5).map(|event| match event.unwrap() {
            Event::Init => "start".to_owned(),
            Event::InitDone => "end of the list".to_owned(),
            Event::InitApply(object) | Event::Apply(object) => object.name_any(),
            Event::Delete(object) => panic!("{object:?}"),
        });
        assert_eq!(seen.collect::<Vec<_>>().await, ["start", "first", "listed", "end of the list", "new"]);
        let error = serde_json::from_value::<Lean<CredentialReset>>(reset("broken", "Passkey")).unwrap_err();
        assert!(error.to_string().contains("unknown variant `Passkey`"), "{error}");
    }

    #[tokio::test]
    async fn an_unreadable_settlement_does_not_count() {
        let settlement = |name: &str, outcome: &str| {
            json!({
                "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetSettlement", "metadata": {"name": name},
                "spec": {
                    "record": "r-1", "directory": "zylker", "outcome": outcome, "reason": "asked by phone", "settledBy": "olga",
                },
            })
        };
        let items = json!([settlement("later", "Withdrawn"), settlement("known", "Applied")]);
        let client = client(move |_| list("CredentialResetSettlementList", &items));
        let found = Ledger::new(client, "system", "op", Clock::default()).settlements_of("r-1").await.unwrap();
        assert_eq!(found.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["known"]);
    }
}
