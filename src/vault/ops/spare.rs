//! Which units an order about persons spares, for a law keeps records that they seal. It is decided once nothing that the order names is
//! written to any more, and before a key goes: the records of these persons in collections with legal minimums are opened, no others.
//! The rows of the spared units leave the table of units in one commit with the decision, and lie in a table of their own: what looks for
//! what the order destroys, or for the unit of a person who returns, does not meet them.
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
    plan::{Actor, order_of},
    reports::Run,
    rows::{CollectionRow, KeptUnitRow, Progress, Scope, ShredRow, State, UnitRow, later},
    shred::Named,
    shredder::is_its_own,
};
use crate::{
    domain::{CollectionNo, Gen, ShredId, Slot, TenantNo, Timestamp, retention::Law},
    vault::{
        audit::Trail,
        crypto::{RecordHeader, Token},
        keys::UnitRef,
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// Units of one commit.
const PASS: usize = 1_000;

/// A unit that is spared, with the row that it has among those of its person.
struct Spared {
    key: Bytes,
    stored: Bytes,
    unit: UnitRef,
    kept: KeptUnitRow,
}

/// Until when a law keeps what units seal; `None` while that is not known.
type Ends = HashMap<(Slot, Gen), Option<i64>>;

/// Collections that were looked at: those in which a law may keep something.
#[derive(Default)]
pub(super) struct Lawful(HashMap<CollectionNo, Option<Collection>>);

impl Lawful {
    /// The collection, if a law may keep something there. Nobody reads a record of one whose row is bent, and none keeps a person from
    /// being forgotten.
    pub(super) async fn get(&mut self, vault: &Vault, tenant: TenantNo, no: CollectionNo) -> Result<Option<&Collection>, VaultError> {
        let is_known = self.0.contains_key(&no);
        if !is_known {
            let found = match vault.collection_by_number(tenant, no).await {
                Ok(collection) => Some(collection).filter(|collection| collection.has_law),
                Err(VaultError::Shredded { .. } | VaultError::NotFound(_) | VaultError::Internal(_)) => None,
                Err(error) => return Err(error),
            };
            self.0.insert(no, found);
        }
        Ok(self.0.get(&no).and_then(Option::as_ref))
    }
}

/// The slots of the spared units of tenants, by whose they were: read once for many persons.
#[derive(Default)]
pub(super) struct SparedSlots(HashMap<TenantNo, HashMap<Token, HashSet<u64>>>);

impl Vault {
    /// Decides what an order spares, and gives its row as it is then. Repeated after a crash, it decides as of the same moment.
    pub(super) async fn spare_kept(&self, id: ShredId, row: ShredRow) -> Result<ShredRow, VaultError> {
        if !matches!(row.scope, Scope::Subjects(_)) {
            return Ok(row);
        }
        let decided_at = if row.decided_at == 0 { self.inner.clock.now().0 } else { row.decided_at };
        let mut row = ShredRow { decided_at, ..row };
        let tenant = self.tenant_by_number(TenantNo(row.tenant)).await?;
        if order_of(tenant.state).is_some() {
            // It goes with its tenant.
            return Ok(row);
        }
        let subjects: Vec<Token> = row.marked().copied().collect();
        let (mut spared, mut lawful) = (Vec::new(), Lawful::default());
        for subject in &subjects {
            self.find_spared(id, &tenant, subject, Timestamp(decided_at), &mut lawful, &mut spared).await?;
        }
        for some in spared.chunks(PASS) {
            row = self.commit_spared(id, row, some).await?;
        }
        Ok(row)
    }

    /// The units of a person that seal what a law keeps at a moment.
    async fn find_spared(
        &self,
        id: ShredId,
        tenant: &Tenant,
        subject: &Token,
        at: Timestamp,
        lawful: &mut Lawful,
        spared: &mut Vec<Spared>,
    ) -> Result<(), VaultError> {
        let mut range = schema::units_of_subject(tenant.no, subject);
        let mut known: Option<(CollectionNo, Ends)> = None;
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let no = schema::unit_collection(&row.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
                if known.as_ref().is_none_or(|(of, _)| *of != no) {
                    let mut kept = Ends::new();
                    if let Some(collection) = lawful.get(self, tenant.no, no).await? {
                        let show = |header: &RecordHeader, law: Law| {
                            let until = law.until.map(|until| until.0);
                            let known = kept.entry((header.slot, header.generation)).or_insert(until);
                            *known = later(*known, until);
                        };
                        self.kept_of_subject(tenant, collection, subject, at, show).await?;
                    }
                    known = Some((no, kept));
                }
                // One that is not as this store wrote it is told of by who destroys.
                let Ok(unit) = self.inner.seals.open::<UnitRow>(&row.key, &row.value) else { continue };
                let unit = unit.unit(tenant.no)?;
                let Some(until) = known.as_ref().and_then(|(_, kept)| kept.get(&(unit.slot, unit.generation)).copied()) else { continue };
                let record = schema::unit_record(&row.key);
                let kept = KeptUnitRow {
                    subject: *subject,
                    collection: no.0,
                    record,
                    generation: unit.generation.0,
                    order: id.0,
                    until,
                    look_at: first_look(until, record.is_some(), at).0,
                };
                spared.push(Spared { key: row.key, stored: row.value, unit, kept });
            }
        }
        Ok(())
    }

    async fn commit_spared(&self, id: ShredId, mut row: ShredRow, spared: &[Spared]) -> Result<ShredRow, VaultError> {
        let tenant = TenantNo(row.tenant);
        let slots: HashSet<u64> = spared.iter().map(|one| one.unit.slot.number()).collect();
        // These keys live, and the trail must name the person no more.
        self.drop_names_of_slots(tenant, &slots).await?;
        // What is read before and tried after are records whose keys go.
        row.sample.retain(|(_, header)| RecordHeader::parse(header).map_or(true, |header| !slots.contains(&header.slot.number())));
        let order = schema::shred_order(id);
        let before = self.inner.store.get(Space::Control, &order).await?.ok_or_else(|| VaultError::Internal("shred row".into()))?;
        let seals = &self.inner.seals;
        let mut checks = vec![Check { space: Space::Control, key: order.clone(), expect: Expect::Equals(before) }];
        let mut writes = vec![seals.put(order, &row)?];
        for Spared { key, stored, unit, kept } in spared {
            checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored.clone()) });
            writes.push(Write::Delete { space: Space::Control, key: key.clone() });
            writes.push(seals.put(schema::kept_unit(tenant, unit.slot), kept)?);
            writes.push(look(tenant, unit.slot, kept.look_at));
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await?;
        if let Some(first) = spared.iter().map(|one| one.kept.look_at).min() {
            self.is_due_at(Timestamp(first));
        }
        Ok(row)
    }

    /// What takes a decision back: the units are their person's again.
    pub(super) async fn unspared(&self, id: ShredId, row: &ShredRow) -> Result<(Vec<Check>, Vec<Write>), VaultError> {
        let (mut checks, mut writes) = (Vec::new(), Vec::new());
        if !matches!(row.scope, Scope::Subjects(_)) || row.decided_at == 0 {
            return Ok((checks, writes));
        }
        let tenant = TenantNo(row.tenant);
        for (key, stored, slot, kept) in self.kept_units_of(tenant).await? {
            if kept.order != id.0 {
                continue;
            }
            let unit = match &kept.record {
                None => schema::unit(tenant, &kept.subject, CollectionNo(kept.collection)),
                Some(record) => schema::record_unit_of_subject(tenant, &kept.subject, CollectionNo(kept.collection), record, slot),
            };
            checks.push(Check { space: Space::Control, key: key.clone(), expect: Expect::Equals(stored) });
            checks.push(Check { space: Space::Control, key: unit.clone(), expect: Expect::Absent });
            writes.push(Write::Delete { space: Space::Control, key });
            writes.push(no_look(tenant, slot, kept.look_at));
            writes.push(self.inner.seals.put(unit, &UnitRow { slot: slot.number(), generation: kept.generation })?);
        }
        Ok((checks, writes))
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

    /// Forgets the spared units of a tenant but some: the keys of the others are gone with it.
    pub(super) async fn forget_spared_but(&self, tenant: TenantNo, kept: &BTreeSet<u64>) -> Result<(), VaultError> {
        let mut writes = Vec::new();
        for (key, _, slot, row) in self.kept_units_of(tenant).await? {
            if !kept.contains(&slot.number()) {
                writes.extend([Write::Delete { space: Space::Control, key }, no_look(tenant, slot, row.look_at)]);
            }
        }
        if writes.is_empty() {
            return Ok(());
        }
        let commit = Commit { checks: Vec::new(), writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, Vec::new()).await.map(drop)
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
        let is_time = kept.record.is_none() && kept.until.is_none_or(|until| until <= now.0);
        if is_time && kept.look_at > now.0 { self.look_again(unit, stored, kept, now).await } else { Ok(()) }
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

    /// Orders the shreds of spared units of which nothing is left and whose time has come; when the next one is to be looked at, if there
    /// is one. Not of older data that is made ready: other copies may have more.
    pub(super) async fn end_spared(&self, actor: Actor, run: Run) -> Result<Option<Timestamp>, VaultError> {
        if self.is_restoring() {
            return Ok(None);
        }
        let now = self.inner.clock.now();
        let mut range = schema::table(schema::Table::KeptDue);
        while let Some(rows) = self.some_rows_of(Space::Control, &mut range, PASS).await? {
            for row in rows {
                let (at, tenant, slot) = schema::kept_due_parts(&row.key).ok_or_else(|| VaultError::Internal("kept due row".into()))?;
                if at > unsigned(now.0) {
                    return Ok(Some(Timestamp(i64::try_from(at).unwrap_or(i64::MAX))));
                }
                match self.end_one((actor, run), tenant, slot, &row.key).await {
                    // Another run was faster, or it is tried again by the next.
                    Err(VaultError::Busy) => {}
                    Err(error) if is_its_own(&error) => tracing::error!(%error, tenant = tenant.0, "a spared key cannot be looked at"),
                    ended => ended?,
                }
            }
        }
        Ok(None)
    }

    async fn end_one(&self, (actor, run): (Actor, Run), no: TenantNo, slot: Slot, due: &Bytes) -> Result<(), VaultError> {
        let key = schema::kept_unit(no, slot);
        let stored = self.inner.store.get(Space::Control, &key).await?;
        let tenant = self.tenant_by_number(no).await?;
        let stored = match (stored, tenant.state) {
            (Some(stored), State::Active | State::Frozen) => stored,
            (Some(_), State::Pending(_)) => return Ok(()),
            (None, _) | (Some(_), State::Shredded(_)) => {
                // It went long ago, or with its tenant.
                let gone = [due.clone(), key].map(|key| Write::Delete { space: Space::Control, key });
                let (checks, durability) = (Vec::new(), Durability::Synced);
                let commit = Commit { checks, writes: gone.into(), tail: None, durability, urgency: Urgency::Essential };
                return self.commit(Trail::Control, commit, Vec::new()).await.map(drop);
            }
        };
        let now = self.inner.clock.now();
        let kept: KeptUnitRow = self.inner.seals.open(&key, &stored)?;
        let unit = UnitRef { tenant: no, slot, generation: Gen(kept.generation) };
        // The row that led here is not believed.
        let is_early = kept.until.is_some_and(|until| until > now.0);
        if is_early || self.inner.store.get(Space::Control, &schema::unit_state(no, slot)).await?.is_some() {
            // It is ordered, or its time has not come.
            return Ok(());
        }
        if self.shred_row(ShredId(kept.order)).await?.is_some_and(|order| order.progress != Progress::Done) {
            // What the order leaves is not counted yet.
            return self.look_again(unit, stored, kept, now.plus(LOOK_LEAST)).await;
        }
        let collection = CollectionNo(kept.collection);
        let is_counted = self.inner.store.get(Space::Index, &schema::kept_records(no, slot)).await?.is_some();
        // What it sealed in a collection that is gone went with that.
        if is_counted && !self.is_collection_gone(no, collection).await? {
            // A longer rule keeps it, or a hold.
            let over = kept.until.map_or(LOOK_MOST, |until| now.since(Timestamp(until)).clamp(LOOK_LEAST, LOOK_MOST));
            return self.look_again(unit, stored, kept, now.plus(over)).await;
        }
        // Of a person's unit the place of no record: nothing but the unit is meant.
        let row = schema::record(no, collection, &[kept.record.unwrap_or(kept.subject)]);
        let scope = Scope::Record { collection: collection.0, row: row.to_vec(), units: vec![UnitRow::of(unit)] };
        let report = Some(self.report_at_work(&tenant, actor, run).await?);
        let queued = self.queue_shred(actor, &tenant, scope, Named { report, ..Named::default() }).await?;
        self.close_queued(&queued).await
    }

    async fn is_collection_gone(&self, tenant: TenantNo, no: CollectionNo) -> Result<bool, VaultError> {
        let row: Option<CollectionRow> = self.control_row(&schema::collection(tenant, no)).await?;
        Ok(row.is_none_or(|row| matches!(row.state, State::Shredded(_))))
    }
}

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
