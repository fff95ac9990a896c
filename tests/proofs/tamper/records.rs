//! Rows of records.

use bytes::Bytes;
use lethe::{
    domain::RecordMeta,
    vault::{
        audit::Action,
        ops::{GetRecord, ListQuery, VaultError},
        store::Space,
    },
};

use super::{Bench, Counted, once, watched};
use crate::harness::{coll, is_shredded, key, read};

const VALUES: [(&str, &[u8]); 2] = [("a", b"the value of a"), ("b", b"the value of b")];

/// Two records, and their rows in the order of [`VALUES`].
async fn two() -> (Bench, [(Bytes, Bytes); 2]) {
    let bench = Bench::make().await;
    let mut rows = Vec::new();
    for (name, value) in VALUES {
        bench.put(name, value).await;
        let known: Vec<Bytes> = rows.iter().map(|(key, _): &(Bytes, Bytes)| key.clone()).collect();
        let fresh = bench.rows(Space::Records).await.into_iter().find(|(key, _)| !known.contains(key));
        rows.push(fresh.unwrap());
    }
    let rows = rows.try_into().unwrap();
    (bench, rows)
}

/// What a bit of a row's byte is refused as; `None` where it makes another unit or generation of it, which is no damage that
/// a reader of the row could tell.
fn reason(at: usize) -> Option<&'static str> {
    match at {
        0 | 1 => Some("suite"),
        2 | 3 => Some("framing"),
        4..=8 | 10..=13 => None,
        9 | 14..=77 => Some("commitment"),
        _ => Some("tag"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bit_of_any_byte_of_a_record_is_refused_and_its_neighbour_reads() {
    let (bench, rows) = two().await;
    for (mine, (row, value)) in rows.iter().enumerate() {
        let ((name, _), (neighbour, whole)) = (VALUES[mine], VALUES[1 - mine]);
        for at in 0..value.len() {
            let mut bent = value.to_vec();
            bent[at] ^= 1 << (at % 8);
            bench.set(Space::Records, row, Some(bent.into())).await;
            let what = format!("byte {at}");
            if let Some(reason) = reason(at) {
                bench.refuses(name, reason, &what).await;
            } else {
                let (got, counted) = watched(bench.get(name)).await;
                assert!(matches!(got, Err(VaultError::Internal(_) | VaultError::Shredded { .. })), "{what}: {got:?}");
                assert_eq!(counted, Counted::new(), "{what}");
            }
            bench.reads(neighbour, whole, &what).await;
        }
        // Passed off as shredded: nothing opens, and nothing is left to open.
        let mut bent = value.to_vec();
        bent[3] |= 2;
        bench.set(Space::Records, row, Some(bent.into())).await;
        assert!(is_shredded(&bench.get(name).await));
        bench.set(Space::Records, row, Some(value.clone())).await;
        bench.reads(name, VALUES[mine].1, "put right").await;
    }
    bench.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_was_cut_or_grew_is_refused() {
    let (bench, [(row, value), _]) = two().await;
    let lists = async || {
        let query = ListQuery { limit: 10, ..ListQuery::default() };
        watched(bench.open.vault.list(&bench.owner, &bench.acme, &coll("c"), query)).await
    };
    for len in [0, 1, 21, 22, 23, 45, 77, 78, 93, 94, 95, value.len() - 17, value.len() - 16, value.len() - 1] {
        bench.set(Space::Records, &row, Some(value.slice(..len))).await;
        let reason = if len < 94 { "framing" } else { "tag" };
        bench.refuses("a", reason, &format!("cut to {len}")).await;
        let (listed, counted) = lists().await;
        assert!(matches!(listed, Err(VaultError::Internal(_))), "cut to {len}");
        assert_eq!(counted, once(reason), "cut to {len}");
        bench.reads("b", VALUES[1].1, "its neighbour was cut").await;
    }
    for more in [1, 15, 16, 17] {
        bench.set(Space::Records, &row, Some([&value[..], &vec![0; more]].concat().into())).await;
        bench.refuses("a", "tag", &format!("longer by {more}")).await;
    }
    bench.set(Space::Records, &row, Some(value)).await;
    assert_eq!(lists().await.0.unwrap().items.len(), 2);
    bench.reads("a", VALUES[0].1, "put right").await;
    bench.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_were_swapped_or_spliced_are_refused() {
    let (bench, [a, b]) = two().await;
    bench.set(Space::Records, &a.0, Some(b.1.clone())).await;
    bench.reads("b", VALUES[1].1, "copied").await;
    bench.set(Space::Records, &b.0, Some(a.1.clone())).await;
    for name in ["a", "b"] {
        bench.refuses(name, "commitment", "swapped").await;
    }
    bench.set_all(Space::Records, &[a.clone(), b.clone()]).await;
    // Header, salt and commitment of one, and the rest of the other: of another record, and of itself on another day.
    bench.put("a", b"another value of a").await;
    let (_, again) = bench.rows(Space::Records).await.into_iter().find(|(key, _)| *key == a.0).unwrap();
    for (first, rest) in [(&a.1, &b.1), (&b.1, &a.1), (&a.1, &again), (&again, &a.1)] {
        for (cut, reason) in [(22, "commitment"), (46, "commitment"), (78, "tag")] {
            bench.set(Space::Records, &a.0, Some([&first[..cut], &rest[cut..]].concat().into())).await;
            // Another record's header and commitment are not those of this place, whatever follows.
            let reason = if *first == b.1 { "commitment" } else { reason };
            bench.refuses("a", reason, &format!("spliced at {cut}")).await;
            bench.reads("b", VALUES[1].1, "its neighbour was spliced").await;
        }
    }
    bench.open.close().await;
}

/// The chunks of a value that fills several.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_a_record_cannot_be_swapped_or_left_out() {
    const CHUNK: usize = 16_400;
    let bench = Bench::make().await;
    let value: Vec<u8> = (0..60_000_u32).map(|at| (at / 9).to_le_bytes()[0]).collect();
    bench.put("a", &value).await;
    let (row, stored) = bench.rows(Space::Records).await.remove(0);
    let (start, chunks) = stored.split_at(78);
    let chunks: Vec<&[u8]> = chunks.chunks(CHUNK).collect();
    assert_eq!(chunks.len(), 4);
    let made = |order: &[usize]| -> Bytes { order.iter().fold(start.to_vec(), |row, at| [row, chunks[*at].to_vec()].concat()).into() };
    let cases: [(&[usize], &str); 8] = [
        (&[1, 0, 2, 3], "tag"),
        (&[0, 2, 1, 3], "tag"),
        (&[0, 1, 3], "tag"),
        (&[1, 2, 3], "tag"),
        (&[3], "tag"),
        (&[0, 1, 2, 2, 3], "tag"),
        // Without its last chunk a message has no end.
        (&[0, 1, 2], "framing"),
        (&[], "framing"),
    ];
    for (order, reason) in cases {
        bench.set(Space::Records, &row, Some(made(order))).await;
        bench.refuses("a", reason, &format!("chunks {order:?}")).await;
    }
    bench.set(Space::Records, &row, Some(made(&[0, 1, 2, 3]))).await;
    bench.reads("a", &value, "put right").await;
    bench.open.close().await;
}

/// docs/threat-model.md, "What is left open": an older sealed version of a record opens, as the version that it is; the trail
/// has the newer write. After its person's shred no version opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_version_of_a_record_opens_as_what_it_is_and_no_longer_than_its_unit_lives() {
    let (bench, [(row, older), _]) = two().await;
    let got = async || {
        let (c, a) = (coll("c"), key("a"));
        let got = bench.open.vault.get_record(&bench.owner, &bench.acme, &c, &a, GetRecord::default());
        let (got, counted) = watched(got).await;
        let got = got.unwrap();
        assert_eq!(counted, Counted::new());
        let (version, RecordMeta { modified_at, .. }) = (got.version, got.meta.clone());
        (version, modified_at, read(got).await.unwrap())
    };
    let first = got().await;
    let second = b"the second value of a".to_vec();
    let put = bench.open.put(&bench.owner, &bench.acme, ("c", "a"), Some("a"), &second).await.unwrap();
    let (_, newer) = bench.rows(Space::Records).await.into_iter().find(|(key, _)| *key == row).unwrap();
    assert!(put.version > first.0);
    assert_eq!(got().await.2, second);

    bench.set(Space::Records, &row, Some(older.clone())).await;
    assert_eq!(got().await, first, "with its old version and time, not passed off as the newer one");
    let trail = bench.open.vault.audit_page(&bench.owner, &bench.acme, None, 1_000).await.unwrap();
    let written = trail.entries.iter().filter(|named| named.entry.entry.action == Action::RecordWrite);
    let of_a: Vec<_> = written.filter(|named| named.names.key.as_deref() == Some("a")).collect();
    assert_eq!(of_a.last().unwrap().entry.entry.target.version, Some(put.version), "the trail has the newer write");

    bench.open.shred_subject(&bench.owner, &bench.acme, "a").await;
    for (what, value) in [("older", older), ("newer", newer)] {
        bench.set(Space::Records, &row, Some(value)).await;
        bench.forget_keys();
        let (got, counted) = watched(bench.get("a")).await;
        assert!(is_shredded(&got), "the {what} version after the shred: {got:?}");
        assert_eq!(counted, Counted::new());
    }
    bench.reads("b", VALUES[1].1, "its neighbour was shredded").await;
    bench.open.close().await;
}
