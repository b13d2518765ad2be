//! What commands need of the process and its terminal: formats of output, colours and folding, prompts, durations as arguments, the runtime
//! and signals.
use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use comfy_table::Table;
use indicatif::ProgressBar;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, tz::TimeZone};
use serde::Serialize;
use textwrap::{Options, WordSplitter, core::display_width};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::core::text::{MESSAGE, is_hidden, printable};

/// After this time a command that still works says so.
pub(super) const SLOW: Duration = Duration::from_secs(2);

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

/// The time zone of times that a person reads.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    Utc,
    /// The one that TZ names, or else that of this machine.
    Local,
}

impl Zone {
    /// Checks that the local time is known.
    ///
    /// # Errors
    /// If TZ, or this machine, names no time zone that is known here.
    pub(super) fn check(self) -> anyhow::Result<()> {
        match self {
            Self::Utc => Ok(()),
            Self::Local => TimeZone::try_system()
                .map(drop)
                .context("the local time is not known: set TZ, such as to Europe/Berlin"),
        }
    }

    /// A time in whole seconds; in local time with its distance from UTC.
    pub(super) fn time(self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S%:z")
    }

    /// The same for a spreadsheet, which takes it for a time only without that distance.
    pub(super) fn cell(self, at: Timestamp) -> String {
        self.format(at, "%Y-%m-%d %H:%M:%S")
    }

    fn format(self, at: Timestamp, local: &str) -> String {
        match self {
            Self::Utc => format!("{at:.0}"),
            Self::Local => at.to_zoned(TimeZone::system()).strftime(local).to_string(),
        }
    }
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

/// Writes to standard output; colours only to a terminal that wants them (`NO_COLOR`, `CLICOLOR_FORCE`).
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    anstream::stdout().write_all(text.as_bytes()).context("standard output")
}

/// What a text tells the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// All is well.
    Good,
    /// It continues, or waits for something that is expected.
    Waiting,
    /// A person must act.
    Bad,
    /// Neither.
    Plain,
    /// A heading.
    Heading,
}

/// `text` in the colour of `tone`, which [`print`] removes where no colours are wanted.
pub(super) fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Waiting => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Heading => Style::new().bold(),
        Tone::Plain => return text.to_owned(),
    };
    format!("{style}{text}{style:#}")
}

/// A symbol and a blank before a word of this tone, so that it is found without colours, too; on a terminal only: programs read the word.
pub(super) fn symbol(tone: Tone) -> &'static str {
    if !std::io::stdout().is_terminal() {
        return "";
    }
    match tone {
        Tone::Good => "✔ ",
        Tone::Waiting => "… ",
        Tone::Bad => "✘ ",
        Tone::Plain | Tone::Heading => "  ",
    }
}

/// Lines for people, each with a label. On a terminal they are folded to its width, and continue below the beginning of their text.
pub(super) struct Page {
    text: String,
    /// Columns before the text.
    margin: usize,
    /// Columns of a line.
    width: usize,
}

impl Page {
    /// An empty page whose texts begin after `margin` columns.
    pub(super) fn new(margin: usize) -> Self {
        let terminal = terminal_size::terminal_size_of(std::io::stdout());
        let width = terminal.map_or(usize::MAX, |(width, _)| usize::from(width.0).max(margin + 20));
        Self { text: String::new(), margin, width }
    }

    /// Adds a line. Hidden characters of `text` are escaped.
    pub(super) fn line(&mut self, label: &str, text: &str) {
        self.toned(label, Tone::Plain, text);
    }

    /// Adds a line whose text has the colour of `tone`.
    pub(super) fn toned(&mut self, label: &str, tone: Tone, text: &str) {
        self.painted(label, &paint(tone, &printable(text, MESSAGE)));
    }

    /// Adds a line whose label and text are painted and escaped already.
    pub(super) fn painted(&mut self, label: &str, text: &str) {
        let label = format!("{label}{}", " ".repeat(self.margin.saturating_sub(display_width(label))));
        let indent = " ".repeat(self.margin);
        // Names and commands stay whole: they are copied from here.
        let options = Options::new(self.width)
            .initial_indent(&label)
            .subsequent_indent(&indent)
            .word_splitter(WordSplitter::NoHyphenation)
            .break_words(false);
        self.text.push_str(textwrap::fill(text, options).trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// The lines.
    pub(super) fn text(self) -> String {
        self.text
    }
}

/// Awaits `work`. If it takes more than two seconds, a line on a terminal's standard error says what it does.
pub(super) async fn with_progress<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = sleep(SLOW) => {}
    }
    // Draws nothing unless standard error is a terminal.
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let done = work.await;
    bar.finish_and_clear();
    done
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
    table_of(head.to_vec(), rows.into_iter().map(Vec::from))
}

/// As [`table`], where the number of columns is known only when the program runs.
pub(super) fn table_of(head: Vec<&str>, rows: impl IntoIterator<Item = Vec<String>>) -> String {
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
