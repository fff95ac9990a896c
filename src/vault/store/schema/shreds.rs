//! Keys of `Control` about units and the orders that destroy them: which there are, which an order closes or spares, and what it leaves
//! behind. They lie there so that no restored data can forget a unit that is to be shredded.

use bytes::Bytes;

use crate::domain::{CollectionNo, Epoch, ReportId, ShredId, Slot, TenantNo};

use super::{KeyRange, Parts, Table, Token, key, prefix, table};

/// [`Table::SubjectState`].
#[must_use]
pub fn subject_state(tenant: TenantNo, subject: &Token) -> Bytes {
    key(Table::SubjectState, &[&tenant.to_be_bytes(), subject])
}

/// [`Table::UnitState`].
#[must_use]
pub fn unit_state(tenant: TenantNo, slot: Slot) -> Bytes {
    key(Table::UnitState, &[&tenant.to_be_bytes(), &slot.to_be_bytes()])
}

/// [`Table::ShredOrder`].
#[must_use]
pub fn shred_order(order: ShredId) -> Bytes {
    key(Table::ShredOrder, &[&order.0])
}

/// [`Table::TenantShredOrder`].
#[must_use]
pub fn tenant_shred_order(tenant: TenantNo, order: ShredId) -> Bytes {
    key(Table::TenantShredOrder, &[&tenant.to_be_bytes(), &order.0])
}

/// [`Table::PendingShred`].
#[must_use]
pub fn pending_shred(order: ShredId) -> Bytes {
    key(Table::PendingShred, &[&order.0])
}

/// [`Table::ShredLog`].
#[must_use]
pub fn shred_log(epoch: Epoch, number: u32) -> Bytes {
    key(Table::ShredLog, &[&epoch.to_be_bytes(), &number.to_be_bytes()])
}

/// [`Table::ShredLog`] from an epoch on.
#[must_use]
pub fn shred_log_from(epoch: Epoch) -> KeyRange {
    KeyRange { from: shred_log(epoch, 0), to: table(Table::ShredLog).to }
}

/// [`Table::Certificate`].
#[must_use]
pub fn certificate(order: ShredId) -> Bytes {
    key(Table::Certificate, &[&order.0])
}

/// [`Table::ShredSlots`].
#[must_use]
pub fn shred_slots(order: ShredId, epoch: Epoch) -> Bytes {
    key(Table::ShredSlots, &[&order.0, &epoch.to_be_bytes()])
}

/// All slots of an order.
#[must_use]
pub fn slots_of_shred(order: ShredId) -> KeyRange {
    prefix(&key(Table::ShredSlots, &[&order.0]))
}

/// [`Table::Unit`].
#[must_use]
pub fn unit(tenant: TenantNo, subject: &Token, collection: CollectionNo) -> Bytes {
    key(Table::Unit, &[&tenant.to_be_bytes(), subject, &collection.to_be_bytes()])
}

/// A subject's units in all collections.
#[must_use]
pub fn units_of_subject(tenant: TenantNo, subject: &Token) -> KeyRange {
    prefix(&key(Table::Unit, &[&tenant.to_be_bytes(), subject]))
}

/// [`Table::Unit`] of a record that has a unit of its own; a record may have had several.
#[must_use]
pub fn record_unit(tenant: TenantNo, record: &Token, collection: CollectionNo, slot: Slot) -> Bytes {
    key(Table::Unit, &[&tenant.to_be_bytes(), record, &collection.to_be_bytes(), &slot.to_be_bytes()])
}

/// All units that a record ever had.
#[must_use]
pub fn units_of_record(tenant: TenantNo, record: &Token, collection: CollectionNo) -> KeyRange {
    prefix(&unit(tenant, record, collection))
}

/// [`record_unit`] again, under the record's first subject.
#[must_use]
pub fn record_unit_of_subject(tenant: TenantNo, subject: &Token, collection: CollectionNo, record: &Token, slot: Slot) -> Bytes {
    key(Table::Unit, &[&tenant.to_be_bytes(), subject, &collection.to_be_bytes(), record, &slot.to_be_bytes()])
}

/// The collection of a [`Table::Unit`] key; `None` if it is not one.
#[must_use]
pub fn unit_collection(key: &[u8]) -> Option<CollectionNo> {
    let mut parts = Parts::of(Table::Unit, key)?;
    parts.tenant()?;
    parts.token()?;
    parts.collection()
}

/// The last token of the record of a [`Table::Unit`] key that is [`record_unit_of_subject`]; `None` for every other.
#[must_use]
pub fn unit_record(key: &[u8]) -> Option<Token> {
    let mut parts = Parts::of(Table::Unit, key)?;
    let (_, _, _, record) = (parts.tenant()?, parts.token()?, parts.collection()?, parts.token()?);
    parts.slot()?;
    parts.rest().is_empty().then_some(record)
}

/// [`Table::KeptUnit`].
#[must_use]
pub fn kept_unit(tenant: TenantNo, slot: Slot) -> Bytes {
    key(Table::KeptUnit, &[&tenant.to_be_bytes(), &slot.to_be_bytes()])
}

/// Tenant and slot of a [`Table::KeptUnit`] key; `None` if it is not one.
#[must_use]
pub fn kept_unit_parts(key: &[u8]) -> Option<(TenantNo, Slot)> {
    let mut parts = Parts::of(Table::KeptUnit, key)?;
    let (tenant, slot) = (parts.tenant()?, parts.slot()?);
    parts.rest().is_empty().then_some((tenant, slot))
}

/// [`Table::KeptDue`]; `at` in milliseconds since 1970.
#[must_use]
pub fn kept_due(at: u64, tenant: TenantNo, slot: Slot) -> Bytes {
    key(Table::KeptDue, &[&at.to_be_bytes(), &tenant.to_be_bytes(), &slot.to_be_bytes()])
}

/// Time, tenant and slot of a [`Table::KeptDue`] key; `None` if it is not one.
#[must_use]
pub fn kept_due_parts(key: &[u8]) -> Option<(u64, TenantNo, Slot)> {
    let mut parts = Parts::of(Table::KeptDue, key)?;
    let (at, tenant, slot) = (parts.u64()?, parts.tenant()?, parts.slot()?);
    parts.rest().is_empty().then_some((at, tenant, slot))
}

/// [`Table::ReportShred`].
#[must_use]
pub fn report_shred(tenant: TenantNo, report: ReportId, order: ShredId) -> Bytes {
    key(Table::ReportShred, &[&tenant.to_be_bytes(), &report.0, &order.0])
}

/// All orders that go with what a report counts.
#[must_use]
pub fn shreds_of_report(tenant: TenantNo, report: ReportId) -> KeyRange {
    prefix(&key(Table::ReportShred, &[&tenant.to_be_bytes(), &report.0]))
}

/// [`Table::LeftEvents`].
#[must_use]
pub fn left_events(tenant: TenantNo, order: ShredId, subject: &Token) -> Bytes {
    key(Table::LeftEvents, &[&tenant.to_be_bytes(), &order.0, subject])
}

/// All of an order.
#[must_use]
pub fn left_events_of(tenant: TenantNo, order: ShredId) -> KeyRange {
    prefix(&key(Table::LeftEvents, &[&tenant.to_be_bytes(), &order.0]))
}

/// [`Table::LeftByLaw`].
#[must_use]
pub fn left_by_law(tenant: TenantNo, order: ShredId, number: u32) -> Bytes {
    key(Table::LeftByLaw, &[&tenant.to_be_bytes(), &order.0, &number.to_be_bytes()])
}

/// All of an order.
#[must_use]
pub fn left_by_law_of(tenant: TenantNo, order: ShredId) -> KeyRange {
    prefix(&key(Table::LeftByLaw, &[&tenant.to_be_bytes(), &order.0]))
}
