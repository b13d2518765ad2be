//! The person at the terminal: sees each call, confirms it, and sees its answer. A no ends the test.
use std::{
    io::{BufRead, IsTerminal, Write},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::BoxFuture;
use tokio::{
    signal::unix::SignalKind,
    sync::{Mutex as AsyncMutex, mpsc},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::terminal::{stop_on, stop_on_signal},
    core::text::{MESSAGE, NAME, printable},
    directory::watch::{Request, Response, Watch, names},
};

/// A call and its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub call: Request,
    pub answer: Response,
}

/// The answer to a question that can be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Yes,
    No,
    Skip,
}

/// The test has ended: the person answered no, pressed Ctrl-C or closed the terminal.
#[derive(Debug)]
pub(super) struct Stopped;

#[derive(Debug)]
pub(super) struct Person {
    /// Typed lines. One question at a time reads them.
    lines: AsyncMutex<mpsc::UnboundedReceiver<String>>,
    stop: CancellationToken,
    step: Mutex<Step>,
    colours: bool,
}

/// State of the current step.
#[derive(Debug, Default)]
struct Step {
    exchanges: Vec<Exchange>,
    /// The person has agreed to all reads of the step.
    reads: bool,
}

impl Person {
    /// Starts to read from the terminal. Ctrl-C counts as no.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        stop_on_signal(&stop)?;
        // Also when the window is closed: the program must end in order, which removes the file with the password.
        for gone in [SignalKind::hangup(), SignalKind::quit()] {
            stop_on(gone, stop.clone())?;
        }
        let (typed, lines) = mpsc::unbounded_channel();
        // This thread is never joined: it may be blocked in a read when the program ends.
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                if line.is_err() || line.is_ok_and(|line| typed.send(line).is_err()) {
                    break;
                }
            }
        });
        Ok(Self { lines: AsyncMutex::new(lines), stop, step: Mutex::default(), colours: colours(&std::io::stderr()) })
    }

    /// Writes lines to the terminal. Callers pass texts from outside through [`printable`].
    #[allow(clippy::unused_self, reason = "a method, as for questions")]
    pub(super) fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub(super) fn title(&self, text: &str) {
        self.say(&format!("\n{}", if self.colours { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }));
    }

    /// The line typed in answer. Lines typed before the question are discarded.
    pub(super) async fn ask(&self, question: &str) -> Result<String, Stopped> {
        let mut lines = self.lines.lock().await;
        while lines.try_recv().is_ok() {}
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        let _ = write!(std::io::stderr(), "{question} ");
        let _ = std::io::stderr().flush();
        let typed = tokio::select! {
            () = self.stop.cancelled() => None,
            line = lines.recv() => line,
        };
        if typed.is_none() {
            self.say("");
            self.stop.cancel();
        }
        typed.ok_or(Stopped)
    }

    /// Asks about something that the person sees.
    pub(super) async fn ask_observation(&self, question: &str) -> Result<Choice, Stopped> {
        loop {
            match self.ask(&format!("{question} [y/n/skip]")).await?.trim() {
                "y" | "Y" | "yes" => return Ok(Choice::Yes),
                "n" | "N" | "no" => return Ok(Choice::No),
                "s" | "skip" => return Ok(Choice::Skip),
                _ => {}
            }
        }
    }

    /// Asks whether to continue. A no ends the test.
    pub(super) async fn confirm(&self, question: &str) -> Result<(), Stopped> {
        if matches!(self.ask(&format!("{question} [y/N]")).await?.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        self.stop.cancel();
        Err(Stopped)
    }

    /// Asks whether to do a step; false: skip it. A no ends the test.
    pub(super) async fn confirm_step(&self, question: &str) -> Result<bool, Stopped> {
        match self.ask(&format!("{question} [y/N/skip]")).await?.trim() {
            "y" | "Y" | "yes" => Ok(true),
            "s" | "skip" => Ok(false),
            _ => {
                self.stop.cancel();
                Err(Stopped)
            }
        }
    }

    /// `value`, unless the test has ended: then it may be the result of a call that was not sent.
    pub(super) fn unless_stopped<T>(&self, value: T) -> Result<T, Stopped> {
        if self.stop.is_cancelled() { Err(Stopped) } else { Ok(value) }
    }

    /// Takes the calls since the last `take_exchanges`, and withdraws the consent to all reads.
    pub(super) fn take_exchanges(&self) -> Vec<Exchange> {
        mem::take(&mut *self.step()).exchanges
    }

    /// The calls of this step so far.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.step().exchanges.clone()
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Person {
    fn allow(&self, call: Request) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let line = format!("  {} {}", call.verb, printable(&call.target, MESSAGE));
            let with =
                if call.fields.is_empty() { String::new() } else { format!("\n      with {}", listed(&call.fields)) };
            if call.is_read && self.step().reads {
                self.say(&(line + &with));
                return !self.stop.is_cancelled();
            }
            let question =
                if call.is_read { "    Send it? [y/N/a: all reads of this step]" } else { "    Send it? [y/N]" };
            let Ok(typed) = self.ask(&format!("{line}{with}\n{question}")).await else { return false };
            match typed.trim() {
                "y" | "Y" | "yes" => true,
                "a" if call.is_read => {
                    self.step().reads = true;
                    true
                }
                _ => {
                    self.stop.cancel();
                    false
                }
            }
        })
    }

    fn answered(&self, call: &Request, answer: Response) {
        let shows = names(&answer.form);
        let with = if shows.is_empty() { String::new() } else { format!(": {}", listed(&shows)) };
        self.say(&format!("    {}{with}", answer.summary));
        self.step().exchanges.push(Exchange { call: call.clone(), answer });
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| printable(name, NAME)).collect::<Vec<_>>().join(", ")
}

/// Whether to use colours: on a terminal, unless `NO_COLOR` is set.
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
