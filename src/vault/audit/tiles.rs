//! Where a log's tiles lie ([c2sp.org/tlog-tiles](https://c2sp.org/tlog-tiles)): paths, widths, and reading them from a directory.
//!
//! On disk stands the widest partial tile of each level only; a narrower one, which a client with an older checkpoint
//! may ask for, is its beginning.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::decimal,
    merkle::{self, Hash, Nodes},
    tlog::LogError,
};

/// Hashes in a full tile, entries in a full bundle.
pub(super) const WIDTH: u64 = 256;
/// Levels of tiles that a tree of u64 size can have.
pub(super) const LEVELS: u8 = 8;

/// Which file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The signed tree head.
    Checkpoint,
    /// Hashes or entries.
    Tile(Tile),
}

/// One tile or bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// `None` is a bundle of entries.
    pub level: Option<u8>,
    /// Its index in the level.
    pub index: u64,
    /// 1 to 256.
    pub width: u16,
}

impl Resource {
    /// Reads what follows the log's prefix in a URL: `checkpoint`, `tile/0/x001/234`, `tile/entries/000.p/17`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == "checkpoint" {
            return Some(Self::Checkpoint);
        }
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = if level == "entries" { None } else { Some(u8::try_from(decimal(level)?).ok().filter(|level| *level < 64)?) };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, 256),
            Some((index, width)) => (index, u16::try_from(decimal(width)?).ok().filter(|width| (1..256).contains(width))?),
        };
        let index = parse_index(index)?;
        Some(Self::Tile(Tile { level, index, width }))
    }
}

impl Tile {
    /// The tile's path below the log's directory.
    #[must_use]
    pub fn path(self) -> String {
        if u64::from(self.width) == WIDTH { self.full_path() } else { format!("{}.p/{}", self.full_path(), self.width) }
    }

    /// The path without the width.
    pub(super) fn full_path(self) -> String {
        let level = self.level.map_or_else(|| "entries".to_owned(), |level| level.to_string());
        format!("tile/{level}/{}", index_path(self.index))
    }

    /// Whether a tree of this size has the tile, at this width or wider.
    pub(super) fn within(self, size: u64) -> bool {
        let hashes = size.checked_shr(u32::from(self.level.unwrap_or(0)).saturating_mul(8)).unwrap_or(0);
        self.index.checked_mul(WIDTH).and_then(|start| start.checked_add(u64::from(self.width))).is_some_and(|end| end <= hashes)
    }
}

/// Index 1234067 is `x001/x234/067`.
fn index_path(index: u64) -> String {
    let digits = index.to_string();
    let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3).saturating_mul(3));
    let groups = padded.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let last = padded.len().div_ceil(3).saturating_sub(1);
    groups.enumerate().map(|(at, group)| if at == last { group.into_owned() } else { format!("x{group}/") }).collect()
}

fn parse_index(path: &str) -> Option<u64> {
    let digits: String = path.split('/').map(|part| part.strip_prefix('x').unwrap_or(part)).collect();
    let index = digits.parse::<u64>().ok()?;
    if index_path(index) == path { Some(index) } else { None }
}

/// The tile of a tree's right edge: the widest one that is not full, of width 0 where the last one is full.
pub(super) fn edge(level: Option<u8>, size: u64) -> (u64, u64) {
    let hashes = size.checked_shr(u32::from(level.unwrap_or(0)).saturating_mul(8)).unwrap_or(0);
    (hashes >> 8, hashes & 0xff)
}

/// Reads a log's files.
#[derive(Debug, Clone)]
pub(super) struct TileFiles(pub(super) PathBuf);

impl TileFiles {
    pub(super) fn checkpoint(&self) -> Result<Option<String>, LogError> {
        let Some(bytes) = read(&self.0.join("checkpoint"))? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| LogError::Damaged("checkpoint".into()))
    }

    /// A tile's bytes: from the file of this width, or the beginning of a wider one.
    pub(super) fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
        if let Some(bytes) = read(&self.0.join(tile.path()))? {
            return Ok(Some(bytes));
        }
        let Some(mut bytes) = self.wider(tile)? else { return Ok(None) };
        let len = match tile.level {
            Some(_) => usize::from(tile.width).saturating_mul(32),
            None => bundle_len(&bytes, tile.width).ok_or_else(|| LogError::Damaged(tile.path()))?,
        };
        if bytes.len() < len {
            return Err(LogError::Damaged(tile.path()));
        }
        bytes.truncate(len);
        Ok(Some(bytes))
    }

    fn wider(&self, tile: Tile) -> Result<Option<Vec<u8>>, LogError> {
        let full = self.0.join(tile.full_path());
        if let Some(bytes) = read(&full)? {
            return Ok(Some(bytes));
        }
        let widest = partial_widths(&partial_dir(&full))?.into_iter().max().filter(|width| *width > tile.width);
        widest.map_or(Ok(None), |width| read(&partial_dir(&full).join(width.to_string())))
    }
}

/// A tree of a given size, read from tiles.
#[derive(Debug, Clone)]
pub(super) struct TileTree<'a> {
    pub(super) files: &'a TileFiles,
    pub(super) size: u64,
}

impl Nodes for TileTree<'_> {
    type Error = LogError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        let (tile_level, inner) = (level >> 3, level & 7);
        let first = index.checked_shl(u32::from(inner)).ok_or_else(|| LogError::Damaged("tree".into()))?;
        let number = first >> 8;
        let (edge_index, edge_width) = edge(Some(tile_level), self.size);
        let width = if number < edge_index { WIDTH } else { edge_width };
        let tile = Tile { level: Some(tile_level), index: number, width: u16::try_from(width).unwrap_or(0) };
        let bytes = self.files.tile(tile)?.ok_or_else(|| LogError::Shorter(tile.path()))?;
        subtree_of(&bytes, first, inner).ok_or_else(|| LogError::Shorter(tile.path()))
    }
}

/// The right edge of a tree of a given size, in memory: the root needs nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edges<'a> {
    pub(super) edges: &'a [Vec<u8>],
    pub(super) size: u64,
}

impl Nodes for Edges<'_> {
    type Error = LogError;

    fn node(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        let (tile_level, inner) = (level >> 3, level & 7);
        let outside = || LogError::Damaged("tree".into());
        let first =
            index.checked_shl(u32::from(inner)).filter(|first| first >> 8 == edge(Some(tile_level), self.size).0).ok_or_else(outside)?;
        let edge = self.edges.get(usize::from(tile_level)).ok_or_else(outside)?;
        subtree_of(edge, first, inner).ok_or_else(outside)
    }
}

/// The hash over `1 << inner` hashes of a tile.
fn subtree_of(tile: &[u8], first: u64, inner: u8) -> Option<Hash> {
    let start = usize::try_from(first & 0xff).ok()?;
    let wanted = tile.as_chunks::<32>().0.get(start..)?.get(..1 << inner)?;
    merkle::root(&merkle::Leaves(wanted), 1 << inner).ok()
}

/// A tile's hashes; a torn last one is left out.
pub(super) fn tile_hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks::<32>().0.to_vec()
}

/// The entries of a bundle, or `None` if its lengths do not add up.
pub(super) fn bundle_entries(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        entries.push(entry);
        bytes = rest;
    }
    if bytes.is_empty() { Some(entries) } else { None }
}

/// How many bytes the first `width` entries take.
fn bundle_len(bytes: &[u8], width: u16) -> Option<usize> {
    let entries = bundle_entries(bytes)?;
    entries.get(..usize::from(width))?.iter().try_fold(0_usize, |len, entry| len.checked_add(2)?.checked_add(entry.len()))
}

/// `N.p` beside `N`.
pub(super) fn partial_dir(full: &Path) -> PathBuf {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    PathBuf::from(name)
}

/// Which widths a directory of partial tiles holds.
pub(super) fn partial_widths(dir: &Path) -> Result<Vec<u16>, LogError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LogError::Io(error)),
    };
    let mut widths = Vec::new();
    for entry in entries {
        widths.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u16>().ok()));
    }
    Ok(widths)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(LogError::Io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (index, path) in [(0, "000"), (7, "007"), (999, "999"), (1_000, "x001/000"), (1_234_067, "x001/x234/067")] {
            assert_eq!(index_path(index), path);
            assert_eq!(parse_index(path), Some(index));
        }
        for refused in ["", "0", "00", "0000", "x001", "001/000", "x000/000", "-01", "x001/x234", "a00", "x001//000"] {
            assert_eq!(parse_index(refused), None, "{refused}");
        }
    }

    #[test]
    fn resources_are_parsed_strictly() {
        let tile = |level, index, width| Some(Resource::Tile(Tile { level, index, width }));
        for (path, expected) in [
            ("checkpoint", Some(Resource::Checkpoint)),
            ("tile/0/000", tile(Some(0), 0, 256)),
            ("tile/63/x001/234.p/255", tile(Some(63), 1_234, 255)),
            ("tile/entries/000.p/1", tile(None, 0, 1)),
            ("tile/64/000", None),
            ("tile/00/000", None),
            ("tile/0/000.p/0", None),
            ("tile/0/000.p/256", None),
            ("tile/0/000.p/01", None),
            ("tile/0/../checkpoint", None),
            ("tile/0/000/", None),
            ("../note.key", None),
            ("", None),
        ] {
            assert_eq!(Resource::parse(path), expected, "{path}");
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        assert_eq!(edge(Some(0), 70_000), (273, 112));
        assert_eq!(edge(None, 70_000), (273, 112));
        assert_eq!(edge(Some(1), 70_000), (1, 17));
        assert_eq!(edge(Some(2), 70_000), (0, 1));
        assert_eq!((edge(Some(0), 256), edge(Some(1), 256)), ((1, 0), (0, 1)));
        let inside = |level, index, width| Tile { level, index, width }.within(70_000);
        assert!(inside(Some(0), 272, 256) && inside(Some(0), 273, 112) && inside(Some(2), 0, 1));
        assert!(!inside(Some(0), 273, 113) && !inside(Some(2), 0, 2) && !inside(Some(8), 0, 1) && !inside(Some(0), u64::MAX, 1));
    }

    #[test]
    fn bundles_whose_lengths_do_not_add_up_are_refused() {
        assert_eq!(bundle_entries(b"\0\x01a\0\0\0\x02bc"), Some(vec![b"a".as_slice(), b"", b"bc"]));
        assert_eq!(bundle_entries(b"\0\x02a"), None);
        assert_eq!(bundle_entries(b"\0"), None);
        assert_eq!(bundle_len(b"\0\x01a\0\0\0\x02bc", 2), Some(5));
        assert_eq!(bundle_len(b"\0\x01a", 2), None);
    }
}
