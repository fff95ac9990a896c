//! What a power cut leaves of a backup or a restore that has said that it is done: all of it. Files are synced before they have their
//! names, and names before what relies on them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use reqwest::StatusCode;

use crate::{
    power, shim,
    site::{PARTS, Site, stderr},
};

/// A call, and the file or directory that it was made for.
type Call = (String, PathBuf);

/// A store with a backup, and records since.
async fn lived() -> Site {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for number in 0..20 {
        assert_eq!(site.put_about(&served, "c", (&number.to_string(), "1"), "\"then\"").await, StatusCode::CREATED);
    }
    served.stop();
    site
}

/// Runs a command; what it has synced and renamed, in its order, and which inodes it has synced at which length.
fn traced(site: &Site, arguments: &[&str]) -> (Output, Vec<Call>) {
    let (trace, synced) = (site.path("keep/trace"), site.path("keep/synced"));
    for file in [&trace, &synced] {
        drop(fs::remove_file(file));
    }
    let mut command = site.command(arguments);
    shim::before(&mut command).env("LETHE_TRACE", &trace).env("LETHE_SYNCED", &synced);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = fs::read_to_string(&trace).unwrap();
    let calls = lines.lines().filter_map(|line| line.split_once(' ')).map(|(call, path)| (call.to_owned(), path.into())).collect();
    (output, calls)
}

/// The place of the last call of a kind for which `is_it` holds.
fn last(calls: &[Call], call: &str, is_it: impl Fn(&Path) -> bool) -> usize {
    calls.iter().rposition(|(made, path)| made == call && is_it(path)).unwrap_or_else(|| panic!("no such {call}: {calls:#?}"))
}

/// The place of the first such call behind another.
fn next(calls: &[Call], after: usize, call: &str, wanted: &Path) -> usize {
    let found = calls.iter().enumerate().skip(after).find(|(_, (made, path))| made == call && path == wanted);
    found.unwrap_or_else(|| panic!("no {call} of {} behind {after}: {calls:#?}", wanted.display())).0
}

/// Leaves of every file below a directory what was synced of it.
fn cut_below(site: &Site, dir: &Path) {
    let lines = fs::read_to_string(site.path("keep/synced")).unwrap();
    let synced: HashMap<u64, u64> = lines
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(inode, len)| (inode.parse().unwrap(), len.parse().unwrap()))
        .collect();
    power::files(dir, &mut |path, meta| {
        let kept = synced.get(&std::os::unix::fs::MetadataExt::ino(meta)).copied().unwrap_or(0);
        if kept < meta.len() {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(kept).unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_behind_a_backup_takes_nothing_of_it() {
    let site = lived().await;
    let (_, calls) = traced(&site, &["backup", "--to", &site.text("bk"), "--dir", &site.text("store")]);
    let (files, generations) = (site.path("bk/files"), site.path("bk/generations"));
    let manifest = last(&calls, "rename", |path| path == generations.join("00000001.json"));
    let brought = last(&calls, "rename", |path| path.parent() == Some(files.as_path()));
    assert!(brought < manifest, "the manifest has its name when all of its files have: {calls:#?}");
    assert!(next(&calls, brought, "sync", &files) < manifest, "and when their names are on the disk: {calls:#?}");
    next(&calls, manifest, "sync", &generations);
    cut_below(&site, &site.path("bk"));
    site.ok(&["backup", "verify", "--from", "bk"]);
    site.restore(&["--verify"]);
    site.ok(&["check", "--dir", "store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_behind_a_restore_takes_nothing_of_it() {
    let site = lived().await;
    site.back_up(None);
    let served = site.serve(|_| ());
    site.shredded(&served, "2").await;
    served.stop();
    let mut before = HashMap::new();
    for part in PARTS {
        power::files(&site.path(part), &mut |_, meta| {
            before.insert(std::os::unix::fs::MetadataExt::ino(meta), meta.len());
        });
    }
    let (store, fresh) = (site.path("store"), site.path("store/data.new"));
    let (_, calls) = traced(&site, &["restore", "--from", "bk", "--dir", &site.text("store"), "--yes"]);
    let is_brought = |path: &Path| path.parent() == Some(fresh.as_path()) && path.file_name().is_some_and(|name| name != "RESTORING");
    let (brought, aside) = (last(&calls, "rename", is_brought), last(&calls, "rename", |path| path == store.join("data.replaced-1")));
    assert!(next(&calls, brought, "sync", &fresh) < aside, "what came back has its names on the disk before it has that of the data store");
    next(&calls, aside, "sync", &store);
    power::cut(&site, &before);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "19").await, (StatusCode::OK, "\"then\"".into()));
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}
