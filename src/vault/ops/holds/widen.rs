//! A hold on a person is on all ids of the person: on those that there are when it is placed, and on each that comes later.

use std::collections::HashSet;

use tokio::sync::MutexGuard;

use super::super::{
    Vault, VaultError,
    directory::Tenant,
    rows::{HoldOnRow, HoldThingRow},
};
use crate::{
    domain::limits,
    vault::{
        crypto::Token,
        store::{
            Check, Expect, Space, Write,
            schema::{self, HeldThing},
        },
    },
};

/// What one hold is on at most: a row has 100,000 bytes, and a hold may name many persons who are given ids later, each at its time.
pub(super) const THINGS_MAX: usize = 3_000;

impl Vault {
    /// Has every hold that is on one of a person's ids be on all of them, in the commit that gives the person another. Nothing is
    /// destroyed by an epoch while what this gives is kept.
    ///
    /// # Errors
    /// [`VaultError::Limit`] where a hold would be on too much: of the aliases, for who gives one may not know of it.
    pub(in crate::vault::ops) async fn widen_holds(
        &self,
        tenant: &Tenant,
        ids: &[Token],
        checks: &mut Vec<Check>,
        writes: &mut Vec<Write>,
    ) -> Result<Option<MutexGuard<'_, ()>>, VaultError> {
        let (state, unmoved) = self.hold_state(tenant.no).await?;
        if state.is_none() {
            checks.push(unmoved);
            return Ok(None);
        }
        let mut met = HashSet::new();
        let mut widened = false;
        for id in ids {
            let mut range = schema::holds_on(tenant.no, &HeldThing::Subject(*id));
            while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
                for row in rows {
                    let (_, _, hold) = schema::hold_on_parts(&row.key).ok_or_else(|| VaultError::Internal("hold on row".into()))?;
                    if !met.insert(hold) {
                        continue;
                    }
                    let stored = self.stored_hold(tenant, hold).await?.ok_or_else(|| VaultError::Internal("a hold is missing".into()))?;
                    let mut row = stored.row;
                    let more: Vec<Token> = ids.iter().copied().filter(|id| !row.on.contains(&HoldThingRow::Subject(*id))).collect();
                    if more.is_empty() {
                        continue;
                    }
                    let first = u16::try_from(row.on.len()).map_err(|_| VaultError::Limit(limits::SUBJECT_ALIASES))?;
                    row.on.extend(more.iter().copied().map(HoldThingRow::Subject));
                    if row.on.len() > THINGS_MAX {
                        return Err(VaultError::Limit(limits::SUBJECT_ALIASES));
                    }
                    // What was gone before it was on it, it has not found.
                    row.widened.push((first, self.inner.clock.now().0));
                    let on = HoldOnRow { disclosed: row.disclosed, lapses_at: row.lapses_at };
                    for id in more {
                        writes.push(self.inner.seals.put(schema::hold_on(tenant.no, &HeldThing::Subject(id), hold), &on)?);
                    }
                    writes.push(self.inner.seals.put(stored.key.clone(), &row)?);
                    checks.push(Check { space: Space::Control, key: stored.key, expect: Expect::Equals(stored.bytes) });
                    widened = true;
                }
            }
        }
        if widened {
            self.mark_holds(tenant, checks, writes).await?;
        } else {
            checks.push(unmoved);
        }
        self.inner.placing.wait_patiently().await.map(Some)
    }
}
