//! Copying files of this machine by what they hold. Each is read once, and hashed on the way; it has its name when all of it is on disk.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest as _, Sha256};

use super::BackupError;

/// Bytes of one read.
const CHUNK: usize = 1024 * 1024;

/// Told of bytes as they are done.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// SHA-256 of a file, and its length.
pub(super) fn digest(path: &Path, progress: Progress<'_>) -> Result<(String, u64), BackupError> {
    pass(path, None, progress)
}

/// Reads a file to its end, hashing it and writing it on.
fn pass(from: &Path, mut to: Option<(&Path, &mut fs::File)>, progress: Progress<'_>) -> Result<(String, u64), BackupError> {
    let mut file = fs::File::open(from).map_err(|error| BackupError::at(from, error))?;
    let (mut hash, mut len, mut chunk) = (Sha256::new(), 0_u64, vec![0; CHUNK]);
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((hex::encode(hash.finalize()), len)),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(BackupError::at(from, error)),
        };
        let bytes = chunk.get(..read).unwrap_or_default();
        hash.update(bytes);
        if let Some((path, file)) = &mut to {
            file.write_all(bytes).map_err(|error| BackupError::at(path, error))?;
        }
        len = len.saturating_add(read as u64);
        progress(read as u64);
    }
}

/// Copies a file to `fresh`, durably; its SHA-256 and length. On a failure nothing is left there.
pub(super) fn copy(from: &Path, fresh: &Path, progress: Progress<'_>) -> Result<(String, u64), BackupError> {
    let copied = || {
        let to = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(fresh);
        let mut to = to.map_err(|error| BackupError::at(fresh, error))?;
        let copied = pass(from, Some((fresh, &mut to)), progress)?;
        to.sync_all().map_err(|error| BackupError::at(fresh, error))?;
        Ok(copied)
    };
    copied().inspect_err(|_| drop(fs::remove_file(fresh)))
}

/// Does `work` for every item, `at_a_time` of them at a time; what they gave, in the order of the items. After a failure no further one
/// begins.
pub(super) fn for_all<T: Sync, R: Send>(
    at_a_time: usize,
    items: &[T],
    work: impl Fn(usize, &T) -> Result<R, BackupError> + Sync,
) -> Result<Vec<R>, BackupError> {
    let (next, failed) = (Mutex::new(items.iter().enumerate()), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, Result<R, BackupError>)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.min(items.len()) {
            scope.spawn(|| {
                while !failed.load(Ordering::Acquire) {
                    let Some((at, item)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
                    let result = work(at, item);
                    failed.fetch_or(result.is_err(), Ordering::AcqRel);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
