//! Keys of `Control` that are about neither units nor holds: the store itself, its tenants and collections, their tokens, and what was
//! reported, asked for or decided about them.

use bytes::Bytes;

use crate::domain::{ApprovalId, CollectionNo, Epoch, ReportId, TenantNo, TokenId, TreeId, WriterId};

use super::{KeyRange, Parts, Table, Token, key, prefix, table};

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

/// [`Table::LawMark`].
#[must_use]
pub fn law_mark(tenant: TenantNo) -> Bytes {
    key(Table::LawMark, &[&tenant.to_be_bytes()])
}

/// [`Table::RetentionReport`].
#[must_use]
pub fn retention_report(tenant: TenantNo, report: ReportId) -> Bytes {
    key(Table::RetentionReport, &[&tenant.to_be_bytes(), &report.0])
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
