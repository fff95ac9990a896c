#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

use std::fs;

use tempfile::TempDir;

use super::*;

fn signer() -> Signer {
    Signer::from_seed("lethe/test", &[3; 32]).unwrap()
}

fn leaf(number: u64) -> Vec<u8> {
    format!("leaf {number}\n").into_bytes()
}

fn grow(log: &mut Log, to: u64) {
    while log.head().size < to {
        let leaf = leaf(log.head().size);
        log.append(&[&leaf]).unwrap();
    }
}

fn root_of(size: u64) -> Hash {
    let hashes: Vec<Hash> = (0..size).map(|number| merkle::leaf_hash(&leaf(number))).collect();
    merkle::root(&merkle::Leaves(&hashes), size).unwrap()
}

fn open(dir: &TempDir) -> Result<Log, LogError> {
    Log::open(&dir.path().join("log"), signer(), None)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn the_log_grows_by_ones_and_by_batches_to_the_same_tree() {
    let dir = TempDir::new().unwrap();
    let mut log = open(&dir).unwrap();
    let mut earlier = vec![log.checkpoint().to_owned()];
    for size in 1..=300 {
        grow(&mut log, size);
        assert_eq!(log.head().root, root_of(size), "size {size}");
        earlier.push(log.checkpoint().to_owned());
    }
    let batch: Vec<Vec<u8>> = (300..1_100).map(leaf).collect();
    let batch: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
    assert_eq!(log.append(&batch).unwrap(), 300);
    assert_eq!(log.head().root, root_of(1_100));
    let earlier: Vec<&str> = earlier.iter().map(String::as_str).collect();
    let wanted = [leaf(0), leaf(777), leaf(5_000)];
    let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
    let report = verify_log(&dir.path().join("log"), &signer().verifier(), &earlier, &wanted).unwrap();
    assert_eq!(report.found, [Some(0), Some(777), None]);
    drop(log);
    let log = open(&dir).unwrap();
    assert_eq!(*log.head(), report.head);
    for index in [0, 255, 256, 299, 1_023, 1_024, 1_099] {
        let proof = log.proof(index).unwrap().unwrap();
        assert_eq!(proof.verify(&leaf(index), &signer().verifier()).unwrap().size, 1_100);
    }
    assert_eq!(log.proof(1_100).unwrap(), None);
    for old in [0, 1, 255, 256, 257, 1_024, 1_100] {
        let proof = log.consistency(old).unwrap().unwrap();
        assert!(merkle::verify_consistency(old, &root_of(old), 1_100, &log.head().root, &proof), "{old}");
    }
}

#[test]
fn partial_tiles_of_every_older_checkpoint_are_served() {
    let dir = TempDir::new().unwrap();
    let mut log = open(&dir).unwrap();
    grow(&mut log, 260);
    for width in 1..=255_u64 {
        let hashes: Vec<u8> = (0..width).flat_map(|number| merkle::leaf_hash(&leaf(number))).collect();
        assert_eq!(log.resource(&format!("tile/0/000.p/{width}")).unwrap().unwrap(), hashes);
        let bundle = log.resource(&format!("tile/entries/000.p/{width}")).unwrap().unwrap();
        assert_eq!(u64::try_from(tiles::bundle_entries(&bundle).unwrap().len()).unwrap(), width);
    }
    assert_eq!(log.resource("tile/0/001.p/4").unwrap().unwrap().len(), 128);
    assert_eq!(log.resource("tile/1/000.p/1").unwrap().unwrap().len(), 32);
    assert_eq!(log.resource("checkpoint").unwrap().unwrap(), log.checkpoint().as_bytes());
    for absent in ["tile/0/001.p/5", "tile/0/001", "tile/1/000.p/2", "tile/2/000.p/1", "tile/0/002.p/1", "../lethe.toml", "tile/0/000.p/0"]
    {
        assert_eq!(log.resource(absent).unwrap(), None, "{absent}");
    }
    let on_disk = files(&dir.path().join("log"));
    assert_eq!(on_disk.len(), 6, "only the widest partial tiles are kept: {on_disk:?}");
}

#[test]
fn what_a_crash_left_beyond_the_checkpoint_is_dropped() {
    for size in [1, 5, 254, 255, 256, 511] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log");
        let mut log = open(&dir).unwrap();
        grow(&mut log, size);
        let before = log.checkpoint().to_owned();
        let lost: Vec<Vec<u8>> = (0..2).map(|number| format!("lost {number}").into_bytes()).collect();
        let backup = dir.path().join("backup");
        copy_tree(&path, &backup);
        log.append(&lost.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        drop(log);
        // The crash: new tiles and bundles are there, some old partial ones are gone or not, the checkpoint is the old one.
        fs::write(path.join("checkpoint"), &before).unwrap();
        copy_tree(&backup, &path);
        let mut log = open(&dir).unwrap();
        assert_eq!(log.head().root, root_of(size));
        grow(&mut log, size + 3);
        assert_eq!(log.head().root, root_of(size + 3));
        verify_log(&path, &signer().verifier(), &[&before], &[]).unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

#[test]
fn a_leaf_is_appended_once_however_often_it_is_brought() {
    let dir = TempDir::new().unwrap();
    let mut log = open(&dir).unwrap();
    grow(&mut log, 258);
    let (old, new) = (leaf(3), b"certificate".to_vec());
    assert_eq!(log.append_missing(&[&old, &new, &new]).unwrap(), [3, 258, 258]);
    drop(log);
    let mut log = open(&dir).unwrap();
    assert_eq!(log.append_missing(&[&new]).unwrap(), [258]);
    assert_eq!(log.head().size, 259);
}

#[test]
fn a_log_shorter_than_it_was_does_not_open() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&dir).unwrap();
    grow(&mut log, 3);
    copy_tree(&path, &dir.path().join("old"));
    grow(&mut log, 300);
    let known = Some((log.head().size, log.head().root));
    drop(log);
    assert!(Log::open(&path, signer(), known).is_ok());
    // Its own checkpoint is newer than its tiles.
    for gone in ["tile/entries/001.p/44", "tile/0/001.p/44", "tile/0/000", "tile/1/000.p/1"] {
        let bytes = fs::read(path.join(gone)).unwrap();
        fs::remove_file(path.join(gone)).unwrap();
        assert!(matches!(open(&dir).unwrap_err(), LogError::Shorter(_)), "{gone}");
        fs::write(path.join(gone), bytes).unwrap();
    }
    // An old copy is whole in itself, but the control store knows better.
    assert!(matches!(Log::open(&dir.path().join("old"), signer(), known).unwrap_err(), LogError::Shorter(_)));
    fs::remove_dir_all(&path).unwrap();
    assert!(matches!(Log::open(&path, signer(), known).unwrap_err(), LogError::Shorter(_)));
}

#[test]
fn another_history_of_the_same_length_does_not_open() {
    let dir = TempDir::new().unwrap();
    let mut log = open(&dir).unwrap();
    log.append(&[b"other"]).unwrap();
    grow(&mut log, 5);
    assert!(matches!(Log::open(&dir.path().join("log"), signer(), Some((4, root_of(4)))).unwrap_err(), LogError::Forked));
}

#[test]
fn every_damaged_file_is_found_offline() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&dir).unwrap();
    grow(&mut log, 300);
    let other = Signer::from_seed("lethe/test", &[4; 32]).unwrap();
    assert!(verify_log(&path, &other.verifier(), &[], &[]).is_err());
    for file in files(&path) {
        let bytes = fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&file, &flipped).unwrap();
            assert!(verify_log(&path, &signer().verifier(), &[], &[]).is_err(), "{} byte {at}", file.display());
        }
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        assert!(verify_log(&path, &signer().verifier(), &[], &[]).is_err(), "{} cut", file.display());
        fs::remove_file(&file).unwrap();
        assert!(verify_log(&path, &signer().verifier(), &[], &[]).is_err(), "{} gone", file.display());
        fs::write(&file, &bytes).unwrap();
    }
    verify_log(&path, &signer().verifier(), &[], &[]).unwrap();
}

#[test]
fn a_rewritten_history_contradicts_an_earlier_checkpoint() {
    let (dir, rewritten) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut log = open(&dir).unwrap();
    grow(&mut log, 7);
    let earlier = log.checkpoint().to_owned();
    let mut log = open(&rewritten).unwrap();
    log.append(&[b"another first leaf"]).unwrap();
    grow(&mut log, 9);
    let error = verify_log(&rewritten.path().join("log"), &signer().verifier(), &[&earlier], &[]).unwrap_err();
    assert!(matches!(error, LogError::Forked));
}

#[test]
fn a_leaf_over_the_limit_is_refused_and_the_log_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut log = open(&dir).unwrap();
    let over = vec![b'x'; MAX_LEAF_LEN_BYTES + 1];
    assert!(matches!(log.append(&[b"a", &over]).unwrap_err(), LogError::LeafTooLong));
    assert_eq!(log.append(&[&over[1..]]).unwrap(), 0);
    drop(log);
    assert_eq!(open(&dir).unwrap().head().size, 1);
}

#[test]
fn a_log_that_could_not_write_takes_no_more_until_it_is_opened_anew() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&dir).unwrap();
    grow(&mut log, 2);
    // Works for root too, who may write where modes forbid it: a directory stands where the file must go.
    fs::create_dir_all(path.join("tile/0/000.p/3/x")).unwrap();
    assert!(matches!(log.append(&[b"c"]).unwrap_err(), LogError::Io(_)));
    assert!(matches!(log.append(&[b"c"]).unwrap_err(), LogError::Closed));
    assert!(log.has_failed() && log.reopen().is_err(), "the disk is as it was");
    assert!(matches!(log.append(&[b"c"]).unwrap_err(), LogError::Closed));
    assert_eq!((log.head().size, log.proof(1).unwrap().unwrap().index), (2, 1), "what was there is read");
    fs::remove_dir_all(path.join("tile/0/000.p/3")).unwrap();
    log.reopen().unwrap();
    assert!(!log.has_failed());
    grow(&mut log, 4);
    assert_eq!(log.head().root, root_of(4));
    drop(log);
    let mut log = open(&dir).unwrap();
    grow(&mut log, 5);
    assert_eq!(log.head().root, root_of(5));
}

/// Puts a directory where the append after `size` leaves begins a file; `None` if it writes no such file.
fn obstruct(log: &Path, size: u64, file: &str) -> Option<PathBuf> {
    let (full, partial) = (size >> 8, size % 256 + 1);
    let tile = match file {
        "entries" => Some(Tile { level: None, index: full, width: u16::try_from(partial).unwrap() }),
        "tile" => Some(Tile { level: Some(0), index: full, width: u16::try_from(partial).unwrap() }),
        "tile above" if partial == 256 => Some(Tile { level: Some(1), index: 0, width: u16::try_from(full + 1).unwrap() }),
        "tile above" => return None,
        _ => None,
    };
    let path = log.join(tile.map_or("checkpoint".into(), Tile::path));
    let obstacle = path.with_file_name(format!(".{}.new", path.file_name().unwrap().to_str().unwrap()));
    fs::create_dir_all(&obstacle).unwrap();
    Some(obstacle)
}

#[test]
fn an_append_that_failed_at_any_file_is_there_once_after_it_is_tried_again() {
    fails_at_any_file(|path, journal| Log::open_with_journal(path, journal, signer(), None).unwrap());
}

#[test]
fn so_is_one_of_a_log_that_is_filed_later() {
    fails_at_any_file(|path, journal| filed_later(path, journal, None, None).unwrap());
}

fn fails_at_any_file(open: impl Fn(&Path, &Path) -> Log) {
    for size in [0, 1, 254, 255, 256] {
        for file in ["entries", "tile", "tile above", "checkpoint", "journal"] {
            let dir = TempDir::new().unwrap();
            let (path, journal) = (dir.path().join("log"), dir.path().join("journal"));
            let mut log = open(&path, &journal);
            let leaves: Vec<Vec<u8>> = (0..size).map(leaf).collect();
            log.append(&leaves.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            drop(log);
            let mut log = open(&path, &journal);
            let before = log.checkpoint().to_owned();
            let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            let obstacle = if file == "journal" {
                log.journal.as_mut().unwrap().swap_file(&mut full);
                None
            } else {
                let Some(obstacle) = obstruct(&path, size, file) else { continue };
                Some(obstacle)
            };
            assert!(matches!(log.append_missing(&[&leaf(size)]), Err(LogError::Io(_))), "{size} {file}");
            assert_eq!((log.head().size, log.checkpoint()), (size, before.as_str()), "what was not promised is not shown");
            match obstacle {
                Some(obstacle) => fs::remove_dir_all(obstacle).unwrap(),
                None => log.journal.as_mut().unwrap().swap_file(&mut full),
            }
            log.reopen().unwrap();
            assert_eq!(log.append_missing(&[&leaf(size)]).unwrap(), [size], "{size} {file}");
            grow(&mut log, size + 3);
            assert_eq!(log.head().root, root_of(size + 3));
            drop(log);
            verify_log(&path, &signer().verifier(), &[&before], &[]).unwrap();
            let log = open(&path, &journal);
            assert_eq!(log.head().size, size + 3);
        }
    }
}

/// Of a control store that keeps no leaf for the log unless it was never told of any.
fn filed_later(path: &Path, journal: &Path, known: Option<(u64, Hash)>, filed: Option<(u64, Hash)>) -> Result<Log, LogError> {
    Log::open_filed_later(path, journal, signer(), ControlKnows { known, filed, keeps: &|_| known.is_none() })
}

/// A log that is filed later, filed at `filed` leaves and grown to `size` since.
struct Unfiled {
    dir: TempDir,
    filed: (u64, Hash),
    /// Its files when it was filed.
    before: Vec<(PathBuf, Vec<u8>)>,
}

impl Unfiled {
    fn new(filed: u64, size: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let mut log = filed_later(&dir.path().join("log"), &dir.path().join("journal"), None, None).unwrap();
        let leaves: Vec<Vec<u8>> = (0..filed).map(leaf).collect();
        log.append(&leaves.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        log.file().unwrap();
        let before = files(&dir.path().join("log")).into_iter().map(|file| (file.clone(), fs::read(&file).unwrap())).collect();
        grow(&mut log, size);
        let filed = log.filed().unwrap();
        Self { dir, filed, before }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What a power cut may take: files that were made or replaced since the filing, but for those that are synced at once.
    fn unsynced(&self) -> Vec<PathBuf> {
        let is_full = |file: &Path| file.parent().is_some_and(|dir| dir.extension().is_none()) && !file.ends_with("checkpoint");
        let is_new = |file: &PathBuf| !self.before.contains(&(file.clone(), fs::read(file).unwrap()));
        files(&self.path()).into_iter().filter(|file| is_new(file) && !is_full(file)).collect()
    }

    fn open(&self, known: (u64, Hash)) -> Result<Log, LogError> {
        filed_later(&self.path(), &self.dir.path().join("journal"), Some(known), Some(self.filed))
    }
}

#[test]
fn whatever_a_power_cut_takes_of_what_was_not_filed_is_made_again() {
    for (filed, size) in [(0, 1), (3, 5), (254, 256), (255, 257), (256, 257)] {
        let whole = Unfiled::new(filed, size);
        assert_eq!(whole.filed.0, filed);
        for (cut, all) in [("emptied", true), ("emptied", false), ("halved", false), ("as it was", true), ("as it was", false)] {
            for number in 0..if all { 1 } else { whole.unsynced().len() } {
                let case = format!("{filed} to {size}: {cut}, all: {all}, {number}");
                let fresh = Unfiled::new(filed, size);
                let unsynced = fresh.unsynced();
                for file in if all { unsynced.as_slice() } else { &unsynced[number..=number] } {
                    let old = fresh.before.iter().find(|(before, _)| before == file);
                    match (cut, old) {
                        ("emptied", _) => fs::write(file, b"").unwrap(),
                        ("halved", _) => fs::write(file, &fs::read(file).unwrap()[..8]).unwrap(),
                        (_, Some((_, bytes))) => fs::write(file, bytes).unwrap(),
                        (_, None) => fs::remove_file(file).unwrap(),
                    }
                }
                let mut log = fresh.open((size, root_of(size))).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!((log.head().size, log.head().root), (size, root_of(size)), "{case}");
                assert_eq!(log.filed(), Some((size, root_of(size))), "{case}");
                grow(&mut log, size + 2);
                log.file().unwrap();
                drop(log);
                let report = verify_log(&fresh.path(), &signer().verifier(), &[], &[&leaf(size - 1)]).unwrap();
                assert_eq!((report.head.size, report.found), (size + 2, vec![Some(size - 1)]), "{case}");
            }
        }
    }
}

#[test]
fn an_old_copy_of_a_log_that_is_filed_later_is_refused() {
    let log = Unfiled::new(300, 310);
    let (dir, path) = (log.dir.path(), log.path());
    copy_tree(&path, &dir.join("old"));
    let mut open = log.open((310, root_of(310))).unwrap();
    grow(&mut open, 320);
    let filed = open.file().unwrap();
    drop(open);
    for copy in ["old", "nothing"] {
        fs::remove_dir_all(&path).unwrap();
        if copy == "old" {
            fs::rename(dir.join("old"), &path).unwrap();
        }
        let refused = filed_later(&path, &dir.join("journal"), filed, filed).unwrap_err();
        assert!(matches!(refused, LogError::Shorter(_)), "{copy}: {refused}");
        fs::create_dir_all(&path).unwrap();
    }
}

#[test]
fn a_log_that_was_filed_needs_no_journal_and_one_that_was_not_says_what_is_missing() {
    let log = Unfiled::new(20, 30);
    let journal = log.dir.path().join("journal");
    // The disk of the journal is lost; the files are whole, for nothing but the process ended.
    fs::remove_file(&journal).unwrap();
    assert_eq!(log.open((30, root_of(30))).unwrap().head().size, 30);
    let torn = Unfiled::new(20, 30);
    fs::remove_file(torn.dir.path().join("journal")).unwrap();
    for file in torn.unsynced() {
        fs::write(file, b"").unwrap();
    }
    assert!(torn.open((30, root_of(30))).is_err());
}

#[test]
fn a_filing_that_control_was_not_told_of_leaves_the_one_before() {
    for (told, filed, size) in [(3, 5, 7), (250, 254, 258), (254, 257, 259), (0, 3, 4)] {
        let log = Unfiled::new(told, filed);
        let mut open = log.open((filed, root_of(filed))).unwrap();
        assert_eq!(open.file().unwrap(), Some((filed, root_of(filed))), "until control knows of it");
        grow(&mut open, size);
        drop(open);
        for file in files(&log.path()) {
            let width = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
            let is_partial = file.parent().is_some_and(|dir| dir.extension().is_some());
            let of_size = |level| tiles::edge(level, size).1;
            if is_partial && [Some(0), Some(1), None].into_iter().any(|level| Some(of_size(level)) == width) {
                fs::write(&file, b"").unwrap();
            }
        }
        fs::write(log.path().join("checkpoint"), b"").unwrap();
        let open = log.open((size, root_of(size))).unwrap_or_else(|error| panic!("{told} {filed} {size}: {error}"));
        assert_eq!((open.head().size, open.head().root), (size, root_of(size)));
    }
}

#[test]
fn once_control_knows_of_a_filing_the_files_of_the_one_before_go() {
    let log = Unfiled::new(3, 5);
    let mut open = log.open((5, root_of(5))).unwrap();
    let old = log.path().join("tile/0/000.p/3");
    assert!(old.exists());
    open.told(open.filed().unwrap());
    assert!(!old.exists());
    assert_eq!(open.file().unwrap(), None, "nothing is left to tell");
}

#[test]
fn a_leaf_that_control_knows_nothing_of_is_not_signed() {
    for size in [20, 30] {
        let log = Unfiled::new(20, size);
        let path = log.dir.path().join("journal");
        let whole = fs::read(&path).unwrap();
        let before = fs::read(log.path().join("checkpoint")).unwrap();
        let mut forged = whole.clone();
        forged.extend_from_slice(&4_u32.to_be_bytes());
        forged.extend_from_slice(b"leaf");
        forged.extend_from_slice(&merkle::leaf_hash(b"leaf"));
        fs::write(&path, &forged).unwrap();
        let refused = log.open((size, root_of(size))).unwrap_err();
        assert!(matches!(refused, LogError::ControlBehind { .. }), "{refused}");
        assert_eq!(fs::read(log.path().join("checkpoint")).unwrap(), before, "nothing was signed");
        fs::write(&path, &whole).unwrap();
        assert_eq!(log.open((size, root_of(size))).unwrap().head().size, size);
    }
    let log = Unfiled::new(20, 30);
    fs::write(log.path().join("checkpoint"), b"").unwrap();
    assert!(matches!(log.open((25, root_of(24))).unwrap_err(), LogError::Forked));
}

#[test]
fn what_is_shown_stays_while_a_failed_log_cannot_be_opened_anew() {
    let log = Unfiled::new(3, 5);
    let mut open = log.open((5, root_of(5))).unwrap();
    grow(&mut open, 7);
    let obstacle = obstruct(&log.path(), 7, "entries").unwrap();
    assert!(matches!(open.append(&[&leaf(7)]), Err(LogError::Io(_))));
    assert!(open.reopen().is_err());
    assert!(open.resource("tile/0/000.p/7").unwrap().is_some() && open.proof(6).unwrap().is_some());
    fs::remove_dir_all(obstacle).unwrap();
    open.reopen().unwrap();
    assert_eq!(open.append_missing(&[&leaf(7)]).unwrap(), [7]);
}
