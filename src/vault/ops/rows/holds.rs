//! Rows of legal holds, and of what they stopped: tokens and numbers; what is said of a hold is sealed.

use serde::{Deserialize, Serialize};

use super::ControlRow;
use crate::{
    domain::{CollectionNo, Timestamp},
    vault::store::schema::HeldThing,
};

/// A legal hold. It stays when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct HoldRow {
    /// What it is on.
    pub(in crate::vault) on: Vec<HoldThingRow>,
    /// What was added later, ids that its persons were given: each time the place in `on` of the first of them, and when.
    pub(in crate::vault) widened: Vec<(u16, i64)>,
    /// Whether everybody in the tenant may know of it.
    pub(in crate::vault) disclosed: bool,
    /// When it ends by itself: that of a hold for law enforcement.
    pub(in crate::vault) lapses_at: Option<i64>,
    /// Token that placed it, and when.
    pub(in crate::vault) placed_by: [u8; 16],
    pub(in crate::vault) placed_at: i64,
    /// The line of that token: who else may renew and release it.
    pub(in crate::vault) line: Option<[u8; 16]>,
    /// How it ended.
    pub(in crate::vault) end: Option<HoldEnd>,
    /// Matter, reasons, custodian and case number, sealed under the tenant's metadata key.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for HoldRow {
    const NAME: &'static str = "hold";
}

/// What a hold is on, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum HoldThingRow {
    Tenant,
    Subject([u8; 16]),
    Under(u32, Vec<[u8; 16]>),
    Record(u32, Vec<[u8; 16]>),
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct HoldEnd {
    pub(in crate::vault) at: i64,
    /// Token that released it; `None`: its time was over.
    pub(in crate::vault) by: Option<[u8; 16]>,
}

/// What a destruction asks of a hold on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct HoldOnRow {
    pub(in crate::vault) disclosed: bool,
    pub(in crate::vault) lapses_at: Option<i64>,
}

impl ControlRow for HoldOnRow {
    const NAME: &'static str = "hold on";
}

/// The holds of a tenant that stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct HoldStateRow {
    pub(in crate::vault) count: u64,
    /// New with every change, so that two states are never taken for one.
    pub(in crate::vault) mark: [u8; 16],
}

impl ControlRow for HoldStateRow {
    const NAME: &'static str = "hold state";
}

/// An order to shred that a hold stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct HeldOrderRow {
    pub(in crate::vault) order: [u8; 16],
}

impl ControlRow for HeldOrderRow {
    const NAME: &'static str = "held order";
}

impl HoldRow {
    /// Whether it stands at `now`; one whose time is over does not, whether or not anybody has written that down.
    pub(in crate::vault) fn stands(&self, now: Timestamp) -> bool {
        self.end.is_none() && self.lapses_at.is_none_or(|end| now < Timestamp(end))
    }

    /// The things that it is on.
    pub(in crate::vault) fn things(&self) -> impl Iterator<Item = HeldThing> {
        self.on.iter().map(HoldThingRow::thing)
    }

    /// The same, each with the time from which on the hold is on it.
    pub(in crate::vault) fn things_since(&self) -> impl Iterator<Item = (HeldThing, Timestamp)> {
        self.things().enumerate().map(move |(place, thing)| {
            let added = self.widened.iter().rev().find(|(first, _)| usize::from(*first) <= place);
            (thing, Timestamp(added.map_or(self.placed_at, |(_, at)| *at)))
        })
    }
}

impl HoldThingRow {
    /// The thing.
    pub(in crate::vault) fn thing(&self) -> HeldThing {
        match self {
            Self::Tenant => HeldThing::Tenant,
            Self::Subject(subject) => HeldThing::Subject(*subject),
            Self::Under(collection, tokens) => HeldThing::Under(CollectionNo(*collection), tokens.clone()),
            Self::Record(collection, tokens) => HeldThing::Record(CollectionNo(*collection), tokens.clone()),
        }
    }
}

impl From<&HeldThing> for HoldThingRow {
    fn from(thing: &HeldThing) -> Self {
        match thing {
            HeldThing::Tenant => Self::Tenant,
            HeldThing::Subject(subject) => Self::Subject(*subject),
            HeldThing::Under(collection, tokens) => Self::Under(collection.0, tokens.clone()),
            HeldThing::Record(collection, tokens) => Self::Record(collection.0, tokens.clone()),
        }
    }
}
