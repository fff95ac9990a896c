//! Rows of large values: what is sent before the row that does not open is the value's true beginning, and no byte more.

use bytes::Bytes;
use futures_util::StreamExt as _;
use lethe::vault::{
    ops::{GetRecord, RangeSpec, Value, VaultError},
    store::Space,
};

use super::{Bench, once, watched};
use crate::harness::{coll, key};

const ROW: usize = 65_536;

fn value(seed: u32) -> Vec<u8> {
    (0..200_000_u32).map(|at| (at / 7 + seed).to_le_bytes()[0]).collect()
}

/// The rows of a value that has just been stored.
async fn stored(bench: &Bench, name: &str, value: &[u8]) -> Vec<(Bytes, Bytes)> {
    let before = bench.rows(Space::Blobs).await;
    bench.put(name, value).await;
    let mut rows = bench.rows(Space::Blobs).await;
    rows.retain(|(key, _)| before.iter().all(|(known, _)| known != key));
    assert_eq!(rows.len(), 4);
    rows
}

/// A download that breaks off at row `broken`, counted once under `reason`.
async fn breaks_off(bench: &Bench, value: &[u8], broken: usize, reason: &str, what: &str) {
    let reading = async {
        let got = bench.open.vault.get_record(&bench.owner, &bench.acme, &coll("c"), &key("big"), GetRecord::default()).await.unwrap();
        let Value::Stream(mut parts) = got.value else { panic!("a large value is a stream") };
        let (mut sent, mut failed) = (Vec::new(), None);
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => sent.extend_from_slice(&part),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        (sent, failed)
    };
    let ((sent, failed), counted) = watched(reading).await;
    assert!(matches!(failed, Some(VaultError::Internal(_))), "{what}: {failed:?}");
    assert!(sent == value[..broken * ROW], "{what}: {} bytes were sent", sent.len());
    assert_eq!(counted, once(reason), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_large_value_that_were_bent_cut_moved_or_left_out_are_not_sent() {
    let bench = Bench::make().await;
    let (first, big, other) = (value(1), value(2), value(3));
    let before = stored(&bench, "big", &first).await;
    let (row, manifest) = bench.rows(Space::Records).await.remove(0);
    let rows = stored(&bench, "big", &big).await;
    let neighbours = stored(&bench, "other", &other).await;
    let broken = async |at: usize, row: Option<Bytes>, reason: &str, what: &str| {
        bench.set(Space::Blobs, &rows[at].0, row).await;
        breaks_off(&bench, &big, at, reason, &format!("row {at} {what}")).await;
        bench.reads("other", &other, what).await;
        bench.set(Space::Blobs, &rows[at].0, Some(rows[at].1.clone())).await;
    };
    for (at, (_, own)) in rows.iter().enumerate() {
        for byte in [0, 1, 16_383, 16_384, 16_399, 16_400, own.len() / 2, own.len() - 16, own.len() - 1] {
            if byte < own.len() {
                let mut bent = own.to_vec();
                bent[byte] ^= 0x10;
                broken(at, Some(bent.into()), "tag", &format!("bent at {byte}")).await;
            }
        }
        for len in [0, 1, 16, own.len() - 16, own.len() - 1] {
            broken(at, Some(own.slice(..len)), "framing", &format!("cut to {len}")).await;
        }
        broken(at, Some([own, &[0; 16][..]].concat().into()), "framing", "longer").await;
        broken(at, None, "missing", "left out").await;
        broken(at, Some(neighbours[at].1.clone()), "tag", "of its neighbour").await;
        broken(at, Some(before[at].1.clone()), "tag", "of the value before").await;
        let next = (at + 1) % rows.len();
        let reason = if own.len() == rows[next].1.len() { "tag" } else { "framing" };
        broken(at, Some(rows[next].1.clone()), reason, "of another place").await;
        let half = own.len() / 2;
        broken(at, Some([&own[..half], &neighbours[at].1[half..]].concat().into()), "tag", "spliced").await;
    }
    // A range that does not touch the row that was bent is sent; one that does is not.
    let mut bent = rows[2].1.to_vec();
    bent[0] ^= 1;
    bench.set(Space::Blobs, &rows[2].0, Some(bent.into())).await;
    let range = async |from: u64, to: u64| {
        let get = GetRecord { range: Some(RangeSpec::FromTo(from, to)), ..GetRecord::default() };
        let got = bench.open.vault.get_record(&bench.owner, &bench.acme, &coll("c"), &key("big"), get).await.unwrap();
        crate::harness::read(got).await
    };
    assert_eq!(range(10, 131_071).await.unwrap(), big[10..131_072]);
    assert!(matches!(range(131_071, 131_073).await, Err(VaultError::Internal(_))));
    bench.set(Space::Blobs, &rows[2].0, Some(rows[2].1.clone())).await;
    bench.reads("big", &big, "put right").await;

    // The residual of records: the manifest from before opens while its rows are there, as the value it was.
    bench.set(Space::Records, &row, Some(manifest)).await;
    bench.reads("big", &first, "put back").await;
    for (row, _) in &before {
        bench.set(Space::Blobs, row, None).await;
    }
    breaks_off(&bench, &first, 0, "missing", "the manifest of a value that is gone").await;
    bench.open.close().await;
}
