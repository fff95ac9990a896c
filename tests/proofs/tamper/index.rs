//! Rows beside the records: the index of subjects, which is a list of places and vouches for nothing, and the names of the
//! audit trail.

use bytes::Bytes;
use lethe::vault::{
    ops::{ListQuery, VaultError},
    store::{Space, schema::Table},
};

use super::{Bench, Counted, once, watched};
use crate::{
    harness::{coll, subject},
    rows,
};

const NAMES: [&str; 3] = ["a", "b", "d"];

async fn bench() -> Bench {
    let bench = Bench::make().await;
    for name in NAMES {
        bench.put(name, format!("the value of {name}").as_bytes()).await;
    }
    bench
}

async fn table(bench: &Bench, table: Table) -> Vec<(Bytes, Bytes)> {
    rows::pairs(rows::table(&bench.open.store, table).await)
}

/// What the list of a person shows, and what was counted.
async fn listed(bench: &Bench, person: &str) -> (Vec<String>, Counted) {
    let query = ListQuery { subject: Some(subject(person)), limit: 100, ..ListQuery::default() };
    let (page, counted) = watched(bench.open.vault.list(&bench.owner, &bench.acme, &coll("c"), query)).await;
    (page.unwrap().items.iter().map(|item| item.meta.key.as_str().to_owned()).collect(), counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_row_that_was_moved_spliced_or_made_up_shows_no_record_of_another_person() {
    let bench = bench().await;
    let rows = table(&bench, Table::SubjectRecord).await;
    assert_eq!(rows.len(), NAMES.len());
    // tag | tenant 8 | subject 16 | collection 4 | record 16
    for (mine, (key, _)) in rows.iter().enumerate() {
        for (theirs, _) in rows.iter().enumerate().filter(|(at, _)| *at != mine).map(|(_, row)| row) {
            let spliced: Bytes = [&key[..25], &theirs[25..]].concat().into();
            bench.set(Space::Index, &spliced, Some(Bytes::new())).await;
        }
        let nowhere: Bytes = [&key[..29], &[9; 16]].concat().into();
        bench.set(Space::Index, &nowhere, Some(Bytes::new())).await;
    }
    for name in NAMES {
        assert_eq!(listed(&bench, name).await, (vec![name.to_owned()], Counted::new()));
        bench.reads(name, format!("the value of {name}").as_bytes(), "spliced").await;
    }
    // A row that is lost hides its record from the person's list, and from nothing else.
    for (key, _) in table(&bench, Table::SubjectRecord).await {
        bench.set(Space::Index, &key, None).await;
    }
    for name in NAMES {
        assert_eq!(listed(&bench, name).await, (Vec::new(), Counted::new()));
        bench.reads(name, format!("the value of {name}").as_bytes(), "without an index").await;
    }
    bench.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_of_the_trail_that_was_bent_cut_moved_or_lost_is_never_shown_as_anothers() {
    let bench = bench().await;
    let rows = table(&bench, Table::TrailName).await;
    assert_eq!(rows.len(), NAMES.len());
    let shown = async || {
        let (page, counted) = watched(bench.open.vault.audit_page(&bench.owner, &bench.acme, None, 1_000)).await;
        let names = |named: &lethe::vault::ops::NamedEntry| named.names.key.clone();
        (page.map(|page| page.entries.iter().filter_map(names).collect::<Vec<_>>()), counted)
    };
    let whole = shown().await.0.unwrap();
    assert_eq!(whole, NAMES);
    let refused = async |reason: &str, what: &str| {
        let (page, counted) = shown().await;
        assert!(matches!(page, Err(VaultError::Internal(_))), "{what}: {page:?}");
        assert_eq!(counted, once(reason), "{what}");
    };
    for (at, (key, row)) in rows.iter().enumerate() {
        let set = async |row: Option<Bytes>| bench.set(Space::Index, key, row).await;
        // suite | salt 24 | commitment 32 | ciphertext | tag 16
        for (byte, reason) in [(0, "suite"), (1, "commitment"), (25, "commitment"), (57, "tag"), (row.len() - 1, "tag")] {
            let mut bent = row.to_vec();
            bent[byte] ^= 2;
            set(Some(bent.into())).await;
            // A suite that is known and not the row's own is another message.
            let reason = if byte == 0 && matches!(row[0] ^ 2, 1 | 2) { "commitment" } else { reason };
            refused(reason, &format!("byte {byte}")).await;
        }
        for (len, reason) in [(0, "framing"), (57, "framing"), (row.len() - 1, "tag")] {
            set(Some(row.slice(..len))).await;
            refused(reason, &format!("cut to {len}")).await;
        }
        set(Some(rows[(at + 1) % rows.len()].1.clone())).await;
        refused("commitment", "of another record").await;
        set(None).await;
        let (page, counted) = shown().await;
        let left = page.unwrap();
        assert!(left.len() == whole.len() - 1 && left.iter().all(|name| whole.contains(name)), "left out: {left:?}");
        assert_eq!(counted, Counted::new(), "left out");
        set(Some(row.clone())).await;
        assert_eq!(shown().await.0.unwrap(), whole);
    }
    bench.open.close().await;
}
