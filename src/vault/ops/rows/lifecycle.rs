//! Rows of a tenant's states: what is on it besides its `State`, and how each change came about.

use serde::{Deserialize, Serialize};

use super::ControlRow;
use crate::domain::{Timestamp, lifecycle::TenantState};

/// What is on a tenant that is in use; in its row, so that every commit is held to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct LifeRow {
    /// Since when the operator has it suspended.
    pub(in crate::vault) suspended_at: Option<i64>,
    /// Its end, once an owner has ordered it.
    pub(in crate::vault) termination: Option<TerminationRow>,
    /// The last order that ended all of it but what legal holds are on, and what laws keep.
    pub(in crate::vault) rest: Option<[u8; 16]>,
}

/// The end of a tenant, as it was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct TerminationRow {
    /// Token that ordered it, and in which request: its shred is ordered in their name.
    pub(in crate::vault) ordered_by: [u8; 16],
    pub(in crate::vault) request: [u8; 16],
    /// Token that approved it, where that took two persons: its shred took them, too.
    pub(in crate::vault) approved_by: Option<[u8; 16]>,
    pub(in crate::vault) ordered_at: i64,
    /// The first moment behind its grace.
    pub(in crate::vault) ends_at: i64,
    /// That the grace was found to be over; nothing takes it back, a clock least of all.
    pub(in crate::vault) is_over: bool,
}

impl LifeRow {
    /// Whether its grace was found to be over: what is left of it is on its way to its end.
    pub(in crate::vault) fn has_ended(&self) -> bool {
        self.rest.is_some() || self.termination.is_some_and(|end| end.is_over)
    }

    /// The state that it stands for at `now`.
    pub(in crate::vault) fn state(&self, now: Timestamp) -> TenantState {
        if self.rest.is_some() {
            return TenantState::Restricted;
        }
        match (self.suspended_at, &self.termination) {
            (None, None) => TenantState::Active,
            (Some(_), None) => TenantState::Suspended,
            (_, Some(end)) if end.is_over || Timestamp(end.ends_at) <= now => TenantState::Ended,
            (None, Some(_)) => TenantState::Terminating,
            (Some(_), Some(_)) => TenantState::TerminatingSuspended,
        }
    }
}

/// One step from a state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct TenantChangeRow {
    pub(in crate::vault) step: u8,
    pub(in crate::vault) from: u8,
    pub(in crate::vault) to: u8,
    /// Token that asked for it, its role, and in which request.
    pub(in crate::vault) by: [u8; 16],
    pub(in crate::vault) role: u8,
    pub(in crate::vault) request: [u8; 16],
    /// The reason that was given, sealed under the tenant's metadata key; empty where none was.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for TenantChangeRow {
    const NAME: &'static str = "tenant change";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_that_is_over_is_over_whatever_the_clock_says_then() {
        let end = |is_over| {
            Some(TerminationRow { ordered_by: [1; 16], request: [2; 16], approved_by: None, ordered_at: 0, ends_at: 100, is_over })
        };
        for (suspended_at, is_over, now, state) in [
            (None, false, 99, TenantState::Terminating),
            (Some(5), false, 99, TenantState::TerminatingSuspended),
            (None, false, 100, TenantState::Ended),
            (Some(5), false, 100, TenantState::Ended),
            (None, true, 99, TenantState::Ended),
        ] {
            let life = LifeRow { suspended_at, termination: end(is_over), rest: None };
            assert_eq!(life.state(Timestamp(now)), state, "{suspended_at:?} {is_over} {now}");
        }
        let suspended = LifeRow { suspended_at: Some(5), ..LifeRow::default() };
        let restricted = LifeRow { suspended_at: Some(5), termination: end(true), rest: Some([9; 16]) };
        assert_eq!(restricted.state(Timestamp(0)), TenantState::Restricted);
        assert_eq!((suspended.state(Timestamp(0)), LifeRow::default().state(Timestamp(0))), (TenantState::Suspended, TenantState::Active));
    }
}
