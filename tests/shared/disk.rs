//! A file system of limited size, which needs the right to mount: see `privilege`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A file system of its own, taken down with the test.
pub(crate) struct Disk {
    dir: TempDir,
}

impl Disk {
    pub(crate) fn of(bytes: u64) -> Self {
        let disk = Self { dir: TempDir::new().unwrap() };
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(disk.dir.path()).output().unwrap();
        assert!(mounted.status.success(), "this test must be able to mount a tmpfs: {}", String::from_utf8_lossy(&mounted.stderr));
        disk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold files open.
        drop(Command::new("umount").arg("-l").arg(self.dir.path()).status());
    }
}

/// Takes all the space that is left but `leave` bytes, also while a server writes beside it.
pub(crate) fn fill(path: &Path, leave: u64) {
    let file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    // Between the measure and the claim another writer may have taken a part: measure again. Half of what a refused claim wanted
    // bounds the rounds, and a last block stays whole.
    let mut at_most = u64::MAX;
    loop {
        let free = rustix::fs::statvfs(path.parent().unwrap()).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(leave).min(at_most);
        if bytes == 0 {
            return;
        }
        let len = file.metadata().unwrap().len();
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), len, bytes) {
            Ok(()) => at_most = u64::MAX,
            Err(rustix::io::Errno::NOSPC) => at_most = bytes / 2,
            Err(error) => panic!("fallocate of {bytes} bytes at {len}: {error}"),
        }
    }
}
