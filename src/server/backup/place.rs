//! A place of backups of one store: `format`, `files/SHA256`, `generations/N.json`, in whatever storage.
//!
//! A manifest is published when all of its files stay where they are, whatever happens: whoever is killed at any moment leaves earlier
//! generations whole, and files without a generation, which the next one uses.

use std::{collections::HashMap, path::Path};

use super::{
    BackupError, Progress,
    manifest::{FORMAT, Manifest},
    storage::{FILES, FORMAT_NAME, GENERATIONS, Location, Storage},
};
use crate::domain::StoreId;

/// A place of backups of one store.
#[derive(Debug)]
pub struct Place {
    storage: Box<dyn Storage>,
    store: String,
}

impl Place {
    /// Opens a place to read from.
    ///
    /// # Errors
    /// [`BackupError::Missing`], [`BackupError::UnknownFormat`].
    pub fn open(at: &Location) -> Result<Self, BackupError> {
        Self::in_storage(at.open()?)
    }

    /// The same, to change it.
    ///
    /// # Errors
    /// [`BackupError::Locked`] besides.
    pub fn open_to_change(at: &Location) -> Result<Self, BackupError> {
        let mut place = Self::open(at)?;
        place.storage.lock()?;
        Ok(place)
    }

    /// The same for backups of a store, made where it is not there yet.
    ///
    /// # Errors
    /// [`BackupError::NotEmpty`] if something else is in it; [`BackupError::Foreign`].
    pub fn of_store(at: &Location, store: StoreId) -> Result<Self, BackupError> {
        let mut storage = at.open()?;
        storage.make()?;
        if storage.read(FORMAT_NAME)?.is_none() {
            storage.publish(FORMAT_NAME, format!("{FORMAT}\n{store}\n").as_bytes())?;
        }
        let place = Self::in_storage(storage)?;
        place.belongs_to(store)?;
        Ok(place)
    }

    fn in_storage(storage: Box<dyn Storage>) -> Result<Self, BackupError> {
        let Some(text) = storage.read(FORMAT_NAME)? else { return Err(BackupError::Missing(storage.shown(""))) };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let (format, store) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        if format != FORMAT.to_string() {
            let found = format.chars().take(32).collect();
            return Err(BackupError::UnknownFormat { at: storage.shown(FORMAT_NAME), found, known: FORMAT });
        }
        let store = store.to_owned();
        Ok(Self { storage, store })
    }

    /// Whether its backups are of this store.
    ///
    /// # Errors
    /// [`BackupError::Foreign`].
    pub fn belongs_to(&self, store: StoreId) -> Result<(), BackupError> {
        let wanted = store.to_string();
        if self.store == wanted { Ok(()) } else { Err(BackupError::Foreign { at: self.shown(), found: self.store.clone(), wanted }) }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        self.storage.shown("")
    }

    /// Where a file lies, by its SHA-256, for people.
    pub(super) fn shown_file(&self, sha256: &str) -> String {
        self.storage.shown(&format!("{FILES}/{sha256}"))
    }

    /// The numbers of all generations, the oldest first.
    ///
    /// # Errors
    /// [`BackupError::File`], [`BackupError::S3`].
    pub fn generations(&self) -> Result<Vec<u64>, BackupError> {
        let found = self.storage.list(GENERATIONS)?;
        let mut numbers: Vec<u64> = found.iter().filter_map(|(name, _)| name.strip_suffix(".json")?.parse().ok()).collect();
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
            None => newest()?.ok_or_else(|| BackupError::Missing(self.shown()))?,
        };
        let name = manifest_name(number);
        let Some(text) = self.storage.read(&format!("{GENERATIONS}/{name}"))? else {
            return Err(BackupError::NoGeneration { at: self.shown(), generation: number, newest: newest()?.unwrap_or(0) });
        };
        let at = self.storage.shown(&format!("{GENERATIONS}/{name}"));
        let damaged = |detail| BackupError::Damaged { at: at.clone(), detail };
        let manifest = Manifest::parse(&text).map_err(damaged)?;
        if manifest.generation != number {
            return Err(damaged(format!("it is that of generation {}", manifest.generation)));
        }
        if manifest.store != self.store {
            return Err(BackupError::Foreign { at, found: manifest.store, wanted: self.store.clone() });
        }
        Ok(manifest)
    }

    /// Publishes a generation's manifest, which makes it one, when all of its files are there.
    pub(super) fn add(&mut self, manifest: &Manifest) -> Result<(), BackupError> {
        self.storage.settle()?;
        if !fault!("s3-list") {
            self.holds(manifest, &self.files()?.into_iter().collect())?;
        }
        let name = format!("{GENERATIONS}/{}", manifest_name(manifest.generation));
        let text = manifest.to_text()?;
        // Only somebody else, who has come in spite of the lock, can have given the number meanwhile.
        if !self.storage.publish(&name, text.as_bytes())? {
            return Err(BackupError::Locked(self.shown()));
        }
        // Lost before it was written, others may have removed what it relies on; lost later, they saw it.
        let proved = if fault!("s3-prove") { Ok(()) } else { self.storage.prove() };
        match proved {
            Ok(()) => Ok(()),
            Err(lost) => self.settle_again(manifest, &text, lost),
        }
    }

    /// What becomes of a manifest that was published when the lock may have been lost. Without the lock nothing is removed, for it may be all
    /// that there is.
    fn settle_again(&mut self, manifest: &Manifest, text: &str, lost: BackupError) -> Result<(), BackupError> {
        match self.is_kept(manifest, text) {
            Ok(true) => Ok(()),
            Ok(false) => Err(lost),
            Err(why) => Err(BackupError::Unsettled { generation: manifest.generation, why: Box::new(why) }),
        }
    }

    /// Looks under the lock, taken anew, whether a manifest and all of its files are there; removes it where they are not.
    fn is_kept(&mut self, manifest: &Manifest, text: &str) -> Result<bool, BackupError> {
        self.storage.lock()?;
        let name = format!("{GENERATIONS}/{}", manifest_name(manifest.generation));
        if self.storage.read(&name)?.is_none_or(|found| found != text.as_bytes() && !fault!("s3-kept")) {
            return Ok(false);
        }
        let there = self.files()?.into_iter().collect();
        if self.holds(manifest, &there).is_err() || fault!("s3-kept") {
            self.remove(&[manifest.generation])?;
            return Ok(false);
        }
        self.storage.prove()?;
        Ok(true)
    }

    /// Refuses where there is a generation behind the newest that the list names.
    pub(super) fn ends_with(&self, newest: u64) -> Result<(), BackupError> {
        let next = format!("{GENERATIONS}/{}", manifest_name(newest.saturating_add(1)));
        match self.storage.read(&next)? {
            None => Ok(()),
            Some(_) => Err(BackupError::Damaged {
                at: self.storage.shown(&next),
                detail: "it is there, and the list of what is there does not name it: nothing is removed by such a list".into(),
            }),
        }
    }

    /// Refuses where a file that a generation needs is not among those that are there, or has another length.
    pub(super) fn holds(&self, manifest: &Manifest, there: &HashMap<String, u64>) -> Result<(), BackupError> {
        let Some(file) = manifest.files.iter().find(|file| there.get(&file.sha256) != Some(&file.len)) else { return Ok(()) };
        let found =
            there.get(&file.sha256).map_or_else(|| "it is not there".to_owned(), |len| format!("{len} bytes long, not {}", file.len));
        let detail = format!("{found}, and generation {} needs it: take a backup, which brings it again", manifest.generation);
        Err(BackupError::Damaged { at: self.shown_file(&file.sha256), detail })
    }

    /// Removes generations' manifests, not their files.
    pub(super) fn remove(&self, generations: &[u64]) -> Result<(), BackupError> {
        let names: Vec<String> = generations.iter().map(|number| manifest_name(*number)).collect();
        self.storage.remove(GENERATIONS, &names)
    }

    /// Names and lengths of all files, those included that no generation needs.
    pub(super) fn files(&self) -> Result<Vec<(String, u64)>, BackupError> {
        self.storage.list(FILES)
    }

    /// Removes files by their names.
    pub(super) fn remove_files(&self, names: &[String]) -> Result<(), BackupError> {
        self.storage.remove(FILES, names)
    }

    /// Copies a file of this machine there ([`Storage::bring`]).
    pub(super) fn bring(
        &self,
        at: usize,
        from: &Path,
        digest: Option<(String, u64)>,
        progress: Progress<'_>,
    ) -> Result<(String, u64), BackupError> {
        self.storage.bring(at, from, digest, progress)
    }

    /// Reads a file from there ([`Storage::fetch`]).
    pub(super) fn fetch(
        &self,
        sha256: &str,
        len: u64,
        to: Option<&Path>,
        progress: Progress<'_>,
    ) -> Result<Option<(String, u64)>, BackupError> {
        self.storage.fetch(sha256, len, to, progress)
    }

    /// How many files are copied at a time.
    pub(super) fn at_a_time(&self) -> usize {
        self.storage.at_a_time()
    }
}

fn manifest_name(generation: u64) -> String {
    format!("{generation:08}.json")
}
