//! The transparency log: an append-only Merkle tree of leaves in tiles on disk, with a signed checkpoint.
//!
//! An append writes bundles and tiles, syncs them, then replaces the checkpoint; what a crash left beyond the
//! checkpoint is dropped at the next start; one that is *filed later* syncs its journal alone ([`filing`]). The log never signs two trees that contradict each other: it does not open
//! if it is shorter than, or other than, its checkpoint or the head that the control store knows. The caller keeps
//! leaves in the control store until they are in here ([`Log::append_missing`]). An append that failed leaves the log as it
//! was, for reading; before the next one it is opened anew ([`Log::reopen`]). Blocking: runs on the log's own thread.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    checkpoint::{Checkpoint, LogProof, ProofError},
    journal::Journal,
    merkle::{self, Hash},
    note::{NoteError, Signer, Verifier},
    tiles::{self, Edges, LEVELS, Resource, Tile, TileFiles, TileTree, WIDTH},
};

mod filing;

pub use filing::ControlKnows;
use filing::Filed;

/// Longest leaf: a bundle gives each entry a 16-bit length.
pub const MAX_LEAF_LEN_BYTES: usize = 65_535;

/// Why the log did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log has fewer leaves than a checkpoint promised; names what is missing.
    #[error("log-shorter: the log is shorter than its last checkpoint: {0}; put the present one back, or run lethe recover log")]
    Shorter(String),
    /// The log is not the one whose head the control store knows.
    #[error("log-forked: the log contradicts what the control store or its journal knows of it")]
    Forked,
    /// A file does not hold what it must; names it.
    #[error("log-damaged: {0}")]
    Damaged(String),
    /// The log has leaves that the control store neither knows nor still keeps for it.
    #[error(
        "control-behind-log: the log has {size} leaves, the control store knows of {known}: it is an old copy; put today's mirror back, then run lethe recover control"
    )]
    ControlBehind {
        /// Leaves of the log.
        size: u64,
        /// Leaves that control knows.
        known: u64,
    },
    /// The checkpoint is not signed by the store's key, or of another log.
    #[error("log {0}")]
    Checkpoint(#[from] ProofError),
    /// Signing failed.
    #[error("log note: {0}")]
    Note(#[from] NoteError),
    /// A leaf is over [`MAX_LEAF_LEN_BYTES`].
    #[error("leaf is over 65,535 bytes")]
    LeafTooLong,
    /// Reading or writing a file failed.
    #[error("log: {0}")]
    Io(#[from] io::Error),
    /// Too many calls wait for the log: try again later.
    #[error("log is busy")]
    Busy,
    /// The log failed to write and must be opened anew first, or is shutting down.
    #[error("log is closed")]
    Closed,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct Log {
    files: TileFiles,
    signer: Arc<Signer>,
    head: Checkpoint,
    note: String,
    bundle: Vec<u8>,
    edges: Vec<Vec<u8>>,
    journal: Option<Journal>,
    filed: Option<Filed>,
    failed: bool,
}

impl Log {
    /// Makes an empty log, or opens one that is there. `known` is the head that the control store knows.
    ///
    /// # Errors
    /// [`LogError::Shorter`], [`LogError::Forked`], [`LogError::Damaged`], [`LogError::Checkpoint`]: the log does not open.
    pub fn open(dir: &Path, signer: impl Into<Arc<Signer>>, known: Option<(u64, Hash)>) -> Result<Self, LogError> {
        Self::open_beside(dir, signer.into(), known, &[])
    }

    /// [`Log::open`], which leaves the files of trees of these sizes.
    fn open_beside(dir: &Path, signer: Arc<Signer>, known: Option<(u64, Hash)>, kept: &[u64]) -> Result<Self, LogError> {
        let files = TileFiles(dir.to_owned());
        let (head, note) = match files.checkpoint()? {
            Some(note) => (Checkpoint::open(&note, &signer.verifier())?, note),
            None if known.is_none_or(|(size, _)| size == 0) && !dir.join("tile").exists() => first_checkpoint(dir, &signer)?,
            None => return Err(LogError::Shorter("checkpoint".into())),
        };
        check_known(&files, &head, known)?;
        Self::of_files(files, signer, head, note, kept)
    }

    /// The log as its files are, up to a head that they were held against.
    fn of_files(files: TileFiles, signer: Arc<Signer>, head: Checkpoint, note: String, kept: &[u64]) -> Result<Self, LogError> {
        let (bundle, edges) = (Vec::new(), Vec::new());
        let mut log = Self { files, signer, head, note, bundle, edges, journal: None, filed: None, failed: false };
        log.check_present()?;
        log.load_edges()?;
        log.drop_beyond(kept)?;
        Ok(log)
    }

    /// [`Log::open`], with every leaf in a journal besides, from which [`rebuild`](super::journal::rebuild) makes a lost log anew.
    ///
    /// # Errors
    /// As [`Log::open`]; [`LogError::Shorter`] too if the journal has more leaves.
    pub fn open_with_journal(
        dir: &Path,
        journal: &Path,
        signer: impl Into<Arc<Signer>>,
        known: Option<(u64, Hash)>,
    ) -> Result<Self, LogError> {
        let mut log = Self::open(dir, signer, known)?;
        log.journal = Some(Journal::open(journal, log.head.size, log.leaves())?);
        Ok(log)
    }

    /// Opens the log anew after an append that failed, from what is on disk: its leaves are dropped, or taken in if their
    /// checkpoint was written. The journal then gets what it lacks.
    ///
    /// # Errors
    /// As [`Log::open_with_journal`]; the log stays as it is.
    pub fn reopen(&mut self) -> Result<(), LogError> {
        if let Some(filed) = self.filed {
            return self.reopen_filed(filed);
        }
        let mut fresh = Self::open(&self.files.0, Arc::clone(&self.signer), Some((self.head.size, self.head.root)))?;
        // If syncing its rename is what failed, only another one puts it on the disk.
        write_durable(&self.files.0.join("checkpoint"), fresh.note.as_bytes())?;
        if let Some(journal) = &mut self.journal {
            journal.catch_up(fresh.head.size, fresh.leaves())?;
        }
        fresh.journal = self.journal.take();
        *self = fresh;
        Ok(())
    }

    /// Whether an append has failed since the log was opened.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Reads leaves by their index, in any order, best one after the other.
    fn leaves(&self) -> impl FnMut(u64) -> Result<Option<Vec<u8>>, LogError> {
        let mut bundle: (Option<u64>, Vec<u8>) = (None, Vec::new());
        move |index| {
            let (number, at) = (index >> 8, usize::try_from(index & 0xff).unwrap_or(usize::MAX));
            if bundle.0 != Some(number) {
                let (last, edge_width) = tiles::edge(None, self.head.size);
                bundle = (Some(number), self.must_read(None, number, if number == last { edge_width } else { WIDTH })?);
            }
            Ok(tiles::bundle_entries(&bundle.1).and_then(|entries| entries.get(at).map(|leaf| leaf.to_vec())))
        }
    }

    /// The hashes of the leaves from `first` on, in order.
    ///
    /// # Errors
    /// [`LogError::Io`] or [`LogError::Damaged`].
    pub fn leaf_hashes(&self, first: u64) -> Result<Vec<Hash>, LogError> {
        let mut hashes = Vec::new();
        let (last, edge_width) = tiles::edge(Some(0), self.head.size);
        for index in first >> 8..=last {
            let width = if index == last { edge_width } else { WIDTH };
            if width > 0 {
                let skipped = if index == first >> 8 { usize::try_from(first & 0xff).unwrap_or(usize::MAX) } else { 0 };
                hashes.extend(tiles::tile_hashes(&self.must_read(Some(0), index, width)?).into_iter().skip(skipped));
            }
        }
        Ok(hashes)
    }

    /// The signed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        &self.note
    }

    /// The tree head.
    #[must_use]
    pub const fn head(&self) -> &Checkpoint {
        &self.head
    }

    /// Appends leaves and syncs them and the new checkpoint; the first one's index.
    ///
    /// # Errors
    /// [`LogError::LeafTooLong`]: nothing is done. [`LogError::Io`]: whether it was done [`Log::reopen`] tells, which must come
    /// before the next append.
    pub fn append(&mut self, leaves: &[&[u8]]) -> Result<u64, LogError> {
        if self.failed {
            return Err(LogError::Closed);
        }
        if leaves.iter().any(|leaf| leaf.len() > MAX_LEAF_LEN_BYTES) {
            return Err(LogError::LeafTooLong);
        }
        let first = self.head.size;
        if leaves.is_empty() {
            return Ok(first);
        }
        self.failed = true;
        if self.filed.is_some() {
            self.journal.as_mut().map_or(Ok(()), |journal| journal.append(leaves))?;
            self.take_in(leaves)?;
            return Ok(first);
        }
        let (head, note) = self.write(leaves)?;
        // Nobody has seen the checkpoint yet: what is shown can be made again from the journal.
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(leaves))?;
        (self.head, self.note, self.failed) = (head, note, false);
        self.drop_narrower(first);
        Ok(first)
    }

    /// Takes leaves that the journal has into the files.
    fn take_in(&mut self, leaves: &[&[u8]]) -> Result<(), LogError> {
        if leaves.is_empty() {
            return Ok(());
        }
        self.failed = true;
        let first = self.head.size;
        let (head, note) = self.write(leaves)?;
        (self.head, self.note, self.failed) = (head, note, false);
        self.drop_narrower(first);
        Ok(())
    }

    /// Writes bundles, tiles and checkpoint of a tree with these leaves more.
    fn write(&mut self, leaves: &[&[u8]]) -> Result<(Checkpoint, String), LogError> {
        let size = self.write_leaves(leaves)?;
        let root = merkle::root(&Edges { edges: &self.edges, size }, size)?;
        let head = Checkpoint { origin: self.head.origin.clone(), size, root };
        let note = head.sign(&self.signer)?;
        self.write_file(&self.files.0.join("checkpoint"), note.as_bytes())?;
        Ok((head, note))
    }

    /// Writes a file that is replaced again: synced, or by the next filing.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        if self.filed.is_some() { write_whole(path, bytes, false) } else { write_durable(path, bytes) }
    }

    /// Appends those leaves that are not in the log yet, matched by hash; each one's index, in the order given.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_missing(&mut self, leaves: &[&[u8]]) -> Result<Vec<u64>, LogError> {
        let wanted: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let mut found = self.find(&wanted)?;
        let mut missing: Vec<&[u8]> = Vec::new();
        for (hash, leaf) in wanted.iter().zip(leaves) {
            if !found.contains_key(hash) {
                found.insert(*hash, self.head.size.saturating_add(u64::try_from(missing.len()).unwrap_or(u64::MAX)));
                missing.push(leaf);
            }
        }
        self.append(&missing)?;
        Ok(wanted.iter().filter_map(|hash| found.get(hash).copied()).collect())
    }

    /// The indices of leaves, by hash; those not in the log are left out. Reads tiles from the newest back.
    ///
    /// # Errors
    /// [`LogError::Io`] or [`LogError::Damaged`].
    pub fn find(&self, wanted: &[Hash]) -> Result<HashMap<Hash, u64>, LogError> {
        let mut missing: std::collections::HashSet<Hash> = wanted.iter().copied().collect();
        let mut found = HashMap::new();
        let (last, edge_width) = tiles::edge(Some(0), self.head.size);
        for index in (0..=last).rev() {
            let width = if index == last { edge_width } else { WIDTH };
            if missing.is_empty() {
                break;
            }
            if width > 0 {
                for (at, hash) in (0..).zip(tiles::tile_hashes(&self.must_read(Some(0), index, width)?)) {
                    if missing.remove(&hash) {
                        found.insert(hash, index.saturating_mul(WIDTH).saturating_add(at));
                    }
                }
            }
        }
        Ok(found)
    }

    /// The proof of a leaf against the present checkpoint; `None` outside the log.
    ///
    /// # Errors
    /// [`LogError::Io`] or [`LogError::Damaged`].
    pub fn proof(&self, index: u64) -> Result<Option<LogProof>, LogError> {
        if index >= self.head.size {
            return Ok(None);
        }
        let hashes = merkle::inclusion_proof(&self.tree(), index, self.head.size)?;
        Ok(Some(LogProof { index, hashes, checkpoint: self.note.clone() }))
    }

    /// The proof that the tree grew from its first `old` leaves; `None` outside the log.
    ///
    /// # Errors
    /// [`LogError::Io`] or [`LogError::Damaged`].
    pub fn consistency(&self, old: u64) -> Result<Option<Vec<Hash>>, LogError> {
        if old > self.head.size {
            return Ok(None);
        }
        merkle::consistency_proof(&self.tree(), old, self.head.size).map(Some)
    }

    /// What is served at `/log/<path>`; `None` is not found.
    ///
    /// # Errors
    /// [`LogError::Io`] or [`LogError::Damaged`].
    pub fn resource(&self, path: &str) -> Result<Option<Vec<u8>>, LogError> {
        match Resource::parse(path) {
            Some(Resource::Checkpoint) => Ok(Some(self.note.clone().into_bytes())),
            Some(Resource::Tile(tile)) if tile.within(self.head.size) => self.files.tile(tile),
            Some(Resource::Tile(_)) | None => Ok(None),
        }
    }

    const fn tree(&self) -> TileTree<'_> {
        TileTree { files: &self.files, size: self.head.size }
    }

    fn must_read(&self, level: Option<u8>, index: u64, width: u64) -> Result<Vec<u8>, LogError> {
        let tile = Tile { level, index, width: u16::try_from(width).unwrap_or(256) };
        self.files.tile(tile)?.ok_or_else(|| LogError::Shorter(tile.path()))
    }

    /// Every full tile and bundle is there; what is in them, [`verify_log`] tells.
    fn check_present(&self) -> Result<(), LogError> {
        for level in (0..LEVELS).map(Some).chain([None]) {
            for index in 0..tiles::edge(level, self.head.size).0 {
                let tile = Tile { level, index, width: 256 };
                let found = fs::metadata(self.files.0.join(tile.path())).is_ok_and(|file| level.is_none() || file.len() == 8_192);
                if !found {
                    return Err(LogError::Shorter(tile.path()));
                }
            }
        }
        Ok(())
    }

    /// Reads the tree's right edge and holds the newest entries against their hashes.
    fn load_edges(&mut self) -> Result<(), LogError> {
        for level in 0..LEVELS {
            let (index, width) = tiles::edge(Some(level), self.head.size);
            self.edges.push(if width == 0 { Vec::new() } else { self.must_read(Some(level), index, width)? });
        }
        let (index, width) = tiles::edge(None, self.head.size);
        if width > 0 {
            self.bundle = self.must_read(None, index, width)?;
            let hashes = tiles::bundle_entries(&self.bundle).map(|entries| entries.into_iter().map(merkle::leaf_hash).collect::<Vec<_>>());
            if hashes != self.edges.first().map(|edge| tiles::tile_hashes(edge)) {
                return Err(LogError::Damaged(Tile { level: None, index, width: u16::try_from(width).unwrap_or(256) }.path()));
            }
        }
        Ok(())
    }

    /// Removes what an append that did not reach its checkpoint left behind, but for the files of trees of the sizes `kept`.
    fn drop_beyond(&self, kept: &[u64]) -> Result<(), LogError> {
        for level in (0..LEVELS).map(Some).chain([None]) {
            let (index, width) = tiles::edge(level, self.head.size);
            let edges: Vec<(u64, u64)> = kept.iter().map(|size| tiles::edge(level, *size)).collect();
            for (index, width) in (index..).zip(std::iter::once(width).chain(std::iter::repeat(0))) {
                let full = self.files.0.join(Tile { level, index, width: 256 }.full_path());
                let partial = tiles::partial_dir(&full);
                let is_kept = |stray: u64| stray == width || edges.contains(&(index, stray));
                let strays: Vec<u16> = tiles::partial_widths(&partial)?.into_iter().filter(|stray| !is_kept(u64::from(*stray))).collect();
                if width == 0 && strays.is_empty() && !full.exists() {
                    break;
                }
                for stray in &strays {
                    fs::remove_file(partial.join(stray.to_string()))?;
                    sync_dir(&partial)?;
                }
                if full.exists() && edges.iter().all(|edge| edge.0 <= index) {
                    fs::remove_file(&full)?;
                    full.parent().map_or(Ok(()), sync_dir)?;
                }
            }
        }
        Ok(())
    }

    /// Writes bundles and tiles, synced; the new size.
    fn write_leaves(&mut self, leaves: &[&[u8]]) -> Result<u64, LogError> {
        let mut size = self.head.size;
        for leaf in leaves {
            self.bundle.extend_from_slice(&u16::try_from(leaf.len()).map_err(|_| LogError::LeafTooLong)?.to_be_bytes());
            self.bundle.extend_from_slice(leaf);
            let full_bundle = if size & 0xff == 0xff { Some(std::mem::take(&mut self.bundle)) } else { None };
            if let Some(bundle) = full_bundle {
                self.write_tile(Tile { level: None, index: size >> 8, width: 256 }, &bundle)?;
            }
            self.push_hash(size, merkle::leaf_hash(leaf))?;
            size = size.saturating_add(1);
        }
        let (index, width) = tiles::edge(None, size);
        if width > 0 {
            self.write_tile(Tile { level: None, index, width: u16::try_from(width).unwrap_or(256) }, &self.bundle)?;
        }
        for (level, edge) in (0..LEVELS).zip(&self.edges) {
            let (index, width) = tiles::edge(Some(level), size);
            if width > 0 && tiles::edge(Some(level), self.head.size) != (index, width) {
                self.write_tile(Tile { level: Some(level), index, width: u16::try_from(width).unwrap_or(256) }, edge)?;
            }
        }
        Ok(size)
    }

    /// Adds a leaf's hash, and that of every tile it fills to the tile above.
    fn push_hash(&mut self, index: u64, leaf: Hash) -> Result<(), LogError> {
        let mut hash = leaf;
        for level in 0..LEVELS {
            let Some(edge) = self.edges.get_mut(usize::from(level)) else { break };
            edge.extend_from_slice(&hash);
            let hashes = tiles::tile_hashes(edge);
            if u64::try_from(hashes.len()).unwrap_or(0) < WIDTH {
                break;
            }
            let full = std::mem::take(edge);
            let number = index >> u32::from(level).saturating_add(1).saturating_mul(8).min(63);
            self.write_tile(Tile { level: Some(level), index: number, width: 256 }, &full)?;
            hash = merkle::root(&merkle::Leaves(&hashes), WIDTH).map_err(|_| LogError::Damaged("tile".into()))?;
        }
        Ok(())
    }

    /// A full one is synced at once: nobody reads it again at a start.
    fn write_tile(&self, tile: Tile, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.files.0.join(tile.path());
        if u64::from(tile.width) == WIDTH { write_durable(&path, bytes) } else { self.write_file(&path, bytes) }
    }

    /// Removes the partial tiles that wider ones have replaced since the tree had `old` leaves. What is left over is harmless.
    fn drop_narrower(&self, old: u64) {
        for level in (0..LEVELS).map(Some).chain([None]) {
            let (was, is) = (tiles::edge(level, old), tiles::edge(level, self.head.size));
            // Those of the last filing, and of the one that control knows of, are what is on the disk for certain.
            let is_kept = self.filed.is_some_and(|filed| filed.sizes().iter().any(|size| tiles::edge(level, *size) == was));
            if was != is && was.1 > 0 && !is_kept {
                let stale = Tile { level, index: was.0, width: u16::try_from(was.1).unwrap_or(256) };
                let _left = fs::remove_file(self.files.0.join(stale.path()));
                let _left = fs::remove_dir(tiles::partial_dir(&self.files.0.join(stale.full_path())));
            }
        }
    }
}

/// What [`verify_log`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// The verified head.
    pub head: Checkpoint,
    /// Which of the leaves asked for are in the log, and where.
    pub found: Vec<Option<u64>>,
}

/// Checks a copy of a log offline: the checkpoint's signature, every entry against its hash, every tile against the tiles
/// below, the root, that the tree grew from each of the `earlier` checkpoints; and looks for leaves.
///
/// # Errors
/// [`LogError`] names what is wrong.
pub fn verify_log(dir: &Path, verifier: &Verifier, earlier: &[&str], leaves: &[&[u8]]) -> Result<LogReport, LogError> {
    let files = TileFiles(dir.to_owned());
    let note = files.checkpoint()?.ok_or_else(|| LogError::Shorter("checkpoint".into()))?;
    let head = Checkpoint::open(&note, verifier)?;
    let wanted: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
    let mut found = vec![None; wanted.len()];
    let mut below: Vec<Hash> = Vec::new();
    let (last, edge_width) = tiles::edge(None, head.size);
    for index in 0..=last {
        let width = if index == last { edge_width } else { WIDTH };
        let entry_hashes = verify_bundle(&files, index, width)?;
        for (at, hash) in (0..).zip(&entry_hashes) {
            for (place, _) in found.iter_mut().zip(&wanted).filter(|(_, wanted)| *wanted == hash) {
                *place = Some(index.saturating_mul(WIDTH).saturating_add(at));
            }
        }
        if width == WIDTH {
            below.push(merkle::root(&merkle::Leaves(&entry_hashes), WIDTH).map_err(|_| LogError::Damaged("tile".into()))?);
        }
    }
    for level in 1..LEVELS {
        below = verify_level(&files, level, &below)?;
    }
    check_known(&files, &head, Some((head.size, head.root)))?;
    for note in earlier {
        let old = Checkpoint::open(note, verifier)?;
        check_known(&files, &head, Some((old.size, old.root)))?;
    }
    Ok(LogReport { head, found })
}

/// [`verify_log`], and against the head that the control store knows.
pub(super) fn verify_rebuilt(dir: &Path, verifier: &Verifier, known: Option<(u64, Hash)>) -> Result<(), LogError> {
    let report = verify_log(dir, verifier, &[], &[])?;
    check_known(&TileFiles(dir.to_owned()), &report.head, known)
}

/// A bundle's entries hashed, held against the tile of level 0.
fn verify_bundle(files: &TileFiles, index: u64, width: u64) -> Result<Vec<Hash>, LogError> {
    if width == 0 {
        return Ok(Vec::new());
    }
    let bundle = Tile { level: None, index, width: u16::try_from(width).unwrap_or(256) };
    let tile = Tile { level: Some(0), ..bundle };
    let entries = files.tile(bundle)?.ok_or_else(|| LogError::Shorter(bundle.path()))?;
    let hashes = files.tile(tile)?.ok_or_else(|| LogError::Shorter(tile.path()))?;
    let entry_hashes: Option<Vec<Hash>> =
        tiles::bundle_entries(&entries).map(|entries| entries.into_iter().map(merkle::leaf_hash).collect());
    if entry_hashes.as_deref() == Some(hashes.as_chunks::<32>().0) && u64::try_from(hashes.len()).ok() == width.checked_mul(32) {
        Ok(entry_hashes.unwrap_or_default())
    } else {
        Err(LogError::Damaged(bundle.path()))
    }
}

/// The tiles of a level against the hashes of the full tiles below; the hashes of its own full tiles.
fn verify_level(files: &TileFiles, level: u8, below: &[Hash]) -> Result<Vec<Hash>, LogError> {
    let mut full = Vec::new();
    for (index, hashes) in (0..).zip(below.chunks(256)) {
        let tile = Tile { level: Some(level), index, width: u16::try_from(hashes.len()).unwrap_or(256) };
        let bytes = files.tile(tile)?.ok_or_else(|| LogError::Shorter(tile.path()))?;
        if bytes != hashes.concat() {
            return Err(LogError::Damaged(tile.path()));
        }
        if hashes.len() == 256 {
            full.push(merkle::root(&merkle::Leaves(hashes), WIDTH).map_err(|_| LogError::Damaged(tile.path()))?);
        }
    }
    Ok(full)
}

/// Holds the tree against its checkpoint and an older head.
fn check_known(files: &TileFiles, head: &Checkpoint, known: Option<(u64, Hash)>) -> Result<(), LogError> {
    let tree = TileTree { files, size: head.size };
    if merkle::root(&tree, head.size)? != head.root {
        return Err(LogError::Damaged("root".into()));
    }
    match known {
        Some((size, _)) if size > head.size => Err(LogError::Shorter(format!("{} of {size} leaves", head.size))),
        Some((size, root)) if merkle::root(&tree, size)? != root => Err(LogError::Forked),
        Some(_) | None => Ok(()),
    }
}

fn first_checkpoint(dir: &Path, signer: &Signer) -> Result<(Checkpoint, String), LogError> {
    fs::create_dir_all(dir)?;
    let head = Checkpoint { origin: signer.name().to_owned(), size: 0, root: merkle::empty_root() };
    let note = head.sign(signer)?;
    write_durable(&dir.join("checkpoint"), note.as_bytes())?;
    Ok((head, note))
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write_durable(path: &Path, bytes: &[u8]) -> Result<(), LogError> {
    write_whole(path, bytes, true)
}

/// Writes a file so that a reader finds it whole or not at all; with `sync` also after a power cut.
fn write_whole(path: &Path, bytes: &[u8], sync: bool) -> Result<(), LogError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir_durable(dir)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let temporary = dir.join(name);
    let mut file = fs::File::create(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if sync { sync_dir(dir) } else { Ok(()) }
}

fn create_dir_durable(dir: &Path) -> Result<(), LogError> {
    let missing: Vec<PathBuf> =
        dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).map(Path::to_owned).collect();
    for dir in missing.iter().rev() {
        fs::create_dir(dir)?;
        dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), LogError> {
    Ok(fs::File::open(dir)?.sync_all()?)
}

#[cfg(test)]
mod tests;
