//! Rehearsals beside a server: what they tell, and that no root goes while one of them may hold what it opens.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Child, Stdio},
};

use reqwest::StatusCode;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};

use crate::{
    shim,
    site::{Site, stderr, until},
};

/// A store with a backup of three persons.
async fn lived() -> Site {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2"), ("three", "3")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"v\"").await, StatusCode::CREATED);
    }
    site.back_up(Some(&served));
    served.stop();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_beside_a_server_tells_what_one_without_tells() {
    let site = lived().await;
    let served = site.serve(|_| ());
    site.shredded(&served, "1").await;
    let rehearse = || site.json(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    let beside = rehearse();
    assert_eq!((beside["readable"].as_u64(), beside["named"].as_u64(), &beside["findings"]), (Some(2), Some(1), &json!([])), "{beside}");
    // What came behind the copy of the control store is none of its business, and what it did is nobody else's.
    site.shredded(&served, "2").await;
    assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT);
    assert_eq!(site.get(&served, "three").await.0, StatusCode::OK);
    served.stop();
    let without = rehearse();
    assert_eq!((without["readable"].as_u64(), without["named"].as_u64()), (Some(1), Some(2)), "{without}");
    site.ok(&["check", "--dir", "store"]);
    assert!(!site.path("store/rehearsal").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_root_goes_while_somebody_may_hold_what_it_opens() {
    let site = lived().await;
    let served = site.serve(|_| ());
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(site.path("store/keys.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockShared).unwrap();
    let (status, told) = site.shred(&served, "1", 2).await;
    assert!(status == StatusCode::ACCEPTED && !told.contains("\"done\""), "{status} {told}");
    assert_eq!(site.roots(), [1, 1], "no epoch is begun that could not end");
    assert!(site.path("store/keys.wanted").exists(), "who looks is told to end");
    assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE, "from the order on");
    assert_eq!(site.get(&served, "two").await.0, StatusCode::OK);
    drop(lock);
    site.shredded(&served, "1").await;
    assert!(!site.path("store/keys.wanted").exists());
    until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    served.stop();
}

/// Whether nobody who only looks, and nobody who makes a root, may hold keys.
fn is_free(site: &Site) -> bool {
    let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(site.path("store/keys.lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Stops a process; whether it stands still, and has not ended. A signal is there before it has come.
fn halts(child: &mut Child) -> bool {
    let state = format!("/proc/{}/stat", child.id());
    if kill_process(Pid::from_child(child), Signal::STOP).is_err() {
        return false;
    }
    while child.try_wait().unwrap().is_none() {
        if fs::read_to_string(&state).is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Starts a rehearsal and stops it while it makes what it plays with.
fn staging(site: &Site) -> Child {
    for _ in 0..100 {
        drop(fs::remove_dir_all(site.path("store/rehearsal")));
        let mut command = site.command(&["--format", "json", "backup", "rehearse", "--from", "bk", "--dir", "store"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let copied = site.path("store/rehearsal/mirror/mirror.log");
        while !copied.exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if halts(&mut child) && copied.exists() && is_free(site) {
            return child;
        }
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap_or_default();
        drop(child.wait());
    }
    panic!("what a rehearsal plays with is made while it keeps orders from being carried out");
}

/// However large the control store is: no key is held before it is copied, made anew and open.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_shred_waits_for_nothing_that_a_rehearsal_does_without_keys() {
    let site = lived().await;
    let served = site.serve(|_| ());
    let child = staging(&site);
    site.shredded(&served, "1").await;
    kill_process(Pid::from_child(&child), Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // What was copied is of an epoch that has ended, so it was copied again.
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((told["readable"].as_u64(), told["named"].as_u64(), &told["findings"]), (Some(2), Some(1), &json!([])), "{told}");
    assert!(!site.path("store/rehearsal").exists());
    served.stop();
}

/// The journal of the log goes before the rows, so that no row says of more than lies there; a leaf that came in between is nobody's yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_comes_while_a_rehearsal_copies_the_control_store_is_no_old_copy() {
    let site = lived().await;
    let served = site.serve(|_| ());
    let faults = site.path("keep/faults");
    // From its first file on it does not come to the end of the mirror, whose length it has read.
    fs::write(&faults, format!("stall {} {}\n", site.text("store-mirror/mirror.log"), site.text("store/rehearsal/"))).unwrap();
    let mut command = site.command(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    shim::before(&mut command).env("LETHE_FAULTS", &faults);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let locked = site.path("store/rehearsal/mirror/lock");
    until("it copies the control store", async || locked.exists()).await;
    let leaves = || fs::metadata(site.path("store-mirror/log.journal")).unwrap().len();
    let before = leaves();
    assert_eq!(site.put_about(&served, "c", ("four", "4"), "\"v\"").await, StatusCode::CREATED);
    until("a checkpoint is in the log", async || leaves() > before).await;
    fs::remove_file(&faults).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    served.stop();
}

/// Starts a rehearsal that stands still with keys in its hands for as long as `keep/faults` is there: at the signing key, which it asks for
/// behind custody, in the thread that would hear that it is to end. It has done so before, for what lies on its stage; then it goes on.
async fn stopped(site: &Site) -> Child {
    let (faults, fresh, trace) = (site.path("keep/faults"), site.path("keep/faults.new"), site.path("keep/trace"));
    let (custody, key) = (site.text("a/root"), site.text("store/signing.key"));
    drop(fs::remove_file(&trace));
    let stands_at = |path: &str, before: usize| {
        let calls = fs::read_to_string(&trace).unwrap_or_default();
        calls.lines().filter(|call| *call == format!("stall {path}")).count() > before
    };
    let stand_at = |path: &str| {
        fs::write(&fresh, format!("stall {path}\n")).unwrap();
        fs::rename(&fresh, &faults).unwrap();
    };
    stand_at(&custody);
    let mut command = site.command(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    shim::before(&mut command).env("LETHE_FAULTS", &faults).env("LETHE_TRACE", &trace);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    for before in 0.. {
        stand_at(&custody);
        until("it reads custody", async || stands_at(&custody, before)).await;
        stand_at(&key);
        until("it asks for the key", async || stands_at(&key, before)).await;
        if looks(site, &child) {
            break;
        }
    }
    child
}

/// Whether a process holds the lock of those who only look.
fn looks(site: &Site, child: &Child) -> bool {
    let inode = fs::metadata(site.path("store/keys.lock")).map_or(0, |file| file.ino());
    let of_it = |lock: &str| {
        let parts: Vec<&str> = lock.split_whitespace().collect();
        let (kind, pid, file) = (parts.get(1), parts.get(4), parts.get(5));
        (kind, pid) == (Some(&"FLOCK"), Some(&child.id().to_string().as_str()))
            && file.is_some_and(|file| file.ends_with(&format!(":{inode}")))
    };
    fs::read_to_string("/proc/locks").unwrap().lines().any(of_it)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_shred_cuts_a_rehearsal_off_and_waits_until_it_holds_no_key() {
    let site = lived().await;
    let served = site.serve(|_| ());
    let child = stopped(&site).await;
    let (status, told) = site.shred(&served, "1", 2).await;
    assert!(status == StatusCode::ACCEPTED && !told.contains("\"done\""), "{status} {told}");
    assert_eq!(site.roots(), [1, 1]);
    fs::remove_file(site.path("keep/faults")).unwrap();
    site.shredded(&served, "1").await;
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && told.contains("rehearsal-cut"), "{:?}: {told}", output.status);
    assert!(!site.path("store/rehearsal").exists(), "it has cleared its stage");
    // Two at a time would play on one stage.
    let child = stopped(&site).await;
    let told = site.refused(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    assert!(told.contains("backup-locked"), "{told}");
    // One that is killed is in nobody's way.
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    drop(child.wait_with_output().unwrap());
    site.shredded(&served, "2").await;
    served.stop();
    site.ok(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
}
