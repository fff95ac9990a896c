//! The forest's own rows in the control store, beside its pages. Formats: `docs/format.md`, "Forest rows".

use bytes::Bytes;

use super::{KeysError, custody::composite::RootName, tree::Shape};
use crate::domain::{Epoch, Gen, RootId, Slot, TenantNo, Timestamp, TreeId};

/// What the control store says about the root: which one, and how high the tenant tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootPtr {
    pub(super) name: RootName,
    pub(super) commitment: [u8; 32],
    pub(super) delta_hash: [u8; 32],
    pub(super) height: u8,
}

impl RootPtr {
    /// `"LRP1" | epoch be64 | root_id16 | commitment32 | delta hash32 | height u8`.
    pub(super) fn to_row(&self) -> Bytes {
        let Self { name: RootName { epoch, root_id }, commitment, delta_hash, height } = self;
        [&b"LRP1"[..], &epoch.to_be_bytes(), &root_id.0, commitment, delta_hash, &[*height]].concat().into()
    }

    pub(super) fn parse(row: &[u8]) -> Result<Self, KeysError> {
        let mut fields = Fields(row, "root pointer");
        fields.magic(*b"LRP1")?;
        let ptr = Self {
            name: RootName { epoch: fields.epoch()?, root_id: RootId(fields.take()?) },
            commitment: fields.take()?,
            delta_hash: fields.take()?,
            height: u8::from_be_bytes(fields.take()?),
        };
        fields.end(ptr)
    }
}

/// The epoch that a root pointer names.
///
/// # Errors
/// [`KeysError::Damaged`].
pub fn root_epoch(row: &[u8]) -> Result<Epoch, KeysError> {
    RootPtr::parse(row).map(|ptr| ptr.name.epoch)
}

impl Shape {
    /// `"LTR1" | tree_id16 | height u8`: a tenant's unit tree.
    pub(super) fn to_row(self) -> Bytes {
        [&b"LTR1"[..], &self.tree.0, &[self.height]].concat().into()
    }

    pub(super) fn parse(row: &[u8]) -> Result<Self, KeysError> {
        let mut fields = Fields(row, "tree");
        fields.magic(*b"LTR1")?;
        let shape = Self { tree: TreeId(fields.take()?), height: u8::from_be_bytes(fields.take()?) };
        fields.end(shape)
    }
}

/// The next free number of a lease: be64.
pub(super) fn lease_row(next: u64) -> Bytes {
    Bytes::copy_from_slice(&next.to_be_bytes())
}

pub(super) fn parse_lease(row: &[u8]) -> Result<u64, KeysError> {
    row.try_into().map(u64::from_be_bytes).map_err(|_| KeysError::Damaged("lease"))
}

/// What a shred is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShredTarget {
    /// A tenant with all its units.
    Tenant(TenantNo),
    /// One unit.
    Unit {
        /// Its tenant.
        tenant: TenantNo,
        /// Its slot.
        slot: Slot,
    },
    /// All units of a tenant but those that are kept; its secret stays.
    Others(TenantNo),
}

/// A target that an epoch shredded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShredDone {
    /// What was shredded.
    pub target: ShredTarget,
    /// The generation of its slot from now on, or, of what is not kept of a tenant, of the slot above its unit tree; `None` for a unit
    /// that went with its whole tenant, or with all that was not kept of it.
    pub generation: Option<Gen>,
}

/// What is public about one epoch's change; written in the same commit as its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The epoch that ended.
    pub old_epoch: Epoch,
    /// The epoch that began.
    pub new_epoch: Epoch,
    /// The root that was destroyed.
    pub old_root: RootId,
    /// The root that holds now.
    pub new_root: RootId,
    /// `C_e`.
    pub old_commitment: [u8; 32],
    /// `C_(e+1)`.
    pub new_commitment: [u8; 32],
    /// SHA-256 of the new top page's row.
    pub root_page_hash: [u8; 32],
    /// SHA-256 over all pages of the change: be32 length | key | be32 length | row, in the order of keys.
    pub delta_hash: [u8; 32],
    /// When the pages were made.
    pub at: Timestamp,
    /// Pages written.
    pub pages: u32,
    /// What was shredded; empty after a rotation.
    pub done: Vec<ShredDone>,
}

impl EpochRecord {
    /// `"LEP1" | old epoch be64 | new epoch be64 | old root_id16 | new root_id16 | C_e 32 | C_(e+1) 32 | root page hash32 | delta hash32 |
    /// at be64 | pages be32 | count be32`, then for each target `kind u8 (0 tenant, 1 unit, 2 unit gone with its tenant, 3 a tenant's units but for those that were kept) | tenant
    /// be64 | slot u48 | gen be32`.
    pub(super) fn to_row(&self) -> Bytes {
        let mut row = Vec::with_capacity(224);
        row.extend_from_slice(b"LEP1");
        row.extend_from_slice(&self.old_epoch.to_be_bytes());
        row.extend_from_slice(&self.new_epoch.to_be_bytes());
        row.extend_from_slice(&self.old_root.0);
        row.extend_from_slice(&self.new_root.0);
        for hash in [&self.old_commitment, &self.new_commitment, &self.root_page_hash, &self.delta_hash] {
            row.extend_from_slice(hash);
        }
        row.extend_from_slice(&self.at.0.to_be_bytes());
        row.extend_from_slice(&self.pages.to_be_bytes());
        row.extend_from_slice(&u32::try_from(self.done.len()).unwrap_or(u32::MAX).to_be_bytes());
        for done in &self.done {
            let (kind, tenant, slot) = match (done.target, done.generation) {
                (ShredTarget::Tenant(tenant), _) => (0, tenant, [0; 6]),
                (ShredTarget::Unit { tenant, slot }, Some(_)) => (1, tenant, slot.to_be_bytes()),
                (ShredTarget::Unit { tenant, slot }, None) => (2, tenant, slot.to_be_bytes()),
                (ShredTarget::Others(tenant), _) => (3, tenant, [0; 6]),
            };
            row.push(kind);
            row.extend_from_slice(&tenant.to_be_bytes());
            row.extend_from_slice(&slot);
            row.extend_from_slice(&done.generation.unwrap_or(Gen(0)).to_be_bytes());
        }
        row.into()
    }

    pub(super) fn parse(row: &[u8]) -> Result<Self, KeysError> {
        let mut fields = Fields(row, "epoch");
        fields.magic(*b"LEP1")?;
        let mut record = Self {
            old_epoch: fields.epoch()?,
            new_epoch: fields.epoch()?,
            old_root: RootId(fields.take()?),
            new_root: RootId(fields.take()?),
            old_commitment: fields.take()?,
            new_commitment: fields.take()?,
            root_page_hash: fields.take()?,
            delta_hash: fields.take()?,
            at: Timestamp(i64::from_be_bytes(fields.take()?)),
            pages: u32::from_be_bytes(fields.take()?),
            done: Vec::new(),
        };
        for _ in 0..u32::from_be_bytes(fields.take()?) {
            let [kind] = fields.take()?;
            let tenant = TenantNo(u64::from_be_bytes(fields.take()?));
            let slot = Slot::from_be_bytes(fields.take()?);
            let generation = Gen(u32::from_be_bytes(fields.take()?));
            record.done.push(match kind {
                0 => ShredDone { target: ShredTarget::Tenant(tenant), generation: Some(generation) },
                1 => ShredDone { target: ShredTarget::Unit { tenant, slot }, generation: Some(generation) },
                2 => ShredDone { target: ShredTarget::Unit { tenant, slot }, generation: None },
                3 => ShredDone { target: ShredTarget::Others(tenant), generation: Some(generation) },
                _ => return Err(KeysError::Damaged("epoch")),
            });
        }
        fields.end(record)
    }
}

/// SHA-256 of each key that an epoch destroyed, in the order in which its record names those that have a generation. Kept
/// until the self-check has passed, so that no restart passes it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadKeys(pub(super) Vec<[u8; 32]>);

impl DeadKeys {
    /// `"LEF1" | SHA-256 of a dead key 32 ..`.
    pub(super) fn to_row(&self) -> Bytes {
        [&b"LEF1"[..], self.0.as_flattened()].concat().into()
    }

    pub(super) fn parse(row: &[u8]) -> Result<Self, KeysError> {
        let mut fields = Fields(row, "epoch check");
        fields.magic(*b"LEF1")?;
        let (hashes, []) = fields.0.as_chunks::<32>() else { return Err(KeysError::Damaged("epoch check")) };
        Ok(Self(hashes.to_vec()))
    }
}

/// Takes fields off the front of a row of the named kind.
struct Fields<'a>(&'a [u8], &'static str);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], KeysError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(KeysError::Damaged(self.1))?;
        self.0 = rest;
        Ok(*field)
    }

    fn magic(&mut self, magic: [u8; 4]) -> Result<(), KeysError> {
        if self.take::<4>()? == magic { Ok(()) } else { Err(KeysError::Damaged(self.1)) }
    }

    fn epoch(&mut self) -> Result<Epoch, KeysError> {
        Ok(Epoch(u64::from_be_bytes(self.take()?)))
    }

    fn end<T>(self, value: T) -> Result<T, KeysError> {
        if self.0.is_empty() { Ok(value) } else { Err(KeysError::Damaged(self.1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> EpochRecord {
        let tenant = TenantNo(4);
        let slot = Slot::new(77).unwrap();
        EpochRecord {
            old_epoch: Epoch(8),
            new_epoch: Epoch(9),
            old_root: RootId([1; 16]),
            new_root: RootId([2; 16]),
            old_commitment: [3; 32],
            new_commitment: [4; 32],
            root_page_hash: [5; 32],
            delta_hash: [6; 32],
            at: Timestamp(1_700_000_000_000),
            pages: 12,
            done: vec![
                ShredDone { target: ShredTarget::Tenant(tenant), generation: Some(Gen(1)) },
                ShredDone { target: ShredTarget::Unit { tenant, slot }, generation: None },
                ShredDone { target: ShredTarget::Unit { tenant: TenantNo(5), slot }, generation: Some(Gen(3)) },
                ShredDone { target: ShredTarget::Others(TenantNo(6)), generation: Some(Gen(2)) },
            ],
        }
    }

    #[test]
    fn rows_come_back_as_they_were_and_nothing_else_is_taken_for_them() {
        let ptr =
            RootPtr { name: RootName { epoch: Epoch(9), root_id: RootId([2; 16]) }, commitment: [4; 32], delta_hash: [6; 32], height: 2 };
        assert_eq!(RootPtr::parse(&ptr.to_row()).unwrap(), ptr);
        let shape = Shape { tree: TreeId([9; 16]), height: 3 };
        assert_eq!(Shape::parse(&shape.to_row()).unwrap(), shape);
        assert_eq!(EpochRecord::parse(&record().to_row()).unwrap(), record());
        let dead = DeadKeys(vec![[7; 32], [8; 32]]);
        assert_eq!(DeadKeys::parse(&dead.to_row()).unwrap(), dead);
        assert!(DeadKeys::parse(&dead.to_row()[..67]).is_err() && DeadKeys::parse(b"LEP1").is_err());
        assert_eq!(parse_lease(&lease_row(65)).unwrap(), 65);
        assert!(parse_lease(&[0; 7]).is_err() && parse_lease(&[0; 9]).is_err());
        for row in [ptr.to_row(), shape.to_row(), record().to_row()] {
            for cut in 0..row.len() {
                let cut = &row[..cut];
                assert!(RootPtr::parse(cut).is_err() && Shape::parse(cut).is_err() && EpochRecord::parse(cut).is_err());
            }
            let longer = [&row[..], &[0]].concat();
            assert!(RootPtr::parse(&longer).is_err() && Shape::parse(&longer).is_err() && EpochRecord::parse(&longer).is_err());
        }
    }
}
