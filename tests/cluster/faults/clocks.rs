//! Operators whose clocks are wrong, or whose machine sleeps: none of them sends, deletes or ends anything.
use std::{fs, os::unix::fs::FileExt, path::PathBuf, process::Command, time::Instant};

use serde_json::json;

use crate::{
    faults::two_operators::{ANNETTE, MUSTAFA, Two, steps_back},
    support::{Operator, Site, TEAM, clock, mfa_reset, wait_for},
};

const YEARS: i64 = 10 * 365 * 24 * 3600;

/// The clocks of one process, which can be set while it runs.
struct Clocks {
    library: PathBuf,
    file: PathBuf,
}

impl Clocks {
    fn new(site: &Site) -> Self {
        let clocks = Self { library: clock(site), file: site.dir.join("clocks") };
        fs::write(&clocks.file, [0; 16]).unwrap();
        clocks
    }

    /// Seconds by which that of the day and the monotonic one are ahead.
    fn set(&self, day: i64, monotonic: i64) {
        let file = fs::OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&[day.to_ne_bytes(), monotonic.to_ne_bytes()].concat(), 0).unwrap();
    }

    fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("LD_PRELOAD", &self.library).env("CREDRESET_TEST_CLOCK", &self.file)
    }
}

/// The first operator leads, by clocks that can be set.
fn leader() -> (Two, Clocks, Operator) {
    let two = Two::new("2s");
    let clocks = Clocks::new(&two.site);
    let first = two.first_of(clocks.of(&mut two.command("first", Some(&two.api.url))));
    (two, clocks, first)
}

/// Its machine sleeps right before its call, and one of its clocks stands still meanwhile. It wakes up when all is settled, and the
/// user has been reset by another request.
fn sleeps(stood_still: fn(&Clocks, i64)) {
    let (two, clocks, first) = leader();
    let held = two.about_to_send("annette");
    first.signal("STOP");
    let asleep = Instant::now();
    held.release();
    let _second = two.second();
    two.site.until("annette", "OutcomeUnknown");
    let record = two.record_of("annette");
    two.site.apply(&mfa_reset("mustafa", MUSTAFA, json!({})));
    two.site.until("mustafa", "Applied");
    stood_still(&clocks, i64::try_from(asleep.elapsed().as_secs()).unwrap());
    first.signal("CONT");
    steps_back(&first);
    clocks.set(0, 0);
    assert_eq!(first.stop(), Some(0));
    assert_eq!(two.calls("reset-password"), 0);
    assert_eq!(two.record_of("annette"), record);
}

#[test]
fn the_monotonic_clock_of_a_sleeper_stands_still() {
    sleeps(|clocks, seconds| clocks.set(0, -seconds));
}

#[test]
fn the_clock_of_the_day_of_a_sleeper_stands_still() {
    sleeps(|clocks, seconds| clocks.set(-seconds, 0));
}

/// Between the creation of its record and its call. Once its clock is right again it knows that nothing was sent, and begins anew.
#[test]
fn the_clock_jumps_before_the_call() {
    let (two, clocks, first) = leader();
    let held = two.about_to_send("annette");
    clocks.set(3600, 0);
    held.release();
    wait_for("its call, or the end of its term", || {
        (two.calls("reset-password") > 0 || first.metrics().contains("credreset_leader 0")).then_some(())
    });
    assert_eq!(two.calls("reset-password"), 0);
    steps_back(&first);
    clocks.set(0, 0);
    two.site.until("annette", "Applied");
    assert_eq!(two.calls("reset-password"), 1);
    assert_eq!(two.record_of("annette")["spec"]["attempt"]["number"], 2);
    let password = two.site.secret(TEAM, "annette-password", "password");
    assert_eq!(two.site.sandbox.sign_in(ANNETTE, &password), "must-change");
}

/// What both know of it, and how it ends: another operator, whose clock is right, carries out what the first did not.
fn another_takes_over(two: &Two, first: &Operator) {
    two.site.until("mustafa", "Applied");
    assert_eq!(two.calls("reset-mfa"), 2);
    let log = first.read_log();
    assert!(log.contains("the API server's clock"), "{log}");
    wait_for("the metric", || {
        let metrics = first.metrics();
        let line = metrics.lines().find_map(|line| line.strip_prefix("credreset_clock_ahead_seconds "));
        line.and_then(|seconds| seconds.parse::<i64>().ok())
            .filter(|seconds| (YEARS - 60..YEARS + 60).contains(seconds))
    });
    // Of the first request everything is there still.
    assert_eq!(two.record_of("annette")["spec"]["state"], "Applied");
    assert_eq!(two.record_of("annette")["spec"]["attempt"]["number"], 1);
    assert_eq!(two.site.reset("annette")["status"]["outcome"], "Applied");
}

/// A node that boots with a wrong clock.
#[test]
fn a_clock_that_is_years_ahead_leads_nobody() {
    let (two, clocks, before) = leader();
    two.site.apply(&mfa_reset("annette", ANNETTE, json!({})));
    two.site.until("annette", "Applied");
    assert_eq!(before.stop(), Some(0));
    clocks.set(YEARS, 0);
    let wrong = two.site.run(clocks.of(&mut two.command("wrong", Some(&two.api.url))));
    two.site.apply(&mfa_reset("mustafa", MUSTAFA, json!({})));
    let asked = || two.api.calls().iter().filter(|call| call.contains("/leases/credreset")).count();
    let before = asked();
    wait_for("it to ask for the lease", || (asked() > before + 5).then_some(()));
    let _right = two.second();
    another_takes_over(&two, &wrong);
    assert!(!wrong.read_log().contains("\"became the leader\""), "it led");
}

/// The leader's clock is set. All requests would be over, and all records too old.
#[test]
fn the_clock_of_the_leader_is_set_years_ahead() {
    let (two, clocks, first) = leader();
    two.site.apply(&mfa_reset("annette", ANNETTE, json!({})));
    two.site.until("annette", "Applied");
    let second = two.second();
    clocks.set(YEARS, 0);
    two.site.apply(&mfa_reset("mustafa", MUSTAFA, json!({})));
    another_takes_over(&two, &first);
    steps_back(&first);
    // Set right, it may lead again.
    clocks.set(0, 0);
    wait_for("the metric", || first.metrics().contains("credreset_clock_ahead_seconds 0").then_some(()));
    drop(second);
    two.site.until_leads("first");
}
