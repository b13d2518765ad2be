//! Things that go wrong on request.
use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Marks a response: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub struct DropConnection;

/// Something that is to go wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The kind of call that it befalls.
    pub call: String,
    /// Only calls about this user.
    #[serde(default)]
    pub user: Option<String>,
    /// How many calls.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: Kind,
}

fn once() -> u32 {
    1
}

/// What goes wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Kind {
    /// It is refused with this status and body.
    Refuse {
        status: u16,
        #[serde(default)]
        body: serde_json::Value,
    },
    /// It is throttled, in one of Zoho's shapes: `429`, `rolling`, `cliq`, `continuous`.
    Throttle {
        #[serde(default)]
        retry_after: Option<u32>,
        #[serde(default = "plain")]
        shape: String,
    },
    /// The connection is closed before anything has happened.
    DropBefore,
    /// It takes effect, and the connection is closed without an answer.
    ApplyThenDrop,
    /// It takes effect, and the answer is 502.
    ApplyThen502,
    /// It takes this long. With `applyLate` the connection is closed at once, and it takes effect afterwards all the same.
    Delay {
        milliseconds: u64,
        #[serde(default)]
        apply_late: bool,
    },
    /// A web page instead of JSON.
    Html,
    /// A well-formed body of this many bytes.
    Huge { bytes: usize },
    /// A redirect.
    Redirect { location: String },
    /// No answer, ever.
    Hang,
    /// The answer's bytes come one by one.
    Slow { milliseconds_per_byte: u64 },
}

fn plain() -> String {
    "429".to_owned()
}

impl Kind {
    /// For the log.
    pub fn name(&self) -> String {
        serde_json::to_value(self).ok().and_then(|v| Some(v.get("fault")?.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Whether the call takes effect at once, as far as it would without the fault.
    pub fn applies(&self) -> bool {
        match self {
            Self::ApplyThenDrop | Self::ApplyThen502 | Self::Slow { .. } => true,
            Self::Delay { apply_late, .. } => !apply_late,
            Self::Refuse { .. }
            | Self::Throttle { .. }
            | Self::DropBefore
            | Self::Html
            | Self::Huge { .. }
            | Self::Redirect { .. }
            | Self::Hang => false,
        }
    }

    /// What the caller gets; `answer` is what it would have got.
    pub async fn answer(&self, answer: Response) -> Response {
        match self {
            Self::Refuse { status, body } => {
                (StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST), axum::Json(body.clone()))
                    .into_response()
            }
            Self::Throttle { retry_after, shape } => {
                let (status, body) = match shape.as_str() {
                    "rolling" => (StatusCode::BAD_REQUEST, json!({"error": "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"})),
                    "cliq" => (StatusCode::BAD_REQUEST, json!({"code": "request_limit_exceeded"})),
                    "continuous" => (
                        StatusCode::BAD_REQUEST,
                        json!({"message": "You have made too many requests continuously. Please try again after some time."}),
                    ),
                    _ => (StatusCode::TOO_MANY_REQUESTS, json!({"message": "too many requests"})),
                };
                let mut response = (status, axum::Json(body)).into_response();
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
                }
                response
            }
            Self::DropBefore | Self::ApplyThenDrop | Self::Delay { apply_late: true, .. } => dropped(),
            Self::ApplyThen502 => (StatusCode::BAD_GATEWAY, "bad gateway").into_response(),
            Self::Delay { milliseconds, .. } => {
                tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
                answer
            }
            Self::Html => axum::response::Html("<html><body>Sign in to continue</body></html>").into_response(),
            Self::Huge { bytes } => {
                let chunk = Bytes::from(vec![b' '; 64 * 1024]);
                let chunks = bytes / chunk.len();
                let body = stream::iter((0..chunks).map(move |_| Ok::<_, std::convert::Infallible>(chunk.clone())));
                ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response()
            }
            Self::Redirect { location } => {
                let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
                (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
            }
            Self::Hang => {
                // Until the client gives up: hyper drops this future then.
                std::future::pending::<()>().await;
                dropped()
            }
            Self::Slow { milliseconds_per_byte } => {
                let pause = Duration::from_millis(*milliseconds_per_byte);
                let (parts, body) = answer.into_parts();
                let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
                let slow = stream::unfold(bytes, move |mut rest| async move {
                    if rest.is_empty() {
                        return None;
                    }
                    tokio::time::sleep(pause).await;
                    let byte = rest.split_to(1);
                    Some((Ok::<_, std::convert::Infallible>(byte), rest))
                });
                let mut response = Response::from_parts(parts, Body::from_stream(slow));
                response.headers_mut().remove(header::CONTENT_LENGTH);
                response
            }
        }
    }
}

fn dropped() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(DropConnection);
    response
}
