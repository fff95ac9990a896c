//! Single records: their names, reading and writing them, and the mixes of YCSB's core workloads.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use rand::{RngExt as _, rngs::SmallRng};

use super::{
    choose::{Keys, LenDist, Population},
    numbers::mix_all,
    tally::{Op, Step},
    values::{Check, Value},
    wire::{Load, Trouble, Wire},
};
use crate::domain::{Clock as _, SystemClock};

/// The records of one collection: all that is needed to name one and to know its value.
#[derive(Debug)]
pub(crate) struct Records {
    /// `/v1/tenants/T`.
    pub(crate) tenant_path: String,
    pub(crate) collection: String,
    pub(crate) seed: u64,
    pub(crate) value_len: u64,
    pub(crate) value_dist: LenDist,
    /// So many records of successive numbers have the first segment of their key in common.
    pub(crate) group_len: Option<u64>,
    /// The group is the subject; otherwise each record has a subject of its own.
    pub(crate) by_group: bool,
    /// What sets this run's names apart from those of earlier runs.
    pub(crate) run: String,
    /// Numbers from here on are of this run; those below are found again by any other.
    pub(crate) run_from: u64,
}

impl Records {
    /// The key: no two numbers that are near have keys that are, as in YCSB. Another seed means other records.
    pub(crate) fn key(&self, number: u64) -> String {
        let scattered = mix_all(&[self.seed, number]);
        match self.group(number) {
            Some(group) => format!("{group}/u{scattered:016x}"),
            None => format!("{}u{scattered:016x}", self.run_of(number)),
        }
    }

    /// Whom the record is about.
    pub(crate) fn subject(&self, number: u64) -> String {
        let of_its_own = || format!("{}s{:016x}", self.run_of(number), mix_all(&[self.seed, number]));
        if self.by_group { self.group(number).unwrap_or_else(of_its_own) } else { of_its_own() }
    }

    /// The first segment of its key, where records form groups.
    pub(crate) fn group(&self, number: u64) -> Option<String> {
        let group = number.checked_div(self.group_len?)?;
        Some(format!("{}g{:x}-{group}", self.run_of(number), self.seed))
    }

    fn run_of(&self, number: u64) -> &str {
        if number >= self.run_from { &self.run } else { "" }
    }

    /// Where the record is.
    pub(crate) fn path(&self, number: u64) -> String {
        format!("{}/collections/{}/records/{}", self.tenant_path, self.collection, self.key(number))
    }

    /// A value for the record, not the one before.
    pub(crate) fn value(&self, rng: &mut SmallRng, number: u64) -> Value {
        Value::new(self.seed, number, rng.random(), self.value_dist.choose(rng, self.value_len))
    }

    /// Reads a record and checks every byte; gives its length.
    pub(crate) async fn read(&self, wire: &mut Wire, number: u64) -> Result<u64, Trouble> {
        let answer = wire.send(wire.head(Method::GET, &self.path(number)), Load::Empty).await?;
        let mut check = Check::new(self.seed, number);
        let mut len = 0_u64;
        answer
            .each(|piece| {
                len = len.saturating_add(piece.len() as u64);
                check.take(piece);
            })
            .await?;
        if check.is_right() { Ok(len) } else { Err(Trouble::Wrong("wrong-bytes")) }
    }

    /// Writes a record that is there, or may be.
    pub(crate) async fn write(&self, wire: &mut Wire, number: u64, value: Value) -> Result<u64, Trouble> {
        match self.put(wire, number, value, false).await? {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(value.len()),
            _ => Err(Trouble::Wrong("unexpected-status")),
        }
    }

    /// Writes a record that must not be there yet; the answer must say that it is new.
    pub(crate) async fn insert(&self, wire: &mut Wire, number: u64, value: Value) -> Result<u64, Trouble> {
        match self.put(wire, number, value, true).await? {
            StatusCode::CREATED => Ok(value.len()),
            _ => Err(Trouble::Wrong("not-created")),
        }
    }

    /// A large value is made while it is sent.
    async fn put(&self, wire: &mut Wire, number: u64, value: Value, is_new: bool) -> Result<StatusCode, Trouble> {
        let load = if value.len() <= 1 << 20 { Load::Whole(value.bytes()) } else { Load::Made { value, sent: 0 } };
        let head = wire
            .head(Method::PUT, &self.path(number))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .header("lethe-subject", self.subject(number));
        let head = if is_new { head.header(header::IF_NONE_MATCH, HeaderValue::from_static("*")) } else { head };
        let answer = wire.send(head, load).await?;
        let status = answer.status;
        answer.done().await?;
        Ok(status)
    }
}

/// The shares of a mix, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(crate) read: u8,
    pub(crate) update: u8,
    pub(crate) insert: u8,
    pub(crate) read_modify_write: u8,
}

impl Mix {
    /// Nothing else.
    pub(crate) const READS: Self = Self { read: 100, update: 0, insert: 0, read_modify_write: 0 };

    fn draw(self, rng: &mut SmallRng) -> Op {
        let drawn: u8 = rng.random_range(0..100);
        let mut end = 0_u8;
        for (op, share) in [(Op::Read, self.read), (Op::Update, self.update), (Op::Insert, self.insert)] {
            end = end.saturating_add(share);
            if drawn < end {
                return op;
            }
        }
        Op::ReadModifyWrite
    }
}

/// One connection's work on single records.
#[derive(Clone)]
pub(crate) struct Mixed {
    pub(crate) records: Arc<Records>,
    pub(crate) population: Arc<Population>,
    pub(crate) keys: Keys,
    pub(crate) mix: Mix,
}

impl Mixed {
    pub(crate) async fn step(&self, wire: &mut Wire, rng: &mut SmallRng) -> Step {
        let op = self.mix.draw(rng);
        let number = if op == Op::Insert { self.population.claim() } else { self.keys.choose(rng, self.population.count()) };
        let value = if op == Op::Read { None } else { Some(self.records.value(rng, number)) };
        let begun = SystemClock.monotonic();
        let result = self.attempt(wire, op, number, value).await;
        let bytes = result.as_ref().map_or(0, |bytes| *bytes);
        Step { op, begun, ended: SystemClock.monotonic(), items: 1, bytes, result: result.map(drop) }
    }

    async fn attempt(&self, wire: &mut Wire, op: Op, number: u64, value: Option<Value>) -> Result<u64, Trouble> {
        let mut bytes = 0_u64;
        if matches!(op, Op::Read | Op::ReadModifyWrite) {
            bytes = self.records.read(wire, number).await?;
        }
        if let Some(value) = value {
            let written = if op == Op::Insert {
                self.records.insert(wire, number, value).await?
            } else {
                self.records.write(wire, number, value).await?
            };
            bytes = bytes.saturating_add(written);
        }
        // One that failed is not counted, nor is any after it: a read must find what it asks for.
        if op == Op::Insert {
            self.population.stored(number);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn records() -> Records {
        Records {
            tenant_path: "/v1/tenants/t".into(),
            collection: "c".into(),
            seed: 1,
            value_len: 100,
            value_dist: LenDist::Fixed,
            group_len: None,
            by_group: false,
            run: String::new(),
            run_from: 0,
        }
    }

    #[test]
    fn each_record_has_a_key_and_a_subject_of_its_own_and_another_seed_other_ones() {
        let (one, two) = (records(), Records { seed: 2, ..records() });
        let mut keys: Vec<String> = (0..1_000).flat_map(|number| [one.key(number), two.key(number)]).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2_000);
        assert_ne!(one.subject(1), one.subject(2));
    }

    #[test]
    fn a_run_finds_what_was_loaded_and_inserts_what_no_other_run_did() {
        let [one, two] = ["a", "b"].map(|run| Records { run: run.into(), run_from: 10, ..records() });
        assert_eq!((one.key(9), one.subject(9)), (records().key(9), records().subject(9)));
        assert_eq!((one.key(9), one.subject(9)), (two.key(9), two.subject(9)));
        assert_ne!(one.key(10), two.key(10));
        assert_ne!(one.subject(10), two.subject(10));
        assert_ne!(one.key(10), records().key(10));
    }

    #[test]
    fn groups_share_a_segment_and_perhaps_a_subject() {
        let records = Records { group_len: Some(10), ..records() };
        assert_eq!(records.group(9), records.group(0));
        assert_ne!(records.group(10), records.group(9));
        assert!(records.key(3).starts_with(&format!("{}/", records.group(0).unwrap())));
        assert_ne!(records.subject(3), records.subject(4));
        let records = Records { by_group: true, ..records };
        assert_eq!(records.subject(3), records.subject(4));
    }

    #[test]
    fn a_mix_has_its_shares() {
        let mix = Mix { read: 50, update: 20, insert: 10, read_modify_write: 20 };
        let mut rng = SmallRng::seed_from_u64(1);
        let drawn: Vec<Op> = (0..10_000).map(|_| mix.draw(&mut rng)).collect();
        for (op, share) in [(Op::Read, 5_000), (Op::Update, 2_000), (Op::Insert, 1_000), (Op::ReadModifyWrite, 2_000)] {
            let count = drawn.iter().filter(|drawn| **drawn == op).count();
            assert!(count.abs_diff(share) < 200, "{op:?}: {count}");
        }
    }
}
