//! Destroying what is due. A record that ends some day has a row in the index ([`index`]), written and removed in the commits of the
//! record itself; a run reads the rows of the hours that have begun, opens the records of those whose moment has come, and nothing else.
//!
//! The row is only the way to a record and is not believed: the record says itself when it ends, under the rules of today, and not before
//! a minimum that it has been under since it was written. So an end that a shortened rule would bring forward comes at the moment that
//! was written down, and one that a longer rule, or a later report, puts off is written down anew when its moment comes. What is written
//! down is sealed to its row: one that somebody planted or moved does not open, and its record ends no earlier than it would by what was
//! written down for it ([`then`]), so it destroys nothing. It names the record's version: that of an earlier one leads to nothing. What the
//! rules give no end is not forgotten, for they may be others tomorrow: it is looked for again.
//!
//! What a run does in a tenant is counted in the commits that do it ([`super::reports`]).

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use self::{
    index::{Stood, When, begin_of, end_today, hour_of, named_hour, next_hour, stood},
    next::Walk,
    then::{HoldThen, Went, as_it_went, first_look},
};
use super::{
    Caller, Unprocessable, Vault, VaultError,
    directory::{Collection, Tenant, damaged},
    events::{follow::reported_ends, known::Known},
    holds::bind::things_over,
    plan::{Actor, Live, Plan, entry, record_row, retrying, unchanged, unit_of},
    refused::Place,
    reports::Run,
    retention::RulesNo,
    rows::State,
    shorten::{Came, shortened_ends},
    shredder::is_its_own,
};
use crate::{
    authn::Role,
    authz::RetentionRun,
    domain::{
        CollectionNo, PrincipalId, RecordMeta, ShredUnit, TenantNo, Timestamp, limits,
        retention::{
            Rule,
            report::{By, Cause, Counted, How},
        },
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed, Token, random},
        store::{
            Expect, Row, Space, Urgency,
            schema::{self, Due, Fineness, KeyRange, Table},
        },
    },
};

mod index;
mod marked;
mod next;
mod progress;
mod then;

pub(super) use index::{End, Written, end_over, end_under, is_over, put_off};
pub use marked::MarkedItem;
pub(super) use next::{Moments, Next};
pub use progress::{DueHour, RunProgress};

/// Records of one commit.
const BATCH: usize = 64;
/// Records of it that are planned before others have their turn.
const TURN: usize = 4;
/// Rows of one read.
const ROWS: usize = 512;
/// Rows that one pass looks at.
const LOOKS: u64 = 10_000;
/// How soon, and at the latest, what has no end is looked for again: after as long as it has had none.
const ENDLESS_LEAST: Duration = Duration::from_hours(24);
const ENDLESS_MOST: Duration = Duration::from_hours(24 * 32);

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// Rows of the index that were read.
    pub looked_at: u64,
    /// Records whose time was over.
    pub destroyed: u64,
    /// Records whose time is over and that a legal hold keeps: they wait until it ends.
    pub held: u64,
    /// Records that were marked: they are going to be destroyed.
    pub marked: u64,
    /// Records that now end later, or have no end and are looked for again.
    pub moved: u64,
    /// Rows that led to nothing any more.
    pub dropped: u64,
    /// Records that could not be read, or not be destroyed by themselves, or that others were writing all the time; they are tried
    /// again.
    pub failed: u64,
    /// Whether the pass ended at its limit with more to do.
    pub more: bool,
}

/// What becomes of a row of the index.
#[derive(Clone, Copy)]
enum Fate {
    /// It stays: its moment has not come, or its record is about to be shredded, or was just written again.
    Waits(Option<Timestamp>),
    /// It led to nothing.
    Dropped,
    /// Its record ends later.
    Moved,
    /// Its record is marked.
    Marked,
    /// Its record is destroyed.
    Destroyed,
    /// A legal hold keeps its record.
    Held,
}

/// One pass.
struct Pass {
    actor: Actor,
    run: Run,
    /// Destroys what was due by then.
    until: Timestamp,
    /// What it may deal with: destroy, move, drop, or fail at.
    limit: u64,
    walk: Walk,
    done: Destroyed,
    /// Failures in the present tenant that no report tells of yet.
    failures: u64,
}

/// What the rows of one commit have in common.
struct Batch<'a> {
    actor: Actor,
    tenant: &'a Tenant,
    collections: HashMap<CollectionNo, Option<Arc<Collection>>>,
    until: Timestamp,
    /// Of older data that is made ready, the holds that there ever were.
    then: Option<Vec<HoldThen>>,
    /// What is counted with the commit.
    counts: Vec<(CollectionNo, By, How, Counted)>,
}

/// What a record says itself, once it is opened.
struct Told {
    /// When it ends, and under which hold it stays.
    went: Went,
    /// By what, and how.
    by: (By, How),
    /// What who deletes it needs.
    live: Live,
}

impl Vault {
    /// Destroys what was due by `until`, at most `limit` records in one pass, for who may: the operator, or a job of the store. The
    /// cursor is that of the pass before; with what is returned the next goes on, `None` at the end. Also gives the id of the run, which its
    /// passes have in common: the reports of what it did in each tenant name it.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`]; [`VaultError::Limit`]; [`super::Unprocessable::Cursor`]; those of the store: what was done so far
    /// stays done; [`VaultError::Unavailable`] while older data is made ready.
    pub async fn run_retention(
        &self,
        caller: &Caller,
        until: Option<Timestamp>,
        limit: u64,
        cursor: Option<String>,
    ) -> Result<(Destroyed, [u8; 16], Option<String>), VaultError> {
        let caller = &caller.begin();
        let (vault, asker) = (self.clone(), caller.clone());
        let run = self.to_the_end(async move {
            let system = vault.permit_system::<RetentionRun>(&asker).await?;
            if vault.is_restoring() && !fault!("older-run") {
                return Err(VaultError::Unavailable("older data is being made ready: nothing else runs before it is".into()));
            }
            if limit > limits::RETENTION_RUN.max {
                return Err(VaultError::Limit(limits::RETENTION_RUN));
            }
            let range = rows_of_all();
            let (run, after) = match cursor {
                Some(cursor) => {
                    let opened = vault.open_cursor(TenantNo::SYSTEM, CURSOR, &range, &cursor).await?;
                    let run = opened.first_chunk::<16>().copied().ok_or(Unprocessable::Cursor)?;
                    (run, opened.slice(16..))
                }
                None => (random::bytes(), Bytes::new()),
            };
            let now = vault.inner.clock.now();
            let until = until.map_or(now, |until| until.min(now));
            let actor = Actor { role: Role::Job, ..Actor::from(&asker) };
            let walk = Walk { after, ..Walk::whole() };
            let mut pass = Pass { until, limit, walk, ..Pass::new(actor, Run { id: run, cause: Cause::Asked }) };
            let ended = vault.destroy_due(&mut pass).await;
            let Pass { walk, done, .. } = pass;
            // Also of one that ended midway: what it destroyed is destroyed.
            let recorded = vault.record_run(&system, Actor::from(&asker), done).await;
            ended.and(recorded)?;
            if done.more {
                if walk.anew {
                    // No cursor tells that: the store's own run looks.
                    vault.is_due_at(now);
                }
                let behind = [&run[..], &walk.after].concat();
                return Ok((done, run, Some(vault.seal_cursor(TenantNo::SYSTEM, CURSOR, &range, &behind).await?)));
            }
            vault.inner.next_due.at(&walk.next);
            Ok((done, run, None))
        });
        self.on_record(caller, Place::STORE, Action::RetentionRun, run).await
    }

    /// One pass of the store itself, which looks only when something may be due, and goes on where the last one ended. It does nothing
    /// while older data is made ready ([`Vault::replay_retention`]), which is then judged by its own time and told as that.
    ///
    /// # Errors
    /// Those of the store; what was done so far stays done, and the next pass goes on.
    pub async fn run_retention_if_due(&self, now: Timestamp, limit: u64) -> Result<Destroyed, VaultError> {
        if self.is_restoring() && !fault!("older-pass") {
            return Ok(Destroyed::default());
        }
        let Some(walk) = self.inner.next_due.take(now) else { return Ok(Destroyed::default()) };
        let actor = Actor { principal: PrincipalId([0; 16]), role: Role::Job, request: Self::make_request_id() };
        let mut pass = Pass { until: now, limit, walk, ..Pass::new(actor, Run::SERVER) };
        let ended = self.destroy_due(&mut pass).await;
        if ended.is_err() || pass.done.more {
            self.inner.next_due.put_back(pass.walk);
        } else {
            self.inner.next_due.at(&pass.walk.next);
        }
        let recorded = match pass.done.destroyed {
            // It looks each minute: a trail of runs that did nothing would hide the others.
            0 => Ok(()),
            _ => match self.tenant_by_number(TenantNo::SYSTEM).await {
                Ok(system) => self.record_run(&system, actor, pass.done).await,
                Err(error) => Err(error),
            },
        };
        ended.and(recorded).map(|()| pass.done)
    }

    /// The entry of a run in the operator's trail, with the count of what it destroyed.
    async fn record_run(&self, system: &Tenant, actor: Actor, done: Destroyed) -> Result<(), VaultError> {
        let target = Target { count: Some(u32::try_from(done.destroyed).unwrap_or(u32::MAX)), ..Target::default() };
        self.read_receipt(system, entry(actor, system, Action::RetentionRun, CollectionNo::TENANT, target)).await.map(drop)
    }

    /// There is something to do at `at`, of whatever kind: a hold ends, or what it kept is free.
    pub(super) fn is_due_at(&self, at: Timestamp) {
        self.inner.next_due.at(&Moments::everything(at));
    }

    /// Destroys all that is due now of older data.
    pub(super) async fn destroy_all_due(&self, actor: Actor) -> Result<Destroyed, VaultError> {
        let run = Run { id: random::bytes(), cause: Cause::Restore };
        let mut pass = Pass { until: self.inner.clock.now(), limit: u64::MAX, ..Pass::new(actor, run) };
        let mut looked_at = 0_u64;
        loop {
            self.destroy_due(&mut pass).await?;
            looked_at = looked_at.saturating_add(std::mem::take(&mut pass.done.looked_at));
            if !std::mem::take(&mut pass.done.more) {
                self.inner.next_due.at(&pass.walk.next);
                return Ok(Destroyed { looked_at, ..pass.done });
            }
        }
    }

    async fn destroy_due(&self, pass: &mut Pass) -> Result<(), VaultError> {
        if let Some(lapse) = self.look_after_holds(pass.actor).await? {
            pass.walk.next.all(&Moments::everything(lapse));
        }
        if let Some(end) = self.look_after_terminations(pass.actor).await? {
            pass.walk.next.all(&Moments::everything(end));
        }
        if let Some(over) = self.look_after_approvals(pass.actor).await? {
            pass.walk.next.all(&Moments::everything(over));
        }
        self.close_reports().await?;
        // First, so that what is over by it is found; and some of it alone, so that nothing that is due anywhere waits for all of it.
        let (came, has_gone) = self.shorten_some(pass.actor).await?;
        // What it has brought forward may lie before the place that the walk has come to.
        pass.walk.anew |= has_gone && !pass.walk.after.is_empty();
        if came == Came::Failed {
            pass.done.failed = pass.done.failed.saturating_add(1);
        }
        let (followed, has_followed) = self.follow_events(pass.actor).await?;
        pass.walk.anew |= has_followed && !pass.walk.after.is_empty();
        if followed == Came::Failed {
            pass.done.failed = pass.done.failed.saturating_add(1);
        }
        for kind in pass.walk.kinds.clone() {
            let named = named_hour(kind, pass.until);
            let mut range = schema::due_until(kind, named);
            // Of what is due in these hours, and at the latest when they are over.
            pass.walk.next.at(kind, begin_of(next_hour(kind, named)));
            if pass.walk.after >= range.to {
                continue;
            }
            range.from = range.from.max(schema::successor(&pass.walk.after));
            while let Some(rows) = self.some_rows_of(Space::Index, &mut range, ROWS).await? {
                for rows in rows.chunk_by(|one, other| tenant_of(one) == tenant_of(other)) {
                    self.destroy_of_tenant(pass, kind, rows).await?;
                    if pass.done.more {
                        return Ok(());
                    }
                }
            }
        }
        // Behind the records: with the last one goes the key.
        let spared = self.end_spared((pass.actor, pass.run), pass.until, pass.left()).await?;
        if let Some(next) = spared.next {
            pass.walk.next.all(&Moments::everything(next));
        }
        pass.done.more |= spared.is_cut;
        if [came, followed].contains(&Came::Part) || pass.walk.anew {
            pass.walk = Walk { next: pass.walk.next, ..Walk::whole() };
            pass.done.more = true;
        }
        Ok(())
    }

    /// Goes through rows of one tenant, as far as the pass may; what is not due is passed over.
    async fn destroy_of_tenant(&self, pass: &mut Pass, kind: Fineness, rows: &[Row]) -> Result<(), VaultError> {
        let stoods = self.stoods(rows).await?;
        let mut due: Vec<(&Row, Option<Stood>)> = Vec::with_capacity(BATCH.min(rows.len()));
        let mut seen = None;
        for (row, stood) in rows.iter().zip(stoods) {
            if pass.done.looked_at >= LOOKS || pass.left() <= due.len() as u64 {
                pass.done.more = true;
                break;
            }
            pass.done.looked_at = pass.done.looked_at.saturating_add(1);
            match stood.and_then(|stood| stood.when).and_then(When::looked_at) {
                Some(at) if at > pass.until => pass.walk.next.at(kind, at),
                Some(_) | None => due.push((row, stood)),
            }
            if due.len() >= BATCH {
                self.destroy_some(pass, kind, &due).await?;
                due.clear();
                pass.walk.after = row.key.clone();
            }
            seen = Some(row);
        }
        if !due.is_empty() {
            self.destroy_some(pass, kind, &due).await?;
        }
        if let Some(seen) = seen {
            pass.walk.after = seen.key.clone();
        }
        if let (Some(tenant), 1..) = (rows.first().and_then(tenant_of), pass.failures) {
            self.report_failures(tenant, pass.actor, pass.run, pass.until, std::mem::take(&mut pass.failures)).await;
        }
        Ok(())
    }

    /// When what rows of one tenant lead to is looked at; `None` where that does not open, for then the record is asked.
    async fn whens(&self, rows: &[Row]) -> Result<Vec<Option<When>>, VaultError> {
        Ok(self.stoods(rows).await?.into_iter().map(|stood| stood?.when).collect())
    }

    /// What stands in rows of one tenant; `None` where nothing can.
    async fn stoods(&self, rows: &[Row]) -> Result<Vec<Option<Stood>>, VaultError> {
        let closed = || rows.iter().map(|_| None).collect();
        let Some(tenant) = rows.first().and_then(tenant_of) else { return Ok(closed()) };
        let store = self.inner.store_id;
        let open = |secret: &_| rows.iter().map(|row| stood(&store, secret, tenant, &row.key, &row.value)).collect();
        match self.with_tenant(tenant, open).await {
            Ok(stoods) => Ok(stoods),
            Err(error) if is_its_own(&error) => Ok(closed()),
            Err(error) => Err(error),
        }
    }

    /// Rows of one tenant in one commit; where that fails, each in its own, and one that fails by itself, or that others keep
    /// writing, is passed over.
    async fn destroy_some(&self, pass: &mut Pass, kind: Fineness, rows: &[(&Row, Option<Stood>)]) -> Result<(), VaultError> {
        // The commit is held to the rows as they were read; where one has changed since, they are read again.
        let mut as_read = true;
        match retrying(|| self.destroy_once(pass, rows, std::mem::take(&mut as_read))).await {
            Ok(fates) => fates.into_iter().for_each(|fate| pass.count(kind, fate)),
            Err(error) if stops_all(&error) => return Err(error),
            Err(_) => {
                for one in rows.chunks(1) {
                    match retrying(|| self.destroy_once(pass, one, false)).await {
                        Ok(fates) => fates.into_iter().for_each(|fate| pass.count(kind, fate)),
                        Err(error) if stops_all(&error) => return Err(error),
                        Err(error) => one.iter().for_each(|(row, _)| pass.failed(kind, row, &error)),
                    }
                }
            }
        }
        Ok(())
    }

    async fn destroy_once(&self, pass: &Pass, rows: &[(&Row, Option<Stood>)], as_read: bool) -> Result<Vec<Fate>, VaultError> {
        let Some(no) = rows.first().and_then(|(row, _)| tenant_of(row)) else { return Err(VaultError::Internal("due row".into())) };
        let then = if self.is_restoring() { Some(self.holds_then(no).await?) } else { None };
        let tenant = if then.is_some() { self.tenant_unmarked(no).await? } else { self.tenant_by_number(no).await? };
        // The rules of their time have ended what it destroys: no minimum of today brings it back. Of older data it was decided then.
        let mut plan = if then.is_some() { Plan::decided().keeping_keys() } else { Plan::by_rule() };
        let mut batch =
            Batch { actor: pass.actor, tenant: &tenant, collections: HashMap::new(), until: pass.until, then, counts: Vec::new() };
        let counted = match tenant.state {
            State::Active => Some(self.report_of(&tenant, pass.actor, pass.run).await?),
            State::Pending(_) | State::Shredded(_) | State::Frozen => None,
        };
        plan.report = counted.as_ref().map(|counted| counted.id);
        let mut fates = Vec::with_capacity(rows.len());
        let mut met = HashSet::new();
        for (row, read) in rows {
            if fates.len().checked_rem(TURN) == Some(0) {
                // Requests come between: who serves them is one of few.
                tokio::task::yield_now().await;
            }
            let due = schema::due_parts(&row.key).ok_or_else(|| VaultError::Internal("due row".into()))?;
            // A writer may have written the same hour down for a newer version.
            let now = if as_read { Some(row.value.clone()) } else { self.inner.store.get(Space::Index, &row.key).await? };
            let Some(value) = now else {
                fates.push(Fate::Waits(None));
                continue;
            };
            let fate = match tenant.state {
                State::Shredded(_) => Fate::Dropped,
                State::Pending(_) => Fate::Waits(Some(pass.until)),
                // Told when all of it is there.
                State::Frozen => Fate::Waits(None),
                State::Active => {
                    let stood = match read.filter(|_| as_read) {
                        Some(stood) => stood,
                        None => {
                            let store = self.inner.store_id;
                            let stood = self.with_tenant(no, |secret| stood(&store, secret, no, &row.key, &value)).await?;
                            stood.ok_or_else(|| VaultError::Internal("due row".into()))?
                        }
                    };
                    // Planted, or from before a row was moved: it is destroyed once.
                    if met.insert((due.collection, due.record.clone(), stood.version)) {
                        self.plan_fate(&mut plan, &mut batch, (&row.key, &value), &due, &stood).await?
                    } else {
                        Fate::Dropped
                    }
                }
            };
            if !matches!(fate, Fate::Waits(_)) {
                plan.check(Space::Index, row.key.clone(), Expect::Equals(value));
                if !plan.puts(Space::Index, &row.key) {
                    plan.delete(Space::Index, row.key.clone());
                }
            }
            if matches!(fate, Fate::Dropped) {
                self.plan_dropped(&mut plan, &row.key, &due).await?;
            }
            fates.push(fate);
        }
        let is_fruitless = fates.iter().all(|fate| matches!(fate, Fate::Waits(_)));
        if !is_fruitless {
            if let Some(counted) = counted.filter(|_| !batch.counts.is_empty()) {
                self.plan_report(&mut plan, no, counted, pass.until, &batch.counts).await?;
            }
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
        batch: &mut Batch<'_>,
        (key, value): (&[u8], &Bytes),
        due: &Due,
        stood: &Stood,
    ) -> Result<Fate, VaultError> {
        let (tenant, until, tokens) = (batch.tenant, batch.until, due.record.as_slice());
        let Some(collection) = self.collection_of(batch, due.collection).await? else { return Ok(Fate::Waits(Some(until))) };
        match collection.state {
            State::Active => {}
            State::Shredded(_) => return Ok(Fate::Dropped),
            State::Pending(_) | State::Frozen => return Ok(Fate::Waits(Some(until))),
        }
        let row = record_row(tenant, due.collection, tokens);
        let Some(stored) = self.inner.store.get(Space::Records, &row).await? else {
            plan.check(Space::Records, row, Expect::Absent);
            return Ok(Fate::Dropped);
        };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        if header.is_tombstone() || header.version != stood.version {
            // Shredded, or written again since, with a row of its own.
            plan.check(Space::Records, row, unchanged(&header));
            return Ok(Fate::Dropped);
        }
        let hour = begin_of(due.hour);
        let first = stood.when.map(|when| (when.looked_at().unwrap_or(hour), when));
        let first = first.or_else(|| fault!("bent-first").then_some((hour, When::Ends(hour))));
        // What does not open has the record looked at, and says nothing of its end.
        let when = stood.when.unwrap_or(When::Ends(hour));
        let Some(told) = self.opened_end(batch, &collection, (tokens, first), &header, stored).await? else {
            return Ok(Fate::Waits(Some(until)));
        };
        let Told { went, by: (by, how), live } = told;
        if !fault!("run-known") {
            plan.check_all(&live.known);
        }
        let of = (tenant.no, due.collection, tokens);
        let is_older = batch.then.is_some();
        let mut counted = |what| batch.counts.push((due.collection, by.clone(), how, what));
        let now = self.inner.clock.now();
        // Of older data all of that is in how it went.
        let put_off = |end| if is_older { end } else { when.put_off(end, now) };
        match went.end.map(put_off) {
            Some(end) if end.at <= until => {
                plan.check(Space::Records, row, unchanged(&header));
                let kept_by = match batch.then {
                    None => self
                        .plan_holds(plan, tenant, (due.collection, tokens), &live.meta.subjects)
                        .await?
                        .first()
                        .map(|standing| standing.hold),
                    Some(_) => went.kept_by,
                };
                if let Some(hold) = kept_by {
                    plan.put(Space::Index, schema::held_due(hold, key), value.clone());
                    counted(Counted::Held);
                    return Ok(Fate::Held);
                }
                let deleted = self.plan_delete_of(plan, batch.actor, tenant, &collection, tokens, (&header, &live), None).await?;
                plan.defers |= deleted.is_some();
                counted(Counted::Destroyed { with_key: deleted.is_some() });
                Ok(Fate::Destroyed)
            }
            // The first phase: it stands where it is marked, and is told where it ends.
            Some(end) if when.marks_now(end, until) => {
                plan.hold(tenant, &collection)?;
                plan.check(Space::Records, row, unchanged(&header));
                self.plan_marked(plan, of, stood.version, end).await?;
                counted(Counted::Marked);
                Ok(Fate::Marked)
            }
            Some(end) if hour_of(end.at) <= hour_of(until) && !matches!(when, When::Marks(..)) => Ok(Fate::Waits(Some(end.at))),
            later => {
                plan.hold(tenant, &collection)?;
                plan.check(Space::Records, row, unchanged(&header));
                if later.is_some() {
                    self.plan_due(plan, of, false, (stood.version, later)).await?;
                } else {
                    let since = if let When::Endless(since) = when { since } else { now };
                    self.plan_endless(plan, of, stood.version, (since, looked_for_again(now, since))).await?;
                }
                Ok(Fate::Moved)
            }
        }
    }

    /// A collection, read once for a batch; `None` while its key is being destroyed.
    async fn collection_of(&self, batch: &mut Batch<'_>, no: CollectionNo) -> Result<Option<Arc<Collection>>, VaultError> {
        if let Some(known) = batch.collections.get(&no) {
            return Ok(known.clone());
        }
        let found = if batch.then.is_some() {
            // Its order may be taken back: what is over in it goes now.
            self.collection_unmarked(batch.tenant.no, no).await
        } else {
            self.collection_by_number(batch.tenant.no, no).await
        };
        let read = match found {
            Ok(collection) => Some(Arc::new(collection)),
            Err(VaultError::Shredded { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(batch.collections.entry(no).or_insert(read).clone())
    }

    /// When a record ends, and whom it is about, by what it says itself; `None` where a shred is to take it, or has taken its key. `first` is
    /// when its row has it looked at, and what stands there; where that does not open, it ends no earlier than by what was written down for it,
    /// or by what two persons or a report have brought forward since.
    async fn opened_end(
        &self,
        batch: &Batch<'_>,
        collection: &Collection,
        (tokens, first): (&[Token], Option<(Timestamp, When)>),
        header: &RecordHeader,
        stored: Bytes,
    ) -> Result<Option<Told>, VaultError> {
        let tenant = batch.tenant;
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, header);
        let unit = unit_of(header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(opened) => opened.map_err(damaged)?,
            Err(VaultError::Shredded { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Known { events, checks } = match self.events_over(tenant.no, collection, &opened.meta).await {
            Err(VaultError::Shredded { .. }) => return Ok(None),
            known => known?,
        };
        if batch.then.is_none() && self.leaving(tenant, collection, &opened.meta).await?.is_some() {
            return Ok(None);
        }
        let things = match batch.then {
            None => Vec::new(),
            Some(_) => things_over(collection.no, tokens, &self.subject_tokens(tenant, &opened.meta.subjects).await?),
        };
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let earlier = if batch.then.is_none() && first.is_some() {
            Vec::new()
        } else {
            let shortenings = self.shortenings_of(tenant, collection).await?;
            let mut ends = shortened_ends(collection, &shortenings, (&opened.meta, value, &events));
            ends.extend(reported_ends(collection, (&opened.meta, value, &events)));
            ends.sort_by_key(|(moment, _)| *moment);
            ends
        };
        let unit = collection.policy.shred_unit;
        let seen = opened.meta.reports_seen();
        let end = |by: RulesNo, known_by: Timestamp| end_over(collection, by, &opened.meta, value, &events.by(known_by, seen));
        let written = || (opened.meta.modified_at, end(collection.rules_of(&opened.meta), opened.meta.modified_at));
        let looked = first.unwrap_or_else(|| first_look(&earlier, written()));
        let (went, by) = match &batch.then {
            None => {
                let (today, rule) = end_today(collection, &opened.meta, value, &events).unzip();
                let went = if first.is_some() {
                    Went { end: today, kept_by: None }
                } else {
                    let went = as_it_went(collection, &earlier, looked, batch.until, (&[], &[]), end);
                    let later = |(today, went): (End, End)| {
                        if fault!("bent-today") { today } else { End { at: today.at.max(went.at), ..today } }
                    };
                    Went { end: today.zip(went.end).map(later), kept_by: None }
                };
                (went, ended_by(&opened.meta, rule.flatten(), unit))
            }
            Some(holds) => {
                let went = as_it_went(collection, &earlier, looked, batch.until, (holds, &things), end);
                // No key is destroyed by it.
                (went, (By::OlderData, How::Delete))
            }
        };
        let live = self.live_of(collection, header, (opened, None), Known { events, checks })?;
        Ok(Some(Told { went, by, live }))
    }
}

/// By what a record ends, and how: a rule, its own end, or the law that keeps what an order left of it.
fn ended_by(meta: &RecordMeta, rule: Option<&Rule>, unit: ShredUnit) -> (By, How) {
    match (meta.kept.as_ref().filter(|kept| kept.restricted_by.is_some()), rule) {
        (Some(kept), _) => (By::Rule(kept.rule.as_str().to_owned()), How::Restrict),
        (None, Some(rule)) => (By::Rule(rule.name.as_str().to_owned()), How::of(Some(rule), unit)),
        (None, None) => (By::OwnEnd, How::of(None, unit)),
    }
}

/// When it is looked again whether a record has an end that has had none since `since`.
fn looked_for_again(now: Timestamp, since: Timestamp) -> Timestamp {
    now.plus(now.since(since).clamp(ENDLESS_LEAST, ENDLESS_MOST))
}

/// The list that a cursor of runs belongs to.
const CURSOR: &[u8] = b"retention-runs";

/// All rows of the index.
fn rows_of_all() -> KeyRange {
    KeyRange { from: schema::table(Table::Due).from, to: schema::table(Table::DueMonth).to }
}

/// Whether an error is that of the whole store, and the pass ends. What is busy is one record that others keep writing, as far as
/// anyone can tell.
const fn stops_all(error: &VaultError) -> bool {
    matches!(error, VaultError::DiskFull | VaultError::Unavailable(_))
}

impl Pass {
    /// One through everything that is due now; nothing is done so far.
    fn new(actor: Actor, run: Run) -> Self {
        Self { actor, run, until: Timestamp(i64::MIN), limit: 0, walk: Walk::whole(), done: Destroyed::default(), failures: 0 }
    }

    /// What it may still deal with.
    fn left(&self) -> u64 {
        let Destroyed { destroyed, held, marked, moved, dropped, failed, .. } = self.done;
        [destroyed, held, marked, moved, dropped, failed].into_iter().fold(self.limit, u64::saturating_sub)
    }

    fn count(&mut self, kind: Fineness, fate: Fate) {
        let counter = match fate {
            Fate::Waits(None) => return,
            Fate::Waits(Some(at)) => return self.walk.next.at(kind, at),
            Fate::Dropped => &mut self.done.dropped,
            Fate::Moved => &mut self.done.moved,
            Fate::Marked => &mut self.done.marked,
            Fate::Destroyed => &mut self.done.destroyed,
            Fate::Held => &mut self.done.held,
        };
        *counter = counter.saturating_add(1);
    }

    /// A row that was passed over: the next run tries again.
    fn failed(&mut self, kind: Fineness, row: &Row, error: &VaultError) {
        self.done.failed = self.done.failed.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        self.walk.next.at(kind, self.until);
        let due = schema::due_parts(&row.key);
        let (tenant, collection) = due.map_or((None, None), |due| (Some(due.tenant.0), Some(due.collection.0)));
        if matches!(error, VaultError::Busy) {
            tracing::warn!(tenant, collection, "a record that is due is being written all the time; the next run tries again");
        } else {
            metrics::counter!("lethe_retention_failures_total").increment(1);
            tracing::error!(tenant, collection, %error, "a record that is due, or its index row, cannot be read; it stays for now");
        }
    }
}

fn tenant_of(row: &Row) -> Option<TenantNo> {
    schema::due_parts(&row.key).map(|due| due.tenant)
}
