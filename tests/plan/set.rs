//! What the requests of one plan mean for each other: the same user twice, and the limits of a Directory.
use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{Folder, Sandbox, captured, directory, mfa, request, time_ago, verdicts};

/// Two open requests for one user and the same credentials: one is a mistake, and a person has to say which.
#[test]
fn the_same_user_twice() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    folder.write("directories.yaml", directory(&sandbox.url));
    let hiro = "hiro.t@zylker.biz";
    let by_id = json!({"spec": {"user": {"email": null, "id": "700012399"}, "requestedAt": time_ago(5)}});
    let other = json!({"spec": {"requestedAt": time_ago(6)}});
    for (name, object) in [
        ("a-hiro", request("a-hiro", hiro, json!({}))),
        ("b-hiro", request("b-hiro", "Hiro.T@zylker.biz", other.clone())),
        ("c-mfa", mfa("c-mfa", hiro)),
        ("d-annette", request("d-annette", "annette.c@zylker.biz", json!({}))),
        ("e-annette", request("e-annette", "", by_id)),
        ("f-ceo", request("f-ceo", "ceo@zylker.biz", json!({}))),
        ("g-ceo", request("g-ceo", "ceo@zylker.biz", other)),
    ] {
        folder.write(&format!("resets/{name}.yaml"), object.to_string());
    }
    // The directory shows that a name and an id are one user's. What is refused anyway is no second request.
    let output = folder.plan(&["resets", "--directories", "directories.yaml", "-o", "json"]);
    let expected = [
        "a-hiro unclear Twice",
        "b-hiro unclear Twice",
        "c-mfa allowed",
        "d-annette unclear Twice",
        "e-annette unclear Twice",
        "f-ceo refused UserProtected",
        "g-ceo refused UserProtected",
    ];
    assert_eq!((output.status.code(), verdicts(&output)), (Some(2), expected.map(str::to_owned).to_vec()));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = report["requests"][0]["message"].as_str().unwrap();
    assert!(message.contains("helpdesk/b-hiro (resets/b-hiro.yaml). ") && message.contains("Remove one."), "{message}");
    // Without a directory names in two spellings are one, and a name and an id are two.
    for name in ["f-ceo", "g-ceo", "e-annette"] {
        fs::remove_file(folder.0.join(format!("resets/{name}.yaml"))).unwrap();
    }
    for flags in [&["--offline"][..], &["--offline", "--directories", "directories.yaml"]] {
        let output = folder.plan(&[&["resets", "-o", "json"], flags].concat());
        let expected = ["a-hiro unclear Twice", "b-hiro unclear Twice", "c-mfa allowed", "d-annette allowed"];
        assert_eq!((output.status.code(), verdicts(&output)), (Some(3), expected.map(str::to_owned).to_vec()));
    }
}

/// The limits are those of the set: how many begin now, when the last one does, and which would expire before their turn.
#[test]
fn a_set_queues() {
    let folder = Folder::new();
    a_crowd(&folder, 20, 70, "4h");
    let plan = |output: &str| folder.plan(&["resets", "--offline", "--directories", "directories", "-o", output]);
    // Twenty now, in an hour and in two; in three hours the requests have ended.
    let output = plan("json");
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = report["requests"].as_array().unwrap();
    let of = |verdict: &str, reason: &str| {
        requests
            .iter()
            .filter(|r| r["verdict"] == verdict && r["reason"].as_str().unwrap_or_default() == reason)
            .count()
    };
    assert_eq!((of("allowed", ""), of("allowed", "LimitReached"), of("refused", "Expired")), (20, 40, 10));
    let queue = &report["queues"][0];
    assert_eq!(
        json!([
            queue["directory"],
            queue["resetsPerHour"],
            queue["begun"],
            queue["others"],
            queue["atOnce"],
            queue["later"],
            queue["expire"]
        ]),
        json!(["zylker", 20, null, 0, 20, 40, 10])
    );
    let starts: BTreeSet<jiff::Timestamp> =
        requests.iter().filter_map(|r| r["startsAt"].as_str()).map(|at| at.parse().unwrap()).collect();
    let last: jiff::Timestamp = queue["lastAt"].as_str().unwrap().parse().unwrap();
    assert!(starts.len() >= 2 && starts.last() == Some(&last), "{starts:?}");
    let ahead = last.duration_since(jiff::Timestamp::now());
    assert!(ahead > jiff::SignedDuration::from_mins(115) && ahead <= jiff::SignedDuration::from_hours(2), "{ahead}");
    // Sums first, the limit once, and what is the same for all once.
    let (_, text, _) = captured(&plan("text"));
    assert!(
        text.starts_with(
            "60 allowed, 10 refused\n60 users were not looked up: whether they exist, or are protected, is not known here.\nzylker: 20 \
             resets an hour (assuming that none began in the last hour): 20 can begin at once, the last \
             of 60 at about "
        ),
        "{text}"
    );
    assert!(
        text.contains("; at least 10 would expire before their turn.\n")
            && text.ends_with("\n60 allowed, 10 refused\n"),
        "{text}"
    );
    assert_eq!(text.matches("  steps     1. Generate a password").count(), 1, "{text}");
    assert_eq!(text.matches("assuming that none began").count(), 1, "{text}");
    let refused = text
        .lines()
        .filter(|line| line.contains("why       Expired: Directory zylker allows 20 resets an hour,"))
        .count();
    assert_eq!(refused, 10, "{text}");
    let comment = captured(&plan("markdown")).1;
    assert!(comment.contains("\nLimit of <code>zylker</code>: 20 resets an hour ("), "{comment}");
    // A limit of none.
    a_crowd(&folder, 0, 2, "4h");
    let output = plan("json");
    assert_eq!(verdicts(&output), ["r0001 refused Expired", "r0002 refused Expired"]);
}

/// A Directory that lets so many resets begin in an hour, and `count` requests of an hour ago, each valid for `valid_for`.
pub(super) fn a_crowd(folder: &Folder, per_hour: u32, count: usize, valid_for: &str) {
    let limits = "  limits:\n";
    let limited = directory("http://127.0.0.1:9").replace(limits, &format!("{limits}    resetsPerHour: {per_hour}\n"));
    assert!(limited.contains("resetsPerHour"), "{limited}");
    folder.write("directories/zylker.yaml", limited);
    let patch = json!({"spec": {"validFor": valid_for, "requestedAt": time_ago(60), "requestedBy": "hana@zylker.biz"}});
    let all: Vec<String> = (1..=count)
        .map(|n| request(&format!("r{n:04}"), &format!("user{n:04}@zylker.biz"), patch.clone()).to_string())
        .collect();
    folder.write("resets/all.yaml", all.join("\n---\n"));
}
