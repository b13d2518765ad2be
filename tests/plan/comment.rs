//! The comment on a pull request: its size, and that text from a manifest stays text.
use std::{collections::BTreeSet, fs};

use serde_json::json;

use super::{Folder, captured, merge, mfa, request, set::a_crowd};

/// The cells of each row of a comment's tables.
fn rows(comment: &str) -> Vec<Vec<String>> {
    use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    for event in Parser::new_ext(comment, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::TableCell) => cell.clear(),
            Event::End(TagEnd::TableCell) => row.push(std::mem::take(&mut cell)),
            Event::End(TagEnd::TableRow | TagEnd::TableHead) => rows.push(std::mem::take(&mut row)),
            Event::Text(text) | Event::Code(text) => cell += &text,
            Event::InlineHtml(tag) if &*tag == "<br>" => cell.push(' '),
            _ => {}
        }
    }
    rows
}

/// A comment on a thousand requests has what a reviewer judges by, in a size that GitHub (65,536 characters) and GitLab (a million) take.
#[test]
fn the_comment_on_a_thousand() {
    let folder = Folder::new();
    a_crowd(&folder, 1000, 1000, "4h");
    let hostile = "| <b>x</b> @org/everyone é\u{1f98a} `".repeat(20);
    for n in 1..=80 {
        let patch = json!({"spec": {"reason": format!("{hostile}{n}"), "requestedBy": hostile.chars().take(200).collect::<String>()}});
        folder.write(
            &format!("resets/mean{n}.yaml"),
            request(&format!("mean{n}"), &format!("ceo{n}@elsewhere.biz"), patch).to_string(),
        );
    }
    let plan = |flags: &[&str]| {
        let all = ["resets", "--offline", "--directories", "directories", "-o", "markdown"];
        captured(&folder.plan(&[&all, flags].concat()))
    };
    let (code, comment, error) = plan(&["--whole", "whole.md", "--link", "https://ci.example/jobs/7"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(comment.len() <= 60_000 && comment.len() > 20_000, "{} bytes", comment.len());
    assert!(comment.starts_with("### Resets: 1000 allowed, 80 refused\n"), "{comment}");
    let table = rows(&comment);
    let sums = table.iter().find(|row| row[0] == "1000 allowed").unwrap();
    assert_eq!(
        sums[1..],
        [
            "Password in zylker",
            "Locked out, identity checked by phone, HELP-4711",
            "hana@\u{200b}zylker.biz",
            "a Secret each in helpdesk"
        ]
    );
    let refused = table.iter().filter(|row| row[0] == "❌ refused").collect::<Vec<_>>();
    assert!(
        refused.len() == 80 && refused.iter().all(|row| row.len() == 3 && row[2].starts_with("NotAllowed: ")),
        "{refused:?}"
    );
    let shown = table.iter().filter(|row| row[0] == "✅ allowed").collect::<Vec<_>>();
    assert_eq!(shown.len(), 10);
    assert_eq!(
        shown[0][1..],
        [
            "user0001@\u{200b}zylker.biz helpdesk/r0001",
            "Password in zylker",
            "Locked out, identity checked by phone, HELP-4711",
            "hana@\u{200b}zylker.biz",
            "Secret helpdesk/r0001"
        ]
    );
    assert_eq!(comment.matches("1. Generate a password").count(), 1, "{comment}");
    assert!(
        comment
            .ends_with("\n**990 requests are left out here**: [the whole plan](https://ci.example/jobs/7) has all.\n"),
        "{comment}"
    );
    // The whole plan has every one, with what a person wrote in full.
    let whole = fs::read_to_string(folder.0.join("whole.md")).unwrap();
    let of_whole = rows(&whole);
    let main = of_whole.iter().filter(|row| row.len() == 6 && !row[0].is_empty()).count();
    assert_eq!(main, 1080);
    // Smaller bounds hold to the byte, and cut no row.
    for bound in [2000, 5000, 20_000] {
        let (_, comment, _) = plan(&["--max-bytes", &bound.to_string()]);
        assert!(comment.len() <= bound, "{bound}: {}", comment.len());
        assert!(comment.contains("**10") && comment.contains("left out here"), "{bound}: {comment}");
        let lines = comment.lines().filter(|line| line.starts_with("| ")).count();
        let (found, heads) = (rows(&comment), comment.matches("|---|").count());
        assert!(found.len() == lines && heads > 0, "{bound}: {comment}");
        assert!(found.iter().all(|row| [3, 5, 6].contains(&row.len())), "{bound}: {found:?}");
    }
    for (flags, expected) in [
        (["--max-bytes", "100"], "invalid value '100' for '--max-bytes <BYTES>'"),
        (["--link", "javascript:alert(1)"], "not an address such as https://ci.example/jobs/7"),
        (["--link", "https://ci.example/)[x](y"], "not an address such as"),
        (["--whole", "no/such/folder"], "no/such/folder cannot be written"),
    ] {
        let (code, out, error) = plan(&flags);
        assert!(code == Some(1) && out.is_empty() && error.contains(expected), "{flags:?}: {error}");
    }
}

/// What a requester wrote into a request is text in the comment: no link, no picture, no emphasis, no mention.
#[test]
fn the_comment_shows_text() {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let folder = Folder::new();
    let mean = "[approved](https://evil.example) ![x](https://evil.example/p.png) **bold** __bold__ ~~gone~~ `code` <b>x</b> \\*x\\* \
                &lt;b&gt; @org/everyone #12 \\#12 https://evil.example/a WWW.evil.example | <https://evil.example> [a]: https://evil.example";
    for (n, patch) in [
        json!({"metadata": {"name": mean}}),
        json!({"metadata": {"namespace": mean}}),
        json!({"spec": {"reason": mean, "requestedBy": mean}}),
        json!({"spec": {"user": {"email": mean}}}),
        json!({"spec": {"user": {"email": null, "username": mean}, "mfa": {"confirm": mean}}}),
        json!({"spec": {"directory": mean, "mode": mean}}),
        json!({"spec": {mean: mean}}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut object = mfa(&format!("mean-{n}"), "annette.c@zylker.biz");
        merge(&mut object, patch);
        folder.write(&format!("resets/{n}.yaml"), object.to_string());
    }
    let (_, comment, error) = captured(&folder.plan(&["resets", "--offline", "-o", "markdown"]));
    assert!(comment.contains("evil.example"), "{comment}{error}");
    let (mut tags, mut text) = (BTreeSet::new(), String::new());
    for event in Parser::new_ext(&comment, Options::all()) {
        match event {
            Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::Emphasis | Tag::Strong | Tag::Strikethrough)
            | Event::Code(_) => panic!("{event:?} is in: {comment}"),
            Event::InlineHtml(tag) | Event::Html(tag) => drop(tags.insert(tag.trim().to_owned())),
            Event::Text(part) => text += &part,
            _ => {}
        }
    }
    let own = ["<code>", "</code>", "<br>", "<details><summary>", "</details>"];
    assert!(tags.iter().all(|tag| own.iter().any(|own| tag.starts_with(own))), "{tags:?} are in: {comment}");
    // What code hosts look for in the text that is shown.
    for link in ["://", "www.", "WWW."] {
        assert!(!text.contains(link), "{link} is in: {text}");
    }
    assert!(comment.split('@').skip(1).all(|rest| rest.starts_with("&#8203;")), "a user is mentioned: {comment}");
    assert!(!comment.contains(" #12") && !comment.contains(r"\#12"), "an issue is named: {comment}");
}
