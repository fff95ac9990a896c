//! Files of the databases lost, cut or bent: each is refused with the file's name, or opens without loss.

use super::opening::{cut, flip, newest, refusal, whole, write};
use super::*;

use std::fs;

/// Both databases with a table file and a WAL behind it.
async fn with_tables(fixture: &Fixture) {
    let store = fixture.open();
    for space in [Space::Control, Space::Records] {
        write(&store, space, 0..100).await;
    }
    store.shared.with(|pair| pair.control.flush(true).and_then(|()| pair.data.flush(true))).unwrap();
    for space in [Space::Control, Space::Records] {
        write(&store, space, 100..120).await;
    }
    store.close();
}

/// The database, its space, and the name of its damage.
const DATABASES: [(&str, Space, &str); 2] = [("control", Space::Control, "control-damaged"), ("data", Space::Records, "data-damaged")];

fn named(fixture: &Fixture, name: &str, file: &str) {
    let error = refusal(fixture);
    assert!(error.name() == name && error.to_string().contains(file), "{name} {file}: {error}");
}

/// The table file with the rows of a database: its largest.
fn table(dir: &std::path::Path) -> std::path::PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|found| found == "sst"));
    tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_missing_or_cut_table_file_is_refused_by_its_name() {
    for (database, _, name) in DATABASES {
        for keep in [0, 1] {
            let fixture = Fixture::new();
            with_tables(&fixture).await;
            let file = table(&fixture.options().dir.join(database));
            if keep == 0 {
                fs::remove_file(&file).unwrap();
            } else {
                cut(&file, 50);
            }
            named(&fixture, name, file.file_name().unwrap().to_str().unwrap());
        }
    }
}

#[tokio::test]
async fn a_lost_current_or_manifest_is_refused_by_its_name() {
    for (database, _, name) in DATABASES {
        let fixture = Fixture::new();
        with_tables(&fixture).await;
        let dir = fixture.options().dir.join(database);
        let manifest = fs::read_to_string(dir.join("CURRENT")).unwrap().trim().to_owned();
        fs::rename(dir.join(&manifest), dir.join("elsewhere")).unwrap();
        named(&fixture, name, "MANIFEST");
        fs::rename(dir.join("elsewhere"), dir.join(&manifest)).unwrap();
        fs::remove_file(dir.join("CURRENT")).unwrap();
        named(&fixture, name, "CURRENT");
        fs::write(dir.join("CURRENT"), format!("{manifest}\n")).unwrap();
        let store = fixture.open();
        assert_eq!(whole(&store, Space::Records).await.len(), 120);
    }
}

#[tokio::test]
async fn a_torn_end_of_a_wal_loses_nothing_and_garbage_behind_it_is_refused_by_name() {
    // As a power cut leaves it: a length without its bytes, a header cut short. And blocks of something else.
    for (garbage, is_torn) in [(vec![0; 5_000], true), (vec![0xff; 7], true), (vec![0x21; 40_000], false)] {
        let fixture = Fixture::new();
        with_tables(&fixture).await;
        let wal = newest(&fixture.options().data_dir(), "log");
        let whole_wal = fs::read(&wal).unwrap();
        fs::write(&wal, [whole_wal.as_slice(), &garbage].concat()).unwrap();
        if !is_torn {
            assert_eq!(refusal(&fixture).name(), "data-damaged");
            fs::write(&wal, whole_wal).unwrap();
        }
        let store = fixture.open();
        assert_eq!(whole(&store, Space::Records).await, (0..120).collect::<Vec<_>>());
        write(&store, Space::Records, 120..121).await;
        store.close();
        assert_eq!(whole(&fixture.open(), Space::Records).await.len(), 121);
    }
}

#[tokio::test]
async fn a_bent_byte_in_a_table_file_is_told_with_the_files_name() {
    for (database, space, _) in DATABASES {
        let fixture = Fixture::new();
        with_tables(&fixture).await;
        let file = table(&fixture.options().dir.join(database));
        flip(&file, 2_000);
        let store = fixture.open();
        let mut told = 0;
        for n in 0..100 {
            match store.get(space, &[n]).await {
                Ok(value) => assert_eq!(value, Some(vec![n; 500].into())),
                Err(StoreError::Damaged(text)) => {
                    assert!(text.contains(file.file_name().unwrap().to_str().unwrap()), "{text}");
                    told += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(told > 0);
        // Compacting such a file fails, and says so.
        let compacted = store.compact(space, &[schema::prefix(&[])]).await;
        assert!(matches!(compacted, Err(StoreError::Damaged(_) | StoreError::Io(_))), "{compacted:?}");
    }
}

/// RocksDB's own bookkeeping does not miss the newest WAL. Control has its mirror for that; data without its newest commits is
/// data of an older date, and the audit trail says what it lost.
#[tokio::test]
async fn a_lost_wal_of_control_is_seen_by_the_mirror() {
    let fixture = Fixture::new();
    with_tables(&fixture).await;
    fs::remove_file(newest(&fixture.options().control_dir(), "log")).unwrap();
    let error = refusal(&fixture);
    assert!(["control-damaged", "control-behind-data", "control-behind-mirror"].contains(&error.name()), "{error}");
    Embedded::rebuild_control_from_mirror(&fixture.options()).unwrap();
    assert_eq!(whole(&fixture.open(), Space::Control).await.len(), 120);
}
