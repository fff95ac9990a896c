//! Random operations against a plain map: whatever is done, in whatever order, with restarts in between, the store
//! says what the map says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lethe::{
    domain::{Clock as _, ShredUnit, SubjectId, SystemClock, TenantName},
    vault::{
        crypto::Suite,
        ops::{BatchOp, Caller, Conflict, ListQuery, Missing, Precondition, PutRecord, ShredOrder, VaultError, VaultOptions},
    },
};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use crate::harness::{Open, Place, coll, is_shredded, key, proof, put_of};

/// The collections and their units.
const COLLECTIONS: [(&str, ShredUnit); 3] = [("people", ShredUnit::Subject), ("files", ShredUnit::Record), ("logs", ShredUnit::Collection)];

/// One operation of a batch.
#[derive(Debug, Clone)]
enum Part {
    Put {
        subject: u8,
        len: usize,
    },
    Delete,
    /// That a record is there, or is not.
    Check {
        present: bool,
    },
}

#[derive(Debug, Clone)]
enum Op {
    Put { collection: usize, key: u8, subject: u8, len: usize, returning: bool },
    Delete { collection: usize, key: u8 },
    Batch { parts: Vec<(usize, u8, Part)>, returning: bool },
    ShredSubject { subject: u8 },
    ShredRecord { key: u8 },
    ShredCollection { collection: usize },
    ShredTenant,
    Reclaim,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0_usize..200, 1 => 16_300_usize..16_500, 1 => 65_500_usize..65_600, 1 => 131_000_usize..131_200];
    let part = prop_oneof![
        6 => (0..4_u8, 0_usize..200).prop_map(|(subject, len)| Part::Put { subject, len }),
        2 => Just(Part::Delete),
        1 => prop::bool::ANY.prop_map(|present| Part::Check { present }),
    ];
    prop_oneof![
        16 => (0..3_usize, 0..5_u8, 0..4_u8, len, prop::bool::weighted(0.2))
            .prop_map(|(collection, key, subject, len, returning)| Op::Put { collection, key, subject, len, returning }),
        6 => (0..3_usize, 0..5_u8).prop_map(|(collection, key)| Op::Delete { collection, key }),
        6 => (prop::collection::vec((0..3_usize, 0..5_u8, part), 1..6), prop::bool::weighted(0.4)).prop_map(|(mut parts, returning)| {
            // A batch names a key once.
            let mut seen = BTreeSet::new();
            parts.retain(|(collection, key, _)| seen.insert((*collection, *key)));
            Op::Batch { parts, returning }
        }),
        4 => (0..4_u8).prop_map(|subject| Op::ShredSubject { subject }),
        2 => (0..5_u8).prop_map(|key| Op::ShredRecord { key }),
        2 => (0..3_usize).prop_map(|collection| Op::ShredCollection { collection }),
        1 => Just(Op::ShredTenant),
        2 => Just(Op::Reclaim),
        2 => Just(Op::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Live { value: Vec<u8>, subject: u8 },
    Shredded,
}

/// What the store must say; of one tenant, until that is shredded.
#[derive(Default)]
struct Model {
    cells: BTreeMap<(usize, u8), Cell>,
    gone: BTreeSet<u8>,
    /// Collections that were shredded: nothing in them is read or written again.
    dead: Vec<String>,
}

/// What an operation is refused with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refusal {
    NotFound,
    Shredded,
    CheckFailed,
}

impl Refusal {
    fn is(self, error: &VaultError) -> bool {
        match self {
            Self::NotFound => matches!(error, VaultError::NotFound(Missing::Record)),
            Self::Shredded => matches!(error, VaultError::Shredded { .. }),
            Self::CheckFailed => matches!(error, VaultError::Conflict(Conflict::CheckFailed)),
        }
    }
}

impl Model {
    /// Whether the key was free.
    fn put(&mut self, cell: (usize, u8), subject: u8, value: Vec<u8>, returning: bool) -> Result<bool, Refusal> {
        if self.gone.contains(&subject) && !returning {
            return Err(Refusal::Shredded);
        }
        self.gone.remove(&subject);
        let before = self.cells.insert(cell, Cell::Live { value, subject });
        Ok(!matches!(before, Some(Cell::Live { .. })))
    }

    fn delete(&mut self, cell: (usize, u8)) -> Result<(), Refusal> {
        match self.cells.get(&cell) {
            None => Err(Refusal::NotFound),
            Some(Cell::Shredded) => Err(Refusal::Shredded),
            Some(Cell::Live { .. }) => {
                self.cells.remove(&cell);
                Ok(())
            }
        }
    }

    /// All of it, or the place and reason of the first part that cannot be done, and nothing.
    fn batch(&mut self, parts: &[(usize, u8, Part)], returning: bool, number: usize) -> Result<(), (usize, Refusal)> {
        let before = (self.cells.clone(), self.gone.clone());
        for (index, (collection, key, part)) in parts.iter().enumerate() {
            let cell = (*collection, *key);
            let done = match part {
                Part::Put { subject, len } => self.put(cell, *subject, value(*len, number), returning).map(drop),
                Part::Delete => self.delete(cell),
                Part::Check { present } if matches!(self.cells.get(&cell), Some(Cell::Live { .. })) == *present => Ok(()),
                Part::Check { .. } => Err(Refusal::CheckFailed),
            };
            if let Err(refusal) = done {
                (self.cells, self.gone) = before;
                return Err((index, refusal));
            }
        }
        Ok(())
    }
}

fn value(len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte + number).to_le_bytes()[0]).collect()
}

fn person(subject: u8) -> SubjectId {
    SubjectId::parse(&format!("s{subject}")).unwrap()
}

/// A tenant and who owns it.
type Tenancy = (TenantName, Caller);

struct World {
    place: Place,
    open: Option<Open>,
    tenancy: Tenancy,
    /// What the collections are called now: a name is never used again.
    names: [String; 3],
    gone: Vec<Tenancy>,
    made: u32,
}

impl World {
    async fn make(suite: Suite) -> Self {
        let place = Place::make_with(VaultOptions { suite, ..VaultOptions::default() }, true).await;
        let open = place.open().await;
        let (tenant, owner, _) = open.tenant(&place, "t").await;
        let names = COLLECTIONS.map(|(name, _)| name.to_owned());
        let world = Self { place, open: Some(open), tenancy: (tenant, owner), names, gone: Vec::new(), made: 0 };
        for collection in 0..COLLECTIONS.len() {
            world.make_collection(collection).await;
        }
        world
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    async fn make_collection(&self, collection: usize) {
        let (tenant, owner) = &self.tenancy;
        self.open().collection(owner, tenant, &self.names[collection], COLLECTIONS[collection].1).await;
    }

    async fn order(&self, order: ShredOrder) -> Result<(), VaultError> {
        let (tenant, owner) = &self.tenancy;
        let view = self.open().vault.order_shred(owner, tenant, order, Some(Duration::from_secs(30)), None).await?;
        assert!(view.done, "a shred is not done after 30 s");
        Ok(())
    }

    async fn step(&mut self, model: &mut Model, op: &Op, number: usize) {
        let (tenant, owner) = self.tenancy.clone();
        match op {
            Op::Put { collection, key: at, subject, len, returning } => {
                let value = value(*len, number);
                let put = PutRecord { new_relationship: *returning, ..put_of(Some(&format!("s{subject}")), &value) };
                let name = coll(&self.names[*collection]);
                let done = self.open().vault.put_record(&owner, &tenant, &name, key(&format!("k{at}")), put).await;
                let expected = model.put((*collection, *at), *subject, value, *returning);
                same(done.map(|put| put.created), expected, number);
            }
            Op::Delete { collection, key: at } => {
                let name = coll(&self.names[*collection]);
                let done = self.open().vault.delete_record(&owner, &tenant, &name, key(&format!("k{at}")), Precondition::None, None).await;
                same(done, model.delete((*collection, *at)), number);
            }
            Op::Batch { parts, returning } => {
                let ops = parts.iter().map(|part| self.batch_op(part, *returning, number)).collect();
                let done = self.open().vault.batch(&owner, &tenant, ops, None).await;
                match (done, model.batch(parts, *returning, number)) {
                    (Ok(results), Ok(())) => assert_eq!(results.len(), parts.len(), "step {number}"),
                    (Err(VaultError::Batch { index, source }), Err((at, refusal))) => {
                        assert!(index == at && refusal.is(&source), "step {number}: {index} {source:?}, not {at} {refusal:?}");
                    }
                    (done, expected) => panic!("step {number}: {done:?}, not {expected:?}"),
                }
            }
            Op::ShredSubject { subject } => {
                self.order(ShredOrder::Subjects(vec![person(*subject)])).await.unwrap();
                model.gone.insert(*subject);
                let theirs = |cell: &Cell| matches!(cell, Cell::Live { subject: of, .. } if of == subject);
                model.cells.retain(|(collection, _), cell| *collection != 2 || !theirs(cell));
                model.cells.values_mut().filter(|cell| theirs(cell)).for_each(|cell| *cell = Cell::Shredded);
            }
            Op::ShredRecord { key: at } => {
                let done = self.order(ShredOrder::Record { collection: coll(&self.names[1]), key: key(&format!("k{at}")) }).await;
                match model.cells.get_mut(&(1, *at)) {
                    None => assert!(matches!(done, Err(VaultError::NotFound(_))), "step {number}"),
                    Some(cell) => {
                        done.unwrap();
                        *cell = Cell::Shredded;
                    }
                }
            }
            Op::ShredCollection { collection } => {
                self.order(ShredOrder::Collection(coll(&self.names[*collection]))).await.unwrap();
                model.cells.retain(|(of, _), _| of != collection);
                self.made += 1;
                let next = format!("{}-{}", COLLECTIONS[*collection].0, self.made);
                model.dead.push(std::mem::replace(&mut self.names[*collection], next));
                self.make_collection(*collection).await;
            }
            Op::ShredTenant => {
                self.order(ShredOrder::Tenant { confirm: tenant.as_str().to_owned() }).await.unwrap();
                *model = Model::default();
                self.made += 1;
                let (next, owner, _) = self.open().tenant(&self.place, &format!("t{}", self.made)).await;
                self.gone.push(std::mem::replace(&mut self.tenancy, (next, owner)));
                for collection in 0..COLLECTIONS.len() {
                    self.make_collection(collection).await;
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

    fn batch_op(&self, (collection, at, part): &(usize, u8, Part), new_relationship: bool, number: usize) -> BatchOp {
        let (collection, key) = (coll(&self.names[*collection]), key(&format!("k{at}")));
        match part {
            Part::Put { subject, len } => BatchOp::Put {
                collection,
                key,
                value: value(*len, number).into(),
                content_type: "application/octet-stream".into(),
                subjects: vec![person(*subject)],
                expires_at: None,
                custom: Vec::new(),
                precondition: Precondition::None,
                new_relationship,
            },
            Part::Delete => BatchOp::Delete { collection, key, precondition: Precondition::None },
            Part::Check { present } => {
                BatchOp::Check { collection, key, precondition: if *present { Precondition::Present } else { Precondition::Absent } }
            }
        }
    }

    async fn compare(&self, model: &Model, number: usize) {
        let (tenant, owner) = &self.tenancy;
        for (collection, name) in self.names.iter().enumerate() {
            let mut live = BTreeSet::new();
            for at in 0..5_u8 {
                let got = self.open().get(owner, tenant, (name, &format!("k{at}"))).await;
                match model.cells.get(&(collection, at)) {
                    None => assert!(matches!(got, Err(VaultError::NotFound(_))), "after step {number}: {name}/k{at}: {got:?}"),
                    Some(Cell::Shredded) => assert!(is_shredded(&got), "after step {number}: {name}/k{at} is readable"),
                    Some(Cell::Live { value, .. }) => {
                        live.insert(format!("k{at}"));
                        assert!(got.unwrap() == *value, "after step {number}: {name}/k{at} has other bytes");
                    }
                }
            }
            let query = ListQuery { limit: 100, ..Default::default() };
            let page = self.open().vault.list(owner, tenant, &coll(name), query).await.unwrap();
            let listed = page.items.iter().map(|item| item.meta.key.as_str().to_owned()).collect();
            assert_eq!(live, listed, "after step {number}: list of {name}");
            for subject in 0..4 {
                self.compare_person(model, collection, subject, number).await;
            }
        }
        for name in &model.dead {
            assert!(is_shredded(&self.open().get(owner, tenant, (name, "k0")).await), "after step {number}: {name}");
            assert!(is_shredded(&self.open().put(owner, tenant, (name, "k0"), Some("s0"), b"v").await), "after step {number}: {name}");
        }
        for (tenant, owner) in &self.gone {
            assert!(is_shredded(&self.open().get(owner, tenant, ("people", "k0")).await), "after step {number}: {tenant:?}");
        }
    }

    /// A person's list: all records that name the person, or a refusal once the person is shredded.
    async fn compare_person(&self, model: &Model, collection: usize, subject: u8, number: usize) {
        let (tenant, owner) = &self.tenancy;
        let query = ListQuery { subject: Some(person(subject)), limit: 100, ..Default::default() };
        let page = self.open().vault.list(owner, tenant, &coll(&self.names[collection]), query).await;
        if model.gone.contains(&subject) {
            assert!(is_shredded(&page.map(drop)), "after step {number}: list of s{subject}");
            return;
        }
        let listed: BTreeSet<String> = page.unwrap().items.iter().map(|item| item.meta.key.as_str().to_owned()).collect();
        let theirs = model
            .cells
            .iter()
            .filter(|((of, _), cell)| *of == collection && matches!(cell, Cell::Live { subject: of, .. } if *of == subject));
        let theirs: BTreeSet<String> = theirs.map(|((_, at), _)| format!("k{at}")).collect();
        assert_eq!(listed, theirs, "after step {number}: list of s{subject}");
    }
}

/// The store's answer is the map's.
fn same<T: PartialEq + std::fmt::Debug>(done: Result<T, VaultError>, expected: Result<T, Refusal>, number: usize) {
    match (done, expected) {
        (Ok(done), Ok(expected)) => assert_eq!(done, expected, "step {number}"),
        (Err(error), Err(refusal)) => assert!(refusal.is(&error), "step {number}: {error:?}, not {refusal:?}"),
        (done, expected) => panic!("step {number}: {done:?}, not {expected:?}"),
    }
}

/// A seed for all of a run: `LETHE_SEED`, or the time.
#[expect(clippy::disallowed_methods, reason = "a test asked for again takes the seed it printed")]
fn seed() -> u64 {
    let given = std::env::var("LETHE_SEED").ok().map(|text| text.parse().expect("LETHE_SEED is a number"));
    given.unwrap_or_else(|| u64::try_from(SystemClock.now().0).unwrap())
}

#[expect(clippy::print_stdout, reason = "the seed and the count are for who reads the test's output")]
fn the_store_says_what_the_map_says(suite: Suite) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (seed, cases) = (seed(), if proof() { 300 } else { 24 });
    println!("model, {suite:?}: LETHE_SEED={seed}, {cases} cases");
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_time: 90_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = std::cell::Cell::new(0_u64);
    let done = TestRunner::new(config).run(&prop::collection::vec(op(), 1..60), |ops| {
        runtime.block_on(async {
            let mut world = World::make(suite).await;
            let mut model = Model::default();
            for (number, op) in ops.iter().enumerate() {
                world.step(&mut model, op, number).await;
                steps.set(steps.get() + 1);
                if number % 7 == 0 || !matches!(op, Op::Put { .. } | Op::Delete { .. } | Op::Reclaim) {
                    world.compare(&model, number).await;
                }
            }
            world.compare(&model, ops.len()).await;
            world.open.take().unwrap().close().await;
        });
        Ok(())
    });
    if let Err(error) = done {
        panic!("LETHE_SEED={seed} repeats it: {error}");
    }
    println!("model, {suite:?}: {} steps", steps.get());
}

#[test]
fn under_suite_1_the_store_says_what_the_map_says() {
    the_store_says_what_the_map_says(Suite::Aes256Gcm);
}

#[test]
fn under_suite_2_the_store_says_what_the_map_says() {
    the_store_says_what_the_map_says(Suite::XChaCha20Poly1305);
}
