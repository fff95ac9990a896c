//! A log that is *filed later*: an append syncs the journal, before anything else; the files are written and synced by the next
//! [`Log::file`]. Until the control store knows of that ([`Log::told`]), the files of the filing that it does know of stay: what a power
//! cut has torn is made again from there and the journal. A leaf that only the journal has is taken in, and signed, if control
//! knows of it or keeps it for the log; none else.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use super::{
    super::{
        checkpoint::Checkpoint,
        journal::{self, Journal},
        merkle::{self, Hash},
        note::Signer,
        tiles::{self, LEVELS, Tile, TileFiles},
    },
    Log, LogError, check_known, sync_dir,
};

/// What of a log that is filed later is synced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filed {
    head: (u64, Hash),
    /// The filing that the control store knows of.
    told: (u64, Hash),
    /// Where the leaves behind `head` begin in the journal.
    journal_len: u64,
}

impl Filed {
    /// The trees whose files a start may need.
    pub(super) const fn sizes(&self) -> [u64; 2] {
        [self.head.0, self.told.0]
    }
}

/// What the control store knows of a log.
#[derive(Clone, Copy)]
pub struct ControlKnows<'a> {
    /// The head it knows.
    pub known: Option<(u64, Hash)>,
    /// The head that the files are known to have on the disk: a shorter log is an old copy.
    pub filed: Option<(u64, Hash)>,
    /// Whether it still keeps a leaf for the log, by the leaf's hash.
    pub keeps: &'a dyn Fn(&Hash) -> bool,
}

impl Log {
    /// [`Log::open_with_journal`] of a log whose appends sync the journal alone. Leaves that the journal has beyond the files are
    /// taken into them, if control vouches for each.
    ///
    /// # Errors
    /// As [`Log::open_with_journal`]; [`LogError::ControlBehind`] or [`LogError::Forked`] if the journal has leaves of which control
    /// knows nothing, or others than it knows: nothing is signed then.
    pub fn open_filed_later(
        dir: &Path,
        journal: &Path,
        signer: impl Into<Arc<Signer>>,
        control: ControlKnows<'_>,
    ) -> Result<Self, LogError> {
        let signer = signer.into();
        // All that control knew of was synced before anything was filed later.
        let held = control.filed.or(control.known);
        let last = held.unwrap_or_else(|| (0, merkle::empty_root()));
        let mut log = match Self::open_beside(dir, Arc::clone(&signer), held, &[last.0]) {
            // A power cut may have left anything of what was not filed.
            Err(error) if journal::count(journal)? > last.0 => Self::open_filed(dir, signer, last, &[]).map_err(|_| error)?,
            opened => opened?,
        };
        let (journal, ahead) = Journal::open_ahead(journal, log.head.size, log.leaves())?;
        log.hold_against_control(&ahead, control)?;
        log.journal = Some(journal);
        log.filed = Some(Filed { head: last, told: last, journal_len: 0 });
        log.take_in(&ahead.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        check_known(&log.files, &log.head, control.known)?;
        log.file()?;
        // Whether that had anything to do or not: all of the journal is in the files now.
        let (head, journal_len) = ((log.head.size, log.head.root), log.journal.as_ref().map_or(0, Journal::len));
        log.filed = Some(Filed { head, told: last, journal_len });
        Ok(log)
    }

    /// Holds leaves that only the journal has against what control knows of the log.
    fn hold_against_control(&self, ahead: &[Vec<u8>], control: ControlKnows<'_>) -> Result<(), LogError> {
        if ahead.is_empty() {
            return Ok(());
        }
        let mut hashes = self.leaf_hashes(0)?;
        hashes.extend(ahead.iter().map(|leaf| merkle::leaf_hash(leaf)));
        let (known, root) = control.known.unwrap_or_else(|| (0, merkle::empty_root()));
        // A journal that is shorter than what control knows is found out by what is missing.
        if let Some(beginning) = usize::try_from(known).ok().and_then(|known| hashes.get(..known))
            && merkle::root(&merkle::Leaves(beginning), known).ok() != Some(root)
        {
            return Err(LogError::Forked);
        }
        let behind = usize::try_from(known.max(self.head.size)).unwrap_or(usize::MAX);
        if hashes.iter().skip(behind).all(|hash| (control.keeps)(hash)) {
            return Ok(());
        }
        Err(LogError::ControlBehind { size: u64::try_from(hashes.len()).unwrap_or(u64::MAX), known })
    }

    /// The log as it was filed last, whatever became of its checkpoint and of files beyond; those of trees of the sizes `kept` stay.
    fn open_filed(dir: &Path, signer: Arc<Signer>, (size, root): (u64, Hash), kept: &[u64]) -> Result<Self, LogError> {
        let files = TileFiles(dir.to_owned());
        let head = Checkpoint { origin: signer.name().to_owned(), size, root };
        check_known(&files, &head, None)?;
        let note = head.sign(&signer)?;
        Self::of_files(files, signer, head, note, kept)
    }

    /// [`Log::reopen`]: everything behind the last filing is written again, for a sync that failed may have lost any of it. What is
    /// shown meanwhile stays.
    pub(super) fn reopen_filed(&mut self, filed: Filed) -> Result<(), LogError> {
        let kept = [self.head.size, filed.told.0];
        let mut fresh = Self::open_filed(&self.files.0, Arc::clone(&self.signer), filed.head, &kept)?;
        let ahead = self.journal.as_ref().map_or(Ok(Vec::new()), |journal| journal.leaves_from(filed.journal_len))?;
        fresh.filed = Some(filed);
        fresh.take_in(&ahead.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        check_known(&fresh.files, &fresh.head, Some((self.head.size, self.head.root)))?;
        fresh.journal = self.journal.take();
        *self = fresh;
        Ok(())
    }

    /// The head that the files have on the disk; `None` where they are synced with each append.
    #[must_use]
    pub fn filed(&self) -> Option<(u64, Hash)> {
        self.filed.as_ref().map(|filed| filed.head)
    }

    /// Syncs the files of a log that is filed later; the head they have then, for the control store to know of, `None` if it does.
    ///
    /// # Errors
    /// [`LogError::Io`]: the log must be opened anew.
    pub fn file(&mut self) -> Result<Option<(u64, Hash)>, LogError> {
        if self.failed {
            return Err(LogError::Closed);
        }
        let head = (self.head.size, self.head.root);
        let Some(before) = self.filed else { return Ok(None) };
        if before.head == head {
            return Ok(Some(head).filter(|head| before.told != *head));
        }
        self.failed = true;
        let mut dirs = BTreeSet::new();
        for level in (0..LEVELS).map(Some).chain([None]) {
            let (index, width) = tiles::edge(level, self.head.size);
            if width > 0 && tiles::edge(level, before.head.0) != (index, width) {
                let path = self.files.0.join(Tile { level, index, width: u16::try_from(width).unwrap_or(256) }.path());
                fs::File::open(&path)?.sync_all()?;
                dirs.extend(path.parent().map(Path::to_owned));
            }
        }
        dirs.iter().try_for_each(|dir| sync_dir(dir))?;
        fs::File::open(self.files.0.join("checkpoint"))?.sync_all()?;
        sync_dir(&self.files.0)?;
        let journal_len = self.journal.as_ref().map_or(0, Journal::len);
        self.filed = Some(Filed { head, told: before.told, journal_len });
        self.failed = false;
        self.drop_narrower(before.head.0);
        Ok(Some(head))
    }

    /// The control store knows of this filing now: the files of the one before may go.
    pub fn told(&mut self, head: (u64, Hash)) {
        if let Some(filed) = &mut self.filed {
            let before = std::mem::replace(&mut filed.told, head);
            self.drop_narrower(before.0);
        }
    }
}
