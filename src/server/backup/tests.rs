//! What a backup takes a file for that it has seen before: the one that it is.

use super::*;

const STORE: StoreId = StoreId([7; 16]);

/// A snapshot of files that a test makes, and a place for backups.
struct Snapshot {
    top: tempfile::TempDir,
}

impl Snapshot {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("snapshot").join(DATA)).unwrap();
        fs::write(top.path().join("snapshot").join(LEASE), "").unwrap();
        Self { top }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join("snapshot").join(DATA).join(name)
    }

    fn place(&self) -> Location {
        Location::from(self.top.path().join("bk").as_path())
    }

    /// Where a file lies in it.
    fn kept(&self, sha256: &str) -> PathBuf {
        self.top.path().join("bk/files").join(sha256)
    }

    fn take(&self) -> Result<Manifest, BackupError> {
        let (id, dir, epoch) = (SnapshotId([1; 16]), self.top.path().join("snapshot"), Epoch(1));
        let source = Source { id, dir, store: STORE, taken_at: Timestamp(0), epoch, log_size: 0, records_estimate: 0 };
        take(&source, &self.place(), |_| (), &|_| ())
    }

    /// What a generation gives back for a name.
    fn holds(&self, manifest: &Manifest, name: &str) -> Vec<u8> {
        let file = manifest.files.iter().find(|file| file.name == name).unwrap();
        fs::read(self.kept(&file.sha256)).unwrap()
    }
}

/// The engine gives its names anew once an older data store was put back.
#[test]
fn a_file_of_a_known_name_and_length_that_holds_something_else_is_not_taken_for_the_one_that_is_there() {
    let snapshot = Snapshot::new();
    let path = snapshot.path("000012.sst");
    fs::write(&path, "first").unwrap();
    let first = snapshot.take().unwrap();
    // Another file, and then the same one with other bytes.
    fs::remove_file(&path).unwrap();
    fs::write(snapshot.path("000013.sst"), "takes the inode").unwrap();
    fs::write(&path, "other").unwrap();
    let second = snapshot.take().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"third", 0).unwrap();
    let later = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_secs(1);
    file.set_modified(later).unwrap();
    let third = snapshot.take().unwrap();
    for (manifest, held) in [(&first, "first"), (&second, "other"), (&third, "third")] {
        assert_eq!(snapshot.holds(manifest, "000012.sst"), held.as_bytes());
    }
    assert_eq!((third.copied_files, third.copied_bytes), (1, 5), "what is the same is not moved again");
    let still = snapshot.take().unwrap();
    assert_eq!((still.generation, still.copied_files), (4, 0));
    let verified = verify(&Place::open(&snapshot.place()).unwrap(), None, |_| (), &|_| ()).unwrap();
    assert_eq!((verified.generations, verified.findings), (4, Vec::new()));
}

/// A copy of it is lost, or torn: it is brought again, whatever earlier manifests say.
#[test]
fn a_file_that_is_not_there_as_it_was_is_brought_again() {
    let snapshot = Snapshot::new();
    fs::write(snapshot.path("000012.sst"), "content").unwrap();
    let first = snapshot.take().unwrap();
    let kept = snapshot.kept(&first.files[0].sha256);
    for lost in [true, false] {
        if lost {
            fs::remove_file(&kept).unwrap();
        } else {
            fs::write(&kept, "con").unwrap();
        }
        let again = snapshot.take().unwrap();
        assert_eq!(again.copied_files, 1);
        assert_eq!(snapshot.holds(&again, "000012.sst"), b"content");
    }
}

/// A list that is empty, or lacks something, is no reason to remove what is there.
#[test]
fn a_place_without_a_generation_or_without_a_file_of_the_newest_is_not_called_good_and_not_pruned() {
    let snapshot = Snapshot::new();
    fs::write(snapshot.path("000012.sst"), "content").unwrap();
    let first = snapshot.take().unwrap();
    fs::write(snapshot.path("000013.sst"), "more").unwrap();
    let second = snapshot.take().unwrap();
    let pruned = || prune(&Place::open_to_change(&snapshot.place()).unwrap(), 1);
    let newest = second.files.iter().find(|file| file.name == "000013.sst").unwrap();
    let kept = snapshot.kept(&newest.sha256);
    for torn in [Some("mo"), None] {
        match torn {
            Some(text) => fs::write(&kept, text).unwrap(),
            None => fs::remove_file(&kept).unwrap(),
        }
        let refused = pruned().unwrap_err();
        assert!(matches!(&refused, BackupError::Damaged { at, .. } if at.ends_with(&newest.sha256)), "{refused}");
        assert!(snapshot.top.path().join("bk/generations/00000001.json").exists(), "the older one may be all that is left");
    }
    fs::write(&kept, "more").unwrap();
    assert_eq!(pruned().unwrap().generations, [1]);
    fs::remove_file(snapshot.top.path().join("bk/generations/00000002.json")).unwrap();
    let refused = pruned().unwrap_err();
    assert!(matches!(refused, BackupError::Missing(_)), "{refused}");
    let refused = verify(&Place::open(&snapshot.place()).unwrap(), None, |_| (), &|_| ()).unwrap_err();
    assert!(matches!(refused, BackupError::Missing(_)), "{refused}");
    assert!(snapshot.kept(&first.files[0].sha256).exists(), "nothing is removed");
}

#[test]
fn a_file_that_goes_on_behind_its_end_is_found() {
    let snapshot = Snapshot::new();
    fs::write(snapshot.path("000012.sst"), "content").unwrap();
    let first = snapshot.take().unwrap();
    fs::write(snapshot.kept(&first.files[0].sha256), "content and more").unwrap();
    let verified = verify(&Place::open(&snapshot.place()).unwrap(), None, |_| (), &|_| ()).unwrap();
    assert!(matches!(&verified.findings[..], [only] if only.contains("longer than 7 bytes")), "{:?}", verified.findings);
}

/// Whoever copies holds the lease, so that the server does not remove the snapshot; and nobody else copies from it meanwhile.
#[test]
fn who_copies_from_a_snapshot_holds_its_lease() {
    let snapshot = Snapshot::new();
    fs::write(snapshot.path("000012.sst"), "content").unwrap();
    let lease = fs::File::open(snapshot.top.path().join("snapshot").join(LEASE)).unwrap();
    let (id, dir) = (SnapshotId([1; 16]), snapshot.top.path().join("snapshot"));
    let source = Source { id, dir, store: STORE, taken_at: Timestamp(0), epoch: Epoch(1), log_size: 0, records_estimate: 0 };
    let is_held = std::sync::Mutex::new(Vec::new());
    let progress = |_| is_held.lock().unwrap().push(flock(&lease, FlockOperation::NonBlockingLockExclusive).is_err());
    take(&source, &snapshot.place(), |_| (), &progress).unwrap();
    let is_held = is_held.into_inner().unwrap();
    assert!(!is_held.is_empty() && is_held.iter().all(|held| *held), "{is_held:?}");
    flock(&lease, FlockOperation::NonBlockingLockExclusive).expect("it is let go");
}
