//! Where an import stands, kept in a file so that it can go on after a break.
//!
//! `offset` is the byte up to which every line is settled: stored, or reported as bad. Batches finish in
//! any order; the offset only moves over a gapless run of them. The state belongs to one input (hashes of its
//! head and of what lies before the offset) and one destination; it is refused for any other.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::{failure::Failure, output::note};

/// So much of an input's beginning, and so much before the offset, is hashed to know it again.
const HEAD_LEN: u64 = 65_536;

/// Where an import stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Address and store, tenant, collection, key, subjects, media type: what the lines are turned into.
    pub(crate) destination: String,
    /// How many bytes of the input's head are hashed.
    pub(crate) head_len: u64,
    /// SHA-256 of them, hexadecimal.
    pub(crate) head_sha256: String,
    /// SHA-256 of as many bytes before the offset, hexadecimal.
    pub(crate) before_sha256: String,
    /// Every line before this byte is settled.
    pub(crate) offset: u64,
    /// So many lines are before it.
    pub(crate) lines: u64,
    /// So many of them were stored.
    pub(crate) imported: u64,
    /// So many were reported as bad.
    pub(crate) rejected: u64,
}

/// What settling one batch adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The offset behind its last line.
    pub(crate) end: u64,
    /// Its lines, empty ones included.
    pub(crate) lines: u64,
    /// Stored.
    pub(crate) imported: u64,
    /// Reported as bad.
    pub(crate) rejected: u64,
}

/// The file a state is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller named it: it must be possible to keep the state there.
    Asked(PathBuf),
    /// Beside the input, whose directory may be read-only: then the import goes on without.
    Beside(PathBuf),
}

impl Place {
    fn path(&self) -> &Path {
        let (Self::Asked(path) | Self::Beside(path)) = self;
        path
    }
}

/// The state with the batches that finished out of order, and the file it is kept in.
#[derive(Debug)]
pub(crate) struct Keeper {
    place: Option<Place>,
    input: PathBuf,
    state: State,
    next: u64,
    waiting: BTreeMap<u64, Settled>,
}

impl Keeper {
    /// Starts afresh, or goes on from the file if there is one.
    pub(crate) fn open(place: Place, destination: &str, input: &Path) -> Result<Self, Failure> {
        let file = place.path();
        let state = match read::<State>(file)? {
            Some(state) if state.destination != destination => {
                return Err(Failure::local(format!(
                    "{}: an import to {} broke off here, this one goes to {destination}; finish that one, or remove the file",
                    file.display(),
                    state.destination
                )));
            }
            Some(state)
                if head(input, state.head_len)? != (state.head_len, state.head_sha256.clone())
                    || before(input, state.offset)?.as_ref() != Some(&state.before_sha256) =>
            {
                return Err(Failure::local(format!(
                    "{}: the input is not the one that this import began with; remove the file to start afresh",
                    file.display()
                )));
            }
            Some(state) => state,
            None => {
                let (head_len, head_sha256) = head(input, HEAD_LEN)?;
                let before_sha256 = before(input, 0)?.unwrap_or_default();
                State { destination: destination.into(), head_len, head_sha256, before_sha256, ..State::default() }
            }
        };
        Ok(Self { place: Some(place), input: input.to_owned(), state, next: 0, waiting: BTreeMap::new() })
    }

    /// Counts, and keeps nothing.
    pub(crate) fn none() -> Self {
        Self { place: None, input: PathBuf::new(), state: State::default(), next: 0, waiting: BTreeMap::new() }
    }

    /// Where the import stands.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Notes that the batch with this number (from 0) is settled, and keeps the state if the offset moved.
    pub(crate) fn settle(&mut self, number: u64, settled: Settled) -> Result<(), Failure> {
        self.waiting.insert(number, settled);
        let mut moved = false;
        while let Some(settled) = self.waiting.remove(&self.next) {
            self.next = self.next.saturating_add(1);
            self.state.offset = settled.end;
            self.state.lines = self.state.lines.saturating_add(settled.lines);
            self.state.imported = self.state.imported.saturating_add(settled.imported);
            self.state.rejected = self.state.rejected.saturating_add(settled.rejected);
            moved = true;
        }
        if !moved || self.place.is_none() {
            return Ok(());
        }
        let shorter = || Failure::local(format!("{}: shorter than what was read of it", self.input.display()));
        self.state.before_sha256 = before(&self.input, self.state.offset)?.ok_or_else(shorter)?;
        match &self.place {
            Some(Place::Asked(file)) => write(file, &self.state),
            Some(Place::Beside(file)) => {
                if let Err(error) = replace(file, &self.state) {
                    let shown = file.display();
                    note(&format!("{shown}: {error}; the import goes on, but not after a break (--resume-file names another place)"));
                    self.place = None;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The import is through: there is nothing to go on from.
    pub(crate) fn finish(self) -> Result<State, Failure> {
        if let Some(place) = &self.place
            && let Err(error) = std::fs::remove_file(place.path())
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Failure::file(place.path(), &error));
        }
        Ok(self.state)
    }
}

/// Length and hash of an input's first `most` bytes.
fn head(path: &Path, most: u64) -> Result<(u64, String), Failure> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(|error| Failure::file(path, &error))?;
    Ok((bytes.len() as u64, hex::encode(Sha256::digest(&bytes))))
}

/// Hash of the bytes before `offset`, as many as of a head; `None` if the input is not so long.
fn before(path: &Path, offset: u64) -> Result<Option<String>, Failure> {
    let from = offset.saturating_sub(HEAD_LEN);
    let len = offset.saturating_sub(from);
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        file.take(len).read_to_end(&mut bytes)
    });
    read.map_err(|error| Failure::file(path, &error))?;
    Ok((bytes.len() as u64 == len).then(|| hex::encode(Sha256::digest(&bytes))))
}

/// Reads a kept state; `None` if there is no such file.
pub(crate) fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Failure::local(format!("{}: not a state file: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(path, &error)),
    }
}

/// Replaces a kept state: whole, or not at all.
pub(crate) fn write(path: &Path, state: &impl Serialize) -> Result<(), Failure> {
    replace(path, state).map_err(|error| Failure::file(path, &error))
}

fn replace(path: &Path, state: &impl Serialize) -> io::Result<()> {
    let fresh = super::beside(path, ".new");
    std::fs::File::create(&fresh)?.write_all(&serde_json::to_vec(state)?)?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(end: u64) -> Settled {
        Settled { end, lines: 1, imported: 1, rejected: 0 }
    }

    #[test]
    fn the_offset_moves_over_gapless_runs_only() {
        let dir = tempfile::tempdir().unwrap();
        let (input, file) = (dir.path().join("in"), dir.path().join("state"));
        std::fs::write(&input, "123456789\n".repeat(4)).unwrap();
        let mut keeper = Keeper::open(Place::Asked(file.clone()), "d", &input).unwrap();
        keeper.settle(1, settled(20)).unwrap();
        assert_eq!(keeper.state().offset, 0);
        assert_eq!(read::<State>(&file).unwrap(), None);
        keeper.settle(0, settled(10)).unwrap();
        assert_eq!(keeper.state().offset, 20);
        keeper.settle(3, settled(40)).unwrap();
        drop(keeper);
        let keeper = Keeper::open(Place::Asked(file.clone()), "d", &input).unwrap();
        assert_eq!((keeper.state().offset, keeper.state().lines), (20, 2));
        keeper.finish().unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn another_input_or_destination_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (input, file) = (dir.path().join("in"), dir.path().join("state"));
        std::fs::write(&input, "one\ntwo\n").unwrap();
        Keeper::open(Place::Asked(file.clone()), "d", &input).unwrap().settle(0, settled(4)).unwrap();
        assert!(Keeper::open(Place::Asked(file.clone()), "e", &input).is_err());
        // Lines that were added since are no reason to start afresh: an input may still grow.
        std::fs::write(&input, "one\ntwo\nthree\n").unwrap();
        assert_eq!(Keeper::open(Place::Asked(file.clone()), "d", &input).unwrap().state().offset, 4);
        std::fs::write(&input, "two\none\n").unwrap();
        assert!(Keeper::open(Place::Asked(file.clone()), "d", &input).is_err());
        std::fs::write(&file, "not json").unwrap();
        assert!(Keeper::open(Place::Asked(file), "d", &input).is_err());
    }

    #[test]
    fn an_input_that_changed_behind_its_head_or_is_shorter_than_the_offset_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (input, file) = (dir.path().join("in"), dir.path().join("state"));
        let lines = "123456789\n".repeat(20_000);
        std::fs::write(&input, &lines).unwrap();
        Keeper::open(Place::Asked(file.clone()), "d", &input).unwrap().settle(0, settled(150_000)).unwrap();
        let opened = || Keeper::open(Place::Asked(file.clone()), "d", &input).map(|keeper| keeper.state().offset);
        assert_eq!(opened().ok(), Some(150_000));
        // The same head, and another line before the offset: lines were put in or taken out since.
        std::fs::write(&input, [&lines[..140_000], "another line, that is longer\n", &lines[140_000..]].concat()).unwrap();
        assert!(opened().is_err(), "the offset lies in the middle of another line");
        std::fs::write(&input, &lines[..100_000]).unwrap();
        assert!(opened().is_err(), "it would end at once, with all of it imported");
        std::fs::write(&input, [&lines, "more\n"].concat()).unwrap();
        assert_eq!(opened().ok(), Some(150_000), "it may still grow");
    }

    #[test]
    fn a_state_that_cannot_be_kept_beside_the_input_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let (input, file) = (dir.path().join("in"), dir.path().join("state"));
        std::fs::write(&input, "one\ntwo\n").unwrap();
        // What is written first is in the way, for root as well.
        std::fs::create_dir(dir.path().join("state.new")).unwrap();
        let mut keeper = Keeper::open(Place::Beside(file.clone()), "d", &input).unwrap();
        keeper.settle(0, settled(4)).unwrap();
        keeper.settle(1, settled(8)).unwrap();
        assert_eq!(keeper.finish().unwrap().lines, 2);
        assert!(Keeper::open(Place::Asked(file), "d", &input).unwrap().settle(0, settled(4)).is_err(), "a place that was named must do");
    }
}
