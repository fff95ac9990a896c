//! Numbers that must not repeat, leased from the control store in blocks. Every process start takes new
//! blocks, and the rest of an old block is never handed out: so data of any date can be put back
//! without a number being given twice.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    KeysError,
    rows::{lease_row, parse_lease},
    tree::{FANOUT, MAX_TENANT},
};
use crate::{
    domain::{Slot, TenantNo},
    vault::store::{Check, Commit, Durability, Expect, Space, Store, Urgency, Write, schema},
};

/// What a number is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseKind {
    /// A tenant's number, from 1.
    Tenant,
    /// A collection's number within a tenant, from 1.
    Collection(TenantNo),
    /// A record's version, from 1.
    Version,
    /// An audit chain's writer, from 1.
    AuditWriter,
}

/// A kind of lease, unit slots included: those come with their leaf page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counter {
    Number(LeaseKind),
    UnitSlots(TenantNo),
}

impl Counter {
    fn row_key(self) -> Bytes {
        match self {
            Self::Number(LeaseKind::Tenant) => schema::lease(1),
            Self::Number(LeaseKind::Collection(tenant)) => schema::tenant_lease(2, tenant),
            Self::Number(LeaseKind::Version) => schema::lease(3),
            Self::Number(LeaseKind::AuditWriter) => schema::lease(4),
            Self::UnitSlots(tenant) => schema::tenant_lease(5, tenant),
        }
    }

    const fn first(self) -> u64 {
        match self {
            Self::Number(_) => 1,
            Self::UnitSlots(_) => 0,
        }
    }

    /// Numbers taken at once: one where each is a rare commit anyway, a leaf page for units.
    const fn block(self) -> u64 {
        match self {
            Self::Number(LeaseKind::Tenant | LeaseKind::Collection(_) | LeaseKind::AuditWriter) => 1,
            Self::Number(LeaseKind::Version) => 1 << 20,
            Self::UnitSlots(_) => FANOUT,
        }
    }

    /// The first number that is too large.
    const fn end(self) -> u64 {
        match self {
            Self::Number(LeaseKind::Tenant) => MAX_TENANT,
            Self::Number(LeaseKind::Collection(_)) => u32::MAX as u64,
            Self::Number(LeaseKind::Version | LeaseKind::AuditWriter) => u64::MAX,
            Self::UnitSlots(_) => Slot::MAX,
        }
    }

    /// A full disk must not stop a delete or a denial, which need a version or an audit number.
    const fn urgency(self) -> Urgency {
        match self {
            Self::Number(LeaseKind::Version | LeaseKind::AuditWriter) => Urgency::Essential,
            Self::Number(LeaseKind::Tenant | LeaseKind::Collection(_)) | Self::UnitSlots(_) => Urgency::Normal,
        }
    }
}

/// Numbers that are this process's own.
#[derive(Default)]
struct Lent {
    numbers: Range<u64>,
    /// Blocks that were taken last time.
    blocks: u64,
}

/// A block about to be taken: its numbers, and the commit's part that takes it.
pub(super) struct Block {
    pub(super) numbers: Range<u64>,
    pub(super) check: Check,
    pub(super) write: Write,
}

/// Blocks of unit slots that are taken at once by a tenant that keeps asking: an import opens thousands of units, and each
/// block is a commit.
const SLOT_BLOCKS_MAX: u64 = 16;

/// This process's blocks.
#[derive(Default)]
pub(super) struct Leases {
    blocks: Mutex<HashMap<Counter, Lent>>,
    refill: tokio::sync::Mutex<()>,
}

impl Leases {
    /// The next number, from a new block if need be.
    pub(super) async fn lease(&self, store: &dyn Store, kind: LeaseKind) -> Result<u64, KeysError> {
        let counter = Counter::Number(kind);
        if let Some(number) = self.take(counter) {
            return Ok(number);
        }
        let _one_at_a_time = self.refill.lock().await;
        if let Some(number) = self.take(counter) {
            return Ok(number);
        }
        let Block { numbers, check, write } = next_block(store, counter, |_| 1).await?;
        let commit =
            Commit { checks: vec![check], writes: vec![write], tail: None, durability: Durability::Synced, urgency: counter.urgency() };
        store.commit(commit).await?;
        self.keep(counter, numbers);
        self.take(counter).ok_or(KeysError::TooMany)
    }

    /// The next number of this process's block, if any is left.
    pub(super) fn take(&self, counter: Counter) -> Option<u64> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&counter)?.numbers.next()
    }

    /// Makes a block that was committed this process's own.
    pub(super) fn keep(&self, counter: Counter, numbers: Range<u64>) {
        let blocks = numbers.end.saturating_sub(numbers.start).checked_div(counter.block()).unwrap_or(1);
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(counter, Lent { numbers, blocks });
    }

    /// How many blocks to take now: twice as many as the last time, up to a bound.
    pub(super) fn wanted(&self, counter: Counter) -> u64 {
        let last = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).get(&counter).map_or(0, |lent| lent.blocks);
        last.saturating_mul(2).clamp(1, SLOT_BLOCKS_MAX)
    }
}

/// The next free block of a counter, or `blocks` of them, which is told where they begin.
pub(super) async fn next_block(store: &dyn Store, counter: Counter, blocks: impl FnOnce(u64) -> u64) -> Result<Block, KeysError> {
    let key = counter.row_key();
    let row = store.get(Space::Control, &key).await?;
    let start = row.as_deref().map_or(Ok(counter.first()), parse_lease)?;
    let len = counter.block().saturating_mul(blocks(start));
    let end = start.checked_add(len).filter(|end| *end <= counter.end()).ok_or(KeysError::TooMany)?;
    let check = Check { space: Space::Control, key: key.clone(), expect: row.map_or(Expect::Absent, Expect::Equals) };
    Ok(Block { numbers: start..end, check, write: Write::Put { space: Space::Control, key, value: lease_row(end) } })
}
