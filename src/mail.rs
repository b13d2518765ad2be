//! Mails the new password to the user, where the directory cannot.
use std::{
    error::Error,
    fmt,
    future::Future,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use lettre::{
    Address, Message,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        self,
        authentication::{Credentials as Login, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, TlsParameters},
        extension::ClientId,
    },
};
use rustls::{ClientConfig, pki_types::ServerName};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{
    api::directory::Mail,
    core::text,
    directory::{Credentials, ldap, required},
    http,
};

/// Default ports, by scheme.
pub const PORTS: [(&str, u16); 2] = [("smtps", 465), ("smtp", 587)];

/// For a whole exchange with the mail server.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that the server may send in one exchange. lettre checks the length of a line only at its end.
const MAX_RESPONSE: usize = 256 << 10;

/// A connection to a mail server.
#[derive(Clone)]
pub struct Mailer {
    host: String,
    port: u16,
    security: Security,
    login: Option<Login>,
    from: Mailbox,
}

/// How the connection is encrypted.
#[derive(Clone)]
enum Security {
    /// TLS from the start.
    Tls(Arc<ClientConfig>, ServerName<'static>),
    /// TLS from STARTTLS on, which the server must offer.
    StartTls(TlsParameters),
    /// TLS from STARTTLS on, if the server offers it.
    IfOffered(TlsParameters),
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailer")
    }
}

/// Why the mail server did not accept a mail. The texts contain fixed words and the server's code only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may accept the mail later.
    #[error("{0}")]
    Temporary(String),
    /// It will never accept the mail.
    #[error("{0}")]
    Permanent(String),
}

impl Mailer {
    /// Creates a mailer from `mail`. Sends nothing.
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
        let host = host.trim_matches(['[', ']']).to_owned();
        if let Some(pem) = &smtp.ca_bundle {
            // lettre parses any text as a list of certificates, which may be empty.
            http::certificates(pem).map_err(|e| format!("spec.mail.smtp.{e}"))?;
        }
        let parameters = || {
            let mut builder = TlsParameters::builder(host.clone());
            if let Some(pem) = &smtp.ca_bundle {
                let wrong = |_| "spec.mail.smtp.caBundle cannot be used".to_owned();
                builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(wrong)?);
            }
            builder.build().map_err(|_| "spec.mail.smtp: the TLS set-up is not usable".to_owned())
        };
        let [(_, smtps), (_, smtp_port)] = PORTS;
        let (port, security) = match url.scheme() {
            "smtps" => {
                let config = ldap::tls(smtp.ca_bundle.as_deref()).map_err(|e| format!("spec.mail.smtp: {e}"))?;
                let name = ServerName::try_from(host.clone());
                let name =
                    name.map_err(|_| "spec.mail.smtp.url: its host is not a valid name for a certificate".to_owned())?;
                (smtps, Security::Tls(Arc::new(config), name))
            }
            // On this machine a mail may be sent without encryption.
            "smtp" if http::is_loopback(&url) => (smtp_port, Security::IfOffered(parameters()?)),
            "smtp" => (smtp_port, Security::StartTls(parameters()?)),
            _ => return Err("spec.mail.smtp.url must begin with smtps:// or smtp://".to_owned()),
        };
        let from: Mailbox = smtp.from.parse().map_err(|_| "spec.mail.smtp.from is not a mail address".to_owned())?;
        let mut login = None;
        if let Some(secret) = &smtp.credentials {
            let none = Credentials::new();
            let key = |name: &str| required(credentials.unwrap_or(&none), &secret.secret, name);
            login = Some(Login::new(
                key("username")?.expose_secret().to_owned(),
                key("password")?.expose_secret().to_owned(),
            ));
        }
        Ok(Self { port: url.port().unwrap_or(port), host, security, login, from })
    }

    /// Sends `password` to `to`, as the new password of `user`.
    ///
    /// # Errors
    /// Why the mail server did not accept the mail.
    pub async fn send(&self, to: &str, user: &str, password: &SecretString) -> Result<(), Failure> {
        let message = self.message(to, user, password)?;
        in_time(async {
            let mut connection = self.connection().await?;
            connection.send(message.envelope(), &message.formatted()).await.map_err(|e| meaning(&e))?;
            connection.abort().await;
            Ok(())
        })
        .await
    }

    /// Connects and signs in as for a mail, but sends none. A reset whose mail cannot be sent would lock the user out.
    ///
    /// # Errors
    /// Why no mail could be sent now.
    pub async fn check(&self) -> Result<(), Failure> {
        in_time(async {
            let mut connection = self.connection().await?;
            let answers = connection.test_connected().await;
            connection.quit().await.map_err(|e| meaning(&e))?;
            if answers { Ok(()) } else { Err(late()) }
        })
        .await
    }

    /// Connects and signs in.
    async fn connection(&self) -> Result<AsyncSmtpConnection, Failure> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| lost(&e))?;
        let peer = stream.peer_addr().map_err(|e| lost(&e))?;
        let hello = ClientId::default();
        let connected = match &self.security {
            Security::Tls(config, name) => {
                let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
                let stream = Bounded { stream: stream.map_err(|e| lost(&e))?, peer, left: MAX_RESPONSE };
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await
            }
            Security::StartTls(_) | Security::IfOffered(_) => {
                let stream = Bounded { stream, peer, left: MAX_RESPONSE };
                AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await
            }
        };
        let mut connection = connected.map_err(|e| meaning(&e))?;
        match &self.security {
            Security::Tls(..) => {}
            Security::IfOffered(_) if !connection.can_starttls() => {}
            Security::StartTls(parameters) | Security::IfOffered(parameters) => {
                connection.starttls(parameters.clone(), &hello).await.map_err(|e| meaning(&e))?;
            }
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await.map_err(|e| meaning(&e))?;
        }
        Ok(connection)
    }

    /// The mail.
    fn message(&self, to: &str, user: &str, password: &SecretString) -> Result<Message, Failure> {
        // Exactly one address, as the directory shows it: no name before it and no second address after it.
        let address = Some(to).filter(|to| text::is_word(to)).and_then(|to| to.parse::<Address>().ok());
        let to = address.ok_or_else(|| {
            Failure::Permanent("the user's e-mail address is not one that mail can be sent to.".to_owned())
        })?;
        let user = text::printable(user, text::NAME);
        let text = format!(
            "The password of {user} was reset on request. The new password is:\n\n    {}\n\n\
             You may have to choose another one when you sign in. If you did not ask for this, inform your help desk at once.\n",
            password.expose_secret()
        );
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            // By default, lettre ends it with @localhost, which looks like spam.
            .message_id(Some(format!("<{:032x}@{}>", rand::random::<u128>(), self.from.email.domain())))
            .subject("Your new password")
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|_| Failure::Permanent("the mail could not be written.".to_owned()))
    }
}

async fn in_time(exchange: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    timeout(TIMEOUT, exchange).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> Failure {
    Failure::Temporary("the mail server did not answer in time.".to_owned())
}

/// What an error of lettre means.
fn meaning(error: &smtp::Error) -> Failure {
    let code = error.status().map(|code| format!(" with {code}")).unwrap_or_default();
    if error.is_permanent() {
        Failure::Permanent(format!("the mail server refused it{code}."))
    } else if error.is_response() || error.status().is_some() {
        Failure::Temporary(format!("the mail server put it off{code}."))
    } else if error.is_client() {
        Failure::Temporary("the mail server does not offer what is needed: STARTTLS, or a way to sign in.".to_owned())
    } else if error.is_tls() {
        untrusted()
    } else {
        lost(error)
    }
}

fn untrusted() -> Failure {
    Failure::Temporary(
        "no trusted connection to the mail server could be made: see its certificate and spec.mail.smtp.caBundle."
            .to_owned(),
    )
}

/// Why a connection failed. lettre reports a failed handshake in the same way, with the error of rustls as its source.
fn lost(error: &(dyn Error + 'static)) -> Failure {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::InvalidData) => return untrusted(),
            Some(ErrorKind::FileTooLarge) => {
                return Failure::Temporary(format!("the mail server sent more than {} KiB.", MAX_RESPONSE >> 10));
            }
            _ => next = error.source(),
        }
    }
    Failure::Temporary("the mail server was not reached, or broke off.".to_owned())
}

/// A stream from which at most `left` more bytes are read.
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    peer: SocketAddr,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let left = self.left.checked_sub(buffer.filled().len() - before);
        self.left = left.ok_or(ErrorKind::FileTooLarge)?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::{PIECES, hostile, unseen};

    fn mailer(from: &str, url: &str) -> Result<Mailer, String> {
        let mail: Mail = serde_json::from_value(json!({"smtp": {"url": url, "from": from}})).unwrap();
        Mailer::connect(&mail, None)
    }

    static USUAL: LazyLock<Mailer> =
        LazyLock::new(|| mailer("helpdesk@zylker.biz", "smtps://mail.zylker.biz").unwrap());

    /// Names of the headers, and the body.
    fn parts(mail: &[u8]) -> (Vec<String>, String) {
        let mail = String::from_utf8(mail.to_vec()).unwrap();
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        // A line that begins with a blank continues the header before it.
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "{head:?}");
        (lines.map(|line| line.split(':').next().unwrap().to_owned()).collect(), body.to_owned())
    }

    const HEADERS: [&str; 8] =
        ["Content-Transfer-Encoding", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];

    fn check(mailer: &Mailer, to: &str, user: &str, password: &str) {
        let Ok(message) = mailer.message(to, user, &SecretString::from(password)) else { return };
        assert_eq!(unseen(to), None, "{to:?}");
        assert_eq!(message.envelope().to().iter().map(|to| to.as_ref() as &str).collect::<Vec<_>>(), [to]);
        let (mut headers, body) = parts(&message.formatted());
        headers.sort();
        // lettre decides about MIME-Version.
        assert!(headers.iter().all(|h| HEADERS.contains(&h.as_str())), "{headers:?}");
        assert_eq!(headers.iter().filter(|h| *h == "To").count(), 1);
        headers.dedup();
        assert!(headers.len() >= 7, "{headers:?}");
        // Some servers take a bare CR or LF for the end of the mail.
        assert!(!body.replace("\r\n", "").contains(['\r', '\n']), "{body:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn a_mail_has_its_own_headers_and_one_recipient(to in prop_oneof![hostile(), "[a-z]{1,8}@[a-z]{1,8}\\.biz"], user in hostile(), password in hostile()) {
            check(&USUAL, &to, &user, &password);
        }
    }

    proptest! {
        // Each reads the system's certificates.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

        #[test]
        fn a_sender_is_an_address_or_refused(from in hostile(), url in hostile()) {
            for (from, url) in [
                (from.as_str(), "smtps://mail.zylker.biz"),
                ("helpdesk@zylker.biz", url.as_str()),
                ("helpdesk@zylker.biz", &format!("smtps://mail.zylker.biz{url}")),
            ] {
                match mailer(from, url) {
                    Ok(mailer) => check(&mailer, "annette.c@zylker.biz", "Annette", "New-pass"),
                    Err(wrong) => assert_eq!(unseen(&wrong), None, "{wrong:?}"),
                }
            }
        }
    }

    #[test]
    fn addresses_that_are_more_than_one_get_nothing() {
        let password = SecretString::from("New-pass");
        for to in [
            "a@zylker.biz, evil@evil.example",
            "a@zylker.biz\r\nBcc: evil@evil.example",
            "\"a@zylker.biz\" <evil@evil.example>",
            "<a@zylker.biz>",
            "a@zylker.biz\0",
            "a@zylker.biz\u{202e}",
            "a@zylker.biz> SIZE=1",
        ] {
            assert!(matches!(USUAL.message(to, "a", &password), Err(Failure::Permanent(_))), "{to}");
        }
        for piece in PIECES {
            check(&USUAL, "a@zylker.biz", piece, piece);
        }
    }

    #[test]
    fn the_name_is_on_its_own_line() {
        let user = "annette\r\n\r\nThe new password is:\r\n\r\n    evil";
        let message = USUAL.message("a@zylker.biz", user, &SecretString::from("New-pass")).unwrap();
        let (_, body) = parts(&message.formatted());
        let first = body.split("\r\n\r\n").next().unwrap();
        assert!(first.contains(r"\u{d}\u{a}") || first.contains("u{d}"), "{body}");
        assert_eq!(body.matches("\r\n\r\n    ").count(), 1, "{body}");
    }
}
