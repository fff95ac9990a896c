//! What was reported of persons: each row opens under the unit that control knows of its id, stands in the queue, and is of no one who is
//! erased.

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::CollectionNo,
    vault::{
        crypto::Token,
        ops::{
            directory::Tenant,
            plan::order_of,
            rows::{EventQueueRow, EventsRow, State, SubjectRow, UnitRow},
        },
        store::{
            Space,
            schema::{self, Parts, Table},
        },
    },
};

impl Vault {
    /// Reads all of a tenant.
    pub(super) async fn check_events(&self, tenant: &Tenant, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::Events, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.events = report.events.saturating_add(1);
                let token = || {
                    let mut parts = Parts::of(Table::Events, &row.key)?;
                    parts.tenant()?;
                    parts.token().filter(|_| parts.rest().is_empty())
                };
                let wrong = match (token(), self.inner.seals.open::<EventsRow>(&row.key, &row.value)) {
                    (Some(token), Ok(read)) => self.wrong_with_events(tenant, token, &read).await?,
                    (None, _) => Some("a malformed key".to_owned()),
                    (_, Err(error)) => Some(error.to_string()),
                };
                if let Some(wrong) = wrong {
                    report.findings.push(format!("tenant {}, events row {}: {wrong}", tenant.no, hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    async fn wrong_with_events(&self, tenant: &Tenant, token: Token, row: &EventsRow) -> Result<Option<String>, VaultError> {
        let state: Option<SubjectRow> = match self.control_row(&schema::subject_state(tenant.no, &token)).await {
            Ok(state) => state,
            // Told of with its table.
            Err(VaultError::Internal(_)) => None,
            Err(error) => return Err(error),
        };
        match state.map(|row| row.state) {
            Some(State::Shredded(_)) => return Ok(Some("of a person who was shredded".into())),
            // It is closed, and goes with its order.
            Some(state) if order_of(state).is_some() => return Ok(None),
            Some(_) | None => {}
        }
        let known: Option<UnitRow> = self.control_row(&schema::unit(tenant.no, &token, CollectionNo::TENANT)).await.ok().flatten();
        if known != Some(UnitRow { slot: row.slot, generation: row.generation }) {
            return Ok(Some("control knows another unit, or none".into()));
        }
        match self.control_row::<EventQueueRow>(&schema::event_queue(row.number)).await {
            Ok(Some(queued)) if queued == (EventQueueRow { tenant: tenant.no.0, subject: token }) => {}
            Ok(_) | Err(VaultError::Internal(_)) => return Ok(Some("it has no place in the queue".into())),
            Err(error) => return Err(error),
        }
        match self.events_of_person(tenant.no, token).await {
            Ok(known) if known.events.count() > 0 => Ok(None),
            Ok(_) => Ok(Some("it holds no report, or its person has another first id".into())),
            Err(error @ VaultError::Unavailable(_)) => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}
