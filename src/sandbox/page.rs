//! The page: who there is, what has happened to them, what was asked. Plain HTML, readable on a telephone.
use std::fmt::Write;

use axum::{extract::State as Shared, response::Html};

use super::{
    Sandbox,
    state::{Call, State, User},
};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem}\
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}.note{background:#fff3cd;color:#5c4400;padding:.6rem .8rem;border-radius:.4rem}\
.counts{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;list-style:none}.counts li{border:1px solid #8886;border-radius:.4rem;padding:.3rem .6rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid #8884;vertical-align:top}th{font-weight:600}\
.tag{display:inline-block;border:1px solid #8888;border-radius:.3rem;padding:0 .35rem;margin:0 .2rem .2rem 0;font-size:.85rem}.new{background:#d1f0d8;color:#0b4019}\
small{opacity:.75}@media(max-width:46rem){thead{display:none}tr{display:block;border:1px solid #8886;border-radius:.4rem;margin:.5rem 0;padding:.3rem}\
td{display:flex;gap:.6rem;border:0;padding:.15rem .4rem}td::before{content:attr(data-label);flex:0 0 6.5rem;opacity:.75}}";

/// `GET /`.
pub async fn page(Shared(sandbox): Shared<Sandbox>) -> Html<String> {
    let state = sandbox.state();
    let mut page = String::from("<!doctype html><html lang=en><head><meta charset=utf-8>");
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<meta name=viewport content=\"width=device-width,initial-scale=1\"><meta http-equiv=refresh content=5>\
         <title>credreset sandbox</title><style>{STYLE}</style></head><body><h1>Zylker</h1>\
         <p class=note><strong>Sandbox: a stand-in, not Zoho.</strong> It speaks the wire format that credreset expects, for people \
         who do not exist.</p>"
    );
    counts(&mut page, &state);
    page.push_str(
        "<h2>Users</h2><table><thead><tr><th>Name<th>State<th>Password<th>MFA<th>Sessions</tr></thead><tbody>",
    );
    // Whoever was changed last comes first.
    let mut users: Vec<&User> = state.users.iter().collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.password_changed.max(user.mfa_changed)));
    for user in users.iter().take(200) {
        row(&mut page, user);
    }
    page.push_str("</tbody></table><h2>Mail</h2>");
    if state.mails.is_empty() {
        page.push_str("<p>None was sent.</p>");
    }
    for mail in state.mails.iter().rev().take(50) {
        let _ = write!(
            page,
            "<p>{} to {}: {} <small>(text not shown)</small></p>",
            when(mail.time),
            escape(&mail.to),
            escape(&mail.subject)
        );
    }
    page.push_str("<h2>Calls</h2><table><thead><tr><th>Time<th>Call<th>User<th>Fields<th>Answer</tr></thead><tbody>");
    for call in state.calls.iter().rev().take(100) {
        call_row(&mut page, call);
    }
    page.push_str("</tbody></table></body></html>");
    Html(page)
}

fn counts(page: &mut String, state: &State) {
    page.push_str("<ul class=counts>");
    for (kind, count) in &state.counts {
        let _ = write!(page, "<li>{} <strong>{count}</strong></li>", escape(kind));
    }
    page.push_str("</ul>");
}

fn row(page: &mut String, user: &User) {
    let mut tags =
        format!("<span class=tag>{}</span><span class=tag>{}</span>", escape(&user.kind), escape(&user.status));
    let more = user
        .groups
        .iter()
        .cloned()
        .chain(user.role.clone().filter(|role| role != "member"))
        .chain(user.federated.then(|| "federated".to_owned()));
    for tag in more {
        let _ = write!(tags, "<span class=tag>{}</span>", escape(&tag));
    }
    let changed = |times: u32, last: Option<jiff::Timestamp>| match last {
        Some(last) => format!("<span class=\"tag new\">reset {times}&times;</span><small>{}</small>", when(last)),
        None => "<small>as it was</small>".to_owned(),
    };
    let must = if user.must_change { " <span class=tag>must change</span>" } else { "" };
    let factors = if user.factors.is_empty() { "none".to_owned() } else { escape(&user.factors.join(", ")) };
    let off = if user.mfa_enabled { "" } else { " (off)" };
    let _ = write!(
        page,
        "<tr><td data-label=Name><span><strong>{}</strong><br><small>{} &middot; {}, {}</small></span><td data-label=State><span>{tags}</span>\
         <td data-label=Password><span>{}{must}</span><td data-label=MFA><span>{factors}{off} {}</span>\
         <td data-label=Sessions><span>{} web, {} mobile, {} tokens</span></tr>",
        escape(&user.name()),
        escape(user.emails.first().or(user.user_name.as_ref()).map_or("-", String::as_str)),
        escape(&user.title),
        escape(&user.department),
        changed(user.password_resets, user.password_changed),
        changed(user.mfa_resets, user.mfa_changed),
        user.web_sessions,
        user.mobile_sessions,
        user.api_tokens,
    );
}

fn call_row(page: &mut String, call: &Call) {
    let fields: Vec<String> = call.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let answer = call.status.map_or_else(|| "closed".to_owned(), |status| status.to_string());
    let fault =
        call.fault.as_ref().map(|fault| format!(" <span class=tag>{}</span>", escape(fault))).unwrap_or_default();
    let _ = write!(
        page,
        "<tr><td data-label=Time>{}<td data-label=Call>{}<td data-label=User>{}<td data-label=Fields><small>{}</small><td data-label=Answer><span>{answer}{fault}</span></tr>",
        when(call.time),
        escape(&call.kind),
        escape(call.user.as_deref().unwrap_or("-")),
        escape(&fields.join(", ")),
    );
}

fn when(time: jiff::Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        out
    })
}
