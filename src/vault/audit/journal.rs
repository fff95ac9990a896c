//! The log's journal: every leaf in its order, in one file beside the mirror of the control store.
//!
//! Tiles and the signed checkpoint are functions of the leaves and the signing key, so a lost log is made again from here
//! byte by byte ([`rebuild`]). A checkpoint is shown to nobody before its leaves are in the journal; so the journal is never
//! shorter than a log that was seen, and a log that is shorter than its journal is an old copy.
//!
//! `frame = length be32 | leaf | SHA-256(0x00 | leaf) 32`; a torn last frame was never part of a shown checkpoint and is cut.
//! Disk space is taken ahead, so that certificates of shreds go on while the mirror's disk is full.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use super::{
    merkle::{self, Hash},
    note::Signer,
    tlog::{Log, LogError, MAX_LEAF_LEN_BYTES},
};

pub mod follow;

/// Leaves appended at once by a rebuild.
const BATCH_LEN: usize = 4_096;
/// Disk space that is taken ahead, and again when half of it is used: a certificate takes 3 to 8 kB, so a thousand.
const AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// The journal, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    len: u64,
    leaves: u64,
    /// Up to where the file has disk space.
    allocated: u64,
}

impl Journal {
    /// Opens the journal of a log of `size` leaves, or makes it; brings it up to date with the leaves of `of` from where it ends.
    ///
    /// # Errors
    /// [`LogError::Shorter`] if it has more leaves than the log, [`LogError::Forked`] if it has others.
    pub(super) fn open(path: &Path, size: u64, of: impl FnMut(u64) -> Result<Option<Vec<u8>>, LogError>) -> Result<Self, LogError> {
        let leaves = count(path)?;
        if leaves > size {
            return Err(LogError::Shorter(format!("{size} leaves, its journal has {leaves}")));
        }
        Ok(Self::open_ahead(path, size, of)?.0)
    }

    /// The same where the journal may have more leaves, which the log is to take in.
    ///
    /// # Errors
    /// [`LogError::Forked`] if it has others than the log.
    pub(super) fn open_ahead(
        path: &Path,
        size: u64,
        mut of: impl FnMut(u64) -> Result<Option<Vec<u8>>, LogError>,
    ) -> Result<(Self, Vec<Vec<u8>>), LogError> {
        let exists = path.try_exists()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if !exists {
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        }
        let (mut len, mut leaves, mut last, mut ahead) = (0_u64, 0_u64, None, Vec::new());
        read(&file, |leaf| {
            if leaves < size {
                last = Some((leaves, merkle::leaf_hash(leaf)));
            } else {
                ahead.push(leaf.to_vec());
            }
            len = len.saturating_add(frame_len(leaf));
            leaves = leaves.saturating_add(1);
            Ok(())
        })?;
        if let Some((index, hash)) = last
            && of(index)?.is_none_or(|leaf| merkle::leaf_hash(&leaf) != hash)
        {
            return Err(LogError::Forked);
        }
        // Only then: it gives back what was taken ahead.
        if file.metadata()?.len() > len {
            file.set_len(len)?;
        }
        let mut journal = Self { file, len, leaves, allocated: len };
        journal.take_ahead();
        journal.catch_up(size, of)?;
        Ok((journal, ahead))
    }

    /// Bytes of its leaves.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// The leaves from this place on.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub(super) fn leaves_from(&self, offset: u64) -> Result<Vec<Vec<u8>>, LogError> {
        let mut bytes = vec![0; usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, offset)?;
        let mut leaves = Vec::new();
        read(bytes.as_slice(), |leaf| {
            leaves.push(leaf.to_vec());
            Ok(())
        })?;
        Ok(leaves)
    }

    /// Appends the leaves of a log of `size` leaves from where the journal ends. What an append that failed has written there
    /// is written again, for a sync that failed may have lost it.
    ///
    /// # Errors
    /// [`LogError::Io`], and those of `of`.
    pub(super) fn catch_up(&mut self, size: u64, mut of: impl FnMut(u64) -> Result<Option<Vec<u8>>, LogError>) -> Result<(), LogError> {
        while self.leaves < size {
            let to = size.min(self.leaves.saturating_add(u64::try_from(BATCH_LEN).unwrap_or(u64::MAX)));
            let missing = (self.leaves..to).map(|index| of(index)?.ok_or_else(|| LogError::Shorter(format!("leaf {index}"))));
            let missing = missing.collect::<Result<Vec<_>, _>>()?;
            self.append(&missing.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// For tests: another file in the journal's place.
    #[cfg(test)]
    pub(super) const fn swap_file(&mut self, other: &mut File) {
        std::mem::swap(&mut self.file, other);
    }

    /// Takes disk space ahead. Where there is none, or the file system cannot, the append will tell.
    fn take_ahead(&mut self) {
        if self.allocated < self.len.saturating_add(AHEAD_BYTES / 2)
            && fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.len, AHEAD_BYTES).is_ok()
        {
            self.allocated = self.len.saturating_add(AHEAD_BYTES);
        }
    }

    /// Appends leaves and syncs them.
    pub(super) fn append(&mut self, leaves: &[&[u8]]) -> io::Result<()> {
        let mut frames = Vec::new();
        for leaf in leaves {
            frames.extend_from_slice(&u32::try_from(leaf.len()).unwrap_or(u32::MAX).to_be_bytes());
            frames.extend_from_slice(leaf);
            frames.extend_from_slice(&merkle::leaf_hash(leaf));
        }
        self.take_ahead();
        self.file.write_all_at(&frames, self.len)?;
        self.file.sync_data()?;
        self.len = self.len.saturating_add(u64::try_from(frames.len()).unwrap_or(u64::MAX));
        self.leaves = self.leaves.saturating_add(u64::try_from(leaves.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// How many leaves a journal has; none if it is not there.
///
/// # Errors
/// [`LogError::Io`].
pub(super) fn count(path: &Path) -> Result<u64, LogError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut leaves = 0_u64;
    read(&file, |_| {
        leaves = leaves.saturating_add(1);
        Ok(())
    })?;
    Ok(leaves)
}

/// Cuts a journal, offline, behind the leaves that a control store knows of, and those behind them that it keeps for the log. What lies
/// further on came later than that control store.
///
/// # Errors
/// [`LogError::Io`].
pub fn cut(path: &Path, known: u64, keeps: impl Fn(&Hash) -> bool) -> Result<(), LogError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let (mut len, mut leaves, mut is_known) = (0_u64, 0_u64, true);
    read(&file, |leaf| {
        is_known = is_known && (leaves < known || keeps(&merkle::leaf_hash(leaf)));
        if is_known {
            len = len.saturating_add(frame_len(leaf));
            leaves = leaves.saturating_add(1);
        }
        Ok(())
    })?;
    file.set_len(len)?;
    Ok(())
}

fn frame_len(leaf: &[u8]) -> u64 {
    u64::try_from(leaf.len()).unwrap_or(u64::MAX).saturating_add(36)
}

/// Hands each whole leaf to `each`, in order, up to a torn end.
fn read(file: impl io::Read, mut each: impl FnMut(&[u8]) -> Result<(), LogError>) -> Result<(), LogError> {
    let mut input = BufReader::with_capacity(1 << 20, file);
    loop {
        let (mut len, mut hash) = ([0; 4], [0; 32]);
        if !fill(&mut input, &mut len)? {
            return Ok(());
        }
        let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        if len > MAX_LEAF_LEN_BYTES {
            return Ok(());
        }
        let mut leaf = vec![0; len];
        if !fill(&mut input, &mut leaf)? || !fill(&mut input, &mut hash)? || merkle::leaf_hash(&leaf) != hash {
            return Ok(());
        }
        each(&leaf)?;
    }
}

/// Fills a buffer; `false` if the end comes first.
fn fill(input: &mut impl io::Read, buffer: &mut [u8]) -> Result<bool, LogError> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What [`rebuild`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltLog {
    /// Leaves of the log.
    pub size: u64,
    /// Where the old log lies now, if there was one.
    pub moved_to: Option<PathBuf>,
}

/// Makes the log in `dir` anew from its journal, offline: tiles and checkpoint are byte by byte what they were. It is made
/// beside and put in place by a rename; the old one is moved aside. `known` is the head that the control store knows.
///
/// # Errors
/// [`LogError::Shorter`] or [`LogError::Forked`] if the journal is not what control knows: nothing is changed then.
pub fn rebuild(dir: &Path, journal: &Path, signer: Signer, known: Option<(u64, Hash)>) -> Result<RebuiltLog, LogError> {
    let fresh = beside(dir, ".new");
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let file = File::open(journal)?;
    let verifier = signer.verifier();
    let mut log = Log::open(&fresh, signer, None)?;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    let flush = |log: &mut Log, waiting: &mut Vec<Vec<u8>>| {
        let appended = log.append(&waiting.iter().map(Vec::as_slice).collect::<Vec<_>>()).map(drop);
        waiting.clear();
        appended
    };
    read(&file, |leaf| {
        waiting.push(leaf.to_vec());
        if waiting.len() < BATCH_LEN { Ok(()) } else { flush(&mut log, &mut waiting) }
    })?;
    flush(&mut log, &mut waiting)?;
    let size = log.head().size;
    drop(log);
    // Read back as anybody would, and held against what control knows.
    super::tlog::verify_rebuilt(&fresh, &verifier, known)?;
    let moved_to = move_aside(dir)?;
    std::fs::rename(&fresh, dir)?;
    dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
    Ok(RebuiltLog { size, moved_to })
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn move_aside(dir: &Path) -> Result<Option<PathBuf>, LogError> {
    if !dir.try_exists()? {
        return Ok(None);
    }
    for number in 1_u32.. {
        let target = beside(dir, &format!(".replaced-{number}"));
        if !target.try_exists()? {
            std::fs::rename(dir, &target)?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
