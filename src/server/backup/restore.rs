//! Data of any date under today's control store. What comes back is made ready beside the data store (`data.new`), under the fence of
//! a file in it (`RESTORING`), and put in its place by one rename when nothing shredded, deleted by an order or over since is left
//! in it. A start that finds the fence serves nothing before it has done the same.
//!
//! Cut short anywhere, it is run again: the data store is as it was, or the restored one, or the restored one behind its fence.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BackupError, File, Location, Manifest, Place, Progress, Today, copy,
    directory::{remove_torn, sync_dir, write_new},
};
use crate::{
    config::Config,
    domain::{Clock, StoreId},
    server::rooms::{self, RoomError, Rooms, engine},
    vault::{
        ops::{Destroyed, Proof, VaultError},
        store::embedded::{Embedded, move_aside},
    },
};

/// The fence, in the directory of a data store.
const FENCE: &str = "RESTORING";
/// Holds the number of the last start or checkpoint that control knew when a restore had made the data ready.
const READY: &str = "RESTORED";
/// Where the data store is made ready.
const FRESH: &str = "data.new";
const DISCARDED: &str = "data.discarded";
/// Of the records that no certificate names, `--verify` tries one in so many.
const STEP: u64 = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Asked {
    /// Which generation; the newest, otherwise.
    pub generation: Option<u64>,
    /// Hold what came back against every certificate before it is put in its place.
    pub verify: bool,
    /// Leave what is over by now to the next start, which serves nothing before it is done.
    pub fenced: bool,
    /// Put it in its place although records that may be over cannot be read.
    pub accept_failed: bool,
    /// Move the data store aside although legal holds stand.
    pub despite_holds: bool,
    /// The keys are those of the demonstration.
    pub demo: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Restored {
    /// What it was made from.
    pub manifest: Manifest,
    /// What was over by now and is destroyed; `None` where that is left to the next start.
    pub over: Option<Destroyed>,
    /// The proof, where it was asked for.
    pub proof: Option<Proof>,
    /// Where the old data store lies now, if there was one.
    pub moved_to: Option<PathBuf>,
    /// Whether legal holds stand: what they keep of what was written since lies there, or is lost.
    pub is_held: bool,
}

/// What the fence says.
#[derive(Debug, Serialize, Deserialize)]
struct Fence {
    store: String,
    generation: u64,
    taken_at_ms: i64,
    /// All files are there, and the engine may have changed them since.
    complete: bool,
    /// A restore is at work on it: it has never had the name of the data store.
    #[serde(default)]
    making: bool,
}

/// Whether the data store is one that was put back and is not ready to be served.
///
/// # Errors
/// [`BackupError::File`] if that cannot be told: then nothing may be served.
pub fn is_fenced(config: &Config) -> Result<bool, BackupError> {
    let path = config.data_dir().join(FENCE);
    path.try_exists().map_err(|error| BackupError::at(&path, error))
}

/// Whether a restore has made the data ready, and control has counted no start and no checkpoint since: up to then it is older than
/// control knows it, and still what it would be today. A copy of it that comes back later is told by the number.
///
/// # Errors
/// [`BackupError::File`] if that cannot be told.
pub fn is_ready(config: &Config, mark: u64) -> Result<bool, BackupError> {
    let path = config.data_dir().join(READY);
    match fs::read(&path) {
        Ok(told) => Ok(told == mark.to_string().as_bytes()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(BackupError::at(&path, error)),
    }
}

/// Forgets that a restore has made the data ready: the start behind it is counted.
///
/// # Errors
/// [`BackupError::File`]: it may still be there.
pub fn end_ready(config: &Config) -> Result<(), BackupError> {
    take_away(&config.data_dir(), READY)
}

/// Puts a fence before older data that was put back without one.
///
/// # Errors
/// [`BackupError::File`]: nothing may be served.
pub fn raise_fence(config: &Config, store: StoreId) -> Result<(), BackupError> {
    write_fence(&config.data_dir(), &Fence { store: store.to_string(), generation: 0, taken_at_ms: 0, complete: true, making: false })
}

/// Takes the fence away: the data is as it would be today.
///
/// # Errors
/// [`BackupError::File`]: it may still be there.
pub fn take_fence_away(data: &Path) -> Result<(), BackupError> {
    take_away(data, FENCE)
}

fn take_away(data: &Path, name: &str) -> Result<(), BackupError> {
    let path = data.join(name);
    match fs::remove_file(&path) {
        Ok(()) => sync_dir(data),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::at(&path, error)),
    }
}

/// Puts a generation back in the place of the data store, which is moved aside.
///
/// # Errors
/// [`BackupError`]: the data store is as it was. [`BackupError::Held`] where legal holds stand and it is there.
pub async fn restore(
    config: &Config,
    from: &Location,
    asked: Asked,
    clock: Arc<dyn Clock>,
    begins: impl FnOnce(u64),
    progress: Progress<'_>,
) -> Result<Restored, BackupError> {
    let place = Place::open(from)?;
    let manifest = place.manifest(asked.generation)?;
    let hold = Embedded::hold(&engine(config))?;
    let today = Today::read(config)?;
    fits(&place, &manifest, &today)?;
    let data = config.data_dir();
    let is_there = data.try_exists().map_err(|error| BackupError::at(&data, error))?;
    if today.is_held && is_there && !asked.despite_holds {
        return Err(BackupError::Held);
    }
    let fresh = config.dir.join(FRESH);
    prepare(config, &fresh, &manifest)?;
    begins(manifest.bytes);
    bring_all(&place, &manifest.files, &fresh, progress)?;
    write_fence(&fresh, &Fence::of(&manifest, true))?;
    // The engine takes the lock itself; whoever takes it in between finds the data store as it was.
    drop(hold);
    let made = make_ready(config, &fresh, asked, clock).await;
    let (over, proof, mark) = match made {
        Ok(made) => made,
        Err(error) => {
            // The reason matters more than what is left.
            drop(discard(config, &fresh));
            return Err(error);
        }
    };
    let _hold = Embedded::hold(&engine(config))?;
    // Before it may have the name: whatever is found here behind that was a data store.
    if asked.fenced {
        write_fence(&fresh, &Fence { making: false, ..Fence::of(&manifest, true) })?;
    } else {
        write_new(&fresh.join(READY), mark.to_string().as_bytes())?;
        take_fence_away(&fresh)?;
    }
    let moved_to = put_in_place(config, &fresh)?;
    Ok(Restored { manifest, over, proof, moved_to, is_held: today.is_held })
}

/// Whether a backup is this store's, and control is not older than it.
pub(super) fn fits(place: &Place, manifest: &Manifest, today: &Today) -> Result<(), BackupError> {
    place.belongs_to(today.store)?;
    if !manifest.is_of(today.store) {
        return Err(BackupError::Foreign { at: place.shown(), found: manifest.store.clone(), wanted: today.store.to_string() });
    }
    if manifest.epoch > today.epoch.0 || manifest.log_size > today.log_size {
        return Err(BackupError::ControlBehind {
            epoch: manifest.epoch,
            log_size: manifest.log_size,
            control_epoch: today.epoch.0,
            control_log_size: today.log_size,
        });
    }
    Ok(())
}

/// Sees to an empty directory behind its fence, or to one that a run for the same generation has begun to fill.
fn prepare(config: &Config, fresh: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let discarded = config.dir.join(DISCARDED);
    remove(&discarded)?;
    if fresh.try_exists().map_err(|error| BackupError::at(fresh, error))? {
        match read_fence(fresh)? {
            Some(fence) if fence.making && !fence.complete && fence.is_of(manifest) => return remove_others(fresh, manifest),
            Some(fence) if fence.making => discard(config, fresh)?,
            // It was in the place of the data store until a run was cut short, perhaps behind a fence of its own, or was about to be.
            Some(_) | None => {
                move_aside_as(config, fresh)?;
            }
        }
    }
    // With its fence from the first moment on that it has its name.
    let begun = config.dir.join("data.begun");
    remove(&begun)?;
    fs::DirBuilder::new().mode(0o700).create(&begun).map_err(|error| BackupError::at(&begun, error))?;
    write_fence(&begun, &Fence::of(manifest, false))?;
    fs::rename(&begun, fresh).map_err(|error| BackupError::at(fresh, error))?;
    sync_dir(&config.dir)
}

impl Fence {
    fn of(manifest: &Manifest, complete: bool) -> Self {
        let Manifest { store, generation, taken_at_ms, .. } = manifest;
        Self { store: store.clone(), generation: *generation, taken_at_ms: *taken_at_ms, complete, making: true }
    }

    /// Whether it stands before that very backup: another directory has generations of the same numbers.
    fn is_of(&self, Manifest { store, generation, taken_at_ms, .. }: &Manifest) -> bool {
        (&self.store, self.generation, self.taken_at_ms) == (store, *generation, *taken_at_ms)
    }
}

/// Removes what a manifest does not name, but the fence: the engine would take it for its own.
fn remove_others(dir: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    for entry in fs::read_dir(dir).map_err(|error| BackupError::at(dir, error))? {
        let path = entry.map_err(|error| BackupError::at(dir, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name != FENCE && !manifest.files.iter().any(|file| file.name == name) {
            fs::remove_file(&path).map_err(|error| BackupError::at(&path, error))?;
        }
    }
    sync_dir(dir)
}

fn write_fence(dir: &Path, fence: &Fence) -> Result<(), BackupError> {
    let text = serde_json::to_vec(fence).map_err(|error| BackupError::Fault(error.to_string()))?;
    write_new(&dir.join(FENCE), &text)
}

/// What the fence of a directory says; one that cannot be read is taken for that of a data store.
fn read_fence(dir: &Path) -> Result<Option<Fence>, BackupError> {
    let path = dir.join(FENCE);
    match fs::read(&path) {
        Ok(text) => {
            let unknown = Fence { store: String::new(), generation: 0, taken_at_ms: 0, complete: true, making: false };
            Ok(Some(serde_json::from_slice(&text).unwrap_or(unknown)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::at(&path, error)),
    }
}

/// Copies all files of a generation, each held against its checksum on the way; those that are there and whole are not moved again.
pub(super) fn bring_all(place: &Place, files: &[File], to: &Path, progress: Progress<'_>) -> Result<(), BackupError> {
    let bring = |_, file: &File| {
        let target = to.join(&file.name);
        let whole = |(sha256, len): &(String, u64)| *sha256 == file.sha256 && *len == file.len;
        if fs::metadata(&target).is_ok_and(|meta| meta.len() == file.len) && whole(&copy::digest(&target, &|_| ())?) {
            progress(file.len);
            return Ok(());
        }
        let damaged = |detail: String| BackupError::Damaged { at: place.shown_file(&file.sha256), detail };
        let fresh = target.with_added_extension("part");
        let Some(copied) = place.fetch(&file.sha256, file.len, Some(&fresh), progress)? else {
            return Err(damaged(format!("it is not there; generation files need it as {}", file.name)));
        };
        if !whole(&copied) {
            drop(fs::remove_file(&fresh));
            return Err(damaged(format!("its SHA-256 is {}, {} bytes long: run lethe backup verify", copied.0, copied.1)));
        }
        fs::rename(&fresh, &target).map_err(|error| BackupError::at(&target, error))
    };
    copy::for_all(place.at_a_time(), files, bring)?;
    sync_dir(to)
}

/// Opens the restored data under today's control store and custody, as a start would, which applies the shred log; destroys what is
/// over; proves it. Of what is not this data's nothing is touched: should it be given up, all of today's is there and opens.
async fn make_ready(
    config: &Config,
    fresh: &Path,
    asked: Asked,
    clock: Arc<dyn Clock>,
) -> Result<(Option<Destroyed>, Option<Proof>, u64), BackupError> {
    // The engine does not know them.
    remove_torn(fresh, "part")?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let options = crate::vault::store::embedded::EmbeddedOptions { data_name: FRESH, ..engine(config) };
    let way = (tasks.clone(), stop.clone());
    // An epoch that was cut short is finished: where the data store is lost, no start could do it.
    let (rooms, _) = rooms::open_of(config, options, rooms::CustodyUse::Finish, clock, way, asked.demo).await?;
    let made = replay(&rooms, asked).await;
    let mark = rooms.vault.start_number().await;
    close(&rooms, &tasks, &stop).await;
    let (over, proof) = made.map_err(RoomError::from)?;
    if let Some(over) = over.filter(|over| over.failed > 0 && !asked.accept_failed) {
        return Err(BackupError::Unproved(format!(
            "{} records that may be over could not be read, or destroyed, the numbers of their collections are in the log; say --accept-failed to put the others in their place with them, where every run tries again",
            over.failed
        )));
    }
    match proof.as_ref().map(|proof| proof.findings.as_slice()) {
        Some([first, rest @ ..]) => Err(BackupError::Unproved(format!("{first} (and {} more)", rest.len()))),
        Some([]) | None => Ok((over, proof, mark)),
    }
}

async fn replay(rooms: &Rooms, asked: Asked) -> Result<(Option<Destroyed>, Option<Proof>), VaultError> {
    rooms.vault.begin_restoring();
    let over = if asked.fenced { None } else { Some(rooms.vault.replay_retention().await?) };
    let proof = if asked.verify { Some(rooms.vault.prove_shreds(STEP).await?) } else { None };
    Ok((over, proof))
}

/// Ends a store's background work and closes it.
pub(super) async fn close(rooms: &Rooms, tasks: &TaskTracker, stop: &CancellationToken) {
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    rooms.store.close();
}

/// Gives the restored data its name. The old data store is moved aside.
fn put_in_place(config: &Config, fresh: &Path) -> Result<Option<PathBuf>, BackupError> {
    let data = config.data_dir();
    let at = |error: std::io::Error| BackupError::at(&data, error);
    if !data.try_exists().map_err(at)? {
        fs::rename(fresh, &data).map_err(at)?;
        sync_dir(&config.dir)?;
        return Ok(None);
    }
    // At every moment one of the two has the name.
    match rustix::fs::renameat_with(CWD, fresh, CWD, &data, RenameFlags::EXCHANGE) {
        Ok(()) => {
            sync_dir(&config.dir)?;
            move_aside_as(config, fresh)
        }
        // A file system without such a rename: for a moment there is none, and a start says so.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            let moved_to = move_aside(&data)?;
            fs::rename(fresh, &data).map_err(at)?;
            sync_dir(&config.dir)?;
            Ok(moved_to)
        }
        Err(error) => Err(at(error.into())),
    }
}

/// Moves a directory to the first free name `data.replaced-N`.
fn move_aside_as(config: &Config, dir: &Path) -> Result<Option<PathBuf>, BackupError> {
    let data = config.data_dir();
    for number in 1_u32.. {
        let target = data.with_added_extension(format!("replaced-{number}"));
        if !target.try_exists().map_err(|error| BackupError::at(&target, error))? {
            fs::rename(dir, &target).map_err(|error| BackupError::at(&target, error))?;
            sync_dir(&config.dir)?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Removes what was made ready for nothing; first its name, so that no half of it is taken for a data store.
fn discard(config: &Config, fresh: &Path) -> Result<(), BackupError> {
    let discarded = config.dir.join(DISCARDED);
    remove(&discarded)?;
    fs::rename(fresh, &discarded).map_err(|error| BackupError::at(fresh, error))?;
    sync_dir(&config.dir)?;
    remove(&discarded)
}

pub(super) fn remove(dir: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::at(dir, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
