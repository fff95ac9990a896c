//! Further copies of the control store: brought along by the server or by a command, confirmed before an epoch ends, and what a lost
//! store comes back from. A copy that is not of today is refused by name.

use std::{fs, os::unix::fs::MetadataExt as _};

use reqwest::{Method, StatusCode};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::CapabilitySet,
};
use serde_json::Value;

use crate::{
    backups_cut::{cut, tried},
    disk::{Disk, fill},
    privilege, shim,
    site::{Served, Site, code, copy, stderr, until},
};

impl Site {
    /// Begins copies and has the server bring them along.
    fn with_copies(&self, copies: &[(&str, bool)]) {
        let mut places = Vec::new();
        for (name, confirm) in copies {
            self.ship(name);
            places.push(format!("{{dir = {:?}, confirm = {confirm}}}", self.text(name)));
        }
        let settings = fs::read_to_string(self.path("store/lethe.toml")).unwrap();
        let copies = places.join(", ");
        fs::write(self.path("store/lethe.toml"), format!("{settings}\n[control]\ncopies = [{copies}]\n")).unwrap();
    }

    /// Brings a copy along from outside the server; what the command says of it.
    fn ship(&self, to: &str) -> Value {
        self.json(&["control", "ship", "--to", &self.text(to), "--dir", "store"])
    }

    fn is_level(&self, name: &str) -> bool {
        ["mirror.log", "log.journal"].iter().all(|file| {
            let of = |dir: &str| fs::read(self.path(dir).join(file)).unwrap();
            of(name) == of("store-mirror")
        })
    }

    async fn collection(&self, served: &Served, name: &str) {
        let path = format!("/v1/tenants/acme/collections/{name}");
        let made = self.send(served, Method::PUT, &path, &self.owner(), r#"{"shred_unit": "subject"}"#).await;
        assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    }

    fn not_recovered(&self, more: &[&str]) -> String {
        let refused = self.recover("control", more);
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        stderr(&refused)
    }

    /// What the doctor says of copies.
    fn examined(&self) -> Vec<Value> {
        let output = self.command(&["--format", "json", "doctor", "--dir", "store"]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|found| found["check"] == "copies").collect()
    }
}

/// The disks of the store and of its mirror are lost as a whole: as docs/operations.md tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_lost_with_its_mirror_comes_back_from_a_copy() {
    let site = Site::make().await;
    site.with_copies(&[("copy", true), ("other", false)]);
    let served = site.serve(|_| ());
    for (key, subject) in [("one", "1"), ("two", "2")] {
        assert_eq!(site.put_about(&served, "c", (key, subject), "\"then\"").await, StatusCode::CREATED);
    }
    site.back_up(Some(&served));
    site.shredded(&served, "1").await;
    site.collection(&served, "late").await;
    // One that the server brings along is not for anybody else; others are.
    let told = site.refused(&["control", "ship", "--to", "copy", "--dir", "store"]);
    assert!(told.contains("store-locked"), "{told}");
    assert!(site.ship("third")["moved_bytes"].as_u64() > Some(0));
    served.stop();
    assert!(site.is_level("copy") && site.is_level("other"), "at its end a server brings them all along");
    let again = site.ship("third");
    assert!(site.is_level("third") && again["epoch"].as_u64() > Some(1), "{again}");
    assert_eq!(site.ship("third")["moved_bytes"].as_u64(), Some(0));
    // What a rehearsal does to its own control store is in no copy.
    site.ok(&["backup", "rehearse", "--from", "bk", "--dir", "store"]);
    assert!(site.is_level("copy") && site.is_level("other"));
    let told = site.not_recovered(&["--from", "copy"]);
    assert!(told.contains("from the mirror"), "it is whole: {told}");

    site.keep("today");
    let checkpoint = fs::read(site.path("store/log/checkpoint")).unwrap();
    for lost in ["store", "store-mirror"] {
        fs::remove_dir_all(site.path(lost)).unwrap();
    }
    for file in ["lethe.toml", "signing.key", "signing.pub"] {
        site.put_back("today", &format!("store/{file}"));
    }
    fs::write(site.path("store/format"), "1\n").unwrap();
    let as_of = format!("as of commit {}", again["control_seq"]);
    for (part, more) in [("control", &["--from", "copy"][..]), ("mirror", &[]), ("log", &["--from", "copy"])] {
        let done = site.recover(part, more);
        assert!(done.status.success(), "{part}: {}", stderr(&done));
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(part == "log" || told.contains(&as_of), "what came behind that is lost: {told}");
    }
    assert_eq!(fs::read(site.path("store/log/checkpoint")).unwrap(), checkpoint);
    site.restore(&["--verify"]);
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "one").await.0, StatusCode::GONE, "what was shredded stays so");
    assert_eq!(site.get(&served, "two").await, (StatusCode::OK, "\"then\"".into()));
    let (status, _) = site.send(&served, Method::GET, "/v1/tenants/acme/collections/late", &site.owner(), "").await;
    assert_eq!(status, StatusCode::OK, "nothing of the control store is lost");
    site.shredded(&served, "2").await;
    served.stop();
    site.ok(&["check", "--dir", "store"]);
    assert!(site.is_level("copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_copy_is_refused_by_name_and_opens_nothing() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put_about(&served, "c", ("one", "1"), "\"then\"").await, StatusCode::CREATED);
    site.ship("stale");
    site.shredded(&served, "1").await;
    site.ship("behind");
    site.collection(&served, "late").await;
    assert_eq!(site.put_about(&served, "c", ("two", "2"), "\"now\"").await, StatusCode::CREATED);
    served.stop();
    site.keep("today");
    let lose = || {
        site.reset("today");
        fs::remove_dir_all(site.path("store/control")).unwrap();
        fs::remove_dir_all(site.path("store-mirror")).unwrap();
    };

    // Of an epoch whose root is destroyed: by no means.
    for more in [&["--from", "stale"][..], &["--from", "stale", "--force"]] {
        lose();
        let told = site.not_recovered(more);
        assert!(told.contains("tree-behind-custody") && told.contains("stale"), "{told}");
        assert!(!site.path("store/control").exists(), "a refused recovery makes nothing");
    }
    // Not even by hand, in the place of the mirror.
    lose();
    copy(&site.path("stale"), &site.path("store-mirror"));
    let forced = site.recover("control", &["--force"]);
    assert!(forced.status.success(), "{}", stderr(&forced));
    for arguments in [&["serve", "--listen", "127.0.0.1:0", "--dir", "store"][..], &["check", "--dir", "store"]] {
        let told = site.refused(arguments);
        assert!(told.contains("tree-behind-custody") || told.contains("control-behind-data"), "{told}");
    }

    // Of this epoch, and behind the data: not unasked, and not under that data.
    lose();
    let told = site.not_recovered(&["--from", "behind"]);
    assert!(told.contains("old copy"), "{told}");
    let forced = site.recover("control", &["--from", "behind", "--force"]);
    assert!(forced.status.success(), "{}", stderr(&forced));
    let told = site.recover("mirror", &[]);
    assert!(!told.status.success() && stderr(&told).contains("control-behind-data"), "{}", stderr(&told));

    // Another store's, nothing at all, and what is there and whole.
    let other = Site::make().await;
    other.ship("copy");
    lose();
    for (from, says) in [(other.text("copy"), "another store"), (site.text("nowhere"), "mirror-missing")] {
        let told = site.not_recovered(&["--from", &from, "--force"]);
        assert!(told.contains(says), "{told}");
    }
    site.reset("today");
    let told = site.not_recovered(&["--from", "behind"]);
    assert!(told.contains("from the mirror"), "{told}");
    for to in ["store/copy", "store-mirror/copy", "a"] {
        let told = site.refused(&["control", "ship", "--to", to, "--dir", "store"]);
        assert!(told.contains("backup-inside"), "{told}");
    }
    site.ok(&["check", "--dir", "store"]);
}

/// Control store, mirror, data and log of one moment, put back together under custody of the same epoch: of these nothing else could
/// tell that they are old.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_store_is_refused_while_a_copy_is_newer_and_today_comes_back_from_it() {
    let site = Site::make().await;
    site.with_copies(&[("copy", false)]);
    site.serve(|_| ()).stop();
    site.keep("yesterday");
    let served = site.serve(|_| ());
    site.collection(&served, "today").await;
    served.stop();
    site.reset("yesterday");
    let told = site.refused(&["serve", "--listen", "127.0.0.1:0", "--dir", "store"]);
    assert!(told.contains("control-behind-copy") && told.contains("lethe recover control --from"), "{told}");
    let told = site.refused(&["control", "ship", "--to", "copy", "--dir", "store"]);
    assert!(told.contains("control-behind-copy"), "the newer one is not written over: {told}");
    let examined = site.examined();
    assert!(examined[0]["verdict"] == "bad" && examined[0]["change"].as_str().unwrap().contains("--from"), "{examined:?}");
    for part in ["control", "log"] {
        let done = site.recover(part, &["--from", "copy"]);
        assert!(done.status.success(), "{part}: {}", stderr(&done));
    }
    let served = site.serve(|_| ());
    until("older data is ready", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    let (status, _) = site.send(&served, Method::GET, "/v1/tenants/acme/collections/today", &site.owner(), "").await;
    assert_eq!(status, StatusCode::OK);
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}

/// Which copy it is that fails.
async fn failing(site: &Site, served: &Served) -> bool {
    let (status, told) = site.send(served, Method::GET, "/health/ready", "", "").await;
    status == StatusCode::SERVICE_UNAVAILABLE && code(&told) == "unavailable" && told.contains("copy 2")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_fails_holds_up_the_end_of_an_epoch_and_nothing_else() {
    let site = Site::make().await;
    site.with_copies(&[("other", false), ("copy", true)]);
    let faults = site.path("keep/faults");
    // The disk fails before the epoch begins, or between its pages and the destruction of the old root.
    for (round, (fault, roots)) in
        [(format!("sync {}\n", site.text("copy")), [1, 1]), (format!("sync {} {}\n", site.text("copy"), site.text("a/")), [2, 2])]
            .into_iter()
            .enumerate()
    {
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_FAULTS", &faults);
        });
        let (mine, theirs) = (format!("{round}-mine"), format!("{round}-theirs"));
        for subject in [&mine, &theirs] {
            assert_eq!(site.put_about(&served, "c", (subject, subject), "\"v\"").await, StatusCode::CREATED);
        }
        fs::write(&faults, fault).unwrap();
        let (status, told) = site.shred(&served, &theirs, 3).await;
        // Behind the pages, what is not in memory cannot be read until the epoch is over.
        assert!(status == StatusCode::ACCEPTED || (status == StatusCode::SERVICE_UNAVAILABLE && roots == [2, 2]), "{status} {told}");
        assert!(!told.contains("\"done\""), "{told}");
        assert_eq!(site.roots(), roots, "an old root went, and the copy does not have what survives without it");
        until("readiness names the copy", async || failing(&site, &served).await).await;
        if roots == [1, 1] {
            assert_eq!(site.get(&served, &theirs).await.0, StatusCode::GONE, "from the order on");
            assert_eq!(site.get(&served, &mine).await.0, StatusCode::OK);
            assert_eq!(site.put_about(&served, "c", (&format!("{round}-new"), &mine), "\"v\"").await, StatusCode::CREATED);
            let (_, metrics) = site.send(&served, Method::GET, "/metrics", &site.operator(), "").await;
            assert!(metrics.contains("lethe_control_copy_failing{copy=\"2\"} 1"), "{metrics}");
        }
        fs::remove_file(&faults).unwrap();
        site.shredded(&served, &theirs).await;
        until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
        assert_eq!(site.get(&served, &mine).await.0, StatusCode::OK);
        assert_eq!(site.get(&served, &theirs).await.0, StatusCode::GONE);
        served.stop();
        assert_eq!(site.roots(), [1, 1]);
        assert!(site.is_level("copy") && site.is_level("other"));
    }
    let examined = site.examined();
    // On the volume of the store, as all of a test is.
    assert!(examined.len() == 2 && examined.iter().all(|found| found["verdict"] == "warning"), "{examined:?}");
    site.ok(&["check", "--dir", "store"]);
}

/// As a network mount does whose server is gone: no call to it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_hangs_stops_neither_new_persons_nor_the_end_of_a_server_nor_its_start() {
    let site = Site::make().await;
    site.with_copies(&[("other", false), ("copy", true)]);
    let faults = site.path("keep/faults");
    let serve = || {
        site.serve(|command| {
            shim::before(command).env("LETHE_FAULTS", &faults);
        })
    };
    let mut served = serve();
    assert_eq!(site.put_about(&served, "c", ("theirs", "8"), "\"v\"").await, StatusCode::CREATED);
    fs::write(&faults, format!("stall {}\n", site.text("copy"))).unwrap();
    let (status, told) = site.shred(&served, "8", 1).await;
    assert!(status == StatusCode::ACCEPTED && !told.contains("\"done\""), "{status} {told}");
    until("readiness names the copy", async || failing(&site, &served).await).await;
    assert_eq!(site.get(&served, "theirs").await.0, StatusCode::GONE, "from the order on");
    // More than one block of units has.
    for number in 0..70 {
        let put = site.put_about(&served, "c", (&format!("new-{number}"), &format!("p{number}")), "\"v\"").await;
        assert_eq!(put, StatusCode::CREATED, "{number}");
    }
    for _ in 0..2 {
        kill_process(Pid::from_child(&served.child), Signal::TERM).unwrap();
        until("the server has ended", async || served.child.try_wait().unwrap().is_some()).await;
        assert!(served.child.wait().unwrap().success());
        served = serve();
    }
    assert_eq!(site.get(&served, "new-69").await.0, StatusCode::OK);
    assert_eq!(site.get(&served, "theirs").await.0, StatusCode::GONE);
    fs::remove_file(&faults).unwrap();
    site.shredded(&served, "8").await;
    until("it is ready again", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    served.stop();
    assert!(site.is_level("copy") && site.is_level("other"));
    site.ok(&["check", "--dir", "store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_was_cut_short_waits_at_the_start_for_the_copy_that_is_to_confirm_it() {
    let site = Site::make().await;
    site.with_copies(&[("copy", true)]);
    let faults = site.path("keep/faults");
    let served = site.serve(|command| {
        shim::before(command).env("LETHE_FAULTS", &faults);
    });
    assert_eq!(site.put_about(&served, "c", ("theirs", "8"), "\"v\"").await, StatusCode::CREATED);
    fs::write(&faults, format!("sync {} {}\n", site.text("copy"), site.text("a/"))).unwrap();
    let (status, told) = site.shred(&served, "8", 2).await;
    assert!(status == StatusCode::ACCEPTED || status == StatusCode::SERVICE_UNAVAILABLE, "{status} {told}");
    assert!(!told.contains("\"done\""), "{told}");
    drop(served);
    fs::remove_file(&faults).unwrap();
    assert_eq!(site.roots(), [2, 2]);
    fs::rename(site.path("copy"), site.path("aside")).unwrap();
    let told = site.refused(&["serve", "--listen", "127.0.0.1:0", "--dir", "store"]);
    assert!(told.contains("copy-missing") && told.contains("copy 1"), "{told}");
    assert_eq!(site.roots(), [2, 2], "a refused start destroys nothing");
    assert_eq!(site.examined()[0]["verdict"], "bad");
    fs::rename(site.path("aside"), site.path("copy")).unwrap();
    let there = ["copy/mirror.log", "copy/log.journal"].map(|file| fs::metadata(site.path(file)).unwrap());
    let synced = site.path("keep/synced");
    let served = site.serve(|command| {
        shim::before(command).env("LETHE_SYNCED", &synced);
    });
    assert_eq!(site.roots(), [1, 1]);
    // What it found there was in memory alone, perhaps, and was on the copy's disk before the old root went.
    let synced = fs::read_to_string(&synced).unwrap();
    let synced: Vec<(u64, u64)> = synced
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(inode, len)| (inode.parse().unwrap(), len.parse().unwrap()))
        .collect();
    let custody = fs::metadata(site.path("a/root")).unwrap().ino();
    let went = synced.iter().position(|(inode, _)| *inode == custody).unwrap();
    for meta in there {
        assert!(synced[..went].iter().any(|(inode, len)| *inode == meta.ino() && *len >= meta.len()), "{synced:?}: {meta:?}");
    }
    assert_eq!(site.get(&served, "theirs").await.0, StatusCode::GONE);
    site.shredded(&served, "9").await;
    served.stop();
    assert!(site.is_level("copy"));
}

/// What a failed sync has left is read back like anything else, and may be on no disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_sync_of_a_copy_has_failed_on_is_written_anew() {
    let site = Site::make().await;
    site.with_copies(&[("copy", false)]);
    let faults = site.path("keep/faults");
    let served = site.serve(|command| {
        shim::before(command).env("LETHE_FAULTS", &faults);
    });
    let tells = async |line: &str| site.send(&served, Method::GET, "/metrics", &site.operator(), "").await.1.contains(line);
    for (person, file) in [("1", "copy/mirror.log"), ("2", "copy/log.journal")] {
        let inode = || fs::metadata(site.path(file)).unwrap().ino();
        let before = inode();
        fs::write(&faults, format!("sync {}\n", site.text(file))).unwrap();
        site.shredded(&served, person).await;
        until("the copy fails", async || tells("lethe_control_copy_failing{copy=\"1\"} 1").await).await;
        assert_eq!(inode(), before);
        fs::remove_file(&faults).unwrap();
        until("it is brought along", async || tells("lethe_control_copy_failing{copy=\"1\"} 0").await).await;
        assert_ne!(inode(), before, "{file} was trusted");
    }
    served.stop();
    assert!(site.is_level("copy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_to_be_written_anew_on_a_full_disk_leaves_nothing_there_and_waits_for_room() {
    let test = "shipped::a_copy_that_is_to_be_written_anew_on_a_full_disk_leaves_nothing_there_and_waits_for_room";
    if !privilege::held(CapabilitySet::SYS_ADMIN, test) {
        return;
    }
    let (disk, site) = (Disk::of(8 << 20), Site::make().await);
    let copy = disk.path("copy");
    site.with_copies(&[(copy.to_str().unwrap(), false)]);
    let mut bytes = fs::read(copy.join("mirror.log")).unwrap();
    bytes[200] ^= 1;
    fs::write(copy.join("mirror.log"), bytes).unwrap();
    fill(&disk.path("ballast"), 0);
    let served = site.serve(|_| ());
    let tells = async |line: &str| site.send(&served, Method::GET, "/metrics", &site.operator(), "").await.1.contains(line);
    until("the copy fails", async || tells("lethe_control_copy_failing{copy=\"1\"} 1").await).await;
    site.shredded(&served, "1").await;
    assert!(!copy.join("mirror.new").exists());
    fs::remove_file(disk.path("ballast")).unwrap();
    until("it is brought along", async || tells("lethe_control_copy_failing{copy=\"1\"} 0").await).await;
    served.stop();
    assert!(site.is_level(copy.to_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_shipping_leaves_a_copy_that_opens_and_is_gone_on_with() {
    let site = Site::make().await;
    site.ship("copy");
    let served = site.serve(|_| ());
    site.shredded(&served, "1").await;
    served.stop();
    // Once bytes are appended to it, once it is written anew.
    copy(&site.path("copy"), &site.path("kept/appended"));
    copy(&site.path("copy"), &site.path("kept/anew"));
    let bent = site.path("kept/anew/mirror.log");
    let mut bytes = fs::read(&bent).unwrap();
    bytes[200] ^= 1;
    fs::write(&bent, bytes).unwrap();
    let arguments = ["control", "ship", "--to", &site.text("copy"), "--dir", "store"];
    let mut kills = 0;
    for kind in ["appended", "anew", "begun"] {
        let reset = || {
            fs::remove_dir_all(site.path("copy")).unwrap();
            if kind == "begun" {
                fs::create_dir(site.path("copy")).unwrap();
            } else {
                copy(&site.path(&format!("kept/{kind}")), &site.path("copy"));
            }
        };
        reset();
        let (done, steps) = cut(&site, &arguments, &site.text("copy"), 0);
        assert!(done.status.success() && steps > 2, "{kind}: {steps} steps: {}", stderr(&done));
        for at in tried(steps) {
            reset();
            let (killed, _) = cut(&site, &arguments, &site.text("copy"), at);
            assert_eq!(killed.status.code(), None, "{kind} at {at}: {}", stderr(&killed));
            kills += 1;
            site.ship("copy");
            assert!(site.is_level("copy"), "{kind} at {at}");
        }
    }
    assert!(kills > 8, "{kills}");
}
