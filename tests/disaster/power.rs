//! Power cuts: the process is killed under load, and of every file only what was synced is left.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{join_all, select_all};
use lethe::domain::{Clock as _, SystemClock};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::{
    shim,
    site::{PARTS, Site},
};

const CUTS: u32 = 8;
const WRITERS: u32 = 6;
/// A round takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// All regular files below a directory, by inode.
pub(crate) fn files(dir: &Path, each: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            files(&path, each);
        } else if meta.is_file() {
            each(&path, &meta);
        }
    }
}

/// What a power cut leaves: every file as long as when it was last synced. What was never synced is empty.
pub(crate) fn cut(site: &Site, before: &HashMap<u64, u64>) -> u64 {
    let mut synced = before.clone();
    for line in fs::read_to_string(site.path("keep/synced")).unwrap_or_default().lines() {
        let (inode, len) = line.split_once(' ').unwrap();
        synced.insert(inode.parse().unwrap(), len.parse().unwrap());
    }
    let mut lost = 0;
    for part in PARTS.iter().filter(|part| **part != "keep") {
        files(&site.path(part), &mut |path, meta| {
            let kept = synced.get(&meta.ino()).copied().unwrap_or(0);
            if kept < meta.len() {
                lost += meta.len() - kept;
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(kept).unwrap();
            }
        });
    }
    lost
}

/// What was acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<String, String>>>;

/// Writes until the power is off.
async fn work(site: Arc<Site>, url: String, (seed, round, writer): (u64, u32, u32), acknowledged: Acknowledged, done: watch::Sender<u32>) {
    for number in 0_u32.. {
        let (key, value) = (format!("{round}-{writer}-{number}"), format!("{seed} {writer} {number} ").repeat(20));
        // Each fifth is about somebody new: a commit to the control store goes before it.
        let subject = if number % 5 == 0 { key.clone() } else { "8".into() };
        let request = site.client.put(format!("{url}/v1/tenants/acme/collections/c/records/{key}"));
        let request = request.bearer_auth(site.owner()).header("content-type", "text/plain").header("lethe-subject", subject);
        match request.body(value.clone()).send().await {
            Ok(answer) if answer.status() == StatusCode::CREATED => {
                acknowledged.lock().unwrap().insert(key, value);
                done.send_modify(|done| *done += 1);
            }
            Ok(answer) => assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE),
            // The power is off.
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let site = Arc::new(Site::make().await);
    let mut seed = u64::try_from(SystemClock.now().0).unwrap();
    println!("seed {seed}");
    let acknowledged = Acknowledged::default();
    let mut lost = 0;
    for round in 0..CUTS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let goal = u32::try_from(20 + (seed >> 33) % 150).unwrap();
        // What lies there when the power comes back is on the disk.
        let mut before = HashMap::new();
        for part in PARTS {
            files(&site.path(part), &mut |_, meta| {
                before.insert(meta.ino(), meta.len());
            });
        }
        drop(fs::remove_file(site.path("keep/synced")));
        let served = site.serve(|command| {
            shim::before(command).env("LETHE_SYNCED", site.path("keep/synced"));
        });
        let done = watch::Sender::new(0);
        let tasks = tokio_util::task::TaskTracker::new();
        let work = |writer| work(site.clone(), served.url.clone(), (seed, round, writer), acknowledged.clone(), done.clone());
        let mut writers: Vec<_> = (0..WRITERS).map(|writer| tasks.spawn(work(writer))).collect();
        let mut heard = done.subscribe();
        tokio::select! {
            reached = heard.wait_for(|done| *done >= goal) => drop(reached.unwrap()),
            // None ends by itself while the server is there, unless what it was told was wrong.
            (ended, writer, _) = select_all(&mut writers) => panic!("writer {writer} ended before the power cut: {ended:?}"),
            _ = tokio::time::timeout(PATIENCE, std::future::pending::<()>()) => panic!("{} of {goal} writes in {PATIENCE:?}", *done.borrow()),
        }
        kill_process(Pid::from_child(&served.child), Signal::KILL).unwrap();
        for ended in join_all(writers).await {
            ended.unwrap();
        }
        drop(served);
        lost += cut(&site, &before);

        let served = site.serve(|_| ());
        let acknowledged = acknowledged.lock().unwrap().clone();
        site.holds(&served, &acknowledged).await;
        served.stop();
    }
    println!("{CUTS} power cuts, {} acknowledged writes, {lost} unsynced bytes lost", acknowledged.lock().unwrap().len());
    assert!(lost > 0, "nothing was ever cut");
    site.ok(&["check", "--dir", "store"]);
}
