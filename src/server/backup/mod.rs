//! Backups of the data store: taken from a snapshot of it, kept by what the files hold, verified, pruned. The control store, the
//! mirror, the log and custody are never in one: they must not go back in time.
//!
//! A copy of the data store opens nothing without today's control store and custody, so a backup holds no secret. [`place`] says
//! what a place of backups looks like, [`storage`] what it needs of a directory or a bucket, [`restore`] how a backup comes back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::rooms::{RoomError, engine};
use crate::{
    config::Config,
    domain::{Clock, Epoch, SnapshotId, StoreId, Timestamp},
    vault::{
        audit::{known_log_head, log_head_key},
        crypto::random,
        keys::root_epoch,
        store::{
            Space,
            embedded::{DATA, Embedded, LEASE, Offline, OpenError, SNAPSHOTS, mirror},
            schema,
        },
    },
};

mod copy;
mod directory;
pub mod manifest;
pub mod place;
pub mod rehearse;
pub mod restore;
pub mod s3;
mod storage;

pub use copy::Progress;
pub use manifest::{File, Manifest};
pub use place::Place;
pub use s3::S3Error;
pub use storage::Location;

/// Why a backup was not taken, found good, or put back. Messages begin with a name that operators look up.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is none.
    #[error("backup-missing: no backup at {0}")]
    Missing(String),
    /// There is no such generation.
    #[error("backup-missing: {at} has no generation {generation}; the newest is {newest}")]
    NoGeneration {
        /// Where.
        at: String,
        /// Which was asked for.
        generation: u64,
        /// The newest there is; 0 for none.
        newest: u64,
    },
    /// It holds something else.
    #[error("backup-not-empty: {0} holds something else; name an empty place, or one of backups")]
    NotEmpty(String),
    /// It would lie where what it is to survive lies.
    #[error("backup-inside: {} lies inside {}; name a directory on another disk", dir.display(), of.display())]
    Inside {
        /// What was asked for.
        dir: PathBuf,
        /// What it lies in.
        of: PathBuf,
    },
    /// Another store's.
    #[error("backup-foreign: {at} is of store {found}, not of {wanted}")]
    Foreign {
        /// Where.
        at: String,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Written by a version that this one does not know.
    #[error("unknown-format: {at} has format {found:?}, this version knows {known}")]
    UnknownFormat {
        /// Where.
        at: String,
        /// What is there.
        found: String,
        /// What would be understood.
        known: u32,
    },
    /// A byte is not what it was, or a file is gone.
    #[error("backup-damaged: {at}: {detail}")]
    Damaged {
        /// Which file.
        at: String,
        /// What is wrong.
        detail: String,
    },
    /// Another process changes it.
    #[error("backup-locked: another process is at work in {0}")]
    Locked(String),
    /// The lock was lost while a generation was published, and it could not be looked at under it again.
    #[error("{why}; generation {generation} was written and is left there: run lethe backup verify before you rely on it")]
    Unsettled {
        /// Which.
        generation: u64,
        /// Why it could not.
        why: Box<BackupError>,
    },
    /// Control is older than the backup: an old copy was put back.
    #[error(
        "control-behind-backup: the backup was taken in epoch {epoch} with {log_size} entries in the log, and this store's control is in epoch {control_epoch} with {control_log_size}; put today's mirror back, then run lethe recover control"
    )]
    ControlBehind {
        /// The backup's.
        epoch: u64,
        /// The backup's.
        log_size: u64,
        /// The control store's.
        control_epoch: u64,
        /// The control store's.
        control_log_size: u64,
    },
    /// Legal holds stand, and what they keep may be in the place that the backup is to have.
    #[error(
        "restore-held: legal holds stand, and what they keep of what was written since the backup lies in the data store that would be moved aside; ask who placed them, then say --despite-holds, and keep what is moved aside until they end"
    )]
    Held,
    /// The last restore was not finished, and this is not it.
    #[error("restore-unfinished: {0}")]
    Unfinished(String),
    /// A root is to be destroyed, and this process held keys.
    #[error("rehearsal-cut: an order to shred, or another end of an epoch, came meanwhile, and a rehearsal holds keys; run it again")]
    RehearsalCut,
    /// What came back is not as it must be.
    #[error("restore-unproved: {0}")]
    Unproved(String),
    /// No room.
    #[error("disk-full: {}: the disk is full; earlier generations are as they were: free space, then run it again", .0.display())]
    DiskFull(PathBuf),
    /// A file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The server of a bucket.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The store.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] OpenError),
    /// A fault of this program.
    #[error("{0}")]
    Fault(String),
}

impl BackupError {
    /// A file that goes on behind its end.
    pub(super) fn longer(at: String, len: u64) -> Self {
        Self::Damaged { at, detail: format!("it is longer than {len} bytes") }
    }

    /// A failure at a path; a full disk by its name.
    pub(super) fn at(path: &Path, source: std::io::Error) -> Self {
        if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
            Self::DiskFull(path.to_owned())
        } else {
            Self::File { path: path.to_owned(), source }
        }
    }
}

/// A snapshot to copy from, and when in the store's life it was taken.
#[derive(Debug)]
pub struct Source {
    /// Its id.
    pub id: SnapshotId,
    /// Its directory.
    pub dir: PathBuf,
    /// Of which store.
    pub store: StoreId,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The control store's epoch then.
    pub epoch: Epoch,
    /// Entries of the public log then.
    pub log_size: u64,
    /// How many records there are, as the engine estimates.
    pub records_estimate: u64,
}

/// A snapshot of a store that no server has open.
#[derive(Debug)]
pub struct Stopped {
    /// What to copy from.
    pub source: Source,
    _offline: Offline,
}

/// Takes a snapshot of a store that no server has open; `None` if one has.
///
/// # Errors
/// [`BackupError::Engine`].
pub fn of_stopped(config: &Config, clock: &dyn Clock) -> Result<Option<Stopped>, BackupError> {
    let id = SnapshotId(random::bytes());
    let offline = match Embedded::offline_snapshot(&engine(config), id) {
        Ok(offline) => offline,
        Err(OpenError::Locked(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let today = Today::read(config)?;
    let source = Source {
        id,
        dir: offline.snapshot.dir.clone(),
        store: offline.store_id,
        taken_at: clock.now(),
        epoch: today.epoch,
        log_size: today.log_size,
        records_estimate: offline.snapshot.records_estimate,
    };
    Ok(Some(Stopped { source, _offline: offline }))
}

impl Stopped {
    /// Lets the snapshot go.
    ///
    /// # Errors
    /// [`BackupError::Engine`].
    pub fn release(self, config: &Config) -> Result<(), BackupError> {
        Ok(Embedded::release_offline(&engine(config), self.source.id)?)
    }
}

/// Where a snapshot of a store lies.
#[must_use]
pub fn snapshot_dir(config: &Config, id: SnapshotId) -> PathBuf {
    config.dir.join(SNAPSHOTS).join(id.to_string())
}

/// What the control store says of today, read from its mirror, which needs nothing to be opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Today {
    pub(super) store: StoreId,
    pub(super) epoch: Epoch,
    pub(super) log_size: u64,
    /// Whether a legal hold stands, of any tenant.
    pub(super) is_held: bool,
}

impl Today {
    pub(super) fn read(config: &Config) -> Result<Self, BackupError> {
        Ok(Self::of(&config.paths.mirror_dir)?)
    }

    /// What a mirror, or a copy of one, says.
    pub(super) fn of(dir: &Path) -> Result<Self, RoomError> {
        let states = schema::table(schema::Table::HoldState);
        let wanted = [schema::root_ptr(), log_head_key()];
        let restored = mirror::restore_some(dir, |space, key| {
            space == Space::Control && (wanted.iter().any(|wanted| wanted == key) || (&states.from[..] <= key && key < &states.to[..]))
        })?;
        let row = |key| restored.rows.get(&(Space::Control, key));
        let epoch = row(schema::root_ptr()).map(|row| root_epoch(row)).transpose()?.unwrap_or(Epoch(0));
        let head = known_log_head(row(log_head_key()))?;
        let is_held = restored.rows.range((Space::Control, states.from)..(Space::Control, states.to)).next().is_some();
        Ok(Self { store: restored.store_id, epoch, log_size: head.map_or(0, |(size, _)| size), is_held })
    }
}

/// Refuses a directory inside the store, its mirror or its custody: it is to outlive them.
///
/// # Errors
/// [`BackupError::Inside`].
pub fn refuse_inside(config: &Config, dir: &Path) -> Result<(), BackupError> {
    let absolute = |path: &Path| {
        // What is not there yet is resolved as far as it is.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.ancestors()
            .find_map(|above| Some((above, above.canonicalize().ok()?)))
            .and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?)))
            .unwrap_or(path)
    };
    let asked = absolute(dir);
    let custody = config.custody.iter().filter_map(|crate::config::Custody::File { path }| path.parent().map(Path::to_owned));
    let places = [config.dir.clone(), config.paths.mirror_dir.clone()].into_iter().chain(custody);
    match places.map(|place| absolute(&place)).find(|place| asked.starts_with(place)) {
        Some(of) => Err(BackupError::Inside { dir: asked, of }),
        None => Ok(()),
    }
}

/// Copies a snapshot into a place of backups, as its next generation. Only files that are not there yet are moved; those of a run that
/// was cut short are.
///
/// # Errors
/// [`BackupError`]: earlier generations are as they were.
pub fn take(source: &Source, to: &Location, begins: impl FnOnce(u64), progress: Progress<'_>) -> Result<Manifest, BackupError> {
    let lease = source.dir.join(LEASE);
    let held = fs::File::open(&lease).map_err(|error| BackupError::at(&lease, error))?;
    flock(&held, FlockOperation::LockExclusive).map_err(|error| BackupError::at(&lease, error.into()))?;
    let mut place = Place::of_store(to, source.store)?;
    let files = listed(&source.dir.join(DATA))?;
    begins(files.iter().map(|file| file.len).fold(0, u64::saturating_add));
    let known = Known::of(&place)?;
    let copied = copy::for_all(place.at_a_time(), &files, |at, file| bring(&place, &known, at, file, progress))?;
    let generation = place.generations()?.last().copied().unwrap_or(0).saturating_add(1);
    let mut manifest = Manifest {
        format: manifest::FORMAT,
        store: source.store.to_string(),
        generation,
        taken_at_ms: source.taken_at.0,
        epoch: source.epoch.0,
        log_size: source.log_size,
        records_estimate: source.records_estimate,
        bytes: 0,
        copied_files: 0,
        copied_bytes: 0,
        files: Vec::with_capacity(copied.len()),
    };
    for (file, moved) in copied {
        manifest.bytes = manifest.bytes.saturating_add(file.len);
        if moved {
            manifest.copied_files = manifest.copied_files.saturating_add(1);
            manifest.copied_bytes = manifest.copied_bytes.saturating_add(file.len);
        }
        manifest.files.push(file);
    }
    place.add(&manifest)?;
    drop(held);
    Ok(manifest)
}

/// A file of a snapshot.
struct Listed {
    name: String,
    path: PathBuf,
    len: u64,
    seen: (u64, i128),
}

fn listed(dir: &Path) -> Result<Vec<Listed>, BackupError> {
    let at = |error| BackupError::at(dir, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(at)? {
        let entry = entry.map_err(at)?;
        let meta = entry.metadata().map_err(at)?;
        let name =
            entry.file_name().into_string().map_err(|name| BackupError::Fault(format!("{} holds {}", dir.display(), name.display())))?;
        let changed = i128::from(meta.mtime()).saturating_mul(1_000_000_000).saturating_add(i128::from(meta.mtime_nsec()));
        files.push(Listed { name, path: entry.path(), len: meta.len(), seen: (meta.ino(), changed) });
    }
    files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

/// So many of the newest manifests are read for what earlier runs brought: older ones tell next to nothing more, and each costs a request
/// where the place is a bucket.
const LOOKED_AT: usize = 8;

/// What earlier runs brought.
struct Known {
    /// Digests, by name, length, inode and time of change where they were copied from.
    seen: HashMap<(String, u64, (u64, i128)), String>,
    /// Files that are there, by their SHA-256, with their lengths.
    there: HashMap<String, u64>,
    /// Their lengths: only one of such a length can be there already.
    lens: HashSet<u64>,
}

impl Known {
    fn of(place: &Place) -> Result<Self, BackupError> {
        let mut seen = HashMap::new();
        let generations = place.generations()?;
        for generation in generations.iter().skip(generations.len().saturating_sub(LOOKED_AT)) {
            match place.manifest(Some(*generation)) {
                Ok(manifest) => seen.extend(manifest.files.into_iter().map(|file| ((file.name, file.len, file.seen), file.sha256))),
                Err(error @ BackupError::S3(_)) => return Err(error),
                // A damaged one costs reading its files again; to say so is the business of `verify`.
                Err(_) => {}
            }
        }
        let there: HashMap<String, u64> = place.files()?.into_iter().collect();
        let lens = there.values().copied().collect();
        Ok(Self { seen, there, lens })
    }

    fn has(&self, sha256: &str, len: u64) -> bool {
        self.there.get(sha256) == Some(&len)
    }
}

/// Sees to it that a file's bytes are there; whether they had to be moved.
fn bring(place: &Place, known: &Known, at: usize, file: &Listed, progress: Progress<'_>) -> Result<(File, bool), BackupError> {
    let entry = |sha256| File { name: file.name.clone(), len: file.len, sha256, seen: file.seen };
    let seen = known.seen.get(&(file.name.clone(), file.len, file.seen));
    if let Some(sha256) = seen.filter(|sha256| known.has(sha256, file.len)) {
        progress(file.len);
        return Ok((entry(sha256.clone()), false));
    }
    let mut digest = None;
    if known.lens.contains(&file.len) {
        let (sha256, len) = copy::digest(&file.path, &|_| ())?;
        if known.has(&sha256, file.len) {
            progress(file.len);
            return Ok((entry(sha256), false));
        }
        digest = Some((sha256, len));
    }
    let (sha256, len) = place.bring(at, &file.path, digest, progress)?;
    if len != file.len {
        return Err(BackupError::Damaged {
            at: file.path.display().to_string(),
            detail: format!("{len} bytes long while it was copied, {} before", file.len),
        });
    }
    Ok((entry(sha256), true))
}

/// What a verification read, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Generations.
    pub generations: u64,
    /// Files, each once.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<String>,
}

/// Reads every manifest, or one, and every file that they name, and holds each against its checksum.
///
/// # Errors
/// [`BackupError::Missing`] where there is no generation; [`BackupError`] where nothing can be read; what is wrong with what was read is in
/// the answer.
pub fn verify(place: &Place, generation: Option<u64>, begins: impl FnOnce(u64), progress: Progress<'_>) -> Result<Verified, BackupError> {
    let mut verified = Verified::default();
    let generations = match generation {
        Some(number) => vec![number],
        None => some_generations(place)?,
    };
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for number in generations {
        verified.generations = verified.generations.saturating_add(1);
        match place.manifest(Some(number)) {
            Ok(manifest) => named.extend(manifest.files.into_iter().map(|file| (file.sha256, file.len))),
            Err(error @ BackupError::S3(_)) => return Err(error),
            Err(error) => verified.findings.push(error.to_string()),
        }
    }
    begins(named.values().copied().fold(0, u64::saturating_add));
    let named: Vec<(String, u64)> = named.into_iter().collect();
    let found = copy::for_all(place.at_a_time(), &named, |_, (sha256, len)| held_against(place, sha256, *len, progress))?;
    for ((_, len), finding) in named.iter().zip(found) {
        verified.files = verified.files.saturating_add(1);
        verified.bytes = verified.bytes.saturating_add(*len);
        verified.findings.extend(finding);
    }
    Ok(verified)
}

/// The numbers of all generations, of which there is one at least.
fn some_generations(place: &Place) -> Result<Vec<u64>, BackupError> {
    let generations = place.generations()?;
    if generations.is_empty() { Err(BackupError::Missing(place.shown())) } else { Ok(generations) }
}

/// What is wrong with a file.
fn held_against(place: &Place, sha256: &str, len: u64, progress: Progress<'_>) -> Result<Option<String>, BackupError> {
    let damaged = |detail: String| Some(BackupError::Damaged { at: place.shown_file(sha256), detail }.to_string());
    match place.fetch(sha256, len, None, progress) {
        Ok(Some((_, found))) if found != len => Ok(damaged(format!("{found} bytes long, not {len}"))),
        // The next backup looks at lengths only.
        Ok(Some((found, _))) if found != sha256 => {
            Ok(damaged(format!("its SHA-256 is {found}; remove it: the next backup brings it again, if the store still has it")))
        }
        Ok(Some(_)) => Ok(None),
        Ok(None) => Ok(damaged("it is not there".into())),
        // Of a server that does not answer nothing is known.
        Err(error @ BackupError::S3(_)) => Err(error),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// What a pruning removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Generations that are gone.
    pub generations: Vec<u64>,
    /// Files that no generation needs any more.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes all generations but the newest `keep`, then the files that none of those names. Cut short, it is run again.
///
/// # Errors
/// [`BackupError::Damaged`] if a generation that stays cannot be read: then nothing is removed, for its files are not known. The same where
/// the newest lacks a file, and [`BackupError::Missing`] where there is none: an older one may be what is left.
pub fn prune(place: &Place, keep: usize) -> Result<Pruned, BackupError> {
    let generations = some_generations(place)?;
    let (go, stay) = generations.split_at(generations.len().saturating_sub(keep.max(1)));
    // Of one that the list lacks nobody would know what it needs.
    place.ends_with(generations.last().copied().unwrap_or(0))?;
    let there: HashMap<String, u64> = place.files()?.into_iter().collect();
    let mut needed = HashSet::new();
    for (older, number) in stay.iter().rev().enumerate() {
        let manifest = place.manifest(Some(*number))?;
        if older == 0 {
            place.holds(&manifest, &there)?;
        }
        needed.extend(manifest.files.into_iter().map(|file| file.sha256));
    }
    if !go.is_empty() {
        place.remove(go)?;
    }
    let gone: Vec<(String, u64)> = there.into_iter().filter(|(name, _)| !needed.contains(name)).collect();
    let bytes = gone.iter().map(|(_, len)| *len).fold(0, u64::saturating_add);
    let names: Vec<String> = gone.into_iter().map(|(name, _)| name).collect();
    place.remove_files(&names)?;
    Ok(Pruned { generations: go.to_vec(), files: names.len() as u64, bytes })
}

#[cfg(test)]
mod tests;
