//! Requests for a second person: each that is open is found by what it asks for, and ends in its time; an order that waits for one has one.
//! And no order whose keys are gone took two persons and had one: that is told with the orders.

use std::collections::HashSet;

use bytes::Bytes;

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::{ApprovalId, ShredId, TenantNo},
    vault::{
        ops::rows::{ApprovalHow, ApprovalOpenRow, ApprovalRow, ApprovalWhatRow, Progress},
        store::{
            Space,
            schema::{self, Parts, Table},
        },
    },
};

impl Vault {
    /// Reads all of them.
    pub(super) async fn check_approvals(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let (mut expected, mut awaited) = (HashSet::new(), HashSet::new());
        let mut range = schema::table(Table::Approval);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.approvals = report.approvals.saturating_add(1);
                let parts = || {
                    let mut parts = Parts::of(Table::Approval, &row.key)?;
                    Some((parts.tenant()?, ApprovalId(parts.bytes()?)))
                };
                let (Some((tenant, id)), Ok(request)) = (parts(), self.inner.seals.open::<ApprovalRow>(&row.key, &row.value)) else {
                    report.findings.push(format!("request for approval at {}: it cannot be read", hex::encode(&row.key)));
                    continue;
                };
                if request.end.is_none() {
                    let open = schema::approval_open(tenant, &request.place);
                    if !matches!(self.control_row::<ApprovalOpenRow>(&open).await, Ok(Some(open)) if open.approval == id.0) {
                        report.findings.push(format!("request for approval {id} of tenant {tenant}: it is not found by what it asks for"));
                    }
                    let due = schema::approval_due(u64::try_from(request.expires_at).unwrap_or(0), tenant, id);
                    if self.inner.store.get(Space::Control, &due).await?.is_none() {
                        report.findings.push(format!("request for approval {id} of tenant {tenant}: nothing ends it in its time"));
                    }
                    expected.extend([open, due]);
                }
                self.check_asked_order((tenant, id), &request, &mut awaited, report).await?;
            }
        }
        for table in [Table::ApprovalOpen, Table::ApprovalDue] {
            self.check_strays(table, &expected, report).await?;
        }
        let mut range = schema::table(Table::ShredOrder);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Some(id) = row.key.last_chunk::<16>().map(|id| ShredId(*id)) else { continue };
                if matches!(self.shred_row(id).await, Ok(Some(order)) if order.progress == Progress::Asked) && !awaited.contains(&id) {
                    report.findings.push(format!("order {id}: it waits for a second person, and nobody is asked"));
                }
            }
        }
        Ok(())
    }

    /// An order is as far as the request for it.
    async fn check_asked_order(
        &self,
        (tenant, id): (TenantNo, ApprovalId),
        request: &ApprovalRow,
        awaited: &mut HashSet<ShredId>,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        if !matches!(request.what, ApprovalWhatRow::Shred(_)) {
            return Ok(());
        }
        let is_approved = request.end.is_some_and(|end| end.how == ApprovalHow::Approved);
        let order = match self.shred_row(ShredId(id.0)).await {
            Ok(order) => order.filter(|order| order.tenant == tenant.0),
            Err(VaultError::Internal(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(order) = order else {
            if is_approved {
                // Held, and then gone with another.
                return Ok(());
            }
            report.findings.push(format!("request for approval {id} of tenant {tenant}: its order is not there"));
            return Ok(());
        };
        let is_as_far = match request.end {
            None => order.progress == Progress::Asked,
            Some(end) if is_approved => order.approved_by == Some(end.by) && !matches!(order.progress, Progress::Asked | Progress::Dropped),
            Some(_) => order.progress == Progress::Dropped,
        };
        if !is_as_far {
            report.findings.push(format!("request for approval {id} of tenant {tenant}: its order is not as far as it is"));
        }
        if request.end.is_none() {
            awaited.insert(ShredId(id.0));
        }
        Ok(())
    }

    async fn check_strays(&self, table: Table, expected: &HashSet<Bytes>, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table(table);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let strays = rows.iter().filter(|row| !expected.contains(&row.key));
            report
                .findings
                .extend(strays.map(|row| format!("row {}: no request for approval that is open is found by it", hex::encode(&row.key))));
        }
        Ok(())
    }
}
