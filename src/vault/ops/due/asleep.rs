//! What nothing but other rules can end. A collection that has no rules any more gives no end to what has none of its own; it is not
//! looked for again and again then, but sleeps until the collection has rules again. Then it is looked for when it would have been all
//! the while, so nothing hangs on whether it slept; and so is what older data has asleep, before that is served. Since when it has had no
//! end, which tells that, is sealed in its row.
//!
//! It sleeps under the rules that its collection had then, by their number, which one row of the collection tells: so one look for each
//! such collection, after a start and after rules were set, says whether any of its records has to wake.

use super::{
    Fineness, Kind, Pass, ROWS,
    index::{Stood, When, begin_of, hour_of, stood},
    looked_for_again,
    next::Moments,
};
use crate::{
    domain::{CollectionNo, TenantNo, Timestamp, Version},
    vault::{
        crypto::Token,
        ops::{Vault, VaultError, directory::Collection, plan::Plan, retention::RulesNo, rows::State, shorten::Came, shredder::is_its_own},
        store::{
            Check, Durability, Expect, Row, Space, Write,
            schema::{self, Lies, Table},
        },
    },
};

/// Rows of one pass.
const PASS: usize = 2_048;
/// Rows of one commit.
const BATCH: usize = 256;

impl Collection {
    /// Whether none of its rules, nor a law that it has had, could give an end to what has none.
    pub(super) fn ends_nothing(&self) -> bool {
        !self.has_law && self.policy.retention.schedule().is_none()
    }

    /// When others took the place of those of its rules before which there were so many, if any did.
    fn changed_since(&self, rules: u32) -> Option<Timestamp> {
        let was = self.past.retention_was.get(usize::try_from(rules).ok()?);
        was.map(|(changed, ..)| Timestamp(*changed))
    }
}

/// The hour in which it is looked for first what has no end from `since` on.
pub(super) fn looked_for_first(since: Timestamp) -> u32 {
    hour_of(looked_for_again(since, since))
}

/// The first one that begins behind a moment, of those in which it would have been looked for.
pub(super) fn looked_for_behind(since: Timestamp, moment: Timestamp) -> u32 {
    let mut hour = looked_for_first(since);
    while begin_of(hour) <= moment && hour < u32::MAX {
        hour = hour_of(looked_for_again(begin_of(hour), since)).max(hour.saturating_add(1));
    }
    hour
}

impl Vault {
    /// Writes down that a version of a record has had no end since `since` and sleeps. `false`, and nothing is planned, while others of its
    /// collection sleep under other rules.
    pub(super) async fn plan_asleep(
        &self,
        plan: &mut Plan,
        of: (TenantNo, CollectionNo, &[Token]),
        (version, rules): (Version, RulesNo),
        since: Timestamp,
    ) -> Result<bool, VaultError> {
        let (tenant, collection, tokens) = of;
        let Ok(no) = u32::try_from(rules.0) else { return Ok(false) };
        let (key, slept) = (schema::asleep_of(tenant, collection), no.to_be_bytes());
        let known = self.inner.store.get(Space::Index, &key).await?;
        match known {
            Some(known) if known != slept[..] => return Ok(false),
            Some(known) => plan.check(Space::Index, key, Expect::Equals(known)),
            None => {
                plan.check(Space::Index, key.clone(), Expect::Absent);
                plan.put(Space::Index, key, slept.to_vec().into());
            }
        }
        let key = schema::due_asleep(tenant, collection, tokens);
        self.plan_row(plan, of, false, Some((version, key, When::Endless(since)))).await?;
        Ok(true)
    }

    /// A collection has rules where it had none: if anything of it sleeps, the next run wakes it.
    pub(in crate::vault::ops) async fn may_wake(&self, tenant: TenantNo, collection: CollectionNo) -> Result<(), VaultError> {
        if self.inner.store.get(Space::Index, &schema::asleep_of(tenant, collection)).await?.is_some() {
            self.inner.woken.wanted();
            self.is_due_at(self.inner.clock.now());
        }
        Ok(())
    }

    /// Wakes some of what sleeps under rules that its collection has no more. How far it came, and whether anything has woken.
    pub(super) async fn wake_some(&self) -> Result<(Came, bool), VaultError> {
        let Some(round) = self.inner.woken.begin().await else { return Ok((Came::Through, false)) };
        let mut left = PASS;
        let went = self.wake_pass(&mut left).await;
        if matches!(went, Ok(Came::Through)) {
            round.through();
        } else {
            drop(round);
        }
        if matches!(went, Ok(Came::Past | Came::Failed)) {
            self.is_due_at(self.inner.clock.now());
        }
        went.map(|came| (came, left < PASS))
    }

    async fn wake_pass(&self, left: &mut usize) -> Result<Came, VaultError> {
        let mut went = Came::Through;
        let mut range = schema::table(Table::AsleepOf);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let one = match self.wake_one(&row, left).await {
                    // An order is about to take it, or somebody was faster.
                    Err(VaultError::Busy | VaultError::Shredded { .. }) => Came::Past,
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(%error, "what sleeps in a collection cannot be woken for now");
                        Came::Failed
                    }
                    one => one?,
                };
                if one == Came::Part {
                    return Ok(one);
                }
                went = went.max(one);
            }
        }
        Ok(went)
    }

    /// What sleeps in one collection.
    async fn wake_one(&self, row: &Row, left: &mut usize) -> Result<Came, VaultError> {
        let (tenant, no, slept) = slept(row)?;
        let collection = self.collection_by_number(tenant, no).await?;
        match collection.state {
            State::Active => {}
            State::Shredded(_) => return Ok(Came::Through),
            State::Pending(_) | State::Frozen => return Ok(Came::Past),
        }
        let Some(changed) = collection.changed_since(slept) else { return Ok(Came::Through) };
        let mut range = schema::all_asleep(tenant, no);
        loop {
            let count = BATCH.min(*left);
            if count == 0 {
                return Ok(Came::Part);
            }
            let Some(rows) = self.some_rows_of(Space::Index, &mut range, count).await? else { break };
            *left = left.saturating_sub(rows.len());
            self.wake_batch(tenant, &rows, changed).await?;
        }
        // Who sleeps from now on does so under the rules of today.
        let (key, expect) = (row.key.clone(), Expect::Equals(row.value.clone()));
        let checks = vec![Check { space: Space::Index, key: key.clone(), expect }];
        let is_gone = self.data(vec![Write::Delete { space: Space::Index, key }], checks, Durability::Written).await?;
        Ok(if is_gone { Came::Through } else { Came::Past })
    }

    async fn wake_batch(&self, tenant: TenantNo, rows: &[Row], changed: Timestamp) -> Result<(), VaultError> {
        let store = self.inner.store_id;
        let open = |secret: &_| rows.iter().map(|row| stood(&store, secret, tenant, &row.key, &row.value)).collect();
        let stoods: Vec<Option<Stood>> = self.with_tenant(tenant, open).await?;
        let (space, mut checks, mut writes, mut moments) = (Space::Index, Vec::new(), Vec::new(), Moments::default());
        for (row, stood) in rows.iter().zip(stoods) {
            let Some(due) = schema::due_parts(&row.key).filter(|due| due.lies == Lies::Asleep) else { continue };
            let told = stood.and_then(|stood| Some((stood.version, stood.when?)));
            let hour = match told {
                Some((_, When::Endless(since))) => looked_for_behind(since, changed),
                // At once.
                Some((_, When::Ends(_) | When::Marks(..))) | None => due.hour,
            };
            let key = schema::due(Fineness::Hour, hour, tenant, due.collection, &due.record);
            let value = match told {
                Some(told) => self.row_value(tenant, &key, told).await?,
                // It opens nowhere, and has its record looked at.
                None => row.value.clone(),
            };
            let leads = schema::due_of(tenant, due.collection, &due.record);
            let known = self.inner.store.get(space, &leads).await?;
            if let Some(known) = known.filter(|known| schema::due_led_to(&leads, known).is_some_and(|led_to| led_to == row.key)) {
                checks.push(Check { space, key: leads.clone(), expect: Expect::Equals(known) });
                writes.push(Write::Put { space, key: leads, value: schema::due_lead(&key) });
            }
            checks.push(Check { space, key: row.key.clone(), expect: Expect::Equals(row.value.clone()) });
            writes.push(Write::Delete { space, key: row.key.clone() });
            writes.push(Write::Put { space, key, value });
            moments.at(Fineness::Hour, begin_of(hour));
        }
        let is_done = self.data(writes, checks, Durability::Written).await?;
        self.inner.next_due.at(&moments);
        if is_done { Ok(()) } else { Err(VaultError::Busy) }
    }

    /// Goes through what sleeps in older data under rules that its collection has no more, as far as the pass may: it ends as it would have,
    /// had it been looked for all the while.
    pub(super) async fn destroy_of_asleep(&self, pass: &mut Pass) -> Result<(), VaultError> {
        let mut collections = schema::table(Table::AsleepOf);
        while let Some(of) = self.some_rows(Space::Index, &mut collections).await? {
            for row in of {
                let (tenant, no, slept) = slept(&row)?;
                let mut range = schema::all_asleep(tenant, no);
                // One that an order is about to shred, too: that may be taken back.
                let collection = match self.collection_unmarked(tenant, no).await {
                    Err(error) if is_its_own(&error) => continue,
                    collection => collection?,
                };
                if collection.changed_since(slept).is_none() || pass.walk.after >= range.to {
                    continue;
                }
                range.from = range.from.max(schema::successor(&pass.walk.after));
                while let Some(rows) = self.some_rows_of(Space::Index, &mut range, ROWS).await? {
                    self.destroy_of_each(pass, Kind::Rows(Fineness::Hour), &rows).await?;
                    if pass.done.more {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whose records sleep, and how many rules the collection had before those under which they do.
fn slept(row: &Row) -> Result<(TenantNo, CollectionNo, u32), VaultError> {
    let of = schema::asleep_of_parts(&row.key).zip(row.value.first_chunk().filter(|_| row.value.len() == 4));
    let ((tenant, no), slept) = of.ok_or_else(|| VaultError::Internal("row of what sleeps".into()))?;
    Ok((tenant, no, u32::from_be_bytes(*slept)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slept_is_looked_for_when_it_would_have_been() {
        let hour = 10_000;
        let since = begin_of(hour - 24);
        assert_eq!(looked_for_first(since), hour);
        // After a day, two, four and so on, and then every 32 days.
        for (moment, looked_for) in [
            (hour - 1, hour),
            (hour, hour + 24),
            (hour + 24, hour + 72),
            (hour + 71, hour + 72),
            (hour + 72, hour + 168),
            (hour + 168 + 192, hour + 168 + 192 + 384),
            (hour + 744, hour + 744 + 768),
            (hour + 744 + 768, hour + 744 + 2 * 768),
        ] {
            assert_eq!(looked_for_behind(since, begin_of(moment)), looked_for, "behind {}", moment - hour);
        }
    }
}
