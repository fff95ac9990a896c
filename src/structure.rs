//! The arrows between the rooms, read from the `use` lines and paths of every file.
#![expect(clippy::arithmetic_side_effects, reason = "a test that counts in short texts")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A room and the rooms it may name. What is not here may name nothing.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["authn", "config", "domain", "server", "vault::audit", "vault::ops"]),
    (
        "server",
        &["config", "domain", "http", "jobs", "telemetry", "vault::audit", "vault::crypto", "vault::keys", "vault::ops", "vault::store"],
    ),
    ("http", &["authn", "domain", "telemetry", "vault::audit", "vault::ops"]),
    ("jobs", &["domain", "vault::ops"]),
    ("config", &["domain"]),
    ("telemetry", &[]),
    ("vault::ops", &["authn", "authz", "domain", "vault::audit", "vault::crypto", "vault::keys", "vault::store"]),
    ("vault::audit", &["domain", "vault::crypto", "vault::keys", "vault::store"]),
    ("vault::keys", &["domain", "vault::crypto", "vault::store"]),
    ("vault::store", &["domain", "vault::crypto"]),
    ("vault::crypto", &["domain"]),
    ("authz", &["authn", "domain"]),
    ("authn", &["domain"]),
    ("domain", &[]),
];

#[test]
fn the_arrows_between_rooms_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in &files {
        let place = file.strip_prefix(&src).unwrap().with_extension("");
        let Some(room) = room(&place) else { continue };
        let allowed = ARROWS.iter().find(|(from, _)| *from == room).map_or(&[][..], |(_, to)| to);
        for target in named(&fs::read_to_string(file).unwrap(), &module(&place)) {
            arrows += 1;
            if target != room && !allowed.contains(&target.as_str()) {
                wrong.push(format!("{} names {target}", place.display()));
            }
        }
    }
    assert!(arrows > 100, "only {arrows} arrows were read: has the way of naming rooms changed?");
    assert!(wrong.is_empty(), "arrows that the design does not have; move the code, or argue the arrow in docs/decisions.md: {wrong:#?}");
}

#[test]
fn arrows_are_read_from_paths_and_from_trees() {
    let text = "use crate::domain::Gen;\nuse crate::{\n    authn::Role,\n    vault::{\n        crypto::{Key, random},\n        store::Space,\n    },\n};\n\
                fn f() -> crate::vault::keys::UnitRef {}\n";
    let expected = ["authn", "domain", "vault::crypto", "vault::keys", "vault::store"];
    assert_eq!(named(text, &["cli"]).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn arrows_are_read_from_paths_that_go_up() {
    let named = |text| named(text, &["vault", "ops", "check"]).into_iter().collect::<Vec<_>>();
    assert_eq!(named("use super::super::keys::Forest;\n"), ["vault::keys"]);
    assert_eq!(named("use super::super::{audit::Audit, store};\n"), ["vault::audit", "vault::store"]);
    assert_eq!(named("fn f() -> super::super::super::http::Api {}\n"), ["http"]);
    assert_eq!(
        named("use super::{rows, super::keys};\nuse super::{\n    super::{audit::Audit, store},\n    plan,\n};\n"),
        ["vault::audit", "vault::keys", "vault::store"]
    );
    assert_eq!(named("use super::plan;\npub(super) fn f() { super::get::f() }\n"), [""; 0]);
}

#[test]
fn arrows_are_read_behind_what_is_there_for_tests() {
    let text = "#[cfg(test)]\nmod tests;\n\nuse crate::domain::Gen;\n\nimpl X {\n    #[cfg(test)]\n    #[must_use]\n    fn f() {\n        crate::cli::f();\n    }\n\n    \
                fn g() {\n        crate::authn::g();\n    }\n}\n\n#[cfg(test)]\nuse crate::{\n    http::Api,\n};\n\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}\n";
    assert_eq!(named(text, &["vault", "ops"]).into_iter().collect::<Vec<_>>(), ["authn", "domain"]);
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Tests may reach across: they are outsiders.
        if ["tests", "closure", "testing.rs", "tests.rs", "contract.rs", "structure.rs"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The room of a file: its first folder or file, and in the vault the second one too.
fn room(place: &Path) -> Option<String> {
    let parts: Vec<&str> = place.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        ["lib"] | ["vault", "mod"] => None,
        ["vault", second, ..] => Some(format!("vault::{second}")),
        [first, ..] => Some((*first).to_owned()),
        [] => None,
    }
}

/// The module that a file is.
fn module(place: &Path) -> Vec<&str> {
    place.iter().filter_map(|part| part.to_str()).filter(|part| *part != "mod").collect()
}

/// The rooms a file names by `crate::` or `super::`, in paths and in trees, outside of what `#[cfg(test)]` marks.
fn named(text: &str, module: &[&str]) -> BTreeSet<String> {
    let text = outside_tests(text);
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        roots(&text[at + "crate::".len()..], "", &mut rooms);
    }
    for (at, _) in text.match_indices("super::") {
        if !text[..at].ends_with("super::") && !is_in_a_tree_of_super(&text[..at]) {
            up(&text[at..], module, &mut rooms);
        }
    }
    rooms
}

/// Whether a text ends within a tree that begins with `super::{`: what follows is read with that tree.
fn is_in_a_tree_of_super(text: &str) -> bool {
    text.rfind("super::{").is_some_and(|at| {
        let since = &text[at..];
        !since.contains(';') && since.matches('{').count() > since.matches('}').count()
    })
}

/// Reads a path, or an item of a tree, from `module` on.
fn up(text: &str, module: &[&str], rooms: &mut BTreeSet<String>) {
    let mut items = vec![(text.trim_start(), module)];
    while let Some((text, module)) = items.pop() {
        if let Some(rest) = text.strip_prefix("super::") {
            items.push((rest.trim_start(), module.split_last().map_or(module, |(_, above)| above)));
        } else if let ([] | ["vault"], false) = (module, text.starts_with("super")) {
            roots(text, if module.is_empty() { "" } else { "vault::" }, rooms);
        } else if text.starts_with('{') {
            items.extend(branches(text).into_iter().map(|item| (item.trim_start(), module)));
        }
    }
}

/// The text without the items that are there for tests alone. Formatted as it is, an item ends where its indentation returns.
fn outside_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim_start() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let ends = |line: &str| {
            let here = line.strip_prefix(indent).filter(|rest| !rest.starts_with([' ', '#']));
            here.is_some_and(|rest| rest.ends_with([';', '}']))
        };
        lines.by_ref().find(|line| ends(line));
    }
    kept
}

/// The items of the tree that a text begins with.
fn branches(text: &str) -> Vec<&str> {
    let Some(tree) = text.trim_start().strip_prefix('{') else { return Vec::new() };
    let (mut depth, mut start, mut items) = (0_usize, 0, Vec::new());
    for (at, letter) in tree.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&tree[start..at]);
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// Reads one path or one tree of a `use` line; below `vault` the next name counts.
fn roots(text: &str, prefix: &str, rooms: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if text.starts_with('{') {
        for item in branches(text) {
            roots(item, prefix, rooms);
        }
        return;
    }
    let end = text.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return;
    }
    if prefix.is_empty() && name == "vault" {
        roots(rest.strip_prefix("::").unwrap_or_default(), "vault::", rooms);
    } else {
        rooms.insert(format!("{prefix}{name}"));
    }
}
