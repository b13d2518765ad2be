//! The page at `/`.
use axum::response::Html;

pub(super) async fn page() -> Html<String> {
    Html("Sandbox: a stand-in, not Zoho".to_owned())
}
