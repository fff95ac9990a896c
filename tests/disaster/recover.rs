//! `lethe recover`: what is lost comes back, nothing is written over, and a kill at any of its system calls is harmless.

use std::fs;

use reqwest::StatusCode;

use crate::{
    shim,
    site::{Site, stderr, until},
};

/// A store with records and a certificate in the log.
async fn lived() -> Site {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    for number in 0..20 {
        assert_eq!(site.put(&served, &number.to_string(), "value").await, StatusCode::CREATED);
    }
    served.stop();
    site.keep("today");
    site
}

fn lose(site: &Site, part: &str) {
    match part {
        "mirror" => fs::remove_file(site.path("store-mirror/mirror.log")).unwrap(),
        part => fs::remove_dir_all(site.path(&format!("store/{part}"))).unwrap(),
    }
}

/// A file of an earlier recovery's leavings.
fn aside(site: &Site, dir: &str, prefix: &str) -> Vec<String> {
    let names = fs::read_dir(site.path(dir)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

#[tokio::test]
async fn each_part_is_made_anew_and_all_is_there() {
    let site = lived().await;
    for part in ["control", "mirror", "log"] {
        site.reset("today");
        let whole = site.recover(part, &[]);
        assert_eq!(whole.status.code(), Some(1), "{part} is there: it is not replaced unasked");
        assert!(stderr(&whole).contains("nothing to recover"), "{}", stderr(&whole));
        lose(&site, part);
        let unasked = site.command(&["recover", part, "--dir", &site.text("store")]).output().unwrap();
        assert_eq!(unasked.status.code(), Some(1), "nobody said yes");
        assert!(stderr(&unasked).contains("not confirmed"), "{}", stderr(&unasked));
        let done = site.recover(part, &[]);
        assert!(done.status.success(), "{part}: {}", stderr(&done));
        site.ok(&["check", "--dir", "store"]);
        let served = site.serve(|_| ());
        assert_eq!(site.get(&served, "19").await, (StatusCode::OK, "value".into()));
        assert_eq!(site.put(&served, "new", "value").await, StatusCode::CREATED);
        let locked = site.recover(part, &[]);
        assert!(locked.status.code() == Some(1) && stderr(&locked).contains("store-locked"), "{}", stderr(&locked));
        served.stop();
    }
    for (part, dir, name) in
        [("control", "store", "control.replaced-"), ("mirror", "store-mirror", "mirror.log.replaced-"), ("log", "store", "log.replaced-")]
    {
        site.reset("today");
        let done = site.recover(part, &["--force"]);
        assert!(done.status.success(), "{part}: {}", stderr(&done));
        assert_eq!(aside(&site, dir, name).len(), 1, "the old {part} lies aside");
        site.ok(&["check", "--dir", "store"]);
    }
}

#[tokio::test]
async fn a_recovery_is_refused_from_an_older_mirror_or_journal() {
    let site = Site::make().await;
    site.keep("yesterday");
    let served = site.serve(|_| ());
    assert_eq!(site.put(&served, "1", "value").await, StatusCode::CREATED);
    served.stop();
    lose(&site, "control");
    site.put_back("yesterday", "store-mirror");
    let refused = site.recover("control", &[]);
    assert!(refused.status.code() == Some(1) && stderr(&refused).contains("old copy"), "{}", stderr(&refused));
    assert!(!site.path("store/control").exists(), "a refused recovery makes nothing");
}

/// As docs/operations.md tells it.
#[tokio::test]
async fn a_lost_directory_comes_back_from_a_backup_of_data_mirror_and_custody() {
    let site = Site::make().await;
    let served = site.serve(|_| ());
    assert_eq!(site.put(&served, "1", "yesterday").await, StatusCode::CREATED);
    served.stop();
    site.keep("yesterday");
    let served = site.serve(|_| ());
    assert_eq!(site.put(&served, "2", "today").await, StatusCode::CREATED);
    served.stop();
    let checkpoint = fs::read(site.path("store/log/checkpoint")).unwrap();
    site.keep("today");
    fs::remove_dir_all(site.path("store")).unwrap();
    for file in ["lethe.toml", "signing.key", "signing.pub", "data"] {
        site.put_back("yesterday", &format!("store/{file}"));
    }
    fs::write(site.path("store/format"), "1\n").unwrap();
    for part in ["control", "log"] {
        let done = site.recover(part, &[]);
        assert!(done.status.success(), "{part}: {}", stderr(&done));
    }
    assert_eq!(fs::read(site.path("store/log/checkpoint")).unwrap(), checkpoint);
    let served = site.serve(|_| ());
    // Data that a hand has put back is behind a fence first.
    until("it is ready", async || site.ready(&served).await == StatusCode::NO_CONTENT).await;
    assert_eq!(site.get(&served, "1").await, (StatusCode::OK, "yesterday".into()));
    assert_eq!(site.get(&served, "2").await.0, StatusCode::NOT_FOUND);
    served.stop();
    site.ok(&["check", "--dir", "store"]);
}

#[tokio::test]
async fn a_kill_at_any_step_of_a_recovery_is_harmless() {
    let site = lived().await;
    let top = site.text("");
    #[expect(clippy::disallowed_methods, reason = "make proof asks for every step so")]
    let stride = if std::env::var_os("LETHE_PROOF").is_some() { 1 } else { 12 };
    let mut kills = 0;
    for part in ["control", "mirror", "log"] {
        let run = |at: u64| {
            let mut command = site.command(&["recover", part, "--yes", "--force", "--dir", &site.text("store")]);
            shim::before(&mut command).env("LETHE_KILL_AT", at.to_string()).env("LETHE_KILL_BELOW", &top);
            command.env("LETHE_COUNT", site.path("keep/count")).output().unwrap()
        };
        site.reset("today");
        fs::write(site.path("keep/count"), "").unwrap();
        let done = run(0);
        assert!(done.status.success(), "{}", stderr(&done));
        let steps = fs::metadata(site.path("keep/count")).unwrap().len();
        assert!(steps > 5, "{part}: {steps} steps");
        // All of the last steps, where the parts change places, and some before.
        for at in (1..=steps).filter(|at| at % stride == 0 || at + 12 > steps) {
            site.reset("today");
            let killed = run(at);
            if killed.status.success() {
                // Threads of the engine differ in how often they write.
                continue;
            }
            assert_eq!(killed.status.code(), None, "{}", stderr(&killed));
            kills += 1;
            let checked = site.command(&["check", "--dir", "store"]).output().unwrap();
            if !checked.status.success() {
                assert!(
                    stderr(&checked).contains("-missing") || stderr(&checked).contains("log-shorter"),
                    "{part} at {at}: {}",
                    stderr(&checked)
                );
                let again = site.recover(part, &[]);
                assert!(again.status.success(), "{part} at {at}: {}", stderr(&again));
                site.ok(&["check", "--dir", "store"]);
            }
        }
        println!("recover {part}: {steps} steps");
    }
    println!("{kills} kills");
    assert!(kills > 20, "{kills}");
    let served = site.serve(|_| ());
    assert_eq!(site.get(&served, "19").await, (StatusCode::OK, "value".into()));
}
