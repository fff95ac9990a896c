//! Which units an order about persons spares, for a law keeps records that they seal. It is decided once nothing that the order names is
//! written to any more, and before a key goes: the records of these persons in collections with legal minimums are opened, no others.
//! The rows of the spared units leave the table of units, in the commits of the decision, and lie in a table of their own: what looks for
//! what the order destroys, or for the unit of a person who returns, does not meet them.
//!
//! However much that is, it is decided some units at a time, as of one moment. That all is decided is said with the last of them, and until
//! then the keys of what a law may keep are lent: whatever cuts the decision short, it goes on where it was, and no key goes before its end.
//!
//! A spared unit is shredded by an order of its own when nothing is left under it, and not before the minimums have ended for which it was
//! spared: older data that was put back may have less under it than other copies.
//!
//! What the order then leaves of such a record is [`super::restricted`]; what keeps it, [`super::minimum`].

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Vault, VaultError,
    directory::{Collection, Tenant},
    minimum::{AT_ONCE, KeptRecord},
    plan::{Actor, Plan, order_of, unit_of},
    reports::Run,
    restricted::Left,
    retention::RulesNo,
    rows::{CollectionRow, KeptUnitRow, Progress, Scope, ShredRow, State, UnitRow, later},
    shred::{Named, UnitIn},
    shredder::is_its_own,
};
use crate::{
    domain::{CollectionNo, Gen, ShredId, Slot, TenantNo, Timestamp},
    vault::{
        audit::Trail,
        crypto::{RecordHeader, Token},
        keys::UnitRef,
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, Fineness},
        },
    },
};

/// Rows of spared units that are looked at at a time.
const PASS: usize = 1_000;

/// A unit that is spared, with the row that it has among those of its person.
struct Spared {
    key: Bytes,
    stored: Bytes,
    unit: UnitRef,
    kept: KeptUnitRow,
}

/// The latest end of the minimums for which something is spared, and of those of them that nobody shortens; `None` while one is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Until {
    all: Option<i64>,
    firm: Option<i64>,
}

impl Until {
    /// The later of two.
    fn later(self, other: Self) -> Self {
        Self { all: later(self.all, other.all), firm: later(self.firm, other.firm) }
    }
}

/// What was decided of an order about persons.
pub(super) struct Decided {
    /// As of when.
    pub(super) at: Timestamp,
    /// The units that it destroys, where that was decided without a commit: no other order does anything to them before its epoch.
    pub(super) units: Option<Vec<UnitIn>>,
}

/// A decision under way.
struct Deciding<'a> {
    id: ShredId,
    tenant: &'a Tenant,
    /// As of when.
    at: Timestamp,
    /// The order's row as it is to be, and as it is stored.
    row: ShredRow,
    stored: Bytes,
    /// What was found to be spared and is not committed yet.
    found: Vec<Spared>,
}

/// The slots of the spared units of tenants, by whose they were: read once for many persons.
#[derive(Default)]
pub(super) struct SparedSlots(HashMap<TenantNo, HashMap<Token, HashSet<u64>>>);

impl Vault {
    /// Decides what an order about persons spares, and gives as of when: the persons are pending, so nothing of theirs is written
    /// meanwhile, and nobody waits for it. An order that is not to be decided, or not there, gives nothing.
    pub(super) async fn decide(&self, id: ShredId) -> Result<Option<Decided>, VaultError> {
        let order = schema::shred_order(id);
        let Some(stored) = self.inner.store.get(Space::Control, &order).await? else { return Ok(None) };
        let row: ShredRow = self.inner.seals.open(&order, &stored)?;
        if row.progress != Progress::Pending {
            return Ok(None);
        }
        // Whatever comes of this, and however long it takes.
        let units = self.close_fence(&row).await?;
        if !matches!(row.scope, Scope::Subjects(_)) {
            return Ok(None);
        }
        if row.is_decided {
            return Ok(Some(Decided { at: row.decided_as_of(), units: Some(units) }));
        }
        if let Some(at) = self.inner.shredder.decided_at(id) {
            return Ok(Some(Decided { at, units: Some(units) }));
        }
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        let at = if row.decided_at == 0 { self.decides_as_of(&row).await? } else { Timestamp(row.decided_at) };
        let subjects: Vec<Token> = row.marked().copied().collect();
        let row = ShredRow { decided_at: at.0, ..row };
        let mut deciding = Deciding { id, tenant: &tenant, at, row, stored, found: Vec::new() };
        // What goes with its tenant is kept by no law.
        if order_of(tenant.state).is_none() {
            // Closed under other rules, or by a decision that was taken back: lent again to who decides now.
            for unit in self.undecided(&deciding.row, &units).await? {
                self.inner.forest.fence().reopen_unit(unit.tenant, unit.slot);
            }
            // A law counts from what was reported of them, which goes with their keys.
            if !fault!("left-events") {
                self.leave_events(id, &tenant, &subjects, at).await?;
            }
            if self.may_keep_any(tenant.no, &units).await? {
                for subject in &subjects {
                    self.spare_of(&mut deciding, subject).await?;
                }
            }
        }
        if deciding.found.is_empty() && !deciding.row.has_spared {
            // A commit of its own would be one for every order of a store without laws. Who starts anew decides anew.
            self.inner.shredder.was_decided(id, at);
            return Ok(Some(Decided { at, units: Some(units) }));
        }
        self.commit_spared(&mut deciding, true).await?;
        Ok(Some(Decided { at, units: None }))
    }

    /// Whether a law may keep anything in the collections of these units.
    async fn may_keep_any(&self, tenant: TenantNo, units: &[UnitIn]) -> Result<bool, VaultError> {
        let collections: BTreeSet<CollectionNo> = units.iter().map(|(no, _)| *no).collect();
        for no in collections {
            if self.may_keep(tenant, no).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Spares the units of a person that seal what a law keeps.
    async fn spare_of(&self, deciding: &mut Deciding<'_>, subject: &Token) -> Result<(), VaultError> {
        let tenant = deciding.tenant.no;
        let mut range = schema::units_of_subject(tenant, subject);
        // One look for each collection in which there are any.
        while let Some(first) = self.inner.store.scan(Space::Control, &range.from, &range.to, 1).await?.pop() {
            let no = schema::unit_collection(&first.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
            if let Some(collection) = self.lawful(tenant, no).await? {
                self.spare_in(deciding, &collection, subject).await?;
            }
            range.from = schema::prefix(&schema::unit(tenant, subject, no)).to;
        }
        Ok(())
    }

    /// The same in one collection.
    async fn spare_in(&self, deciding: &mut Deciding<'_>, collection: &Collection, subject: &Token) -> Result<(), VaultError> {
        let (tenant, order) = (deciding.tenant.no, (deciding.id, deciding.at));
        let own = self.unit_at(tenant, schema::unit(tenant, subject, collection.no)).await?;
        // Until when the person's own unit there is kept, once anything keeps it.
        let mut own_until: Option<Until> = None;
        let mut range = schema::records_of_subject_in(tenant, subject, collection.no);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, AT_ONCE).await? {
            for KeptRecord { header, token, law, firm } in self.kept_among(deciding.tenant, collection, subject, order, &rows).await? {
                // Where nobody is kept from shortening it, nothing keeps it longer than until now.
                let firm = firm.map_or(Some(deciding.at), |firm| firm.until);
                let until = Until { all: law.until.map(|until| until.0), firm: firm.map(|until| until.0) };
                let unit = unit_of(&header, tenant);
                if unit == collection.unit {
                    continue;
                }
                if own.as_ref().is_some_and(|(.., own)| *own == unit) {
                    own_until = Some(own_until.map_or(until, |known| known.later(until)));
                    continue;
                }
                let key = schema::record_unit_of_subject(tenant, subject, collection.no, &token, header.slot);
                if let Some(of_record) = self.unit_at(tenant, key).await?.filter(|(.., of_record)| *of_record == unit) {
                    self.spare(deciding, of_record, (subject, collection, Some(token)), until).await?;
                }
            }
        }
        match own.zip(own_until) {
            Some((own, until)) => self.spare(deciding, own, (subject, collection, None), until).await,
            None => Ok(()),
        }
    }

    /// A row of the table of units, and the unit that it names; none where there is none. One that is not as this store wrote it is told of
    /// by who destroys.
    async fn unit_at(&self, tenant: TenantNo, key: Bytes) -> Result<Option<(Bytes, Bytes, UnitRef)>, VaultError> {
        let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { return Ok(None) };
        let Ok(row) = self.inner.seals.open::<UnitRow>(&key, &stored) else { return Ok(None) };
        Ok(Some((key, stored, row.unit(tenant)?)))
    }

    /// One unit more that is spared.
    async fn spare(
        &self,
        deciding: &mut Deciding<'_>,
        (key, stored, unit): (Bytes, Bytes, UnitRef),
        (subject, collection, record): (&Token, &Collection, Option<Token>),
        until: Until,
    ) -> Result<(), VaultError> {
        // The last of them are committed with the word that it is decided.
        if deciding.found.len() >= self.inner.options.spared_at_once {
            self.commit_spared(deciding, false).await?;
        }
        let kept = KeptUnitRow {
            subject: *subject,
            collection: collection.no.0,
            record,
            generation: unit.generation.0,
            order: deciding.id.0,
            until: until.all,
            firm_until: until.firm,
            rules_no: collection.rules_until(deciding.at).stored()?,
            look_at: first_look(until.all, record.is_some(), deciding.at).0,
        };
        deciding.found.push(Spared { key, stored, unit, kept });
        Ok(())
    }

    /// Commits what was found so far; with the last of it, that all is decided.
    async fn commit_spared(&self, deciding: &mut Deciding<'_>, is_all: bool) -> Result<(), VaultError> {
        let (tenant, seals, found) = (deciding.tenant.no, &self.inner.seals, std::mem::take(&mut deciding.found));
        let slots: HashSet<u64> = found.iter().map(|one| one.unit.slot.number()).collect();
        let row = &mut deciding.row;
        // What is read before and tried after are records whose keys go.
        row.sample.retain(|(_, header)| RecordHeader::parse(header).map_or(true, |header| !slots.contains(&header.slot.number())));
        row.has_spared |= !found.is_empty();
        row.is_decided = is_all;
        let order = schema::shred_order(deciding.id);
        let anew = seals.seal(&order, row)?;
        let mut checks = vec![Check { space: Space::Control, key: order.clone(), expect: Expect::Equals(deciding.stored.clone()) }];
        let mut writes = vec![Write::Put { space: Space::Control, key: order, value: anew.clone() }];
        for Spared { key, stored, unit, kept } in &found {
            checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored.clone()) });
            writes.push(Write::Delete { space: Space::Control, key: key.clone() });
            writes.push(seals.put(schema::kept_unit(tenant, unit.slot), kept)?);
            writes.push(look(tenant, unit.slot, kept.look_at));
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await?;
        deciding.stored = anew;
        if let Some(first) = found.iter().map(|one| one.kept.look_at).min() {
            self.is_due_at(Timestamp(first));
        }
        Ok(())
    }

    /// Spares a unit that is made for what an order of another store has left.
    pub(super) fn plan_spared(
        &self,
        plan: &mut Plan,
        unit: UnitRef,
        (subject, collection, record): (Token, CollectionNo, Option<Token>),
        left: &Left,
    ) -> Result<(), VaultError> {
        let now = self.inner.clock.now();
        let (until, firm_until) = (Some(left.until.0), Some(left.firm_until.0));
        // Not before what it is for is there.
        let look_at = first_look(until, record.is_some(), now).max(now.plus(LOOK_LEAST)).0;
        let (collection, generation, order) = (collection.0, unit.generation.0, left.order.0);
        let kept = KeptUnitRow { subject, collection, record, generation, order, until, firm_until, rules_no: left.rules_no, look_at };
        plan.open(&self.inner.seals, schema::kept_unit(unit.tenant, unit.slot), Expect::Absent, &kept)?;
        let due = schema::kept_due(unsigned(look_at), unit.tenant, unit.slot);
        plan.opened.push((Check { space: Space::Control, key: due, expect: Expect::Absent }, look(unit.tenant, unit.slot, look_at)));
        plan.first_due.at(Fineness::Hour, Timestamp(look_at));
        Ok(())
    }

    /// Takes a decision back, some units at a time: they are their person's again. From the first commit on nothing is decided any more:
    /// whatever cuts this short, the order decides anew.
    pub(super) async fn unspare(&self, id: ShredId, row: &ShredRow) -> Result<(), VaultError> {
        if !row.has_spared {
            return Ok(());
        }
        let (tenant, order, seals) = (TenantNo(row.tenant), schema::shred_order(id), &self.inner.seals);
        let stored = self.inner.store.get(Space::Control, &order).await?.ok_or_else(|| VaultError::Internal("shred row".into()))?;
        let undecided = seals.seal(&order, &ShredRow { is_decided: false, ..row.clone() })?;
        let mut expect = Expect::Equals(stored);
        let mut range = schema::table_of_tenant(schema::Table::KeptUnit, tenant);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, self.inner.options.spared_at_once.max(1)).await? {
            let mut checks = vec![Check { space: Space::Control, key: order.clone(), expect: expect.clone() }];
            let mut writes = vec![Write::Put { space: Space::Control, key: order.clone(), value: undecided.clone() }];
            for spared in rows {
                let (_, slot) = schema::kept_unit_parts(&spared.key).ok_or_else(|| VaultError::Internal("kept unit row".into()))?;
                let kept: KeptUnitRow = seals.open(&spared.key, &spared.value)?;
                if kept.order != id.0 {
                    continue;
                }
                let no = CollectionNo(kept.collection);
                let unit = match &kept.record {
                    None => schema::unit(tenant, &kept.subject, no),
                    Some(record) => schema::record_unit_of_subject(tenant, &kept.subject, no, record, slot),
                };
                checks.push(Check { space: Space::Control, key: spared.key.clone(), expect: Expect::Equals(spared.value) });
                checks.push(Check { space: Space::Control, key: unit.clone(), expect: Expect::Absent });
                writes.push(Write::Delete { space: Space::Control, key: spared.key });
                writes.push(no_look(tenant, slot, kept.look_at));
                writes.push(seals.put(unit, &UnitRow { slot: slot.number(), generation: kept.generation })?);
            }
            if checks.len() == 1 {
                continue;
            }
            let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
            self.commit(Trail::Control, commit, Vec::new()).await?;
            expect = Expect::Equals(undecided.clone());
        }
        Ok(())
    }

    /// Hides from the trail what the units name that an order has spared: their keys live. Not before its other keys are gone, for until
    /// then a hold may take the order back.
    pub(super) async fn drop_names_of_order(&self, id: ShredId, row: &ShredRow) -> Result<(), VaultError> {
        if !row.has_spared {
            return Ok(());
        }
        let tenant = TenantNo(row.tenant);
        let mut range = schema::table_of_tenant(schema::Table::KeptUnit, tenant);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            let mut slots = HashSet::new();
            for spared in rows {
                let (_, slot) = schema::kept_unit_parts(&spared.key).ok_or_else(|| VaultError::Internal("kept unit row".into()))?;
                let kept: KeptUnitRow = self.inner.seals.open(&spared.key, &spared.value)?;
                slots.extend((kept.order == id.0).then_some(slot.number()));
            }
            self.drop_names_of_slots(tenant, &slots).await?;
        }
        Ok(())
    }

    /// Hides from the trail again what older data names under units that orders have spared of these persons.
    pub(super) async fn drop_names_of_spared(
        &self,
        tenant: TenantNo,
        subjects: &[Token],
        known: &mut SparedSlots,
    ) -> Result<(), VaultError> {
        let is_known = known.0.contains_key(&tenant);
        if !is_known {
            let mut by_person: HashMap<Token, HashSet<u64>> = HashMap::new();
            for (_, _, slot, kept) in self.kept_units_of(tenant).await? {
                by_person.entry(kept.subject).or_default().insert(slot.number());
            }
            known.0.insert(tenant, by_person);
        }
        let by_person = known.0.get(&tenant);
        let of_them = subjects.iter().filter_map(|subject| by_person?.get(subject));
        let slots: HashSet<u64> = of_them.flatten().copied().collect();
        self.drop_names_of_slots(tenant, &slots).await
    }

    /// The spared units of a tenant.
    async fn kept_units_of(&self, tenant: TenantNo) -> Result<Vec<(Bytes, Bytes, Slot, KeptUnitRow)>, VaultError> {
        let mut all = Vec::new();
        let mut range = schema::table_of_tenant(schema::Table::KeptUnit, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let (_, slot) = schema::kept_unit_parts(&row.key).ok_or_else(|| VaultError::Internal("kept unit row".into()))?;
                let kept = self.inner.seals.open(&row.key, &row.value)?;
                all.push((row.key, row.value, slot, kept));
            }
        }
        Ok(all)
    }

    /// What forgets a spared unit that is shredded.
    pub(super) async fn forgotten(&self, tenant: TenantNo, slot: Slot) -> Result<Vec<Write>, VaultError> {
        let key = schema::kept_unit(tenant, slot);
        let Some(kept) = self.control_row::<KeptUnitRow>(&key).await? else { return Ok(Vec::new()) };
        Ok(vec![Write::Delete { space: Space::Control, key }, no_look(tenant, slot, kept.look_at)])
    }

    /// Has spared units looked at soon of which the last record went, for their time has come. What fails here is looked at in its own
    /// time, and so is what older data has no more of that is made ready: other data may.
    pub(super) async fn look_at_emptied(&self, emptied: Vec<UnitRef>) {
        if self.is_restoring() {
            return;
        }
        for unit in emptied {
            if let Err(error) = self.bring_forward(unit).await {
                tracing::warn!(%error, "a key of which nothing is left is looked at later");
            }
        }
    }

    async fn bring_forward(&self, unit: UnitRef) -> Result<(), VaultError> {
        let (key, now) = (schema::kept_unit(unit.tenant, unit.slot), self.inner.clock.now());
        let Some(stored) = self.inner.store.get(Space::Control, &key).await? else { return Ok(()) };
        let kept: KeptUnitRow = self.inner.seals.open(&key, &stored)?;
        // That of a record is ordered with the record's deletion; one whose minimums have not ended may have more elsewhere.
        let is_time = kept.record.is_none() && self.kept_until(unit.tenant, &kept).await?.is_none_or(|until| until <= now.0);
        if is_time && kept.look_at > now.0 { self.look_again(unit, stored, kept, now).await } else { Ok(()) }
    }

    /// Until when the minimums last for which a unit was spared, but for those that somebody has bypassed since.
    async fn kept_until(&self, tenant: TenantNo, kept: &KeptUnitRow) -> Result<Option<i64>, VaultError> {
        if kept.firm_until == kept.until {
            return Ok(kept.until);
        }
        let is_bypassed = match self.collection_by_number(tenant, CollectionNo(kept.collection)).await {
            Ok(collection) => collection.is_bypassed(RulesNo::of(kept.rules_no), collection.rules_now()),
            // Nobody has said so of what is shredded, or cannot be read.
            Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => false,
            Err(error) => return Err(error),
        };
        Ok(if is_bypassed { kept.firm_until } else { kept.until })
    }

    /// Looks at a spared unit again at another moment.
    async fn look_again(&self, unit: UnitRef, stored: Bytes, kept: KeptUnitRow, at: Timestamp) -> Result<(), VaultError> {
        let key = schema::kept_unit(unit.tenant, unit.slot);
        let checks = vec![Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored) }];
        let writes = vec![
            no_look(unit.tenant, unit.slot, kept.look_at),
            look(unit.tenant, unit.slot, at.0),
            self.inner.seals.put(key, &KeptUnitRow { look_at: at.0, ..kept })?,
        ];
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await?;
        self.is_due_at(at);
        Ok(())
    }

    /// Orders the shreds of spared units of which nothing is left and whose time had come by `until`, at most `limit`. Not of older data
    /// that is made ready: other copies may have more.
    pub(super) async fn end_spared(&self, (actor, run): (Actor, Run), until: Timestamp, limit: u64) -> Result<Ended, VaultError> {
        let (mut ended, mut left, mut missed) = (Ended::default(), limit, 0_usize);
        if self.is_restoring() {
            return Ok(ended);
        }
        let again = self.inner.clock.now().plus(TRIED_AGAIN);
        let mut range = schema::table(schema::Table::KeptDue);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            for row in rows {
                let (at, tenant, slot) = schema::kept_due_parts(&row.key).ok_or_else(|| VaultError::Internal("kept due row".into()))?;
                if at > unsigned(until.0) {
                    ended.looks_at(Timestamp(i64::try_from(at).unwrap_or(i64::MAX)));
                    return Ok(ended);
                }
                if left == 0 {
                    ended.is_cut = true;
                    return Ok(ended);
                }
                match self.end_one((actor, run), (tenant, slot), &row.key, until).await {
                    Ok(is_done) => left = left.saturating_sub(u64::from(is_done)),
                    Err(VaultError::Busy) => {
                        // Another run was faster, or there is no place for more orders, which the next one would meet, too.
                        ended.looks_at(again);
                        missed = missed.saturating_add(1);
                        if missed >= super::ATTEMPTS {
                            return Ok(ended);
                        }
                    }
                    Err(error) if is_its_own(&error) => {
                        ended.looks_at(again);
                        tracing::error!(%error, tenant = tenant.0, "a spared key cannot be looked at");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(ended)
    }

    /// One of them; whether anything was done about it.
    async fn end_one(
        &self,
        (actor, run): (Actor, Run),
        (no, slot): (TenantNo, Slot),
        due: &Bytes,
        by: Timestamp,
    ) -> Result<bool, VaultError> {
        let key = schema::kept_unit(no, slot);
        let stored = self.inner.store.get(Space::Control, &key).await?;
        let tenant = self.tenant_by_number(no).await?;
        let stored = match (stored, tenant.state) {
            (Some(stored), State::Active) => stored,
            // What is imported is looked at once all of it is there.
            (Some(_), State::Pending(_) | State::Frozen) => return Ok(false),
            (None, _) | (Some(_), State::Shredded(_)) => {
                // It went long ago, or with its tenant.
                let gone = [due.clone(), key].map(|key| Write::Delete { space: Space::Control, key });
                let (checks, durability) = (Vec::new(), Durability::Synced);
                let commit = Commit { checks, writes: gone.into(), tail: None, durability, urgency: Urgency::Essential };
                return self.commit(Trail::Control, commit, Vec::new()).await.map(|_| true);
            }
        };
        let now = self.inner.clock.now();
        let kept: KeptUnitRow = self.inner.seals.open(&key, &stored)?;
        let unit = UnitRef { tenant: no, slot, generation: Gen(kept.generation) };
        let until = self.kept_until(no, &kept).await?;
        // The row that led here is not believed.
        let is_early = until.is_some_and(|until| until > by.0);
        if is_early || self.inner.store.get(Space::Control, &schema::unit_state(no, slot)).await?.is_some() {
            // It is ordered, or its time has not come.
            return Ok(false);
        }
        if self.shred_row(ShredId(kept.order)).await?.is_some_and(|order| order.progress != Progress::Done) {
            // What the order leaves is not counted yet.
            return self.look_again(unit, stored, kept, now.plus(LOOK_LEAST)).await.map(|()| true);
        }
        let collection = CollectionNo(kept.collection);
        let is_counted = self.inner.store.get(Space::Index, &schema::kept_records(no, slot)).await?.is_some();
        // What it sealed in a collection that is gone went with that.
        if is_counted && !self.is_collection_gone(no, collection).await? {
            // A longer rule keeps it, or a hold.
            let over = until.map_or(LOOK_MOST, |until| now.since(Timestamp(until)).clamp(LOOK_LEAST, LOOK_MOST));
            return self.look_again(unit, stored, kept, now.plus(over)).await.map(|()| true);
        }
        // Of a person's unit the place of no record: nothing but the unit is meant.
        let row = schema::record(no, collection, &[kept.record.unwrap_or(kept.subject)]);
        let scope = Scope::Record { collection: collection.0, row: row.to_vec(), units: vec![UnitRow::of(unit)] };
        // Two runs may have come this far: the key goes by the order of one.
        let unmoved = vec![Check { space: Space::Control, key: schema::unit_state(no, slot), expect: Expect::Absent }];
        let report = Some(self.report_at_work(&tenant, actor, run).await?);
        let queued = self.queue_shred(actor, &tenant, scope, Named { unmoved, report, ..Named::default() }).await?;
        self.close_queued(&queued).await.map(|()| true)
    }

    async fn is_collection_gone(&self, tenant: TenantNo, no: CollectionNo) -> Result<bool, VaultError> {
        let row: Option<CollectionRow> = self.control_row(&schema::collection(tenant, no)).await?;
        Ok(row.is_none_or(|row| matches!(row.state, State::Shredded(_))))
    }
}

/// What a run found of spared units.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// When there is one to be looked at next, if there is.
    pub(super) next: Option<Timestamp>,
    /// Whether it ended at its limit, with more to do.
    pub(super) is_cut: bool,
}

impl Ended {
    fn looks_at(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |known| known.min(at)));
    }
}

/// How soon one is tried again that could not be looked at.
const TRIED_AGAIN: Duration = Duration::from_mins(1);
/// How soon, and at the latest, a spared unit is looked at again that still seals something.
const LOOK_LEAST: Duration = Duration::from_hours(1);
const LOOK_MOST: Duration = Duration::from_hours(24 * 32);

/// When a spared unit is looked at first: when its minimums end. That of a record is ordered with the record's deletion, and looked at
/// behind that.
fn first_look(until: Option<i64>, is_of_record: bool, now: Timestamp) -> Timestamp {
    match until {
        Some(until) if !is_of_record => Timestamp(until),
        Some(until) => Timestamp(until).plus(LOOK_LEAST),
        None => now.plus(LOOK_MOST),
    }
}

fn unsigned(at: i64) -> u64 {
    u64::try_from(at).unwrap_or(0)
}

fn look(tenant: TenantNo, slot: Slot, at: i64) -> Write {
    Write::Put { space: Space::Control, key: schema::kept_due(unsigned(at), tenant, slot), value: Bytes::new() }
}

fn no_look(tenant: TenantNo, slot: Slot, at: i64) -> Write {
    Write::Delete { space: Space::Control, key: schema::kept_due(unsigned(at), tenant, slot) }
}
