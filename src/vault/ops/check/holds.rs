//! Legal holds: each that stands is found from all that it is on, counted, and ends in its time; nothing else keeps anything. Each order
//! that is held is kept to be given again.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::{HoldId, ShredId, TenantNo},
    vault::{
        ops::rows::{HeldOrderRow, HoldOnRow, HoldRow, HoldStateRow, Progress},
        store::{
            Space,
            schema::{self, Parts, Table},
        },
    },
};

impl Vault {
    /// Reads all of them.
    pub(super) async fn check_holds(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut counts: BTreeMap<TenantNo, u64> = BTreeMap::new();
        let mut rows_on: HashSet<Bytes> = HashSet::new();
        let mut range = schema::table(Table::Hold);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.holds = report.holds.saturating_add(1);
                let parts = || {
                    let mut parts = Parts::of(Table::Hold, &row.key)?;
                    Some((parts.tenant()?, HoldId(parts.bytes()?)))
                };
                let (Some((tenant, id)), Ok(hold)) = (parts(), self.inner.seals.open::<HoldRow>(&row.key, &row.value)) else {
                    report.findings.push(format!("hold at {}: it cannot be read", hex::encode(&row.key)));
                    continue;
                };
                if hold.end.is_some() {
                    continue;
                }
                let count = counts.entry(tenant).or_default();
                *count = count.saturating_add(1);
                let expected = HoldOnRow { disclosed: hold.disclosed, lapses_at: hold.lapses_at };
                for thing in hold.things() {
                    let key = schema::hold_on(tenant, &thing, id);
                    if !matches!(self.control_row::<HoldOnRow>(&key).await, Ok(Some(on)) if on == expected) {
                        report.findings.push(format!("hold {id} of tenant {tenant}: it is not found from all that it is on"));
                    }
                    rows_on.insert(key);
                }
                if let Some(end) = hold.lapses_at {
                    let key = schema::hold_lapse(u64::try_from(end).unwrap_or(0), tenant, id);
                    if self.inner.store.get(Space::Control, &key).await?.is_none() {
                        report.findings.push(format!("hold {id} of tenant {tenant}: nothing ends it in its time"));
                    }
                }
            }
        }
        self.check_hold_states(&counts, report).await?;
        let mut range = schema::table(Table::HoldOn);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let strays = rows.iter().filter(|row| !rows_on.contains(&row.key));
            report.findings.extend(strays.map(|row| format!("hold row at {}: no hold is on that", hex::encode(&row.key))));
        }
        self.check_held_orders(report).await
    }

    async fn check_hold_states(&self, counts: &BTreeMap<TenantNo, u64>, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut stated: BTreeMap<TenantNo, u64> = BTreeMap::new();
        let mut range = schema::table(Table::HoldState);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let tenant = Parts::of(Table::HoldState, &row.key).and_then(|mut parts| parts.tenant());
                match (tenant, self.inner.seals.open::<HoldStateRow>(&row.key, &row.value)) {
                    (Some(tenant), Ok(state)) => drop(stated.insert(tenant, state.count)),
                    _ => report.findings.push(format!("state of holds at {}: it cannot be read", hex::encode(&row.key))),
                }
            }
        }
        for tenant in counts.keys().chain(stated.keys()).collect::<std::collections::BTreeSet<_>>() {
            let (there, said) = (counts.get(tenant).copied().unwrap_or(0), stated.get(tenant).copied().unwrap_or(0));
            if there != said {
                report.findings.push(format!("tenant {tenant}: {there} holds stand, {said} are asked for"));
            }
        }
        Ok(())
    }

    async fn check_held_orders(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut kept: HashSet<ShredId> = HashSet::new();
        let mut range = schema::table(Table::HeldOrder);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Ok(HeldOrderRow { order }) = self.inner.seals.open(&row.key, &row.value) else {
                    report.findings.push(format!("held order at {}: it cannot be read", hex::encode(&row.key)));
                    continue;
                };
                let id = ShredId(order);
                if !matches!(self.shred_row(id).await, Ok(Some(order)) if order.progress == Progress::Held) {
                    report.findings.push(format!("held order {id}: it is not there, or not held"));
                }
                kept.insert(id);
            }
        }
        let mut range = schema::table(Table::ShredOrder);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Some(id) = row.key.last_chunk::<16>().map(|id| ShredId(*id)) else { continue };
                if matches!(self.shred_row(id).await, Ok(Some(order)) if order.progress == Progress::Held) && !kept.contains(&id) {
                    report.findings.push(format!("order {id}: it is held, and nothing will give it again"));
                }
            }
        }
        Ok(())
    }
}
