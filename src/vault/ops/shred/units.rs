//! The units of an order, and the fence: which keys an order destroys, from when on nobody is lent them, and what opens them again where
//! it is taken back. Until it is decided what a law keeps of a person, the keys of what it may keep stay lent.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{
    super::{
        Vault, VaultError,
        deletions::Touched,
        rows::{CollectionRow, Progress, Scope, ShredRow, State, Totals, UnitRow, UnitStateRow},
    },
    Queued,
};
use crate::{
    domain::{CollectionNo, TenantNo},
    vault::{
        crypto::Token,
        keys::{ShredTarget, UnitRef},
        store::{
            Space,
            schema::{self, KeyRange},
        },
    },
};

/// A unit of an order, with its collection.
pub(in crate::vault::ops) type UnitIn = (CollectionNo, UnitRef);

/// Rows of units read at once.
const UNIT_ROWS: usize = 1_024;
/// Persons whose rows are read at once.
const PERSONS: usize = 64;

/// How often the fence is tried to be closed behind an intent.
const FENCE_ATTEMPTS: u32 = 100;
const FENCE_PAUSE: Duration = Duration::from_millis(20);

impl Vault {
    /// Closes the fence behind a durable intent: from here on everything it names answers 410. The shredder closes it too,
    /// before it does anything else.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if the store could not be read for two seconds; the order stands.
    pub(in crate::vault::ops) async fn close_queued(&self, queued: &Queued) -> Result<(), VaultError> {
        let mut pause = tokio::time::interval(FENCE_PAUSE);
        for _ in 0..FENCE_ATTEMPTS {
            pause.tick().await;
            match self.close_while_pending(queued).await {
                Err(VaultError::Busy) => {}
                Err(error) => return Err(error),
                Ok(()) => match self.reopen_if_held(queued).await {
                    Err(VaultError::Busy) => {}
                    other => return other,
                },
            }
        }
        Err(VaultError::Busy)
    }

    /// The order may be carried out by now, and who was erased known anew, under other units: those it does not close. While it is not, all
    /// units that were found before are its own.
    async fn close_while_pending(&self, queued: &Queued) -> Result<(), VaultError> {
        let mut units = Vec::new();
        let found = self.list_units(&queued.row, &mut units).await;
        let mut closed = Vec::with_capacity(units.len());
        let told = self.to_close(&queued.row, &units, &mut closed).await;
        let is_pending =
            async || Ok::<_, VaultError>(self.shred_row(queued.id).await?.is_some_and(|row| row.progress == Progress::Pending));
        if is_pending().await? {
            self.close(&queued.row, &closed);
        }
        if matches!(queued.row.scope, Scope::Rest { .. }) && !is_pending().await? {
            // It was carried out meanwhile: what is left of the tenant has its keys, and the tenant is open again.
            self.inner.forest.fence().reopen_tenant(TenantNo(queued.row.tenant));
        }
        found.and(told)
    }

    /// The shredder may have taken the order back before the fence was closed.
    async fn reopen_if_held(&self, queued: &Queued) -> Result<(), VaultError> {
        let is_held = async || Ok::<_, VaultError>(self.shred_row(queued.id).await?.is_some_and(|row| row.progress == Progress::Held));
        if is_held().await? {
            // Not while it is given again.
            let _alone = self.inner.placing.wait().await;
            if is_held().await? {
                self.reopen_fence(&queued.row).await?;
            }
        }
        Ok(())
    }

    /// Shows each unit that an order destroys, with its collection; none for a tenant, whole or in part, which is one target by itself.
    ///
    /// # Errors
    /// That of a row which is not as this store wrote it comes last, behind the units that are known all the same.
    pub(in crate::vault::ops) async fn units_of(
        &self,
        order: &ShredRow,
        mut show: impl FnMut(CollectionNo, UnitRef),
    ) -> Result<(), VaultError> {
        let tenant = TenantNo(order.tenant);
        let mut bent = None;
        match &order.scope {
            Scope::Tenant | Scope::Rest { .. } => {}
            Scope::Collection(no) => {
                let no = CollectionNo(*no);
                if let Some(row) = self.control_row::<CollectionRow>(&schema::collection(tenant, no)).await? {
                    show(no, UnitRow { slot: row.slot, generation: row.generation }.unit(tenant)?);
                }
            }
            Scope::Subjects(_) => {
                let ranges: Vec<KeyRange> = order.marked().map(|token| schema::units_of_subject(tenant, token)).collect();
                for some in ranges.chunks(PERSONS) {
                    for row in self.inner.store.scan_each(Space::Control, some, usize::MAX).await?.into_iter().flatten() {
                        let unit = match self.inner.seals.open::<UnitRow>(&row.key, &row.value) {
                            Ok(unit) => unit.unit(tenant)?,
                            Err(error) => {
                                bent = Some(error);
                                continue;
                            }
                        };
                        let no = schema::unit_collection(&row.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
                        if !self.is_shredded(unit).await? {
                            show(no, unit);
                        }
                    }
                }
            }
            Scope::Record { collection, units: ever, .. } => {
                for unit in ever {
                    let unit = unit.unit(tenant)?;
                    if !self.is_shredded(unit).await? {
                        show(CollectionNo(*collection), unit);
                    }
                }
            }
        }
        bent.map_or(Ok(()), Err)
    }

    pub(in crate::vault::ops) async fn is_shredded(&self, unit: UnitRef) -> Result<bool, VaultError> {
        let state = self.control_row::<UnitStateRow>(&schema::unit_state(unit.tenant, unit.slot)).await?;
        Ok(state.is_some_and(|row| matches!(row.state, State::Shredded(_))))
    }

    /// The same as a list.
    async fn list_units(&self, row: &ShredRow, units: &mut Vec<UnitIn>) -> Result<(), VaultError> {
        self.units_of(row, |no, unit| units.push((no, unit))).await
    }

    /// From here on no key of the order's targets is lent. Until it is decided what a law keeps of a person, the keys of what it may
    /// keep are: nobody reads by them, for the person is pending ([`Vault::leaving`]). Gives the units that the order destroys.
    ///
    /// # Errors
    /// Those of the store, and, as of [`Vault::units_of`], that of a bent row behind the units that are known, which are closed.
    pub(in crate::vault::ops) async fn close_fence(&self, row: &ShredRow) -> Result<Vec<UnitIn>, VaultError> {
        let mut units = Vec::new();
        let found = self.list_units(row, &mut units).await;
        let closed = self.close_units(row, &units).await;
        found.and(closed).map(|()| units)
    }

    /// The same, of an order whose units are known.
    pub(in crate::vault::ops) async fn close_units(&self, row: &ShredRow, units: &[UnitIn]) -> Result<(), VaultError> {
        let mut closed = Vec::with_capacity(units.len());
        let told = self.to_close(row, units, &mut closed).await;
        self.close(row, &closed);
        told
    }

    /// Those of an order's units that it closes as far as it is; also where that cannot be told of all, those of which it can.
    async fn to_close(&self, row: &ShredRow, units: &[UnitIn], closed: &mut Vec<UnitRef>) -> Result<(), VaultError> {
        let is_decided = if fault!("units-open") { row.decided_at != 0 } else { row.is_decided };
        if !matches!(row.scope, Scope::Subjects(_)) || is_decided {
            closed.extend(units.iter().map(|(_, unit)| *unit));
            return Ok(());
        }
        let (reported, mut told) = match self.slots_reported(row, units).await {
            Ok(reported) => (Some(reported), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let mut keeping = BTreeMap::new();
        for (no, unit) in units {
            if reported.is_none() && *no == CollectionNo::TENANT {
                continue;
            }
            match self.decides(&mut keeping, *no, *unit, reported.as_deref().unwrap_or_default()).await {
                Ok(true) => {}
                Ok(false) => closed.push(*unit),
                Err(error) => told = told.and(Err(error)),
            }
        }
        told
    }

    /// The slots of those units that seal what was reported of an order's persons.
    async fn slots_reported(&self, row: &ShredRow, units: &[UnitIn]) -> Result<Vec<u64>, VaultError> {
        // They lie in no collection, and most persons have none there.
        if units.iter().all(|(no, _)| *no != CollectionNo::TENANT) {
            return Ok(Vec::new());
        }
        let marked: Vec<Token> = row.marked().copied().collect();
        self.slots_of_events(TenantNo(row.tenant), &marked).await
    }

    /// Whether it is decided by what a person's unit seals what a law keeps: it seals that, or what a law counts from. `keeping` are the
    /// collections of the order's tenant of which it is known by now whether a law may keep something there.
    async fn decides(
        &self,
        keeping: &mut BTreeMap<CollectionNo, bool>,
        no: CollectionNo,
        unit: UnitRef,
        reported: &[u64],
    ) -> Result<bool, VaultError> {
        if no == CollectionNo::TENANT {
            return Ok(reported.contains(&unit.slot.number()));
        }
        if let Some(may_keep) = keeping.get(&no) {
            return Ok(*may_keep);
        }
        let may_keep = self.may_keep(unit.tenant, no).await?;
        keeping.insert(no, may_keep);
        Ok(may_keep)
    }

    /// Those that are lent until it is decided what a law keeps of the order's persons, but for those that another order is for.
    pub(in crate::vault::ops) async fn undecided(&self, row: &ShredRow, units: &[UnitIn]) -> Result<Vec<UnitRef>, VaultError> {
        let (reported, mut keeping, mut undecided) = (self.slots_reported(row, units).await?, BTreeMap::new(), Vec::new());
        for (no, unit) in units {
            let state = schema::unit_state(TenantNo(row.tenant), unit.slot);
            if self.decides(&mut keeping, *no, *unit, &reported).await? && self.inner.store.get(Space::Control, &state).await?.is_none() {
                undecided.push(*unit);
            }
        }
        Ok(undecided)
    }

    fn close(&self, row: &ShredRow, units: &[UnitRef]) {
        let (tenant, fence) = (TenantNo(row.tenant), self.inner.forest.fence());
        // Of one that has gone in part what is left has its keys, and is to be read: the tenant's state keeps everybody out until then.
        let has_gone = matches!(row.scope, Scope::Rest { .. }) && row.progress != Progress::Pending;
        if row.scope.is_tenants() && !has_gone {
            fence.close_tenant(tenant);
        }
        for unit in units {
            fence.close_unit(tenant, unit.slot);
        }
    }

    /// Opens again what an order had closed.
    async fn reopen_fence(&self, row: &ShredRow) -> Result<(), VaultError> {
        let tenant = TenantNo(row.tenant);
        let fence = self.inner.forest.fence();
        self.units_of(row, |_, unit| fence.reopen_unit(tenant, unit.slot)).await
    }

    /// The units that an order destroyed, counted by collection from the rows of units.
    pub(in crate::vault::ops) async fn units_by_collection(&self, row: &ShredRow, slots: &HashSet<u64>) -> Result<Touched, VaultError> {
        let mut touched = Touched::new();
        let mut ranges: Vec<KeyRange> = row.marked().map(|token| schema::units_of_subject(TenantNo(row.tenant), token)).collect();
        while !ranges.is_empty() {
            let mut longer = Vec::new();
            for some in ranges.chunks(PERSONS) {
                for (range, rows) in some.iter().zip(self.inner.store.scan_each(Space::Control, some, UNIT_ROWS).await?) {
                    longer.extend(rows.get(UNIT_ROWS.saturating_sub(1)).map(|last| range.after(&last.key)));
                    for row in rows {
                        let no = schema::unit_collection(&row.key).ok_or_else(|| VaultError::Internal("unit row".into()))?;
                        if slots.contains(&self.inner.seals.open::<UnitRow>(&row.key, &row.value)?.slot) {
                            let total: &mut Totals = touched.entry(no).or_default();
                            total.units = total.units.saturating_add(1);
                        }
                    }
                }
            }
            ranges = longer;
        }
        Ok(touched)
    }
}

/// The targets of an order that destroys these units, and what they are in each collection.
pub(in crate::vault::ops) fn targets(row: &ShredRow, units: &[UnitIn]) -> (Vec<ShredTarget>, BTreeMap<CollectionNo, Totals>) {
    let tenant = TenantNo(row.tenant);
    let mut totals: BTreeMap<CollectionNo, Totals> = BTreeMap::new();
    if row.scope.is_tenants() {
        // The one key above all that goes.
        totals.entry(CollectionNo::TENANT).or_default().units = 1;
        let target = if row.scope == Scope::Tenant { ShredTarget::Tenant(tenant) } else { ShredTarget::Others(tenant) };
        return (vec![target], totals);
    }
    for (no, _) in units {
        let total = totals.entry(*no).or_default();
        total.units = total.units.saturating_add(1);
    }
    (units.iter().map(|(_, unit)| ShredTarget::Unit { tenant, slot: unit.slot }).collect(), totals)
}
