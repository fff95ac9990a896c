//! Every byte that was ever in a file. Each file of the store and the mirror gets a second link where it is first seen, so that
//! what the engine deletes or replaces by rename stays; it appends, and changes no byte that it wrote. What is overwritten in
//! place, custody and the tail of a mirror that a crash has torn, is copied before.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::vault::keys::testing::temp_dir;

/// The files of one disk, as they ever were.
pub(super) struct Kept {
    dir: tempfile::TempDir,
    /// Names of the files that have a second link, by inode: the link keeps its number from being given again.
    links: Mutex<HashMap<u64, String>>,
    copies: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { dir: temp_dir(), links: Mutex::default(), copies: Mutex::default() }
    }

    /// Gives every file below `root` that has none a second link.
    pub(super) fn look(&self, root: &Path) {
        let mut links = self.links.lock().unwrap();
        let mut dirs = vec![root.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                // What goes away in between was not there for long: the engine's files hold rows of commits that are in others.
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() {
                    dirs.push(entry.path());
                } else if !links.contains_key(&meta.ino()) && fs::hard_link(entry.path(), self.link(meta.ino())).is_ok() {
                    let name = entry.path().strip_prefix(root).unwrap_or(&entry.path()).display().to_string();
                    links.insert(meta.ino(), name);
                }
            }
        }
    }

    fn link(&self, inode: u64) -> PathBuf {
        self.dir.path().join(inode.to_string())
    }

    /// Keeps bytes that will be overwritten.
    pub(super) fn copy(&self, name: &str, bytes: &[u8]) {
        self.copies.lock().unwrap().push((name.to_owned(), bytes.to_vec()));
    }

    /// Shows every file, by name, with its bytes: what is linked, then what was copied.
    pub(super) fn each(&self, mut show: impl FnMut(&str, &[u8])) {
        for (inode, name) in self.links.lock().unwrap().iter() {
            show(name, &fs::read(self.link(*inode)).unwrap());
        }
        for (name, bytes) in self.copies.lock().unwrap().iter() {
            show(name, bytes);
        }
    }
}
