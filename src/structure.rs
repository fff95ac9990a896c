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
        for target in named(&fs::read_to_string(file).unwrap()) {
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
                fn f() -> crate::vault::keys::UnitRef {}\n#[cfg(test)]\nmod tests { use crate::cli; }\n";
    let expected = ["authn", "domain", "vault::crypto", "vault::keys", "vault::store"];
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), expected);
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

/// The rooms a file names by `crate::`, in paths and in trees; what stands behind `#[cfg(test)]` does not count.
fn named(text: &str) -> BTreeSet<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        roots(&text[at + "crate::".len()..], "", &mut rooms);
    }
    rooms
}

/// Reads one path or one tree of a `use` line; below `vault` the next name counts.
fn roots(text: &str, prefix: &str, rooms: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if let Some(tree) = text.strip_prefix('{') {
        let mut depth = 0_usize;
        let mut start = 0;
        for (at, letter) in tree.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    roots(&tree[start..at], prefix, rooms);
                    return;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    roots(&tree[start..at], prefix, rooms);
                    start = at + 1;
                }
                _ => {}
            }
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
