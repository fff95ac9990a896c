//! The index of what is due: every row tells when, opens, and is the one that its record leads to; and every record leads to a row.

use std::collections::HashMap;

use super::CheckReport;
use crate::{
    domain::TenantNo,
    vault::{
        ops::{Vault, VaultError, rows::State},
        store::{
            Row, Space,
            schema::{self, Table},
        },
    },
};

impl Vault {
    /// Goes through the rows, and through what leads to them.
    pub(super) async fn check_due(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        // Of a shredded tenant nothing opens, and its rows are reclaimed in their time.
        let mut living = HashMap::new();
        for table in [Table::Due, Table::DueMonth, Table::DueOf] {
            let mut range = schema::table(table);
            while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
                for row in rows {
                    report.due_rows = report.due_rows.saturating_add(u64::from(table != Table::DueOf));
                    let of = if table == Table::DueOf {
                        schema::due_of_parts(&row.key)
                    } else {
                        schema::due_parts(&row.key).map(|due| due.tenant)
                    };
                    let wrong = match of {
                        None => Some("has a malformed key"),
                        Some(tenant) if !self.lives(&mut living, tenant).await? => None,
                        Some(_) if table == Table::DueOf => self.leads_astray(&row).await?,
                        Some(tenant) => self.tells_wrong(tenant, &row).await?,
                    };
                    if let Some(wrong) = wrong {
                        report.findings.push(format!("row {} of what is due: {wrong}", hex::encode(&row.key)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a tenant's keys are there; one that cannot be read is told of as a tenant.
    async fn lives(&self, known: &mut HashMap<TenantNo, bool>, tenant: TenantNo) -> Result<bool, VaultError> {
        if let Some(lives) = known.get(&tenant) {
            return Ok(*lives);
        }
        let lives = match self.tenant_by_number(tenant).await {
            Ok(tenant) => matches!(tenant.state, State::Active | State::Frozen),
            Err(error @ (VaultError::Busy | VaultError::Unavailable(_))) => return Err(error),
            Err(_) => false,
        };
        known.insert(tenant, lives);
        Ok(lives)
    }

    /// What is wrong with a record's way to its row.
    async fn leads_astray(&self, row: &Row) -> Result<Option<&'static str>, VaultError> {
        let Some(led_to) = schema::due_led_to(&row.key, &row.value) else { return Ok(Some("names no row")) };
        let due = schema::due_parts(&led_to);
        if self.inner.store.get(Space::Index, &led_to).await?.is_none() {
            let is_held = match &due {
                Some(due) => self.waits_under_a_hold(due.tenant, &led_to).await?.is_some(),
                None => false,
            };
            if !is_held {
                return Ok(Some("leads to no row"));
            }
        }
        let record = due.map(|due| schema::record(due.tenant, due.collection, &due.record)).unwrap_or_default();
        Ok(if self.inner.store.get(Space::Records, &record).await?.is_none() { Some("is of no record") } else { None })
    }

    /// What is wrong with a row.
    async fn tells_wrong(&self, tenant: TenantNo, row: &Row) -> Result<Option<&'static str>, VaultError> {
        let Some(due) = schema::due_parts(&row.key) else { return Ok(Some("has a malformed key")) };
        if !self.tells_when(tenant, row).await? {
            return Ok(Some("does not open"));
        }
        let leads = schema::due_of(due.tenant, due.collection, &due.record);
        let known = self.inner.store.get(Space::Index, &leads).await?;
        let is_led_to = known.and_then(|known| schema::due_led_to(&leads, &known)).is_some_and(|led_to| led_to == row.key);
        Ok(if is_led_to { None } else { Some("is not the one that its record leads to") })
    }
}
