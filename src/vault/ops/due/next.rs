//! When the next run of the store's own has something to do, and where the one under way has come to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{domain::Timestamp, vault::store::schema::Fineness};

/// What a run goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) enum Kind {
    /// Rows by their time.
    Rows(Fineness),
    /// Pages, and the rows that are listed on them.
    Pages,
}

impl Kind {
    /// All, in the order of their tables.
    pub(super) const ALL: [Self; 3] = [Self::Rows(Fineness::Hour), Self::Rows(Fineness::Month), Self::Pages];

    const fn place(self) -> usize {
        match self {
            Self::Rows(Fineness::Hour) => 0,
            Self::Rows(Fineness::Month) => 1,
            Self::Pages => 2,
        }
    }
}

impl From<Fineness> for Kind {
    fn from(fineness: Fineness) -> Self {
        Self::Rows(fineness)
    }
}

/// The earliest moments at which something is due, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vault::ops) struct Moments([Timestamp; Kind::ALL.len()]);

impl Default for Moments {
    /// Never.
    fn default() -> Self {
        Self::everything(Timestamp(i64::MAX))
    }
}

impl Moments {
    /// Something of every kind at `at`.
    pub(super) const fn everything(at: Timestamp) -> Self {
        Self([at; Kind::ALL.len()])
    }

    /// There is something at `at`, at the latest.
    pub(in crate::vault::ops) fn at(&mut self, kind: impl Into<Kind>, at: Timestamp) {
        if let Some(known) = self.0.get_mut(kind.into().place()) {
            *known = (*known).min(at);
        }
    }

    fn of(&self, kind: Kind) -> Timestamp {
        self.0.get(kind.place()).copied().unwrap_or(Timestamp(i64::MAX))
    }

    pub(super) fn all(&mut self, other: &Self) {
        for kind in Kind::ALL {
            self.at(kind, other.of(kind));
        }
    }
}

/// A run over several passes.
#[derive(Debug, Clone)]
pub(super) struct Walk {
    /// What it goes through.
    pub(super) kinds: Vec<Kind>,
    /// The last row that it is done with; of a page, perhaps with a place on it.
    pub(super) after: Bytes,
    /// When the next one has something to do.
    pub(super) next: Moments,
    /// Whether something may have come to lie before `after`: then it goes through everything once more.
    pub(super) anew: bool,
}

impl Walk {
    /// One through everything.
    pub(super) fn whole() -> Self {
        Self { kinds: Kind::ALL.to_vec(), after: Bytes::new(), next: Moments::default(), anew: false }
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
        Self(Mutex::new(State { moments: Moments::everything(Timestamp(i64::MIN)), under_way: None }))
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
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| state.moments.of(*kind) <= now).collect();
        for kind in &kinds {
            if let Some(known) = state.moments.0.get_mut(kind.place()) {
                *known = Timestamp(i64::MAX);
            }
        }
        (!kinds.is_empty()).then(|| Walk { kinds, ..Walk::whole() })
    }

    /// The first of all moments at which something is known to be to do, and whether a run is under way.
    pub(super) fn seen(&self) -> (Option<Timestamp>, bool) {
        let state = self.lock();
        let first = Kind::ALL.into_iter().map(|kind| state.moments.of(kind)).min();
        (first.filter(|at| at.0 < i64::MAX).map(|at| at.max(Timestamp(0))), state.under_way.is_some())
    }

    /// There is more to do: the next pass goes on.
    pub(super) fn put_back(&self, walk: Walk) {
        self.lock().under_way = Some(walk);
    }
}
