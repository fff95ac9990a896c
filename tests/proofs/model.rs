//! Random operations against a plain map: whatever is done, in whatever order, with restarts in between, the store
//! says what the map says.

use std::collections::{BTreeMap, BTreeSet};

use lethe::{
    domain::{ShredUnit, SubjectId, TenantName},
    vault::{
        crypto::Suite,
        ops::{Caller, Missing, Precondition, PutRecord, ShredOrder, VaultError, VaultOptions},
    },
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::harness::{Open, Place, coll, is_shredded, key, put_of};

/// The collections and their units.
const COLLECTIONS: [(&str, ShredUnit); 3] = [("people", ShredUnit::Subject), ("files", ShredUnit::Record), ("logs", ShredUnit::Collection)];

#[derive(Debug, Clone)]
enum Op {
    Put { collection: usize, key: u8, subject: u8, len: usize, returning: bool },
    Delete { collection: usize, key: u8 },
    ShredSubject { subject: u8 },
    ShredRecord { key: u8 },
    Reclaim,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0_usize..200, 1 => 16_300_usize..16_500, 1 => 65_500_usize..65_600, 1 => 131_000_usize..131_200];
    prop_oneof![
        8 => (0..3_usize, 0..5_u8, 0..4_u8, len, prop::bool::weighted(0.2))
            .prop_map(|(collection, key, subject, len, returning)| Op::Put { collection, key, subject, len, returning }),
        3 => (0..3_usize, 0..5_u8).prop_map(|(collection, key)| Op::Delete { collection, key }),
        2 => (0..4_u8).prop_map(|subject| Op::ShredSubject { subject }),
        1 => (0..5_u8).prop_map(|key| Op::ShredRecord { key }),
        1 => Just(Op::Reclaim),
        1 => Just(Op::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Live { value: Vec<u8>, subject: u8 },
    Shredded,
}

#[derive(Default)]
struct Model {
    cells: BTreeMap<(usize, u8), Cell>,
    gone: BTreeSet<u8>,
}

struct World {
    place: Place,
    open: Option<Open>,
    tenant: TenantName,
    owner: Caller,
}

impl World {
    async fn make(suite: Suite) -> Self {
        let place = Place::make_with(VaultOptions { suite, ..VaultOptions::default() }, true).await;
        let open = place.open().await;
        let (tenant, owner, _) = open.tenant(&place, "acme").await;
        for (collection, unit) in COLLECTIONS {
            open.collection(&owner, &tenant, collection, unit).await;
        }
        Self { place, open: Some(open), tenant, owner }
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    async fn step(&mut self, model: &mut Model, op: &Op, number: usize) {
        match op {
            Op::Put { collection, key: at, subject, len, returning } => {
                let value: Vec<u8> = (0..*len).map(|byte| (byte + number).to_le_bytes()[0]).collect();
                let put = PutRecord { new_relationship: *returning, ..put_of(Some(&format!("s{subject}")), &value) };
                let name = coll(COLLECTIONS[*collection].0);
                let done = self.open().vault.put_record(&self.owner, &self.tenant, &name, key(&format!("k{at}")), put).await;
                if model.gone.contains(subject) && !returning {
                    assert!(is_shredded(&done), "step {number}: a write under a shredded subject went through");
                } else {
                    let cell = (*collection, *at);
                    let free = !matches!(model.cells.get(&cell), Some(Cell::Live { .. }));
                    assert_eq!(done.unwrap().created, free, "step {number}");
                    model.gone.remove(subject);
                    model.cells.insert(cell, Cell::Live { value, subject: *subject });
                }
            }
            Op::Delete { collection, key: at } => {
                let name = coll(COLLECTIONS[*collection].0);
                let done = self
                    .open()
                    .vault
                    .delete_record(&self.owner, &self.tenant, &name, key(&format!("k{at}")), Precondition::None, None)
                    .await;
                match model.cells.get(&(*collection, *at)) {
                    None => assert!(matches!(done, Err(VaultError::NotFound(Missing::Record))), "step {number}"),
                    Some(Cell::Shredded) => assert!(is_shredded(&done), "step {number}"),
                    Some(Cell::Live { .. }) => {
                        done.unwrap();
                        model.cells.remove(&(*collection, *at));
                    }
                }
            }
            Op::ShredSubject { subject } => {
                self.open()
                    .shred(&self.owner, &self.tenant, ShredOrder::Subjects(vec![SubjectId::parse(&format!("s{subject}")).unwrap()]))
                    .await;
                model.gone.insert(*subject);
                let theirs = |cell: &Cell| matches!(cell, Cell::Live { subject: of, .. } if of == subject);
                model.cells.retain(|(collection, _), cell| *collection != 2 || !theirs(cell));
                model.cells.values_mut().filter(|cell| theirs(cell)).for_each(|cell| *cell = Cell::Shredded);
            }
            Op::ShredRecord { key: at } => {
                let order = ShredOrder::Record { collection: coll("files"), key: key(&format!("k{at}")) };
                let done =
                    self.open().vault.order_shred(&self.owner, &self.tenant, order, Some(std::time::Duration::from_secs(30)), None).await;
                match model.cells.get_mut(&(1, *at)) {
                    None => assert!(matches!(done, Err(VaultError::NotFound(_))), "step {number}"),
                    Some(cell) => {
                        assert!(done.unwrap().done);
                        *cell = Cell::Shredded;
                    }
                }
            }
            Op::Reclaim => {
                self.open().vault.reclaim(1_000).await.unwrap();
            }
            Op::Restart => {
                self.open.take().unwrap().close().await;
                self.open = Some(self.place.open().await);
            }
        }
    }

    async fn compare(&self, model: &Model, number: usize) {
        for (collection, (name, _)) in COLLECTIONS.iter().enumerate() {
            let mut live = 0;
            for at in 0..5_u8 {
                let got = self.open().get(&self.owner, &self.tenant, (name, &format!("k{at}"))).await;
                match model.cells.get(&(collection, at)) {
                    None => assert!(matches!(got, Err(VaultError::NotFound(_))), "after step {number}: {name}/k{at}"),
                    Some(Cell::Shredded) => assert!(is_shredded(&got), "after step {number}: {name}/k{at} is readable"),
                    Some(Cell::Live { value, .. }) => {
                        live += 1;
                        assert!(got.unwrap() == *value, "after step {number}: {name}/k{at} has other bytes");
                    }
                }
            }
            let query = lethe::vault::ops::ListQuery { limit: 100, ..Default::default() };
            let page = self.open().vault.list(&self.owner, &self.tenant, &coll(name), query).await.unwrap();
            assert_eq!(page.items.len(), live, "after step {number}: list of {name}");
        }
    }
}

fn the_store_says_what_the_map_says(suite: Suite) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = ProptestConfig { cases: 6, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    runner
        .run(&prop::collection::vec(op(), 1..50), |ops| {
            runtime.block_on(async {
                let mut world = World::make(suite).await;
                let mut model = Model::default();
                for (number, op) in ops.iter().enumerate() {
                    world.step(&mut model, op, number).await;
                    if number % 7 == 0 || matches!(op, Op::Restart | Op::ShredSubject { .. }) {
                        world.compare(&model, number).await;
                    }
                }
                world.compare(&model, ops.len()).await;
                world.open.take().unwrap().close().await;
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn under_suite_1_the_store_says_what_the_map_says() {
    the_store_says_what_the_map_says(Suite::Aes256Gcm);
}

#[test]
fn under_suite_2_the_store_says_what_the_map_says() {
    the_store_says_what_the_map_says(Suite::XChaCha20Poly1305);
}
