//! What became of a record of older data since: it ends as it would have, had it stayed in the store, by the rules and under the holds of
//! the time, and by what was known then of its person's events. So nothing comes back because rules were made longer, a hold was placed, or
//! a report was corrected, after it was over; and what a hold has kept from its end until now is there.

use std::{collections::HashMap, time::Duration};

use super::{End, When, begin_of, hour_of, looked_for_again};
use crate::{
    domain::{HoldId, TenantNo, Timestamp},
    vault::{
        ops::{Vault, VaultError, directory::Collection, retention::RulesNo, rows::HoldRow},
        store::{
            Space,
            schema::{self, HeldThing, Table},
        },
    },
};

/// How long after its end a run has destroyed a record at the latest: a hold that was on it by then has found it there. Runs come each
/// minute.
const RUN_BY: Duration = Duration::from_mins(2);

/// A hold, of whichever time.
pub(super) struct HoldThen {
    hold: HoldId,
    /// What it is on, and since when.
    on: HashMap<HeldThing, Timestamp>,
    /// `None` while it stands.
    ended_at: Option<Timestamp>,
}

impl HoldThen {
    fn kept(&self, things: &[HeldThing], at: Timestamp) -> bool {
        let stood = self.ended_at.is_none_or(|end| end > at);
        stood && things.iter().any(|thing| self.on.get(thing).is_some_and(|since| *since <= at.plus(RUN_BY)))
    }
}

/// When a record ends, and the hold that has kept it since, if one has.
pub(super) struct Went {
    pub(super) end: Option<End>,
    pub(super) kept_by: Option<HoldId>,
}

impl Vault {
    /// Every hold that a tenant ever had.
    pub(super) async fn holds_then(&self, tenant: TenantNo) -> Result<Vec<HoldThen>, VaultError> {
        let now = self.inner.clock.now();
        let mut holds = Vec::new();
        let mut range = schema::table_of_tenant(Table::Hold, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold = row.key.last_chunk::<16>().map(|id| HoldId(*id)).ok_or_else(|| VaultError::Internal("hold row".into()))?;
                let row: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                let lapsed_at = row.lapses_at.filter(|_| !row.stands(now));
                let ended_at = row.end.as_ref().map(|end| end.at).or(lapsed_at).map(Timestamp);
                holds.push(HoldThen { hold, on: row.things_since().collect(), ended_at });
            }
        }
        Ok(holds)
    }
}

/// When a record ends as it went, under its collection's rules of the time and those `holds` that were on one of the `things` that it is.
/// `shortened` is when two persons let shorter rules hold for it, and the end that it had by those. `first` is when its row had it looked
/// at, and what stood there.
pub(super) fn as_it_went(
    collection: &Collection,
    shortened: &[(Timestamp, End)],
    mut first: (Timestamp, When),
    until: Timestamp,
    (holds, things): (&[HoldThen], &[HeldThing]),
    end: impl Fn(RulesNo, Timestamp) -> Option<End>,
) -> Went {
    loop {
        let end = end_as_it_went(collection, shortened, first, until, &end);
        let Some(over) = end.filter(|end| end.at <= until) else { return Went { end, kept_by: None } };
        let (mut last, mut stands) = (None, None);
        for hold in holds.iter().filter(|hold| hold.kept(things, over.at)) {
            match hold.ended_at {
                None => stands = Some(hold.hold),
                ended => last = last.max(ended),
            }
        }
        match last {
            // It was looked at again when the last of them ended.
            Some(ended) if stands.is_none() => first = (ended, When::Ends(ended)),
            Some(_) | None => return Went { end, kept_by: stands },
        }
    }
}

/// When the row of a record would have had it looked at first, and what stood there, where no row tells it: by the `end` that the record was
/// written with, at `written`, and by those that it had since, as [`as_it_went`] takes them.
pub(super) fn first_look(shortened: &[(Timestamp, End)], (written, end): (Timestamp, Option<End>)) -> (Timestamp, When) {
    let when = end.map_or(When::Endless(written), |end| end.written_at(written));
    let looked_at = when.looked_at().unwrap_or_else(|| begin_of(hour_of(looked_for_again(written, written))));
    let (_, when, looked_at) = brought_forward(shortened, written, (when, looked_at));
    (looked_at, when)
}

/// What stands in the row from `at` on, and when that has the record looked at, once what was approved while it waited for that has brought its
/// end forward, and to which, if any has.
fn brought_forward(
    shortened: &[(Timestamp, End)],
    at: Timestamp,
    (mut when, mut looked_at): (When, Timestamp),
) -> (Option<End>, When, Timestamp) {
    let mut brought = None;
    for (approved, end) in shortened {
        if *approved > at && *approved < looked_at && end.at < when.ends_at().unwrap_or(looked_at) {
            (brought, when) = (Some(*end), end.written_at(*approved));
            looked_at = when.looked_at().unwrap_or(end.at);
        }
    }
    (brought, when, looked_at)
}

/// The same as [`as_it_went`] without holds: when it was looked at, and was over.
fn end_as_it_went(
    collection: &Collection,
    shortened: &[(Timestamp, End)],
    (mut at, mut when): (Timestamp, When),
    until: Timestamp,
    end: impl Fn(RulesNo, Timestamp) -> Option<End>,
) -> Option<End> {
    loop {
        // At the very moment of a change, those before it count: it may have been destroyed under them.
        // A report that came before a run can have destroyed it counts as known.
        let next = end(collection.rules_until(at), at.plus(RUN_BY)).map(|end| when.put_off(end, at));
        let looked_at = match next {
            Some(end) if end.at <= at => return Some(End { at, ..end }),
            Some(end) => {
                when = if when.marks_now(end, at) { When::Ends(end.at) } else { end.written_at(at) };
                when.looked_at().unwrap_or(end.at)
            }
            None => {
                let since = if let When::Endless(since) = when { since } else { at };
                when = When::Endless(since);
                begin_of(hour_of(looked_for_again(at, since)))
            }
        };
        let (brought, stands, looked_at) = brought_forward(shortened, at, (when, looked_at));
        if looked_at > until {
            return brought.or(next);
        }
        (at, when) = (looked_at, stands);
    }
}
