//! Objects without most of their metadata. A user who may write an object may put as much into its metadata as the API server accepts:
//! 1.5 MB of labels or finalizers, which take many times that in memory. Such metadata is skipped while an object is read.
use std::{borrow::Cow, ops::Deref};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, core::ObjectMeta};
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
        rest.insert("metadata".to_owned(), metadata);
        serde_json::from_value(Value::Object(rest)).map(Self).map_err(serde::de::Error::custom)
    }
}
