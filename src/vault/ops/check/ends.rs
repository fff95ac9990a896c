//! Ends of tenants: each that is ordered and whose shred is not has the row that will order it, and each such row leads to one.

use std::collections::HashSet;

use bytes::Bytes;

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::TenantNo,
    vault::{
        ops::{
            directory::read_u64,
            rows::{State, TenantRow},
        },
        store::{
            Space,
            schema::{self, Table},
        },
    },
};

impl Vault {
    /// Reads all of them.
    pub(super) async fn check_ends(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut expected: HashSet<Bytes> = HashSet::new();
        let mut range = schema::table(Table::Tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                // A row that cannot be read is told of as a tenant.
                let Ok(tenant) = self.inner.seals.open::<TenantRow>(&row.key, &row.value) else { continue };
                let number = TenantNo(read_u64(row.key.get(1..).unwrap_or_default())?);
                let Some(end) = tenant.life.termination.filter(|_| matches!(tenant.state, State::Active | State::Frozen)) else { continue };
                let key = schema::tenant_end(u64::try_from(end.ends_at).unwrap_or(0), number);
                // Once its grace is over, its order may be held instead.
                if !end.is_over && self.inner.store.get(Space::Control, &key).await?.is_none() {
                    report.findings.push(format!("tenant {number}: it is ordered to end, and nothing ends it in its time"));
                }
                expected.insert(key);
            }
        }
        let mut range = schema::table(Table::TenantEnd);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let strays = rows.iter().filter(|row| !expected.contains(&row.key));
            report.findings.extend(strays.map(|row| format!("tenant end row at {}: no such end is ordered", hex::encode(&row.key))));
        }
        Ok(())
    }
}
