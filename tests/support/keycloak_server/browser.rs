//! Keycloak's login pages, as a person at a browser meets them, and the authenticator app on the person's phone.
use std::collections::BTreeMap;

use http::{Method, header};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{Answer, Realm, send};

/// Where the client `shop` is sent back to. Nothing listens there: only the redirect is looked at.
const SHOP: &str = "http://localhost/";

/// What is shown to whom the realm lets in.
pub const SIGNED_IN: &str = "signed in";
/// The form for name and password, also of whom it has refused.
pub const REFUSED: &str = "kc-form-login";
/// The form for a code.
pub const CODE: &str = "kc-otp-login-form";

/// An authenticator app.
pub struct Authenticator(Vec<u8>);

impl Authenticator {
    /// By its secret as pages spell it (RFC 4648, section 6, in groups).
    fn spelt(secret: &str) -> Self {
        let (mut bits, mut n, mut bytes) = (0_u32, 0, Vec::new());
        for letter in secret.bytes().filter(|letter| !letter.is_ascii_whitespace()) {
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let five = alphabet.iter().position(|known| *known == letter).unwrap_or_else(|| panic!("{secret}"));
            (bits, n) = (bits << 5 | u32::try_from(five).unwrap(), n + 5);
            if n >= 8 {
                n -= 8;
                bytes.push(u8::try_from(bits >> n & 0xff).unwrap());
            }
        }
        Self(bytes)
    }

    pub fn code(&self) -> String {
        code::<Sha1>(&self.0)
    }
}

/// Of the authenticator that keycloak-realm.json gives to bob and fay.
pub fn their_code() -> String {
    code::<Sha256>(b"a-secret-of-tests")
}

/// RFC 6238 with this hash, whose blocks have 64 bytes, 30 seconds and six digits.
fn code<D: Digest>(secret: &[u8]) -> String {
    let pad = |byte: u8| -> [u8; 64] { std::array::from_fn(|i| secret.get(i).unwrap_or(&0) ^ byte) };
    let step = u64::try_from(jiff::Timestamp::now().as_second() / 30).unwrap().to_be_bytes();
    let inner = D::new().chain_update(pad(0x36)).chain_update(step).finalize();
    let mac = D::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    let at = usize::from(mac[mac.len() - 1] & 15);
    let number = u32::from_be_bytes(mac[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// A browser with its cookies.
pub struct Browser<'a> {
    realm: &'a Realm,
    cookies: BTreeMap<String, String>,
    /// Where the page is that asks for a required action.
    asked: String,
    /// The page that is shown otherwise.
    page: String,
    /// What has been opened.
    session: Option<String>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(realm: &'a Realm) -> Self {
        Self { realm, cookies: BTreeMap::new(), asked: String::new(), page: String::new(), session: None }
    }

    /// Fills in the login form. [`SIGNED_IN`], the required action that a page asks for, as in `UPDATE_PASSWORD`, or another
    /// form's id.
    pub fn sign_in(&mut self, name: &str, password: &str) -> String {
        self.page = self.open("").text;
        self.fill_in(&[("username", name), ("password", password)])
    }

    /// Fills in the form for a code.
    pub fn enter_code(&mut self, code: &str) -> String {
        self.fill_in(&[("otp", code)])
    }

    /// Fills in the page that asks for another password.
    pub fn choose_password(&mut self, password: &str) -> String {
        self.page = self.get(&self.asked.clone()).text;
        self.fill_in(&[("password-new", password), ("password-confirm", password)])
    }

    /// Fills in the page that asks for an authenticator app, whose secret is typed off it. What comes then.
    pub fn enrol(&mut self) -> (Authenticator, String) {
        let page = self.get(&self.asked.clone()).text;
        let (by_hand, _) = page.split_once("\" id=\"mode-manual\"").unwrap_or_else(|| panic!("no other way in {page}"));
        let by_hand = by_hand.rsplit("href=\"").next().unwrap().replace("&amp;", "&");
        self.page = self.get(&self.at(&by_hand)).text;
        let shown = between(&self.page, "id=\"kc-totp-secret-key\"", "</").split_once('>').unwrap().1.to_owned();
        let app = Authenticator::spelt(&shown);
        let hidden = between(&self.page, "name=\"totpSecret\"", "/>").to_owned();
        let secret = attribute(&hidden, "value=\"");
        let then =
            self.fill_in(&[("totp", &app.code()), ("totpSecret", &secret), ("userLabel", "phone"), ("mode", "manual")]);
        (app, then)
    }

    /// Whether the session is alive, even if its user is to do something first: asked without showing a page.
    pub fn is_signed_in(&mut self) -> bool {
        let location = self.open("&prompt=none").location;
        let answer = ["code=", "error=interaction_required", "error=login_required"]
            .iter()
            .position(|answer| location.contains(answer));
        answer.unwrap_or_else(|| panic!("{location}")) < 2
    }

    /// Ends the session, if one has been opened.
    pub fn sign_out(self) {
        if let Some(session) = self.session {
            self.realm.admin(Method::DELETE, &format!("/sessions/{session}"), None);
        }
    }

    fn open(&mut self, more: &str) -> Answer {
        let query = format!("client_id=shop&redirect_uri={SHOP}&response_type=code&scope=openid{more}");
        self.get(&format!("{}?{query}", self.realm.endpoint("auth")))
    }

    fn get(&mut self, url: &str) -> Answer {
        self.call(self.realm.server.client.get(url))
    }

    /// An address of a page's, which may be without the server's.
    fn at(&self, address: &str) -> String {
        if address.starts_with('/') { format!("{}{address}", self.realm.server.url) } else { address.to_owned() }
    }

    /// Sends the form of the page.
    fn fill_in(&mut self, form: &[(&str, &str)]) -> String {
        let action = self.at(&attribute(&self.page, "action=\""));
        let answer = self.call(self.realm.server.client.post(action).form(form));
        self.follow(answer)
    }

    fn follow(&mut self, mut answer: Answer) -> String {
        while answer.status == 302 {
            if answer.location.starts_with(SHOP) {
                let query = answer.location.split(['?', '&']);
                self.session = query.filter_map(|part| part.strip_prefix("session_state=")).map(str::to_owned).next();
                return SIGNED_IN.to_owned();
            }
            if let Some((_, execution)) = answer.location.split_once("required-action?execution=") {
                let action = execution.split('&').next().unwrap().to_owned();
                self.asked = answer.location;
                return action;
            }
            answer = self.get(&answer.location);
        }
        self.page = answer.text;
        attribute(&self.page, "<form id=\"")
    }

    fn call(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let answer = send(request.header(header::COOKIE, cookies.join("; ")));
        for cookie in &answer.cookies {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = page.split_once(before).unwrap_or_else(|| panic!("no {before} in {page}"));
    rest.split(after).next().unwrap()
}

/// What follows `before` in a page, to the next quotation mark.
fn attribute(page: &str, before: &str) -> String {
    between(page, before, "\"").replace("&amp;", "&")
}
