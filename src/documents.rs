//! What the documents point at is there: tests by name, files by path. (Tables of codes, limits, metrics, settings and rows are
//! held against the code beside the code.)

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const DOCUMENTS: [&str; 16] = [
    "README.md",
    "docs/approvals.md",
    "docs/decisions.md",
    "docs/errors.md",
    "docs/export.md",
    "docs/format.md",
    "docs/holds.md",
    "docs/limits.md",
    "docs/metrics.md",
    "docs/operations.md",
    "docs/rehearsal.md",
    "docs/requirements.md",
    "docs/retention.md",
    "docs/subjects.md",
    "docs/termination.md",
    "docs/threat-model.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// What stands between single backticks, fenced blocks excepted.
fn quoted(text: &str) -> Vec<&str> {
    let outside = text.split("```").step_by(2);
    outside.flat_map(|part| part.lines()).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The names of all tests: what follows a line of `#[test]` or `#[tokio::test(..)]`, other attributes between them skipped.
fn tests() -> BTreeSet<String> {
    let mut text = String::new();
    for dir in ["src", "tests"] {
        sources(&root().join(dir), &mut text);
    }
    let (mut found, mut open) = (BTreeSet::new(), false);
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            open = true;
        } else if open && let Some((_, name)) = line.split_once("fn ") {
            found.insert(name.split(['(', '<']).next().unwrap().to_owned());
            open = false;
        }
    }
    found
}

/// A sentence in one word: what tests are called here, and nothing else that documents quote.
fn is_sentence(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') && text.matches('_').count() >= 4
}

#[test]
fn every_test_that_a_document_names_is_in_the_tree() {
    let tests = tests();
    assert!(tests.len() > 400, "only {} tests were read", tests.len());
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        missing.extend(
            quoted(&text).into_iter().filter(|name| is_sentence(name) && !tests.contains(*name)).map(|name| format!("{document}: {name}")),
        );
    }
    // The metrics' and settings' names are as long as some sentences.
    missing.retain(|named| !named.contains(": lethe_"));
    assert!(missing.is_empty(), "tests that documents name and that are not there:\n{}", missing.join("\n"));
}

#[test]
fn every_row_of_the_requirements_that_is_met_names_its_test() {
    let text = fs::read_to_string(root().join("docs/requirements.md")).unwrap();
    let tests = tests();
    let is_proof = |quote: &&str| tests.contains(*quote) || quote.starts_with("tests/");
    let mut rows = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| row ")) {
        let mut cells = line.trim_matches('|').split(" | ");
        let (row, state, by) = (cells.next().unwrap(), cells.next().unwrap().trim(), cells.next().unwrap());
        rows += 1;
        if state == "yes" || state == "partly" {
            assert!(quoted(by).iter().any(is_proof), "{row} is said to be met and names no test");
        }
    }
    assert!(rows > 20, "{rows}");
}

#[test]
fn every_path_that_a_document_names_is_in_the_tree() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for path in quoted(&text) {
            let ours = ["src/", "tests/", "docs/", "deploy/", "scripts/", "benches/"].iter().any(|dir| path.starts_with(dir));
            if ours && !path.contains([' ', '*']) && path != "docs/performance.md" && !root().join(path).exists() {
                missing.push(format!("{document}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "paths that documents name and that are not there:\n{}", missing.join("\n"));
}
