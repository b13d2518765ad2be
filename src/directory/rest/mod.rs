//! What the providers with a REST API share: access tokens, and the meaning of failed requests.
pub(super) mod answer;
pub(super) mod oauth;
pub(super) mod token;

use super::NotReady;
use crate::{
    core::{call::Reply, seen::Why},
    http,
};
use token::NoToken;

/// Why a request got no answer.
pub(super) enum Unread {
    /// There was no token to send it with.
    Token(NoToken),
    /// The HTTP exchange failed.
    Failed(http::Failed),
}

impl Unread {
    /// Why a fact could not be read.
    pub(super) fn why(&self) -> Why {
        match self {
            Self::Token(error) => error.why(),
            Self::Failed(error) => Why::new(format!("the directory gave no answer: {error}.")),
        }
    }

    /// What it means for the call that the request was part of.
    pub(super) fn reply(&self) -> Reply {
        match self {
            Self::Token(error) => error.reply(),
            Self::Failed(http::Failed::NotSent) => Reply::NotSent,
            Self::Failed(http::Failed::Broken | http::Failed::TooLarge | http::Failed::TooMany) => Reply::Unsure,
        }
    }

    /// Why the Directory is not ready.
    pub(super) fn not_ready(&self) -> NotReady {
        match self {
            Self::Token(error) => error.not_ready(),
            Self::Failed(_) => NotReady::Unreachable(self.why().message),
        }
    }
}

impl From<Unread> for Why {
    fn from(unread: Unread) -> Self {
        unread.why()
    }
}
