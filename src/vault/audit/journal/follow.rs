//! The journal once more, beside a further copy of the control store: from there a lost log is made again, where the mirror is lost too.
//!
//! Leaves are brought whole and in their order. A copy that has more of them than the journal, or others, is never written over.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{super::merkle, frame_len, read};
use crate::vault::{crypto::hash::sha256, store::embedded::mirror::Companion};

/// The journal's name in the directory of the mirror, and of a copy.
pub const NAME: &str = "log.journal";

/// Brings the journal of a mirror's directory to a copy's.
#[must_use]
pub fn follow(from: &Path, to: &Path) -> Box<dyn Companion> {
    Box::new(Follower { from: from.join(NAME), to: to.join(NAME), written: None })
}

struct Follower {
    from: PathBuf,
    to: PathBuf,
    written: Option<Written>,
}

/// A copy that is the beginning of the journal.
struct Written {
    file: File,
    inode: u64,
    len: u64,
    /// The journal that it is the beginning of.
    of: u64,
}

impl Companion for Follower {
    fn bring(&mut self) -> io::Result<()> {
        let journal = match File::open(&self.from) {
            Ok(journal) => journal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let meta = journal.metadata()?;
        let (of, limit) = (meta.ino(), meta.len());
        let is_it = |written: &Written| {
            let is_in_place = std::fs::metadata(&self.to).is_ok_and(|found| found.ino() == written.inode);
            is_in_place && written.of == of && written.len <= limit
        };
        let written = match self.written.take().filter(is_it) {
            Some(written) => written,
            None => self.align(&journal, of)?,
        };
        let (len, _) = whole(&journal, written.len, limit)?;
        let end = written.len.saturating_add(len);
        if end > written.len {
            move_range(&journal, &written.file, written.len, end)?;
            written.file.sync_data()?;
        }
        self.written = Some(Written { len: end, ..written });
        Ok(())
    }
}

impl Follower {
    /// Holds the copy against the journal, leaf by leaf, and cuts a torn end.
    fn align(&self, journal: &File, of: u64) -> io::Result<Written> {
        let exists = self.to.try_exists()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&self.to)?;
        if !exists {
            self.to.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())?;
        }
        let meta = file.metadata()?;
        let (len, sum) = whole(&file, 0, meta.len())?;
        if whole(journal, 0, len)? != (len, sum) {
            let told = format!(
                "copy-diverged: {} has more leaves than {}, or others: one of them is an old copy",
                self.to.display(),
                self.from.display()
            );
            return Err(io::Error::other(told));
        }
        if meta.len() > len {
            file.set_len(len)?;
        }
        Ok(Written { file, inode: meta.ino(), len, of })
    }
}

/// Bytes of all whole leaves from one place on to another, and a hash of them.
fn whole(file: &File, from: u64, to: u64) -> io::Result<(u64, [u8; 32])> {
    let mut cursor = file;
    cursor.seek(SeekFrom::Start(from))?;
    let (mut len, mut sum) = (0_u64, [0; 32]);
    let each = |leaf: &[u8]| {
        len = len.saturating_add(frame_len(leaf));
        sum = sha256(&[&sum, &merkle::leaf_hash(leaf)]);
        Ok(())
    };
    read(cursor.take(to.saturating_sub(from)), each).map_err(io::Error::other)?;
    Ok((len, sum))
}

fn move_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(start).min(1024 * 1024)).unwrap_or_default()];
    let mut place = start;
    while place < end {
        let wanted = usize::try_from(end.saturating_sub(place)).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.get_mut(..wanted).unwrap_or_default();
        from.read_exact_at(part, place)?;
        to.write_all_at(part, place)?;
        place = place.saturating_add(wanted as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::Journal, *};

    fn leaf(number: u64) -> Vec<u8> {
        format!("leaf {number}").into_bytes()
    }

    fn journal(dir: &Path) -> Journal {
        Journal::open(&dir.join(NAME), 0, |_| Ok(None)).unwrap()
    }

    fn there(dir: &Path) -> Vec<Vec<u8>> {
        let mut leaves = Vec::new();
        read(File::open(dir.join(NAME)).unwrap(), |leaf| {
            leaves.push(leaf.to_vec());
            Ok(())
        })
        .unwrap();
        leaves
    }

    #[test]
    fn a_copy_of_the_journal_has_each_leaf_once_however_often_it_begins_anew() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut journal = journal(from.path());
        let mut brought = follow(from.path(), to.path());
        for number in 0..40 {
            journal.append(&[&leaf(number)]).unwrap();
            if number % 7 == 3 {
                // As after a step that was cut short.
                let path = to.path().join(NAME);
                let torn = OpenOptions::new().write(true).open(&path).unwrap();
                torn.write_all_at(b"\0\0\0\x09half", torn.metadata().unwrap().len()).unwrap();
                brought = follow(from.path(), to.path());
            }
            brought.bring().unwrap();
            assert_eq!(there(to.path()), (0..=number).map(leaf).collect::<Vec<_>>());
        }
        assert_eq!(std::fs::metadata(to.path().join(NAME)).unwrap().len(), journal.len());
    }

    #[test]
    fn a_copy_with_more_leaves_or_others_is_not_written_over() {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [short, other, copy] = [0, 1, 2].map(|place: usize| dirs[place].path());
        journal(short).append(&[&leaf(1)]).unwrap();
        journal(other).append(&[&leaf(1), &leaf(3)]).unwrap();
        journal(copy).append(&[&leaf(1), &leaf(2)]).unwrap();
        for from in [short, other] {
            let refused = follow(from, copy).bring().unwrap_err();
            assert!(refused.to_string().starts_with("copy-diverged"), "{refused}");
            assert_eq!(there(copy), [leaf(1), leaf(2)]);
        }
    }
}
