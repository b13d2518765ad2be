//! stub
use secrecy::SecretString;
#[derive(Debug)]
pub struct Mailer;
pub enum Failure {
    Temporary(String),
    Permanent(String),
}
impl Mailer {
    pub fn connect(_: &crate::api::directory::Mail, _: Option<&super::Credentials>) -> Result<Self, String> {
        Ok(Self)
    }
    pub async fn send(&self, _: &str, _: &str, _: &SecretString) -> Result<(), Failure> {
        Ok(())
    }
}
