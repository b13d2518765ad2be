//! `credreset audit`: lists past resets from the operator's records.
mod html;
mod reach;
mod render;
mod report;
mod span;

use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client, api::ListParams};

pub use self::report::{Report, Reset};
use self::{
    reach::Reach,
    span::{Period, moment, month, quarter},
};
use super::{
    cluster::{Access, api_error, connect, whoami},
    terminal::{self, Zone},
};
use crate::{
    api::{CredentialResetRecord, Directory},
    core::{
        record::Record,
        text::{NAME, printable},
    },
    k8s,
};

/// Flags of `credreset audit`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "After a request has ended, the operator keeps its record for the number of days in its flag --keep-records (chart value \
                  operator.keepRecords: 90). A line on standard error says how far back the records go.

Exit codes: 0, the report is complete; 2, it may lack resets, since --since, --month or --quarter begin before the records do; 1, an error.

Examples:
  credreset audit --since 24h
  credreset audit --month 2026-11 --directory zylker --output csv > november.csv
  credreset audit --quarter 2026Q3 --accept-gap --output html > report.html
  credreset audit --user annette.c@zylker.biz --output json"
)]
pub struct Args {
    /// Resets that began at or after this time: a duration before now, a day (UTC) or an RFC 3339 time. Default: 30d
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Resets that began before this time; defaults to now
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Resets that began in this month (UTC), such as 2026-07
    #[arg(long, value_parser = month, conflicts_with_all = ["since", "until"])]
    month: Option<Period>,
    /// Resets that began in this quarter of a year (UTC), such as 2026Q3
    #[arg(long, value_parser = quarter, conflicts_with_all = ["since", "until", "month"])]
    quarter: Option<Period>,
    /// End with exit code 0 even if the records do not go back as far as the report
    #[arg(long)]
    accept_gap: bool,
    /// Only resets in this Directory
    #[arg(long, short)]
    directory: Option<String>,
    /// Only resets of this user: the name or id in the directory, in any case
    #[arg(long, short)]
    user: Option<String>,
    /// Only resets that this user asked for, or filed where the request names no requester; in any case
    #[arg(long, value_name = "USER")]
    requested_by: Option<String>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the report; html is one file for a browser, to search, sort and print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Time zone of the times in text, csv and markdown; local is that of this machine, or of TZ
    #[arg(long, value_enum, default_value_t = Zone::Utc, value_name = "ZONE")]
    time: Zone,
    #[command(flatten)]
    access: Access,
}

/// Formats of the report.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Csv,
    Json,
    Markdown,
    Html,
}

/// What a report shows of the resets.
struct Filter {
    since: Timestamp,
    until: Option<Timestamp>,
    directory: Option<String>,
    /// In lower case.
    user: Option<String>,
    /// In lower case.
    requested_by: Option<String>,
}

impl Filter {
    fn matches(&self, record: &Record) -> bool {
        let began = record.attempt.started_at;
        let asked = record.request.requested_by.as_ref().or(record.request.filed_by.as_ref());
        began >= self.since
            && self.until.is_none_or(|until| began < until)
            && self.directory.as_ref().is_none_or(|directory| record.directory == *directory)
            && self.user.as_ref().is_none_or(|user| is_of(record, user))
            && self
                .requested_by
                .as_ref()
                .is_none_or(|requester| asked.is_some_and(|by| by.to_lowercase() == *requester))
    }

    /// The parts of it other than the time, for a reader of the report.
    fn words(&self) -> Vec<String> {
        let parts = [("Directory", &self.directory), ("user", &self.user), ("requested by", &self.requested_by)];
        parts.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?))).collect()
    }
}

/// Whether the record is of the user with this name or id, which is in lower case.
fn is_of(record: &Record, user: &str) -> bool {
    [&record.user.name, &record.user.id].iter().any(|name| name.to_lowercase() == user)
}

/// Reads the records and prints them.
///
/// # Errors
/// If the records cannot be read, or there is nothing that could have records.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(audit(args))
}

async fn audit(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        since,
        until,
        month,
        quarter,
        accept_gap,
        directory,
        user,
        requested_by,
        operator_namespace,
        output,
        time,
        access,
    } = args;
    if time == Zone::Local && matches!(output, Output::Json | Output::Html) {
        bail!("times in json and html are UTC: leave out --time, or choose another --output");
    }
    time.check()?;
    let now = Timestamp::now();
    let period = month.or(quarter);
    let asked_since = period.map(|period| period.since).or(since);
    let lower = |name: Option<String>| name.map(|name| name.to_lowercase());
    let filter = Filter {
        since: asked_since.unwrap_or(now.saturating_sub(SignedDuration::from_hours(30 * 24)).unwrap_or(now)),
        until: period.map(|period| period.until).or(until),
        directory,
        user: lower(user),
        requested_by: lower(requested_by),
    };
    if filter.until.is_some_and(|until| until <= filter.since) {
        bail!("--until must be later than --since: between them there is no time");
    }
    let client = connect(&access).await?;
    let mut all = records(client.clone(), &operator_namespace)
        .await
        .map_err(api_error)
        .with_context(|| format!("the records in namespace {operator_namespace} could not be read"))?;
    let reach = Reach::read(client.clone(), &operator_namespace, now).await?;
    if all.is_empty() {
        reach.has_operator(&operator_namespace)?;
    }
    if let Some(directory) = filter.directory.as_ref().filter(|name| all.iter().all(|r| r.directory != **name)) {
        exists(client.clone(), directory).await?;
    }
    if let Some(user) = filter.user.as_ref().filter(|user| all.iter().all(|record| !is_of(record, user))) {
        eprintln!("No record is of {}: --user takes the whole name or id in the directory.", printable(user, NAME));
    }
    all.retain(|record| filter.matches(record));
    all.sort_by(|a, b| (a.attempt.started_at, &a.name).cmp(&(b.attempt.started_at, &b.name)));
    let report = Report {
        since: filter.since,
        until: filter.until,
        records_since: reach.since(),
        resets: all.into_iter().map(Reset::of).collect(),
    };
    let text = match output {
        Output::Text => render::text(&report, time),
        Output::Csv => render::csv(&report, time).context("the audit has no CSV form")?,
        Output::Json => terminal::json(&report)?,
        Output::Markdown => render::markdown(&report, &reach, time),
        Output::Html => {
            let cluster = access.config().await?.cluster_url.to_string();
            let by = whoami(&client).await?;
            let words = filter.words();
            let made = html::Made { by: &by, at: now, cluster: &cluster, namespace: &operator_namespace, only: &words };
            html::page(&report, &reach, &made)
        }
    };
    terminal::print(&text)?;
    eprintln!("{}", printable(&reach.sentence(filter.since), crate::core::text::MESSAGE));
    // Nobody asked for the default time: that the records are younger is no surprise.
    let is_short = asked_since.is_some() && reach.since().is_none_or(|since| filter.since < since);
    if is_short && !accept_gap {
        eprintln!("The report may lack resets: --accept-gap accepts that.");
        return Ok(ExitCode::from(2));
    }
    Ok(ExitCode::SUCCESS)
}

async fn records(client: Client, namespace: &str) -> kube::Result<Vec<Record>> {
    let api: Api<CredentialResetRecord> = Api::namespaced(client, namespace);
    let mut all = Vec::new();
    k8s::for_each_page(&api, ListParams::default(), |object| all.push(object.record())).await?;
    Ok(all)
}

/// A Directory without records must exist.
async fn exists(client: Client, name: &str) -> anyhow::Result<()> {
    let shown = printable(name, NAME);
    let found = Api::<Directory>::all(client).get_metadata_opt(name).await.map_err(api_error);
    match found.with_context(|| format!("Directory {shown} has no records, and could not be read"))? {
        Some(_) => Ok(()),
        None => bail!("there is no Directory {shown} in the cluster, and no record of one"),
    }
}

#[cfg(test)]
mod tests;
