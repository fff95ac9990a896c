//! Keeps files that a server deletes: a second name for each, made while it runs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use crate::site::files_below;

/// Looks for new files until it is dropped.
pub(crate) struct Keeper {
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<usize>>,
}

impl Keeper {
    /// Links every file that appears below `dirs` into `kept`, on the same file system.
    pub(crate) fn start(dirs: Vec<PathBuf>, kept: PathBuf) -> Self {
        fs::create_dir_all(&kept).unwrap();
        let (end, ended) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut known = BTreeSet::new();
            loop {
                for dir in &dirs {
                    keep(dir, &kept, &mut known);
                }
                if ended.recv_timeout(Duration::from_millis(2)) != Err(RecvTimeoutError::Timeout) {
                    return known.len();
                }
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }

    /// How many files it kept.
    pub(crate) fn stop(mut self) -> usize {
        drop(self.end.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

fn keep(dir: &Path, kept: &Path, known: &mut BTreeSet<u64>) {
    for file in files_below(dir) {
        let Ok(inode) = fs::symlink_metadata(&file).map(|meta| meta.ino()) else { continue };
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if known.insert(inode) && fs::hard_link(&file, kept.join(format!("{inode}-{name}"))).is_err() {
            known.remove(&inode);
        }
    }
}
