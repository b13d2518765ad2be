//! The blocks of code of the book's pages: tests take from there what they run.
use std::{fs, path::Path};

fn text(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The book's pages, and those beside the code, the examples and the charts.
pub fn pages() -> Vec<String> {
    let summary = text("docs/SUMMARY.md");
    let book = summary.split("](").skip(1).map(|rest| format!("docs/{}", rest.split(')').next().unwrap()));
    let readmes = ["examples", "charts"].into_iter().flat_map(|parent| {
        let folders = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(parent)).unwrap().flatten();
        folders.map(move |folder| format!("{parent}/{}/README.md", folder.file_name().display()))
    });
    let readmes = readmes.filter(|page| Path::new(env!("CARGO_MANIFEST_DIR")).join(page).exists());
    ["README.md", "CONTRIBUTING.md"].map(str::to_owned).into_iter().chain(book).chain(readmes).collect()
}

/// A page's blocks: what stands at the fence, such as `sh` or `sh upgrade`, and the lines.
pub fn fences(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text(page).lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            inside = !inside;
            if inside {
                found.push((kind.to_owned(), String::new()));
            }
        } else if inside {
            let (_, block) = found.last_mut().unwrap();
            *block += line;
            *block += "\n";
        }
    }
    assert!(!inside, "{page} has a block without an end");
    found
}

/// The blocks of a page with this at their fences.
pub fn blocks(page: &str, kind: &str) -> Vec<String> {
    let found: Vec<_> = fences(page).into_iter().filter(|(at, _)| at == kind).map(|(_, block)| block).collect();
    assert!(!found.is_empty(), "{page} has no block of {kind}");
    found
}

/// A line without what differs from run to run: blanks, times, random names, ages.
pub fn gist(line: &str) -> String {
    let word = |word: &str| {
        if word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s') && word.len() <= 5 {
            return "AGE".to_owned();
        }
        let pieces = word.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
        let same = |piece: &str| {
            let bare = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let random = bare.len() >= 12 && bare.chars().all(|c| c.is_ascii_hexdigit());
            let digits = bare.chars().filter(char::is_ascii_digit).count();
            if random || digits >= 2 { piece.replace(bare, "#") } else { piece.to_owned() }
        };
        pieces.map(same).collect::<String>()
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}
