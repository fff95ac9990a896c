//! Pages of the key forest: bent, cut, swapped, left out, or put back from before a shred.

use bytes::Bytes;
use lethe::{
    domain::ShredUnit,
    vault::{
        ops::VaultError,
        store::{Space, schema::Table},
    },
};

use super::{Bench, Counted, watched};
use crate::{harness::is_shredded, rows};

/// More persons than a leaf page has slots.
const PERSONS: usize = 70;
const PAGE_LEN: usize = 2_400;

fn is_page(key: &[u8]) -> bool {
    key[0] == Table::Page as u8
}

/// Tree, level and index of a page's key.
fn place(key: &[u8]) -> (&[u8], u8, u64) {
    (&key[1..17], key[17], u64::from_be_bytes(key[18..].try_into().unwrap()))
}

fn value(name: &str) -> Vec<u8> {
    format!("the value of {name}").into_bytes()
}

struct Forest {
    bench: Bench,
    /// The tree of `acme`.
    tree: Bytes,
    /// Another tenant's record.
    other: (lethe::domain::TenantName, lethe::vault::ops::Caller),
}

impl Forest {
    async fn make() -> Self {
        let bench = Bench::make().await;
        for number in 0..PERSONS {
            let name = format!("s{number}");
            bench.put(&name, &value(&name)).await;
        }
        let (globex, owner, _) = bench.open.tenant(&bench.place, "globex").await;
        bench.open.collection(&owner, &globex, "c", ShredUnit::Subject).await;
        bench.open.put(&owner, &globex, ("c", "x"), Some("x"), b"of globex").await.unwrap();
        let rows = bench.rows(Space::Control).await;
        let own = [&[Table::Tree as u8][..], &1_u64.to_be_bytes()].concat();
        let (_, shape) = rows.iter().find(|(key, _)| *key == own).unwrap();
        let tree = shape.slice(4..20);
        Self { bench, tree, other: (globex, owner) }
    }

    async fn pages(&self) -> Vec<(Bytes, Bytes)> {
        rows::pairs(rows::table(&self.bench.open.store, Table::Page).await)
    }

    /// A page of acme's tree.
    async fn page(&self, level: u8, index: u64) -> (Bytes, Bytes) {
        self.pages().await.into_iter().find(|(key, _)| place(key) == (&self.tree, level, index)).unwrap()
    }

    /// With no key in memory, so that pages are read.
    async fn refuses(&self, name: &str, reason: &str, what: &str) {
        self.bench.forget_keys();
        self.bench.refuses(name, reason, what).await;
    }

    async fn reads(&self, name: &str, what: &str) {
        self.bench.forget_keys();
        self.bench.reads(name, &value(name), what).await;
    }

    async fn globex_reads(&self, what: &str) {
        self.bench.forget_keys();
        let (got, counted) = watched(self.bench.open.get(&self.other.1, &self.other.0, ("c", "x"))).await;
        assert!(got.as_ref().is_ok_and(|got| got == b"of globex"), "{what}: {got:?}");
        assert_eq!(counted, Counted::new(), "{what}");
    }
}

/// What a bit of a page's byte is refused as.
fn reason(at: usize) -> &'static str {
    match at {
        0..=4 => "suite",
        5..=7 | 16..=23 => "framing",
        8..=15 | 24..=79 => "commitment",
        _ => "tag",
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_bent_or_cut_opens_nothing_below_it_and_all_beside_it_reads() {
    let forest = Forest::make().await;
    let victims: [((u8, u64), &str, Option<&str>); 3] = [((0, 1), "s69", Some("s0")), ((0, 0), "s0", None), ((1, 0), "s69", None)];
    for ((level, index), victim, beside) in victims {
        let (key, row) = forest.page(level, index).await;
        assert_eq!(row.len(), PAGE_LEN);
        // Every byte of the header, and of what is sealed some in each region.
        let sealed = [80, 81, 115, 116, 1_231, PAGE_LEN - 17, PAGE_LEN - 16, PAGE_LEN - 1];
        for at in (0..80).chain(sealed) {
            let mut bent = row.to_vec();
            bent[at] ^= 1 << (at % 8);
            forest.bench.set(Space::Control, &key, Some(bent.into())).await;
            forest.refuses(victim, reason(at), &format!("page {level} {index}, byte {at}")).await;
        }
        for len in [0, 1, 79, 80, PAGE_LEN - 16, PAGE_LEN - 1] {
            forest.bench.set(Space::Control, &key, Some(row.slice(..len))).await;
            forest.refuses(victim, "framing", &format!("page {level} {index} cut to {len}")).await;
        }
        let what = format!("page {level} {index} was cut");
        if let Some(beside) = beside {
            forest.reads(beside, &what).await;
        }
        forest.globex_reads(&what).await;
        forest.bench.set(Space::Control, &key, None).await;
        forest.refuses(victim, "missing", &format!("page {level} {index} left out")).await;
        forest.bench.set(Space::Control, &key, Some(row)).await;
        forest.reads(victim, "put right").await;
    }
    let of_tenants: Vec<_> = forest.pages().await.into_iter().filter(|(key, _)| place(key).0 == [0; 16]).collect();
    assert_eq!(of_tenants.len(), 2);
    for (key, row) in of_tenants {
        forest.bench.set(Space::Control, &key, None).await;
        forest.refuses("s0", "missing", "a page of the tenant tree left out").await;
        forest.bench.set(Space::Control, &key, Some(row)).await;
    }
    forest.reads("s0", "put right").await;
    forest.bench.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_in_each_others_places_open_nothing() {
    let forest = Forest::make().await;
    let (leaf, next, top) = (forest.page(0, 0).await, forest.page(0, 1).await, forest.page(1, 0).await);
    let of_globex = forest.pages().await.into_iter().find(|(key, _)| {
        let (tree, level, index) = place(key);
        level == 0 && index == 0 && tree != &forest.tree[..] && tree != [0; 16]
    });
    let of_globex = of_globex.unwrap();
    let set = async |key: &Bytes, row: Bytes| forest.bench.set(Space::Control, key, Some(row)).await;
    let bound = |row: &Bytes, index: &Bytes| -> Bytes { [&row[..16], &index[16..24], &row[24..]].concat().into() };
    // As it is, and with the number of the place it is in.
    for (row, reason) in [(next.1.clone(), "framing"), (bound(&next.1, &leaf.1), "commitment"), (of_globex.1, "commitment")] {
        set(&leaf.0, row).await;
        forest.refuses("s0", reason, "another page in the leaf's place").await;
        forest.globex_reads("another page in the place of a leaf of acme").await;
    }
    // Header and salt of one day, the rest of another page.
    for (cut, reason) in [(48, "commitment"), (80, "tag"), (1_232, "tag")] {
        set(&leaf.0, [&leaf.1[..cut], &next.1[cut..]].concat().into()).await;
        forest.refuses("s0", reason, &format!("spliced at {cut}")).await;
    }
    set(&leaf.0, top.1.clone()).await;
    forest.refuses("s0", "framing", "the top page in the leaf's place").await;
    set(&leaf.0, leaf.1.clone()).await;
    set(&top.0, leaf.1).await;
    forest.refuses("s69", "framing", "the leaf in the top page's place").await;
    set(&top.0, top.1).await;
    forest.reads("s0", "put right").await;
    forest.reads("s69", "put right").await;
    forest.bench.open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_from_before_a_shred_open_neither_what_was_shredded_nor_anything_else() {
    let forest = Forest::make().await;
    let records = forest.bench.rows(Space::Records).await;
    let control = forest.bench.rows(Space::Control).await;
    forest.bench.open.shred_subject(&forest.bench.owner, &forest.bench.acme, "s1").await;
    // The record as it was: reclaiming its bytes helps nobody who kept a copy.
    forest.bench.set_all(Space::Records, &records).await;
    let after = forest.pages().await;
    let stale: Vec<_> = control.iter().filter(|(key, row)| is_page(key) && after.iter().any(|(at, now)| at == key && now != row)).collect();
    let mut trees: Vec<_> = stale.iter().map(|(key, _)| (place(key).0 == &forest.tree[..], place(key).1)).collect();
    trees.sort_unstable();
    assert_eq!(trees, [(false, 0), (false, 1), (true, 0), (true, 1)], "the path of the shredded unit, and nothing else");
    let nothing_of_s1 = async |what: &str| {
        forest.bench.forget_keys();
        let got = forest.bench.get("s1").await;
        assert!(matches!(got, Err(VaultError::Internal(_) | VaultError::Shredded { .. })), "{what}: {got:?}");
    };
    for (key, row) in &stale {
        let (tree, level, index) = place(key);
        let what = format!("the old page {} {level} {index}", hex::encode(tree));
        forest.bench.set(Space::Control, key, Some(row.clone())).await;
        nothing_of_s1(&what).await;
        forest.refuses("s0", "commitment", &what).await;
        if tree == &forest.tree[..] {
            forest.globex_reads(&what).await;
        }
        let now = after.iter().find(|(at, _)| at == key).unwrap();
        forest.bench.set(Space::Control, key, Some(now.1.clone())).await;
        forest.reads("s0", &what).await;
        forest.bench.forget_keys();
        assert!(is_shredded(&forest.bench.get("s1").await), "{what} put right");
    }
    // The whole path of that day: its root is gone.
    for (key, row) in &stale {
        forest.bench.set(Space::Control, key, Some(row.clone())).await;
    }
    nothing_of_s1("the old path").await;
    forest.refuses("s0", "commitment", "the old path").await;
    // And with every other row of the control store of that day.
    for (key, _) in forest.bench.rows(Space::Control).await {
        if control.iter().all(|(known, _)| *known != key) {
            forest.bench.set(Space::Control, &key, None).await;
        }
    }
    forest.bench.set_all(Space::Control, &control).await;
    let Forest { bench, .. } = forest;
    bench.open.close().await;
    let refused = bench.place.try_open().await.err().unwrap();
    assert!(refused.contains("tree-behind-custody"), "{refused}");
}
