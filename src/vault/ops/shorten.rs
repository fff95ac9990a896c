//! What two persons let hold for what was there: the records of a collection are gone through, and those that its rules end earlier than was
//! written down are written down anew, in the index of what is due. Nothing is destroyed here. The run that finds a record due then asks
//! the record, the rules of the day, minimums and holds, as always: so a minimum is never undercut, and a rule that was made longer since
//! keeps what it keeps.
//!
//! Only the rules that were approved count here, those of that moment: a rule that an owner alone has made shorter still brings no end
//! forward. How far it has come stands in the data store, in the commits of the index rows: after a crash it goes on where it was, and data
//! of an older date, put back, is gone through again before it is served.

use std::sync::atomic::Ordering;

use super::{
    Vault, VaultError,
    approvals::hash_of,
    directory::{Collection, Tenant, damaged},
    due::{End, end_under},
    plan::{Actor, Plan, entry, retrying, unchanged, unit_of},
    rows::{ShortenedRow, ShorteningRow, State},
    shredder::is_its_own,
};
use crate::{
    domain::{CollectionNo, CollectionPolicy, RecordMeta, Retention, TenantNo, Timestamp},
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
#[derive(PartialEq, Eq)]
enum Went {
    /// Through everything.
    Through,
    /// To its limit.
    Part,
    /// Past something that is to be tried again.
    Past,
}

impl Vault {
    /// There is something to go through.
    pub(super) fn shorten_soon(&self) {
        self.inner.shortened.store(false, Ordering::Release);
        self.is_due_at(self.inner.clock.now());
    }

    /// Goes through some of what two persons have let rules hold for; `false` if there is more. Costs nothing once all of it is done with.
    pub(super) async fn shorten_some(&self, actor: Actor) -> Result<bool, VaultError> {
        // Before anything is looked at: what is approved meanwhile takes it back.
        if self.inner.shortened.swap(true, Ordering::AcqRel) {
            return Ok(true);
        }
        let went = self.shorten_pass(actor).await;
        if !matches!(went, Ok(Went::Through)) {
            self.inner.shortened.store(false, Ordering::Release);
        }
        match went? {
            Went::Through => Ok(true),
            Went::Part => Ok(false),
            Went::Past => {
                self.is_due_at(self.inner.clock.now());
                Ok(true)
            }
        }
    }

    async fn shorten_pass(&self, actor: Actor) -> Result<Went, VaultError> {
        let (mut left, mut went) = (PASS, Went::Through);
        let mut range = schema::table(Table::Shortening);
        // A collection's later ones wait for its earlier ones: what has come to a later one is done with all before.
        let mut waits = None;
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let of = schema::shortening_parts(&row.key).map(|(tenant, collection, _)| (tenant, collection));
                if waits.is_some() && waits == of {
                    continue;
                }
                match self.shorten_one(actor, &row, &mut left).await {
                    Ok(true) => continue,
                    Ok(false) => return Ok(Went::Part),
                    Err(VaultError::Busy) => {}
                    Err(error) if is_its_own(&error) => {
                        tracing::error!(%error, "what is there of a collection cannot be shortened for now");
                    }
                    Err(error) => return Err(error),
                }
                (went, waits) = (Went::Past, of);
            }
        }
        Ok(went)
    }

    /// One shortening; `false` if the pass is over before it is.
    async fn shorten_one(&self, actor: Actor, row: &Row, left: &mut usize) -> Result<bool, VaultError> {
        let (tenant, collection, at) = schema::shortening_parts(&row.key).ok_or_else(|| VaultError::Internal("shortening row".into()))?;
        let ShorteningRow { rules, .. } = self.inner.seals.open(&row.key, &row.value)?;
        let shortening = Shortening { tenant, collection, at, rules };
        let (far, _) = self.shortened_so_far(&shortening).await?;
        if far.at > at || (far.at == at && far.done) {
            return Ok(true);
        }
        loop {
            let count = BATCH.min(*left);
            if count == 0 {
                return Ok(false);
            }
            let Some(far) = retrying(|| self.shorten_batch(actor, &shortening, count)).await? else { return Ok(true) };
            *left = left.saturating_sub(count);
            if far.done {
                return Ok(true);
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

    /// The next records, in one commit with how far that is; `None` where the collection, or its tenant, is shredded.
    async fn shorten_batch(&self, actor: Actor, of: &Shortening, count: usize) -> Result<Option<ShortenedRow>, VaultError> {
        let tenant = self.tenant_by_number(of.tenant).await?;
        if is_gone(tenant.state)? {
            return Ok(None);
        }
        let collection = match self.collection_by_number(tenant.no, of.collection).await {
            // Between its order and the row that says so.
            Err(VaultError::Shredded { .. }) => return Err(VaultError::Busy),
            read => read?,
        };
        if is_gone(collection.state)? {
            return Ok(None);
        }
        let (known, unmoved) = self.shortened_so_far(of).await?;
        let mut far = if known.at == of.at { known } else { ShortenedRow { at: of.at, ..ShortenedRow::default() } };
        let (rules, policy) = approved(&collection, of)?;
        let whole = schema::records_under(tenant.no, collection.no, &[]);
        let rest = if far.after.is_empty() { whole } else { whole.after(&far.after) };
        let rows = self.inner.store.scan(Space::Records, &rest.from, &rest.to, count).await?;
        let mut plan = Plan::default();
        plan.hold(&tenant, &collection)?;
        for row in &rows {
            let is_moved = self.shorten_record(&mut plan, (&tenant, &collection), (&rules, &policy), of.at, row).await?;
            far.moved = far.moved.saturating_add(u64::from(is_moved));
        }
        if let Some(last) = rows.last() {
            far.after = last.key.to_vec();
        }
        far.done = rows.len() < count;
        let key = schema::shortened(tenant.no, collection.no);
        plan.check(Space::Index, key.clone(), unmoved);
        plan.put(Space::Index, key.clone(), self.inner.seals.seal(&key, &far)?);
        if far.done {
            let target = Target { count: Some(u32::try_from(far.moved).unwrap_or(u32::MAX)), ..Target::default() };
            plan.entry(tenant.audit, entry(actor, &tenant, Action::RetentionShorten, collection.no, target));
        }
        self.commit_plan(plan, Urgency::Essential).await?;
        Ok(Some(far))
    }

    /// When two persons have let rules hold for a record that was there, and when it ended by those, in the order of time: for what becomes
    /// of older data.
    pub(super) async fn shortened_ends(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        meta: &RecordMeta,
        value: Option<&[u8]>,
    ) -> Result<Vec<(Timestamp, End)>, VaultError> {
        let mut ends = Vec::new();
        let range = schema::shortenings_of(tenant.no, collection.no);
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            let ShorteningRow { rules, .. } = self.inner.seals.open(&row.key, &row.value)?;
            let Some((.., at)) = schema::shortening_parts(&row.key) else { continue };
            let of = Shortening { tenant: tenant.no, collection: collection.no, at, rules };
            let (rules, policy) = approved(collection, &of)?;
            if let Some(end) = end_under(&rules, &policy, meta, value) {
                let at = moment(at);
                ends.push((at, End { at: end.at.max(at), ..end }));
            }
        }
        Ok(ends)
    }

    /// One record; whether it ends earlier now. What does not open is passed over: the run that meets it says so.
    async fn shorten_record(
        &self,
        plan: &mut Plan,
        (tenant, collection): (&Tenant, &Collection),
        (rules, policy): (&Retention, &CollectionPolicy),
        at: u64,
        row: &Row,
    ) -> Result<bool, VaultError> {
        let (Ok(header), Some(tokens)) = (RecordHeader::parse(&row.value).map_err(damaged), schema::record_tokens(&row.key)) else {
            return Ok(false);
        };
        if header.is_tombstone() {
            return Ok(false);
        }
        let Ok(sealed) = Sealed::<Record>::from_row(row.value.clone()).map_err(damaged) else { return Ok(false) };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                error.counted();
                return Ok(false);
            }
            Err(VaultError::Shredded { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.leaving(tenant, collection, &opened.meta.subjects).await?.is_some() {
            return Ok(false);
        }
        let value = Some(opened.value.expose()).filter(|_| !header.is_manifest());
        let Some(end) = end_under(rules, policy, &opened.meta, value) else { return Ok(false) };
        // Nothing is over before somebody let it be.
        let end = End { at: end.at.max(moment(at)), ..end };
        let is_moved = self.plan_earlier(plan, (tenant.no, collection.no, &tokens), header.version, end).await?;
        if is_moved {
            plan.check(Space::Records, row.key.clone(), unchanged(&header));
        }
        Ok(is_moved)
    }
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

/// The rules that were approved, among those that a collection has and had, and its policy as they are held against it: a category that is
/// not declared any more is still one to them.
fn approved(collection: &Collection, of: &Shortening) -> Result<(Retention, CollectionPolicy), VaultError> {
    let earlier = collection.past.retention_was.iter().rev().map(|(_, rules)| rules);
    for rules in std::iter::once(&collection.policy.retention).chain(earlier) {
        if hash_of(rules)? == of.rules {
            let mut policy = collection.policy.clone();
            let named = rules.schedule().into_iter().flat_map(|schedule| &schedule.rules).flat_map(|rule| &rule.categories);
            policy.categories.extend(named.cloned());
            return Ok((rules.clone(), policy));
        }
    }
    Err(VaultError::Internal("the rules of a shortening are none that the collection has had".into()))
}
