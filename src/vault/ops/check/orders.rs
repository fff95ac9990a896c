//! Orders to shred, the log of them and their certificates: each order that is done has both, and each of these its order.

use std::collections::HashSet;

use super::{CheckReport, Vault, VaultError};
use crate::{
    domain::ShredId,
    vault::{
        audit::certificate::Certificate,
        ops::rows::{Progress, ShredLogRow},
        store::{
            Row, Space,
            schema::{self, Table},
        },
    },
};

impl Vault {
    /// Reads all of them.
    pub(super) async fn check_orders(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut logged = HashSet::new();
        let mut range = schema::table(Table::ShredLog);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                match self.inner.seals.open::<ShredLogRow>(&row.key, &row.value) {
                    Ok(entry) => {
                        let id = ShredId(entry.order);
                        if !matches!(self.shred_row(id).await, Ok(Some(order)) if order.tenant == entry.tenant) {
                            report.findings.push(format!("shred log: the order {id} is not there, or another tenant's"));
                        }
                        logged.insert(id);
                    }
                    Err(error) => report.findings.push(format!("shred log: {error}")),
                }
            }
        }
        let mut certified = HashSet::new();
        let mut range = schema::table(Table::Certificate);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                match self.check_certificate(&row).await {
                    Ok(id) => {
                        report.certificates = report.certificates.saturating_add(1);
                        certified.insert(id);
                    }
                    Err(error) => report.findings.push(format!("certificate at {}: {error}", hex::encode(&row.key))),
                }
            }
        }
        let mut range = schema::table(Table::ShredOrder);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.orders = report.orders.saturating_add(1);
                if let Err(error) = self.check_order(&row, &logged, &certified).await {
                    report.findings.push(format!("order at {}: {error}", hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    /// A certificate verifies, and is the one of an order that is done.
    async fn check_certificate(&self, row: &Row) -> Result<ShredId, String> {
        let id = row.key.last_chunk::<16>().map(|id| ShredId(*id)).ok_or("a malformed key")?;
        let note = std::str::from_utf8(&row.value).map_err(|_| "not a text")?;
        let certificate = Certificate::open(note, &self.inner.signer.verifier()).map_err(|error| error.to_string())?;
        if certificate.id != id {
            return Err(format!("it is that of {}", certificate.id));
        }
        match self.shred_row(id).await {
            Ok(Some(order)) if order.progress == Progress::Done => Ok(id),
            Ok(Some(_)) => Err("its order is not done".into()),
            Ok(None) => Err("it has no order".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// An order whose keys are gone is in the log of shreds, one that is done has its certificate, and one that is not is pending.
    async fn check_order(&self, row: &Row, logged: &HashSet<ShredId>, certified: &HashSet<ShredId>) -> Result<(), String> {
        let id = row.key.last_chunk::<16>().map(|id| ShredId(*id)).ok_or("a malformed key")?;
        let order = self.shred_row(id).await.map_err(|error| error.to_string())?.ok_or("it is not there")?;
        if matches!(order.progress, Progress::Held | Progress::Asked | Progress::Dropped) {
            return Ok(());
        }
        if !order.is_approved() {
            return Err("it takes two persons, and nobody has approved it".into());
        }
        // Of a store in use it may have gone on since the others were read.
        if order.progress != Progress::Pending && !logged.contains(&id) && !self.is_logged(id).await.map_err(|error| error.to_string())? {
            return Err("it is not in the shred log".into());
        }
        if order.progress == Progress::Done && !certified.contains(&id) {
            let certificate = self.inner.store.get(Space::Control, &schema::certificate(id)).await.map_err(|error| error.to_string())?;
            if certificate.is_none() {
                return Err("it is done and has no certificate".into());
            }
        }
        let pending = self.inner.store.get(Space::Control, &schema::pending_shred(id)).await.map_err(|error| error.to_string())?;
        if order.progress != Progress::Done && pending.is_none() {
            return Err("it is not done, and nothing will do it".into());
        }
        self.slots_of(id).await.map(drop).map_err(|error| error.to_string())
    }

    /// Whether the log of shreds names an order now.
    async fn is_logged(&self, id: ShredId) -> Result<bool, VaultError> {
        let mut range = schema::table(Table::ShredLog);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            let names = |row: &Row| self.inner.seals.open::<ShredLogRow>(&row.key, &row.value).is_ok_and(|entry| entry.order == id.0);
            if rows.iter().any(names) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
