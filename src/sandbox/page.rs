//! The page at `/`: what an administrator would look up in a console, and what was called. Plain HTML, no scripts.
use std::{
    cmp::Reverse,
    fmt::{self, Display, Write},
    sync::Arc,
};

use axum::{extract::State, response::Html};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Server, seed,
    state::{Call, Logged, Mail, Store},
    user::{Kind, Person, Role, Status},
};

const STYLE: &str = include_str!("page.css");
const CALLS_SHOWN: usize = 100;
const MAILS_SHOWN: usize = 50;
const USERS_SHOWN: usize = 200;

pub(super) async fn page(State(server): State<Arc<Server>>) -> Html<String> {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut html, &server.store());
    Html(html)
}

/// A text between tags or in a quoted attribute.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.to_string().chars() {
            match char {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                char => formatter.write_char(char)?,
            }
        }
        Ok(())
    }
}

fn write_page(html: &mut String, store: &Store) -> fmt::Result {
    let state = &store.state;
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"10\"><link rel=\"icon\" href=\"data:,\"><title>Sandbox: a stand-in, not Zoho</title>\
         <style>{STYLE}</style></head><body>\
         <header><h1>Sandbox: a stand-in, not Zoho</h1>\
         <p>Organization {}, kept by <code>credreset sandbox</code> for demo and tests. \
         It proves nothing about Zoho&#39;s servers. All times are UTC; the page renews itself.</p>\
         <nav><a href=\"#users\">Users</a> <a href=\"#mail\">Mail sent</a> <a href=\"#calls\">Last calls</a></nav></header>",
        seed::ORGANIZATION_NAME
    )?;

    html.push_str("<h2>Calls received</h2><dl>");
    for call in Call::ALL {
        let count = state.counts.get(&call).copied().unwrap_or(0);
        write!(html, "<div><dt>{}</dt><dd>{count}</dd></div>", call.name())?;
    }
    html.push_str("</dl>");
    if !store.faults.is_empty() {
        html.push_str("<p>Faults waiting: ");
        for fault in &store.faults {
            let (call, kind, times) = (fault.call.name(), fault.kind.name(), fault.times);
            write!(html, "<span class=\"tag bad\">{call}: {kind} × {times}</span>")?;
        }
        html.push_str("</p>");
    }

    section(html, "users", "Users", &["User", "State", "Groups", "Password", "Sessions", "MFA"])?;
    let mut users: Vec<&Person> = state.users().collect();
    // Whoever was reset last comes first.
    users.sort_by_key(|user| Reverse(user.password_reset_times.last().max(user.mfa_reset_times.last())));
    for user in users.iter().take(USERS_SHOWN) {
        write_user(html, user)?;
    }
    html.push_str("</tbody></table>");
    if let Some(more) = users.len().checked_sub(USERS_SHOWN).filter(|more| *more > 0) {
        write!(html, "<p>{more} more users are not shown.</p>")?;
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

    section(html, "calls", "Last calls", &["Time", "Call", "User", "Request", "Fields", "Answer", "Effect"])?;
    for call in state.calls.iter().rev().take(CALLS_SHOWN) {
        write_call(html, call)?;
    }
    html.push_str("</tbody></table>");
    if state.calls.is_empty() {
        html.push_str("<p>None.</p>");
    }
    html.push_str("</body></html>\n");
    Ok(())
}

fn section(html: &mut String, id: &str, title: &str, columns: &[&str]) -> fmt::Result {
    write!(html, "<h2 id=\"{id}\">{title}</h2><table><thead><tr>")?;
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

    let must_change = if user.must_change { tag("bad", "must change") } else { String::new() };
    let password = history(user.password_resets, user.password_changed_time);
    cell(html, "Password", "", format!("<div>{password}{must_change}</div>"))?;
    let sessions = format!(
        "<div>web {}<small>mobile {}</small><small>API tokens {}</small></div>",
        user.web_sessions, user.mobile_sessions, user.api_tokens
    );
    cell(html, "Sessions", "", sessions)?;
    let factors = match (user.mfa_enabled, user.factors.as_slice()) {
        (false, _) => tag("", "off"),
        (true, []) => tag("bad", "must enrol"),
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
            Kind::Confirmed => tag("good", "confirmed"),
            Kind::Pending => tag("bad", "unconfirmed"),
            Kind::External => tag("bad", "external"),
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

/// How often something was reset here, and when it changed last.
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
    let fields: Vec<String> = fields.iter().map(|(name, value)| shown(name, value)).collect();
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

/// `name` for a field that is only known to have come, else `name=value`.
fn shown(name: &str, value: &Value) -> String {
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
