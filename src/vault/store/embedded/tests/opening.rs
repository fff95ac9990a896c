//! What is compared when a store is opened, and how a lost part comes back from the others.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;

pub(super) fn refusal(fixture: &Fixture) -> OpenError {
    Embedded::open(fixture.options(), Arc::new(SystemClock)).expect_err("the store must be refused")
}

fn assert_refused(fixture: &Fixture, name: &str) {
    let error = refusal(fixture);
    assert_eq!(error.name(), name, "{error}");
    assert!(error.to_string().starts_with(name), "{error}");
}

/// A copy of a directory of files.
fn keep(dir: &Path, as_name: &str) -> PathBuf {
    let kept = dir.with_file_name(as_name);
    fs::create_dir(&kept).unwrap();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
    }
    kept
}

fn put_back(kept: &Path, dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::rename(kept, dir).unwrap();
}

pub(super) fn newest(dir: &Path, extension: &str) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).max().expect("there is such a file")
}

pub(super) fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

pub(super) fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

pub(super) async fn write(store: &Embedded, space: Space, numbers: std::ops::Range<u8>) {
    for n in numbers {
        store.commit(commit(vec![], vec![put(space, vec![n], vec![n; 500]), put(space, vec![255, n], vec![n; 500])])).await.unwrap();
    }
}

/// Both rows of a commit are there, or neither; returns the numbers of those that are.
pub(super) async fn whole(store: &Embedded, space: Space) -> Vec<u8> {
    let first = store.scan(space, &[0], &[255], 1_000).await.unwrap();
    let second = store.scan(space, &[255], &[255, 255], 1_000).await.unwrap();
    assert!(first.iter().map(|row| row.key[0]).eq(second.iter().map(|row| row.key[1])));
    first.iter().map(|row| row.key[0]).collect()
}

async fn filled(fixture: &Fixture) {
    let store = fixture.open();
    for space in [Space::Control, Space::Records] {
        write(&store, space, 0..20).await;
    }
    store.close();
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let store = fixture.open();
    assert_eq!(store.store_id(), STORE);
    for space in [Space::Control, Space::Records] {
        assert_eq!(whole(&store, space).await, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let fixture = Fixture::new();
    let store = fixture.open();
    assert_refused(&fixture, "store-locked");
    let rebuild = Embedded::rebuild_control_from_mirror(&fixture.options()).unwrap_err();
    assert_eq!(rebuild.name(), "store-locked");
    store.close();
    fixture.open();
}

#[test]
fn a_store_is_neither_made_twice_nor_found_where_there_is_none() {
    let fixture = Fixture::new();
    assert_eq!(Embedded::create(&fixture.options(), STORE).unwrap_err().name(), "store-exists");
    fs::remove_file(fixture.options().format_file()).unwrap();
    assert_refused(&fixture, "store-missing");
    assert_eq!(Embedded::create(&fixture.options(), STORE).unwrap_err().name(), "store-exists");
}

#[test]
fn an_unknown_format_is_refused_with_its_number() {
    let fixture = Fixture::new();
    fs::write(fixture.options().format_file(), "917\n").unwrap();
    let error = refusal(&fixture);
    assert_eq!(error.name(), "unknown-format");
    assert!(error.to_string().contains("917"), "{error}");
}

#[tokio::test]
async fn an_unknown_format_of_one_database_is_refused_with_its_number() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let mut batch = rocksdb::WriteBatch::default();
    batch.put("format", 918_u32.to_be_bytes());
    store.shared.with(|pair| pair.data.write(batch, false)).unwrap();
    store.close();
    let error = refusal(&fixture);
    assert_eq!(error.name(), "unknown-format");
    assert!(error.to_string().contains("data has format 918"), "{error}");
}

#[tokio::test]
async fn data_of_an_older_date_is_taken_back() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let data = fixture.options().data_dir();
    let older = keep(&data, "older");
    let store = fixture.open();
    write(&store, Space::Control, 20..30).await;
    write(&store, Space::Records, 20..30).await;
    store.close();
    put_back(&older, &data);
    let store = fixture.open();
    assert_eq!(whole(&store, Space::Control).await.len(), 30);
    assert_eq!(whole(&store, Space::Records).await.len(), 20);
}

#[tokio::test]
async fn an_old_control_store_is_refused_and_rebuilt_from_its_mirror() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let control = fixture.options().control_dir();
    let older = keep(&control, "older");
    let store = fixture.open();
    write(&store, Space::Control, 20..30).await;
    store.close();
    put_back(&older, &control);
    assert_refused(&fixture, "control-behind-mirror");
    let rebuilt = Embedded::rebuild_control_from_mirror(&fixture.options()).unwrap();
    assert_eq!((rebuilt.rows, rebuilt.control_seq), (60, 30));
    assert!(rebuilt.moved_to.unwrap().exists());
    let store = fixture.open();
    assert_eq!(whole(&store, Space::Control).await.len(), 30);
    assert_eq!(store.sync_mirror().await, Ok(()));
    write(&store, Space::Control, 30..31).await;
}

#[tokio::test]
async fn an_old_control_store_with_its_old_mirror_is_refused() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let options = fixture.options();
    let (control, mirror) = (keep(&options.control_dir(), "older"), keep(&options.mirror_dir, "older-mirror"));
    let store = fixture.open();
    write(&store, Space::Control, 20..30).await;
    write(&store, Space::Records, 20..30).await;
    store.close();
    put_back(&control, &options.control_dir());
    put_back(&mirror, &options.mirror_dir);
    assert_refused(&fixture, "control-behind-data");
}

#[tokio::test]
async fn a_lost_control_store_is_rebuilt_row_for_row() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let store = fixture.open();
    let delete = Write::DeleteRange { space: Space::Control, from: vec![5].into(), to: vec![15].into() };
    store
        .commit(commit(
            vec![],
            vec![delete, Write::Delete { space: Space::Control, key: vec![0].into() }, put(Space::ControlAudit, "a", "")],
        ))
        .await
        .unwrap();
    let rows = |store: &Embedded| store.shared.with(|pair| Ok(pair.control.rows().map(Result::unwrap).collect::<Vec<_>>())).unwrap();
    let before = rows(&store);
    store.close();
    fs::remove_dir_all(fixture.options().control_dir()).unwrap();
    assert_refused(&fixture, "control-missing");
    let rebuilt = Embedded::rebuild_control_from_mirror(&fixture.options()).unwrap();
    assert_eq!((rebuilt.rows, rebuilt.moved_to), (before.len(), None));
    assert_eq!(rows(&fixture.open()), before);
}

#[tokio::test]
async fn a_lost_mirror_is_refused_and_made_anew_from_control() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    fs::remove_dir_all(&fixture.options().mirror_dir).unwrap();
    assert_refused(&fixture, "mirror-missing");
    assert_eq!(Embedded::rebuild_mirror_from_control(&fixture.options()).unwrap().control_seq, 20);
    let store = fixture.open();
    assert_eq!(store.sync_mirror().await, Ok(()));
    store.close();
    assert_eq!(mirror::restore(&fixture.options().mirror_dir).unwrap().rows.len(), 40);
}

#[tokio::test]
async fn control_and_mirror_that_took_different_ways_are_refused() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let options = fixture.options();
    let (control, mirror) = (keep(&options.control_dir(), "older"), keep(&options.mirror_dir, "older-mirror"));
    let store = fixture.open();
    write(&store, Space::Control, 20..21).await;
    store.close();
    let ours = keep(&options.mirror_dir, "ours");
    put_back(&control, &options.control_dir());
    put_back(&mirror, &options.mirror_dir);
    let store = fixture.open();
    write(&store, Space::Control, 21..22).await;
    store.close();
    put_back(&ours, &options.mirror_dir);
    assert_refused(&fixture, "mirror-diverged");
}

#[tokio::test]
async fn parts_of_another_store_are_refused() {
    let (fixture, other) = (Fixture::new(), TempDir::new().unwrap());
    filled(&fixture).await;
    let options = fixture.options();
    let strange = EmbeddedOptions { dir: other.path().join("store"), mirror_dir: other.path().join("mirror"), ..options.clone() };
    Embedded::create(&strange, StoreId([8; 16])).unwrap();
    let ours = keep(&options.data_dir(), "ours");
    put_back(&strange.data_dir(), &options.data_dir());
    assert_refused(&fixture, "foreign-store");
    put_back(&ours, &options.data_dir());
    put_back(&strange.mirror_dir, &options.mirror_dir);
    assert_refused(&fixture, "foreign-store");
}

#[tokio::test]
async fn a_mirror_that_missed_the_last_batch_is_brought_up_to_date() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    // As a crash between the control batch and its delta leaves it: the last frame torn.
    cut(&fixture.options().mirror_dir.join("mirror.log"), 100);
    assert_eq!(mirror::restore(&fixture.options().mirror_dir).unwrap().seq, 19);
    let store = fixture.open();
    assert_eq!(store.sync_mirror().await, Ok(()));
    store.close();
    let restored = mirror::restore(&fixture.options().mirror_dir).unwrap();
    assert_eq!((restored.seq, restored.rows.len()), (20, 40));
}

#[tokio::test]
async fn a_damaged_mirror_is_refused_at_open_and_replaced_while_control_is_there() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    let log = fixture.options().mirror_dir.join("mirror.log");
    let len = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
    // The snapshot's head, a length, a body: each before the last frame.
    for offset in [10, len / 2, len / 3, len / 4] {
        flip(&log, offset);
        assert_refused(&fixture, "mirror-damaged");
        flip(&log, offset);
    }
    let store = fixture.open();
    flip(&log, len / 2);
    assert_eq!(store.sync_mirror().await, Ok(()));
    write(&store, Space::Control, 20..21).await;
    store.close();
    assert_eq!(mirror::restore(&fixture.options().mirror_dir).unwrap().rows.len(), 42);
}

#[tokio::test]
async fn a_mirror_that_outgrew_its_snapshot_is_compacted_and_stays_equal() {
    let fixture = Fixture::new();
    let store = fixture.open_with(|options| options.mirror_compact_bytes = 20_000);
    let log = fixture.options().mirror_dir.join("mirror.log");
    let mut shrank = 0;
    let mut last = 0;
    for n in 0..200_u8 {
        write(&store, Space::Control, n % 10..n % 10 + 1).await;
        let len = fs::metadata(&log).unwrap().len();
        shrank += u32::from(len < last);
        last = len;
        assert!(len < 50_000, "{len}");
    }
    assert!(shrank > 3, "{shrank}");
    assert_eq!(store.sync_mirror().await, Ok(()));
    store.close();
    assert_eq!(mirror::restore(&fixture.options().mirror_dir).unwrap().rows.len(), 20);
    fixture.open();
}

#[tokio::test]
async fn a_torn_last_record_of_the_wal_opens_cleanly_without_it() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    cut(&newest(&fixture.options().data_dir(), "log"), 7);
    let store = fixture.open();
    assert_eq!(whole(&store, Space::Records).await, (0..19).collect::<Vec<_>>());
    assert_eq!(whole(&store, Space::Control).await.len(), 20);
}

#[tokio::test]
async fn a_torn_control_wal_is_seen_by_the_mirror() {
    let fixture = Fixture::new();
    filled(&fixture).await;
    cut(&newest(&fixture.options().control_dir(), "log"), 7);
    // Data has seen more of control than is left, which is noticed first.
    assert_refused(&fixture, "control-behind-data");
    Embedded::rebuild_control_from_mirror(&fixture.options()).unwrap();
    assert_eq!(whole(&fixture.open(), Space::Control).await.len(), 20);
}

#[tokio::test]
async fn damage_before_the_end_of_a_wal_is_refused_by_name() {
    for (database, name) in [("control", "control-damaged"), ("data", "data-damaged")] {
        let fixture = Fixture::new();
        filled(&fixture).await;
        let wal = newest(&fixture.options().dir.join(database), "log");
        let middle = usize::try_from(fs::metadata(&wal).unwrap().len()).unwrap() / 2;
        flip(&wal, middle);
        assert_refused(&fixture, name);
    }
}

#[tokio::test]
async fn a_truncated_table_file_is_refused_by_name() {
    let fixture = Fixture::new();
    let store = fixture.open();
    write(&store, Space::Records, 0..100).await;
    store.shared.with(|pair| pair.data.flush(true)).unwrap();
    store.close();
    cut(&newest(&fixture.options().data_dir(), "sst"), 50);
    assert_refused(&fixture, "data-damaged");
}

#[tokio::test]
async fn a_flipped_byte_in_a_table_file_is_damage_and_never_a_wrong_value() {
    let fixture = Fixture::new();
    let store = fixture.open();
    write(&store, Space::Records, 0..100).await;
    store.shared.with(|pair| pair.data.flush(true)).unwrap();
    store.close();
    let mut files: Vec<_> = fs::read_dir(fixture.options().data_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == "sst"));
    let largest = files.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    flip(largest, 2_000);
    let store = fixture.open();
    let mut damaged = 0;
    for n in 0..100 {
        match store.get(Space::Records, &[n]).await {
            Ok(value) => assert_eq!(value, Some(vec![n; 500].into())),
            Err(StoreError::Damaged(_)) => damaged += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(damaged > 0);
}
