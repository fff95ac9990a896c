//! What an order to shred remembers of a person's events. Their own rows go with the person; what a law keeps of the person counts from
//! some of them, and older data that is put back is told what the order knew. So the events that minimums count from are sealed once more,
//! under the tenant's metadata key, before the person's keys go; of who has no such event nothing is.

use std::collections::HashSet;

use super::encoded;
use crate::{
    domain::{ShredId, TenantNo, Timestamp, retention::Events},
    vault::{
        audit::Trail,
        crypto::{LeftEvents, Plaintext, Token},
        ops::{
            Vault, VaultError,
            directory::{Collection, Tenant},
            plan::Plan,
            restricted::Left,
            rows::LeftEventsRow,
        },
        store::{Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// Persons of one commit.
const BATCH: usize = 1_000;

impl Vault {
    /// Remembers what minimums count from of the persons of an order, as of its moment. Repeated behind a crash, when nothing opens what
    /// was reported any more, it leaves what it has remembered. A row that does not open keeps nobody from being forgotten.
    pub(in crate::vault::ops) async fn leave_events(
        &self,
        order: ShredId,
        tenant: &Tenant,
        subjects: &[Token],
        at: Timestamp,
    ) -> Result<(), VaultError> {
        if self.slots_of_events(tenant.no, subjects).await?.is_empty() {
            // All ids of a person are named, and the first of them has the row.
            return Ok(());
        }
        let (mut counted, mut writes) = (None, Vec::new());
        for subject in subjects {
            let events = match self.events_of(tenant.no, *subject).await {
                Ok(known) => known.events,
                Err(VaultError::Internal(_) | VaultError::Shredded { .. }) => Events::default(),
                Err(error) => return Err(error),
            };
            if events.reports().is_empty() {
                continue;
            }
            if counted.is_none() {
                counted = Some(self.counted_by_law(tenant).await?);
            }
            let events = events.only(|event| counted.as_ref().is_some_and(|counted: &HashSet<String>| counted.contains(event)));
            if events.reports().is_empty() {
                continue;
            }
            let row = self.left_row(tenant.no, (order, subject), &events, at).await?;
            writes.push(self.inner.seals.put(schema::left_events(tenant.no, order, subject), &row)?);
        }
        for some in writes.chunks(BATCH) {
            let commit = Commit {
                checks: Vec::new(),
                writes: some.to_vec(),
                tail: None,
                durability: Durability::Synced,
                urgency: Urgency::Essential,
            };
            self.commit(Trail::Control, commit, Vec::new()).await?;
        }
        Ok(())
    }

    async fn left_row(
        &self,
        tenant: TenantNo,
        (order, subject): (ShredId, &Token),
        events: &Events,
        otherwise: Timestamp,
    ) -> Result<LeftEventsRow, VaultError> {
        let plain = Plaintext::<LeftEvents>::new(encoded(events)?);
        let (context, suite) = (self.left_context(tenant, order, subject), self.inner.options.suite);
        let sealed = self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(LeftEventsRow { otherwise: otherwise.0, sealed: sealed.into_row().to_vec() })
    }

    /// Plans that what an order of another store remembered of a person is remembered here, where none of its records has told it before:
    /// that order has no row here which would tell when it was decided.
    pub(in crate::vault::ops) async fn plan_left_events(
        &self,
        plan: &mut Plan,
        tenant: TenantNo,
        subject: &Token,
        left: &Left,
    ) -> Result<(), VaultError> {
        let Some(otherwise) = left.events.otherwise() else { return Ok(()) };
        let key = schema::left_events(tenant, left.order, subject);
        if plan.opens(&key) || self.inner.store.get(Space::Control, &key).await?.is_some() {
            return Ok(());
        }
        let row = self.left_row(tenant, (left.order, subject), &left.events, otherwise).await?;
        plan.open(&self.inner.seals, key, Expect::Absent, &row)
    }

    /// What takes that back, with the order.
    pub(in crate::vault::ops) async fn no_left_events(&self, order: ShredId, tenant: TenantNo) -> Result<Vec<Write>, VaultError> {
        let range = schema::left_events_of(tenant, order);
        let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await?;
        Ok(rows.into_iter().map(|row| Write::Delete { space: Space::Control, key: row.key }).collect())
    }

    /// The events that minimums of a tenant count from, or ever did.
    async fn counted_by_law(&self, tenant: &Tenant) -> Result<HashSet<String>, VaultError> {
        let mut counted = HashSet::new();
        for no in self.collections_in(tenant.no).await? {
            match self.collection_by_number(tenant.no, no).await {
                Ok(collection) => counted.extend(by_law(&collection)),
                Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(counted)
    }
}

fn by_law(collection: &Collection) -> HashSet<String> {
    let rules = collection.schedules().flat_map(|schedule| &schedule.rules);
    rules.filter(|rule| rule.minimum.is_some()).filter_map(|rule| rule.from.reported()).map(str::to_owned).collect()
}
