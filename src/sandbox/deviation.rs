//! Deviations: ways in which the sandbox can differ from what this project believes of a directory, to test what detects them.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    call::Call,
    organization::Organization,
    request::{Answer, Request},
    user::Account,
};

/// One deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Deviation {
    /// The password from before a reset still works, too.
    OldPasswordWorks,
    /// A reset does not end web sessions.
    WebSessionsSurvive,
    /// A reset ends neither mobile sessions nor API tokens.
    MobileSessionsSurvive,
    /// The look-up of users does not show whether they are confirmed.
    NoUserType,
    /// The account in Mail's administration does not show whether a second factor is required.
    NoTfaEnabled,
    /// A password that the policy refuses results in a code that does not mention passwords.
    OtherCodeForPasswords,
    /// A user who does not exist results in a code that does not mention users.
    OtherCodeForNobody,
    /// A success comes without a body.
    NoBody,
}

/// The deviations that are on, and the state that they need.
#[derive(Default)]
pub(super) struct Deviations {
    pub(super) on: BTreeSet<Deviation>,
    /// The accounts as they were before their last reset.
    before: BTreeMap<String, Account>,
}

impl Deviations {
    /// Changes the result of `answer` according to the deviations.
    pub(super) fn answer(
        &mut self,
        state: &mut Organization,
        request: &Request,
        answer: impl FnOnce(&mut Organization) -> Answer,
    ) -> Answer {
        if self.on.is_empty() {
            return answer(state);
        }
        let id = request.user.as_deref().and_then(|user| state.id_of(user));
        let before = id.as_ref().and_then(|id| state.accounts.get(id)).cloned();
        let mut answer = answer(state);
        let is = |deviation| self.on.contains(&deviation);
        let (is_write, refused) = (matches!(request.call, Call::ResetPassword | Call::ResetMfa), answer.status >= 400);
        if let (Some(id), Some(before), true) = (id, before, is_write && answer.applied) {
            if let Some(Account { user, .. }) = state.accounts.get_mut(&id) {
                if is(Deviation::WebSessionsSurvive) {
                    user.web_sessions = before.user.web_sessions;
                }
                if is(Deviation::MobileSessionsSurvive) {
                    user.mobile_sessions = before.user.mobile_sessions;
                    user.api_tokens = before.user.api_tokens;
                }
            }
            if request.call == Call::ResetPassword {
                self.before.insert(id, before);
            }
            if self.on.contains(&Deviation::NoBody) {
                answer.body = Value::Null;
            }
            return answer;
        }
        match request.call {
            Call::LookUp if is(Deviation::NoUserType) => {
                for user in answer.body.get_mut("users").and_then(Value::as_array_mut).into_iter().flatten() {
                    user.as_object_mut().map(|user| user.remove("user_type"));
                }
            }
            Call::Role if is(Deviation::NoTfaEnabled) => {
                let data = answer.body.get_mut("data").and_then(Value::as_object_mut);
                data.map(|data| data.remove("tfaEnabled"));
            }
            _ if is_write && refused => {
                for pointer in ["/error", "/data/errorCode"] {
                    let Some(code) = answer.body.pointer_mut(pointer) else { continue };
                    *code = match code.as_str() {
                        Some("PASSWORD_POLICY") if is(Deviation::OtherCodeForPasswords) => "INVALID_REQUEST".into(),
                        Some("USER_NOT_FOUND" | "INVALID_ACCOUNT") if is(Deviation::OtherCodeForNobody) => {
                            "NO_SUCH_RECORD".into()
                        }
                        _ => continue,
                    };
                }
            }
            _ => {}
        }
        answer
    }

    /// Whether this is the password from before the last reset, and still works.
    pub(super) fn opens(&self, login: &str, password: &str) -> bool {
        let fits = |account: &Account| account.user.answers_to(login) && account.password.is(password);
        self.on.contains(&Deviation::OldPasswordWorks) && self.before.values().any(fits)
    }
}
