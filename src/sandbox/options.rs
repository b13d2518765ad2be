//! How a sandbox is started, and why it does not start.
use std::{io, path::PathBuf};

/// What a sandbox starts with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the state is kept; in memory only if absent.
    pub state: Option<PathBuf>,
    /// Ordinary confirmed users beyond the seed: `user0001@zylker.biz` and so on.
    pub users: usize,
    /// Whether look-ups show when password and factors changed last.
    pub change_times: bool,
    /// Scopes of the tokens, separated by blanks or commas; absent: those of the state file, at first [`SCOPES`].
    pub scopes: Option<String>,
    /// The copy of Zoho Mail's page *Reset User Password* that its call follows.
    pub reset_password_page: Page,
    /// Tokens within ten minutes, as Zoho limits them to ten; absent: as many as are asked for.
    pub token_limit: Option<usize>,
}

/// The copies of the page *Reset User Password*. They differ in the fields that the call has beside `mode` and `password`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Page {
    /// Today's: none.
    #[default]
    Today,
    /// The one before: zuid, oneTimePassword and resetAuthtoken, which are true if left out.
    Older,
    /// The first: zuid, adminPassword and resetAuthtoken.
    Oldest,
}

impl Page {
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Today => &["mode", "password"],
            Self::Older => &["mode", "password", "zuid", "oneTimePassword", "resetAuthtoken"],
            Self::Oldest => &["mode", "password", "zuid", "adminPassword", "resetAuthtoken"],
        }
    }
}

/// How the organization answers, for as long as the sandbox runs.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Whether look-ups show when password and factors changed last.
    pub(super) change_times: bool,
    /// The copy of Mail's page *Reset User Password* that Mail follows.
    pub(super) page: Page,
    /// Tokens within ten minutes.
    pub(super) token_limit: Option<usize>,
}

/// Why the sandbox does not start or ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file is there and cannot be read.
    #[error("cannot read the state file {}: {source}; check its permissions", file.display())]
    Read {
        /// The state file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A sandbox of this version did not write the state file.
    #[error("the state file {} is not understood at line {line}, column {column}; remove it to start afresh", file.display())]
    Parse {
        /// The state file.
        file: PathBuf,
        /// Line of the first fault.
        line: usize,
        /// Column of the first fault.
        column: usize,
    },
    /// The state file cannot be written.
    #[error("cannot write the state file {}: {source}; check that its folder exists and is writable", file.display())]
    Write {
        /// The state file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The listener failed.
    #[error("the sandbox cannot listen: {0}")]
    Listen(#[from] io::Error),
}
