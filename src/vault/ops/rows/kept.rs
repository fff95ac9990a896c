//! Rows of what a law keeps of persons who were shredded: tokens and numbers, and the law.

use serde::{Deserialize, Serialize};

use super::{ControlRow, HoldThingRow, RETAINED_LEN_MAX, RETAINED_MAX};
use crate::domain::{CollectionNo, retention::Law};

/// A unit that an order about persons has spared, for it seals what a law keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct KeptUnitRow {
    /// Whose it was, by token.
    pub(in crate::vault) subject: [u8; 16],
    pub(in crate::vault) collection: u32,
    /// The last token of the record that it seals, where the unit is a record's.
    pub(in crate::vault) record: Option<[u8; 16]>,
    pub(in crate::vault) generation: u32,
    /// The order.
    pub(in crate::vault) order: [u8; 16],
    /// The latest end of the minimums for which it was spared; `None` while one was not known. Its key does not go before.
    pub(in crate::vault) until: Option<i64>,
    /// The same of those minimums alone that nobody shortens: its key does not go before, whoever bypasses the others.
    pub(in crate::vault) firm_until: Option<i64>,
    /// The number of the collection's rules by which that was decided: a bypass that came with later ones counts.
    pub(in crate::vault) rules_no: u32,
    /// When it is looked at next whether anything is left under it.
    pub(in crate::vault) look_at: i64,
}

impl ControlRow for KeptUnitRow {
    const NAME: &'static str = "kept unit";
}

/// Which collections of a tenant have legal minimums, or had: who destroys the tenant is held to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct LawMarkRow {
    /// New with each collection more, so that two states are never taken for one.
    pub(in crate::vault) mark: [u8; 16],
}

impl ControlRow for LawMarkRow {
    const NAME: &'static str = "law mark";
}

/// A piece of what an end in part has left because laws keep it, whatever holds do. What is left is settled by it: older data is brought to
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct LeftByLawRow {
    /// Records, as holds are on them.
    pub(in crate::vault) on: Vec<HoldThingRow>,
    /// The persons whom they name first where a law counts from what was reported, by token: that stays with them.
    pub(in crate::vault) persons: Vec<[u8; 16]>,
}

impl ControlRow for LeftByLawRow {
    const NAME: &'static str = "left by law";
}

/// How many restricted records such a unit seals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct KeptRecordsRow {
    pub(in crate::vault) records: u64,
}

impl ControlRow for KeptRecordsRow {
    const NAME: &'static str = "kept records";
}

/// What an order has left so far of a collection, by rule: its key names both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct RetainedRow {
    pub(in crate::vault) records: u64,
    /// The latest end of their minimums; `None` while one is not known.
    pub(in crate::vault) until: Option<i64>,
    /// The law that the rule cites.
    pub(in crate::vault) basis: String,
}

impl ControlRow for RetainedRow {
    const NAME: &'static str = "retained";
}

/// The later of two ends; one that is not known is the latest.
pub(in crate::vault) fn later(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.zip(other).map(|(one, other)| one.max(other))
}

impl RetainedRow {
    /// Of no record so far.
    pub(in crate::vault) fn new(law: &Law) -> Self {
        Self { records: 0, until: law.until.map(|until| until.0), basis: law.basis.clone() }
    }

    /// One record more.
    pub(in crate::vault) fn add(&mut self, law: &Law) {
        self.records = self.records.saturating_add(1);
        self.until = later(self.until, law.until.map(|until| until.0));
    }

    /// Both together.
    pub(in crate::vault) fn and(self, more: &Self) -> Self {
        Self { records: self.records.saturating_add(more.records), until: later(self.until, more.until), ..self }
    }
}

/// What an order left for its legal purpose, as the order's row lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct Retained {
    pub(in crate::vault) collection: u32,
    pub(in crate::vault) rule: String,
    pub(in crate::vault) basis: String,
    pub(in crate::vault) records: u64,
    /// The latest end of their minimums; `None` while one is not known.
    pub(in crate::vault) until: Option<i64>,
}

impl Retained {
    /// Adds one to what a row lists: a row has 100,000 bytes, and names up to 3,000 ids beside this.
    pub(in crate::vault) fn list(self, all: &mut Vec<Self>) {
        if let Some(rest) = all.last_mut().filter(|last| last.collection == CollectionNo::TENANT.0) {
            rest.records = rest.records.saturating_add(self.records);
            rest.until = later(rest.until, self.until);
            return;
        }
        let len = |one: &Self| one.rule.len().saturating_add(one.basis.len());
        let has_room = all.len() < RETAINED_MAX && all.iter().map(len).sum::<usize>().saturating_add(len(&self)) <= RETAINED_LEN_MAX;
        all.push(if has_room {
            self
        } else {
            Self { collection: CollectionNo::TENANT.0, rule: String::new(), basis: String::new(), ..self }
        });
    }
}
