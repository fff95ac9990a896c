//! Keys of `Index` that tell when a record ends: those a run of retention goes through, the row that leads to them from the record, and
//! those a hold has taken away meanwhile.

use bytes::Bytes;

use crate::domain::{CollectionNo, HoldId, TenantNo};

use super::{KeyRange, Parts, Table, Token, join, key, prefix, table};

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

    pub(super) const fn table(self) -> Table {
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
