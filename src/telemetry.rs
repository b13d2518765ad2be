//! Logging. The program never logs a secret. The filter here suppresses what libraries could log of one.
use std::{
    fmt::Debug,
    io::{IsTerminal, Write},
    panic::PanicHookInfo,
    sync::LazyLock,
};

use prometheus_client::metrics::counter::Counter;
use tracing::{Level, Metadata, Subscriber, field::Field};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    filter::filter_fn,
    fmt::{
        MakeWriter,
        format::{Writer, debug_fn},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::core::text;

/// The format of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Libraries that log what goes over the wire, each with the most verbose level that is logged, whatever the user's filter. kube logs a
/// response that it cannot decode at WARN, and it may be a Secret; the others log at TRACE or DEBUG.
const LEVEL_CAPS: [(&str, Level); 8] = [
    ("kube_client::client", Level::ERROR),
    ("hyper", Level::INFO),
    ("h2", Level::INFO),
    ("reqwest", Level::INFO),
    ("rustls", Level::INFO),
    ("tower", Level::INFO),
    ("lettre", Level::INFO),
    ("axum", Level::INFO),
];

/// Whether the caps allow an event. They are a filter of their own: as directives of one filter, more
/// specific directives of the user would override them, and they would override a user who wants less.
fn is_below_cap(of: &Metadata<'_>) -> bool {
    LEVEL_CAPS.iter().all(|(target, cap)| of.level() <= cap || !of.target().starts_with(target))
}

/// Starts logging to standard error.
///
/// # Errors
/// If `filter` is invalid, or logging was already started.
pub fn init(format: Format, filter: &str) -> Result<(), String> {
    subscriber(format, filter, std::io::stderr().is_terminal(), std::io::stderr)?
        .try_init()
        .map_err(|e| e.to_string())?;
    std::panic::set_hook(Box::new(on_panic));
    Ok(())
}

/// Counts the panics of all threads and tasks.
pub static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Counts a panic and logs its location. Its message is not logged: it may contain anything.
fn on_panic(info: &PanicHookInfo<'_>) {
    PANICS.inc();
    let at = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(at, thread = std::thread::current().name(), "panic: a defect of this program");
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    colours: bool,
    output: W,
) -> Result<impl Subscriber + Send + Sync, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let requested = EnvFilter::builder()
        .parse(filter)
        .map_err(|_| format!("{filter:?} is neither a level nor a list such as credreset=debug,kube=warn"))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(output);
    let layer = match format {
        Format::Human => layer
            .with_ansi(colours)
            .with_target(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .compact()
            .boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).map_writer(Escaping).boxed(),
    };
    Ok(tracing_subscriber::registry().with(requested).with(filter_fn(is_below_cap)).with(layer))
}

/// Writes a field or the message for people: on one line, without control sequences.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = text::printable(&format!("{value:?}"), text::MESSAGE);
    match field.name() {
        "message" => writer.write_str(&value),
        name => write!(writer, "{name}={value}"),
    }
}

/// Escapes the characters that JSON need not escape but a terminal may act on. Outside of strings, JSON has none of them.
struct Escaping<M>(M);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Escaping<M> {
    type Writer = Escaping<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self::Writer {
        Escaping(self.0.make_writer_for(of))
    }
}

impl<W: Write> Write for Escaping<W> {
    /// `event`: a whole event.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let mut line = String::with_capacity(event.len());
        for c in String::from_utf8_lossy(event).chars() {
            if c != '\n' && text::is_hidden(c) {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    let _ = std::fmt::Write::write_fmt(&mut line, format_args!("\\u{unit:04x}"));
                }
            } else {
                line.push(c);
            }
        }
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{hostile, unseen};

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `filter` lets through, of libraries that log too much and of others.
    fn logged(format: Format, filter: &str) -> Vec<String> {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "kube_client::client", "kube at error");
            tracing::warn!(target: "kube_client::client", "kube at warn: a response");
            tracing::info!(target: "hyper", "hyper at info");
            tracing::trace!(target: "hyper::proto", "hyper at trace: a body");
            tracing::debug!(target: "lettre::transport::smtp", "lettre at debug: a mail");
            let span = tracing::info_span!("call", user = "annette");
            span.in_scope(|| tracing::trace!(target: "h2", "h2 at trace: a frame"));
            tracing::trace!(target: "credreset::k8s", "our own at trace");
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn has(lines: &[String], text: &str) -> bool {
        lines.iter().any(|line| line.contains(text))
    }

    #[test]
    fn no_filter_lets_libraries_log_what_goes_over_the_wire() {
        for filter in [
            "trace",
            "trace,kube_client::client=trace,hyper=trace,h2=trace,lettre=trace",
            "trace,hyper::proto=trace,lettre::transport::smtp=trace",
            "info,kube_client=trace,hyper::proto=trace,credreset=trace,[call]=trace",
            "trace,[call{user=annette}]=trace",
        ] {
            let lines = logged(Format::Human, filter);
            for text in ["a response", "a body", "a mail", "a frame"] {
                assert!(!has(&lines, text), "{filter}: {lines:?}");
            }
            for text in ["kube at error", "hyper at info", "our own at trace"] {
                assert!(has(&lines, text), "{filter}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_filter_can_suppress_these_libraries() {
        assert_eq!(logged(Format::Human, "off"), [""; 0]);
        let lines = logged(Format::Human, "error");
        assert!(lines.len() == 1 && has(&lines, "kube at error"), "{lines:?}");
        assert!(!has(&logged(Format::Human, "trace,hyper=warn"), "hyper at info"));
    }

    #[test]
    fn json_is_one_object_per_line() {
        for line in logged(Format::Json, "trace") {
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(object["message"].is_string() && object["level"].is_string(), "{line}");
        }
    }

    /// In a task, as reconciles and calls are, and in a command: the location is logged, the message is not.
    #[test]
    fn a_panic_is_logged_without_its_message() {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = subscriber(Format::Json, "trace", false, move || writer.clone()).unwrap();
        let counted = PANICS.get();
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(on_panic));
        tracing::subscriber::with_default(subscriber, || {
            let secret = "Correct-horse-7".to_owned();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let in_task = secret.clone();
            let ended = runtime.block_on(async { tokio::spawn(async move { panic!("{in_task}") }).await });
            assert!(ended.is_err_and(|gone| gone.is_panic()));
            assert!(std::panic::catch_unwind(|| panic!("{secret}")).is_err());
        });
        std::panic::set_hook(usual);
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("src/telemetry.rs")).count(), 2, "{text}");
        assert!(PANICS.get() >= counted + 2);
        assert!(!text.contains("Correct"), "{text}");
    }

    #[test]
    fn an_invalid_filter_is_named() {
        let error = subscriber(Format::Human, "credreset=loud", false, std::io::sink).map(drop).unwrap_err();
        assert!(error.contains("credreset=loud"), "{error}");
    }

    /// An event with `text` in every place that takes text.
    fn logged_with(format: Format, colours: bool, text: &str) -> String {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = subscriber(format, "trace", colours, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("call", shown = %text, quoted = text);
            span.in_scope(|| tracing::warn!(error = %text, debug = ?text, plain = text, "failed: {text}"));
        });
        String::from_utf8(output.0.lock().unwrap().clone()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn an_event_is_one_line_without_control_sequences(text in hostile()) {
            let human = logged_with(Format::Human, false, &text);
            let line = human.strip_suffix('\n').unwrap();
            prop_assert_eq!(unseen(line), None, "{:?}", line);
            // With colours, the only escape sequences are the format's own.
            let coloured = logged_with(Format::Human, true, &text);
            let escapes = |line: &str| line.matches('\u{1b}').count();
            prop_assert_eq!(escapes(&coloured), escapes(&logged_with(Format::Human, true, "harmless")));
            let line = coloured.strip_suffix('\n').unwrap().replace('\u{1b}', "");
            prop_assert_eq!(unseen(&line), None, "{:?}", line);

            let json = logged_with(Format::Json, false, &text);
            let line = json.strip_suffix('\n').unwrap();
            prop_assert_eq!(unseen(line), None, "{:?}", line);
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            // A program that reads the JSON gets the original text.
            prop_assert_eq!(&object["error"], &text);
            prop_assert_eq!(&object["plain"], &text);
            prop_assert_eq!(&object["message"], &format!("failed: {text}"));
            prop_assert_eq!(&object["level"], "WARN");
        }
    }
}
