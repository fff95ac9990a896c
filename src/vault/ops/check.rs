//! The check of a store at rest: every page of the forest, every record's header, seal and index, every row of a large
//! value and every entry of the audit trails is read and held against the keys. Nothing is changed. What is found is told
//! by numbers: no name leaves here.

use super::{
    Vault, VaultError,
    blob::Place,
    directory::{Collection, Tenant, damaged, read_u64},
    plan::unit_of,
    rows::State,
};
use crate::{
    domain::{CollectionNo, Slot, TenantNo, TokenId},
    vault::{
        crypto::{Context, FANOUT, Manifest, Record, RecordHeader, Sealed},
        keys::KeysError,
        store::{
            Row, Space,
            schema::{self, KeyRange, Table},
        },
    },
};

mod trails;
mod values;

use values::Referred;

/// Rows read at a time.
const ROWS: usize = 512;

/// What a check read, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Tenants, the shredded ones included.
    pub tenants: u64,
    /// Collections, the shredded ones included.
    pub collections: u64,
    /// Pages of key trees that opened.
    pub pages: u64,
    /// Records whose seal opened, to the last byte of their values.
    pub records: u64,
    /// Records of shredded units, and headers left of them.
    pub shredded: u64,
    /// Rows of the index of subjects.
    pub index_rows: u64,
    /// Uploads that nobody finished, and values that were replaced: the sweep removes them in its time.
    pub uploads: u64,
    /// Access tokens whose row is as this store wrote it.
    pub tokens: u64,
    /// Entries of all trails.
    pub entries: u64,
    /// Gaps that the trails themselves state: older data was put back.
    pub stated_gaps: u64,
    /// What is wrong, by numbers.
    pub findings: Vec<String>,
}

impl Vault {
    /// Reads everything that the store's keys open, and holds it against its seals and its index.
    ///
    /// # Errors
    /// The engine's; what is wrong with what was read is in the report.
    pub async fn check(&self) -> Result<CheckReport, VaultError> {
        let mut report = CheckReport::default();
        let mut range = schema::table(Table::Tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.tenants = report.tenants.saturating_add(1);
                let number = TenantNo(read_u64(row.key.get(1..).unwrap_or_default())?);
                match self.tenant_by_number(number).await {
                    Ok(tenant) => {
                        if matches!(tenant.state, State::Active | State::Frozen) {
                            self.check_tenant(&tenant, &mut report).await?;
                        }
                        // The trail outlives the tenant.
                        self.check_trail(&tenant, &mut report).await?;
                    }
                    Err(error) => report.findings.push(format!("tenant {number}: {error}")),
                }
            }
        }
        self.check_tokens(&mut report).await?;
        self.check_blobs(&mut report).await?;
        Ok(report)
    }

    async fn check_tokens(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table(Table::AccessToken);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Some(id) = row.key.last_chunk::<16>().map(|id| TokenId(*id)) else {
                    report.findings.push("an access token's row has a malformed key".into());
                    continue;
                };
                match self.token_row(id).await {
                    Ok(_) => report.tokens = report.tokens.saturating_add(1),
                    Err(error) => report.findings.push(format!("access token {id}: {error}")),
                }
            }
        }
        Ok(())
    }

    async fn check_tenant(&self, tenant: &Tenant, report: &mut CheckReport) -> Result<(), VaultError> {
        self.check_pages(tenant.no, report).await?;
        let mut referred = Referred::default();
        let mut range = schema::table_of_tenant(Table::Collection, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.collections = report.collections.saturating_add(1);
                let number = row.key.get(9..).and_then(|tail| tail.try_into().ok()).map(u32::from_be_bytes).map(CollectionNo);
                let Some(number) = number else {
                    report.findings.push(format!("tenant {}: a collection's row has a malformed key", tenant.no));
                    continue;
                };
                match self.collection_by_number(tenant.no, number).await {
                    Ok(collection) if matches!(collection.state, State::Active | State::Frozen) => {
                        referred.collections.insert(number);
                        self.check_collection(tenant, &collection, &mut referred, report).await?;
                    }
                    Ok(_) => {}
                    Err(error) => report.findings.push(format!("tenant {}, collection {number}: {error}", tenant.no)),
                }
            }
        }
        self.check_values(tenant, &referred, report).await?;
        for table in [Table::SubjectRecord, Table::SecondaryRecord] {
            self.check_index(tenant, table, report).await?;
        }
        Ok(())
    }

    /// Opens the path from the root to every leaf page of a tenant's unit tree.
    async fn check_pages(&self, tenant: TenantNo, report: &mut CheckReport) -> Result<(), VaultError> {
        let Some(tree) = self.inner.forest.tree(tenant).await? else {
            report.findings.push(format!("tenant {tenant}: the row of its key tree is missing"));
            return Ok(());
        };
        let mut range = schema::pages(tree.tree);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                // table 1 | tree 16 | level 1 | index 8
                let level = row.key.get(17).copied();
                let index = read_u64(row.key.get(18..).unwrap_or_default())?;
                let slot = index.checked_mul(FANOUT as u64).and_then(Slot::new).filter(|_| level == Some(0));
                let opened = match slot {
                    Some(slot) => self.inner.forest.load_unit(tenant, slot).await.map(drop),
                    // Inner pages are opened on the way to their leaves.
                    None => Ok(()),
                };
                match opened {
                    Ok(()) => report.pages = report.pages.saturating_add(1),
                    Err(error @ KeysError::Store(_)) => return Err(error.into()),
                    Err(error) => report.findings.push(format!("tenant {tenant}, page {index}: {error}")),
                }
            }
        }
        Ok(())
    }

    async fn check_collection(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        referred: &mut Referred,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        let mut range = schema::records_under(tenant.no, collection.no, &[]);
        while let Some(rows) = self.some_rows(Space::Records, &mut range).await? {
            for row in rows {
                match self.check_record(tenant, collection, &row, referred).await {
                    Ok(true) => report.records = report.records.saturating_add(1),
                    Ok(false) | Err(VaultError::Shredded { .. }) => report.shredded = report.shredded.saturating_add(1),
                    Err(error) => {
                        let at = format!("tenant {}, collection {}, record {}", tenant.no, collection.no, hex::encode(&row.key));
                        report.findings.push(format!("{at}: {error}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Opens a record to its last byte, and looks for its index rows; `false` if only its header is left.
    async fn check_record(&self, tenant: &Tenant, collection: &Collection, row: &Row, referred: &mut Referred) -> Result<bool, VaultError> {
        let header = RecordHeader::parse(&row.value).map_err(damaged)?;
        if header.is_tombstone() {
            return Ok(false);
        }
        let sealed = Sealed::<Record>::from_row(row.value.clone()).map_err(damaged)?;
        let tokens = schema::record_tokens(&row.key).ok_or_else(|| VaultError::Internal("record row".into()))?;
        let context = Context::<Record>::record(&self.inner.store_id, tenant.no, collection.no, &tokens, &header);
        let unit = unit_of(&header, tenant.no);
        let opened =
            self.with_data(collection.unit, unit, collection.no, |key| key.open_record(&context, &sealed)).await?.map_err(damaged)?;
        if header.is_manifest() {
            let manifest = Manifest::parse(opened.value.expose()).map_err(damaged)?;
            referred.uploads.insert(manifest.upload);
            self.check_value(Place::of(collection, unit), &manifest, opened.meta.value_len).await?;
        }
        for subject in self.subject_tokens(tenant, &opened.meta.subjects).await? {
            let indexed = schema::subject_record(tenant.no, &subject, collection.no, &tokens);
            if self.inner.store.get(Space::Index, &indexed).await?.is_none() {
                return Err(VaultError::Internal("missing in the index of subjects".into()));
            }
        }
        Ok(true)
    }

    /// Every row of an index of subjects leads to a record.
    async fn check_index(&self, tenant: &Tenant, table: Table, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(table, tenant.no);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                report.index_rows = report.index_rows.saturating_add(1);
                let record =
                    schema::subject_record_parts(&row.key).map(|(_, collection, tokens)| schema::record(tenant.no, collection, &tokens));
                let leads = match record {
                    Some(record) => self.inner.store.get(Space::Records, &record).await?.is_some(),
                    None => false,
                };
                if !leads {
                    report.findings.push(format!("tenant {}, index row {}: leads to no record", tenant.no, hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    /// The next rows of a range, which moves on behind them; `None` at its end.
    async fn some_rows(&self, space: Space, range: &mut KeyRange) -> Result<Option<Vec<Row>>, VaultError> {
        let rows = self.inner.store.scan(space, &range.from, &range.to, ROWS).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        *range = range.after(&last.key);
        Ok(Some(rows))
    }
}
