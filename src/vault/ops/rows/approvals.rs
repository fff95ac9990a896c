//! Rows of requests for a second person: tokens, numbers and hashes; what is said of one is sealed.

use serde::{Deserialize, Serialize};

use super::ControlRow;
use crate::domain::{
    Timestamp,
    approval::{ApprovalRules, ShredScope, Window},
};

/// What takes two persons in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ApprovalRulesRow {
    /// The least whose shred does; all that takes more does, too.
    pub(in crate::vault) shreds: Option<ShredScope>,
    /// Whether the release of a legal hold does.
    pub(in crate::vault) release_hold: bool,
    /// How long a request waits, in days.
    pub(in crate::vault) window: Window,
    /// Since when two persons are asked for anything, without a break.
    pub(in crate::vault) since: i64,
}

impl ApprovalRulesRow {
    /// The row of these rules; none where they ask for nothing.
    pub(in crate::vault) fn of(rules: ApprovalRules, since: i64) -> Option<Self> {
        let ApprovalRules { shreds, release_hold, window } = rules;
        (!rules.asks_nothing()).then_some(Self { shreds, release_hold, window, since })
    }

    /// The rules.
    pub(in crate::vault) const fn rules(self) -> ApprovalRules {
        let Self { shreds, release_hold, window, since: _ } = self;
        ApprovalRules { shreds, release_hold, window }
    }
}

/// A request for a second person. It stays when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ApprovalRow {
    /// What is asked for.
    pub(in crate::vault) what: ApprovalWhatRow,
    /// Where its row of what is open lies: the beginning of a hash of what is asked for, an order's scope included.
    pub(in crate::vault) place: [u8; 16],
    /// Token that asked, in which role and request, and when.
    pub(in crate::vault) asked_by: [u8; 16],
    pub(in crate::vault) role: u8,
    pub(in crate::vault) request: [u8; 16],
    pub(in crate::vault) asked_at: i64,
    /// From when on nobody can approve it any more.
    pub(in crate::vault) expires_at: i64,
    /// That it was asked for again by the store itself, for more than was approved before: who approves it says which it is.
    pub(in crate::vault) again: bool,
    /// How it ended.
    pub(in crate::vault) end: Option<ApprovalEnd>,
    /// Reasons, sealed under the tenant's metadata key; empty where there are none.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for ApprovalRow {
    const NAME: &'static str = "approval";
}

impl ApprovalRow {
    /// Whether somebody can still decide it at `now`; one whose time is over is not open, whether or not anybody has written that down.
    pub(in crate::vault) fn is_open(&self, now: Timestamp) -> bool {
        self.end.is_none() && now < Timestamp(self.expires_at)
    }
}

/// What a second person is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum ApprovalWhatRow {
    /// The order to shred that has the request's id, and takes so much along.
    Shred(ShredScope),
    /// The release of this legal hold.
    ReleaseHold([u8; 16]),
    /// These rules in the place of those.
    LoosenPolicy(ApprovalRulesRow, Option<ApprovalRulesRow>),
    /// The retention of a collection, by the hash of its rules, for what is there already.
    ShortenRetention(u32, [u8; 32]),
    /// The end of the tenant, after this grace.
    Terminate(String),
    /// The same as a shortening, and the minimums of the governance kind of all rules before bind no more.
    BypassGovernance(u32, [u8; 32]),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ApprovalEnd {
    pub(in crate::vault) how: ApprovalHow,
    pub(in crate::vault) at: i64,
    /// Token that ended it; zeros: its time was over.
    pub(in crate::vault) by: [u8; 16],
}

/// Ways in which a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) enum ApprovalHow {
    /// A second person approved it, and it was carried out in the same commit.
    Approved,
    /// Somebody who could have approved it refused it.
    Refused,
    /// Who asked took it back.
    Withdrawn,
    /// Its time was over.
    Expired,
}

/// What is asked for, leading to who asks: the same thing is asked for once at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ApprovalOpenRow {
    pub(in crate::vault) approval: [u8; 16],
    /// Token that asked: each has a share of the places.
    pub(in crate::vault) asked_by: [u8; 16],
}

impl ControlRow for ApprovalOpenRow {
    const NAME: &'static str = "open approval";
}

/// Rules of a collection that two persons let hold for what was there at some moment. It stays: older data may be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ShorteningRow {
    /// The request that was approved.
    pub(in crate::vault) approval: [u8; 16],
    /// The hash of the rules.
    pub(in crate::vault) rules: [u8; 32],
}

impl ControlRow for ShorteningRow {
    const NAME: &'static str = "shortening";
}

/// How far a data store has come with the shortenings of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ShortenedRow {
    /// The moment of the last one that was begun here; those before are done.
    pub(in crate::vault) at: u64,
    /// The last record that was looked at, by its key; empty at the beginning.
    pub(in crate::vault) after: Vec<u8>,
    /// Records that end earlier now.
    pub(in crate::vault) moved: u64,
    /// Records that it has passed over, for an order had closed them, by their keys: they are looked at again behind the last.
    pub(in crate::vault) closed: Vec<Vec<u8>>,
    /// Whether there were more of those than have a place here: everything is gone through again then.
    pub(in crate::vault) missed: bool,
    /// Whether it has been through them all.
    pub(in crate::vault) done: bool,
}

impl ControlRow for ShortenedRow {
    const NAME: &'static str = "shortened";
}
