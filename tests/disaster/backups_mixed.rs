//! What an earlier run, another process or a crash has left is not mixed into a backup or a restore.

use std::{fs, os::unix::fs::MetadataExt as _};

use lethe::vault::store::{
    Space, Write,
    schema::{self, Table},
};
use reqwest::{Method, StatusCode};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::{
    backups::at_rest,
    shim,
    site::{Served, Site, copy, stderr, until},
};

/// A generation's manifest.
fn manifest(site: &Site, generation: u64) -> Value {
    let text = fs::read_to_string(site.path(&format!("bk/generations/{generation:08}.json"))).unwrap();
    serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
}

/// Makes what a restore of a generation that was cut short has left.
fn begun(site: &Site, generation: u64, complete: bool) {
    drop(fs::remove_dir_all(site.path("store/data.new")));
    fs::create_dir(site.path("store/data.new")).unwrap();
    let of = manifest(site, generation);
    let (store, taken_at_ms) = (&of["store"], &of["taken_at_ms"]);
    let fence = json!({"store": store, "generation": generation, "taken_at_ms": taken_at_ms, "complete": complete, "making": true});
    fs::write(site.path("store/data.new/RESTORING"), fence.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_that_was_cut_short_has_left_is_used_only_where_it_is_whole_and_of_the_same_generation() {
    let site = Site::make().await;
    for number in 0..2 {
        let served = site.serve(|_| ());
        let value = json!("x".repeat(50_000)).to_string();
        assert_eq!(site.put_about(&served, "c", (&number.to_string(), "1"), &value).await, StatusCode::CREATED);
        served.stop();
        site.back_up(None);
    }
    // Of another generation, or changed by the engine since.
    for (generation, complete) in [(1, false), (2, true)] {
        begun(&site, generation, complete);
        fs::write(site.path("store/data.new/stranger"), "of another").unwrap();
        site.restore(&["--generation", "2", "--verify"]);
        assert!(!site.path("store/data/stranger").exists(), "generation {generation}, complete {complete}");
    }
    // Of this one, and every file of it bent, at its right length; or torn.
    begun(&site, 2, false);
    for file in manifest(&site, 2)["files"].as_array().unwrap() {
        let mut bytes = fs::read(site.path("bk/files").join(file["sha256"].as_str().unwrap())).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        let target = site.path("store/data.new").join(file["name"].as_str().unwrap());
        fs::write(target.with_added_extension("part"), &bytes[..bytes.len() / 2]).unwrap();
        fs::write(target, bytes).unwrap();
    }
    site.restore(&["--generation", "2", "--verify"]);
    site.ok(&["check", "--dir", "store"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "1").await.0, StatusCode::OK);
    served.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_backups_is_changed_by_one_process_at_a_time() {
    let site = Site::make().await;
    site.back_up(None);
    let held = fs::File::open(site.path("bk/lock")).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    for arguments in [&["backup", "--to", "bk", "--dir", "store"][..], &["backup", "prune", "--from", "bk", "--keep", "1"]] {
        let told = site.refused(arguments);
        assert!(told.contains("backup-locked"), "{told}");
    }
    // Who reads is not held up.
    site.ok(&["backup", "verify", "--from", "bk"]);
    site.restore(&["--verify"]);
    drop(held);
    assert_eq!(site.back_up(None)["generation"].as_u64(), Some(2));
}

/// Custody is of the same epoch: the log's entries alone tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_put_back_under_a_control_store_of_before_it_within_an_epoch() {
    let site = Site::make().await;
    site.keep("yesterday");
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("k", "1"), "\"v\"").await, StatusCode::CREATED);
    served.stop();
    let taken = site.back_up(None);
    copy(&site.path("bk"), &site.path("keep/bk"));
    site.reset("yesterday");
    let old = site.refused(&["restore", "--from", "bk", "--dir", "store", "--yes"]);
    assert!(old.contains("control-behind-backup"), "{old}");
    let rehearsed = site.refused(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    assert!(rehearsed.contains("control-behind-backup"), "{rehearsed}");
    assert!(!site.path("store/data.new").exists(), "{taken}");
    // Custody is not where backups go either.
    let told = site.refused(&["backup", "--to", "a/bk", "--dir", "store"]);
    assert!(told.contains("backup-inside"), "{told}");
}

/// A rehearsal reads the root and never changes custody, also where a start would: it is left to the start.
#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_finishes_no_epoch_that_was_cut_short() {
    let site = Site::make().await;
    site.back_up(None);
    let faults = site.path("keep/faults");
    let served = site.serve(|command| {
        shim::before(command).env("LETHE_FAULTS", &faults);
    });
    assert_eq!(site.put_about(&served, "c", ("k", "1"), "\"v\"").await, StatusCode::CREATED);
    // The new root is kept, the old one cannot be destroyed.
    fs::write(&faults, format!("write+1 {}\n", site.text("a/"))).unwrap();
    let (status, told) = site.shred(&served, "1", 2).await;
    // Whether the order is answered before its keys cannot be read any more.
    assert!(status == StatusCode::ACCEPTED || status == StatusCode::SERVICE_UNAVAILABLE, "{status} {told}");
    assert!(!told.contains("\"done\""), "{told}");
    drop(served);
    fs::remove_file(&faults).unwrap();
    let custody = || ["a/root", "b/root"].map(|path| fs::read(site.path(path)).unwrap());
    let before = custody();
    let told = site.refused(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    assert!(told.contains("only read here"), "{told}");
    assert!(custody() == before, "not a byte of custody has changed");
    let served = site.serve(|_| ());
    assert_eq!(site.send(&served, Method::GET, "/v1/tenants/acme/collections/c/records/k", &site.owner(), "").await.0, StatusCode::GONE);
    served.stop();
    let done = site.command(&["backup", "rehearse", "--from", "bk", "--dir", "store"]).output().unwrap();
    assert!(done.status.success(), "{}", stderr(&done));
}

/// A unit that a certificate names and that no row says is dead: somebody has meddled with the control store.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_contradicts_a_certificate_is_refused_and_puts_nothing_in_place() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for subject in ["1", "2"] {
        assert_eq!(site.put_about(&served, "c", (subject, subject), "\"v\"").await, StatusCode::CREATED);
    }
    site.back_up(Some(&served));
    site.shredded(&served, "1").await;
    served.stop();
    site.restore(&["--verify"]);
    at_rest(&site, Space::Control, &schema::table(Table::UnitState), |rows| {
        assert!(!rows.is_empty());
        rows.into_iter().map(|row| Write::Delete { space: Space::Control, key: row.key }).collect()
    })
    .await;
    let before = fs::metadata(site.path("store/data")).unwrap().ino();
    let told = site.refused(&["restore", "--from", "bk", "--dir", "store", "--yes", "--verify"]);
    assert!(told.contains("restore-unproved"), "{told}");
    assert_eq!(fs::metadata(site.path("store/data")).unwrap().ino(), before, "the data store is as it was");
    assert!(!site.path("store/data.new").exists());
}

/// A start that finds older data and is killed before that is ready: the next one finds the fence.
#[tokio::test(flavor = "multi_thread")]
async fn the_fence_before_data_that_a_hand_has_put_back_outlives_a_kill() {
    let site = Site::make().await;
    copy(&site.path("store/data"), &site.path("then"));
    site.serve(|_| ()).stop();
    fs::remove_dir_all(site.path("store/data")).unwrap();
    copy(&site.path("then"), &site.path("store/data"));
    let fence = site.path("store/data/RESTORING");
    // Written, synced, renamed, and then taken away.
    let mut command = site.command(&["serve", "--listen", "127.0.0.1:0", "--dir", "store"]);
    shim::before(&mut command).env("LETHE_KILL_AT", "4").env("LETHE_KILL_BELOW", &fence);
    let mut killed = Served { child: command.spawn().unwrap(), url: String::new() };
    until("it is killed as it takes the fence away", async || killed.child.try_wait().unwrap().is_some()).await;
    assert!(fence.exists());
    drop(killed);
    let served = site.serve(|_| ());
    until("it is ready", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert!(!fence.exists());
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}
