//! A restore that changes nothing: a generation is put beside a copy of today's control store, made ready as a restore would, looked
//! at, and removed. The root is read from custody and never changed; it is copied nowhere.
//!
//! With the server stopped: a shred that ran meanwhile would be certified while this process still held its keys.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BackupError, Manifest, Place, Progress, Today,
    restore::{bring_all, close, fits, remove},
};
use crate::{
    config::Config,
    domain::Clock,
    server::rooms::{self, RoomError, engine},
    vault::{
        ops::{Destroyed, Proof},
        store::embedded::Embedded,
    },
};

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
    from: &Path,
    (generation, step, work, demo): (Option<u64>, u64, Option<PathBuf>, bool),
    clock: Arc<dyn Clock>,
    begins: impl FnOnce(u64),
    progress: Progress<'_>,
) -> Result<Rehearsed, BackupError> {
    let place = Place::open(from)?;
    let manifest = place.manifest(generation)?;
    // No server, and so no shred, until this is over.
    let _hold = Embedded::hold(&engine(config))?;
    fits(&place, &manifest, &Today::read(config)?)?;
    let work = work.unwrap_or_else(|| config.dir.join("rehearsal"));
    let marker = work.join("REHEARSAL");
    if work.try_exists().map_err(|error| BackupError::at(&work, error))? {
        if !marker.try_exists().map_err(|error| BackupError::at(&marker, error))? {
            return Err(BackupError::NotEmpty(work));
        }
        remove(&work)?;
    }
    let started = clock.monotonic();
    begins(manifest.bytes);
    let stage = Stage { config: staged(config, &work), work };
    stage.set(config, &marker)?;
    let data = stage.config.data_dir();
    make_dir(&data)?;
    bring_all(&place, &manifest.files, &data, progress)?;
    let copied = clock.monotonic();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let way = (tasks.clone(), stop.clone());
    let options = engine(&stage.config);
    let (rooms, _) = rooms::open_of(&stage.config, options, rooms::CustodyUse::ReadOnly, Arc::clone(&clock), way, demo).await?;
    rooms.vault.begin_restoring();
    let over = rooms.vault.replay_retention().await;
    let ready = clock.monotonic();
    let proof = rooms.vault.prove_shreds(step).await;
    close(&rooms, &tasks, &stop).await;
    let (over, proof) = (over.map_err(RoomError::from)?, proof.map_err(RoomError::from)?);
    let (copied_in, ready_in) = (copied.saturating_sub(started), ready.saturating_sub(copied));
    stage.clear()?;
    Ok(Rehearsed { manifest, over, proof, copied_in, ready_in })
}

/// Where it is played; removed when it is dropped.
struct Stage {
    config: Config,
    work: PathBuf,
}

impl Stage {
    /// Copies today's control store, its mirror and the log.
    fn set(&self, config: &Config, marker: &Path) -> Result<(), BackupError> {
        make_dir(&self.work)?;
        fs::write(marker, "").map_err(|error| BackupError::at(marker, error))?;
        copy_dir(&config.control_dir(), &self.config.control_dir())?;
        copy_dir(&config.log_dir(), &self.config.log_dir())?;
        copy_dir(&config.paths.mirror_dir, &self.config.paths.mirror_dir)?;
        let (from, to) = (config.dir.join("format"), self.config.dir.join("format"));
        fs::copy(&from, to).map(drop).map_err(|error| BackupError::at(&from, error))
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
    staged
}

fn make_dir(dir: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| BackupError::at(dir, error))
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), BackupError> {
    make_dir(to)?;
    for entry in fs::read_dir(from).map_err(|error| BackupError::at(from, error))? {
        let entry = entry.map_err(|error| BackupError::at(from, error))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(|error| BackupError::at(from, error))?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).map_err(|error| BackupError::at(&target, error))?;
        }
    }
    Ok(())
}
