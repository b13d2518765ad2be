//! What the plan lists, and what kubectl, kustomize and other readers of YAML find in the same files.
use std::path::Path;

use rayon::{iter::Either, prelude::*};
use serde_json::Value;

use super::{
    Folder, captured, mfa,
    support::readers::{self, Must},
    verdicts,
};

/// Hundreds of folders: what `plan` lists is what kubectl, kustomize and a reader of YAML 1.1 find there; or `plan` refuses the folder.
#[test]
fn every_tool_sees_what_is_planned() {
    const FOLDERS: usize = 500;
    let root = Folder::new();
    let mut random = readers::Random(20_261_128);
    let folders: Vec<_> = (0..FOLDERS).map(|number| readers::write(&root, &mut random, number)).collect();
    let plan = |path: &Path, must: Must| {
        let (code, out, error) = captured(&root.plan(&[path.to_str().unwrap(), "--offline", "-o", "json"]));
        let as_it_must = match must {
            Must::Accept => code == Some(0),
            Must::Refuse => matches!(code, Some(1 | 2)),
            Must::Agree => matches!(code, Some(0..=2)),
        };
        if !as_it_must {
            let why: Vec<&str> = out.lines().filter(|line| line.contains("\"message\"")).collect();
            return Err(format!("{}: {must:?}, {code:?} {why:?} {error}", path.display()));
        }
        Ok((code == Some(0)).then(|| (path.to_owned(), readers::planned(&serde_json::from_str(&out).unwrap()))))
    };
    let (planned, wrong): (Vec<_>, Vec<String>) =
        folders.par_iter().partition_map(|(path, must)| match plan(path, *must) {
            Ok(listed) => Either::Left(listed),
            Err(wrong) => Either::Right(wrong),
        });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let accepted: Vec<_> = planned.into_iter().flatten().collect();
    let (paths, listed): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
    let mut listed = listed.concat();
    listed.sort();
    // Neither by refusing nor by accepting everything.
    let mutated = FOLDERS / 5 * 2;
    let surely = FOLDERS / 5 * 2;
    assert!((surely + mutated / 10..=surely + mutated / 2).contains(&paths.len()), "{} accepted", paths.len());
    for (tool, seen) in readers::tools(&root.0, &paths) {
        let only = |these: &[readers::Seen], those: &[readers::Seen]| {
            these.iter().filter(|one| !those.contains(one)).cloned().collect::<Vec<_>>()
        };
        assert!(seen == listed, "{tool} alone: {:#?}\nplan alone: {:#?}", only(&seen, &listed), only(&listed, &seen));
    }
}

/// A refusal is reported with file, line and what to do, also in a comment; beside it the others are planned.
#[test]
fn what_tools_read_differently_is_refused() {
    let root = Folder::new();
    let all = readers::odd("odd");
    all.par_iter().enumerate().for_each(|(number, (file, text, expected))| {
        root.write(&format!("{number}/fine.yaml"), mfa("fine", "annette.c@zylker.biz").to_string());
        root.write(&format!("{number}/{file}"), text);
        let folder = number.to_string();
        let output = root.plan(&[&folder, "--offline", "-o", "json"]);
        let (code, _, error) = captured(&output);
        let name = format!("{number}/{file}");
        if code == Some(1) {
            assert!(error.contains(&format!("{name} ")) && error.contains(expected), "{name}: {error}");
            return;
        }
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let refused: Vec<&Value> =
            report["requests"].as_array().unwrap().iter().filter(|r| r["reason"] == "NotPlanned").collect();
        assert!(code == Some(2) && report["verdict"] == "refused" && refused.len() == 1, "{name}: {report:#}");
        assert!(refused[0]["file"] == *name && refused[0]["verdict"] == "refused", "{name}: {report:#}");
        assert!(refused[0]["message"].as_str().unwrap().contains(expected), "{name}: {report:#}");
        assert!(verdicts(&output).contains(&"fine allowed".to_owned()), "{name}: {report:#}");
    });
    let text = captured(&root.plan(&["0", "--offline"])).1;
    assert!(
        text.contains("  REFUSED   0/kustomization.yaml: not planned\n  why       NotPlanned: With a kustomization,"),
        "{text}"
    );
    let comment = captured(&root.plan(&["0", "--offline", "-o", "markdown"])).1;
    assert!(
        comment.contains("| ❌ refused | <code>0/kustomization.yaml</code> | NotPlanned: With a kustomization,"),
        "{comment}"
    );
    // Where there is no request, that is reported first.
    let (code, _, error) = captured(&root.plan(&["0/kustomization.yaml", "--offline"]));
    assert!(
        code == Some(1)
            && error.contains("0/kustomization.yaml contains no CredentialReset. 0/kustomization.yaml: An object"),
        "{error}"
    );
}
