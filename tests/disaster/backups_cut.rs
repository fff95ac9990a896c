//! Backups and restores that are cut short: killed at any step, and on a full disk. Earlier generations stay whole, the store is as it
//! was or as it is to be, and running the command again ends well.

use std::{fs, time::Duration};

use lethe::domain::{Clock as _, SystemClock};
use reqwest::{Method, StatusCode};
use rustix::thread::CapabilitySet;

use crate::{
    disk::{Disk, fill},
    privilege, shim,
    site::{Served, Site, stderr, until},
};

/// Steps that are tried: all of the last ones, where names change, and some before.
pub(crate) fn tried(steps: u64) -> impl Iterator<Item = u64> {
    #[expect(clippy::disallowed_methods, reason = "make proof asks for every step so")]
    let stride = if std::env::var_os("LETHE_PROOF").is_some() { 1 } else { steps / 12 + 1 };
    (1..=steps).filter(move |at| at % stride == 0 || at + 8 > steps)
}

/// Runs a command that is killed at a step below a directory; with 0 it is not, and how many steps there are is told.
pub(crate) fn cut(site: &Site, arguments: &[&str], below: &str, at: u64) -> (std::process::Output, u64) {
    let count = site.path("keep/count");
    fs::write(&count, "").unwrap();
    let mut command = site.command(arguments);
    shim::before(&mut command).env("LETHE_KILL_AT", at.to_string()).env("LETHE_KILL_BELOW", below).env("LETHE_COUNT", &count);
    (command.output().unwrap(), fs::metadata(&count).unwrap().len())
}

async fn lived() -> Site {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"then\"").await, StatusCode::CREATED);
    }
    let put = site.send(&served, Method::PUT, "/v1/tenants/acme/collections/files", &site.owner(), r#"{"shred_unit": "record"}"#).await;
    assert_eq!(put.0, StatusCode::CREATED, "{}", put.1);
    let soon = SystemClock.now().plus(Duration::from_secs(8)).to_rfc3339();
    for key in ["ended", "kept"] {
        let put = site.client.put(format!("{}{FILES}{key}", served.url)).bearer_auth(site.owner()).header("lethe-subject", "2");
        let put = put.header("lethe-expires-at", &soon).body("\"then\"").send().await.unwrap();
        assert_eq!(put.status(), StatusCode::CREATED);
    }
    served.stop();
    site.back_up(None);
    let served = site.serve(|_| ());
    // Under the key that it had, whether or not its time is over by now.
    assert!(site.put_about(&served, "files", ("kept", "2"), "\"today\"").await.is_success());
    site.shredded(&served, "1").await;
    assert_eq!(site.put_about(&served, "c", ("late", "3"), "\"later\"").await, StatusCode::CREATED);
    until("it is over", async || file(&site, &served, "ended").await.0 == StatusCode::NOT_FOUND).await;
    served.stop();
    site
}

const FILES: &str = "/v1/tenants/acme/collections/files/records/";

async fn file(site: &Site, served: &Served, key: &str) -> (StatusCode, String) {
    site.send(served, Method::GET, &format!("{FILES}{key}"), &site.owner(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_backup_leaves_the_earlier_ones_whole() {
    let site = lived().await;
    site.keep("today");
    crate::site::copy(&site.path("bk"), &site.path("today/bk"));
    let reset = || {
        site.reset("today");
        site.put_back("today", "bk");
    };
    let arguments = ["backup", "--to", &site.text("bk"), "--dir", &site.text("store")];
    let below = site.text("bk");
    let (done, steps) = cut(&site, &arguments, &below, 0);
    assert!(done.status.success() && steps > 8, "{steps} steps: {}", stderr(&done));
    let mut kills = 0;
    for at in tried(steps) {
        reset();
        let (killed, _) = cut(&site, &arguments, &below, at);
        if killed.status.success() {
            // Threads differ in how they share the work.
            continue;
        }
        assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
        kills += 1;
        site.ok(&["backup", "verify", "--from", "bk"]);
        site.restore(&["--generation", "1", "--verify"]);
        site.reset("today");
        // Run again it ends, and leaves nothing half-written.
        let again = site.back_up(None);
        assert_eq!(again["generation"].as_u64(), if site.path("bk/generations/00000003.json").exists() { Some(3) } else { Some(2) });
        assert!(!super::backups::files(&site.path("bk")).iter().any(|path| path.extension().is_some_and(|end| end == "new")), "at {at}");
        site.ok(&["backup", "verify", "--from", "bk"]);
        assert!(fs::read_dir(site.path("store/snapshots")).unwrap().next().is_none(), "nobody's snapshot is let go");
    }
    assert!(kills > 10, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_restore_leaves_the_old_store_or_the_restored_one() {
    let site = lived().await;
    site.keep("today");
    let arguments = ["restore", "--from", "bk", "--dir", &site.text("store"), "--yes"];
    let below = site.text("store");
    let (done, steps) = cut(&site, &arguments, &below, 0);
    assert!(done.status.success() && steps > 20, "{steps} steps: {}", stderr(&done));
    let (mut kills, mut restored) = (0, 0);
    for at in tried(steps) {
        site.reset("today");
        let (killed, _) = cut(&site, &arguments, &below, at);
        if killed.status.success() {
            continue;
        }
        assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
        kills += 1;
        for again in [false, true] {
            if again {
                site.restore(&["--verify"]);
            }
            let served = site.serve(|_| ());
            until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
            let late = site.get(&served, "late").await.0;
            // In older data it is over, under the key that seals what took its place.
            let kept = file(&site, &served, "kept").await;
            let todays = (StatusCode::OK, "\"today\"".to_owned());
            assert!(if late == StatusCode::OK { kept == todays } else { kept.0 == StatusCode::NOT_FOUND }, "at {at}: {kept:?}");
            assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE, "at {at}");
            assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()), "at {at}");
            assert!(late == StatusCode::NOT_FOUND || (!again && late == StatusCode::OK), "at {at}: {late}");
            restored += u32::from(!again && late == StatusCode::NOT_FOUND);
            served.stop();
        }
        // Today's data is not lost by it, whatever was in its place when it was cut short.
        let aside = fs::read_dir(site.path("store"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().is_some_and(|name| name.starts_with("data.replaced-")));
        assert!(aside.count() > 0, "at {at}");
        site.ok(&["check", "--dir", "store"]);
    }
    println!("{kills} kills, {restored} behind the exchange");
    assert!(kills > 10 && restored > 0, "{kills} {restored}");
}

/// With what is over left to the next start: whenever the restored data has its name, its fence is in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_fenced_restore_leaves_no_restored_data_without_its_fence() {
    let site = lived().await;
    site.keep("today");
    let arguments = ["restore", "--from", "bk", "--dir", &site.text("store"), "--yes", "--fenced"];
    let below = site.text("store");
    let (done, steps) = cut(&site, &arguments, &below, 0);
    assert!(done.status.success() && steps > 20, "{steps} steps: {}", stderr(&done));
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(site.path("store/data")).unwrap());
    let (mut kills, mut behind) = (0, 0);
    for at in tried(steps) {
        site.reset("today");
        let today = inode();
        let (killed, _) = cut(&site, &arguments, &below, at);
        if killed.status.success() {
            continue;
        }
        assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
        kills += 1;
        let is_restored = inode() != today;
        assert_eq!(site.path("store/data/RESTORING").exists(), is_restored, "at {at}");
        behind += u32::from(is_restored);
        let served = site.serve(|_| ());
        crate::site::until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
        assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE, "at {at}");
        assert_eq!(site.get(&served, "late").await.0, if is_restored { StatusCode::NOT_FOUND } else { StatusCode::OK }, "at {at}");
        assert!(!site.path("store/data/RESTORING").exists(), "at {at}");
        served.stop();
    }
    println!("{kills} kills, {behind} behind the exchange");
    assert!(kills > 10 && behind > 0, "{kills} {behind}");
}

/// The data store may itself be one that was put back and never got ready: another generation is to take its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_restore_keeps_a_data_store_aside_that_was_behind_its_fence() {
    let site = lived().await;
    site.restore(&["--fenced"]);
    fs::remove_dir_all(site.path("store/data.replaced-1")).unwrap();
    site.keep("today");
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let below = site.text("store");
    for how in [&[] as &[&str], &["--fenced"]] {
        site.reset("today");
        let arguments = [&["restore", "--from", "bk", "--dir", &below, "--yes"], how].concat();
        let (done, steps) = cut(&site, &arguments, &below, 0);
        assert!(done.status.success() && steps > 20, "{steps} steps: {}", stderr(&done));
        let mut kills = 0;
        for at in tried(steps) {
            site.reset("today");
            let fenced = inode(&site.path("store/data"));
            let (killed, _) = cut(&site, &arguments, &below, at);
            if killed.status.success() {
                continue;
            }
            assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
            kills += 1;
            site.restore(how);
            let entries = fs::read_dir(site.path("store")).unwrap().map(|entry| entry.unwrap().path());
            let mut aside = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("data.replaced-"));
            assert!(aside.any(|path| inode(&path) == fenced), "{how:?} at {at}: it was removed");
        }
        assert!(kills > 10, "{kills}");
    }
    let served = site.serve(|_| ());
    until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE);
    assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()));
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_takes_a_snapshot_leaves_none_behind_its_next_start() {
    let site = lived().await;
    let snapshots = site.path("store/snapshots");
    let (below, count) = (site.text("store/snapshots"), site.path("keep/count"));
    let taken = async |at: u64| {
        drop(fs::remove_file(&count));
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_KILL_AT", at.to_string()).env("LETHE_KILL_BELOW", &below).env("LETHE_COUNT", &count);
        });
        let answer = site.send(&served, reqwest::Method::POST, "/v1/jobs/snapshots", &site.operator(), "").await;
        drop(served);
        answer.0
    };
    assert_eq!(taken(0).await, StatusCode::CREATED);
    let steps = fs::metadata(&count).unwrap().len();
    assert!(steps > 2, "{steps}");
    let mut kills = 0;
    for at in tried(steps) {
        let killed = taken(at).await == StatusCode::IM_A_TEAPOT;
        kills += u32::from(killed);
        let served = site.serve(|_| ());
        assert!(fs::read_dir(&snapshots).map_or(true, |mut left| left.next().is_none()), "at {at}: nobody holds what is left");
        assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()), "at {at}");
        site.back_up(Some(&served));
        served.stop();
    }
    assert!(kills > 2, "{kills} of {steps}");
    site.ok(&["backup", "verify", "--from", "bk"]);
    site.ok(&["check", "--dir", "store"]);
}

/// What a restore that was cut short has brought is gone on with by the same one, and by no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_not_finished_with_the_files_of_another_backup() {
    let site = lived().await;
    // Generation 1, too, and of another day.
    site.ok(&["--addr", "http://127.0.0.1:9", "backup", "--to", &site.text("bk2"), "--dir", "store"]);
    site.keep("today");
    let below = site.text("store");
    let arguments = ["restore", "--from", "bk", "--dir", &below, "--yes"];
    let (done, steps) = cut(&site, &arguments, &below, 0);
    assert!(done.status.success(), "{}", stderr(&done));
    let begun = site.path("store/data.new/RESTORING");
    let is_begun = || fs::read_to_string(&begun).is_ok_and(|fence| fence.contains(r#""complete":false"#));
    for from in ["bk", "bk2"] {
        let mut cuts = 1..=steps;
        loop {
            let at = cuts.next().expect("no step between the first file and the last");
            site.reset("today");
            cut(&site, &arguments, &below, at);
            if is_begun() && fs::read_dir(site.path("store/data.new")).unwrap().count() > 2 {
                break;
            }
        }
        fs::write(site.path("store/data.new/000099.sst"), "another's").unwrap();
        fs::write(site.path("store/data.new/000099.log"), "another's").unwrap();
        site.ok(&["restore", "--from", from, "--dir", "store", "--yes", "--verify"]);
        for name in ["000099.sst", "000099.log"] {
            assert!(!site.path("store/data").join(name).exists(), "{from}: {name}");
        }
        let served = site.serve(|_| ());
        until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
        let late = if from == "bk" { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(site.get(&served, "late").await.0, late, "{from}");
        assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()), "{from}");
        served.stop();
        site.ok(&["check", "--dir", "store"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_backup_and_harms_no_earlier_one() {
    if !privilege::held(CapabilitySet::SYS_ADMIN, "backups_cut::a_full_disk_ends_a_backup_and_harms_no_earlier_one") {
        return;
    }
    let site = Site::make().await;
    let disk = Disk::of(8 * 1024 * 1024);
    let to = disk.path("bk").to_str().unwrap().to_owned();
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("first", "1"), "\"first\"").await, StatusCode::CREATED);
    let take = || site.command(&["--addr", &served.url, "backup", "--to", &to, "--dir", "store"]).output().unwrap();
    let first = take();
    assert!(first.status.success(), "{}", stderr(&first));
    for number in 0..20 {
        let value = serde_json::json!("x".repeat(60_000)).to_string();
        assert_eq!(site.put_about(&served, "c", (&format!("k{number}"), "1"), &value).await, StatusCode::CREATED);
    }
    fill(&disk.path("ballast"), 500_000);
    let full = take();
    assert_eq!(full.status.code(), Some(1));
    assert!(stderr(&full).contains("disk-full"), "{}", stderr(&full));
    site.ok(&["backup", "verify", "--from", &to]);
    assert!(fs::read_dir(site.path("store/snapshots")).unwrap().next().is_none(), "the snapshot is let go all the same");
    fs::remove_file(disk.path("ballast")).unwrap();
    let again = take();
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(String::from_utf8_lossy(&again.stdout).contains("generation 2"));
    served.stop();
    site.ok(&["restore", "--from", &to, "--dir", "store", "--yes", "--verify"]);
}

/// What a restore has made ready needs no fence at the start behind it; a copy of that, put back behind the start, does.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_restore_has_made_ready_is_so_for_the_start_behind_it_alone() {
    let site = lived().await;
    site.ok(&["restore", "--from", "bk", "--dir", "store", "--yes"]);
    let (data, copy) = (site.path("store/data"), site.path("store/copy"));
    assert!(data.join("RESTORED").exists());
    assert!(std::process::Command::new("cp").arg("-a").arg(&data).arg(&copy).status().unwrap().success());
    let gone_through = async |served: &Served| {
        let (_, trail) = site.send(served, Method::GET, "/v1/tenants/system/audit?limit=1000", &site.operator(), "").await;
        trail.matches("backup.restore").count()
    };
    let served = site.serve(|_| ());
    assert_eq!(site.ready(&served).await, StatusCode::NO_CONTENT, "at once");
    assert!(!data.join("RESTORED").exists());
    assert_eq!(gone_through(&served).await, 1);
    served.stop();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&copy, &data).unwrap();
    let served = site.serve(|_| ());
    until("it serves", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!(gone_through(&served).await, 2, "it went through the fence");
    served.stop();
}
