//! What commands need of the process and its terminal: formats of output, prompts, durations as arguments, the runtime and signals.
use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
};

use anyhow::Context;
use comfy_table::Table;
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::core::text::is_hidden;

/// Formats of a report.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Text,
    Json,
}

/// Formats of a report that is also pasted into pull requests and issues.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewOutput {
    Text,
    Markdown,
    Json,
}

/// The report as indented JSON. Hidden characters, which a terminal might act on, are escaped.
pub(super) fn json(report: &impl Serialize) -> anyhow::Result<String> {
    let text = serde_json::to_string_pretty(report).context("the report has no JSON form")? + "\n";
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            // It is within a string: outside of strings JSON has none.
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

/// Asks the user on the terminal to confirm. `yes`: they have done so with a flag.
///
/// # Errors
/// `no` if the user does not confirm; another text if standard input is not a terminal.
pub(super) fn confirm(out: &mut impl Write, yes: bool, question: &str, no: &'static str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("standard input is not a terminal: read the above, then confirm with --yes");
    }
    write!(out, "\n{question} [y/N] ").context("standard output")?;
    out.flush().context("standard output")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("standard input")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(anyhow::anyhow!(no)) }
}

/// Parses a positive duration such as `90s`, `24h`, `30d` or `2w`. A day has 24 hours.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    text.parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .ok()
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| "not a duration such as 90s, 24h or 30d".to_owned())
}

/// A table whose columns are aligned with blanks, without borders.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// A runtime with one thread: commands wait more than they compute, and handing work to another thread took longer than the work.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime could not be started")
}

/// Cancels `stop` on SIGTERM and SIGINT.
pub(super) fn stop_on_signal(stop: &CancellationToken) -> anyhow::Result<()> {
    stop_on(SignalKind::terminate(), stop.clone()).context("SIGTERM cannot be handled")?;
    stop_on(SignalKind::interrupt(), stop.clone()).context("SIGINT cannot be handled")
}

/// Cancels `stop` on this signal.
pub(super) fn stop_on(kind: SignalKind, stop: CancellationToken) -> std::io::Result<()> {
    let mut received = signal(kind)?;
    tokio::spawn(async move {
        received.recv().await;
        tracing::info!("shutdown requested by signal");
        stop.cancel();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_report_hides_nothing() {
        let report = json!({"name": "a\u{202e}b\u{9b}2J\u{7f}\u{e0041}é\n"});
        let text = super::json(&report).unwrap();
        assert!(!text.chars().any(|c| super::is_hidden(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), report);
    }
}
