//! Random operations against a plain map: whatever is done, in whatever order, with restarts, rotations and the time going on in
//! between, the store says what the map says. Records name several persons, run out, are written on conditions and under
//! idempotency keys, and are read whole, by ranges, and in lists by prefix and by person, page by page.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lethe::{
    domain::{
        Clock as _, CollectionPolicy, RecordMeta, ShredUnit, SubjectId, SystemClock, TenantName, TestClock, Timestamp, Version,
        policy::SecondarySubjects,
    },
    vault::{
        crypto::Suite,
        ops::{
            BatchOp, BatchResult, Caller, Conflict, GetRecord, ListQuery, Missing, Precondition, Put, PutRecord, RangeSpec, ShredOrder,
            VaultError, VaultOptions,
        },
    },
};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use crate::{
    draw::seed,
    harness::{Open, Place, WAIT, coll, is_shredded, key, proof, put_of, read},
};

/// The collections, their units, and what a person's shred does to records that name the person second.
const COLLECTIONS: [(&str, ShredUnit, SecondarySubjects); 3] = [
    ("people", ShredUnit::Subject, SecondarySubjects::Keep),
    ("files", ShredUnit::Record, SecondarySubjects::Delete),
    ("logs", ShredUnit::Collection, SecondarySubjects::Keep),
];

const KEYS: [&str; 5] = ["a/k0", "a/k1", "b/k2", "b/c/k3", "k4"];
const PREFIXES: [&str; 4] = ["a", "b", "b/c", "x"];
const PEOPLE: u8 = 4;
/// A version that no record has.
const NEVER: Version = Version(u64::MAX);
/// How long a reply is kept for an idempotency key.
const KEPT: Duration = Duration::from_hours(24);

/// What a write asks of what is there.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Nothing,
    Present,
    Absent,
    Current,
    Stale,
    NotCurrent,
}

/// One operation of a batch.
#[derive(Debug, Clone)]
enum Part {
    Put {
        people: Vec<u8>,
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
    Put {
        collection: usize,
        key: usize,
        people: Vec<u8>,
        len: usize,
        returning: bool,
        asked: Asked,
        /// Seconds until it runs out.
        lasts: Option<u64>,
        /// An idempotency key; of small values that do not run out.
        once: Option<u8>,
    },
    /// Sends a put with an idempotency key once more.
    Again {
        once: u8,
    },
    Delete {
        collection: usize,
        key: usize,
        asked: Asked,
    },
    Batch {
        parts: Vec<(usize, usize, Part)>,
        returning: bool,
    },
    ShredPeople {
        people: Vec<u8>,
    },
    ShredRecord {
        key: usize,
    },
    ShredCollection {
        collection: usize,
    },
    ShredTenant,
    Rotate,
    Wait {
        secs: u64,
    },
    Reclaim,
    Restart,
}

/// One to three persons, each once; the first one's unit seals the record.
fn people() -> impl Strategy<Value = Vec<u8>> {
    let several = prop::sample::subsequence((0..PEOPLE).collect::<Vec<_>>(), 2..=3).prop_shuffle();
    prop_oneof![3 => (0..PEOPLE).prop_map(|person| vec![person]), 2 => several]
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        8 => Just(Asked::Nothing),
        1 => Just(Asked::Present),
        1 => Just(Asked::Absent),
        2 => Just(Asked::Current),
        1 => Just(Asked::Stale),
        1 => Just(Asked::NotCurrent),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0_usize..200, 1 => 16_300_usize..16_500, 1 => 65_500_usize..65_600, 1 => 131_000_usize..131_200];
    let lasts = prop_oneof![5 => Just(None), 1 => (20_u64..4_000).prop_map(Some)];
    let once = prop_oneof![4 => Just(None), 1 => (0..2_u8).prop_map(Some)];
    let part = prop_oneof![
        6 => (people(), 0_usize..200).prop_map(|(people, len)| Part::Put { people, len }),
        2 => Just(Part::Delete),
        1 => prop::bool::ANY.prop_map(|present| Part::Check { present }),
    ];
    let place = || (0..COLLECTIONS.len(), 0..KEYS.len());
    prop_oneof![
        18 => (place(), people(), len, prop::bool::weighted(0.2), asked(), lasts, once).prop_map(
            |((collection, key), people, len, returning, asked, lasts, once)| {
                let once = once.filter(|_| len < 200 && lasts.is_none());
                Op::Put { collection, key, people, len, returning, asked, lasts, once }
            }
        ),
        2 => (0..2_u8).prop_map(|once| Op::Again { once }),
        6 => (place(), asked()).prop_map(|((collection, key), asked)| Op::Delete { collection, key, asked }),
        6 => (prop::collection::vec((0..COLLECTIONS.len(), 0..KEYS.len(), part), 1..6), prop::bool::weighted(0.4)).prop_map(
            |(mut parts, returning)| {
                // A batch names a key once.
                let mut seen = BTreeSet::new();
                parts.retain(|(collection, key, _)| seen.insert((*collection, *key)));
                Op::Batch { parts, returning }
            }
        ),
        5 => people().prop_map(|people| Op::ShredPeople { people }),
        2 => (0..KEYS.len()).prop_map(|key| Op::ShredRecord { key }),
        2 => (0..COLLECTIONS.len()).prop_map(|collection| Op::ShredCollection { collection }),
        1 => Just(Op::ShredTenant),
        1 => Just(Op::Rotate),
        3 => prop::sample::select(vec![30_u64, 3_600, 90_000]).prop_map(|secs| Op::Wait { secs }),
        2 => Just(Op::Reclaim),
        2 => Just(Op::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    value: Vec<u8>,
    people: Vec<u8>,
    expires_at: Option<Timestamp>,
    /// The step that wrote it, which is in its metadata.
    step: usize,
    version: Option<Version>,
}

impl Record {
    fn is_there(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| end > now)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Live(Record),
    Shredded,
}

/// A put as it is sent; again the same for the same idempotency key.
#[derive(Debug, Clone)]
struct Sent {
    collection: usize,
    /// What the collection was called.
    name: String,
    key: usize,
    record: Record,
    returning: bool,
    precondition: Precondition,
    once: Option<u8>,
}

/// What the store must say; of one tenant, until that is shredded.
#[derive(Default)]
struct Model {
    cells: BTreeMap<(usize, usize), Cell>,
    gone: BTreeSet<u8>,
    /// Collections that were shredded: nothing in them is read or written again.
    dead: Vec<String>,
    /// Puts under idempotency keys, what they were answered, and until when that is remembered.
    kept: BTreeMap<u8, (Sent, Put, Timestamp)>,
}

/// What an operation is refused with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Refusal {
    NotFound,
    Shredded,
    /// A person whom it names is gone, and it does not say that the person returns.
    Erased,
    CheckFailed,
    PreconditionFailed,
}

impl Refusal {
    fn is(self, error: &VaultError) -> bool {
        match self {
            Self::NotFound => matches!(error, VaultError::NotFound(Missing::Record)),
            Self::Shredded => matches!(error, VaultError::Shredded { .. }),
            Self::Erased => matches!(error, VaultError::SubjectErased { certificate: Some(_), done: true }),
            Self::CheckFailed => matches!(error, VaultError::Conflict(Conflict::CheckFailed)),
            Self::PreconditionFailed => matches!(error, VaultError::PreconditionFailed),
        }
    }
}

/// RFC 9110, section 13.1: whether a condition holds of what is there.
fn holds(precondition: &Precondition, present: Option<Version>) -> bool {
    match precondition {
        Precondition::None => true,
        Precondition::Present => present.is_some(),
        Precondition::Absent => present.is_none(),
        Precondition::Versions(versions) => present.is_some_and(|version| versions.contains(&version)),
        Precondition::NotVersions(versions) => present.is_none_or(|version| !versions.contains(&version)),
    }
}

impl Model {
    /// The version of what is there and has not run out.
    fn present(&self, cell: (usize, usize), now: Timestamp) -> Option<Version> {
        match self.cells.get(&cell) {
            Some(Cell::Live(record)) if record.is_there(now) => Some(record.version.unwrap()),
            Some(_) | None => None,
        }
    }

    fn precondition(&self, asked: Asked, cell: (usize, usize), now: Timestamp) -> Precondition {
        let current = || vec![self.present(cell, now).unwrap_or(NEVER)];
        match asked {
            Asked::Nothing => Precondition::None,
            Asked::Present => Precondition::Present,
            Asked::Absent => Precondition::Absent,
            Asked::Current => Precondition::Versions(current()),
            Asked::Stale => Precondition::Versions(vec![NEVER]),
            Asked::NotCurrent => Precondition::NotVersions(current()),
        }
    }

    /// Whether the key was free.
    fn put(
        &mut self,
        cell: (usize, usize),
        record: Record,
        returning: bool,
        precondition: &Precondition,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        if record.people.iter().any(|person| self.gone.contains(person)) && !returning {
            return Err(Refusal::Erased);
        }
        let present = self.present(cell, now);
        if !holds(precondition, present) {
            return Err(Refusal::PreconditionFailed);
        }
        for person in &record.people {
            self.gone.remove(person);
        }
        self.cells.insert(cell, Cell::Live(record));
        Ok(present.is_none())
    }

    fn delete(&mut self, cell: (usize, usize), precondition: &Precondition, now: Timestamp) -> Result<(), Refusal> {
        match self.cells.get(&cell) {
            None => Err(Refusal::NotFound),
            Some(Cell::Shredded) => Err(Refusal::Shredded),
            Some(Cell::Live(_)) if !holds(precondition, self.present(cell, now)) => Err(Refusal::PreconditionFailed),
            Some(Cell::Live(_)) => {
                self.cells.remove(&cell);
                Ok(())
            }
        }
    }

    /// All of it, or the place and reason of the first part that cannot be done, and nothing.
    fn batch(&mut self, parts: &[(usize, usize, Part)], returning: bool, number: usize, now: Timestamp) -> Result<(), (usize, Refusal)> {
        let before = (self.cells.clone(), self.gone.clone());
        for (index, (collection, key, part)) in parts.iter().enumerate() {
            let cell = (*collection, *key);
            let done = match part {
                Part::Put { people, len } => {
                    let record =
                        Record { value: value(*len, number), people: people.clone(), expires_at: None, step: number, version: None };
                    self.put(cell, record, returning, &Precondition::None, now).map(drop)
                }
                Part::Delete => self.delete(cell, &Precondition::None, now),
                Part::Check { present } if self.present(cell, now).is_some() == *present => Ok(()),
                Part::Check { .. } => Err(Refusal::CheckFailed),
            };
            if let Err(refusal) = done {
                (self.cells, self.gone) = before;
                return Err((index, refusal));
            }
        }
        Ok(())
    }

    /// Persons are forgotten, all in one order: keys first, then what is deleted.
    fn shred_people(&mut self, people: &[u8]) {
        // Who is gone already was forgotten with what there was then.
        let people: Vec<u8> = people.iter().copied().filter(|person| self.gone.insert(*person)).collect();
        let first = |record: &Record| people.contains(&record.people[0]);
        for ((collection, _), cell) in &mut self.cells {
            if matches!(cell, Cell::Live(record) if first(record)) && COLLECTIONS[*collection].1 != ShredUnit::Collection {
                *cell = Cell::Shredded;
            }
        }
        self.cells.retain(|(collection, _), cell| {
            let Cell::Live(record) = cell else { return true };
            let named_second = record.people.iter().skip(1).any(|person| people.contains(person));
            !(first(record) || named_second && COLLECTIONS[*collection].2 == SecondarySubjects::Delete)
        });
    }

    /// Keys and records of a collection that are there.
    fn there(&self, collection: usize, now: Timestamp) -> impl Iterator<Item = (&'static str, &Record)> {
        self.cells.iter().filter_map(move |((of, at), cell)| match cell {
            Cell::Live(record) if *of == collection && record.is_there(now) => Some((KEYS[*at], record)),
            Cell::Live(_) | Cell::Shredded => None,
        })
    }
}

fn value(len: usize, number: usize) -> Vec<u8> {
    (0..len).map(|byte| (byte + number).to_le_bytes()[0]).collect()
}

fn person(number: u8) -> SubjectId {
    SubjectId::parse(&format!("s{number}")).unwrap()
}

fn custom(step: usize) -> Vec<(String, String)> {
    vec![("step".into(), step.to_string())]
}

/// A tenant and who owns it.
type Tenancy = (TenantName, Caller);

struct World {
    place: Place,
    clock: TestClock,
    open: Option<Open>,
    operator: Caller,
    tenancy: Tenancy,
    /// What the collections are called now: a name is never used again.
    names: [String; 3],
    gone: Vec<Tenancy>,
    /// Another tenant, of which nothing is ever shredded, and its one record's value.
    bystander: Tenancy,
    made: u32,
}

impl World {
    async fn make(suite: Suite) -> Self {
        let mut place = Place::make_with(VaultOptions { suite, ..VaultOptions::default() }, true).await;
        let clock = TestClock::at(SystemClock.now());
        place.clock = Arc::new(clock.clone());
        let open = place.open().await;
        let operator = open.caller(&place.operator).await;
        let (other, stranger, _) = open.tenant(&place, "bystander").await;
        open.collection(&stranger, &other, "people", ShredUnit::Subject).await;
        open.put(&stranger, &other, ("people", "k"), Some("s0"), b"another s0").await.unwrap();
        let (tenant, owner, _) = open.tenant(&place, "t").await;
        let names = COLLECTIONS.map(|(name, ..)| name.to_owned());
        let (tenancy, bystander) = ((tenant, owner), (other, stranger));
        let world = Self { place, clock, open: Some(open), operator, tenancy, names, gone: Vec::new(), bystander, made: 0 };
        for collection in 0..COLLECTIONS.len() {
            world.make_collection(collection).await;
        }
        world
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn make_collection(&self, collection: usize) {
        let (tenant, owner) = &self.tenancy;
        let (_, shred_unit, secondary_subjects) = COLLECTIONS[collection];
        let policy = CollectionPolicy { shred_unit, secondary_subjects, ..CollectionPolicy::default() };
        self.open().vault.put_collection(owner, tenant, &coll(&self.names[collection]), policy, None).await.unwrap();
    }

    async fn order(&self, order: ShredOrder) -> Result<(), VaultError> {
        let (tenant, owner) = &self.tenancy;
        let view = self.open().vault.order_shred(owner, tenant, order, WAIT, None).await?;
        assert!(view.done, "a shred is not done after 30 s");
        Ok(())
    }

    async fn send(&self, sent: &Sent) -> Result<Put, VaultError> {
        let (tenant, owner) = &self.tenancy;
        let put = PutRecord {
            subjects: sent.record.people.iter().copied().map(person).collect(),
            expires_at: sent.record.expires_at,
            custom: custom(sent.record.step),
            precondition: sent.precondition.clone(),
            new_relationship: sent.returning,
            idempotency_key: sent.once.map(|once| format!("once-{once}")),
            ..put_of(None, &sent.record.value)
        };
        self.open().vault.put_record(owner, tenant, &coll(&sent.name), key(KEYS[sent.key]), put).await
    }

    /// Sends a put, and holds its answer against the map's; whether it is a repetition was found out before.
    async fn put(&self, model: &mut Model, sent: Sent, number: usize) {
        let done = self.send(&sent).await;
        let (cell, now) = ((sent.collection, sent.key), self.now());
        let expected = model.put(cell, sent.record.clone(), sent.returning, &sent.precondition, now);
        if let Ok(put) = &done {
            if let Some(Cell::Live(record)) = model.cells.get_mut(&cell) {
                record.version = Some(put.version);
            }
            if let Some(once) = sent.once {
                model.kept.insert(once, (sent, *put, now.plus(KEPT)));
            }
        }
        same(done.map(|put| put.created), expected, number);
    }

    /// The same put, under the same idempotency key.
    async fn again(&self, model: &mut Model, once: u8, number: usize) {
        let Some((sent, answered, until)) = model.kept.get(&once).cloned() else { return };
        if model.dead.contains(&sent.name) {
            assert!(is_shredded(&self.send(&sent).await), "step {number}");
        } else if until > self.now() {
            assert_eq!(self.send(&sent).await.unwrap(), answered, "step {number}: the same answer, and nothing done");
        } else {
            self.put(model, sent, number).await;
        }
    }

    async fn step(&mut self, model: &mut Model, op: &Op, number: usize) {
        let ((tenant, owner), now) = (self.tenancy.clone(), self.now());
        match op {
            Op::Put { collection, key: at, people, len, returning, asked, lasts, once } => {
                let expires_at = lasts.map(|secs| now.plus(Duration::from_secs(secs)));
                let record = Record { value: value(*len, number), people: people.clone(), expires_at, step: number, version: None };
                let precondition = model.precondition(*asked, (*collection, *at), now);
                let (name, returning) = (self.names[*collection].clone(), *returning);
                let sent = Sent { collection: *collection, name, key: *at, record, returning, precondition, once: *once };
                let kept = once.and_then(|once| model.kept.get(&once)).is_some_and(|(.., until)| *until > now);
                if kept {
                    // Another request under a key that is remembered: each has its step in its metadata.
                    let refused = self.send(&sent).await;
                    let is_mismatch = matches!(refused, Err(VaultError::Conflict(Conflict::IdempotencyMismatch)));
                    assert!(is_mismatch, "step {number}: {refused:?}");
                } else {
                    self.put(model, sent, number).await;
                }
            }
            Op::Again { once } => self.again(model, *once, number).await,
            Op::Delete { collection, key: at, asked } => {
                let name = coll(&self.names[*collection]);
                let precondition = model.precondition(*asked, (*collection, *at), now);
                let done = self.open().vault.delete_record(&owner, &tenant, &name, key(KEYS[*at]), precondition.clone(), None).await;
                same(done, model.delete((*collection, *at), &precondition, now), number);
            }
            Op::Batch { parts, returning } => {
                let ops = parts.iter().map(|part| self.batch_op(part, *returning, number)).collect();
                let done = self.open().vault.batch(&owner, &tenant, ops, None).await;
                match (done, model.batch(parts, *returning, number, now)) {
                    (Ok(results), Ok(())) => {
                        assert_eq!(results.len(), parts.len(), "step {number}");
                        for ((collection, at, _), result) in parts.iter().zip(&results) {
                            if let (BatchResult::Put { version, .. }, Some(Cell::Live(record))) =
                                (result, model.cells.get_mut(&(*collection, *at)))
                            {
                                record.version = Some(*version);
                            }
                        }
                    }
                    (Err(VaultError::Batch { index, source }), Err((at, refusal))) => {
                        assert!(index == at && refusal.is(&source), "step {number}: {index} {source:?}, not {at} {refusal:?}");
                    }
                    (done, expected) => panic!("step {number}: {done:?}, not {expected:?}"),
                }
            }
            Op::ShredPeople { people } => {
                self.order(ShredOrder::Subjects(people.iter().copied().map(person).collect())).await.unwrap();
                model.shred_people(people);
            }
            Op::ShredRecord { key: at } => {
                let done = self.order(ShredOrder::Record { collection: coll(&self.names[1]), key: key(KEYS[*at]) }).await;
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
            Op::Rotate => {
                let (old, new) = self.open().vault.rotate(&self.operator).await.unwrap();
                assert_eq!(new, old + 1, "step {number}");
            }
            Op::Wait { secs } => self.clock.advance(Duration::from_secs(*secs)),
            Op::Reclaim => {
                self.open().vault.reclaim(1_000).await.unwrap();
                self.open().vault.sweep(now, 1_000).await.unwrap();
            }
            Op::Restart => {
                self.open.take().unwrap().close().await;
                self.open = Some(self.place.open().await);
            }
        }
    }

    fn batch_op(&self, (collection, at, part): &(usize, usize, Part), new_relationship: bool, number: usize) -> BatchOp {
        let (collection, key) = (coll(&self.names[*collection]), key(KEYS[*at]));
        match part {
            Part::Put { people, len } => BatchOp::Put {
                collection,
                key,
                value: value(*len, number).into(),
                content_type: "application/octet-stream".into(),
                subjects: people.iter().copied().map(person).collect(),
                expires_at: None,
                custom: custom(number),
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
        let ((tenant, owner), now) = (&self.tenancy, self.now());
        for (collection, name) in self.names.iter().enumerate() {
            for (at, shown) in KEYS.iter().enumerate() {
                let got = self.open().get(owner, tenant, (name, shown)).await;
                match model.cells.get(&(collection, at)) {
                    Some(Cell::Shredded) => assert!(is_shredded(&got), "after step {number}: {name}/{shown} is readable"),
                    Some(Cell::Live(record)) if record.is_there(now) => {
                        assert!(got.unwrap() == record.value, "after step {number}: {name}/{shown} has other bytes");
                        self.compare_record(model, (collection, shown), record, number).await;
                    }
                    Some(Cell::Live(_)) | None => {
                        assert!(matches!(got, Err(VaultError::NotFound(_))), "after step {number}: {name}/{shown}: {got:?}");
                    }
                }
            }
            for prefix in [None].into_iter().chain(PREFIXES.map(Some)) {
                let within = |shown: &str| prefix.is_none_or(|prefix| shown.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')));
                let expected = model.there(collection, now).map(|(shown, _)| shown).filter(|shown| within(shown)).collect();
                let query = ListQuery { prefix: prefix.map(key), limit: 1 + number % 3, ..ListQuery::default() };
                assert_eq!(self.listed(name, query).await.unwrap(), expected, "after step {number}: list of {name}, {prefix:?}");
            }
            for number_of in 0..PEOPLE {
                let query = ListQuery { subject: Some(person(number_of)), limit: 1 + number % 3, ..ListQuery::default() };
                let listed = self.listed(name, query).await;
                if model.gone.contains(&number_of) {
                    assert!(is_shredded(&listed), "after step {number}: list of s{number_of}");
                    continue;
                }
                let theirs = model.there(collection, now).filter(|(_, record)| record.people.contains(&number_of));
                let expected = theirs.map(|(shown, _)| shown).collect();
                assert_eq!(listed.unwrap(), expected, "after step {number}: list of s{number_of} in {name}");
            }
        }
        for name in &model.dead {
            assert!(is_shredded(&self.open().get(owner, tenant, (name, "k0")).await), "after step {number}: {name}");
            assert!(is_shredded(&self.open().put(owner, tenant, (name, "k0"), Some("s0"), b"v").await), "after step {number}: {name}");
        }
        for (tenant, owner) in &self.gone {
            assert!(is_shredded(&self.open().get(owner, tenant, ("people", "k0")).await), "after step {number}: {tenant:?}");
        }
        let (other, stranger) = &self.bystander;
        assert_eq!(self.open().get(stranger, other, ("people", "k")).await.unwrap(), b"another s0", "after step {number}");
    }

    /// A record's metadata and version, and a part of its value.
    async fn compare_record(&self, model: &Model, (collection, shown): (usize, &str), record: &Record, number: usize) {
        let (tenant, owner) = &self.tenancy;
        let total = record.value.len() as u64;
        // Within, over the end, from the end, and behind it.
        let (spec, range) = match number % 4 {
            0 => (RangeSpec::FromTo(total / 3, total / 2), total / 3..(total / 2 + 1).min(total)),
            1 => (RangeSpec::From(total / 2), total / 2..total),
            2 => (RangeSpec::Last(total / 2 + 1), total.saturating_sub(total / 2 + 1)..total),
            _ => (RangeSpec::FromTo(total, total + 5), 0..0),
        };
        let name = coll(&self.names[collection]);
        let get = GetRecord { range: Some(spec), ..GetRecord::default() };
        let got = self.open().vault.get_record(owner, tenant, &name, &key(shown), get).await;
        let at = format!("after step {number}: {shown} in {}", self.names[collection]);
        if range.is_empty() {
            assert!(matches!(got, Err(VaultError::RangeNotSatisfiable { total_len }) if total_len == total), "{at}");
            return;
        }
        let got = got.unwrap();
        assert_eq!((Some(got.version), got.range.clone()), (record.version, Some(range.clone())), "{at}");
        let RecordMeta { subjects, expires_at, value_len, custom: pairs, .. } = &got.meta;
        assert_eq!((*expires_at, *value_len, pairs), (record.expires_at, total, &custom(record.step)), "{at}");
        for (subject, number) in subjects.iter().zip(&record.people) {
            let is_veiled = subject.as_str().starts_with("shredded-subject-");
            assert!(is_veiled == model.gone.contains(number) && (is_veiled || *subject == person(*number)), "{at}: {}", subject.as_str());
        }
        assert_eq!(subjects.len(), record.people.len(), "{at}");
        let bounds = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(read(got).await.unwrap() == record.value[bounds], "{at}: other bytes in {range:?}");
    }

    /// All pages of a list; each record once.
    async fn listed(&self, name: &str, mut query: ListQuery) -> Result<BTreeSet<&'static str>, VaultError> {
        let ((tenant, owner), mut all) = (&self.tenancy, BTreeSet::new());
        loop {
            let page = self.open().vault.list(owner, tenant, &coll(name), query.clone()).await?;
            assert!(page.items.len() <= query.limit, "{name}: {} on a page", page.items.len());
            for item in &page.items {
                let shown = KEYS.into_iter().find(|shown| *shown == item.meta.key.as_str()).unwrap();
                assert!(all.insert(shown), "{name}: {shown} is listed twice");
            }
            match page.next_cursor {
                Some(cursor) => query.cursor = Some(cursor),
                None => return Ok(all),
            }
        }
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
