//! The page at `/`: what an administrator would look up in a console, the calls received, and buttons that queue faults. Plain HTML, no
//! scripts.
use std::{
    cmp::Reverse,
    fmt::{self, Display, Write},
    sync::Arc,
};

use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    call::{Call, Logged},
    fault::{Fault, FaultKind, Shape},
    organization::Mail,
    seed,
    server::Server,
    store::Store,
    user::{Person, Role, Status, UserType},
};
use crate::html::Escaped;

const STYLE: &str = include_str!("page.css");
const CALLS_SHOWN: usize = 100;
const MAILS_SHOWN: usize = 50;
const USERS_SHOWN: usize = 200;
/// Calls that a button may make fail.
const CALLS: [Call; 5] = [Call::ResetPassword, Call::ResetMfa, Call::LookUp, Call::Role, Call::Token];

/// What a button does to the next call.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Button {
    ApplyThenDrop,
    DropBefore,
    #[serde(rename = "apply-then-502")]
    ApplyThen502,
    Throttle,
    RefusePassword,
    Refuse,
    /// Removes the queued faults.
    Clear,
}

impl Button {
    /// The buttons with their value in the form and their label.
    const ALL: [(Self, &str, &str); 7] = [
        (Self::ApplyThenDrop, "apply-then-drop", "is carried out, its answer is lost"),
        (Self::DropBefore, "drop-before", "is lost on its way"),
        (Self::ApplyThen502, "apply-then-502", "is carried out and answered with 502"),
        (Self::Throttle, "throttle", "is too many: wait 30 seconds"),
        (Self::RefusePassword, "refuse-password", "is refused for its password"),
        (Self::Refuse, "refuse", "is refused for good"),
        (Self::Clear, "clear", "meets no fault"),
    ];

    fn fault(self) -> Option<FaultKind> {
        let refuse = |code: &str| FaultKind::Refuse { status: 400, body: serde_json::json!({"error": code}) };
        Some(match self {
            Self::ApplyThenDrop => FaultKind::ApplyThenDrop {},
            Self::DropBefore => FaultKind::DropBefore {},
            Self::ApplyThen502 => FaultKind::ApplyThen502 {},
            Self::Throttle => FaultKind::Throttle { retry_after: Some(30), shape: Shape::default() },
            Self::RefusePassword => refuse("PASSWORD_REFUSED_BY_BUTTON"),
            Self::Refuse => refuse("REFUSED_BY_BUTTON"),
            Self::Clear => return None,
        })
    }
}

/// The form with the buttons.
#[derive(Deserialize)]
pub(super) struct Asked {
    call: Call,
    fault: Button,
}

/// Queues a fault for the next call of a kind, and shows the page again. A browser sends the origin of a form: one of another site is
/// refused.
pub(super) async fn add_fault(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Form(Asked { call, fault }): Form<Asked>,
) -> Response {
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin") {
        return (StatusCode::FORBIDDEN, "the form is another site's").into_response();
    }
    let faults = &mut server.store().faults;
    match fault.fault() {
        Some(kind) => faults.push(Fault { call, user: None, times: 1, kind }),
        None => faults.retain(|fault| fault.call != call),
    }
    Redirect::to("/").into_response()
}

/// What the address asks for.
#[derive(Deserialize)]
pub(super) struct Search {
    /// Shows the users who were never reset and have this in one of their names. Absent: shows none of them.
    q: Option<String>,
}

pub(super) async fn page(State(server): State<Arc<Server>>, Query(search): Query<Search>) -> Html<String> {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut html, &server.store(), search.q.as_deref());
    Html(html)
}

fn write_page(html: &mut String, store: &Store, search: Option<&str>) -> fmt::Result {
    let state = &store.organization;
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"10\"><link rel=\"icon\" href=\"data:,\"><title>Sandbox: a stand-in, not Zoho</title>\
         <style>{STYLE}</style></head><body>\
         <header><h1>Sandbox: a stand-in, not Zoho</h1>\
         <p>Organization {}, kept by <code>credreset sandbox</code> for demo and tests. \
         It proves nothing about Zoho&#39;s servers. All times are UTC; the page renews itself.</p>\
         <nav><a href=\"#faults\">Faults</a> <a href=\"#calls\">Last calls</a> <a href=\"#mail\">Mail sent</a> \
         <a href=\"#users\">Users</a></nav></header>",
        seed::ORGANIZATION_NAME
    )?;

    html.push_str("<h2>Calls received</h2><dl>");
    for call in Call::ALL {
        let count = state.counts.get(&call).copied().unwrap_or(0);
        write!(html, "<div><dt>{}</dt><dd>{count}</dd></div>", call.name())?;
    }
    html.push_str("</dl>");
    write_faults(html, &store.faults)?;

    section(html, "calls", "Last calls", &["Time", "Call", "User", "Request", "Fields", "Answer", "Effect"])?;
    for call in state.calls.iter().rev().take(CALLS_SHOWN) {
        write_call(html, call)?;
    }
    html.push_str("</tbody></table>");
    if state.calls.is_empty() {
        html.push_str("<p>None.</p>");
    }

    section(html, "mail", "Mail sent", &["Time", "To", "Subject"])?;
    for Mail { time, to, subject, body: _ } in state.mails.iter().rev().take(MAILS_SHOWN) {
        html.push_str("<tr>");
        cell(html, "Time", "fixed", Clock(*time))?;
        cell(html, "To", "", Escaped(to))?;
        cell(html, "Subject", "", Escaped(subject))?;
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
    if state.mails.is_empty() {
        html.push_str("<p>None.</p>");
    }

    let (mut changed, rest): (Vec<&Person>, Vec<&Person>) = state.users().partition(|user| last_reset(user).is_some());
    // The user who was reset last comes first.
    changed.sort_by_key(|user| Reverse(last_reset(user)));
    html.push_str("<h2 id=\"users\">Users</h2>");
    write_users(html, &changed)?;
    write!(
        html,
        "<form action=\"/#users\"><label>{} more who were never reset: <input name=\"q\" value=\"{}\" placeholder=\"all\"></label>\
         <button>show</button></form>",
        rest.len(),
        Escaped(search.unwrap_or_default())
    )?;
    if let Some(search) = search {
        let search = search.to_lowercase();
        write_users(html, &rest.into_iter().filter(|user| answers_to(user, &search)).collect::<Vec<_>>())?;
    }
    html.push_str("</body></html>\n");
    Ok(())
}

/// The buttons, and the queued faults.
fn write_faults(html: &mut String, faults: &[Fault]) -> fmt::Result {
    html.push_str(
        "<h2 id=\"faults\">Faults</h2><form method=\"post\" action=\"/faults\"><label>The next call to <select name=\"call\">",
    );
    for call in CALLS {
        write!(html, "<option>{}</option>", call.name())?;
    }
    html.push_str("</select></label>");
    for (_, value, words) in Button::ALL {
        write!(html, " <button name=\"fault\" value=\"{value}\">{words}</button>")?;
    }
    html.push_str("</form>");
    if !faults.is_empty() {
        html.push_str("<p>Waiting: ");
        for fault in faults {
            let (call, kind, times) = (fault.call.name(), fault.kind.name(), fault.times);
            write!(html, "<span class=\"tag bad\">{call}: {kind} × {times}</span>")?;
        }
        html.push_str("</p>");
    }
    Ok(())
}

fn last_reset(user: &Person) -> Option<&Timestamp> {
    user.password_reset_times.last().max(user.mfa_reset_times.last())
}

/// `text` is in lower case.
fn answers_to(user: &Person, text: &str) -> bool {
    let names = user.emails.iter().chain(&user.user_name).chain([&user.user_id, &user.zuid]).cloned();
    names.chain([user.full_name()]).any(|name| name.to_lowercase().contains(text))
}

fn write_users(html: &mut String, users: &[&Person]) -> fmt::Result {
    if users.is_empty() {
        html.push_str("<p>None.</p>");
        return Ok(());
    }
    table(html, &["User", "State", "Groups", "Password", "Sessions", "MFA"])?;
    for user in users.iter().take(USERS_SHOWN) {
        write_user(html, user)?;
    }
    html.push_str("</tbody></table>");
    if let Some(more) = users.len().checked_sub(USERS_SHOWN).filter(|more| *more > 0) {
        write!(html, "<p>{more} more are not shown.</p>")?;
    }
    Ok(())
}

fn section(html: &mut String, id: &str, title: &str, columns: &[&str]) -> fmt::Result {
    write!(html, "<h2 id=\"{id}\">{title}</h2>")?;
    table(html, columns)
}

fn table(html: &mut String, columns: &[&str]) -> fmt::Result {
    html.push_str("<table><thead><tr>");
    for column in columns {
        write!(html, "<th>{column}</th>")?;
    }
    html.push_str("</tr></thead><tbody>");
    Ok(())
}

/// `content` is HTML. The label shows where the table has become cards.
fn cell(html: &mut String, label: &str, class: &str, content: impl Display) -> fmt::Result {
    write!(html, "<td data-label=\"{label}\" class=\"{class}\">{content}</td>")
}

fn write_user(html: &mut String, user: &Person) -> fmt::Result {
    html.push_str("<tr>");
    let mut names = format!("<div><strong>{}</strong>", Escaped(user.full_name()));
    for name in user.emails.iter().chain(&user.user_name) {
        write!(names, "<small>{}</small>", Escaped(name))?;
    }
    let (title, department) = (Escaped(&user.display_name), Escaped(&user.department));
    write!(
        names,
        "<small>{title}, {department}</small><small>id {}, zuid {}</small></div>",
        Escaped(&user.user_id),
        Escaped(&user.zuid)
    )?;
    cell(html, "User", "", names)?;
    cell(html, "State", "", state_tags(user))?;
    let groups = user.groups.iter().map(|group| tag("", Escaped(&group.group_name))).collect::<String>();
    cell(html, "Groups", "", format!("<div>{groups}</div>"))?;

    let must_change = if user.must_change { tag("", "must change") } else { String::new() };
    let password = history(user.password_resets, user.password_changed_time);
    cell(html, "Password", "", format!("<div>{password}{must_change}</div>"))?;
    let sessions = format!(
        "<div>web {}<small>mobile {}</small><small>API tokens {}</small></div>",
        user.web_sessions, user.mobile_sessions, user.api_tokens
    );
    cell(html, "Sessions", "", sessions)?;
    let factors = match (user.mfa_enabled, user.factors.as_slice()) {
        (false, _) => tag("", "off"),
        (true, []) => tag("", "must enrol"),
        (true, factors) => factors.iter().map(|factor| tag("", Escaped(factor))).collect(),
    };
    let mfa = history(user.mfa_resets, user.mfa_changed_time);
    cell(html, "MFA", "", format!("<div>{factors}{mfa}</div>"))?;
    html.push_str("</tr>");
    Ok(())
}

fn state_tags(user: &Person) -> String {
    let mut tags = vec![
        match user.user_type {
            UserType::Confirmed => tag("good", "confirmed"),
            UserType::Pending => tag("bad", "unconfirmed"),
            UserType::External => tag("bad", "external"),
        },
        match user.user_status {
            Status::Active => tag("good", "active"),
            Status::Inactive => tag("bad", "inactive"),
        },
        match user.role {
            Some(Role::SuperAdmin) => tag("", "super administrator"),
            Some(Role::Admin) => tag("", "administrator"),
            Some(Role::Member) | None => String::new(),
        },
    ];
    if user.is_federated == Some(true) {
        tags.push(tag("", "federated"));
    }
    if user.locked {
        tags.push(tag("bad", "locked"));
    }
    format!("<div>{}</div>", tags.concat())
}

fn tag(class: &str, content: impl Display) -> String {
    format!("<span class=\"tag {class}\">{content}</span>")
}

/// How often credentials were reset here, and when they changed last.
fn history(resets: u32, changed: Option<i64>) -> String {
    let changed = changed.and_then(|time| Timestamp::from_millisecond(time).ok());
    let changed = changed.map_or_else(|| "never set".to_owned(), |time| format!("changed {}", Clock(time)));
    let resets = match resets {
        0 => "not reset".to_owned(),
        1 => "<strong>reset once</strong>".to_owned(),
        times => format!("<strong>reset {times} times</strong>"),
    };
    format!("<div>{resets}<small>{changed}</small></div>")
}

fn write_call(html: &mut String, call: &Logged) -> fmt::Result {
    let Logged { time, kind, method, path, user, fields, status, fault, applied } = call;
    html.push_str("<tr>");
    cell(html, "Time", "fixed", Clock(*time))?;
    cell(html, "Call", "fixed", kind.name())?;
    cell(html, "User", "fixed", Escaped(user.as_deref().unwrap_or_default()))?;
    cell(html, "Request", "", format!("<span>{} {}</span>", Escaped(method), Escaped(path)))?;
    let fields: Vec<String> = fields.iter().map(|(name, value)| field_text(name, value)).collect();
    cell(html, "Fields", "", Escaped(fields.join(", ")))?;
    let (class, answer) = match status {
        Some(status) if (200..300).contains(status) => ("good", status.to_string()),
        Some(status) => ("bad", status.to_string()),
        None => ("bad", "none".to_owned()),
    };
    let fault = fault.as_ref().map(|fault| tag("bad", Escaped(fault))).unwrap_or_default();
    cell(html, "Answer", "", format!("<div><span class=\"{class}\">{answer}</span> {fault}</div>"))?;
    cell(html, "Effect", "fixed", if *applied { "applied" } else { "" })?;
    html.push_str("</tr>");
    Ok(())
}

/// `name=value` for a flag, else `name` alone.
fn field_text(name: &str, value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("{name}={value}"),
        _ => name.to_owned(),
    }
}

struct Clock(Timestamp);

impl Display for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0.strftime("%Y-%m-%d %H:%M:%S"))
    }
}
