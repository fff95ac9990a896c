//! Destroying what is due. A record that ends some day has a row in the index under that day, written and removed in the commits of
//! the record itself; a run reads the rows of the days that have begun and nothing else.
//!
//! The row is only the way to a record and is not believed: the record says itself when it ends, under the rules of today. So an end
//! that a shortened rule would bring forward comes on the day that was written down, one that a longer rule puts off is written down
//! anew when its day comes, and a row that somebody planted destroys nothing. It names the record's version: that of an earlier one
//! leads to nothing.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    Caller, Precondition, Vault, VaultError,
    directory::{Collection, Tenant, damaged},
    plan::{Actor, Plan, entry, record_row, retrying, unchanged, unit_of},
    refused::Place,
    retention::facts,
    rows::State,
    shredder::is_its_own,
};
use crate::{
    authn::Role,
    authz::RetentionRun,
    domain::{CollectionNo, CollectionPolicy, PrincipalId, RecordMeta, Retention, TenantNo, Timestamp, Version, limits},
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed, Token},
        store::{Expect, Row, Space, Urgency, schema},
    },
};

/// Rows of one commit.
const BATCH: usize = 64;
const DAY_MS: i64 = 86_400_000;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Rows of the index that were read.
    pub looked_at: u64,
    /// Records whose time was over.
    pub destroyed: u64,
    /// Records that now end on another day.
    pub moved: u64,
    /// Rows that led to nothing any more.
    pub dropped: u64,
    /// Records that could not be read, or not be destroyed by themselves; they are tried again.
    pub failed: u64,
    /// Whether the run ended at its limit with more to do.
    pub more: bool,
}

/// When the next run of the store's own has something to do. What is due at once when it is written is told after its commit, so a
/// run that began before does not miss it.
pub(super) struct Next(Mutex<Timestamp>);

impl Default for Next {
    fn default() -> Self {
        Self(Mutex::new(Timestamp(i64::MIN)))
    }
}

impl Next {
    fn lock(&self) -> MutexGuard<'_, Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something at `at`, at the latest.
    pub(super) fn at(&self, at: Timestamp) {
        let mut next = self.lock();
        *next = (*next).min(at);
    }

    /// Whether it is time; if so, whatever is not told again from here on is looked after by the caller.
    fn take(&self, now: Timestamp) -> bool {
        let mut next = self.lock();
        let is_time = *next <= now;
        if is_time {
            *next = Timestamp(i64::MAX);
        }
        is_time
    }
}

/// When a record ends, by its own end and its collection's rules; `None` if nothing ends it, or it is not known yet.
pub(super) fn end_of(policy: &CollectionPolicy, meta: &RecordMeta, value: Option<&[u8]>) -> Option<Timestamp> {
    end_under(&policy.retention, meta, value)
}

/// When a record of older data ends, that is found under `day`: as it would have, had it stayed in the store. So rules that were
/// made longer, or taken away, after it was over bring it back as little as they kept it.
fn end_as_it_went(
    (was, is): (&[(i64, Retention)], &Retention),
    day: u32,
    end: impl Fn(&Retention) -> Option<Timestamp>,
) -> Option<Timestamp> {
    // The first moment at which a run looked at it, and was told when it ends by the rules of that moment.
    let mut at = i64::from(day).saturating_mul(DAY_MS);
    for (until, retention) in was.iter().map(|(until, retention)| (*until, retention)).chain([(i64::MAX, is)]) {
        // At the very moment of a change, those before it count: it may have been destroyed under them.
        if until < at {
            continue;
        }
        let end = end(retention)?;
        if end.0 <= at.max(until) {
            return Some(Timestamp(end.0.max(at)));
        }
        // Other rules came first: it was looked at under them on the day that these had written down, or was waiting already.
        at = i64::from(day_of(end)).saturating_mul(DAY_MS).max(until);
    }
    None
}

fn end_under(retention: &Retention, meta: &RecordMeta, value: Option<&[u8]>) -> Option<Timestamp> {
    match retention.schedule() {
        None => meta.expires_at,
        Some(schedule) => schedule.outlook(&facts(meta, value)).end.map(|end| end.at),
    }
}

/// The day of the index, in UTC since 1970, that a moment lies in.
fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.0.max(0).checked_div(DAY_MS).unwrap_or(0)).unwrap_or(u32::MAX)
}

/// What becomes of a row of the index.
enum Fate {
    /// It stays: not yet, or its record is about to be shredded.
    Waits(Option<Timestamp>),
    /// It led to nothing.
    Dropped,
    /// Its record ends on another day.
    Moved,
    /// Its record is destroyed.
    Destroyed,
}

impl Vault {
    /// Writes down on which day a version of a record ends, in the commit of the record, and takes back what the rules of today would
    /// have written before. What other rules have written stays, and is told by its version.
    pub(super) fn plan_due(
        plan: &mut Plan,
        (tenant, collection, tokens): (TenantNo, CollectionNo, &[Token]),
        before: Option<Timestamp>,
        (version, after): (Version, Option<Timestamp>),
    ) {
        let row = |end| schema::due(day_of(end), tenant, collection, tokens);
        let (before, after_row) = (before.map(row), after.map(row));
        if let Some(row) = before.filter(|row| after_row.as_ref() != Some(row)) {
            plan.delete(Space::Index, row);
        }
        if let Some(row) = after_row {
            plan.put(Space::Index, row, version.to_be_bytes().to_vec().into());
        }
        plan.first_due = [plan.first_due, after].into_iter().flatten().min();
    }

    /// Destroys what was due by `until`, at most `limit` records, for who may: the operator, or a job of the store.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`]; [`VaultError::Limit`]; those of the store: what was done so far stays done.
    pub async fn run_retention(&self, caller: &Caller, until: Option<Timestamp>, limit: u64) -> Result<Destroyed, VaultError> {
        let caller = &caller.begin();
        let (vault, asker) = (self.clone(), caller.clone());
        let run = self.to_the_end(async move {
            let system = vault.permit_system::<RetentionRun>(&asker).await?;
            if limit > limits::RETENTION_RUN.max {
                return Err(VaultError::Limit(limits::RETENTION_RUN));
            }
            let now = vault.inner.clock.now();
            let actor = Actor { role: Role::Job, ..Actor::from(&asker) };
            let done = vault.destroy_due(actor, until.map_or(now, |until| until.min(now)), limit).await?;
            let target = Target { count: Some(u32::try_from(done.destroyed).unwrap_or(u32::MAX)), ..Target::default() };
            vault.read_receipt(&system, entry(&asker, &system, Action::RetentionRun, CollectionNo::TENANT, target)).await?;
            Ok(done)
        });
        self.on_record(caller, Place::STORE, Action::RetentionRun, run).await
    }

    /// The same for the store itself, which looks only when something may be due.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done, and the next run goes on.
    pub async fn run_retention_if_due(&self, now: Timestamp, limit: u64) -> Result<Destroyed, VaultError> {
        if !self.inner.next_due.take(now) {
            return Ok(Destroyed::default());
        }
        let actor = Actor { principal: PrincipalId([0; 16]), role: Role::Job, request: Self::make_request_id() };
        let done = self.destroy_due(actor, now, limit).await;
        if !done.as_ref().is_ok_and(|done| !done.more) {
            self.inner.next_due.at(now);
        }
        done
    }

    pub(super) async fn destroy_due(&self, actor: Actor, until: Timestamp, limit: u64) -> Result<Destroyed, VaultError> {
        let mut done = Destroyed::default();
        let today = day_of(until);
        let mut range = schema::due_until(today);
        // Of what is due later today, and at the latest when the day is over.
        let mut next = Timestamp(i64::from(today).saturating_add(1).saturating_mul(DAY_MS));
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, BATCH).await? {
            for rows in rows.chunk_by(|one, other| tenant_of(one) == tenant_of(other)) {
                let mut rest = rows;
                while !rest.is_empty() {
                    let left = usize::try_from(limit.saturating_sub(done.destroyed)).unwrap_or(usize::MAX);
                    if left == 0 {
                        done.more = true;
                        return Ok(done);
                    }
                    let (some, others) = rest.split_at(left.min(rest.len()));
                    self.destroy_some(actor, some, until, &mut done, &mut next).await?;
                    rest = others;
                }
            }
        }
        self.inner.next_due.at(next);
        Ok(done)
    }

    /// Rows of one tenant in one commit; where one of them fails by itself, each in its own.
    async fn destroy_some(
        &self,
        actor: Actor,
        rows: &[Row],
        until: Timestamp,
        done: &mut Destroyed,
        next: &mut Timestamp,
    ) -> Result<(), VaultError> {
        done.looked_at = done.looked_at.saturating_add(rows.len() as u64);
        match retrying(|| self.destroy_once(actor, rows, until)).await {
            Ok(fates) => fates.into_iter().for_each(|fate| fate.count(done, next)),
            Err(error) if !is_its_own(&error) => return Err(error),
            Err(_) => {
                for row in rows {
                    match retrying(|| self.destroy_once(actor, std::slice::from_ref(row), until)).await {
                        Ok(fates) => fates.into_iter().for_each(|fate| fate.count(done, next)),
                        Err(error) if is_its_own(&error) => {
                            done.failed = done.failed.saturating_add(1);
                            metrics::counter!("lethe_retention_failures_total").increment(1);
                            tracing::error!(%error, "a record that is due, or its index row, cannot be read; it stays for now");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    async fn destroy_once(&self, actor: Actor, rows: &[Row], until: Timestamp) -> Result<Vec<Fate>, VaultError> {
        let Some(no) = rows.first().and_then(tenant_of) else { return Err(VaultError::Internal("due row".into())) };
        let tenant = self.tenant_by_number(no).await?;
        let mut plan = Plan::default();
        let mut fates = Vec::with_capacity(rows.len());
        let mut met = HashSet::new();
        for row in rows {
            let (day, _, collection, tokens) = schema::due_parts(&row.key).ok_or_else(|| VaultError::Internal("due row".into()))?;
            // As it is now: a writer may have written the same day down for a newer version.
            let Some(value) = self.inner.store.get(Space::Index, &row.key).await? else {
                fates.push(Fate::Waits(None));
                continue;
            };
            let version = Version(value[..].try_into().map(u64::from_be_bytes).map_err(|_| VaultError::Internal("due row".into()))?);
            let fate = match tenant.state {
                State::Shredded(_) => Fate::Dropped,
                State::Pending(_) | State::Frozen => Fate::Waits(None),
                // Planted, or from before a row was moved: it is destroyed once.
                State::Active if !met.insert((collection, tokens.clone(), version)) => Fate::Dropped,
                State::Active => self.plan_fate(&mut plan, actor, &tenant, (collection, &tokens, version), (day, until)).await?,
            };
            if !matches!(fate, Fate::Waits(_)) {
                plan.check(Space::Index, row.key.clone(), Expect::Equals(value));
                if !plan.puts(Space::Index, &row.key) {
                    plan.delete(Space::Index, row.key.clone());
                }
            }
            fates.push(fate);
        }
        let is_fruitless = fates.iter().all(|fate| matches!(fate, Fate::Waits(_)));
        if !is_fruitless {
            self.commit_plan(plan, Urgency::Essential).await?;
            let destroyed = fates.iter().filter(|fate| matches!(fate, Fate::Destroyed)).count();
            metrics::counter!("lethe_retention_destroyed_total").increment(destroyed as u64);
        }
        Ok(fates)
    }

    /// What becomes of a record that is said to be due, by what it says itself.
    async fn plan_fate(
        &self,
        plan: &mut Plan,
        actor: Actor,
        tenant: &Tenant,
        (no, tokens, version): (CollectionNo, &[Token], Version),
        (day, until): (u32, Timestamp),
    ) -> Result<Fate, VaultError> {
        let collection = match self.collection_by_number(tenant.no, no).await {
            Ok(collection) => match collection.state {
                State::Active => collection,
                State::Shredded(_) => return Ok(Fate::Dropped),
                State::Pending(_) | State::Frozen => return Ok(Fate::Waits(None)),
            },
            Err(VaultError::Shredded { .. }) => return Ok(Fate::Waits(None)),
            Err(error) => return Err(error),
        };
        let row = record_row(tenant, no, tokens);
        let Some(stored) = self.inner.store.get(Space::Records, &row).await? else {
            plan.check(Space::Records, row, Expect::Absent);
            return Ok(Fate::Dropped);
        };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        if header.is_tombstone() || header.version != version {
            // Shredded, or written again since, with a row of its own.
            plan.check(Space::Records, row, unchanged(&header));
            return Ok(Fate::Dropped);
        }
        let Some(end) = self.opened_end(tenant, &collection, (tokens, day), &header, stored).await? else { return Ok(Fate::Waits(None)) };
        match end {
            Some(end) if end <= until => {
                plan.check(Space::Records, row, unchanged(&header));
                let deleted = self.plan_delete(plan, actor, tenant, &collection, tokens, &Precondition::None, None).await?;
                if deleted.is_some() {
                    self.inner.shredder.deferred.store(true, Ordering::Release);
                }
                Ok(Fate::Destroyed)
            }
            Some(end) if day_of(end) <= day_of(until) => Ok(Fate::Waits(Some(end))),
            moved => {
                plan.hold(tenant, &collection)?;
                plan.check(Space::Records, row, unchanged(&header));
                Self::plan_due(plan, (tenant.no, no, tokens), None, (version, moved));
                Ok(if moved.is_some() { Fate::Moved } else { Fate::Dropped })
            }
        }
    }

    /// When a record ends, found under a day, by what it says itself; `None` where a shred is to take it, or has taken its key.
    async fn opened_end(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        (tokens, day): (&[Token], u32),
        header: &RecordHeader,
        stored: Bytes,
    ) -> Result<Option<Option<Timestamp>>, VaultError> {
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, header);
        let unit = unit_of(header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(opened) => opened.map_err(damaged)?,
            Err(VaultError::Shredded { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if self.leaving(tenant, collection, &opened.meta.subjects).await?.is_some() {
            return Ok(None);
        }
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let end = |retention: &Retention| end_under(retention, &opened.meta, value);
        Ok(Some(if self.is_restoring() {
            end_as_it_went((&collection.past.retention_was, &collection.policy.retention), day, end)
        } else {
            end(&collection.policy.retention)
        }))
    }
}

impl Fate {
    fn count(self, done: &mut Destroyed, next: &mut Timestamp) {
        let counter = match self {
            Self::Waits(at) => {
                *next = (*next).min(at.unwrap_or(*next));
                return;
            }
            Self::Dropped => &mut done.dropped,
            Self::Moved => &mut done.moved,
            Self::Destroyed => &mut done.destroyed,
        };
        *counter = counter.saturating_add(1);
    }
}

fn tenant_of(row: &Row) -> Option<TenantNo> {
    schema::due_parts(&row.key).map(|(_, tenant, ..)| tenant)
}
