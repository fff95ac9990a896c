//! Keys of `Index` that tell when a record ends: those a run of retention goes through, the row that leads to them from the record, and
//! those a hold has taken away meanwhile.
//!
//! Once its 32 days have begun, a row of [`Table::DueMonth`] becomes one of [`Table::DueListed`], under the number of a page and a place on
//! it. The page, a row of [`Table::DuePage`], tells under a seal which place is due when: so it is found, and no key tells the hour. What
//! nothing can end but other rules sleeps: it lies in [`Table::DueAsleep`], by its collection.

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

/// By what a row is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// By its hour: one of [`Table::Due`] or [`Table::DueMonth`].
    ByTime,
    /// By this place of this page: one of [`Table::DueListed`].
    Listed {
        /// The page's number.
        page: u32,
        /// The place.
        place: u16,
    },
    /// By its collection: one of [`Table::DueAsleep`].
    Asleep,
}

/// What a key of [`Table::Due`], [`Table::DueMonth`], [`Table::DueListed`] or [`Table::DueAsleep`] names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// How exactly the hour is told.
    pub fineness: Fineness,
    /// The hour since 1970, UTC, or the first of so many; 0 where none is told.
    pub hour: u32,
    /// Whose record.
    pub tenant: TenantNo,
    /// Of which collection.
    pub collection: CollectionNo,
    /// The record's tokens.
    pub record: Vec<Token>,
    /// Which of the tables.
    pub lies: Lies,
}

/// What a key of [`Table::DuePage`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuePage {
    /// The first hour of its 32 days.
    pub hour: u32,
    /// Whose records it lists.
    pub tenant: TenantNo,
    /// Of which collection.
    pub collection: CollectionNo,
    /// Its number.
    pub page: u32,
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
    if let Some(mut parts) = Parts::of(Table::DueListed, key) {
        let (hour, page, place) = (parts.u32()?, parts.u32()?, parts.bytes().map(u16::from_be_bytes)?);
        let (tenant, collection, lies) = (parts.tenant()?, parts.collection()?, Lies::Listed { page, place });
        return Some(Due { fineness: Fineness::Month, hour, tenant, collection, record: parts.tokens()?, lies });
    }
    if let Some(mut parts) = Parts::of(Table::DueAsleep, key) {
        let (tenant, collection) = (parts.tenant()?, parts.collection()?);
        return Some(Due { fineness: Fineness::Hour, hour: 0, tenant, collection, record: parts.tokens()?, lies: Lies::Asleep });
    }
    let fineness = Fineness::ALL.into_iter().find(|fineness| key.first() == Some(&(fineness.table() as u8)))?;
    let mut parts = Parts::of(fineness.table(), key)?;
    let (hour, tenant, collection) = (parts.u32()?, parts.tenant()?, parts.collection()?);
    Some(Due { fineness, hour, tenant, collection, record: parts.tokens()?, lies: Lies::ByTime })
}

/// [`Table::DuePage`].
#[must_use]
pub fn due_page(of: &DuePage) -> Bytes {
    key(Table::DuePage, &[&of.hour.to_be_bytes(), &of.tenant.to_be_bytes(), &of.collection.to_be_bytes(), &of.page.to_be_bytes()])
}

/// What such a key names; `None` if it is not one.
#[must_use]
pub fn due_page_parts(key: &[u8]) -> Option<DuePage> {
    let mut parts = Parts::of(Table::DuePage, key)?;
    let of = DuePage { hour: parts.u32()?, tenant: parts.tenant()?, collection: parts.collection()?, page: parts.u32()? };
    parts.rest().is_empty().then_some(of)
}

/// [`Table::DuePage`] of those 32 days of a collection.
#[must_use]
pub fn due_pages_of(hour: u32, tenant: TenantNo, collection: CollectionNo) -> KeyRange {
    prefix(&key(Table::DuePage, &[&hour.to_be_bytes(), &tenant.to_be_bytes(), &collection.to_be_bytes()]))
}

/// The same of a tenant.
#[must_use]
pub fn due_pages_of_tenant(hour: u32, tenant: TenantNo) -> KeyRange {
    prefix(&key(Table::DuePage, &[&hour.to_be_bytes(), &tenant.to_be_bytes()]))
}

/// The same of all.
#[must_use]
pub fn due_pages_in(hour: u32) -> KeyRange {
    prefix(&key(Table::DuePage, &[&hour.to_be_bytes()]))
}

/// [`Table::DueListed`]; `record` are the record's tokens.
#[must_use]
pub fn due_listed(on: &DuePage, place: u16, record: &[Token]) -> Bytes {
    let (hour, page, place) = (on.hour.to_be_bytes(), on.page.to_be_bytes(), place.to_be_bytes());
    key(Table::DueListed, &[&hour, &page, &place, &on.tenant.to_be_bytes(), &on.collection.to_be_bytes(), record.as_flattened()])
}

/// [`Table::DueListed`] at a place of a page.
#[must_use]
pub fn due_listed_at(on: &DuePage, place: u16) -> KeyRange {
    prefix(&due_listed(on, place, &[]))
}

/// [`Table::DueListed`] of a page, and of any other of the same number.
#[must_use]
pub fn all_due_listed(on: &DuePage) -> KeyRange {
    prefix(&key(Table::DueListed, &[&on.hour.to_be_bytes(), &on.page.to_be_bytes()]))
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

/// [`Table::DueAsleep`]; `record` are the record's tokens.
#[must_use]
pub fn due_asleep(tenant: TenantNo, collection: CollectionNo, record: &[Token]) -> Bytes {
    key(Table::DueAsleep, &[&tenant.to_be_bytes(), &collection.to_be_bytes(), record.as_flattened()])
}

/// [`Table::DueAsleep`] of a collection.
#[must_use]
pub fn all_asleep(tenant: TenantNo, collection: CollectionNo) -> KeyRange {
    prefix(&due_asleep(tenant, collection, &[]))
}

/// [`Table::AsleepOf`].
#[must_use]
pub fn asleep_of(tenant: TenantNo, collection: CollectionNo) -> Bytes {
    key(Table::AsleepOf, &[&tenant.to_be_bytes(), &collection.to_be_bytes()])
}

/// What such a key names; `None` if it is not one.
#[must_use]
pub fn asleep_of_parts(key: &[u8]) -> Option<(TenantNo, CollectionNo)> {
    let mut parts = Parts::of(Table::AsleepOf, key)?;
    let of = (parts.tenant()?, parts.collection()?);
    parts.rest().is_empty().then_some(of)
}

/// How many bytes of a key of this table stand before the tenant's number: what leads to it from its record.
const fn lead_len(tag: u8) -> usize {
    if tag == Table::DueListed as u8 {
        11
    } else if tag == Table::DueAsleep as u8 {
        1
    } else {
        5
    }
}

/// The value of a [`Table::DueOf`] row that leads to this key.
#[must_use]
pub fn due_lead(due: &[u8]) -> Bytes {
    let len = due.first().map_or(0, |tag| lead_len(*tag));
    Bytes::copy_from_slice(due.get(..len).unwrap_or_default())
}

/// The key that a [`Table::DueOf`] row leads to; `None` if the row is broken.
#[must_use]
pub fn due_led_to(row: &[u8], value: &[u8]) -> Option<Bytes> {
    let record = Parts::of(Table::DueOf, row)?.rest();
    value.first().filter(|tag| value.len() == lead_len(**tag))?;
    let led_to = join(&[value, record]);
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
