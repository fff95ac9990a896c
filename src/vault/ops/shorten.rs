//! What two persons let hold for what was there: the records of a collection are gone through, and those that its rules end earlier than was
//! written down are written down anew, in the index of what is due. Nothing is destroyed here. The run that finds a record due then asks
//! the record, the rules of the day, every minimum that it has been under and holds, as always: so a rule that was made longer since keeps
//! what it keeps. No end is written down here before a minimum that the record has been under until it was approved, either: what a law
//! kept at any time since the record was written, or an earlier version of it, is undercut by no two persons.
//!
//! Only the rules that were approved count here, those of that moment: a rule that an owner alone has made shorter still brings no end
//! forward. How far it has come stands in the data store, in the commits of the index rows: after a crash it goes on where it was, and data
//! of an older date, put back, is gone through again before it is served.

use bytes::Bytes;

use super::{
    Vault, VaultError,
    approvals::hash_of,
    directory::{Collection, Tenant, damaged},
    due::{End, end_under, put_off},
    events::known::Known,
    plan::{Actor, Plan, entry, retrying, unchanged, unit_of},
    retention::RulesNo,
    rows::{ShortenedRow, ShorteningRow, State},
    shredder::is_its_own,
};
use crate::{
    domain::{CollectionNo, RecordMeta, TenantNo, Timestamp, retention::Events},
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed},
        store::{
            Expect, Row, Space, Urgency,
            schema::{self, Table},
        },
    },
};

/// Records of one pass.
const PASS: usize = 2_048;
/// Records of one commit: each has up to 100 kB.
const BATCH: usize = 128;
/// Records that an order has closed and that are remembered: their keys have up to 524 bytes.
const CLOSED: usize = 64;

/// A shortening, by its place.
#[derive(Clone, Copy)]
struct Shortening {
    tenant: TenantNo,
    collection: CollectionNo,
    at: u64,
    /// The hash of its rules.
    rules: [u8; 32],
}

/// How far a pass has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Came {
    /// Through everything.
    Through,
    /// Past something that an order may be about to take: it is looked at again.
    Past,
    /// Past something that cannot be read: it is tried again.
    Failed,
    /// To its limit.
    Part,
}

/// What a record was found to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It ends as it did, or nobody can read it.
    As,
    /// It ends earlier now.
    Moved,
    /// An order has closed it, which a legal hold may take back yet.
    Closed,
}

impl Vault {
    /// There is something to go through.
    pub(super) fn shorten_soon(&self) {
        self.inner.shortened.wanted();
        self.is_due_at(self.inner.clock.now());
    }

    /// Goes through some of what two persons have let rules hold for, and whether there was anything. Costs nothing once all of it is done
    /// with; waits for whoever is at it.
    pub(super) async fn shorten_some(&self, actor: Actor) -> Result<(Came, bool), VaultError> {
        let Some(round) = self.inner.shortened.begin().await else { return Ok((Came::Through, false)) };
        let mut left = PASS;
        let went = self.shorten_pass(actor, &mut left).await;
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

    async fn shorten_pass(&self, actor: Actor, left: &mut usize) -> Result<Came, VaultError> {
        let mut went = Came::Through;
        let mut range = schema::table(Table::Shortening);
        // A collection's later ones wait for its earlier ones: what has come to a later one is done with all before.
        let mut waits = None;
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let of = schema::shortening_parts(&row.key).map(|(tenant, collection, _)| (tenant, collection));
                if waits.is_some() && waits == of {
                    continue;
                }
                let one = match self.shorten_one(actor, &row, left).await {
                    Ok(one) => one,
                    Err(VaultError::Busy) => Came::Past,
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(%error, "what is there of a collection cannot be shortened for now");
                        Came::Failed
                    }
                    Err(error) => return Err(error),
                };
                match one {
                    Came::Through => {}
                    Came::Part => return Ok(Came::Part),
                    Came::Past | Came::Failed => (went, waits) = (went.max(one), of),
                }
            }
        }
        Ok(went)
    }

    /// One shortening.
    async fn shorten_one(&self, actor: Actor, row: &Row, left: &mut usize) -> Result<Came, VaultError> {
        let (tenant, collection, at) = schema::shortening_parts(&row.key).ok_or_else(|| VaultError::Internal("shortening row".into()))?;
        let ShorteningRow { rules, .. } = self.inner.seals.open(&row.key, &row.value)?;
        let shortening = Shortening { tenant, collection, at, rules };
        let (far, _) = self.shortened_so_far(&shortening).await?;
        if far.at > at || (far.at == at && far.done) {
            return Ok(Came::Through);
        }
        loop {
            let count = BATCH.min(*left);
            if count == 0 {
                return Ok(Came::Part);
            }
            let Some(came) = retrying(|| self.shorten_batch(actor, &shortening, count)).await? else { return Ok(Came::Through) };
            *left = left.saturating_sub(count);
            if came != Came::Part {
                return Ok(came);
            }
        }
    }

    /// How far this data store has come with a collection's, and the row that says so.
    async fn shortened_so_far(&self, of: &Shortening) -> Result<(ShortenedRow, Expect), VaultError> {
        let key = schema::shortened(of.tenant, of.collection);
        match self.inner.store.get(Space::Index, &key).await? {
            None => Ok((ShortenedRow::default(), Expect::Absent)),
            Some(stored) => Ok((self.inner.seals.open(&key, &stored)?, Expect::Equals(stored))),
        }
    }

    /// The next records, in one commit with how far that is; behind the last those that an order had closed. `None` where the collection,
    /// or its tenant, is shredded.
    async fn shorten_batch(&self, actor: Actor, of: &Shortening, count: usize) -> Result<Option<Came>, VaultError> {
        // Of one that ends in part, what holds keep of older data is there again.
        let tenant = if self.is_restoring() { self.tenant_unmarked(of.tenant).await? } else { self.tenant_by_number(of.tenant).await? };
        if is_gone(tenant.state)? {
            return Ok(None);
        }
        let found = if self.is_restoring() {
            // Its order may be taken back: what is over in it is over now.
            self.collection_unmarked(tenant.no, of.collection).await
        } else {
            self.collection_by_number(tenant.no, of.collection).await
        };
        let collection = match found {
            // Between its order and the row that says so.
            Err(VaultError::Shredded { .. }) => return Err(VaultError::Busy),
            read => read?,
        };
        if is_gone(collection.state)? {
            return Ok(None);
        }
        let (known, unmoved) = self.shortened_so_far(of).await?;
        let mut far = if known.at == of.at { known } else { ShortenedRow { at: of.at, ..ShortenedRow::default() } };
        let rules = approved(&collection, of)?;
        let whole = schema::records_under(tenant.no, collection.no, &[]);
        let rest = if far.after.is_empty() { whole } else { whole.after(&far.after) };
        let rows = self.inner.store.scan(Space::Records, &rest.from, &rest.to, count).await?;
        let is_through = rows.len() < count;
        if let Some(last) = rows.last() {
            far.after = last.key.to_vec();
        }
        let rows = if rows.is_empty() { self.closed_before(&mut far).await? } else { rows };
        let mut plan = Plan::default();
        plan.hold(&tenant, &collection)?;
        for row in rows {
            match self.shorten_record(&mut plan, (&tenant, &collection), rules, of.at, &row).await? {
                Found::As => {}
                Found::Moved => far.moved = far.moved.saturating_add(1),
                Found::Closed if far.closed.len() < CLOSED => far.closed.push(row.key.to_vec()),
                Found::Closed => far.missed = true,
            }
        }
        far.done = is_through && !far.missed && far.closed.is_empty();
        if is_through && far.missed {
            // From the beginning again with the next pass.
            far = ShortenedRow { at: far.at, moved: far.moved, ..ShortenedRow::default() };
        }
        let key = schema::shortened(tenant.no, collection.no);
        plan.check(Space::Index, key.clone(), unmoved);
        plan.put(Space::Index, key.clone(), self.inner.seals.seal(&key, &far)?);
        if far.done {
            let target = Target { count: Some(u32::try_from(far.moved).unwrap_or(u32::MAX)), ..Target::default() };
            plan.entry(tenant.audit, entry(actor, &tenant, Action::RetentionShorten, collection.no, target));
        }
        self.commit_plan(plan, Urgency::Essential).await?;
        Ok(Some(match (far.done, is_through) {
            (true, _) => Came::Through,
            (false, true) => Came::Past,
            (false, false) => Came::Part,
        }))
    }

    /// The records that were passed over, for an order had closed them, as far as they are there; they are remembered no more.
    async fn closed_before(&self, far: &mut ShortenedRow) -> Result<Vec<Row>, VaultError> {
        let keys: Vec<Bytes> = std::mem::take(&mut far.closed).into_iter().map(Bytes::from).collect();
        let stored = self.inner.store.get_many(Space::Records, &keys).await?;
        Ok(keys.into_iter().zip(stored).filter_map(|(key, value)| Some(Row { key, value: value? })).collect())
    }

    /// When two persons have let rules hold for what was there of a collection, and which, in the order of time.
    pub(super) async fn shortenings_of(&self, tenant: &Tenant, collection: &Collection) -> Result<Vec<(Timestamp, RulesNo)>, VaultError> {
        let mut all = Vec::new();
        let range = schema::shortenings_of(tenant.no, collection.no);
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            let ShorteningRow { rules, .. } = self.inner.seals.open(&row.key, &row.value)?;
            let Some((.., at)) = schema::shortening_parts(&row.key) else { continue };
            let of = Shortening { tenant: tenant.no, collection: collection.no, at, rules };
            all.push((moment(at), approved(collection, &of)?));
        }
        Ok(all)
    }

    /// One record. What does not open is passed over: the run that meets it says so.
    async fn shorten_record(
        &self,
        plan: &mut Plan,
        (tenant, collection): (&Tenant, &Collection),
        rules: RulesNo,
        at: u64,
        row: &Row,
    ) -> Result<Found, VaultError> {
        let (Ok(header), Some(tokens)) = (RecordHeader::parse(&row.value).map_err(damaged), schema::record_tokens(&row.key)) else {
            return Ok(Found::As);
        };
        if header.is_tombstone() {
            return Ok(Found::As);
        }
        let Ok(sealed) = Sealed::<Record>::from_row(row.value.clone()).map_err(damaged) else { return Ok(Found::As) };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                error.counted();
                return Ok(Found::As);
            }
            Err(VaultError::Shredded { .. }) => return Ok(if self.has_key(unit).await? { Found::Closed } else { Found::As }),
            Err(error) => return Err(error),
        };
        if !self.is_restoring() && self.leaving(tenant, collection, &opened.meta).await?.is_some() {
            return Ok(Found::Closed);
        }
        let Known { events, checks } = match self.events_over(tenant.no, collection, &opened.meta).await {
            Err(VaultError::Shredded { .. }) => return Ok(Found::Closed),
            known => known?,
        };
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let Some(end) = shortened_end(collection, rules, moment(at), (&opened.meta, value, &events)) else { return Ok(Found::As) };
        let is_moved = self.plan_earlier(plan, (tenant.no, collection.no, &tokens), header.version, (moment(at), end)).await?;
        if !is_moved {
            return Ok(Found::As);
        }
        plan.check(Space::Records, row.key.clone(), unchanged(&header));
        plan.check_all(&checks);
        Ok(Found::Moved)
    }
}

/// When two persons have let rules hold for a record that was there, and again with each report that came behind that, the end that it had
/// by those and by what was known: for what becomes of older data.
pub(super) fn shortened_ends(
    collection: &Collection,
    shortenings: &[(Timestamp, RulesNo)],
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
) -> Vec<(Timestamp, End)> {
    let seen = meta.reports_seen();
    let reports = events.moments(seen);
    let mut ends = Vec::new();
    for (at, rules) in shortenings {
        let since = reports.iter().filter(|moment| *moment > at);
        for moment in std::iter::once(at).chain(since) {
            let known = events.by(*moment, seen);
            ends.extend(shortened_end(collection, *rules, *moment, (meta, value, &known)).map(|end| (*moment, end)));
        }
    }
    ends
}

/// The earliest end that a record has by rules that two persons have let hold for it, by what is known of its person since the last report.
pub(super) fn shortened_by_report(
    collection: &Collection,
    shortenings: &[(Timestamp, RulesNo)],
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
) -> Option<End> {
    let last = events.reports().last()?.reported_at;
    let end = |(at, rules): &(Timestamp, RulesNo)| shortened_end(collection, *rules, last.max(*at), (meta, value, events));
    shortenings.iter().filter_map(end).min_by_key(|end| end.at)
}

/// When a record ends by rules that two persons have let hold for it `from` a moment on: not before that, nor before it has been marked from
/// then on for as long as its rule says, and not before a minimum that it has been under by then; `None` where nothing ends it, or where a
/// minimum waits for its date.
fn shortened_end(
    collection: &Collection,
    rules: RulesNo,
    from: Timestamp,
    (meta, value, events): (&RecordMeta, Option<&[u8]>, &Events),
) -> Option<End> {
    let end = end_under(collection.rules_at(rules), meta, value, events)?;
    // What comes behind that moment is for the run to ask.
    let last = rules.max(collection.rules_until(from));
    put_off(collection, last, (meta, value, events), End { at: end.at.max(from.plus(end.marks_for)), ..end })
}

/// A time as keys hold it.
fn moment(at: u64) -> Timestamp {
    Timestamp(i64::try_from(at).unwrap_or(i64::MAX))
}

/// Whether nothing is left to go through.
///
/// # Errors
/// [`VaultError::Busy`] while that is not decided.
fn is_gone(state: State) -> Result<bool, VaultError> {
    match state {
        State::Active => Ok(false),
        State::Shredded(_) => Ok(true),
        State::Pending(_) | State::Frozen => Err(VaultError::Busy),
    }
}

/// The rules that were approved, among those that a collection has and had, and the categories that were declared beside them: those of
/// the time, if they are the same rules.
fn approved(collection: &Collection, of: &Shortening) -> Result<RulesNo, VaultError> {
    let (RulesNo(then), RulesNo(now)) = (collection.rules_until(moment(of.at)), collection.rules_now());
    for no in (then..=now).chain((0..then).rev()).map(RulesNo) {
        if hash_of(collection.rules_at(no).0)? == of.rules {
            return Ok(no);
        }
    }
    Err(VaultError::Internal("the rules of a shortening are none that the collection has had".into()))
}
