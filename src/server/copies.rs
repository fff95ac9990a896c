//! Further copies of the control store, from outside the server: brought along by a command, held against the mirror, recovered from.
//!
//! A copy holds what the mirror holds, and no root: what was shredded is as unreadable in a copy of any date as in a backup, for the pages
//! that lead there hang on roots that custody has destroyed. What an old copy is not is a control store: custody, the data store, the
//! log and newer copies refuse it by name.

use std::{path::Path, sync::Arc};

use super::{
    backup::{BackupError, Today, refuse_inside},
    rooms::{self, RoomError, engine},
};
use crate::{
    config::{Config, ControlCopy},
    domain::{Clock, Epoch, SystemClock},
    vault::store::embedded::{Embedded, mirror},
};

/// What a copy was brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brought {
    /// The last commit of the control store that it has.
    pub control_seq: u64,
    /// The epoch that it is of.
    pub epoch: Epoch,
    /// Bytes that were moved.
    pub moved_bytes: u64,
}

/// Brings the copy in a directory to where the mirror is, while the server runs or not; where there is none, it is begun.
///
/// # Errors
/// [`BackupError`]: of a directory inside the store's, of a copy that is ahead of the mirror or of another store, of the disks.
pub fn ship(config: &Config, to: &Path) -> Result<Brought, BackupError> {
    refuse_inside(config, to)?;
    let shipped = Embedded::ship(&engine(config), to)?;
    Ok(Brought { control_seq: shipped.control_seq, epoch: Today::of(to)?.epoch, moved_bytes: shipped.moved_bytes })
}

/// A copy of the settings, held against the mirror.
#[derive(Debug)]
pub struct Examined<'a> {
    /// What the settings say.
    pub copy: &'a ControlCopy,
    /// The last commit that it has, and the mirror's; or why one of them cannot be read.
    pub standing: Result<(u64, u64), String>,
}

/// Looks where each copy of the settings stands. Reads no secret, and changes nothing.
#[must_use]
pub fn examine(config: &Config) -> Vec<Examined<'_>> {
    let seq = |dir: &Path| mirror::seq(dir).map_err(|error| error.to_string());
    let copies = config.control.copies.iter();
    // The copy first: the mirror may go on meanwhile.
    copies.map(|copy| Examined { copy, standing: seq(&copy.dir).and_then(|has| Ok((has, seq(&config.paths.mirror_dir)?))) }).collect()
}

/// Refuses a copy whose root custody has destroyed.
///
/// # Errors
/// [`RoomError::StaleCopy`]; those of the copy and of custody, which must be there.
pub(super) fn refuse_stale(config: &Config, dir: &Path) -> Result<(), RoomError> {
    let Today { store, epoch, .. } = Today::of(dir)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (mut newest, mut is_held) = (epoch, true);
    for (component, settings) in rooms::custody(config, store, &clock)?.iter().zip(&config.custody) {
        let crate::config::Custody::File { path } = settings;
        let held = component.load().map_err(|source| RoomError::Custody { path: path.clone(), source })?;
        is_held &= held.iter().any(|held| held.epoch == epoch);
        newest = held.iter().map(|held| held.epoch).fold(newest, Epoch::max);
    }
    if !is_held && newest > epoch {
        return Err(RoomError::StaleCopy { dir: dir.to_owned(), epoch, present: newest });
    }
    Ok(())
}
