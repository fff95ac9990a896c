//! Ends of the chains of earlier starts: what older data has lost of them, and what a start that was killed left without a
//! checkpoint.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::{
    Audit, AuditError,
    chain::Trail,
    checkpoints::{SCAN_LEN, data_mark, head_place, number, put},
    entry::Gap,
    heads::{Head, HeadRow},
    reader::{TrailEntry, place},
    writer::Chain,
};
use crate::{
    domain::{TenantNo, WriterId},
    vault::{
        keys::UnitRef,
        store::{Space, Store, StoreError, schema},
    },
};

/// Name of the control store's row with the last start whose chains a checkpoint covers to their ends.
const COVERED: &str = "audit-covered";

/// Entries that a checkpoint knew and the data store no longer has: it is older than control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostTail {
    /// Whose trail.
    pub tenant: TenantNo,
    /// Which entries.
    pub gap: Gap,
}

/// Entries of an earlier start that no checkpoint covers: it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftTail {
    /// Whose trail.
    pub tenant: TenantNo,
    /// Whose chain.
    pub writer: WriterId,
    /// The last entry that a checkpoint covers; 0 is none.
    pub covered: u64,
    /// The last entry.
    pub last: u64,
}

/// A chain of an earlier start that is to be covered, and its tenant.
pub(super) type LeftChain = (TenantNo, Arc<Chain>);

/// What earlier starts left.
#[derive(Default)]
pub(super) struct Left {
    /// All that there is was looked for and taken up.
    is_whole: bool,
    chains: Vec<LeftChain>,
}

impl Audit {
    /// What earlier starts left uncovered; `None` where that has been taken up, or there was nothing. To be followed by
    /// [`Audit::take_up`] for each, then [`Audit::left_is_taken_up`]; the next checkpoint covers them.
    ///
    /// # Errors
    /// [`AuditError`]: to be asked again.
    pub async fn left_tails(&self) -> Result<Option<Vec<LeftTail>>, AuditError> {
        if self.guard_left().is_whole {
            return Ok(None);
        }
        let from = self.covered_start().await?.saturating_add(1);
        let mut tails = Vec::new();
        for trail in [Trail::Control, Trail::Data] {
            let end = schema::audit_of_tenant(TenantNo(u64::MAX)).to;
            let mut at = schema::audit(TenantNo(0), trail.writer(from), 0);
            // From chain to chain, past those that are covered: one look for each, however long they are.
            while let Some(row) = self.0.store.scan(trail.space(), &at, &end, 1).await?.first() {
                let Some((tenant, writer, _)) = place(&row.key) else {
                    tracing::error!(space = ?trail.space(), "a row that is no audit entry");
                    at = schema::successor(&row.key);
                    continue;
                };
                at = if writer < trail.writer(from) {
                    schema::audit(tenant, trail.writer(from), 0)
                } else if writer >= trail.writer(self.0.start) {
                    schema::audit_of_tenant(tenant).to
                } else {
                    match self.left_tail(trail, tenant, writer).await {
                        Ok(tail) => tails.extend(tail),
                        // One chain that cannot be read keeps no other from being covered.
                        Err(error @ (AuditError::Damaged(_) | AuditError::Store(StoreError::Damaged(_)))) => {
                            tracing::error!(tenant = tenant.0, writer = writer.0, %error, "the end of a chain cannot be found");
                        }
                        Err(error) => return Err(error),
                    }
                    schema::audit_chain(tenant, writer).to
                };
            }
        }
        Ok(Some(tails))
    }

    async fn left_tail(&self, trail: Trail, tenant: TenantNo, writer: WriterId) -> Result<Option<LeftTail>, AuditError> {
        let store = self.0.store.as_ref();
        let row = store.get(Space::Control, &schema::audit_head(tenant, writer)).await?;
        let covered = row.map_or(Ok(0), |row| HeadRow::parse(&row).map(|head| head.head.seq).ok_or(AuditError::Damaged("audit head")))?;
        // Twice as far until there is none, then halving.
        let (mut present, mut step) = (covered, 1_u64);
        let absent = loop {
            let probe = present.saturating_add(step);
            match row_from(store, trail, tenant, writer, (probe, u64::MAX)).await? {
                Some(last) => (present, step) = (last, step.saturating_mul(2)),
                None => break probe,
            }
        };
        let last = last_present(store, trail, tenant, writer, (present, absent)).await?;
        Ok((last > covered).then_some(LeftTail { tenant, writer, covered, last }))
    }

    /// Hands an earlier start's chain to the next checkpoint. `unit` is the tenant's audit unit.
    ///
    /// # Errors
    /// [`AuditError`]: its last entry, or the first uncovered one, does not open.
    pub async fn take_up(&self, unit: UnitRef, tail: &LeftTail) -> Result<(), AuditError> {
        let first = self.entry_at(unit, tail, tail.covered.saturating_add(1)).await?;
        let last = self.entry_at(unit, tail, tail.last).await?;
        let head = Head { seq: tail.last, hash: last.hash, time: last.time };
        let chain = Chain::new(tail.writer, head, tail.covered, first.time);
        let mut left = self.guard_left();
        if !left.chains.iter().any(|(tenant, known)| *tenant == tail.tenant && known.writer == tail.writer) {
            left.chains.push((tail.tenant, Arc::new(chain)));
        }
        Ok(())
    }

    async fn entry_at(&self, unit: UnitRef, tail: &LeftTail, seq: u64) -> Result<TrailEntry, AuditError> {
        let from = schema::audit(tail.tenant, tail.writer, seq);
        let end = schema::audit_chain(tail.tenant, tail.writer).to;
        let rows = self.0.store.scan(Trail::of(tail.writer).space(), &from, &end, 1).await?;
        self.load(unit).await?;
        let entries = self.open_rows(tail.tenant, unit, &rows)?;
        entries.into_iter().find(|entry| entry.seq == seq).ok_or(AuditError::Damaged("audit entry"))
    }

    /// All that earlier starts left and that can be read is taken up: once it is covered, no start looks for it again.
    pub fn left_is_taken_up(&self) {
        self.guard_left().is_whole = true;
    }

    pub(super) fn left(&self) -> Vec<LeftChain> {
        self.guard_left().chains.clone()
    }

    fn guard_left(&self) -> MutexGuard<'_, Left> {
        self.0.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the chains that a checkpoint has covered; after the last of them says so in the control store.
    pub(super) async fn settle_left(&self) -> Result<(), AuditError> {
        let is_settled = {
            let mut left = self.guard_left();
            left.chains.retain(|(_, chain)| chain.state().is_dirty());
            left.is_whole && left.chains.is_empty()
        };
        let before = self.0.start.saturating_sub(1);
        if is_settled && self.covered_start().await? < before {
            self.write(vec![put(Space::Control, schema::setting(COVERED), before.to_be_bytes().to_vec())]).await?;
        }
        Ok(())
    }

    async fn covered_start(&self) -> Result<u64, AuditError> {
        number(self.0.store.get(Space::Control, &schema::setting(COVERED)).await?)
    }
}

/// Which entries known to control are not in the data store. Asked only where the data store's mark is behind.
pub(super) async fn lost_tails(store: &dyn Store, control_mark: u64) -> Result<Vec<LostTail>, AuditError> {
    let mut tails = Vec::new();
    if data_mark(store).await? >= control_mark {
        return Ok(tails);
    }
    let mut range = schema::table(schema::Table::AuditHead);
    loop {
        let rows = store.scan(Space::Control, &range.from, &range.to, SCAN_LEN).await?;
        for row in &rows {
            let (tenant, writer) = head_place(&row.key).ok_or(AuditError::Damaged("audit head"))?;
            let head = HeadRow::parse(&row.value).ok_or(AuditError::Damaged("audit head"))?;
            if Trail::of(writer) == Trail::Data {
                let beyond = head.head.seq.saturating_add(1);
                let last = last_present(store, Trail::Data, tenant, writer, (0, beyond)).await?;
                let from = last.saturating_add(1);
                let is_stated = head.gap_from != 0 && head.gap_from <= from;
                if last < head.head.seq && !is_stated {
                    tails.push(LostTail { tenant, gap: Gap { writer, from, to: head.head.seq } });
                }
            }
        }
        match rows.last() {
            Some(last) if rows.len() == SCAN_LEN => range = range.after(&last.key),
            Some(_) | None => return Ok(tails),
        }
    }
}

/// The last entry of a chain that is there, from one that is (or 0) to below one that is not. Found by halving; the first look
/// is at the end, where most chains are whole.
async fn last_present(
    store: &dyn Store,
    trail: Trail,
    tenant: TenantNo,
    writer: WriterId,
    (mut present, mut absent): (u64, u64),
) -> Result<u64, AuditError> {
    let mut probe = absent.saturating_sub(1);
    while absent.saturating_sub(present) > 1 {
        match row_from(store, trail, tenant, writer, (probe, absent)).await? {
            Some(last) => present = last,
            None => absent = probe,
        }
        probe = present.midpoint(absent);
    }
    Ok(present)
}

/// The last entry of the first row that ends at or behind an entry, and before another.
async fn row_from(
    store: &dyn Store,
    trail: Trail,
    tenant: TenantNo,
    writer: WriterId,
    (from, to): (u64, u64),
) -> Result<Option<u64>, AuditError> {
    let rows = store.scan(trail.space(), &schema::audit(tenant, writer, from), &schema::audit(tenant, writer, to), 1).await?;
    rows.first().map(|row| place(&row.key).map(|(_, _, last)| last).ok_or(AuditError::Damaged("audit key"))).transpose()
}
