//! The keys of all rows: one table. Nobody else puts a key together or takes one apart.
//!
//! `Control` and `Index` hold many tables: their keys begin with a [`Table`] tag, one byte that never changes
//! its meaning. `Records`, `Blobs` and the two audit spaces hold one table each and have no tag. Numbers are
//! big-endian, so rows lie in their order; tokens are 16 bytes. Ranges are `from <= key < to`; a [`KeyRange`] made
//! by [`prefix`] holds exactly the keys that begin so. [`Parts`] reads a key from left to right.
//!
//! [`tables`] lists the tables. The keys of `Control` are made in [`control`], those about units in [`shreds`], about holds in [`holds`];
//! those of `Index` in [`index`], and where they tell when a record ends in [`dues`]; those without a tag in [`data`].

use bytes::{BufMut, Bytes, BytesMut};

use crate::domain::TenantNo;

mod control;
mod data;
mod dues;
mod holds;
mod index;
mod parts;
mod shreds;
mod tables;
#[cfg(test)]
mod tests;

pub use self::{control::*, data::*, dues::*, holds::*, index::*, parts::Parts, shreds::*, tables::Table};

/// A lookup token of a name: 16 bytes of an HMAC.
pub type Token = [u8; 16];

/// No key is longer.
pub const KEY_LEN_MAX: usize = 1_024;

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
