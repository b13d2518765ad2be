//! Requests that the operator would treat alike: what it would do is said once for all of them.
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{Planned, Report};
use crate::core::forecast::Verdict;

/// Requests for which the operator would do the same.
pub(super) struct Group<'a> {
    pub requests: Vec<&'a Planned>,
    /// What it would do, in order; of a group of one with the names of its user and its Secret.
    pub steps: &'a [String],
    /// What is assumed of any of them.
    pub assumed: BTreeSet<String>,
}

impl Group<'_> {
    /// Facts that are the same for all of them, each with its label.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let Some(first) = self.requests.first() else { return Vec::new() };
        let mut facts = first.common_facts();
        let assumed: Vec<&str> = self.assumed.iter().map(String::as_str).collect();
        facts.extend((!assumed.is_empty()).then(|| ("assumed", assumed.join("; "))));
        facts
    }
}

/// The allowed requests, the largest group first.
pub(super) fn groups(report: &Report) -> Vec<Group<'_>> {
    let mut found: BTreeMap<_, Vec<&Planned>> = BTreeMap::new();
    for planned in report.requests.iter().filter(|planned| planned.verdict == Verdict::Allowed) {
        let Planned { directory, rule, approvals, common_steps, impact, .. } = planned;
        found.entry((directory, rule, approvals, common_steps, impact)).or_default().push(planned);
    }
    let mut groups: Vec<Group<'_>> = found
        .into_values()
        .filter_map(|requests| {
            let first = *requests.first()?;
            let alone = requests.len() == 1;
            let steps = if alone { &first.steps } else { &first.common_steps };
            let assumed = requests.iter().flat_map(|planned| {
                // The names of the Secrets differ, and nothing else.
                let own = planned.password_to.as_deref().filter(|to| !alone && to.starts_with("Secret "));
                planned.assumed.iter().map(move |text| match own {
                    Some(secret) => text.replace(secret, "Secret for its password"),
                    None => text.clone(),
                })
            });
            let assumed = assumed.collect();
            Some(Group { requests, steps, assumed })
        })
        .collect();
    groups.sort_by_key(|group| Reverse(group.requests.len()));
    groups
}
