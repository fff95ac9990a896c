//! What an order to shred deletes rather than shreds: a person's records that the collection's own unit seals, and, as the policy
//! said when the keys went, those that name it second; and those beside what a law keeps, whose unit was spared ([`super::spare`]). What
//! the law keeps of all of these is left for its legal purpose alone ([`super::restricted`]). After the keys are gone, a bounded batch
//! and one commit at a time, so that nobody else's order waits for it; until it is done the person stays pending and none of these
//! records is read ([`Vault::leaving`]).
//!
//! Each record says itself whom it is about and what seals it; the index is only the way to it, and is believed where a record
//! cannot be read. So a walk over older data, under a policy of today, ends where the order did.
//!
//! How far an order has come, and what it counted, stands in the data store, in the commits of the deletions themselves; sealed, so
//! that nobody moves it on past what is still there. A record that does not open is deleted too: nobody reads it any more, and one bent byte must not keep a person from being forgotten.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Precondition, Vault, VaultError,
    directory::{Collection, Tenant},
    minimum::standing_at,
    plan::{Actor, Plan, entry, named, record_row, retrying, unchanged, unit_of},
    rows::{ControlRow, DeletedRow, PositionRow, Retained, RetainedRow, ShredRow, State, SubjectRow, Totals},
    shredder::actor_of,
};
use crate::{
    domain::{
        CollectionNo, RecordMeta, ShredId, ShredUnit, TenantNo, Timestamp, Version,
        policy::SecondarySubjects,
        retention::{Events, Kept, Law},
    },
    vault::{
        audit::Action,
        crypto::{Context, Manifest, OpenError, Record, RecordHeader, Sealed, Token},
        keys::{KeysError, UnitRef},
        store::{
            Expect, Row, Space, Urgency,
            schema::{self, KeyRange},
        },
    },
};

/// Records of one commit.
const BATCH: usize = 128;
/// Index rows that are looked at for it.
const LOOKS: usize = 2_048;
/// Rows of one read.
const ROWS: usize = 256;
/// Subjects whose rows are read at once, where each has fewer than so many.
const AHEAD: usize = 32;
const AHEAD_ROWS: usize = 8;

/// A walk over the records of some subjects that no unit of theirs seals.
pub(super) struct Walk<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) actor: Actor,
    pub(super) order: ShredId,
    /// As of when a law keeps what it keeps.
    pub(super) decided_at: Timestamp,
    pub(super) subjects: &'a [Token],
    /// The order's version: the rules of collections are those that held then.
    pub(super) as_of: Version,
    /// What is newer stays.
    pub(super) bound: Option<Version>,
    pub(super) at: PositionRow,
}

/// What a batch of a walk touched, by collection; units are none.
pub(super) type Touched = BTreeMap<CollectionNo, Totals>;

/// What a batch left for its legal purpose, by collection and rule.
type Left = BTreeMap<(CollectionNo, String), RetainedRow>;

/// A record that may have to go.
struct Candidate {
    collection: Arc<Collection>,
    tokens: Vec<Token>,
    subject: Token,
    /// Whether it is to name the subject first.
    first: bool,
    /// What is done with it if it names the subject so.
    rule: SecondarySubjects,
}

/// What the index has of some subjects that follow one another in a walk, read at once, for most have next to nothing there.
#[derive(Default)]
struct Ahead {
    /// The place of the first of them in the walk.
    first: u16,
    /// All rows of each: of those that name it first, and second; `None` where there are more.
    of_each: Vec<[Option<Vec<Row>>; 2]>,
}

impl Ahead {
    fn of(&self, subject: u16) -> Option<&[Option<Vec<Row>>; 2]> {
        self.of_each.get(usize::from(subject.checked_sub(self.first)?))
    }

    fn has(&self, subject: u16) -> bool {
        self.of(subject).is_some()
    }

    /// The rows at a position, from a key on, where they are known.
    fn rest(&self, at: &PositionRow, from: &[u8]) -> Option<Vec<Row>> {
        let [first, second] = self.of(at.subject)?;
        let rows = if at.second { second } else { first }.as_ref()?;
        Some(rows.iter().filter(|row| row.key >= from).cloned().collect())
    }
}

/// The rows of the index that name a subject, first or second.
fn index_of(tenant: TenantNo, subject: &Token, second: bool) -> KeyRange {
    if second { schema::secondary_records(tenant, subject) } else { schema::records_of_subject(tenant, subject) }
}

/// What is to be done about it.
enum Fate {
    /// Nothing of it concerns the subject.
    Stays,
    /// It names the subject second, and the policy says that it stays.
    Kept,
    /// A law keeps it: its header, its row as it stands, what the law counts from.
    Retained(RecordHeader, Bytes, Box<(Law, Events)>),
    /// An order has left it for its legal purpose already.
    Restricted(Law),
    /// With this header.
    Goes(RecordHeader),
    /// It does not open: its row as it stands.
    Unreadable(Bytes),
}

/// What was planned for it.
enum Planned {
    Nothing,
    Kept,
    Deleted,
    /// For its legal purpose; whether anything is written for that.
    Retained(Law, bool),
}

impl Vault {
    /// The order that is about to delete a record, or has done so since that was read: a subject of it is pending, or gone, and the policy
    /// says that the record goes.
    pub(super) async fn leaving(&self, tenant: &Tenant, collection: &Collection, meta: &RecordMeta) -> Result<Option<ShredId>, VaultError> {
        let (first, others) = leaves_for(collection);
        if !first && !others {
            return Ok(None);
        }
        let is_left = meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some());
        for (position, token) in self.subject_tokens(tenant, &meta.subjects).await?.iter().enumerate() {
            let is_first = position == 0;
            if (if is_first { first } else { others })
                && let Some(SubjectRow { state }) = self.control_row(&schema::subject_state(tenant.no, token)).await?
                && !(is_left && matches!(state, State::Shredded(_)))
                && let Some(order) = self.leaves_by(collection, state, is_first).await?
            {
                return Ok(Some(order));
            }
        }
        Ok(None)
    }

    /// The order by which a record leaves that names somebody in a state, first or not. Nothing that names first whom an order has shredded
    /// stays but what the order left for its legal purpose: who sees it has read it before.
    pub(super) async fn leaves_by(&self, collection: &Collection, state: State, is_first: bool) -> Result<Option<ShredId>, VaultError> {
        match state {
            State::Shredded(_) if is_first && fault!("leaves-by") => Ok(None),
            State::Pending(order) | State::Shredded(order) if is_first => Ok(Some(ShredId(order))),
            State::Pending(order) => Ok(self.deletes_secondary(collection, ShredId(order)).await?.then_some(ShredId(order))),
            State::Active | State::Frozen | State::Shredded(_) => Ok(None),
        }
    }

    /// Whether an order under way deletes a collection's records that name its subjects second: by today's policy, until its first keys
    /// are gone and the rule stands.
    async fn deletes_secondary(&self, collection: &Collection, order: ShredId) -> Result<bool, VaultError> {
        let order = self.shred_row(order).await?.filter(|order| order.version != 0);
        let as_of = order.map_or(Version(u64::MAX), |order| Version(order.version));
        Ok(collection.secondary_at(as_of) == SecondarySubjects::Delete)
    }

    /// Deletes a batch of what an order's subjects have outside their units; `true` once nothing is left.
    pub(super) async fn delete_some(&self, id: ShredId, row: &ShredRow) -> Result<bool, VaultError> {
        let subjects: Vec<Token> = row.marked().copied().collect();
        if subjects.is_empty() {
            return Ok(true);
        }
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        match tenant.state {
            // It took along what would be deleted.
            State::Shredded(_) => return Ok(true),
            // It is about to; until then its keys are there.
            State::Pending(_) => return Err(VaultError::Busy),
            State::Active | State::Frozen => tenant.in_use()?,
        }
        let at: PositionRow = self.progress_row(&schema::shred_deleted(id, CollectionNo::TENANT)).await?;
        let (as_of, decided_at) = (Version(row.version), row.decided_as_of());
        let mut walk = Walk { tenant: &tenant, actor: actor_of(row), order: id, decided_at, subjects: &subjects, as_of, bound: None, at };
        self.delete_batch(&mut walk, Some(id)).await?;
        Ok(walk.is_over())
    }

    /// What an order has deleted and kept so far, by collection.
    pub(super) async fn deleted_by(&self, id: ShredId) -> Result<Touched, VaultError> {
        let mut touched = Touched::new();
        let mut range = schema::all_shred_deleted(id);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let no = row.key.last_chunk().map_or(CollectionNo::TENANT, |no| CollectionNo(u32::from_be_bytes(*no)));
                if no != CollectionNo::TENANT {
                    let DeletedRow { deleted, kept } = self.inner.seals.open(&row.key, &row.value)?;
                    touched.insert(no, Totals { units: 0, deleted, kept });
                }
            }
        }
        Ok(touched)
    }

    /// What an order has left so far for its legal purpose, as its row lists it.
    pub(super) async fn retained_by(&self, id: ShredId) -> Result<Vec<Retained>, VaultError> {
        let mut all: Vec<Retained> = Vec::new();
        let mut range = schema::all_shred_retained(id);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let (no, rule) = schema::shred_retained_parts(&row.key).ok_or_else(|| VaultError::Internal("retained row".into()))?;
                let RetainedRow { records, until, basis } = self.inner.seals.open(&row.key, &row.value)?;
                Retained { collection: no.0, rule: rule.to_owned(), basis, records, until }.list(&mut all);
            }
        }
        Ok(all)
    }

    /// One batch and its commit; with an order's progress in it, if it is an order's.
    pub(super) async fn delete_batch(&self, walk: &mut Walk<'_>, order: Option<ShredId>) -> Result<Touched, VaultError> {
        let mut at = walk.at.clone();
        let candidates = self.candidates(walk, &mut at).await?;
        let touched = retrying(|| async {
            let mut met: HashMap<(CollectionNo, &[Token]), Totals> = HashMap::new();
            let mut restricted: HashSet<(CollectionNo, &[Token])> = HashSet::new();
            // No hold stood over them when the keys went: what an order has begun, it ends.
            let mut plan = if walk.bound.is_some() { Plan::decided().keeping_keys() } else { Plan::decided() };
            let (mut left, mut writes) = (Left::new(), false);
            for candidate in &candidates {
                // One that names two of the walk's subjects counts once, and what is deleted is not kept.
                let place = (candidate.collection.no, candidate.tokens.as_slice());
                if met.get(&place).is_some_and(|known| known.deleted > 0) || restricted.contains(&place) {
                    continue;
                }
                let (deleted, kept) = match self.plan_candidate(&mut plan, walk, candidate).await? {
                    Planned::Nothing => continue,
                    Planned::Kept => (0, 1),
                    Planned::Deleted => (1, 0),
                    Planned::Retained(law, is_written) => {
                        restricted.insert(place);
                        met.remove(&place);
                        writes |= is_written;
                        let known = left.entry((candidate.collection.no, law.rule.as_str().to_owned()));
                        known.or_insert_with(|| RetainedRow::new(&law)).add(&law);
                        continue;
                    }
                };
                met.insert(place, Totals { units: 0, deleted, kept });
            }
            let mut touched = Touched::new();
            for ((collection, _), totals) in met {
                let total = touched.entry(collection).or_default();
                *total = total.plus(totals);
            }
            // Where nothing was found there is nothing to remember: looking again finds nothing.
            let is_fruitless = touched.is_empty() && left.is_empty() && usize::from(at.subject) >= walk.subjects.len();
            let remembered = order.filter(|_| !is_fruitless);
            if let Some(id) = remembered {
                self.plan_progress(&mut plan, id, &at, &touched).await?;
                self.plan_retained(&mut plan, id, &left).await?;
            }
            if remembered.is_some() || writes || touched.values().any(|total| total.deleted > 0) {
                self.commit_plan(plan, Urgency::Essential).await?;
            }
            Ok(touched)
        })
        .await?;
        walk.at = at;
        Ok(touched)
    }

    /// The next candidates of a walk, moving on behind them.
    async fn candidates(&self, walk: &Walk<'_>, at: &mut PositionRow) -> Result<Vec<Candidate>, VaultError> {
        let tenant = walk.tenant;
        let mut found = Vec::new();
        let mut known: Option<(CollectionNo, Option<Arc<Collection>>)> = None;
        let mut looks = LOOKS;
        let mut deletions: usize = 0;
        let mut ahead = Ahead::default();
        while deletions < BATCH && looks > 0 {
            let Some(subject) = walk.subjects.get(usize::from(at.subject)) else { break };
            if !ahead.has(at.subject) {
                ahead = self.look_ahead(walk, at.subject).await?;
            }
            let range = index_of(tenant.no, subject, at.second);
            let from = at.from(&range);
            let rows = match ahead.rest(at, &from) {
                Some(rows) => rows,
                None => self.inner.store.scan(Space::Index, &from, &range.to, ROWS.min(looks)).await?,
            };
            if rows.is_empty() {
                at.turn();
            }
            for row in rows {
                looks = looks.saturating_sub(1);
                let (_, no, tokens) =
                    schema::subject_record_parts(&row.key).ok_or_else(|| VaultError::Internal("subject index row".into()))?;
                let collection = match &known {
                    Some((known, collection)) if *known == no => collection.clone(),
                    Some(_) | None => self.lasting(walk, no).await?,
                };
                known = Some((no, collection.clone()));
                at.after = schema::successor(&row.key).to_vec();
                let here = collection.filter(|collection| at.second || collection.past.own_unit || collection.has_law);
                let Some(collection) = here else {
                    // One look for each collection: the records sealed under the subject are not walked, but where a law keeps some.
                    let all = if at.second {
                        schema::prefix(&schema::secondary_record(tenant.no, subject, no, &[]))
                    } else {
                        schema::records_of_subject_in(tenant.no, subject, no)
                    };
                    at.after = all.to.to_vec();
                    break;
                };
                let first = !at.second;
                let rule = if first { SecondarySubjects::Delete } else { collection.secondary_at(walk.as_of) };
                found.push(Candidate { collection, tokens, subject: *subject, first, rule });
                if rule == SecondarySubjects::Delete {
                    deletions = deletions.saturating_add(1);
                }
                if deletions >= BATCH {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// What the index has of a subject of a walk and of those that follow.
    async fn look_ahead(&self, walk: &Walk<'_>, first: u16) -> Result<Ahead, VaultError> {
        let (tenant, store) = (walk.tenant.no, &self.inner.store);
        let next = walk.subjects.get(usize::from(first)..).unwrap_or_default();
        let next = next.get(..AHEAD).unwrap_or(next);
        let whole = |rows: Vec<Row>| Some(rows).filter(|rows| rows.len() < AHEAD_ROWS);
        let of = |second| next.iter().map(|subject| index_of(tenant, subject, second)).collect::<Vec<_>>();
        let named_first = store.scan_each(Space::Index, &of(false), AHEAD_ROWS).await?;
        let named_second = store.scan_each(Space::Index, &of(true), AHEAD_ROWS).await?;
        let of_each = named_first.into_iter().zip(named_second).map(|(first, second)| [whole(first), whole(second)]).collect();
        Ok(Ahead { first, of_each })
    }

    /// A collection whose records may have to be deleted; `None` where it was shredded and took them along.
    ///
    /// # Errors
    /// [`VaultError::Busy`] while its shred unit is being changed: its records stay if it turns out to have any. And while it is
    /// only about to go, as [`Walk::about_to_go`] says.
    async fn lasting(&self, walk: &Walk<'_>, no: CollectionNo) -> Result<Option<Arc<Collection>>, VaultError> {
        let found = match walk.bound {
            None => self.collection_by_number(walk.tenant.no, no).await,
            // Its order may be taken back behind this walk: what was deleted before is deleted from it now.
            Some(_) => self.collection_unmarked(walk.tenant.no, no).await,
        };
        match found {
            Ok(collection) => match collection.state {
                State::Shredded(_) => Ok(None),
                State::Pending(_) => walk.about_to_go().map(|()| None),
                State::Active | State::Frozen => collection.in_use().map(|()| Some(Arc::new(collection))),
            },
            // Its order has closed the fence in between.
            Err(VaultError::Shredded { .. }) => walk.about_to_go().map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// What is to be made of a record that no key opens: nothing where its keys are gone.
    ///
    /// # Errors
    /// [`VaultError::Busy`] where they are only about to go, as [`Walk::about_to_go`] says.
    async fn is_gone(&self, walk: &Walk<'_>, collection: &Collection, unit: UnitRef) -> Result<(), VaultError> {
        if self.lasting(walk, collection.no).await?.is_none() {
            return Ok(());
        }
        match self.is_current(unit).await {
            Ok(false) => Ok(()),
            Ok(true) | Err(VaultError::Shredded { .. }) => walk.about_to_go(),
            Err(error) => Err(error),
        }
    }

    /// Plans the deletion of one record; nothing if it is gone already, about someone else, or newer than the bound.
    async fn plan_candidate(&self, plan: &mut Plan, walk: &Walk<'_>, candidate: &Candidate) -> Result<Planned, VaultError> {
        let Candidate { collection, tokens, subject, .. } = candidate;
        match self.fate(walk, candidate).await? {
            Fate::Stays => Ok(Planned::Nothing),
            Fate::Kept => Ok(Planned::Kept),
            Fate::Restricted(law) => Ok(Planned::Retained(law, false)),
            Fate::Retained(header, stored, kept) => {
                let (law, events) = *kept;
                match self.plan_restricted(plan, walk, (collection, tokens), (header, stored), (&law, &events)).await {
                    Ok(()) => Ok(Planned::Retained(law, true)),
                    Err(VaultError::Shredded { .. }) => {
                        self.is_gone(walk, collection, unit_of(&header, walk.tenant.no)).await.map(|()| Planned::Nothing)
                    }
                    Err(error) => Err(error),
                }
            }
            Fate::Goes(header) => {
                // Not by a precondition: it would not hold of a record whose time is over, and that goes, too.
                plan.check(Space::Records, record_row(walk.tenant, collection.no, tokens), unchanged(&header));
                match self.plan_delete(plan, walk.actor, walk.tenant, collection, tokens, &Precondition::None, None).await {
                    Ok(deferred) => {
                        plan.defers |= deferred.is_some();
                        if let Some(token) = tokens.last().filter(|_| collection.has_law) {
                            // Its unit is spared for others, and must name it no more.
                            let unit = (header.slot, header.generation);
                            plan.delete(Space::Index, schema::trail_name(walk.tenant.no, unit, collection.no, token));
                        }
                        Ok(Planned::Deleted)
                    }
                    Err(VaultError::NotFound(_)) => Ok(Planned::Nothing),
                    Err(VaultError::Shredded { .. }) => {
                        self.is_gone(walk, collection, unit_of(&header, walk.tenant.no)).await.map(|()| Planned::Nothing)
                    }
                    Err(error) => Err(error),
                }
            }
            Fate::Unreadable(stored) => {
                metrics::counter!("lethe_shred_unreadable_rows_total").increment(1);
                tracing::error!(collection = collection.no.0, "a record that does not open was deleted with a person's shred");
                plan.hold(walk.tenant, collection)?;
                let row = schema::record(walk.tenant.no, collection.no, tokens);
                plan.check(Space::Records, row.clone(), Expect::Equals(stored));
                plan.delete(Space::Records, row);
                plan.delete(Space::Index, schema::subject_record(walk.tenant.no, subject, collection.no, tokens));
                plan.delete(Space::Index, schema::secondary_record(walk.tenant.no, subject, collection.no, tokens));
                self.plan_due(plan, (walk.tenant.no, collection.no, tokens), false, (Version(0), None)).await?;
                let target = tokens.last().map(|token| named(*token)).unwrap_or_default();
                plan.entry(walk.tenant.audit, entry(walk.actor, walk.tenant, Action::RecordDelete, collection.no, target));
                Ok(Planned::Deleted)
            }
        }
    }

    /// Reads what stands under a candidate's key.
    async fn fate(&self, walk: &Walk<'_>, candidate: &Candidate) -> Result<Fate, VaultError> {
        let Candidate { collection, tokens, subject, first, rule } = candidate;
        let (tenant, row) = (walk.tenant, schema::record(walk.tenant.no, collection.no, tokens));
        let Some(stored) = self.inner.store.get(Space::Records, &row).await? else { return Ok(Fate::Stays) };
        let unreadable = |stored: Bytes| self.fate_of_unreadable(tenant, candidate, stored);
        let Ok(header) = RecordHeader::parse(&stored) else { return unreadable(stored).await };
        if header.is_tombstone() || walk.bound.is_some_and(|bound| header.version > bound) {
            return Ok(Fate::Stays);
        }
        let Ok(sealed) = Sealed::<Record>::from_row(stored.clone()) else { return unreadable(stored).await };
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let is_own = unit == collection.unit;
        if !is_own && matches!(self.inner.forest.load_unit(unit.tenant, unit.slot).await, Err(KeysError::Unknown)) {
            return unreadable(stored).await;
        }
        let opened = match self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await {
            Ok(opened) => opened.map_err(OpenError::counted).ok(),
            // Where nothing but the collection's unit seals, a header that names another is bent.
            Err(VaultError::Shredded { .. }) if !is_own && collection.policy.shred_unit == ShredUnit::Collection => None,
            Err(VaultError::Shredded { .. }) => return self.is_gone(walk, collection, unit).await.map(|()| Fate::Stays),
            Err(error) => return Err(error),
        };
        let whole = opened.filter(|record| !header.is_manifest() || Manifest::parse(record.value.expose()).is_ok());
        let Some(record) = whole else { return unreadable(stored).await };
        // An index row may be left from a shredded record whose key was written again, about someone else.
        let named = self.subject_tokens(tenant, &record.meta.subjects).await?;
        let place = named.iter().position(|token| token == subject);
        let events = self.events_then(walk, collection, &record.meta, named.first()).await?;
        Ok(match (place.is_some_and(|place| (place == 0) == *first), rule) {
            (false, _) => Fate::Stays,
            (true, SecondarySubjects::Keep) => Fate::Kept,
            (true, SecondarySubjects::Delete) => {
                let value = Some(record.value.expose()).filter(|_| !header.is_manifest());
                match (standing_at(collection, &record.meta, value, &events, walk.decided_at), &record.meta.kept) {
                    (None, _) => Fate::Goes(header),
                    // It names two of the order's persons, and is counted.
                    (Some(_), Some(Kept { restricted_by: Some(order), .. })) if *order == walk.order => Fate::Stays,
                    (Some(law), Some(Kept { restricted_by: Some(_), .. })) => Fate::Restricted(law),
                    (Some(law), _) => Fate::Retained(header, stored, Box::new((law, events))),
                }
            }
        })
    }

    /// What is known of the events of a record's first person: of one whom the order is about, what the order remembers.
    async fn events_then(
        &self,
        walk: &Walk<'_>,
        collection: &Collection,
        meta: &RecordMeta,
        first: Option<&Token>,
    ) -> Result<Events, VaultError> {
        match first.filter(|first| walk.subjects.contains(first)) {
            Some(first) => self.events_of_order(walk.tenant.no, collection, meta, (walk.order, first, walk.decided_at)).await,
            None => self.events_by_law(walk.tenant.no, collection, meta).await,
        }
    }

    /// The same for a row that cannot say whom it is about: only the index does. What it lists as naming the subject second goes
    /// by that rule.
    async fn fate_of_unreadable(&self, tenant: &Tenant, candidate: &Candidate, stored: Bytes) -> Result<Fate, VaultError> {
        let Candidate { collection, tokens, subject, first, rule } = candidate;
        if *first && !collection.past.own_unit && !collection.has_law {
            // Sealed under a unit of the person's, if any: it went with that.
            return Ok(Fate::Stays);
        }
        let second = schema::secondary_record(tenant.no, subject, collection.no, tokens);
        if *first && self.inner.store.get(Space::Index, &second).await?.is_some() {
            return Ok(Fate::Stays);
        }
        Ok(if *rule == SecondarySubjects::Keep { Fate::Kept } else { Fate::Unreadable(stored) })
    }

    /// How far an order has come, for the commit that brings it there.
    async fn plan_progress(&self, plan: &mut Plan, id: ShredId, at: &PositionRow, touched: &Touched) -> Result<(), VaultError> {
        let seals = &self.inner.seals;
        for (no, more) in touched {
            let key = schema::shred_deleted(id, *no);
            let before: DeletedRow = self.progress_row(&key).await?;
            let deleted = before.deleted.saturating_add(more.deleted);
            let row = seals.seal(&key, &DeletedRow { deleted, kept: before.kept.saturating_add(more.kept) })?;
            plan.put(Space::Index, key, row);
        }
        let key = schema::shred_deleted(id, CollectionNo::TENANT);
        let row = seals.seal(&key, at)?;
        plan.put(Space::Index, key, row);
        Ok(())
    }

    /// The same of what it has left for its legal purpose.
    async fn plan_retained(&self, plan: &mut Plan, id: ShredId, left: &Left) -> Result<(), VaultError> {
        let seals = &self.inner.seals;
        for ((no, rule), more) in left {
            let key = schema::shred_retained(id, *no, rule);
            let row = match self.inner.store.get(Space::Index, &key).await? {
                Some(stored) => seals.open::<RetainedRow>(&key, &stored)?.and(more),
                None => more.clone(),
            };
            let row = seals.seal(&key, &row)?;
            plan.put(Space::Index, key, row);
        }
        Ok(())
    }

    /// A row of an order's progress; before the first batch there is none.
    async fn progress_row<R: ControlRow + Default>(&self, key: &[u8]) -> Result<R, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Index, key).await? else { return Ok(R::default()) };
        self.inner.seals.open(key, &stored)
    }
}

/// Whether an order may delete a collection's records, rather than shred them, for whom they name first, and for whom they name besides.
/// Where a law may keep something, the keys are there until it is decided what, and those of what it keeps are there longer.
pub(super) fn leaves_for(collection: &Collection) -> (bool, bool) {
    (collection.past.own_unit || collection.has_law, collection.ever_deletes_secondary())
}

impl Walk<'_> {
    /// What an order is about to destroy is still there: a certificate must not stand over it, should that order fail. Older data
    /// waits for nothing: it is gone through before any order has closed anything, so this is what none of its keys opens.
    ///
    /// # Errors
    /// [`VaultError::Busy`], but for older data.
    fn about_to_go(&self) -> Result<(), VaultError> {
        if self.bound.is_some() { Ok(()) } else { Err(VaultError::Busy) }
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        usize::from(self.at.subject) >= self.subjects.len()
    }
}

impl PositionRow {
    /// Where the next read of a range begins.
    fn from(&self, range: &KeyRange) -> Bytes {
        if self.after.is_empty() { range.from.clone() } else { self.after.clone().into() }
    }

    /// On to the records that name the subject second; then to the next subject.
    fn turn(&mut self) {
        self.after.clear();
        if self.second {
            self.subject = self.subject.saturating_add(1);
        }
        self.second = !self.second;
    }
}
