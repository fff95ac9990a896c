//! Rows of what was reported of persons: tokens and numbers; the events and their dates are sealed under a unit of the person's own, and go
//! with it.

use serde::{Deserialize, Serialize};

use super::ControlRow;

/// What was reported of a person, under the person's first id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct EventsRow {
    /// Its place in the queue: what follows from it is written down by that.
    pub(in crate::vault) number: u64,
    /// Slot and generation of the unit that seals it: the id's own, of no collection.
    pub(in crate::vault) slot: u64,
    pub(in crate::vault) generation: u32,
    /// The id, and all reports.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for EventsRow {
    const NAME: &'static str = "events";
}

/// Whose events were reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct EventQueueRow {
    pub(in crate::vault) tenant: u64,
    /// By the token of the first id.
    pub(in crate::vault) subject: [u8; 16],
}

impl ControlRow for EventQueueRow {
    const NAME: &'static str = "event queue";
}

/// What an order to shred remembers of a person's events, for what a law keeps counts from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct LeftEventsRow {
    /// When all was that nobody had reported.
    pub(in crate::vault) otherwise: i64,
    /// The reports, sealed under the tenant's metadata key.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for LeftEventsRow {
    const NAME: &'static str = "left events";
}

/// How far a data store has come with what was reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct EventsDoneRow {
    /// The last number that was begun; those before are done.
    pub(in crate::vault) number: u64,
    /// Where the next look begins among the rows of the index of subjects; empty at the beginning.
    pub(in crate::vault) next: Vec<u8>,
    /// Records that have another end now.
    pub(in crate::vault) moved: u64,
    /// Whether it has been through them all.
    pub(in crate::vault) done: bool,
}

impl ControlRow for EventsDoneRow {
    const NAME: &'static str = "events done";
}
