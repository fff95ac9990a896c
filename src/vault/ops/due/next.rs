//! When the next run of the store's own has something to do, and where the one under way has come to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{domain::Timestamp, vault::store::schema::Fineness};

/// The earliest moments at which something is due, by the kinds of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) struct Moments([Timestamp; Fineness::ALL.len()]);

impl Default for Moments {
    /// Never.
    fn default() -> Self {
        Self([Timestamp(i64::MAX); Fineness::ALL.len()])
    }
}

impl Moments {
    /// Something of every kind at `at`.
    pub(super) const fn everything(at: Timestamp) -> Self {
        Self([at; Fineness::ALL.len()])
    }

    /// There is something at `at`, at the latest.
    pub(in crate::vault::ops) fn at(&mut self, fineness: Fineness, at: Timestamp) {
        if let Some(known) = self.0.get_mut(fineness as usize) {
            *known = (*known).min(at);
        }
    }

    fn of(&self, fineness: Fineness) -> Timestamp {
        self.0.get(fineness as usize).copied().unwrap_or(Timestamp(i64::MAX))
    }

    pub(super) fn all(&mut self, other: &Self) {
        for fineness in Fineness::ALL {
            self.at(fineness, other.of(fineness));
        }
    }
}

/// A run over several passes.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    /// The kinds of rows that it goes through.
    pub(super) kinds: Vec<Fineness>,
    /// The last row that it is done with.
    pub(super) after: Bytes,
    /// When the next one has something to do.
    pub(super) next: Moments,
    /// Whether something may have come to lie before `after`: then it goes through everything once more.
    pub(super) anew: bool,
}

impl Walk {
    /// One through everything.
    pub(super) fn whole() -> Self {
        Self { kinds: Fineness::ALL.to_vec(), after: Bytes::new(), next: Moments::default(), anew: false }
    }
}

/// When there is something to do. What is due at once when it is written is told after its commit, so a run that began before does
/// not miss it.
pub(in crate::vault::ops) struct Next(Mutex<State>);

struct State {
    moments: Moments,
    under_way: Option<Walk>,
}

impl Default for Next {
    /// Of what a start finds nobody knows yet.
    fn default() -> Self {
        Self(Mutex::new(State { moments: Moments([Timestamp(i64::MIN); Fineness::ALL.len()]), under_way: None }))
    }
}

impl Next {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something at these moments, at the latest.
    pub(in crate::vault::ops) fn at(&self, moments: &Moments) {
        self.lock().moments.all(moments);
    }

    /// The run to make, if it is time; whatever is not told again from here on is looked after by the caller.
    pub(super) fn take(&self, now: Timestamp) -> Option<Walk> {
        let mut state = self.lock();
        if let Some(walk) = state.under_way.take() {
            return Some(walk);
        }
        let kinds: Vec<Fineness> = Fineness::ALL.into_iter().filter(|kind| state.moments.of(*kind) <= now).collect();
        for kind in &kinds {
            if let Some(known) = state.moments.0.get_mut(*kind as usize) {
                *known = Timestamp(i64::MAX);
            }
        }
        (!kinds.is_empty()).then(|| Walk { kinds, ..Walk::whole() })
    }

    /// The first of all moments at which something is known to be to do, and whether a run is under way.
    pub(super) fn seen(&self) -> (Option<Timestamp>, bool) {
        let state = self.lock();
        let first = Fineness::ALL.into_iter().map(|kind| state.moments.of(kind)).min();
        (first.filter(|at| at.0 < i64::MAX).map(|at| at.max(Timestamp(0))), state.under_way.is_some())
    }

    /// There is more to do: the next pass goes on.
    pub(super) fn put_back(&self, walk: Walk) {
        self.lock().under_way = Some(walk);
    }
}
