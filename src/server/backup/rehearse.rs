//! A restore that changes nothing: a generation is put beside a copy of today's control store, made ready as a restore would, looked
//! at, and removed. The control store is made from the mirror, which holds what it holds and can be read while a server runs; the log from
//! its journal. The root is read from custody and never changed; it is copied nowhere.
//!
//! A shred must not be certified while this process still holds its keys: so none ends before they are wiped, and one that is to end cuts
//! the rehearsal off ([`readers`](crate::server::readers)). All that takes long and needs no key is done before; should an epoch have ended
//! by then, the control store is copied once more.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BackupError, Location, Manifest, Place, Progress, Today,
    restore::{bring_all, close, fits, remove},
};
use crate::{
    config::Config,
    domain::Clock,
    server::{
        readers::Readers,
        recovery::{self, Part},
        rooms::{self, RoomError, engine},
    },
    vault::{
        keys::{KeysError, StartError},
        ops::{Destroyed, Proof},
        store::embedded::Embedded,
    },
};

/// How often the control store is copied, where an epoch ends each time before custody is read.
const STAGINGS: usize = 8;

/// What a rehearsal found.
#[derive(Debug)]
pub struct Rehearsed {
    /// What was rehearsed.
    pub manifest: Manifest,
    /// What was over by now.
    pub over: Destroyed,
    /// What opened and what did not.
    pub proof: Proof,
    /// How long copying took.
    pub copied_in: Duration,
    /// How long it took from there until it could have been served.
    pub ready_in: Duration,
}

/// Rehearses the restore of a generation in a new directory, which is removed again.
///
/// # Errors
/// [`BackupError`]: the store is as it was in any case.
pub async fn rehearse(
    config: &Config,
    from: &Location,
    (generation, step, work, demo): (Option<u64>, u64, Option<PathBuf>, bool),
    clock: Arc<dyn Clock>,
    begins: impl FnOnce(u64),
    progress: Progress<'_>,
) -> Result<Rehearsed, BackupError> {
    let place = Place::open(from)?;
    let manifest = place.manifest(generation)?;
    fits(&place, &manifest, &Today::read(config)?)?;
    let stage = Stage::take(config, work.unwrap_or_else(|| config.dir.join("rehearsal")))?;
    let started = clock.monotonic();
    begins(manifest.bytes);
    let data = stage.config.data_dir();
    make_dir(&data)?;
    bring_all(&place, &manifest.files, &data, progress)?;
    let copied = clock.monotonic();
    let readers = Readers::of(config);
    let mut more = STAGINGS;
    let (over, proof, ready) = loop {
        more = more.saturating_sub(1);
        stage.set(config)?;
        let store = Embedded::open(engine(&stage.config), Arc::clone(&clock))?;
        // No root is made or destroyed from here on, until this is dropped.
        let reading = readers.begin().map_err(|error| BackupError::at(&config.dir, error))?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let played = tokio::select! {
            biased;
            () = readers.wanted() => Err(BackupError::RehearsalCut),
            played = play(store, &stage.config, (step, demo), &clock, (&tasks, &stop)) => played,
        };
        // Whatever it was at: all that holds a key ends, and wipes it, before a root may go.
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        drop(reading);
        match played {
            // An epoch has ended since it was copied: nothing of that control store opens any more.
            Err(BackupError::Room(RoomError::Keys(KeysError::Start(StartError::TreeBehindCustody)))) if more > 0 => {}
            played => break played?,
        }
    };
    let (copied_in, ready_in) = (copied.saturating_sub(started), ready.saturating_sub(copied));
    stage.clear()?;
    Ok(Rehearsed { manifest, over, proof, copied_in, ready_in })
}

/// Opens what is on the stage, makes it ready, and looks at it; and when it was ready.
async fn play(
    store: Arc<Embedded>,
    config: &Config,
    (step, demo): (u64, bool),
    clock: &Arc<dyn Clock>,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> Result<(Destroyed, Proof, Duration), BackupError> {
    let way = (tasks.clone(), stop.clone());
    let (rooms, _) = rooms::open_over(store, config, rooms::CustodyUse::ReadOnly, Arc::clone(clock), way, demo).await?;
    rooms.vault.begin_restoring();
    let over = rooms.vault.replay_retention().await;
    let ready = clock.monotonic();
    let proof = rooms.vault.prove_shreds(step).await;
    close(&rooms, tasks, stop).await;
    Ok((over.map_err(RoomError::from)?, proof.map_err(RoomError::from)?, ready))
}

/// Where it is played; removed when it is dropped.
struct Stage {
    config: Config,
    work: PathBuf,
    _lock: fs::File,
}

impl Stage {
    /// Takes a directory that is not there yet, or that an earlier rehearsal has left.
    fn take(config: &Config, work: PathBuf) -> Result<Self, BackupError> {
        let marker = work.join("REHEARSAL");
        let at = |error| BackupError::at(&marker, error);
        if work.try_exists().map_err(at)? && !marker.try_exists().map_err(at)? {
            return Err(BackupError::NotEmpty(work.display().to_string()));
        }
        make_dir(&work)?;
        let lock = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&marker).map_err(at)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(BackupError::Locked(work.display().to_string())),
            Err(error) => return Err(at(error.into())),
        }
        for entry in fs::read_dir(&work).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let removed = if path == marker { Ok(()) } else { remove_any(&path) };
            removed.map_err(|error| BackupError::at(&path, error))?;
        }
        Ok(Self { config: staged(config, &work), work, _lock: lock })
    }

    /// Makes today's control store, its mirror and the log.
    fn set(&self, config: &Config) -> Result<(), BackupError> {
        let (from, to) = (config.dir.join("format"), self.config.dir.join("format"));
        fs::copy(&from, to).map_err(|error| BackupError::at(&from, error))?;
        Embedded::ship(&engine(config), &self.config.paths.mirror_dir)?;
        recovery::recover(&self.config, Part::Control, None)?;
        recovery::cut_journal(&self.config)?;
        recovery::recover(&self.config, Part::Log, None)?;
        Ok(())
    }

    fn clear(self) -> Result<(), BackupError> {
        remove(&self.work)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Where it fails, the next rehearsal removes it.
        drop(remove(&self.work));
    }
}

/// The settings of the stage: other places, the same custody and signing key.
fn staged(config: &Config, work: &Path) -> Config {
    let mut staged = config.clone();
    work.clone_into(&mut staged.dir);
    staged.paths.mirror_dir = work.join("mirror");
    // What is played here is not to be in any of them.
    staged.control.copies.clear();
    staged
}

fn make_dir(dir: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| BackupError::at(dir, error))
}

fn remove_any(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
