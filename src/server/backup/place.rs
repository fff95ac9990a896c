//! A directory of backups: `format`, `lock`, `files/SHA256`, `generations/N.json`.
//!
//! A file of a generation is complete and synced before it has its name, and a manifest is written when all of its files have: a
//! process that is killed at any moment leaves earlier generations whole, and files without a generation, which the next one uses.

use std::{
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    BackupError,
    manifest::{FORMAT, Manifest},
};
use crate::domain::StoreId;

/// A directory of backups of one store.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    store: String,
    /// Held by whoever changes it.
    _lock: Option<fs::File>,
}

impl Place {
    /// Opens a directory to read from.
    ///
    /// # Errors
    /// [`BackupError::Missing`], [`BackupError::UnknownFormat`].
    pub fn open(dir: &Path) -> Result<Self, BackupError> {
        let path = dir.join("format");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(BackupError::Missing(dir.to_owned())),
            Err(error) => return Err(BackupError::at(&path, error)),
        };
        let mut lines = text.lines();
        let (format, store) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if format != FORMAT.to_string() {
            return Err(BackupError::UnknownFormat { path, found: format.chars().take(32).collect(), known: FORMAT });
        }
        Ok(Self { dir: dir.to_owned(), store: store.to_owned(), _lock: None })
    }

    /// The same, to change it.
    ///
    /// # Errors
    /// [`BackupError::Locked`] besides.
    pub fn open_to_change(dir: &Path) -> Result<Self, BackupError> {
        let place = Self::open(dir)?;
        Ok(Self { _lock: Some(lock(dir)?), ..place })
    }

    /// The same for backups of a store, made where it is not there yet.
    ///
    /// # Errors
    /// [`BackupError::NotEmpty`] if something else is in it; [`BackupError::Foreign`].
    pub fn of_store(dir: &Path, store: StoreId) -> Result<Self, BackupError> {
        let format = dir.join("format");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| BackupError::at(dir, error))?;
        if !format.try_exists().map_err(|error| BackupError::at(&format, error))? {
            let entries =
                fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|error| BackupError::at(dir, error))?;
            let ours = |name: &std::ffi::OsStr| ["lock", "format.new", "files", "generations"].iter().any(|known| name == *known);
            if entries.iter().any(|entry| !ours(&entry.file_name())) {
                return Err(BackupError::NotEmpty(dir.to_owned()));
            }
        }
        let held = lock(dir)?;
        for part in ["files", "generations"] {
            let part = dir.join(part);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&part).map_err(|error| BackupError::at(&part, error))?;
        }
        if !format.try_exists().map_err(|error| BackupError::at(&format, error))? {
            write_new(&format, format!("{FORMAT}\n{store}\n").as_bytes())?;
        }
        let place = Self { _lock: Some(held), ..Self::open(dir)? };
        place.belongs_to(store)?;
        Ok(place)
    }

    /// Whether its backups are of this store.
    ///
    /// # Errors
    /// [`BackupError::Foreign`].
    pub fn belongs_to(&self, store: StoreId) -> Result<(), BackupError> {
        let wanted = store.to_string();
        if self.store == wanted { Ok(()) } else { Err(BackupError::Foreign { dir: self.dir.clone(), found: self.store.clone(), wanted }) }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the files are.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Where a file lies, by its SHA-256.
    #[must_use]
    pub fn file(&self, sha256: &str) -> PathBuf {
        self.files().join(sha256)
    }

    fn manifest_path(&self, generation: u64) -> PathBuf {
        self.dir.join("generations").join(format!("{generation:08}.json"))
    }

    /// The numbers of all generations, the oldest first.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub fn generations(&self) -> Result<Vec<u64>, BackupError> {
        let dir = self.dir.join("generations");
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|error| BackupError::at(&dir, error))? {
            let name = entry.map_err(|error| BackupError::at(&dir, error))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A generation's manifest; the newest where none is named.
    ///
    /// # Errors
    /// [`BackupError::NoGeneration`], [`BackupError::Damaged`], [`BackupError::Foreign`].
    pub fn manifest(&self, generation: Option<u64>) -> Result<Manifest, BackupError> {
        let newest = || self.generations().map(|numbers| numbers.last().copied());
        let number = match generation {
            Some(number) => number,
            None => newest()?.ok_or_else(|| BackupError::Missing(self.dir.clone()))?,
        };
        let path = self.manifest_path(number);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(BackupError::NoGeneration { dir: self.dir.clone(), generation: number, newest: newest()?.unwrap_or(0) });
            }
            Err(error) => return Err(BackupError::at(&path, error)),
        };
        let damaged = |detail| BackupError::Damaged { path: path.clone(), detail };
        let manifest = Manifest::parse(&text).map_err(damaged)?;
        if manifest.generation != number {
            return Err(damaged(format!("it is that of generation {}", manifest.generation)));
        }
        if manifest.store != self.store {
            return Err(BackupError::Foreign { dir: path, found: manifest.store, wanted: self.store.clone() });
        }
        Ok(manifest)
    }

    /// Writes a generation's manifest, which makes it one.
    pub(super) fn add(&self, manifest: &Manifest) -> Result<(), BackupError> {
        sync_dir(&self.files())?;
        write_new(&self.manifest_path(manifest.generation), manifest.to_text()?.as_bytes())
    }

    /// Removes a generation's manifest, not its files.
    pub(super) fn remove(&self, generation: u64) -> Result<(), BackupError> {
        let path = self.manifest_path(generation);
        fs::remove_file(&path).map_err(|error| BackupError::at(&path, error))?;
        sync_dir(&self.dir.join("generations"))
    }
}

fn lock(dir: &Path) -> Result<fs::File, BackupError> {
    let path = dir.join("lock");
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| BackupError::at(&path, error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BackupError::Locked(dir.to_owned())),
        Err(error) => Err(BackupError::at(&path, error.into())),
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

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| BackupError::at(dir, error))
}
