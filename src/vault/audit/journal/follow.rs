//! The journal once more, beside a further copy of the control store: from there a lost log is made again, where the mirror is lost too.
//!
//! Leaves are brought whole and in their order. The end of a journal may be written again otherwise, after a sync that failed; what a copy
//! has of it then is moved aside. That the copy is not of a later day, its rows have told before: they are held against the mirror's first.
//! What is found is synced and read from the disk before anything is built on it, as with the rows, and written anew where a sync failed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};

use super::{
    super::merkle::{self, Hash},
    beside, frame_len, move_aside, read,
};
use crate::vault::{
    crypto::hash::sha256,
    store::embedded::mirror::{Companion, move_range},
};

/// The journal's name in the directory of the mirror, and of a copy.
pub const NAME: &str = "log.journal";

/// Brings the journal of a mirror's directory to a copy's.
#[must_use]
pub fn follow(from: &Path, to: &Path) -> Box<dyn Companion> {
    Box::new(Follower { from: from.join(NAME), to: to.join(NAME), written: None, is_doubtful: false })
}

struct Follower {
    from: PathBuf,
    to: PathBuf,
    written: Option<Written>,
    /// A sync failed: what of the copy is on its disk is not known, whatever is read back.
    is_doubtful: bool,
}

/// A copy that is the beginning of the journal.
struct Written {
    file: File,
    inode: u64,
    len: u64,
    /// The last leaf.
    last: Option<Leaf>,
    /// The journal that it is the beginning of.
    of: u64,
}

/// Where a leaf begins, and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaf {
    place: u64,
    hash: Hash,
}

/// The whole leaves of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whole {
    end: u64,
    last: Option<Leaf>,
    /// A hash of all of them, in their order.
    sum: Hash,
}

impl Companion for Follower {
    fn bring(&mut self, beat: &dyn Fn()) -> io::Result<()> {
        let journal = match File::open(&self.from) {
            Ok(journal) => journal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let meta = journal.metadata()?;
        let (of, limit) = (meta.ino(), meta.len());
        let written = self.written.take().filter(|written| written.of == of && written.len <= limit);
        let mut next = match &written {
            Some(written) => self.next(&journal, written, limit, beat)?,
            None => None,
        };
        let mut written = written;
        if next.is_none() {
            let aligned = self.align(&journal, of, beat)?;
            next = Some(whole(&journal, (aligned.len, limit), beat)?);
            written = Some(aligned);
        }
        let (Some(written), Some(next)) = (written, next) else { return Ok(()) };
        if next.end > written.len {
            if let Err(error) = move_range(&journal, &written.file, (written.len, next.end), beat) {
                // What was there before is there, and the next time goes on behind it.
                if written.file.set_len(written.len).is_ok() {
                    self.written = Some(written);
                }
                return Err(error);
            }
            self.doubted(written.file.sync_data())?;
        }
        self.written = Some(Written { len: next.end, last: next.last.or(written.last), ..written });
        Ok(())
    }
}

impl Follower {
    /// The leaves behind what is written; `None` where the copy is not known to be the journal's beginning any more.
    fn next(&self, journal: &File, written: &Written, limit: u64, beat: &dyn Fn()) -> io::Result<Option<Whole>> {
        if std::fs::metadata(&self.to).map_or(true, |found| found.ino() != written.inode) {
            return Ok(None);
        }
        if let Some(last) = written.last
            && whole(journal, (last.place, written.len), beat)?.last != Some(last)
        {
            return Ok(None);
        }
        let next = whole(journal, (written.len, limit), beat)?;
        // Bytes that are no leaf: one that is being written, or the middle of one.
        Ok(if next.end == written.len && limit > next.end { None } else { Some(next) })
    }

    /// Remembers that a sync has failed.
    fn doubted(&mut self, synced: io::Result<()>) -> io::Result<()> {
        self.is_doubtful |= synced.is_err();
        synced
    }

    /// Holds the copy against the journal, leaf by leaf, and cuts a torn end. One that has other leaves is moved aside.
    fn align(&mut self, journal: &File, of: u64, beat: &dyn Fn()) -> io::Result<Written> {
        let mut file = self.open()?;
        self.doubted(file.sync_all().and_then(|()| sync_above(&self.to)))?;
        // Only advice, so a refusal changes nothing.
        fadvise(&file, 0, None, Advice::DontNeed).unwrap_or_default();
        let mut has = whole(&file, (0, file.metadata()?.len()), beat)?;
        if whole(journal, (0, has.end), beat)? != has {
            let aside = move_aside(&self.to).map_err(io::Error::other)?;
            tracing::warn!(?aside, "log: a copy of the journal that ends otherwise was moved aside");
            file = self.open()?;
            has = whole(&file, (0, 0), beat)?;
        } else if self.is_doubtful {
            file = self.write_anew(journal, has.end, beat)?;
        }
        self.is_doubtful = false;
        let meta = file.metadata()?;
        if meta.len() > has.end {
            file.set_len(has.end)?;
        }
        Ok(Written { file, inode: meta.ino(), len: has.end, last: has.last, of })
    }

    /// Writes the copy's part of the journal anew beside, and puts it in place.
    fn write_anew(&self, journal: &File, len: u64, beat: &dyn Fn()) -> io::Result<File> {
        let fresh = beside(&self.to, ".new");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        move_range(journal, &file, (0, len), beat)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.to)?;
        sync_above(&self.to)?;
        Ok(file)
    }

    /// Opens the copy, or begins it.
    fn open(&self) -> io::Result<File> {
        let exists = self.to.try_exists()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.to)?;
        if !exists {
            sync_above(&self.to)?;
        }
        Ok(file)
    }
}

/// Makes a file's name durable.
fn sync_above(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The whole leaves from one place on, up to another.
fn whole(file: &File, (from, to): (u64, u64), beat: &dyn Fn()) -> io::Result<Whole> {
    let mut cursor = file;
    cursor.seek(SeekFrom::Start(from))?;
    let mut whole = Whole { end: from, last: None, sum: [0; 32] };
    let each = |leaf: &[u8]| {
        beat();
        let hash = merkle::leaf_hash(leaf);
        whole.last = Some(Leaf { place: whole.end, hash });
        whole.end = whole.end.saturating_add(frame_len(leaf));
        whole.sum = sha256(&[&whole.sum, &hash]);
        Ok(())
    };
    read(cursor.take(to.saturating_sub(from)), each).map_err(io::Error::other)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::{super::Journal, *};

    fn leaf(number: u64) -> Vec<u8> {
        format!("leaf {number}").into_bytes()
    }

    fn journal(dir: &Path) -> Journal {
        Journal::open(&dir.join(NAME), 0, |_| Ok(None)).unwrap()
    }

    fn leaves(path: &Path) -> Vec<Vec<u8>> {
        let mut leaves = Vec::new();
        let each = |leaf: &[u8]| {
            leaves.push(leaf.to_vec());
            Ok(())
        };
        read(File::open(path).unwrap(), each).unwrap();
        leaves
    }

    #[test]
    fn a_copy_of_the_journal_has_each_leaf_once_however_often_it_begins_anew() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = to.path().join(NAME);
        let mut journal = journal(from.path());
        let mut brought = follow(from.path(), to.path());
        for number in 0..40 {
            journal.append(&[&leaf(number)]).unwrap();
            if number % 7 == 3 {
                // As after a step that was cut short.
                let torn = OpenOptions::new().write(true).open(&path).unwrap();
                torn.write_all_at(b"\0\0\0\x09half", torn.metadata().unwrap().len()).unwrap();
                brought = follow(from.path(), to.path());
            }
            brought.bring(&|| ()).unwrap();
            assert_eq!(leaves(&path), (0..=number).map(leaf).collect::<Vec<_>>());
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), journal.len());
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 1, "nothing was moved aside");
    }

    /// A sync that failed: the last leaves were written, brought, and then written again, others or in another order.
    #[test]
    fn a_copy_follows_an_end_that_is_written_again_otherwise_and_keeps_what_it_had() {
        for (again, begins_anew) in
            [(vec![leaf(8)], false), (vec![leaf(800)], false), (vec![leaf(8), leaf(9)], false), (vec![leaf(8)], true)]
        {
            let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let path = to.path().join(NAME);
            let mut first = journal(from.path());
            first.append(&[&leaf(1), &leaf(2)]).unwrap();
            let kept = std::fs::read(from.path().join(NAME)).unwrap();
            first.append(&[&leaf(9)]).unwrap();
            drop(first);
            let mut brought = follow(from.path(), to.path());
            brought.bring(&|| ()).unwrap();
            std::fs::write(from.path().join(NAME), kept).unwrap();
            let mut second = Journal::open(&from.path().join(NAME), 2, |index| Ok(Some(leaf(index.saturating_add(1))))).unwrap();
            second.append(&again.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            if begins_anew {
                brought = follow(from.path(), to.path());
            }
            brought.bring(&|| ()).unwrap();
            assert_eq!(leaves(&path), [vec![leaf(1), leaf(2)], again].concat());
            assert_eq!(leaves(&to.path().join("log.journal.replaced-1")), [leaf(1), leaf(2), leaf(9)]);
        }
    }
}
