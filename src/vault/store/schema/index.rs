//! Keys of `Index`, all but those that tell when a record ends: what leads from persons and units to records and large values, and
//! how far this data store has come with what the control store orders.

use bytes::Bytes;

use crate::domain::{CollectionNo, Gen, ReportId, ShredId, Slot, TenantNo, UploadId};

use super::{KeyRange, Parts, Table, Token, key, prefix, successor, table};

/// Subject, collection and record tokens of a [`Table::SubjectRecord`] or [`Table::SecondaryRecord`] key; `None` if it is neither.
#[must_use]
pub fn subject_record_parts(key: &[u8]) -> Option<(Token, CollectionNo, Vec<Token>)> {
    let mut parts = Parts::of(Table::SubjectRecord, key).or_else(|| Parts::of(Table::SecondaryRecord, key))?;
    parts.tenant()?;
    Some((parts.token()?, parts.collection()?, parts.tokens()?))
}

/// [`Table::SubjectRecord`]; `record` are the record's tokens.
#[must_use]
pub fn subject_record(tenant: TenantNo, subject: &Token, collection: CollectionNo, record: &[Token]) -> Bytes {
    key(Table::SubjectRecord, &[&tenant.to_be_bytes(), subject, &collection.to_be_bytes(), record.as_flattened()])
}

/// What stands in the row of [`Table::SubjectRecord`] of the subject that a record names first: the others.
#[must_use]
pub fn subjects_besides(others: &[Token]) -> Bytes {
    Bytes::copy_from_slice(others.as_flattened())
}

/// The subjects that a row of [`Table::SubjectRecord`] leads to besides its own.
#[must_use]
pub fn named_besides(value: &[u8]) -> Vec<Token> {
    value.as_chunks::<16>().0.to_vec()
}

/// The records that name a subject, in all collections.
#[must_use]
pub fn records_of_subject(tenant: TenantNo, subject: &Token) -> KeyRange {
    prefix(&key(Table::SubjectRecord, &[&tenant.to_be_bytes(), subject]))
}

/// The records that name a subject in one collection.
#[must_use]
pub fn records_of_subject_in(tenant: TenantNo, subject: &Token, collection: CollectionNo) -> KeyRange {
    prefix(&subject_record(tenant, subject, collection, &[]))
}

/// [`Table::KeptRecords`].
#[must_use]
pub fn kept_records(tenant: TenantNo, slot: Slot) -> Bytes {
    key(Table::KeptRecords, &[&tenant.to_be_bytes(), &slot.to_be_bytes()])
}

/// [`Table::ShredRetained`]; `rule` is the rule's name.
#[must_use]
pub fn shred_retained(order: ShredId, collection: CollectionNo, rule: &str) -> Bytes {
    key(Table::ShredRetained, &[&order.0, &collection.to_be_bytes(), rule.as_bytes()])
}

/// All that an order has left.
#[must_use]
pub fn all_shred_retained(order: ShredId) -> KeyRange {
    prefix(&key(Table::ShredRetained, &[&order.0]))
}

/// Collection and rule of a [`Table::ShredRetained`] key; `None` if it is not one.
#[must_use]
pub fn shred_retained_parts(key: &[u8]) -> Option<(CollectionNo, &str)> {
    let mut parts = Parts::of(Table::ShredRetained, key)?;
    parts.bytes::<16>()?;
    Some((parts.collection()?, str::from_utf8(parts.rest()).ok()?))
}

/// [`Table::OpenReport`].
#[must_use]
pub fn open_report(tenant: TenantNo, report: ReportId) -> Bytes {
    key(Table::OpenReport, &[&tenant.to_be_bytes(), &report.0])
}

/// Tenant and report of a [`Table::RetentionReport`] or [`Table::OpenReport`] key; `None` if it is neither.
#[must_use]
pub fn report_parts(key: &[u8]) -> Option<(TenantNo, ReportId)> {
    let mut parts = Parts::of(Table::RetentionReport, key).or_else(|| Parts::of(Table::OpenReport, key))?;
    let (tenant, report) = (parts.tenant()?, ReportId(parts.bytes()?));
    parts.rest().is_empty().then_some((tenant, report))
}

/// [`Table::SecondaryRecord`]; `record` are the record's tokens.
#[must_use]
pub fn secondary_record(tenant: TenantNo, subject: &Token, collection: CollectionNo, record: &[Token]) -> Bytes {
    key(Table::SecondaryRecord, &[&tenant.to_be_bytes(), subject, &collection.to_be_bytes(), record.as_flattened()])
}

/// The records that name a subject, but not first.
#[must_use]
pub fn secondary_records(tenant: TenantNo, subject: &Token) -> KeyRange {
    prefix(&key(Table::SecondaryRecord, &[&tenant.to_be_bytes(), subject]))
}

/// [`Table::UnitUpload`].
#[must_use]
pub fn unit_upload(tenant: TenantNo, slot: Slot, upload: UploadId) -> Bytes {
    key(Table::UnitUpload, &[&tenant.to_be_bytes(), &slot.to_be_bytes(), &upload.0])
}

/// The large values sealed under a unit.
#[must_use]
pub fn uploads_of_unit(tenant: TenantNo, slot: Slot) -> KeyRange {
    prefix(&key(Table::UnitUpload, &[&tenant.to_be_bytes(), &slot.to_be_bytes()]))
}

/// [`Table::TrailName`].
#[must_use]
pub fn trail_name(tenant: TenantNo, unit: (Slot, Gen), collection: CollectionNo, record: &Token) -> Bytes {
    let (slot, generation) = unit;
    let parts: [&[u8]; 5] = [&tenant.to_be_bytes(), &slot.to_be_bytes(), &generation.to_be_bytes(), &collection.to_be_bytes(), record];
    key(Table::TrailName, &parts)
}

/// What tokens stand for under a unit's present key.
#[must_use]
pub fn trail_names(tenant: TenantNo, unit: (Slot, Gen)) -> KeyRange {
    prefix(&key(Table::TrailName, &[&tenant.to_be_bytes(), &unit.0.to_be_bytes(), &unit.1.to_be_bytes()]))
}

/// What tokens stood for under any key of a unit.
#[must_use]
pub fn trail_names_of_slot(tenant: TenantNo, slot: Slot) -> KeyRange {
    prefix(&key(Table::TrailName, &[&tenant.to_be_bytes(), &slot.to_be_bytes()]))
}

/// Collection and token of a [`Table::TrailName`] key; `None` if it is not one.
#[must_use]
pub fn trail_name_parts(key: &[u8]) -> Option<(CollectionNo, Token)> {
    let mut parts = Parts::of(Table::TrailName, key)?;
    parts.tenant()?;
    parts.slot()?;
    parts.u32()?;
    Some((parts.collection()?, parts.token()?))
}

/// [`Table::ShredDeleted`].
#[must_use]
pub fn shred_deleted(order: ShredId, collection: CollectionNo) -> Bytes {
    key(Table::ShredDeleted, &[&order.0, &collection.to_be_bytes()])
}

/// All rows of what an order has deleted.
#[must_use]
pub fn all_shred_deleted(order: ShredId) -> KeyRange {
    prefix(&key(Table::ShredDeleted, &[&order.0]))
}

/// [`Table::Reclaimed`].
#[must_use]
pub fn reclaimed() -> Bytes {
    key(Table::Reclaimed, &[])
}

/// [`Table::Reclaimed`] for an entry of the shred log, by its key, that is not done with.
#[must_use]
pub fn held_back(log: &[u8]) -> Bytes {
    key(Table::Reclaimed, &[log.get(1..).unwrap_or_default()])
}

/// All of them.
#[must_use]
pub fn all_held_back() -> KeyRange {
    KeyRange { from: successor(&reclaimed()), to: table(Table::Reclaimed).to }
}

/// The key of the [`Table::ShredLog`] row that a [`held_back`] key is about.
#[must_use]
pub fn held_back_entry(held: &[u8]) -> Bytes {
    key(Table::ShredLog, &[held.get(1..).unwrap_or_default()])
}

/// [`Table::Upload`].
#[must_use]
pub fn upload(upload: UploadId) -> Bytes {
    key(Table::Upload, &[&upload.0])
}

/// [`Table::BlobReclaim`]; `due` in milliseconds since 1970.
#[must_use]
pub fn blob_reclaim(due: u64, upload: UploadId) -> Bytes {
    key(Table::BlobReclaim, &[&due.to_be_bytes(), &upload.0])
}

/// [`Table::BlobReclaim`] before `due`.
#[must_use]
pub fn blob_reclaim_before(due: u64) -> KeyRange {
    KeyRange { from: table(Table::BlobReclaim).from, to: key(Table::BlobReclaim, &[&due.to_be_bytes()]) }
}

/// [`Table::Idempotency`].
#[must_use]
pub fn idempotency(tenant: TenantNo, token: &Token) -> Bytes {
    key(Table::Idempotency, &[&tenant.to_be_bytes(), token])
}

/// [`Table::IdempotencyDue`]; `due` in milliseconds since 1970.
#[must_use]
pub fn idempotency_due(due: u64, tenant: TenantNo, token: &Token) -> Bytes {
    key(Table::IdempotencyDue, &[&due.to_be_bytes(), &tenant.to_be_bytes(), token])
}

/// [`Table::IdempotencyDue`] before `due`.
#[must_use]
pub fn idempotency_due_before(due: u64) -> KeyRange {
    KeyRange { from: table(Table::IdempotencyDue).from, to: key(Table::IdempotencyDue, &[&due.to_be_bytes()]) }
}

/// [`Table::TenantImport`].
#[must_use]
pub fn tenant_import(tenant: TenantNo) -> Bytes {
    key(Table::TenantImport, &[&tenant.to_be_bytes()])
}

/// [`Table::Shortened`].
#[must_use]
pub fn shortened(tenant: TenantNo, collection: CollectionNo) -> Bytes {
    key(Table::Shortened, &[&tenant.to_be_bytes(), &collection.to_be_bytes()])
}

/// [`Table::EventsDone`].
#[must_use]
pub fn events_done() -> Bytes {
    key(Table::EventsDone, &[])
}

/// [`Table::Reclaim`].
#[must_use]
pub fn reclaim(order: ShredId, number: u32) -> Bytes {
    key(Table::Reclaim, &[&order.0, &number.to_be_bytes()])
}

/// [`Table::AuditMark`].
#[must_use]
pub fn audit_mark() -> Bytes {
    key(Table::AuditMark, &[])
}
