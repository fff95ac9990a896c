//! The keys of all rows: one table. Nobody else puts a key together or takes one apart.
//!
//! `Control` and `Index` hold many tables: their keys begin with a [`Table`] tag, one byte that never changes
//! its meaning. `Records`, `Blobs` and the two audit spaces hold one table each and have no tag. Numbers are
//! big-endian, so rows lie in their order; tokens are 16 bytes. Ranges are `from <= key < to`; a [`KeyRange`] made
//! by [`prefix`] holds exactly the keys that begin so. [`Parts`] reads a key from left to right.

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::{ApprovalId, CollectionNo, Epoch, Gen, HoldId, ReportId, ShredId, Slot, TenantNo, TokenId, TreeId, UploadId, WriterId};

#[cfg(test)]
mod tests;

/// A lookup token of a name: 16 bytes of an HMAC.
pub type Token = [u8; 16];

/// No key is longer.
pub const KEY_LEN_MAX: usize = 1_024;

/// The tables of [`Space::Control`](super::Space::Control) (below 128) and [`Space::Index`](super::Space::Index) (from 128).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// One row: what the store is (store id, format of the rows).
    Meta = 1,
    /// One row: epoch, root id, commitment, hash of the delta.
    RootPtr = 2,
    /// tree id 16, level u8, index be64: a wrapped page.
    Page = 3,
    /// tenant be64: its unit tree (tree id, height).
    Tree = 4,
    /// kind u8, or kind u8 and tenant be64: the next number that is free.
    Lease = 5,
    /// tenant be64: its state and its sealed name.
    Tenant = 6,
    /// token 16: the number of the tenant of that name; stays as a tombstone.
    TenantName = 7,
    /// tenant be64, collection be32: its unit, state, sealed name and policy.
    Collection = 8,
    /// tenant be64, token 16: the number of the collection of that name; stays as a tombstone.
    CollectionName = 9,
    /// token id 16: an access token.
    AccessToken = 10,
    /// tenant be64, token id 16: the access tokens of a tenant.
    TenantAccessToken = 11,
    /// tenant be64, subject token 16: pending, shredded, held.
    SubjectState = 12,
    /// tenant be64, slot u48: pending or shredded.
    UnitState = 13,
    /// shred id 16: an order to shred.
    ShredOrder = 14,
    /// tenant be64, shred id 16: the orders of a tenant.
    TenantShredOrder = 15,
    /// shred id 16: an order whose steps are not all done.
    PendingShred = 16,
    /// epoch be64, number be32: what an epoch shredded.
    ShredLog = 17,
    /// shred id 16: a certificate.
    Certificate = 18,
    /// tenant be64, writer be64: the last entry of an audit chain, of either store, that a checkpoint covers.
    AuditHead = 19,
    /// name: a setting.
    Setting = 20,
    /// Units, by slot and generation, in the control store so that no restored data can forget one that is to be shredded.
    /// tenant be64, subject token 16, collection be32: the unit of a subject there. tenant, record token 16, collection,
    /// slot u48: each unit that a record ever had; tenant, subject token, collection, record token, slot: the same, under its subject.
    Unit = 21,
    /// leaf hash 32: a leaf that may not be in the log yet.
    LogOutbox = 22,
    /// shred id 16, epoch be64: slots of the units that an order destroyed in that epoch.
    ShredSlots = 23,
    /// tenant be64, token 16: what was made under an idempotency key by a change of the control store.
    Made = 24,
    /// due be64, tenant be64, token 16: such a row that can go.
    MadeDue = 25,
    /// tenant be64, hold id 16: a legal hold; stays after its end.
    Hold = 26,
    /// What a hold that stands is on. tenant be64, then 0: all of it; 1, subject token 16; 2, collection be32, u8, so many tokens: the
    /// records under these segments, of none all of the collection's; 3, likewise: the one record. Then its id.
    HoldOn = 27,
    /// tenant be64: what changes with each hold of it that begins or ends. Absent while none stands.
    HoldState = 28,
    /// time be64, tenant be64, hold id 16: when a hold ends by itself.
    HoldLapse = 29,
    /// epoch be64: what is public about the change that began it.
    Epoch = 30,
    /// epoch be64: what the self-check of that epoch compares with; gone with the next epoch once it has passed.
    EpochCheck = 31,
    /// tenant be64, the first half of a hash of its scope: an order to shred that a hold stopped.
    HeldOrder = 32,
    /// tenant be64, time be64, change id 16: a step from one of the tenant's states to another.
    TenantChange = 50,
    /// due be64, tenant be64: when the grace of a tenant that is terminated is over.
    TenantEnd = 51,
    /// tenant be64, slot u48: a unit that an order about persons has spared, for it seals what a law keeps.
    KeptUnit = 55,
    /// time be64, tenant be64, slot u48: when such a unit is looked at next, whether anything is left under it.
    KeptDue = 56,
    /// tenant be64: what changes when a collection of it is made that has legal minimums, or is given its first. Absent while none was.
    LawMark = 57,
    /// tenant be64, subject token 16: that a person has several ids, and which is the first. Absent for all others.
    Alias = 60,
    /// tenant be64, approval id 16: a request for a second person; stays after its end.
    Approval = 65,
    /// time be64, tenant be64, approval id 16: when a request that is open ends by itself.
    ApprovalDue = 66,
    /// tenant be64, the first half of a hash of what is asked for: the request that is open for it.
    ApprovalOpen = 67,
    /// tenant be64, collection be32, time be64: rules that two persons let hold for what was there then.
    Shortening = 68,
    /// tenant be64, report id 16: what runs of retention did in it on a day that is over.
    RetentionReport = 70,
    /// tenant be64, report id 16, shred id 16: an order to shred that goes with what such a report counts.
    ReportShred = 71,
    /// tenant be64, subject token 16: what was reported of a person, under the person's first id. Absent for all others.
    Events = 72,
    /// number be64: whose events were reported, in the order of the reports; the last of each person's.
    EventQueue = 73,
    /// tenant be64, shred id 16, subject token 16: what was known of a person's events when the order left what a law keeps.
    LeftEvents = 74,
    /// tenant be64, subject token 16, collection be32, record tokens: a record that names the subject.
    SubjectRecord = 129,
    /// upload id 16: a large value on its way in.
    Upload = 130,
    /// due be64, upload id 16: a large value whose rows can go.
    BlobReclaim = 131,
    /// tenant be64, token 16: the sealed reply to an idempotency key.
    Idempotency = 132,
    /// due be64, tenant be64, token 16: an idempotency reply that can go.
    IdempotencyDue = 133,
    /// id 16 (made from the record's row), number be32: a deleted record whose unit is still to be shredded.
    Reclaim = 134,
    /// One row: the number of the last checkpoint of the audit chains.
    AuditMark = 135,
    /// tenant be64, subject token 16, collection be32, record tokens: a record that names the subject, but not first.
    SecondaryRecord = 136,
    /// tenant be64, slot u48, upload id 16: a large value sealed under that unit.
    UnitUpload = 137,
    /// One row: the last entry of the shred log that was looked at in this data store. epoch be64, number be32: an entry up to
    /// there that is not done with.
    Reclaimed = 138,
    /// tenant be64, slot u48, generation be32, collection be32, last token of a record's key 16: what the token stands for, sealed
    /// under that unit. For readers of the audit trail; not read by anything else.
    TrailName = 139,
    /// shred id 16, collection be32: what an order has deleted there so far; under collection 0, how far it has come.
    ShredDeleted = 140,
    /// hour be32, tenant be64, collection be32, record tokens: a record of which a version ends within that hour.
    Due = 141,
    /// The same of one whose end a date in its value, or of an event, decides: within the 32 days that begin with that hour.
    DueMonth = 142,
    /// tenant be64, collection be32, record tokens: the table and the hour of a record's row in one of those.
    DueOf = 143,
    /// hold id 16, then the key of its row in [`Table::Due`] or [`Table::DueMonth`]: a record that is due and that this hold keeps.
    HeldDue = 144,
    /// One row: how far this data store has come with the rows of [`Table::EventQueue`].
    EventsDone = 145,
    /// tenant be64, slot u48: how many restricted records a unit seals that an order has spared.
    KeptRecords = 155,
    /// shred id 16, collection be32, the name of a rule: what an order has left there so far for that rule's minimum.
    ShredRetained = 156,
    /// tenant be64, collection be32: how far this data store has come with the rows of [`Table::Shortening`].
    Shortened = 165,
    /// tenant be64, report id 16: what runs of retention have done in it today, counted in the commits of that.
    OpenReport = 170,
    /// tenant be64: how far the import of a tenant has come; stays when all of it is there.
    TenantImport = 180,
}

/// Keys with `from <= key < to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub from: Bytes,
    /// First key that is outside.
    pub to: Bytes,
}

impl KeyRange {
    /// The rest of the range behind `key`, for the next page of a scan.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        Self { from: successor(key), to: self.to.clone() }
    }
}

/// The smallest key that is larger than `key`.
#[must_use]
pub fn successor(key: &[u8]) -> Bytes {
    join(&[key, &[0]])
}

/// All keys that begin with `prefix`.
#[must_use]
pub fn prefix(prefix: &[u8]) -> KeyRange {
    let mut to = prefix.to_vec();
    while to.last() == Some(&u8::MAX) {
        to.pop();
    }
    match to.last_mut() {
        Some(last) => *last = last.saturating_add(1),
        // Nothing lies behind a prefix of 0xff alone: the end is then longer than any key.
        None => to = vec![u8::MAX; KEY_LEN_MAX.saturating_add(1)],
    }
    KeyRange { from: Bytes::copy_from_slice(prefix), to: to.into() }
}

/// All rows of a table.
#[must_use]
pub fn table(table: Table) -> KeyRange {
    prefix(&[table as u8])
}

/// All rows of a table whose keys begin with a tenant's number.
#[must_use]
pub fn table_of_tenant(table: Table, tenant: TenantNo) -> KeyRange {
    prefix(&key(table, &[&tenant.to_be_bytes()]))
}

fn join(parts: &[&[u8]]) -> Bytes {
    let mut joined = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        joined.put_slice(part);
    }
    joined.freeze()
}

fn key(table: Table, parts: &[&[u8]]) -> Bytes {
    let mut joined = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>().saturating_add(1));
    joined.put_u8(table as u8);
    for part in parts {
        joined.put_slice(part);
    }
    joined.freeze()
}

/// [`Table::Meta`].
#[must_use]
pub fn meta() -> Bytes {
    key(Table::Meta, &[])
}

/// [`Table::RootPtr`].
#[must_use]
pub fn root_ptr() -> Bytes {
    key(Table::RootPtr, &[])
}

/// [`Table::Page`].
#[must_use]
pub fn page(tree: TreeId, level: u8, index: u64) -> Bytes {
    key(Table::Page, &[&tree.0, &[level], &index.to_be_bytes()])
}

/// All pages of a tree.
#[must_use]
pub fn pages(tree: TreeId) -> KeyRange {
    prefix(&key(Table::Page, &[&tree.0]))
}

/// [`Table::Tree`].
#[must_use]
pub fn tree(tenant: TenantNo) -> Bytes {
    key(Table::Tree, &[&tenant.to_be_bytes()])
}

/// [`Table::Lease`] of the whole store.
#[must_use]
pub fn lease(kind: u8) -> Bytes {
    key(Table::Lease, &[&[kind]])
}

/// [`Table::Lease`] of one tenant.
#[must_use]
pub fn tenant_lease(kind: u8, tenant: TenantNo) -> Bytes {
    key(Table::Lease, &[&[kind], &tenant.to_be_bytes()])
}

/// [`Table::Tenant`].
#[must_use]
pub fn tenant(tenant: TenantNo) -> Bytes {
    key(Table::Tenant, &[&tenant.to_be_bytes()])
}

/// [`Table::TenantName`].
#[must_use]
pub fn tenant_name(name: &Token) -> Bytes {
    key(Table::TenantName, &[name])
}

/// [`Table::Collection`].
#[must_use]
pub fn collection(tenant: TenantNo, collection: CollectionNo) -> Bytes {
    key(Table::Collection, &[&tenant.to_be_bytes(), &collection.to_be_bytes()])
}

/// [`Table::CollectionName`].
#[must_use]
pub fn collection_name(tenant: TenantNo, name: &Token) -> Bytes {
    key(Table::CollectionName, &[&tenant.to_be_bytes(), name])
}

/// [`Table::AccessToken`].
#[must_use]
pub fn access_token(token: TokenId) -> Bytes {
    key(Table::AccessToken, &[&token.0])
}

/// [`Table::TenantAccessToken`].
#[must_use]
pub fn tenant_access_token(tenant: TenantNo, token: TokenId) -> Bytes {
    key(Table::TenantAccessToken, &[&tenant.to_be_bytes(), &token.0])
}

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

/// [`Table::AuditHead`].
#[must_use]
pub fn audit_head(tenant: TenantNo, writer: WriterId) -> Bytes {
    key(Table::AuditHead, &[&tenant.to_be_bytes(), &writer.to_be_bytes()])
}

/// [`Table::LogOutbox`].
#[must_use]
pub fn log_outbox(leaf_hash: &[u8; 32]) -> Bytes {
    key(Table::LogOutbox, &[leaf_hash])
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

/// [`Table::Epoch`].
#[must_use]
pub fn epoch(epoch: Epoch) -> Bytes {
    key(Table::Epoch, &[&epoch.to_be_bytes()])
}

/// [`Table::EpochCheck`].
#[must_use]
pub fn epoch_check(epoch: Epoch) -> Bytes {
    key(Table::EpochCheck, &[&epoch.to_be_bytes()])
}

/// [`Table::Setting`].
#[must_use]
pub fn setting(name: &str) -> Bytes {
    key(Table::Setting, &[name.as_bytes()])
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

/// Subject, collection and record tokens of a [`Table::SubjectRecord`] or [`Table::SecondaryRecord`] key; `None` if it is neither.
#[must_use]
pub fn subject_record_parts(key: &[u8]) -> Option<(Token, CollectionNo, Vec<Token>)> {
    let mut parts = Parts::of(Table::SubjectRecord, key).or_else(|| Parts::of(Table::SecondaryRecord, key))?;
    parts.tenant()?;
    Some((parts.token()?, parts.collection()?, parts.tokens()?))
}

/// Tokens of the key of a row in [`Space::Records`](super::Space::Records); `None` if it is not one.
#[must_use]
pub fn record_tokens(key: &[u8]) -> Option<Vec<Token>> {
    let (tokens, rest) = key.get(12..)?.as_chunks::<16>();
    (rest.is_empty() && !tokens.is_empty()).then(|| tokens.to_vec())
}

/// Tenant and collection of a row in [`Space::Records`](super::Space::Records); `None` if it is not one.
#[must_use]
pub fn record_place(key: &[u8]) -> Option<(TenantNo, CollectionNo)> {
    let (tenant, rest) = key.split_first_chunk::<8>()?;
    Some((TenantNo(u64::from_be_bytes(*tenant)), CollectionNo(u32::from_be_bytes(*rest.first_chunk::<4>()?))))
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

/// [`Table::LawMark`].
#[must_use]
pub fn law_mark(tenant: TenantNo) -> Bytes {
    key(Table::LawMark, &[&tenant.to_be_bytes()])
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

/// [`Table::RetentionReport`].
#[must_use]
pub fn retention_report(tenant: TenantNo, report: ReportId) -> Bytes {
    key(Table::RetentionReport, &[&tenant.to_be_bytes(), &report.0])
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

/// How exactly the key of a row tells when a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fineness {
    /// [`Table::Due`]: its hour.
    Hour,
    /// [`Table::DueMonth`]: its 32 days.
    Month,
}

impl Fineness {
    /// Both, in the order of their tables.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Month];

    const fn table(self) -> Table {
        match self {
            Self::Hour => Table::Due,
            Self::Month => Table::DueMonth,
        }
    }
}

/// What a key of [`Table::Due`] or [`Table::DueMonth`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which of them.
    pub fineness: Fineness,
    /// The hour since 1970, UTC, or the first of so many.
    pub hour: u32,
    /// Whose record.
    pub tenant: TenantNo,
    /// Of which collection.
    pub collection: CollectionNo,
    /// The record's tokens.
    pub record: Vec<Token>,
}

/// [`Table::Due`] or [`Table::DueMonth`]; `hour` since 1970, `record` are the record's tokens.
#[must_use]
pub fn due(fineness: Fineness, hour: u32, tenant: TenantNo, collection: CollectionNo, record: &[Token]) -> Bytes {
    key(fineness.table(), &[&hour.to_be_bytes(), &tenant.to_be_bytes(), &collection.to_be_bytes(), record.as_flattened()])
}

/// The same of that hour and all before.
#[must_use]
pub fn due_until(fineness: Fineness, hour: u32) -> KeyRange {
    let table = fineness.table();
    KeyRange { from: self::table(table).from, to: prefix(&key(table, &[&hour.to_be_bytes()])).to }
}

/// What such a key names; `None` if it is not one.
#[must_use]
pub fn due_parts(key: &[u8]) -> Option<Due> {
    let fineness = Fineness::ALL.into_iter().find(|fineness| key.first() == Some(&(fineness.table() as u8)))?;
    let mut parts = Parts::of(fineness.table(), key)?;
    let (hour, tenant, collection) = (parts.u32()?, parts.tenant()?, parts.collection()?);
    Some(Due { fineness, hour, tenant, collection, record: parts.tokens()? })
}

/// [`Table::DueOf`].
#[must_use]
pub fn due_of(tenant: TenantNo, collection: CollectionNo, record: &[Token]) -> Bytes {
    key(Table::DueOf, &[&tenant.to_be_bytes(), &collection.to_be_bytes(), record.as_flattened()])
}

/// [`Table::DueOf`] of a collection.
#[must_use]
pub fn due_of_collection(tenant: TenantNo, collection: CollectionNo) -> KeyRange {
    prefix(&due_of(tenant, collection, &[]))
}

/// Whose row of [`Table::DueOf`] it is; `None` if it is none.
#[must_use]
pub fn due_of_parts(key: &[u8]) -> Option<TenantNo> {
    let mut parts = Parts::of(Table::DueOf, key)?;
    let (tenant, _) = (parts.tenant()?, parts.collection()?);
    parts.tokens().map(|_| tenant)
}

/// The value of a [`Table::DueOf`] row that leads to this key.
#[must_use]
pub fn due_lead(due: &[u8]) -> Bytes {
    Bytes::copy_from_slice(due.get(..5).unwrap_or_default())
}

/// The key that a [`Table::DueOf`] row leads to; `None` if the row is broken.
#[must_use]
pub fn due_led_to(row: &[u8], value: &[u8]) -> Option<Bytes> {
    let record = Parts::of(Table::DueOf, row)?.rest();
    let led_to = join(&[value.first_chunk::<5>().filter(|_| value.len() == 5)?, record]);
    due_parts(&led_to).map(|_| led_to)
}

/// [`Table::HeldDue`] of what would stand under a key of [`Table::Due`] or [`Table::DueMonth`].
#[must_use]
pub fn held_due(hold: HoldId, due: &[u8]) -> Bytes {
    key(Table::HeldDue, &[&hold.0, due])
}

/// All that a hold keeps.
#[must_use]
pub fn all_held_due(hold: HoldId) -> KeyRange {
    prefix(&key(Table::HeldDue, &[&hold.0]))
}

/// The hold of a [`Table::HeldDue`] key, and the key that is to take its place; `None` if it is not one.
#[must_use]
pub fn held_due_parts(key_of_held: &[u8]) -> Option<(HoldId, Bytes)> {
    let mut parts = Parts::of(Table::HeldDue, key_of_held)?;
    let hold = HoldId(parts.bytes()?);
    let due = Bytes::copy_from_slice(parts.rest());
    due_parts(&due).map(|_| (hold, due))
}

/// [`Table::Hold`].
#[must_use]
pub fn hold(tenant: TenantNo, hold: HoldId) -> Bytes {
    key(Table::Hold, &[&tenant.to_be_bytes(), &hold.0])
}

/// What a legal hold is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeldThing {
    /// A whole tenant.
    Tenant,
    /// A person.
    Subject(Token),
    /// The records of a collection whose keys begin with these segments; all of it, if there are none.
    Under(CollectionNo, Vec<Token>),
    /// One record.
    Record(CollectionNo, Vec<Token>),
}

impl HeldThing {
    /// Its place among those of a tenant, each of which begins no other.
    fn place(&self) -> Vec<u8> {
        let tokens = |kind: u8, collection: &CollectionNo, tokens: &[Token]| {
            let count = u8::try_from(tokens.len()).unwrap_or(u8::MAX);
            [&[kind][..], &collection.to_be_bytes(), &[count], tokens.as_flattened()].concat()
        };
        match self {
            Self::Tenant => vec![0],
            Self::Subject(subject) => [&[1][..], subject].concat(),
            Self::Under(collection, of) => tokens(2, collection, of),
            Self::Record(collection, of) => tokens(3, collection, of),
        }
    }
}

/// [`Table::HoldOn`].
#[must_use]
pub fn hold_on(tenant: TenantNo, on: &HeldThing, hold: HoldId) -> Bytes {
    key(Table::HoldOn, &[&tenant.to_be_bytes(), &on.place(), &hold.0])
}

/// The holds on one thing.
#[must_use]
pub fn holds_on(tenant: TenantNo, on: &HeldThing) -> KeyRange {
    prefix(&key(Table::HoldOn, &[&tenant.to_be_bytes(), &on.place()]))
}

/// Tenant, thing and hold of a [`Table::HoldOn`] key; `None` if it is not one.
#[must_use]
pub fn hold_on_parts(key: &[u8]) -> Option<(TenantNo, HeldThing, HoldId)> {
    let mut parts = Parts::of(Table::HoldOn, key)?;
    let tenant = parts.tenant()?;
    let on = match parts.u8()? {
        0 => HeldThing::Tenant,
        1 => HeldThing::Subject(parts.token()?),
        kind @ (2 | 3) => {
            let collection = parts.collection()?;
            let tokens = (0..parts.u8()?).map(|_| parts.token()).collect::<Option<Vec<_>>>()?;
            if kind == 2 { HeldThing::Under(collection, tokens) } else { HeldThing::Record(collection, tokens) }
        }
        _ => return None,
    };
    let hold = HoldId(parts.bytes()?);
    parts.rest().is_empty().then_some((tenant, on, hold))
}

/// [`Table::HoldState`].
#[must_use]
pub fn hold_state(tenant: TenantNo) -> Bytes {
    key(Table::HoldState, &[&tenant.to_be_bytes()])
}

/// [`Table::TenantImport`].
#[must_use]
pub fn tenant_import(tenant: TenantNo) -> Bytes {
    key(Table::TenantImport, &[&tenant.to_be_bytes()])
}

/// [`Table::HoldLapse`]; `at` in milliseconds since 1970.
#[must_use]
pub fn hold_lapse(at: u64, tenant: TenantNo, hold: HoldId) -> Bytes {
    key(Table::HoldLapse, &[&at.to_be_bytes(), &tenant.to_be_bytes(), &hold.0])
}

/// Time, tenant and hold of a [`Table::HoldLapse`] key; `None` if it is not one.
#[must_use]
pub fn hold_lapse_parts(key: &[u8]) -> Option<(u64, TenantNo, HoldId)> {
    let mut parts = Parts::of(Table::HoldLapse, key)?;
    let (at, tenant, hold) = (parts.u64()?, parts.tenant()?, HoldId(parts.bytes()?));
    parts.rest().is_empty().then_some((at, tenant, hold))
}

/// [`Table::HeldOrder`].
#[must_use]
pub fn held_order(tenant: TenantNo, scope: &Token) -> Bytes {
    key(Table::HeldOrder, &[&tenant.to_be_bytes(), scope])
}

/// [`Table::TenantChange`]; `at` in milliseconds since 1970.
#[must_use]
pub fn tenant_change(tenant: TenantNo, at: u64, change: &[u8; 16]) -> Bytes {
    key(Table::TenantChange, &[&tenant.to_be_bytes(), &at.to_be_bytes(), change])
}

/// Tenant, time and id of a [`Table::TenantChange`] key; `None` if it is not one.
#[must_use]
pub fn tenant_change_parts(key: &[u8]) -> Option<(TenantNo, u64, [u8; 16])> {
    let mut parts = Parts::of(Table::TenantChange, key)?;
    let (tenant, at, change) = (parts.tenant()?, parts.u64()?, parts.bytes()?);
    parts.rest().is_empty().then_some((tenant, at, change))
}

/// [`Table::TenantEnd`]; `due` in milliseconds since 1970.
#[must_use]
pub fn tenant_end(due: u64, tenant: TenantNo) -> Bytes {
    key(Table::TenantEnd, &[&due.to_be_bytes(), &tenant.to_be_bytes()])
}

/// Time and tenant of a [`Table::TenantEnd`] key; `None` if it is not one.
#[must_use]
pub fn tenant_end_parts(key: &[u8]) -> Option<(u64, TenantNo)> {
    let mut parts = Parts::of(Table::TenantEnd, key)?;
    let (due, tenant) = (parts.u64()?, parts.tenant()?);
    parts.rest().is_empty().then_some((due, tenant))
}

/// [`Table::Alias`].
#[must_use]
pub fn alias(tenant: TenantNo, subject: &Token) -> Bytes {
    key(Table::Alias, &[&tenant.to_be_bytes(), subject])
}

/// Tenant and subject of a [`Table::Alias`] key; `None` if it is not one.
#[must_use]
pub fn alias_parts(key: &[u8]) -> Option<(TenantNo, Token)> {
    let mut parts = Parts::of(Table::Alias, key)?;
    let (tenant, subject) = (parts.tenant()?, parts.token()?);
    parts.rest().is_empty().then_some((tenant, subject))
}

/// [`Table::Approval`].
#[must_use]
pub fn approval(tenant: TenantNo, approval: ApprovalId) -> Bytes {
    key(Table::Approval, &[&tenant.to_be_bytes(), &approval.0])
}

/// [`Table::ApprovalDue`]; `at` in milliseconds since 1970.
#[must_use]
pub fn approval_due(at: u64, tenant: TenantNo, approval: ApprovalId) -> Bytes {
    key(Table::ApprovalDue, &[&at.to_be_bytes(), &tenant.to_be_bytes(), &approval.0])
}

/// Time, tenant and request of a [`Table::ApprovalDue`] key; `None` if it is not one.
#[must_use]
pub fn approval_due_parts(key: &[u8]) -> Option<(u64, TenantNo, ApprovalId)> {
    let mut parts = Parts::of(Table::ApprovalDue, key)?;
    let (at, tenant, id) = (parts.u64()?, parts.tenant()?, ApprovalId(parts.bytes()?));
    parts.rest().is_empty().then_some((at, tenant, id))
}

/// [`Table::ApprovalOpen`].
#[must_use]
pub fn approval_open(tenant: TenantNo, place: &Token) -> Bytes {
    key(Table::ApprovalOpen, &[&tenant.to_be_bytes(), place])
}

/// [`Table::Shortening`]; `at` in milliseconds since 1970.
#[must_use]
pub fn shortening(tenant: TenantNo, collection: CollectionNo, at: u64) -> Bytes {
    key(Table::Shortening, &[&tenant.to_be_bytes(), &collection.to_be_bytes(), &at.to_be_bytes()])
}

/// All of a collection.
#[must_use]
pub fn shortenings_of(tenant: TenantNo, collection: CollectionNo) -> KeyRange {
    prefix(&key(Table::Shortening, &[&tenant.to_be_bytes(), &collection.to_be_bytes()]))
}

/// Tenant, collection and time of a [`Table::Shortening`] key; `None` if it is not one.
#[must_use]
pub fn shortening_parts(key: &[u8]) -> Option<(TenantNo, CollectionNo, u64)> {
    let mut parts = Parts::of(Table::Shortening, key)?;
    let (tenant, collection, at) = (parts.tenant()?, parts.collection()?, parts.u64()?);
    parts.rest().is_empty().then_some((tenant, collection, at))
}

/// [`Table::Shortened`].
#[must_use]
pub fn shortened(tenant: TenantNo, collection: CollectionNo) -> Bytes {
    key(Table::Shortened, &[&tenant.to_be_bytes(), &collection.to_be_bytes()])
}

/// [`Table::Events`].
#[must_use]
pub fn events(tenant: TenantNo, subject: &Token) -> Bytes {
    key(Table::Events, &[&tenant.to_be_bytes(), subject])
}

/// [`Table::EventQueue`].
#[must_use]
pub fn event_queue(number: u64) -> Bytes {
    key(Table::EventQueue, &[&number.to_be_bytes()])
}

/// [`Table::EventQueue`] from a number on.
#[must_use]
pub fn event_queue_from(number: u64) -> KeyRange {
    KeyRange { from: event_queue(number), to: table(Table::EventQueue).to }
}

/// The number of a [`Table::EventQueue`] key; `None` if it is not one.
#[must_use]
pub fn event_queue_number(key: &[u8]) -> Option<u64> {
    let mut parts = Parts::of(Table::EventQueue, key)?;
    let number = parts.u64()?;
    parts.rest().is_empty().then_some(number)
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

/// [`Table::EventsDone`].
#[must_use]
pub fn events_done() -> Bytes {
    key(Table::EventsDone, &[])
}

/// [`Table::Made`].
#[must_use]
pub fn made(tenant: TenantNo, token: &Token) -> Bytes {
    key(Table::Made, &[&tenant.to_be_bytes(), token])
}

/// [`Table::MadeDue`]; `due` in milliseconds since 1970.
#[must_use]
pub fn made_due(due: u64, tenant: TenantNo, token: &Token) -> Bytes {
    key(Table::MadeDue, &[&due.to_be_bytes(), &tenant.to_be_bytes(), token])
}

/// [`Table::MadeDue`] before `due`.
#[must_use]
pub fn made_due_before(due: u64) -> KeyRange {
    KeyRange { from: table(Table::MadeDue).from, to: key(Table::MadeDue, &[&due.to_be_bytes()]) }
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

/// A row of `Records`: tenant be64, collection be32, a token for each segment of the key.
#[must_use]
pub fn record(tenant: TenantNo, collection: CollectionNo, tokens: &[Token]) -> Bytes {
    join(&[&tenant.to_be_bytes(), &collection.to_be_bytes(), tokens.as_flattened()])
}

/// The records whose key begins with the segments behind `tokens`; all of the collection if there are none.
#[must_use]
pub fn records_under(tenant: TenantNo, collection: CollectionNo, tokens: &[Token]) -> KeyRange {
    prefix(&record(tenant, collection, tokens))
}

/// All records of a tenant.
#[must_use]
pub fn records_of_tenant(tenant: TenantNo) -> KeyRange {
    prefix(&tenant.to_be_bytes())
}

/// A row of `Blobs`: upload id 16, row be32.
#[must_use]
pub fn blob(upload: UploadId, row: u32) -> Bytes {
    join(&[&upload.0, &row.to_be_bytes()])
}

/// All rows of a large value.
#[must_use]
pub fn blob_rows(upload: UploadId) -> KeyRange {
    prefix(&upload.0)
}

/// A row of the audit spaces: tenant be64, writer be64, number be64.
#[must_use]
pub fn audit(tenant: TenantNo, writer: WriterId, seq: u64) -> Bytes {
    join(&[&tenant.to_be_bytes(), &writer.to_be_bytes(), &seq.to_be_bytes()])
}

/// One audit chain.
#[must_use]
pub fn audit_chain(tenant: TenantNo, writer: WriterId) -> KeyRange {
    prefix(&join(&[&tenant.to_be_bytes(), &writer.to_be_bytes()]))
}

/// All audit chains of a tenant.
#[must_use]
pub fn audit_of_tenant(tenant: TenantNo) -> KeyRange {
    prefix(&tenant.to_be_bytes())
}

/// Reads a key from left to right; `None` where it is too short.
#[derive(Debug, Clone)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// A key without a tag.
    #[must_use]
    pub const fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// A key of `table`, read from behind its tag; `None` if it is of another table.
    #[must_use]
    pub fn of(table: Table, key: &'a [u8]) -> Option<Self> {
        key.split_first().filter(|(tag, _)| **tag == table as u8).map(|(_, rest)| Self(rest))
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_be_bytes)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    /// The next tenant's number.
    pub fn tenant(&mut self) -> Option<TenantNo> {
        self.u64().map(TenantNo)
    }

    /// The next collection's number.
    pub fn collection(&mut self) -> Option<CollectionNo> {
        self.u32().map(CollectionNo)
    }

    /// The next slot.
    pub fn slot(&mut self) -> Option<Slot> {
        self.bytes().map(Slot::from_be_bytes)
    }

    /// The next token.
    pub fn token(&mut self) -> Option<Token> {
        self.bytes()
    }

    /// The collection of a row of `Records`, whose key is read from its beginning.
    pub fn collection_of_record(&mut self) -> Option<CollectionNo> {
        self.tenant()?;
        self.collection()
    }

    /// All that is left, as tokens; `None` if it does not come out even.
    #[must_use]
    pub fn tokens(self) -> Option<Vec<Token>> {
        let (tokens, rest) = self.0.as_chunks::<16>();
        rest.is_empty().then(|| tokens.to_vec())
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}
