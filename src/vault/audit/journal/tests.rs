#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use std::fs;

use tempfile::TempDir;

use super::*;

fn signer() -> Signer {
    Signer::from_seed("lethe/test", &[3; 32]).unwrap()
}

fn leaves(from: usize, to: usize) -> Vec<Vec<u8>> {
    (from..to).map(|number| format!("leaf {number}\n").repeat(1 + number % 3).into_bytes()).collect()
}

/// A log of so many leaves, and its journal.
struct Kept {
    dir: TempDir,
}

impl Kept {
    fn new(size: usize) -> Self {
        let kept = Self { dir: TempDir::new().unwrap() };
        kept.grow(0, size);
        kept
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn open(&self) -> Result<Log, LogError> {
        Log::open_with_journal(&self.log(), &self.journal(), signer(), None)
    }

    fn grow(&self, from: usize, to: usize) {
        let mut log = self.open().unwrap();
        for batch in leaves(from, to).chunks(100) {
            log.append(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        }
    }

    fn head(&self) -> (u64, Hash) {
        let log = Log::open(&self.log(), signer(), None).unwrap();
        (log.head().size, log.head().root)
    }
}

/// All files of a log with their bytes.
fn bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(bytes(&path).into_iter().map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)));
        } else {
            found.push((path.file_name().unwrap().into(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_lost_log_is_made_again_byte_by_byte() {
    for size in [1, 255, 256, 257, 700] {
        let kept = Kept::new(size);
        let (before, known) = (bytes(&kept.log()), kept.head());
        fs::remove_dir_all(kept.log()).unwrap();
        assert!(matches!(kept.open(), Err(LogError::Shorter(_))), "an empty log beside its journal");
        // The open made an empty log, which is moved aside.
        let rebuilt = rebuild(&kept.log(), &kept.journal(), signer(), Some(known)).unwrap();
        assert_eq!(rebuilt.size, size as u64);
        assert_eq!(bytes(&kept.log()), before, "{size}");
        kept.grow(size, size + 10);
    }
}

#[test]
fn an_older_log_is_refused_and_moved_aside_by_a_rebuild() {
    let kept = Kept::new(300);
    let older = kept.dir.path().join("older");
    fs::rename(kept.log(), &older).unwrap();
    rebuild(&kept.log(), &kept.journal(), signer(), None).unwrap();
    kept.grow(300, 600);
    let (whole, known) = (bytes(&kept.log()), kept.head());
    fs::remove_dir_all(kept.log()).unwrap();
    fs::rename(&older, kept.log()).unwrap();
    assert!(matches!(kept.open(), Err(LogError::Shorter(_))));
    let rebuilt = rebuild(&kept.log(), &kept.journal(), signer(), Some(known)).unwrap();
    assert_eq!(bytes(&kept.log()), whole);
    assert_eq!(bytes(&rebuilt.moved_to.unwrap()).len(), 6, "checkpoint, bundles and tiles of the older log");
}

#[test]
fn a_journal_that_is_behind_or_lost_is_brought_up_to_date_from_the_log() {
    let kept = Kept::new(300);
    let whole = fs::read(kept.journal()).unwrap();
    for cut in [0, 1, 20, 40, whole.len() / 2, whole.len() - 1] {
        fs::write(kept.journal(), &whole[..cut]).unwrap();
        drop(kept.open().unwrap());
        assert_eq!(fs::read(kept.journal()).unwrap(), whole, "cut at {cut}");
    }
    fs::remove_file(kept.journal()).unwrap();
    drop(kept.open().unwrap());
    assert_eq!(fs::read(kept.journal()).unwrap(), whole);
}

#[test]
fn a_journal_of_other_leaves_is_refused_and_makes_no_log() {
    let (kept, other) = (Kept::new(20), Kept { dir: TempDir::new().unwrap() });
    let mut log = other.open().unwrap();
    log.append(&[b"something else"]).unwrap();
    drop(log);
    let known = kept.head();
    fs::copy(other.journal(), kept.journal()).unwrap();
    assert!(matches!(kept.open(), Err(LogError::Forked)));
    let before = bytes(&kept.log());
    for journal in [fs::read(kept.journal()).unwrap(), Vec::new()] {
        fs::write(kept.journal(), journal).unwrap();
        assert!(matches!(rebuild(&kept.log(), &kept.journal(), signer(), Some(known)), Err(LogError::Shorter(_))));
        assert_eq!(bytes(&kept.log()), before, "a refused rebuild changes nothing");
    }
}

#[test]
fn a_journal_is_cut_behind_what_a_control_store_knows_of_or_keeps() {
    let hash = |index: usize| merkle::leaf_hash(&leaves(index, index + 1)[0]);
    for (known, keeps, left) in [(20, vec![], 20), (20, vec![20, 21], 22), (20, vec![21, 22], 20), (0, vec![0], 1), (30, vec![], 30)] {
        let kept = Kept::new(30);
        let keeps: Vec<Hash> = keeps.into_iter().map(hash).collect();
        cut(&kept.journal(), known, |hash| keeps.contains(hash)).unwrap();
        assert_eq!(count(&kept.journal()).unwrap(), left, "{known}");
        let rebuilt = rebuild(&kept.log(), &kept.journal(), signer(), None).unwrap();
        assert_eq!(rebuilt.size, left);
    }
}

#[test]
fn disk_space_is_taken_ahead_and_kept_over_a_start() {
    use std::os::unix::fs::MetadataExt as _;
    let kept = Kept::new(3);
    for _ in 0..2 {
        let file = fs::metadata(kept.journal()).unwrap();
        assert!(file.len() < 1_000 && file.blocks() * 512 >= AHEAD_BYTES / 2, "{} bytes in {} blocks", file.len(), file.blocks());
        drop(kept.open().unwrap());
    }
}
