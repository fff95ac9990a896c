//! A directory as the place of backups.
//!
//! A file is complete and synced before it has its name, and what relies on names is written when they are synced: a process that is
//! killed at any moment, or a power cut, leaves earlier generations whole, and files without a generation, which the next one uses.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    BackupError, Progress, copy,
    storage::{FILES, FORMAT_NAME, GENERATIONS, LOCK_NAME, Storage},
};

/// Files at a time: hashing is slower than a fast disk.
const AT_A_TIME: usize = 4;

/// A directory of backups.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    /// Held by whoever changes it.
    lock: Option<fs::File>,
}

impl Directory {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), lock: None }
    }
}

impl Storage for Directory {
    fn shown(&self, name: &str) -> String {
        if name.is_empty() { self.dir.display().to_string() } else { self.dir.join(name).display().to_string() }
    }

    fn make(&mut self) -> Result<(), BackupError> {
        let (dir, format) = (&self.dir, self.dir.join(FORMAT_NAME));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| BackupError::at(dir, error))?;
        if !format.try_exists().map_err(|error| BackupError::at(&format, error))? {
            let entries =
                fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| BackupError::at(dir, error))?;
            let ours = |name: &std::ffi::OsStr| [LOCK_NAME, "format.new", FILES, GENERATIONS].iter().any(|known| name == *known);
            if entries.iter().any(|entry| !ours(&entry.file_name())) {
                return Err(BackupError::NotEmpty(self.shown("")));
            }
        }
        self.lock()?;
        for part in [FILES, GENERATIONS] {
            let part = self.dir.join(part);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&part).map_err(|error| BackupError::at(&part, error))?;
        }
        remove_torn(&self.dir.join(FILES), "new")
    }

    fn lock(&mut self) -> Result<(), BackupError> {
        let path = self.dir.join(LOCK_NAME);
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|error| BackupError::at(&path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.lock = Some(file),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(BackupError::Locked(self.shown(""))),
            Err(error) => return Err(BackupError::at(&path, error.into())),
        }
        Ok(())
    }

    fn prove(&self) -> Result<(), BackupError> {
        // It lasts as long as the file is open.
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, BackupError> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BackupError::at(&path, error)),
        }
    }

    fn publish(&self, name: &str, bytes: &[u8]) -> Result<bool, BackupError> {
        let path = self.dir.join(name);
        // Whoever writes here holds the lock.
        if path.try_exists().map_err(|error| BackupError::at(&path, error))? {
            return Ok(false);
        }
        write_new(&path, bytes)?;
        Ok(true)
    }

    fn list(&self, part: &str) -> Result<Vec<(String, u64)>, BackupError> {
        let dir = self.dir.join(part);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|error| BackupError::at(&dir, error))? {
            let entry = entry.map_err(|error| BackupError::at(&dir, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                Ok(meta) => found.push((name, meta.len())),
                // Somebody prunes meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(BackupError::at(&entry.path(), error)),
            }
        }
        Ok(found)
    }

    fn remove(&self, part: &str, names: &[String]) -> Result<(), BackupError> {
        let dir = self.dir.join(part);
        for name in names {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(|error| BackupError::at(&path, error))?;
        }
        sync_dir(&dir)
    }

    fn bring(&self, at: usize, from: &Path, _: Option<(String, u64)>, progress: Progress<'_>) -> Result<(String, u64), BackupError> {
        let dir = self.dir.join(FILES);
        let fresh = dir.join(format!("{at}.new"));
        let (sha256, len) = copy::copy(from, &fresh, progress)?;
        let path = dir.join(&sha256);
        fs::rename(&fresh, &path).map_err(|error| BackupError::at(&path, error))?;
        Ok((sha256, len))
    }

    fn fetch(&self, sha256: &str, len: u64, to: Option<&Path>, progress: Progress<'_>) -> Result<Option<(String, u64)>, BackupError> {
        let path = self.dir.join(FILES).join(sha256);
        // What else is wrong with it is found when it is read.
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > len) {
            return Err(BackupError::longer(path.display().to_string(), len));
        }
        let read = match to {
            Some(to) => copy::copy(&path, to, progress),
            None => copy::digest(&path, progress),
        };
        match read {
            Err(BackupError::File { path: at, source }) if at == path && source.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn settle(&self) -> Result<(), BackupError> {
        sync_dir(&self.dir.join(FILES))
    }

    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }
}

/// Writes a file that is there whole and durable, or not at all. What a crash left beside it is written over.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let fresh = path.with_added_extension("new");
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().map_err(|error| {
        // The failure itself matters more than what it leaves.
        drop(fs::remove_file(&fresh));
        BackupError::at(path, error)
    })?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes the half-written files that a run which was cut short has left in a directory: their names end so.
pub(super) fn remove_torn(dir: &Path, extension: &str) -> Result<(), BackupError> {
    for entry in fs::read_dir(dir).map_err(|error| BackupError::at(dir, error))? {
        let path = entry.map_err(|error| BackupError::at(dir, error))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            fs::remove_file(&path).map_err(|error| BackupError::at(&path, error))?;
        }
    }
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| BackupError::at(dir, error))
}
