//! A further copy of the control store: the mirror's file once more, in a directory of its own, brought along behind the mirror.
//!
//! What is brought is read from the mirror's file, never from memory: so a copy that lags needs no queue, and who brings it need not be
//! the server. Every frame is proven on its way. A copy is the beginning of the mirror's file; where it is not any more (the mirror was
//! written anew, the copy is damaged), it is written anew beside and put in place by a rename. One that can be read and is ahead of the
//! mirror, or took another way, is never written over: it tells that the mirror is an old copy. Whether it took another way is known where
//! the mirror's file still knows of where the copy ends: it has forgotten what lies before its snapshot.
//!
//! What is read back is no proof that it is on the disk: a process that was killed, or a sync that failed, leaves it in the system's memory
//! alone. So what is found is synced and read from the disk before anything is built on it, and what a sync has failed on is written anew.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{Advice, fadvise, statvfs};

use super::{
    super::{
        error::{OpenError, at},
        lock::DirLock,
        options::sync_dir,
    },
    State, frame, log_path, publish_snapshot, read,
};

/// Bytes moved at once.
const CHUNK_LEN: u64 = 1024 * 1024;

/// What lies beside a mirror and goes with it to each copy.
pub trait Companion: Send {
    /// Brings the copy to where the mirror's is, durably; `beat` is told whenever it has come on.
    ///
    /// # Errors
    /// Those of the disks.
    fn bring(&mut self, beat: &dyn Fn()) -> io::Result<()>;
}

/// Makes the companion of a copy, from the mirror's directory and the copy's.
pub type MakeCompanion = fn(&Path, &Path) -> Box<dyn Companion>;

/// How a copy is made.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Way {
    /// One that is not there is begun.
    pub(in super::super) begins: bool,
    /// What is brought is synced.
    pub(in super::super) sync: bool,
    /// What goes with it.
    pub(in super::super) companion: Option<MakeCompanion>,
}

/// A copy that is brought along; its directory is locked.
pub(in super::super) struct Follower {
    from: PathBuf,
    to: PathBuf,
    way: Way,
    companion: Option<Box<dyn Companion>>,
    written: Option<Written>,
    /// A sync failed: what of the copy is on its disk is not known, whatever is read back.
    is_doubtful: bool,
    /// It is to be written anew, for which its disk had no room of so many bytes.
    lacks: Option<u64>,
    moved: u64,
    /// Told whenever it has come on.
    beat: Arc<dyn Fn() + Send + Sync>,
    _lock: DirLock,
}

/// A copy that is the beginning of the mirror's file.
struct Written {
    file: File,
    inode: u64,
    len: u64,
    state: State,
    /// The mirror's file that it is the beginning of.
    of: u64,
}

/// What makes a copy what the mirror is.
enum Plan {
    /// What the mirror's file has beyond it, up to there.
    Append { written: Written, end: u64, state: State },
    /// The whole of the mirror's file.
    Anew { len: u64, state: State },
}

impl Follower {
    /// Takes the place of the copy in `to` of the mirror in `from`.
    ///
    /// # Errors
    /// [`OpenError::CopyMissing`] where there is none and none is to be begun; [`OpenError::Locked`].
    pub(in super::super) fn open(from: &Path, to: &Path, way: Way) -> Result<Self, OpenError> {
        if way.begins {
            make_dir(to, way.sync).map_err(at(to.display()))?;
        } else if !log_path(to).try_exists().map_err(at(to.display()))? {
            return Err(OpenError::CopyMissing(to.to_owned()));
        }
        let lock = DirLock::take(to)?;
        let companion = way.companion.map(|make| make(from, to));
        let (from, to, beat) = (from.to_owned(), to.to_owned(), Arc::new(|| ()));
        Ok(Self { from, to, way, companion, written: None, is_doubtful: false, lacks: None, moved: 0, beat, _lock: lock })
    }

    /// The same, which tells whenever it has come on.
    pub(in super::super) fn told_to(self, beat: impl Fn() + Send + Sync + 'static) -> Self {
        Self { beat: Arc::new(beat), ..self }
    }

    /// The same of a copy that may be one of which a sync has failed, before its disk went away.
    pub(in super::super) fn doubting(self, is_doubtful: bool) -> Self {
        Self { is_doubtful, ..self }
    }

    /// Whether what of it is on its disk is not known.
    pub(in super::super) const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// Bytes that were moved so far.
    pub(in super::super) const fn moved(&self) -> u64 {
        self.moved
    }

    /// Brings the copy to where the mirror is, durably. `wanted` is what the mirror is known to have.
    ///
    /// # Errors
    /// [`OpenError::ControlBehindCopy`], [`OpenError::CopyDiverged`], [`OpenError::Foreign`]: the copy is as it was. Those of the disks:
    /// the next step goes on.
    pub(in super::super) fn step(&mut self, wanted: u64) -> Result<State, OpenError> {
        if let Some(len) = self.lacks {
            // Before both are read as a whole to find that out again.
            self.make_room(len).map_err(at(self.to.display()))?;
        }
        let path = log_path(&self.from);
        let mirror = read::open(&path)?;
        let meta = mirror.metadata().map_err(at(path.display()))?;
        // No further than this: what lies beside the mirror is then never behind what is brought.
        let (of, limit) = (meta.ino(), meta.len());
        let is_in_place = |written: &&Written| std::fs::metadata(log_path(&self.to)).is_ok_and(|found| found.ino() == written.inode);
        let known = self.written.as_ref().filter(|written| written.of == of && written.len <= limit).filter(is_in_place);
        let next = match known {
            Some(written) => read::follow(&mirror, written.len, limit, written.state).map_err(at(path.display()))?,
            None => None,
        };
        let plan = match (next, self.written.take()) {
            (Some((end, state)), Some(written)) if state.seq >= wanted => Plan::Append { written, end, state },
            _ => self.compare(&mirror, of, limit)?,
        };
        if let Some(companion) = &mut self.companion
            && let Err(error) = companion.bring(&*self.beat)
        {
            if let Plan::Append { written, .. } = plan {
                self.written = Some(written);
            }
            return Err(at(self.to.display())(error));
        }
        match plan {
            Plan::Append { written, end, state } => self.append(&mirror, written, end, state),
            Plan::Anew { len, state } => self.write_anew(&mirror, of, len, state),
        }
    }

    /// Appends what the mirror has beyond the copy.
    fn append(&mut self, mirror: &File, written: Written, end: u64, state: State) -> Result<State, OpenError> {
        if end > written.len {
            if let Err(error) = move_range(mirror, &written.file, (written.len, end), &*self.beat) {
                // What was there before is there, and the next step goes on behind it.
                if written.file.set_len(written.len).is_ok() {
                    self.written = Some(written);
                }
                return Err(at(self.to.display())(error));
            }
            if self.way.sync
                && let Err(error) = written.file.sync_data()
            {
                self.is_doubtful = true;
                return Err(at(self.to.display())(error));
            }
            self.moved = self.moved.saturating_add(end.saturating_sub(written.len));
        }
        self.written = Some(Written { len: end, state, ..written });
        Ok(state)
    }

    /// Has what lies there be on its disk, and be read from there.
    fn settle(&mut self) -> io::Result<()> {
        let file = match File::open(log_path(&self.to)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        if !self.way.sync {
            return Ok(());
        }
        // Its name too: it may have got it by a rename that was cut short before that was synced.
        let synced = file.sync_all().and_then(|()| sync_dir(&self.to));
        self.is_doubtful |= synced.is_err();
        synced?;
        // Only advice, so a refusal changes nothing.
        fadvise(&file, 0, None, Advice::DontNeed).unwrap_or_default();
        Ok(())
    }

    /// Finds out what the copy is of the mirror's file, and what makes it its beginning. Changes nothing but a torn end.
    fn compare(&mut self, mirror: &File, of: u64, limit: u64) -> Result<Plan, OpenError> {
        self.settle().map_err(at(self.to.display()))?;
        let (from, to, beat) = (log_path(&self.from), log_path(&self.to), &*self.beat);
        let readable = |_, body: &[u8]| {
            beat();
            frame::take_writes(body).map(drop)
        };
        let copy = match read::read(&to, readable) {
            Ok(copy) => Some(copy),
            Err(OpenError::MirrorMissing(_)) if self.way.begins => None,
            Err(OpenError::MirrorMissing(_)) => return Err(OpenError::CopyMissing(self.to.clone())),
            Err(error @ OpenError::MirrorDamaged { .. }) => {
                tracing::warn!(%error, "store: a copy of the control store is written anew");
                None
            }
            Err(error) => return Err(error),
        };
        // The digest that the mirror has where the copy ends.
        let (ends, mut met) = (copy.as_ref().map(|copy| copy.state.seq), None);
        let note = |state: State| {
            if Some(state.seq) == ends {
                met = Some(state.digest);
            }
        };
        let whole = read::read_file(&from, mirror, limit, readable, note)?;
        let anew = Plan::Anew { len: whole.len, state: whole.state };
        let Some(copy) = copy else { return Ok(anew) };
        if copy.store_id != whole.store_id {
            return Err(OpenError::Foreign("a copy of the control store"));
        }
        if copy.state.seq > whole.state.seq {
            return Err(OpenError::ControlBehindCopy { dir: self.to.clone(), control: whole.state.seq, copy: copy.state.seq });
        }
        if met.is_some_and(|digest| digest != copy.state.digest) {
            return Err(OpenError::CopyDiverged { dir: self.to.clone(), seq: copy.state.seq });
        }
        let file = OpenOptions::new().read(true).write(true).open(&to).map_err(at(to.display()))?;
        let is_beginning = copy.len <= whole.len && same_bytes(mirror, &file, copy.len, beat).map_err(at(to.display()))?;
        if self.is_doubtful || !is_beginning {
            return Ok(anew);
        }
        let meta = file.metadata().map_err(at(to.display()))?;
        if meta.len() > copy.len {
            // What a step that was cut short has left.
            file.set_len(copy.len).map_err(at(to.display()))?;
        }
        let written = Written { file, inode: meta.ino(), len: copy.len, state: copy.state, of };
        Ok(Plan::Append { written, end: whole.len, state: whole.state })
    }

    /// Sees to it that the disk has so much room for a copy that is written anew.
    fn make_room(&mut self, len: u64) -> io::Result<()> {
        self.lacks = Some(len);
        match std::fs::remove_file(self.fresh()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Where a file system does not say, the writing tells.
        let free = statvfs(&self.to).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize));
        if free < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lacks = None;
        Ok(())
    }

    /// Where a copy is written anew.
    fn fresh(&self) -> PathBuf {
        self.to.join("mirror.new")
    }

    /// Writes the copy anew beside, and puts it in place.
    fn write_anew(&mut self, mirror: &File, of: u64, len: u64, state: State) -> Result<State, OpenError> {
        self.make_room(len).map_err(at(self.to.display()))?;
        let fresh = self.fresh();
        let write = || -> io::Result<Written> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            move_range(mirror, &file, (0, len), &*self.beat)?;
            file.sync_all()?;
            publish_snapshot(&self.to)?;
            let inode = file.metadata()?.ino();
            Ok(Written { file, inode, len, state, of })
        };
        let written = write().map_err(|error| {
            // It takes room that the copy beside it may need; the failure itself matters more.
            drop(std::fs::remove_file(&fresh));
            at(self.to.display())(error)
        })?;
        self.moved = self.moved.saturating_add(len);
        self.is_doubtful = false;
        self.written = Some(written);
        Ok(state)
    }
}

/// Makes a directory and those above it, durably.
fn make_dir(dir: &Path, sync: bool) -> io::Result<()> {
    let whole = std::path::absolute(dir)?;
    let missing = whole.ancestors().take_while(|above| !above.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(&whole)?;
    for (number, above) in whole.ancestors().skip(1).take(if sync { missing.max(1) } else { 0 }).enumerate() {
        match sync_dir(above) {
            // What was there before may be somebody else's.
            Err(error) if number >= missing && error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Moves the bytes of a range from one file to the same place of another.
pub(in crate::vault) fn move_range(from: &File, to: &File, (start, end): (u64, u64), beat: &dyn Fn()) -> io::Result<()> {
    let mut chunk = vec![0; usize::try_from(end.saturating_sub(start).min(CHUNK_LEN)).unwrap_or_default()];
    let mut place = start;
    while place < end {
        let wanted = usize::try_from(end.saturating_sub(place)).unwrap_or(usize::MAX).min(chunk.len());
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(part, place)?;
        to.write_all_at(part, place)?;
        beat();
        place = place.saturating_add(wanted as u64);
    }
    Ok(())
}

/// Whether two files begin with the same `len` bytes.
fn same_bytes(one: &File, other: &File, len: u64, beat: &dyn Fn()) -> io::Result<bool> {
    let chunk_len = usize::try_from(len.min(CHUNK_LEN)).unwrap_or_default();
    let (mut first, mut second) = (vec![0; chunk_len], vec![0; chunk_len]);
    let mut place = 0_u64;
    while place < len {
        let wanted = usize::try_from(len.saturating_sub(place)).unwrap_or(usize::MAX).min(chunk_len);
        let (left, right) = (first.get_mut(..wanted).unwrap_or_default(), second.get_mut(..wanted).unwrap_or_default());
        one.read_exact_at(left, place)?;
        other.read_exact_at(right, place)?;
        beat();
        if left != right {
            return Ok(false);
        }
        place = place.saturating_add(wanted as u64);
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
