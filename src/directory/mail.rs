//! The operator's own mail, where the directory cannot send the new password.
use std::{error::Error, io, time::Duration};

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        self,
        authentication::Credentials as Login,
        client::{Certificate, Tls, TlsParameters},
    },
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{Credentials, http};
use crate::{api::directory::Mail, core::text};

/// For a whole exchange with the mail server.
const LIMIT: Duration = Duration::from_secs(15);

/// A mail server to hand mails to.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mailer")
    }
}

/// Why a mail was not taken. The texts have fixed words and the server's code only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may be taken later.
    #[error("{0}")]
    Temporary(String),
    /// It will never be.
    #[error("{0}")]
    Permanent(String),
}

impl Mailer {
    /// As `mail` describes it. Sends nothing.
    ///
    /// # Errors
    /// Which field of the Directory or key of its Secret is wrong.
    pub fn connect(mail: &Mail, credentials: Option<&Credentials>) -> Result<Self, String> {
        let Mail { smtp } = mail;
        let url = Url::parse(&smtp.url)
            .map_err(|_| "spec.mail.smtp.url is not an address such as smtps://host".to_owned())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("spec.mail.smtp.url names no host")?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        if !bare {
            return Err("spec.mail.smtp.url must be smtps://host:port or smtp://host:port and nothing more".to_owned());
        }
        let parameters = || {
            let mut builder = TlsParameters::builder(host.trim_matches(['[', ']']).to_owned());
            if let Some(pem) = &smtp.ca_bundle {
                // lettre takes any text for a list of certificates, if need be an empty one.
                http::certificates(pem).map_err(|e| format!("spec.mail.smtp.{e}"))?;
                let wrong = |_| "spec.mail.smtp.caBundle cannot be used".to_owned();
                let certificate = Certificate::from_pem(pem.as_bytes()).map_err(wrong)?;
                builder = builder.add_root_certificate(certificate);
            }
            builder.build().map_err(|_| "spec.mail.smtp: the TLS set-up is not usable".to_owned())
        };
        let (port, tls) = match url.scheme() {
            "smtps" => (465, Tls::Wrapper(parameters()?)),
            // To this very machine a mail may go in clear.
            "smtp" if http::is_loopback(&url) => (587, Tls::Opportunistic(parameters()?)),
            "smtp" => (587, Tls::Required(parameters()?)),
            _ => return Err("spec.mail.smtp.url must begin with smtps:// or smtp://".to_owned()),
        };
        let from: Mailbox = smtp.from.parse().map_err(|_| "spec.mail.smtp.from is no mail address".to_owned())?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.trim_matches(['[', ']']))
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(LIMIT));
        if let Some(secret) = &smtp.credentials {
            let key = |name: &str| {
                let value = credentials
                    .and_then(|c| c.get(name))
                    .map(ExposeSecret::expose_secret)
                    .filter(|value| !value.is_empty());
                value
                    .map(str::to_owned)
                    .ok_or_else(|| format!("Secret {} has no key {name}, or it is empty", secret.secret))
            };
            builder = builder.credentials(Login::new(key("username")?, key("password")?));
        }
        Ok(Self { transport: builder.build(), from })
    }

    /// Sends `password` to `to`, telling that it is the one of `user`.
    ///
    /// # Errors
    /// Why the mail was not taken.
    pub async fn send(&self, to: &str, user: &str, password: &SecretString) -> Result<(), Failure> {
        let message = self.message(to, user, password)?;
        match tokio::time::timeout(LIMIT, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(meaning(&error)),
            Err(_) => Err(Failure::Temporary("the mail server did not answer in time.".to_owned())),
        }
    }

    fn message(&self, to: &str, user: &str, password: &SecretString) -> Result<Message, Failure> {
        // An address alone, as the directory shows it: no name before it, no second one after it.
        let address = Some(to).filter(|to| text::is_word(to)).and_then(|to| to.parse::<Address>().ok());
        let to = address.ok_or_else(|| {
            Failure::Permanent("the user's e-mail address is none that mail can be sent to.".to_owned())
        })?;
        let user = text::shown(user, text::NAME);
        let text = format!(
            "The password of {user} was reset on request. The new password is:\n\n    {}\n\n\
             You may have to choose another one when you sign in. If you did not ask for this, tell your help desk at once.\n",
            password.expose_secret()
        );
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            // Left to itself, lettre ends it with @localhost, which looks like spam.
            .message_id(Some(format!("<{:032x}@{}>", rand::random::<u128>(), self.from.email.domain())))
            .subject("Your new password")
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|_| Failure::Permanent("the mail could not be written.".to_owned()))
    }
}

fn meaning(error: &smtp::Error) -> Failure {
    let code = error.status().map(|code| format!(" with {code}")).unwrap_or_default();
    if error.is_permanent() {
        Failure::Permanent(format!("the mail server refused it{code}."))
    } else if error.is_response() || error.status().is_some() {
        Failure::Temporary(format!("the mail server put it off{code}."))
    } else if error.is_client() {
        Failure::Temporary("the mail server does not offer what is needed: STARTTLS, or a way to sign in.".to_owned())
    } else if error.is_tls() || is_handshake(error) {
        Failure::Temporary(
            "no trusted connection to the mail server could be made: see its certificate and spec.mail.smtp.caBundle."
                .to_owned(),
        )
    } else {
        Failure::Temporary("the mail server was not reached, or broke off.".to_owned())
    }
}

/// lettre reports a handshake that failed as a failed connection; below it is what rustls makes of it.
fn is_handshake(error: &smtp::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        source = error.source();
    }
    false
}
