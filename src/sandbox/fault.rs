//! Faults that tests queue: each waits for its call, happens a number of times, and is removed.
use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::call::{CONTINUOUS, Call};

const CHUNK: usize = 64 * 1024;

/// One entry of the queue: a call takes the first one that matches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(super) struct Fault {
    pub(super) call: Call,
    /// `user_id` or `zuid`; absent: any user.
    pub(super) user: Option<String>,
    pub(super) times: u32,
    #[serde(flatten)]
    pub(super) kind: FaultKind,
}

/// Written by hand, since serde accepts a misspelt field of a flattened enum, and the test with that field would test nothing.
impl TryFrom<Map<String, Value>> for Fault {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Self::Error> {
        let mut field = |name: &str| fields.remove(name).unwrap_or_default();
        let (call, user, times) = (field("call"), field("user"), field("times"));
        let kind = FaultKind::deserialize(Value::Object(fields))?;
        Ok(Self {
            call: Call::deserialize(call)?,
            user: Option::deserialize(user)?,
            times: Option::deserialize(times)?.unwrap_or(1),
            kind,
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum FaultKind {
    /// Answer with this; nothing is applied.
    Refuse {
        status: u16,
        #[serde(default)]
        body: Value,
    },
    /// Answer as a throttled Zoho does; nothing is applied.
    Throttle {
        /// Seconds, for the header `Retry-After`.
        #[serde(default)]
        retry_after: Option<u32>,
        #[serde(default)]
        shape: Shape,
    },
    /// Close the connection; nothing is applied.
    DropBefore {},
    /// Apply, then close the connection without an answer.
    ApplyThenDrop {},
    /// Apply, then answer with this, as if nothing had been applied.
    ApplyThenRefuse {
        status: u16,
        #[serde(default)]
        body: Value,
    },
    /// Apply, then answer as a gateway that lost its backend.
    #[serde(rename = "apply-then-502")]
    ApplyThen502 {},
    /// Proceed after a pause, whether the client still waits or not. With `applyLate` the connection is closed at once.
    Delay {
        milliseconds: u64,
        #[serde(default)]
        apply_late: bool,
        /// The change has the time at which the call arrived, as if look-ups read a replica that lags behind.
        #[serde(default)]
        backdated: bool,
    },
    /// Answer 200 with a page; nothing is applied.
    Html {},
    /// Answer 200 with a well-formed JSON body of about this size; nothing is applied.
    Huge { bytes: usize },
    /// Redirect the client; nothing is applied.
    Redirect { location: String },
    /// Never answer; nothing is applied.
    Hang {},
    /// Apply and answer, one byte at a time.
    Slow { milliseconds_per_byte: u64 },
}

/// The ways in which Zoho reports too many requests.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) enum Shape {
    #[default]
    #[serde(rename = "429")]
    TooManyRequests,
    #[serde(rename = "rolling")]
    Rolling,
    #[serde(rename = "cliq")]
    Cliq,
    #[serde(rename = "continuous")]
    Continuous,
}

impl FaultKind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Refuse { .. } => "refuse",
            Self::Throttle { .. } => "throttle",
            Self::DropBefore {} => "drop-before",
            Self::ApplyThenDrop {} => "apply-then-drop",
            Self::ApplyThenRefuse { .. } => "apply-then-refuse",
            Self::ApplyThen502 {} => "apply-then-502",
            Self::Delay { .. } => "delay",
            Self::Html {} => "html",
            Self::Huge { .. } => "huge",
            Self::Redirect { .. } => "redirect",
            Self::Hang {} => "hang",
            Self::Slow { .. } => "slow",
        }
    }

    /// The name, with what determines whether the call takes effect, and when.
    pub(super) fn fate(&self) -> String {
        match self {
            Self::Refuse { status, .. } => format!("refuse {status}"),
            Self::Delay { apply_late: true, backdated: false, .. } => "apply-late".to_owned(),
            Self::Delay { apply_late: true, backdated: true, .. } => "show-late".to_owned(),
            other => other.name().to_owned(),
        }
    }

    /// Why the fault cannot be carried out. Such a fault is refused when it is queued, not when it is due.
    pub(super) fn objection(&self) -> Option<&'static str> {
        match self {
            Self::Refuse { status, .. } | Self::ApplyThenRefuse { status, .. } if !(200..=599).contains(status) => {
                Some("status must be from 200 to 599")
            }
            Self::Redirect { location } if HeaderValue::from_str(location).is_err() => {
                Some("location must be a valid header value")
            }
            _ => None,
        }
    }
}

/// Takes the first fault that matches out of the queue.
pub(super) fn take(queue: &mut Vec<Fault>, call: Call, names: &[&str]) -> Option<FaultKind> {
    let fits = |fault: &Fault| fault.call == call && fault.user.as_deref().is_none_or(|user| names.contains(&user));
    let index = queue.iter().position(fits)?;
    let fault = queue.get_mut(index)?;
    fault.times = fault.times.saturating_sub(1);
    let kind = fault.kind.clone();
    if fault.times == 0 {
        queue.remove(index);
    }
    Some(kind)
}

pub(super) fn throttle(retry_after: Option<u32>, shape: Shape) -> Response {
    let (status, body) = match shape {
        Shape::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, json!({"error": "TOO_MANY_REQUESTS"})),
        Shape::Rolling => (StatusCode::BAD_REQUEST, json!({"error": "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"})),
        Shape::Cliq => (StatusCode::BAD_REQUEST, json!({"code": "request_limit_exceeded"})),
        Shape::Continuous => (
            StatusCode::BAD_REQUEST,
            json!({"error_description": CONTINUOUS, "error": "Access Denied", "status": "failure"}),
        ),
    };
    let mut response = (status, axum::Json(body)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

pub(super) fn bad_gateway() -> Response {
    (StatusCode::BAD_GATEWAY, Html("<html><body><h1>502 Bad Gateway</h1></body></html>")).into_response()
}

pub(super) fn page() -> Response {
    Html("<html><body><h1>We will be back soon</h1></body></html>").into_response()
}

pub(super) fn redirect(location: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

/// The result of an empty look-up with padding, generated while it is sent: the size may exceed the memory.
pub(super) fn huge(bytes: usize) -> Response {
    let padding = stream::unfold(bytes, |left| async move {
        let size = left.min(CHUNK);
        (size > 0).then(|| (Bytes::from(vec![b'x'; size]), left - size))
    });
    let head = stream::iter([Bytes::from_static(br#"{"status_code":200,"users":[],"has_more":false,"padding":""#)]);
    let tail = stream::iter([Bytes::from_static(br#""}"#)]);
    let body = head.chain(padding).chain(tail);
    json_stream(StatusCode::OK, Body::from_stream(body.map(Ok::<_, Infallible>)))
}

/// A body that arrives byte by byte.
pub(super) fn slow(status: StatusCode, body: &Value, pause: Duration) -> Response {
    let bytes = stream::unfold(Bytes::from(body.to_string()), move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(left.split_to(1)), left))
    });
    json_stream(status, Body::from_stream(bytes))
}

fn json_stream(status: StatusCode, body: Body) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
