//! Ranges of removed rows that still lie in files, and when those files are written anew without them.
//!
//! What was a tenant, a collection or a large value has files of its own, and goes at once. The row of a single record lies in one file
//! with tens of thousands of others, which nobody writes anew for every shred: what is left of it, which nothing opens, waits with others.
//!
//! In memory: what a restart forgets waits for the engine's own periodic compactions.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use crate::vault::store::{
    Space,
    schema::{self, KeyRange},
};

/// Ranges that wait at most; of more, those of one collection or tenant become one.
const RANGES: usize = 4_096;

type Range = (Space, Bytes, Bytes);

/// Ranges of one space, to be compacted together.
pub(super) type Batch = (Space, Vec<KeyRange>);

#[derive(Default)]
struct Waiting {
    /// Of tenants, collections and large values.
    whole: BTreeSet<Range>,
    /// Of single rows.
    rows: BTreeSet<Range>,
    /// When the oldest of those was removed, as monotonic time.
    rows_since: Option<Duration>,
}

/// What waits.
#[derive(Default)]
pub(super) struct Ranges(Mutex<Waiting>);

impl Ranges {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A range that had nothing but removed rows.
    pub(super) fn add(&self, space: Space, range: KeyRange) {
        bounded(&mut self.lock().whole, (space, range.from, range.to));
    }

    /// A row that was removed, or left as a header, at `now`.
    pub(super) fn add_row(&self, space: Space, row: &[u8], now: Duration) {
        let mut waiting = self.lock();
        waiting.rows_since.get_or_insert(now);
        bounded(&mut waiting.rows, (space, Bytes::copy_from_slice(row), schema::successor(row)));
    }

    /// The next that may be compacted: a whole range, else the single rows of a space once the oldest of all has waited for `wait`.
    pub(super) fn take(&self, now: Duration, wait: Duration) -> Option<Batch> {
        let mut waiting = self.lock();
        if let Some((space, from, to)) = waiting.whole.pop_first() {
            return Some((space, vec![KeyRange { from, to }]));
        }
        if waiting.rows_since.is_none_or(|since| now.saturating_sub(since) < wait) {
            return None;
        }
        let space = waiting.rows.first().map(|(space, ..)| *space)?;
        let (taken, left) = std::mem::take(&mut waiting.rows).into_iter().partition(|(of, ..)| *of == space);
        waiting.rows = left;
        if waiting.rows.is_empty() {
            waiting.rows_since = None;
        }
        let taken: BTreeSet<Range> = taken;
        Some((space, taken.into_iter().map(|(_, from, to)| KeyRange { from, to }).collect()))
    }

    /// Takes ranges back that could not be compacted, to be tried again by the next pass.
    pub(super) fn give_back(&self, (space, ranges): Batch) {
        for range in ranges {
            self.add(space, range);
        }
    }

    /// Whether ranges are left that need not wait.
    pub(super) fn has_whole(&self) -> bool {
        !self.lock().whole.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.whole.len().saturating_add(waiting.rows.len())
    }
}

fn bounded(ranges: &mut BTreeSet<Range>, range: Range) {
    ranges.insert(range);
    for prefix in [12, 0] {
        if ranges.len() > RANGES {
            *ranges = coalesced(std::mem::take(ranges), prefix);
        }
    }
}

/// Ranges whose first keys begin with the same so many bytes (12 are tenant and collection) as one.
fn coalesced(ranges: BTreeSet<Range>, prefix: usize) -> BTreeSet<Range> {
    let mut wide: BTreeMap<(Space, Bytes), (Bytes, Bytes)> = BTreeMap::new();
    for (space, from, to) in ranges {
        let begins = from.slice(..from.len().min(prefix));
        let span = wide.entry((space, begins)).or_insert_with(|| (from.clone(), to.clone()));
        span.0 = span.0.clone().min(from);
        span.1 = span.1.clone().max(to);
    }
    wide.into_iter().map(|((space, _), (from, to))| (space, from, to)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CollectionNo, TenantNo};

    fn row(collection: u32, record: u64) -> Bytes {
        schema::record(TenantNo(1), CollectionNo(collection), &[u128::from(record).to_be_bytes()])
    }

    #[test]
    fn ranges_that_are_too_many_become_those_of_their_collections() {
        let ranges = Ranges::default();
        for record in 0..3_000_u64 {
            for collection in [1_u32, 2] {
                ranges.add_row(Space::Records, &row(collection, record), Duration::ZERO);
            }
        }
        assert!(ranges.len() <= RANGES, "{}", ranges.len());
        let (space, all) = ranges.take(Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!((space, ranges.len()), (Space::Records, 0));
        for collection in [1_u32, 2] {
            let within = schema::records_under(TenantNo(1), CollectionNo(collection), &[]);
            for record in [0, 1_500, 2_999_u64] {
                let row = row(collection, record);
                assert!(all.iter().any(|range| range.from <= row && row < range.to), "a range was lost");
            }
            let begins = all.iter().filter(|range| within.from <= range.from && range.from < within.to);
            assert!(
                begins.clone().count() > 0 && begins.clone().all(|range| range.to <= within.to),
                "a range reaches into another collection"
            );
        }
    }

    #[test]
    fn single_rows_wait_for_others_and_whole_ranges_do_not() {
        let (ranges, secs) = (Ranges::default(), Duration::from_secs);
        let wait = secs(100);
        ranges.add_row(Space::Records, &row(1, 1), secs(10));
        ranges.add(Space::Records, schema::records_of_tenant(TenantNo(7)));
        ranges.add_row(Space::Index, &row(1, 2), secs(90));
        let next = |at| ranges.take(secs(at), wait);
        assert_eq!(next(109), Some((Space::Records, vec![schema::records_of_tenant(TenantNo(7))])));
        assert!(!ranges.has_whole() && ranges.len() == 2);
        assert_eq!(next(109), None);
        let rows: Vec<_> = std::iter::from_fn(|| next(110)).collect();
        assert_eq!(rows.iter().map(|(space, ranges)| (*space, ranges.len())).collect::<Vec<_>>(), [(Space::Records, 1), (Space::Index, 1)]);
        assert_eq!(ranges.len(), 0);
        // What comes later waits as long again; what could not be done is tried by the next pass.
        ranges.add_row(Space::Records, &row(1, 3), secs(200));
        assert_eq!(next(299), None);
        for batch in rows {
            ranges.give_back(batch);
        }
        assert_eq!(std::iter::from_fn(|| next(299)).count(), 2);
        assert_eq!(ranges.len(), 1);
    }
}
