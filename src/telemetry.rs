//! Logs. No secret is ever given to them; what libraries might print is kept out here.
use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Libraries that print what goes over the wire: kube a whole response that it cannot decode (at WARN, and it may be a
/// Secret), the others at TRACE or DEBUG.
const CAPPED: [&str; 9] = [
    "kube_client::client=error",
    "hyper=info",
    "hyper_util=info",
    "h2=info",
    "reqwest=info",
    "rustls=info",
    "tower=info",
    "lettre=info",
    "axum=info",
];

/// Starts logging to standard error.
///
/// # Errors
/// What is wrong with `filter`.
pub fn init(format: Format, filter: &str) -> Result<(), String> {
    let wrong = |text: &str| format!("{text:?} is neither a level nor a list such as credreset=debug,kube=warn");
    let mut directives = EnvFilter::builder().parse(filter).map_err(|_| wrong(filter))?;
    for cap in CAPPED {
        directives = directives.add_directive(cap.parse().map_err(|_| wrong(cap))?);
    }
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match format {
        Format::Human => layer.with_ansi(std::io::stderr().is_terminal()).with_target(false).compact().boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(directives).with(layer).try_init().map_err(|e| e.to_string())?;
    // A panic's own text may hold anything.
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, thread = std::thread::current().name(), "panic: a defect of this program");
    }));
    Ok(())
}
