//! The index of what is due: every row tells when, opens, and is the one that its record leads to; every record leads to a row; what is listed
//! is found by its page when it is due, and what sleeps is woken.

use std::collections::HashMap;

use bytes::Bytes;

use super::CheckReport;
use crate::{
    domain::{TenantNo, Timestamp},
    vault::{
        ops::{Vault, VaultError, rows::State},
        store::{
            Row, Space,
            schema::{self, Due, DuePage, Lies, Table},
        },
    },
};

/// Pages of one read.
const PAGES: usize = 64;

/// A page, and when what is listed at its places is due; `None` where there is no such page, or it does not open.
type Listed = (Bytes, Option<HashMap<u16, Timestamp>>);

impl Vault {
    /// Goes through the rows, and through what leads to them.
    pub(super) async fn check_due(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        // Of a shredded tenant nothing opens, and its rows are reclaimed in their time.
        let mut living = HashMap::new();
        let mut page: Listed = (Bytes::new(), None);
        for table in [Table::Due, Table::DueMonth, Table::DueListed, Table::DueAsleep, Table::DueOf] {
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
                        Some(tenant) => match self.tells_wrong(tenant, &row).await? {
                            None => self.is_found_wrong(&mut page, &row).await?,
                            wrong => wrong,
                        },
                    };
                    if let Some(wrong) = wrong {
                        report.findings.push(format!("row {} of what is due: {wrong}", hex::encode(&row.key)));
                    }
                }
            }
        }
        let mut range = schema::table(Table::DuePage);
        while let Some(rows) = self.some_rows_of(Space::Index, &mut range, PAGES).await? {
            for row in rows {
                let wrong = match schema::due_page_parts(&row.key) {
                    None => Some("has a malformed key"),
                    Some(of) if !self.lives(&mut living, of.tenant).await? => None,
                    Some(of) => self.places_of(of.tenant, &row.key, &row.value).await?.is_none().then_some("does not open"),
                };
                if let Some(wrong) = wrong {
                    report.findings.push(format!("page {} of what is due: {wrong}", hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with how a row is found that does not lie by time: what is listed stands on its page, for the moment at which it is due;
    /// what sleeps is woken. `page` is the one of the row before, for those of one page lie together.
    async fn is_found_wrong(&self, page: &mut Listed, row: &Row) -> Result<Option<&'static str>, VaultError> {
        let Some(Due { hour, tenant, collection, lies, .. }) = schema::due_parts(&row.key) else { return Ok(None) };
        let (number, place) = match lies {
            Lies::ByTime => return Ok(None),
            Lies::Asleep => {
                let wakes = self.inner.store.get(Space::Index, &schema::asleep_of(tenant, collection)).await?.is_some();
                return Ok(if wakes { None } else { Some("sleeps, and nothing wakes it") });
            }
            Lies::Listed { page, place } => (page, place),
        };
        let key = schema::due_page(&DuePage { hour, tenant, collection, page: number });
        if page.0 != key {
            let places = match self.inner.store.get(Space::Index, &key).await? {
                Some(value) => self.places_of(tenant, &key, &value).await?,
                None => None,
            };
            *page = (key, places.map(|places| places.into_iter().map(|place| (place.place, place.at)).collect()));
        }
        let Some(at) = page.1.as_ref().and_then(|places| places.get(&place)) else { return Ok(Some("is on no page")) };
        let is_found = self.looked_at(tenant, row).await?.is_none_or(|due| *at <= due);
        Ok(if is_found { None } else { Some("is due before its page says so") })
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
