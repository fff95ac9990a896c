//! Persons with several ids: each of them leads to all of them, no one is erased, and each opens, under a unit of its own.

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::{CollectionNo, TenantNo},
    vault::{
        crypto::Token,
        ops::{
            directory::Tenant,
            plan::order_of,
            rows::{AliasRow, State, SubjectRow, UnitRow},
        },
        store::{
            Space,
            schema::{self, Table},
        },
    },
};

impl Vault {
    /// Reads all of a tenant.
    pub(super) async fn check_aliases(&self, tenant: &Tenant, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::Alias, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.aliases = report.aliases.saturating_add(1);
                let wrong = match (schema::alias_parts(&row.key), self.inner.seals.open::<AliasRow>(&row.key, &row.value)) {
                    (Some((_, token)), Ok(read)) => self.wrong_with_alias(tenant.no, token, &read).await?,
                    (None, _) => Some("a malformed key".to_owned()),
                    (_, Err(error)) => Some(error.to_string()),
                };
                if let Some(wrong) = wrong {
                    report.findings.push(format!("tenant {}, alias row {}: {wrong}", tenant.no, hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    async fn wrong_with_alias(&self, tenant: TenantNo, token: Token, row: &AliasRow) -> Result<Option<String>, VaultError> {
        let state: Option<SubjectRow> = match self.control_row(&schema::subject_state(tenant, &token)).await {
            Ok(state) => state,
            // Told of with its table.
            Err(VaultError::Internal(_)) => None,
            Err(error) => return Err(error),
        };
        match state.map(|row| row.state) {
            Some(State::Shredded(_)) => return Ok(Some("an id of a person who was shredded".into())),
            // It is closed, and goes with its order.
            Some(state) if order_of(state).is_some() => return Ok(None),
            Some(_) | None => {}
        }
        let known: Option<UnitRow> = self.control_row(&schema::unit(tenant, &token, CollectionNo::TENANT)).await.ok().flatten();
        if known != Some(UnitRow { slot: row.slot, generation: row.generation }) {
            return Ok(Some("control knows another unit, or none".into()));
        }
        if let Some(first) = row.of {
            return match self.person(tenant, token).await {
                Ok(person) if person.tokens().next() == Some(first) => Ok(None),
                Ok(_) => Ok(Some("it leads to another person".into())),
                Err(error @ VaultError::Unavailable(_)) => Err(error),
                Err(error) => Ok(Some(error.to_string())),
            };
        }
        for alias in &row.aliases {
            match self.control_row::<AliasRow>(&schema::alias(tenant, alias)).await {
                Ok(Some(alias)) if alias.of == Some(token) && alias.aliases.is_empty() => {}
                Ok(_) | Err(VaultError::Internal(_)) => return Ok(Some("an alias does not lead to it".into())),
                Err(error) => return Err(error),
            }
        }
        let person = self.person(tenant, token).await?;
        match self.ids_of(tenant, &person).await {
            Ok(_) => Ok(None),
            Err(error @ VaultError::Unavailable(_)) => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}
