//! What follows from a report: the records of the person are gone through, and those that end earlier by it than was written down are
//! written down anew, in the index of what is due. Nothing is destroyed here: the run that finds a record due then asks the record, the
//! rules of the day, what is known of its person and holds, as always. So a report that is corrected before that destroys nothing.
//!
//! Whom there is something to do for stands in a queue of the control store, how far this data store has come with it in the data store, in
//! the commits of the index rows: after a crash it goes on where it was, and data of an older date goes through all that was reported
//! since, before it is served. The cost is that of the records of these persons.
//!
//! What counts are the rules under which a record was written, and those that two persons have let hold for it since ([`super::shorten`]): a
//! rule that an owner alone has made shorter brings no end forward, and a report does not either.
//!
//! [`super::shorten`]: crate::vault::ops::shorten

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{in_order, known::Known};
use crate::{
    domain::{CollectionNo, RecordMeta, TenantNo, Timestamp, retention::Events},
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed, Token},
        keys::LeaseKind,
        ops::{
            Vault, VaultError,
            directory::{Collection, Tenant, damaged},
            due::{End, end_under, put_off},
            plan::{Actor, Plan, entry, record_row, retrying, subject_target, unchanged, unit_of},
            rows::{EventQueueRow, EventsDoneRow, State, SubjectRow},
            shorten::{Came, shortened_by_report, shortened_ends},
            shredder::is_its_own,
        },
        store::{Expect, Row, Space, Urgency, schema},
    },
};

/// Records of one pass.
const PASS: usize = 2_048;
/// Records of one commit: each has up to 100 kB.
const BATCH: usize = 128;

/// Whose records are to be gone through.
#[derive(Clone, Copy)]
struct Reported {
    number: u64,
    tenant: TenantNo,
    subject: Token,
}

/// How far a batch has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    Done,
    /// To something that an order is about to take, which a legal hold may take back yet.
    Closed,
}

/// A collection, as a batch finds it.
#[derive(Clone)]
enum Place {
    /// Something in it may count from events.
    There(Arc<Collection>),
    Nothing,
    /// An order is about to take it, or its shred unit is being changed.
    Closed,
}

/// What the records of a batch have in common.
struct Batch<'a> {
    tenant: &'a Tenant,
    /// As they are known by what is about the id whose turn it is.
    events: Events,
    places: HashMap<CollectionNo, Place>,
}

impl Vault {
    /// There is something to go through.
    pub(in crate::vault::ops) fn follow_events_soon(&self) {
        self.inner.events_followed.wanted();
        self.is_due_at(self.inner.clock.now());
    }

    /// Goes through some of those of whom something was reported, and whether there was anybody. Costs nothing once all of it is done with;
    /// waits for whoever is at it.
    pub(in crate::vault::ops) async fn follow_events(&self, actor: Actor) -> Result<(Came, bool), VaultError> {
        let Some(round) = self.inner.events_followed.begin().await else { return Ok((Came::Through, false)) };
        let mut left = PASS;
        let went = match self.follow_pass(actor, &mut left).await {
            Err(error) if is_its_own(&error) => {
                not_followed(&error);
                Ok(Came::Failed)
            }
            went => went,
        };
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

    async fn follow_pass(&self, actor: Actor, left: &mut usize) -> Result<Came, VaultError> {
        let mut went = Came::Through;
        // Who is put at the end meanwhile waits for the next pass.
        let bound = self.inner.forest.lease(LeaseKind::Version).await?;
        while let Some(row) = self.next_reported().await? {
            let number = schema::event_queue_number(&row.key).ok_or_else(|| VaultError::Internal("event queue row".into()))?;
            if number >= bound {
                break;
            }
            match self.follow_one(actor, number, &row, left).await {
                Ok(Step::Done) => {}
                Ok(Step::More) => return Ok(Came::Part),
                Ok(Step::Closed) | Err(VaultError::Busy) => {
                    went = went.max(Came::Past);
                    self.pass_over(number).await?;
                }
                Err(error) if is_its_own(&error) => {
                    not_followed(&error);
                    went = went.max(Came::Failed);
                    if self.is_restoring() {
                        // Nothing is served before all is.
                        return Ok(went);
                    }
                    // The others wait for none; the person is tried again behind them.
                    self.try_again(&row, number).await?;
                    self.pass_over(number).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(went)
    }

    /// Puts a person whose records cannot be followed by an error of the person's own at the end of the queue. What does not open has no place
    /// there; the next report of the person, also of what is known, gives it one.
    async fn try_again(&self, row: &Row, number: u64) -> Result<(), VaultError> {
        let again = match self.inner.seals.open::<EventQueueRow>(&row.key, &row.value) {
            Ok(_) if fault!("try-again") => Ok(()),
            Ok(EventQueueRow { tenant, subject }) => self.requeue(TenantNo(tenant), subject, number).await,
            Err(error) => Err(error),
        };
        match again {
            Err(error) if is_its_own(&error) => {
                not_followed(&error);
                Ok(())
            }
            again => again,
        }
    }

    /// The next place in the queue that this data store has not come to yet.
    async fn next_reported(&self) -> Result<Option<Row>, VaultError> {
        let (far, _) = self.followed_so_far().await?;
        let range = schema::event_queue_from(far.number.saturating_add(u64::from(far.done)));
        Ok(self.inner.store.scan(Space::Control, &range.from, &range.to, 1).await?.pop())
    }

    /// Whether this data store is done with a place in the queue, whatever became of it.
    pub(super) async fn is_behind(&self, number: u64) -> Result<bool, VaultError> {
        let (far, _) = self.followed_so_far().await?;
        Ok(far.number > number || (far.number == number && far.done))
    }

    /// How far this data store has come, and the row that says so. Where that does not open, nothing is taken to be done: to go through all
    /// of it again costs a look at each.
    async fn followed_so_far(&self) -> Result<(EventsDoneRow, Expect), VaultError> {
        let key = schema::events_done();
        match self.inner.store.get(Space::Index, &key).await? {
            None => Ok((EventsDoneRow::default(), Expect::Absent)),
            Some(stored) => match self.inner.seals.open(&key, &stored) {
                Ok(far) => Ok((far, Expect::Equals(stored))),
                Err(error) if is_its_own(&error) => {
                    tracing::error!(%error, "how far reports were followed cannot be read; all of them are gone through again");
                    Ok((EventsDoneRow::default(), Expect::Equals(stored)))
                }
                Err(error) => Err(error),
            },
        }
    }

    /// Writes down that this data store is done with one, whatever became of it.
    async fn pass_over(&self, number: u64) -> Result<(), VaultError> {
        retrying(|| async {
            let (_, unmoved) = self.followed_so_far().await?;
            let mut plan = Plan::default();
            let done = EventsDoneRow { number, done: true, ..EventsDoneRow::default() };
            self.plan_followed(&mut plan, unmoved, &done)?;
            self.commit_plan(plan, Urgency::Essential).await.map(drop)
        })
        .await
    }

    fn plan_followed(&self, plan: &mut Plan, unmoved: Expect, far: &EventsDoneRow) -> Result<(), VaultError> {
        let key = schema::events_done();
        plan.check(Space::Index, key.clone(), unmoved);
        plan.put(Space::Index, key.clone(), self.inner.seals.seal(&key, far)?);
        Ok(())
    }

    /// One person. Whom an order has closed, or others keep changing, is put at the end of the queue.
    async fn follow_one(&self, actor: Actor, number: u64, row: &Row, left: &mut usize) -> Result<Step, VaultError> {
        let EventQueueRow { tenant, subject } = self.inner.seals.open(&row.key, &row.value)?;
        let reported = Reported { number, tenant: TenantNo(tenant), subject };
        loop {
            let count = BATCH.min(*left);
            if count == 0 {
                return Ok(Step::More);
            }
            let (step, looked) = match retrying(|| self.follow_batch(actor, reported, count)).await {
                Err(VaultError::Busy) => (Step::Closed, 0),
                went => went?,
            };
            // A person costs one look at least.
            *left = left.saturating_sub(looked.max(1));
            match step {
                Step::More => {}
                Step::Done => return Ok(Step::Done),
                Step::Closed => {
                    self.requeue(reported.tenant, reported.subject, number).await?;
                    return Ok(Step::Closed);
                }
            }
        }
    }

    /// The next records of a person, in one commit with how far that is; and how many were looked at.
    async fn follow_batch(&self, actor: Actor, reported: Reported, count: usize) -> Result<(Step, usize), VaultError> {
        // Of one that ends in part, what holds keep of older data is there again.
        let tenant =
            if self.is_restoring() { self.tenant_unmarked(reported.tenant).await? } else { self.tenant_by_number(reported.tenant).await? };
        // What was reported of the persons of one that is being imported comes behind all of its records.
        let tenant = if tenant.is_importing() { Tenant { state: State::Active, ..tenant } } else { tenant };
        let (known, unmoved) = self.followed_so_far().await?;
        let mut far = if known.number == reported.number && !known.done {
            known
        } else {
            EventsDoneRow { number: reported.number, ..EventsDoneRow::default() }
        };
        let mut plan = Plan::default();
        let is_gone = match tenant.state {
            State::Active => false,
            State::Shredded(_) => true,
            State::Pending(_) | State::Frozen => return Ok((Step::Closed, 0)),
        };
        let key = schema::subject_state(tenant.no, &reported.subject);
        let state = self.inner.store.get(Space::Control, &key).await?;
        if let Some(row) = state.as_ref().filter(|_| !is_gone)
            && matches!(self.inner.seals.open::<SubjectRow>(&key, row)?.state, State::Pending(_) | State::Frozen)
        {
            return Ok((Step::Closed, 0));
        }
        // What was reported of the person opens as long as nobody orders a shred.
        plan.check(Space::Control, key, state.map_or(Expect::Absent, Expect::Equals));
        let mut room = count;
        let step = if is_gone { Step::Done } else { self.follow_records(&mut plan, &tenant, reported, &mut far, &mut room).await? };
        let looked = count.saturating_sub(room);
        if step == Step::Closed {
            return Ok((step, looked));
        }
        far.done = step == Step::Done;
        self.plan_followed(&mut plan, unmoved, &far)?;
        if far.done && far.moved > 0 {
            let target = Target { count: Some(u32::try_from(far.moved).unwrap_or(u32::MAX)), ..subject_target(reported.subject) };
            plan.entry(tenant.audit, entry(actor, &tenant, Action::EventReport, CollectionNo::TENANT, target));
        }
        self.commit_plan(plan, Urgency::Essential).await?;
        Ok((step, looked))
    }

    /// Looks at the next records of a person, under every id.
    async fn follow_records(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        reported: Reported,
        far: &mut EventsDoneRow,
        room: &mut usize,
    ) -> Result<Step, VaultError> {
        let person = self.person(tenant.no, reported.subject).await?;
        let Known { events, checks } = match self.events_of_person(tenant.no, reported.subject).await {
            Err(VaultError::Shredded { .. }) => return Ok(Step::Closed),
            known => known?,
        };
        plan.check_all(&checks);
        let mut batch = Batch { tenant, events: Events::default(), places: HashMap::new() };
        for token in in_order(&person) {
            batch.events = events.seen_by(&token);
            let whole = schema::records_of_subject(tenant.no, &token);
            while far.next[..] < whole.to[..] {
                if *room == 0 {
                    return Ok(Step::More);
                }
                let from = whole.from.clone().max(Bytes::copy_from_slice(&far.next));
                let rows = self.inner.store.scan(Space::Index, &from, &whole.to, *room).await?;
                if rows.is_empty() {
                    far.next = whole.to.to_vec();
                }
                for row in rows {
                    *room = room.saturating_sub(1);
                    let parts = schema::subject_record_parts(&row.key);
                    let (_, no, record) = parts.ok_or_else(|| VaultError::Internal("subject index row".into()))?;
                    let collection = match self.place_of(&mut batch, no).await? {
                        Place::There(collection) => collection,
                        Place::Closed => return Ok(Step::Closed),
                        Place::Nothing => {
                            // One look for each collection.
                            far.next = schema::records_of_subject_in(tenant.no, &token, no).to.to_vec();
                            break;
                        }
                    };
                    far.next = schema::successor(&row.key).to_vec();
                    match self.follow_record(plan, &batch, &collection, (&token, record.as_slice())).await {
                        Ok(Some(is_moved)) => far.moved = far.moved.saturating_add(u64::from(is_moved)),
                        Ok(None) => return Ok(Step::Closed),
                        // The others of the person wait for none; the next report looks at it again.
                        Err(error) if is_its_own(&error) && !self.is_restoring() => not_followed(&error),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(Step::Done)
    }

    async fn place_of(&self, batch: &mut Batch<'_>, no: CollectionNo) -> Result<Place, VaultError> {
        if let Some(known) = batch.places.get(&no) {
            return Ok(known.clone());
        }
        let found = if self.is_restoring() {
            // Its order may be taken back: what is over in it is over now.
            self.collection_unmarked(batch.tenant.no, no).await
        } else {
            self.collection_by_number(batch.tenant.no, no).await
        };
        let place = match found {
            Ok(collection) => match collection.state {
                State::Active if collection.has_events => Place::There(Arc::new(collection)),
                State::Active | State::Shredded(_) => Place::Nothing,
                State::Pending(_) | State::Frozen => Place::Closed,
            },
            // Between its order and the row that says so.
            Err(VaultError::Shredded { .. }) => Place::Closed,
            Err(VaultError::NotFound(_)) => Place::Nothing,
            Err(error) => return Err(error),
        };
        batch.places.insert(no, place.clone());
        Ok(place)
    }

    /// One record: whether it ends earlier now; `None` where an order has closed it. What does not open is passed over: the run that meets
    /// it says so.
    async fn follow_record(
        &self,
        plan: &mut Plan,
        batch: &Batch<'_>,
        collection: &Collection,
        (token, tokens): (&Token, &[Token]),
    ) -> Result<Option<bool>, VaultError> {
        let tenant = batch.tenant;
        let row = record_row(tenant, collection.no, tokens);
        let Some(stored) = self.inner.store.get(Space::Records, &row).await? else { return Ok(Some(false)) };
        let Ok(header) = RecordHeader::parse(&stored).map_err(damaged) else { return Ok(Some(false)) };
        if header.is_tombstone() {
            return Ok(Some(false));
        }
        let Ok(sealed) = Sealed::<Record>::from_row(stored).map_err(damaged) else { return Ok(Some(false)) };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                error.counted();
                return Ok(Some(false));
            }
            Err(VaultError::Shredded { .. }) => return Ok(if self.has_key(unit).await? { None } else { Some(false) }),
            Err(error) => return Err(error),
        };
        let meta = &opened.meta;
        // An index row may be left from a record whose key was written again, about someone else.
        let first = self.subject_tokens(tenant, meta.subjects.get(..1).unwrap_or_default()).await?;
        if first.first() != Some(token) || meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some()) {
            return Ok(Some(false));
        }
        if !self.is_restoring() && self.leaving(tenant, collection, meta).await?.is_some() {
            return Ok(None);
        }
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let (of, shortenings) = ((meta, value, &batch.events), self.shortenings_of(tenant, collection).await?);
        let end = if self.is_restoring() {
            // Older data is looked at as early as any report has had it looked at.
            let ends = reported_ends(collection, of).into_iter().chain(shortened_ends(collection, &shortenings, of));
            ends.min_by_key(|(_, end)| end.at)
        } else {
            let ends = [end_reported(collection, of), shortened_by_report(collection, &shortenings, of)];
            ends.into_iter().flatten().min_by_key(|end| end.at).map(|end| (self.inner.clock.now(), end))
        };
        let Some(end) = end else { return Ok(Some(false)) };
        let is_moved = self.plan_earlier(plan, (tenant.no, collection.no, tokens), header.version, end).await?;
        if is_moved {
            plan.hold(tenant, collection)?;
            plan.check(Space::Records, row, unchanged(&header));
        }
        Ok(Some(is_moved))
    }
}

fn not_followed(error: &VaultError) {
    metrics::counter!("lethe_retention_failures_total").increment(1);
    tracing::error!(%error, "what was reported of a person cannot be followed for now");
}

/// When a record ended by each report of its person that came behind it, in the order of time: by the rules that it was written under, not
/// before the report, nor before it has been marked from then on for as long as its rule says, and not before a minimum that it had been
/// under by then; nothing where nothing ended it then, or a date was not known.
pub(in crate::vault::ops) fn reported_ends(
    collection: &Collection,
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
) -> Vec<(Timestamp, End)> {
    if !collection.has_events {
        return Vec::new();
    }
    let seen = meta.reports_seen();
    let ended = |moment| reported_end(collection, (meta, value, &events.by(moment, seen)), moment).map(|end| (moment, end));
    events.moments(seen).into_iter().filter_map(ended).collect()
}

/// When a record ends by what is known now, as it is written down for it once that is followed.
pub(in crate::vault::ops) fn end_reported(collection: &Collection, of: (&RecordMeta, Option<&[u8]>, &Events)) -> Option<End> {
    let (.., events) = of;
    let last = events.reports().last().filter(|_| collection.has_events)?;
    reported_end(collection, of, last.reported_at)
}

fn reported_end(collection: &Collection, (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events), from: Timestamp) -> Option<End> {
    let written = collection.rules_of(meta);
    let end = end_under(collection.rules_at(written), meta, value, events)?;
    // What comes behind the report is for the run to ask.
    let last = written.max(collection.rules_until(from));
    put_off(collection, last, (meta, value, events), End { at: end.at.max(from.plus(end.marks_for)), ..end })
}
