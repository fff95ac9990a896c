//! How far the runs have come: what is due now and still there, by the index alone. No record is opened, and nothing but numbers is told.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    LOOKS, ROWS,
    index::{When, begin_of, hour_of, named_hour},
    pages::Spot,
    tenant_of,
};
use crate::{
    authz::RetentionDue,
    domain::{CollectionNo, Timestamp},
    vault::{
        audit::{Action, Target},
        ops::{
            Caller, Vault, VaultError,
            plan::{Actor, entry},
            refused::Place,
        },
        store::{
            Row, Space,
            schema::{self, Fineness},
        },
    },
};

/// Hours that are told one by one.
const HOURS: usize = 48;

/// What is still to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Records whose moment has come, as it was written down.
    pub due: u64,
    /// Records that are to be marked.
    pub to_mark: u64,
    /// Records that had no end, and are to be looked at again.
    pub to_look_at: u64,
    /// Whether there is more than was counted.
    pub more: bool,
    /// Those that are due, by the hour in which they became so, the first ones.
    pub by_hour: Vec<DueHour>,
    /// Whether a run of the server's own is under way.
    pub under_way: bool,
    /// When the server has something to do next; `None` where it does not know of anything.
    pub next_at: Option<Timestamp>,
}

/// What became due within an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueHour {
    /// The first moment of the hour.
    pub hour: Timestamp,
    /// How many.
    pub due: u64,
}

impl Vault {
    /// What is due now and still there, counted up to a bound, for who may have it destroyed. The audit entry is in the store before this
    /// returns.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`]; those of the store.
    pub async fn retention_progress(&self, caller: &Caller) -> Result<RunProgress, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let system = self.permit_system::<RetentionDue>(caller).await?;
            let progress = self.count_due().await?;
            let count = Some(u32::try_from(progress.due).unwrap_or(u32::MAX));
            let target = Target { count, ..Target::default() };
            let read = entry(Actor::from(caller), &system, Action::RetentionDue, CollectionNo::TENANT, target);
            self.read_receipt(&system, read).await?;
            Ok(progress)
        };
        self.on_record(caller, Place::STORE, Action::RetentionDue, read).await
    }

    async fn count_due(&self) -> Result<RunProgress, VaultError> {
        let now = self.inner.clock.now();
        let (next_at, under_way) = self.inner.next_due.seen();
        let mut counted = Counting { now, hours: BTreeMap::new(), progress: RunProgress { under_way, next_at, ..RunProgress::default() } };
        counted.progress.more = !self.count_rows(&mut counted).await?;
        let Counting { hours, mut progress, .. } = counted;
        progress.by_hour = hours.into_iter().take(HOURS).map(|(hour, due)| DueHour { hour: begin_of(hour), due }).collect();
        Ok(progress)
    }

    /// Whether it came through all.
    async fn count_rows(&self, counted: &mut Counting) -> Result<bool, VaultError> {
        let (now, mut looks) = (counted.now, 0_u64);
        for kind in Fineness::ALL {
            let mut range = schema::due_until(kind, named_hour(kind, now));
            while let Some(rows) = self.some_rows_of(Space::Index, &mut range, ROWS).await? {
                for rows in rows.chunk_by(|one, other| tenant_of(one) == tenant_of(other)) {
                    let whens = self.whens(rows).await?;
                    for (row, when) in rows.iter().zip(whens) {
                        if looks >= LOOKS {
                            return Ok(false);
                        }
                        looks = looks.saturating_add(1);
                        counted.count(row, when);
                    }
                }
            }
        }
        if !self.read_pages(&mut looks).await? {
            return Ok(false);
        }
        let mut after = Bytes::new();
        while let Some(key) = self.inner.due_pages.next(&after, now) {
            if looks >= LOOKS {
                return Ok(false);
            }
            looks = looks.saturating_add(1);
            if let (Some(of), Some(value)) = (schema::due_page_parts(&key), self.inner.store.get(Space::Index, &key).await?) {
                let places = self.places_of(of.tenant, &key, &value).await?.unwrap_or_default();
                let due: Vec<Spot> = places.into_iter().filter(|place| place.at <= now).collect();
                let rows = self.rows_at(&of, &due).await?;
                looks = looks.saturating_add(rows.len() as u64);
                for (row, when) in rows.iter().zip(self.whens(&rows).await?) {
                    counted.count(row, when);
                }
            }
            after = key;
        }
        Ok(true)
    }
}

/// What was counted so far.
struct Counting {
    now: Timestamp,
    hours: BTreeMap<u32, u64>,
    progress: RunProgress,
}

impl Counting {
    fn count(&mut self, row: &Row, when: Option<When>) {
        let Some(due) = schema::due_parts(&row.key) else { return };
        let counter = match when {
            Some(When::Ends(at) | When::Marks(at, _)) if at > self.now => return,
            Some(When::Marks(..)) => &mut self.progress.to_mark,
            Some(When::Endless(_)) => &mut self.progress.to_look_at,
            Some(When::Ends(_)) | None => {
                let hour = when.and_then(When::ends_at).map_or(due.hour, hour_of);
                let known = self.hours.entry(hour).or_default();
                *known = known.saturating_add(1);
                &mut self.progress.due
            }
        };
        *counter = counter.saturating_add(1);
    }
}
