//! Units that orders have spared, for a law keeps what they seal: each is looked at in its time, or its key would never go.

use super::{CheckReport, Vault, VaultError};
use crate::vault::{
    ops::rows::KeptUnitRow,
    store::{
        Space,
        schema::{self, Table},
    },
};

impl Vault {
    /// Reads all of them.
    pub(super) async fn check_kept(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table(Table::KeptUnit);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                // One that is not as this store wrote it is told of with its table.
                let Ok(kept) = self.inner.seals.open::<KeptUnitRow>(&row.key, &row.value) else { continue };
                let Some((tenant, slot)) = schema::kept_unit_parts(&row.key) else { continue };
                let look = schema::kept_due(u64::try_from(kept.look_at).unwrap_or(0), tenant, slot);
                if self.inner.store.get(Space::Control, &look).await?.is_some() {
                    continue;
                }
                // Of a store in use it may have gone on since it was read.
                if self.inner.store.get(Space::Control, &row.key).await?.as_ref() == Some(&row.value) {
                    report.findings.push(format!("tenant {tenant}, unit {slot}: an order has spared it, and nothing looks at it again"));
                }
            }
        }
        Ok(())
    }
}
