//! Reports of what runs of retention did in a tenant: one for each run and day, counted in the commits that do it, so that a process which
//! is killed in between counts nothing twice and forgets nothing. What the server's own passes of a day do is counted together.
//!
//! While its day lasts a report stands in the data store, beside what it counts. Once that is over it is closed there, copied to the control
//! store, and gone from the data store, in this order: what is in the control store is complete, and stands whatever data is put back later.
//! Older data that has the report once more, with fewer counts, is told from it by that. What older data is destroyed of again is counted
//! in a report of its own ([`Cause::Restore`]), and in no other.
//!
//! The counts are sealed under the tenant, and go with it. No record is named, and no person; the orders to shred that go with what was
//! destroyed are found by the report ([`schema::Table::ReportShred`]), from their own commits on.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;

use super::{
    Caller, Missing, Vault, VaultError,
    access::InTenant,
    directory::{Tenant, damaged},
    plan::{Actor, Plan, entry, object, retrying},
    refused::Place,
    rows::{ReportRow, State},
    shredder::is_its_own,
};
use crate::{
    authz::RetentionReport,
    domain::{
        CollectionNo, PrincipalId, ReportId, ShredId, TenantName, TenantNo, Timestamp,
        retention::report::{By, Cause, Counted, How, Report},
    },
    vault::{
        audit::{Action, Target, Trail},
        crypto::{Context, Plaintext, ReportMeta, Sealed, hash::sha256},
        store::{
            Check, Commit, Durability, Expect, Row, Space, Urgency, Write,
            schema::{self, KeyRange, Table},
        },
    },
};

/// How long reports are kept: five years, in days.
const KEPT_DAYS: u32 = 1_827;
const DAY: Duration = Duration::from_hours(24);
/// Reports of one run that a clock may close on one day by going back and forth.
const ATTEMPTS: u32 = 64;
/// Certificates that one answer lists at most.
const LISTED: usize = 1_000;
/// Rows that are removed in one commit, and read at once.
const ROWS: usize = 256;

/// A run of retention, as its reports name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Its id; of the server's own passes all zeros.
    pub(super) id: [u8; 16],
    pub(super) cause: Cause,
}

impl Run {
    /// The server's own passes.
    pub(super) const SERVER: Self = Self { id: [0; 16], cause: Cause::Server };

    /// Its report of a day; that of a later attempt, where the earlier ones are closed.
    fn report(&self, day: u32, attempt: u32) -> ReportId {
        let own: [u8; 12] = match attempt {
            0 => self.id.first_chunk().copied().unwrap_or_default(),
            _ => sha256(&[&self.id, &attempt.to_be_bytes()]).first_chunk().copied().unwrap_or_default(),
        };
        ReportId::of(day, &own)
    }
}

/// A report that is counted in.
pub(super) struct Counting {
    pub(super) id: ReportId,
    /// That it is as it was read.
    checks: Vec<Check>,
    report: Report,
}

/// A report, as who may know of it sees it.
#[derive(Debug, Clone)]
pub struct ReportView {
    /// Its id.
    pub id: ReportId,
    /// Whether its day is over: nothing is counted in it any more.
    pub is_final: bool,
    /// What it counts.
    pub report: Report,
    /// The name of each line's collection, a pseudonym once it is shredded; `None` in the lines of what found no place.
    pub collections: Vec<Option<String>>,
    /// Orders to shred that go with what it counts: also the ids of their certificates. None in a list.
    pub certificates: Vec<ShredId>,
    /// Whether there are more of them.
    pub more_certificates: bool,
}

/// The day of a moment, since 1970.
fn day_of(at: Timestamp) -> u32 {
    let day = at.0.max(0).checked_div(i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX)).unwrap_or(0);
    u32::try_from(day).unwrap_or(u32::MAX)
}

/// The first moment of a day.
fn begin_of(day: u32) -> Timestamp {
    Timestamp(0).plus(DAY.saturating_mul(day))
}

impl Vault {
    /// The report that a run counts in now: as far as it has come, or a new one. One that does not open holds up no destruction: the
    /// run counts in another.
    pub(super) async fn report_of(&self, tenant: &Tenant, actor: Actor, run: Run) -> Result<Counting, VaultError> {
        let now = self.inner.clock.now();
        for attempt in 0..ATTEMPTS {
            let id = run.report(day_of(now), attempt);
            let key = schema::open_report(tenant.no, id);
            let Some(stored) = self.inner.store.get(Space::Index, &key).await? else {
                let closed = schema::retention_report(tenant.no, id);
                if self.inner.store.get(Space::Control, &closed).await?.is_some() {
                    continue;
                }
                // Nor is it closed in between.
                let checks = [(Space::Index, key), (Space::Control, closed)];
                let checks = checks.map(|(space, key)| Check { space, key, expect: Expect::Absent }).into();
                return Ok(Counting { id, checks, report: begun(actor, run, now) });
            };
            match self.opened_report(tenant.no, id, &key, &stored).await {
                Ok((true, _)) => {}
                Ok((false, report)) => {
                    return Ok(Counting { id, checks: vec![Check { space: Space::Index, key, expect: Expect::Equals(stored) }], report });
                }
                Err(VaultError::Internal(_)) => {
                    tracing::error!(tenant = tenant.no.0, %id, "a report of retention cannot be read; another is begun");
                }
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::Internal("a run has closed all its reports of a day".into()))
    }

    /// Counts what a plan does, in its own commit.
    pub(super) async fn plan_report(
        &self,
        plan: &mut Plan,
        tenant: TenantNo,
        counting: Counting,
        until: Timestamp,
        counts: &[(CollectionNo, By, How, Counted)],
    ) -> Result<(), VaultError> {
        let Counting { id, checks, mut report } = counting;
        report.at_work(self.inner.clock.now(), until);
        for (collection, by, how, what) in counts {
            report.count(*collection, by, *how, *what);
        }
        for Check { space, key, expect } in checks {
            plan.check(space, key, expect);
        }
        let key = schema::open_report(tenant, id);
        let row = self.sealed_report(tenant, id, &key, &report).await?;
        plan.put(Space::Index, key, row);
        // It is closed when its day is over, whether or not anything is due by then.
        self.is_due_at(begin_of(id.day().saturating_add(1)));
        Ok(())
    }

    /// Counts what failed. Nothing hangs on it: what cannot be counted is logged as ever.
    pub(super) async fn report_failures(&self, tenant: TenantNo, actor: Actor, run: Run, until: Timestamp, failures: u64) {
        let counted = retrying(|| async {
            let found = if self.is_restoring() { self.tenant_unmarked(tenant).await? } else { self.tenant_by_number(tenant).await? };
            if found.state != State::Active {
                return Ok(());
            }
            let mut counting = self.report_of(&found, actor, run).await?;
            counting.report.failed = counting.report.failed.saturating_add(failures);
            let mut plan = Plan::decided();
            self.plan_report(&mut plan, tenant, counting, until, &[]).await?;
            self.commit_plan(plan, Urgency::Essential).await.map(drop)
        });
        if let Err(error) = counted.await {
            tracing::warn!(tenant = tenant.0, %error, "what a run of retention failed at is in no report");
        }
    }

    /// The report of a run, which is there when this returns: for an order to shred that goes with what it counts, or counted before.
    pub(super) async fn report_at_work(&self, tenant: &Tenant, actor: Actor, run: Run) -> Result<ReportId, VaultError> {
        let counting = self.report_of(tenant, actor, run).await?;
        let (id, mut plan) = (counting.id, Plan::decided());
        self.plan_report(&mut plan, tenant.no, counting, self.inner.clock.now(), &[]).await?;
        self.commit_plan(plan, Urgency::Essential).await?;
        Ok(id)
    }

    async fn sealed_report(&self, tenant: TenantNo, id: ReportId, key: &[u8], report: &Report) -> Result<Bytes, VaultError> {
        let plain = serde_json::to_vec(report).map_err(|_| VaultError::Internal("report".into()))?;
        let (context, plain) = (self.report_context(tenant, id), Plaintext::<ReportMeta>::new(plain));
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        Ok(self.inner.seals.seal(key, &ReportRow { closed: false, sealed: sealed.into_row().to_vec() })?)
    }

    /// What stands in the row of a report, of either store, and whether it is closed.
    async fn opened_report(&self, tenant: TenantNo, id: ReportId, key: &[u8], stored: &[u8]) -> Result<(bool, Report), VaultError> {
        let ReportRow { closed, sealed } = self.inner.seals.open(key, stored)?;
        let sealed = Sealed::<ReportMeta>::from_row(sealed.into()).map_err(damaged)?;
        let context = self.report_context(tenant, id);
        let plain = self.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
        let report = serde_json::from_slice(plain.expose()).map_err(|_| VaultError::Internal("stored report".into()))?;
        Ok((closed, report))
    }

    fn report_context(&self, tenant: TenantNo, id: ReportId) -> Context<ReportMeta> {
        Context::<ReportMeta>::of(&self.inner.store_id, tenant, &[&id.0])
    }

    /// Closes the reports of days that are over, and removes those whose time is. Costs nothing until the next day once all are closed; of
    /// older data that is made ready they are closed once it is in its place.
    pub(super) async fn close_reports(&self) -> Result<(), VaultError> {
        let today = day_of(self.inner.clock.now());
        if self.is_restoring() || self.inner.reports_closed.swap(today, Ordering::AcqRel) == today {
            return Ok(());
        }
        let closed = self.close_all_before(today).await;
        if !matches!(closed, Ok(true)) {
            self.inner.reports_closed.store(u32::MAX, Ordering::Release);
        }
        closed.map(drop)
    }

    /// Whether all could be closed.
    async fn close_all_before(&self, today: u32) -> Result<bool, VaultError> {
        let (mut range, mut are_closed) = (schema::table(Table::OpenReport), true);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, ROWS).await? {
            for row in rows {
                let Some((tenant, id)) = schema::report_parts(&row.key) else { continue };
                if id.day() >= today {
                    self.is_due_at(begin_of(id.day().saturating_add(1)));
                    continue;
                }
                match retrying(|| self.close_report(tenant, id)).await {
                    Ok(()) => {}
                    Err(VaultError::Busy) => are_closed = false,
                    Err(error) if is_its_own(&error) => {
                        // Bent: it stays where it is, and is told of again tomorrow.
                        tracing::error!(tenant = tenant.0, %id, %error, "a report of retention cannot be closed");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.drop_reports_before(today.saturating_sub(KEPT_DAYS)).await?;
        Ok(are_closed)
    }

    /// Closes one, step by step: what was killed in between goes on where it was.
    async fn close_report(&self, tenant: TenantNo, id: ReportId) -> Result<(), VaultError> {
        let (key, closed) = (schema::open_report(tenant, id), schema::retention_report(tenant, id));
        let Some(mut stored) = self.inner.store.get(Space::Index, &key).await? else { return Ok(()) };
        let unless = |is_done: bool| if is_done { Ok(()) } else { Err(VaultError::Busy) };
        if self.inner.store.get(Space::Control, &closed).await?.is_none() {
            let row: ReportRow = self.inner.seals.open(&key, &stored)?;
            let row = ReportRow { closed: true, ..row };
            let unmoved = vec![Check { space: Space::Index, key: key.clone(), expect: Expect::Equals(stored) }];
            stored = self.inner.seals.seal(&key, &row)?;
            let put = vec![Write::Put { space: Space::Index, key: key.clone(), value: stored.clone() }];
            unless(self.data(put, unmoved, Durability::Synced).await?)?;
            // From here on nothing is counted in it.
            let checks = vec![Check { space: Space::Control, key: closed.clone(), expect: Expect::Absent }];
            let writes = vec![self.inner.seals.put(closed, &row)?];
            let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
            self.commit(Trail::Control, commit, Vec::new()).await?;
        }
        let unmoved = vec![Check { space: Space::Index, key: key.clone(), expect: Expect::Equals(stored) }];
        unless(self.data(vec![Write::Delete { space: Space::Index, key }], unmoved, Durability::Written).await?)
    }

    /// Removes the reports of days before one, with what leads from them to orders.
    async fn drop_reports_before(&self, day: u32) -> Result<(), VaultError> {
        let mut range = schema::table(Table::RetentionReport);
        // Those of a tenant lie in the order of their days: one look for each, and one for each that goes.
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, 1).await? {
            let Some((tenant, id)) = rows.first().and_then(|row| schema::report_parts(&row.key)) else { continue };
            if id.day() >= day {
                self.is_due_at(begin_of(id.day().saturating_add(KEPT_DAYS).saturating_add(1)));
                range.from = schema::table_of_tenant(Table::RetentionReport, tenant).to;
                continue;
            }
            let mut shreds = schema::shreds_of_report(tenant, id);
            while let Some(some) = self.some_rows_of(Space::Control, &mut shreds, ROWS).await? {
                self.drop_of_control(some.into_iter().map(|row| row.key)).await?;
            }
            self.drop_of_control(rows.into_iter().map(|row| row.key)).await?;
        }
        Ok(())
    }

    async fn drop_of_control(&self, keys: impl Iterator<Item = Bytes> + Send) -> Result<(), VaultError> {
        let writes = keys.map(|key| Write::Delete { space: Space::Control, key }).collect();
        let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await.map(drop)
    }

    /// One report, with the certificates that go with it, the first ones of many.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn retention_report(&self, caller: &Caller, tenant: &TenantName, id: ReportId) -> Result<ReportView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let InTenant { tenant, .. } = self.in_tenant::<RetentionReport>(caller, tenant).await?;
            let (open, closed) = (schema::open_report(tenant.no, id), schema::retention_report(tenant.no, id));
            // In this order: what moves meanwhile is met in one of them.
            let counted = self.inner.store.get(Space::Index, &open).await?;
            let (key, stored) = match (self.inner.store.get(Space::Control, &closed).await?, counted) {
                (Some(stored), _) => (closed, stored),
                (None, Some(stored)) => (open, stored),
                (None, None) => return Err(VaultError::NotFound(Missing::Report)),
            };
            let mut names = HashMap::new();
            let mut view = self.report_view(&tenant, id, (&key, &stored), &mut names).await?;
            let range = schema::shreds_of_report(tenant.no, id);
            let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, LISTED.saturating_add(1)).await?;
            view.more_certificates = rows.len() > LISTED;
            view.certificates =
                rows.iter().take(LISTED).filter_map(|row| row.key.last_chunk::<16>()).map(|order| ShredId(*order)).collect();
            let read = entry(caller, &tenant, Action::RetentionReport, CollectionNo::TENANT, object(id.0));
            self.read_receipt(&tenant, read).await?;
            Ok(view)
        };
        self.on_record(caller, Place::tenant(tenant), Action::RetentionReport, read).await
    }

    /// The reports of a tenant, in the order of their days, those of today last: at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`super::Unprocessable::Cursor`].
    pub async fn retention_reports(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ReportView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::RetentionReport, self.reports_page(caller, tenant, cursor, limit)).await
    }

    async fn reports_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ReportView>, Option<String>), VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<RetentionReport>(caller, tenant).await?;
        let closed = schema::table_of_tenant(Table::RetentionReport, tenant.no);
        let open = schema::table_of_tenant(Table::OpenReport, tenant.no);
        // The tables lie in this order, too: a cursor tells which it is in.
        let whole = KeyRange { from: closed.from.clone(), to: open.to.clone() };
        let from = self.begin_page(tenant.no, "reports", &whole, cursor).await?;
        // In this order: what moves meanwhile is met in one of them, or in both.
        let open = self.reports_in(Space::Index, &from, open, limit).await?;
        let mut rows = self.reports_in(Space::Control, &from, closed, limit).await?;
        if rows.len() <= limit {
            for (id, row) in open {
                if self.inner.store.get(Space::Control, &schema::retention_report(tenant.no, id)).await?.is_none() {
                    rows.push((id, row));
                }
            }
        }
        let is_more = rows.len() > limit;
        rows.truncate(limit);
        let (mut views, mut names) = (Vec::with_capacity(rows.len()), HashMap::new());
        for (id, row) in &rows {
            views.push(self.report_view(&tenant, *id, (&row.key, &row.value), &mut names).await?);
        }
        let last = rows.last().map(|(_, row)| row.key.clone()).filter(|_| is_more);
        let next = self.end_page(tenant.no, "reports", &whole, last).await?;
        let read = entry(caller, &tenant, Action::RetentionReport, CollectionNo::TENANT, Target::default());
        self.read_receipt(&tenant, read).await?;
        Ok((views, next))
    }

    /// The reports of a part of a tenant's from a key on: one more than a page has, or all.
    async fn reports_in(&self, space: Space, from: &Bytes, part: KeyRange, limit: usize) -> Result<Vec<(ReportId, Row)>, VaultError> {
        let mut found = Vec::new();
        let mut rest = KeyRange { from: from.clone().max(part.from), to: part.to };
        while rest.from < rest.to
            && found.len() <= limit
            && let Some(rows) = self.some_rows_of(space, &mut rest, ROWS).await?
        {
            found.extend(rows.into_iter().filter_map(|row| Some((schema::report_parts(&row.key)?.1, row))));
        }
        Ok(found)
    }

    async fn report_view(
        &self,
        tenant: &Tenant,
        id: ReportId,
        (key, stored): (&[u8], &[u8]),
        names: &mut HashMap<u32, Option<String>>,
    ) -> Result<ReportView, VaultError> {
        let (is_final, report) = self.opened_report(tenant.no, id, key, stored).await?;
        let mut collections = Vec::with_capacity(report.lines.len());
        for line in &report.lines {
            let name = match names.get(&line.collection) {
                Some(known) => known.clone(),
                None => {
                    let name = match CollectionNo(line.collection) {
                        CollectionNo::TENANT => None,
                        no => Some(self.name_of(tenant, no).await?),
                    };
                    names.entry(line.collection).or_insert(name).clone()
                }
            };
            collections.push(name);
        }
        Ok(ReportView { id, is_final, report, collections, certificates: Vec::new(), more_certificates: false })
    }
}

/// A report in which nothing is counted so far.
fn begun(actor: Actor, run: Run, now: Timestamp) -> Report {
    let Actor { principal, request, .. } = actor;
    Report {
        cause: run.cause,
        run: hex::encode(run.id),
        request: request.to_string(),
        principal: (principal != PrincipalId([0; 16])).then(|| principal.to_string()),
        began_at: now.0,
        ended_at: now.0,
        until: i64::MIN,
        lines: Vec::new(),
        failed: 0,
        keys: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_report_for_each_day_and_another_where_that_is_closed() {
        let run = Run { id: [7; 16], cause: Cause::Asked };
        assert_eq!(run.report(3, 0), ReportId::of(3, &[7; 12]));
        assert_eq!(Run::SERVER.report(3, 0), ReportId::of(3, &[0; 12]));
        let mut all: Vec<ReportId> = (0..ATTEMPTS).flat_map(|attempt| [3, 4].map(|day| run.report(day, attempt))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 2 * ATTEMPTS as usize);
        assert!(all.iter().all(|id| [3, 4].contains(&id.day())));
    }

    #[test]
    fn days_begin_at_midnight_and_there_is_none_before_the_first() {
        for (at, day) in [(i64::MIN, 0), (-1, 0), (0, 0), (86_399_999, 0), (86_400_000, 1), (i64::MAX, u32::MAX)] {
            assert_eq!(day_of(Timestamp(at)), day, "{at}");
        }
        assert_eq!(begin_of(2), Timestamp(172_800_000));
        assert_eq!(day_of(begin_of(20_000)), 20_000);
    }
}
