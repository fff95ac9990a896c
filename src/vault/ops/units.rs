//! Which unit seals a record, and in what state its subjects are.
//!
//! Rows of units stand in the control store and are only ever added: a unit that once sealed something is found by its
//! subject's shred, and by its record's, whatever data is restored later.

use bytes::Bytes;

use super::{
    Caller, Unprocessable, Vault, VaultError,
    directory::{Collection, Tenant},
    foresee::Looked,
    plan::{Plan, entry, subject_target},
    rows::{State, SubjectRow, UnitRow},
};
use crate::{
    domain::{CollectionNo, ShredId, ShredUnit, Slot, TenantNo, limits},
    vault::{
        audit::Action,
        crypto::{RecordHeader, Token},
        keys::{LendError, UnitRef},
        store::{Expect, Space, schema},
    },
};

impl Vault {
    /// Holds a subject to the state it is in, as its row says; a shredded one refuses unless the caller opens a new relationship, which
    /// becomes true with the plan.
    pub(super) fn plan_subject(
        &self,
        plan: &mut Plan,
        caller: &Caller,
        tenant: &Tenant,
        token: Token,
        row: Option<Bytes>,
        new_relationship: bool,
    ) -> Result<(), VaultError> {
        if plan.subjects.contains(&token) {
            return Ok(());
        }
        let key = schema::subject_state(tenant.no, &token);
        let expect = match row {
            None => Expect::Absent,
            Some(row) => match self.inner.seals.open::<SubjectRow>(&key, &row)?.state {
                State::Active => Expect::Equals(row),
                State::Shredded(_) if new_relationship => {
                    let returns = entry(caller, tenant, Action::SubjectReturn, CollectionNo::TENANT, subject_target(token));
                    plan.returned.push((tenant.audit, returns));
                    plan.subjects.insert(token);
                    plan.open(&self.inner.seals, key, Expect::Equals(row), &SubjectRow { state: State::Active })?;
                    return Ok(());
                }
                state @ (State::Frozen | State::Pending(_) | State::Shredded(_)) => return Err(refusal(state)),
            },
        };
        plan.subjects.insert(token);
        plan.check(Space::Control, key, expect);
        Ok(())
    }

    /// Holds a subject to its state while a large value comes in; a shredded one stays so until the value is there.
    pub(super) async fn hold_subject(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        token: Token,
        new_relationship: bool,
    ) -> Result<(), VaultError> {
        let key = schema::subject_state(tenant.no, &token);
        let row = self.inner.store.get(Space::Control, &key).await?;
        if let Some(row) = &row {
            match self.inner.seals.open::<SubjectRow>(&key, row)?.state {
                State::Active => {}
                State::Shredded(_) if new_relationship => {}
                state @ (State::Frozen | State::Pending(_) | State::Shredded(_)) => return Err(refusal(state)),
            }
        }
        plan.check(Space::Control, key, row.map_or(Expect::Absent, Expect::Equals));
        Ok(())
    }

    /// The unit a record is sealed under, opened if it is the first of its kind. `reuse` is the unit of the record that
    /// stands under the key, if this one may be sealed under it too; `seen` the row of the subject's unit, where it was read already.
    pub(super) async fn plan_unit(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: &Collection,
        subject: Option<&Token>,
        record: &[Token],
        reuse: Option<Slot>,
        seen: Looked,
    ) -> Result<UnitRef, VaultError> {
        let owner = match collection.policy.shred_unit {
            ShredUnit::Collection => return Ok(collection.unit),
            ShredUnit::Record => record.last().copied().unwrap_or_default(),
            ShredUnit::Subject => *subject.ok_or(Unprocessable::SubjectMissing)?,
        };
        if let Some(unit) = plan.units.get(&(collection.no, owner)) {
            return Ok(*unit);
        }
        let unit = if collection.policy.shred_unit == ShredUnit::Record {
            self.plan_unit_of_record(plan, tenant, collection.no, subject, &owner, reuse).await?
        } else {
            let key = schema::unit(tenant.no, &owner, collection.no);
            let stored = match seen {
                Looked::Found(stored) => stored,
                Looked::Not => self.inner.store.get(Space::Control, &key).await?,
            };
            self.plan_unit_of_subject(plan, tenant, key, stored).await?
        };
        plan.check(Space::Control, schema::unit_state(tenant.no, unit.slot), Expect::Absent);
        plan.units.insert((collection.no, owner), unit);
        Ok(unit)
    }

    /// A subject has one unit in a collection; its row is replaced once that unit is shredded and the subject returns.
    async fn plan_unit_of_subject(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        key: Bytes,
        stored: Option<Bytes>,
    ) -> Result<UnitRef, VaultError> {
        if let Some(row) = &stored {
            let unit = self.inner.seals.open::<UnitRow>(&key, row)?.unit(tenant.no)?;
            if self.is_current(unit).await? {
                plan.check(Space::Control, key, Expect::Equals(row.clone()));
                return Ok(unit);
            }
        }
        let unit = self.inner.forest.make_unit(tenant.no).await?;
        plan.open(&self.inner.seals, key, stored.map_or(Expect::Absent, Expect::Equals), &UnitRow::of(unit))?;
        Ok(unit)
    }

    /// A record keeps its unit while it stands and is about the same person; otherwise it gets a new one beside those it had.
    async fn plan_unit_of_record(
        &self,
        plan: &mut Plan,
        tenant: &Tenant,
        collection: CollectionNo,
        subject: Option<&Token>,
        record: &Token,
        reuse: Option<Slot>,
    ) -> Result<UnitRef, VaultError> {
        let mut unit = None;
        if let Some(slot) = reuse {
            let key = schema::record_unit(tenant.no, record, collection, slot);
            if let Some(row) = self.inner.store.get(Space::Control, &key).await? {
                let known = self.inner.seals.open::<UnitRow>(&key, &row)?.unit(tenant.no)?;
                if self.is_current(known).await? {
                    plan.check(Space::Control, key, Expect::Equals(row));
                    unit = Some(known);
                }
            }
        }
        let unit = match unit {
            Some(unit) => unit,
            None => {
                let max = usize::try_from(limits::RECORD_UNITS.max).unwrap_or(usize::MAX);
                let range = schema::units_of_record(tenant.no, record, collection);
                if self.inner.store.scan(Space::Control, &range.from, &range.to, max).await?.len() >= max {
                    return Err(VaultError::Limit(limits::RECORD_UNITS));
                }
                let unit = self.inner.forest.make_unit(tenant.no).await?;
                let key = schema::record_unit(tenant.no, record, collection, unit.slot);
                plan.open(&self.inner.seals, key, Expect::Absent, &UnitRow::of(unit))?;
                unit
            }
        };
        if let Some(subject) = subject {
            let key = schema::record_unit_of_subject(tenant.no, subject, collection, record, unit.slot);
            match self.inner.store.get(Space::Control, &key).await? {
                Some(row) => {
                    self.inner.seals.open::<UnitRow>(&key, &row)?;
                    plan.check(Space::Control, key, Expect::Equals(row));
                }
                None => plan.open(&self.inner.seals, key, Expect::Absent, &UnitRow::of(unit))?,
            }
        }
        Ok(unit)
    }

    /// Every unit that a record ever had and that may still open something, that of `header` first.
    pub(super) async fn units_ever_of(
        &self,
        tenant: TenantNo,
        collection: CollectionNo,
        record: &[Token],
        header: &RecordHeader,
    ) -> Result<Vec<UnitRow>, VaultError> {
        self.units_known_of(tenant, collection, record, Some(header)).await
    }

    /// The same, where the header may not be readable. A unit that the header names is believed only if control knows it as
    /// one of the record's: a bent header must not have another record's unit shredded.
    pub(super) async fn units_known_of(
        &self,
        tenant: TenantNo,
        collection: CollectionNo,
        record: &[Token],
        header: Option<&RecordHeader>,
    ) -> Result<Vec<UnitRow>, VaultError> {
        let range = schema::units_of_record(tenant, &record.last().copied().unwrap_or_default(), collection);
        let mut units: Vec<UnitRow> = Vec::new();
        for row in self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await? {
            units.push(self.inner.seals.open(&row.key, &row.value)?);
        }
        units.sort_by_key(|unit| header.is_none_or(|header| unit.slot != header.slot.number()));
        Ok(units)
    }

    /// Whether a unit's key is still the one of this generation.
    pub(super) async fn is_current(&self, unit: UnitRef) -> Result<bool, VaultError> {
        match self.inner.forest.holds_unit(unit) {
            Ok(()) => Ok(true),
            Err(LendError::Missing) => Ok(self.inner.forest.load_unit(unit.tenant, unit.slot).await?.generation == unit.generation),
            Err(LendError::Shredded) => Ok(false),
            Err(LendError::Pending) => Err(VaultError::Shredded { certificate: None }),
        }
    }
}

/// What a write about a person in a state that refuses is answered with.
pub(super) fn refusal(state: State) -> VaultError {
    match state {
        State::Pending(order) => VaultError::SubjectErased { certificate: Some(ShredId(order)), done: false },
        State::Shredded(order) => VaultError::SubjectErased { certificate: Some(ShredId(order)), done: true },
        State::Active | State::Frozen => VaultError::Busy,
    }
}
