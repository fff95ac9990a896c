//! The check of a store at rest: every page of the forest, every record's header, seal, unit and index, every row of a large
//! value, every entry of the audit trails with what its tokens stand for, every order to shred with its certificate is read
//! and held against the keys and against each other. Nothing is changed. What is found is told by numbers: no name leaves here.

use std::collections::HashSet;

use super::{
    Vault, VaultError,
    blob::Place,
    directory::{Collection, Tenant, damaged, read_u64},
    plan::{record_row, unit_of},
    rows::{KeptUnitRow, State, UnitRow},
    shredder::is_its_own,
};
use crate::{
    domain::{CollectionNo, Gen, ShredUnit, Slot, TenantNo, TokenId},
    vault::{
        crypto::{Context, FANOUT, Manifest, Record, RecordHeader, Sealed, Token},
        keys::{KeysError, UnitRef},
        store::{
            Row, Space,
            schema::{self, Parts, Table},
        },
    },
};

mod aliases;
mod approvals;
mod due;
mod ends;
mod events;
mod holds;
mod kept;
mod orders;
mod trails;
mod values;

use values::Referred;

/// Tables of sealed rows, but for tenants, collections and tokens, which are read one by one.
const SEALED: [(Space, Table); 27] = [
    (Space::Control, Table::TenantName),
    (Space::Control, Table::CollectionName),
    (Space::Control, Table::SubjectState),
    (Space::Control, Table::UnitState),
    (Space::Control, Table::ShredOrder),
    (Space::Control, Table::ShredLog),
    (Space::Control, Table::Unit),
    (Space::Control, Table::ShredSlots),
    (Space::Control, Table::Made),
    (Space::Control, Table::TenantChange),
    (Space::Control, Table::KeptUnit),
    (Space::Control, Table::LawMark),
    (Space::Control, Table::LeftByLaw),
    (Space::Control, Table::ApprovalOpen),
    (Space::Control, Table::Shortening),
    (Space::Control, Table::RetentionReport),
    (Space::Control, Table::EventQueue),
    (Space::Control, Table::LeftEvents),
    (Space::Index, Table::KeptRecords),
    (Space::Index, Table::ShredRetained),
    (Space::Index, Table::Reclaim),
    (Space::Index, Table::ShredDeleted),
    (Space::Index, Table::Reclaimed),
    (Space::Index, Table::Shortened),
    (Space::Index, Table::TenantImport),
    (Space::Index, Table::EventsDone),
    (Space::Index, Table::OpenReport),
];

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
    /// Rows of the index of what is due.
    pub due_rows: u64,
    /// Ids of persons who have several.
    pub aliases: u64,
    /// Persons of whom events were reported.
    pub events: u64,
    /// Rows of what the trail's tokens stand for.
    pub names: u64,
    /// Orders to shred.
    pub orders: u64,
    /// Legal holds, those that have ended included.
    pub holds: u64,
    /// Requests for a second person, those that have ended included.
    pub approvals: u64,
    /// Certificates that verify.
    pub certificates: u64,
    /// Uploads that nobody finished, and values that were replaced: the sweep removes them in its time.
    pub uploads: u64,
    /// Access tokens whose row is as this store wrote it.
    pub tokens: u64,
    /// Other sealed rows that are as this store wrote them, of tables that no reader of this check goes through.
    pub sealed_rows: u64,
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
        let behind = match self.subjects_behind().await {
            // What cannot be read of the shred log is told of there.
            Err(error) if is_its_own(&error) => HashSet::new(),
            behind => behind?,
        };
        let mut range = schema::table(Table::Tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                report.tenants = report.tenants.saturating_add(1);
                let number = TenantNo(read_u64(row.key.get(1..).unwrap_or_default())?);
                match self.tenant_by_number(number).await {
                    Ok(tenant) => {
                        if matches!(tenant.state, State::Active | State::Frozen) {
                            self.check_tenant(&tenant, &behind, &mut report).await?;
                        }
                        // The trail outlives the tenant.
                        self.check_trail(&tenant, &mut report).await?;
                    }
                    Err(error) => report.findings.push(format!("tenant {number}: {error}")),
                }
            }
        }
        self.check_tokens(&mut report).await?;
        self.check_due(&mut report).await?;
        self.check_orders(&mut report).await?;
        self.check_holds(&mut report).await?;
        self.check_kept(&mut report).await?;
        self.check_approvals(&mut report).await?;
        self.check_ends(&mut report).await?;
        self.check_seals(&mut report).await?;
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

    async fn check_seals(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        for (space, table) in SEALED {
            let mut range = schema::table(table);
            while let Some(rows) = self.some_rows(space, &mut range).await? {
                for row in rows {
                    match self.inner.seals.check(&row.key, &row.value) {
                        Ok(()) => report.sealed_rows = report.sealed_rows.saturating_add(1),
                        Err(error) => report.findings.push(format!("row {}: {error}", hex::encode(&row.key))),
                    }
                }
            }
        }
        Ok(())
    }

    async fn check_tenant(&self, tenant: &Tenant, behind: &HashSet<(TenantNo, Token)>, report: &mut CheckReport) -> Result<(), VaultError> {
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
            self.check_index(tenant, table, behind, report).await?;
        }
        self.check_aliases(tenant, report).await?;
        self.check_events(tenant, report).await?;
        self.check_names(tenant, report).await
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
        let subjects = self.subject_tokens(tenant, &opened.meta.subjects).await?;
        for (place, subject) in subjects.iter().enumerate() {
            let mut rows = vec![schema::subject_record(tenant.no, subject, collection.no, &tokens)];
            if !subjects.iter().take(place.max(1)).any(|before| before == subject) {
                rows.push(schema::secondary_record(tenant.no, subject, collection.no, &tokens));
            }
            for row in rows {
                if self.inner.store.get(Space::Index, &row).await?.is_none() {
                    return Err(VaultError::Internal("missing in the index of subjects".into()));
                }
            }
        }
        self.check_unit(tenant, collection, &header, &tokens, subjects.first()).await?;
        // One that only rules end may have been stored before them.
        let is_restricted = opened.meta.kept.as_ref().is_some_and(|kept| kept.restricted_by.is_some());
        let must_be_due = is_restricted || opened.meta.expires_at.is_some();
        if must_be_due && self.scheduled((tenant.no, collection.no, &tokens), header.version).await?.is_none() {
            return Err(VaultError::Internal("has an end of its own, and is missing in the index of what is due".into()));
        }
        if is_restricted && unit != collection.unit {
            let counted = schema::kept_records(tenant.no, header.slot);
            if self.inner.store.get(Space::Index, &counted).await?.is_none() {
                return Err(VaultError::Internal("is restricted, and not counted under its unit".into()));
            }
        }
        Ok(true)
    }

    /// Control knows the unit that a record's header names as the record's, or its person's, or its collection's: what is to be
    /// shredded is looked for there.
    async fn check_unit(
        &self,
        tenant: &Tenant,
        collection: &Collection,
        header: &RecordHeader,
        tokens: &[Token],
        subject: Option<&Token>,
    ) -> Result<(), VaultError> {
        let unit = unit_of(header, tenant.no);
        let known = match (collection.policy.shred_unit, subject) {
            (ShredUnit::Collection, _) => unit == collection.unit,
            (ShredUnit::Subject, None) => false,
            (ShredUnit::Subject, Some(subject)) => {
                self.knows_unit(schema::unit(tenant.no, subject, collection.no), unit).await?
                    || self.knows_spared(unit, collection.no, subject).await?
            }
            (ShredUnit::Record, subject) => {
                let record = tokens.last().copied().unwrap_or_default();
                let by_subject = match subject {
                    Some(subject) => {
                        let row = schema::record_unit_of_subject(tenant.no, subject, collection.no, &record, unit.slot);
                        self.knows_unit(row, unit).await? || self.knows_spared(unit, collection.no, subject).await?
                    }
                    None => true,
                };
                by_subject && self.knows_unit(schema::record_unit(tenant.no, &record, collection.no, unit.slot), unit).await?
            }
        };
        if known { Ok(()) } else { Err(VaultError::Internal("control knows another unit, or none".into())) }
    }

    /// Whether a unit is one of a person's that an order has spared.
    async fn knows_spared(&self, unit: UnitRef, no: CollectionNo, subject: &Token) -> Result<bool, VaultError> {
        let row: Option<KeptUnitRow> = self.control_row(&schema::kept_unit(unit.tenant, unit.slot)).await?;
        let is_its = |kept: KeptUnitRow| (kept.collection, kept.subject, kept.generation) == (no.0, *subject, unit.generation.0);
        Ok(row.is_some_and(is_its))
    }

    async fn knows_unit(&self, row: bytes::Bytes, unit: UnitRef) -> Result<bool, VaultError> {
        match self.control_row::<UnitRow>(&row).await? {
            Some(row) => Ok(row.unit(unit.tenant)? == unit),
            None => Ok(false),
        }
    }

    /// Every row of what the trail's tokens stand for opens under its unit, or that is gone, and holds the name of its token.
    async fn check_names(&self, tenant: &Tenant, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::TrailName, tenant.no);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                report.names = report.names.saturating_add(1);
                let parts = || {
                    let mut parts = Parts::of(Table::TrailName, &row.key)?;
                    parts.tenant()?;
                    let unit = (parts.slot()?, Gen(parts.u32()?));
                    Some((unit, parts.collection()?, parts.token()?)).filter(|_| parts.rest().is_empty())
                };
                let read = match parts() {
                    Some((unit, no, token)) => self.read_name(tenant, no, token, unit).await,
                    None => Err(VaultError::Internal("a malformed key".into())),
                };
                if let Err(error) = read {
                    report.findings.push(format!("tenant {}, names row {}: {error}", tenant.no, hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    /// Every row of an index of subjects leads to a record that names the person, and in the right place; but those of persons who are
    /// `behind`: until they are reclaimed, they may lead to what was written since in the place of what is shredded.
    async fn check_index(
        &self,
        tenant: &Tenant,
        table: Table,
        behind: &HashSet<(TenantNo, Token)>,
        report: &mut CheckReport,
    ) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(table, tenant.no);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                report.index_rows = report.index_rows.saturating_add(1);
                let wrong = match schema::subject_record_parts(&row.key) {
                    Some((subject, ..)) if behind.contains(&(tenant.no, subject)) => None,
                    Some((subject, no, tokens)) => self.misled(tenant, table, &subject, no, &tokens).await?,
                    None => Some("has a malformed key"),
                };
                if let Some(wrong) = wrong {
                    report.findings.push(format!("tenant {}, index row {}: {wrong}", tenant.no, hex::encode(&row.key)));
                }
            }
        }
        Ok(())
    }

    /// What is wrong with a row of an index of subjects. Those of shredded records may outlive them.
    async fn misled(
        &self,
        tenant: &Tenant,
        table: Table,
        subject: &Token,
        no: CollectionNo,
        tokens: &[Token],
    ) -> Result<Option<&'static str>, VaultError> {
        let record = record_row(tenant, no, tokens);
        if self.inner.store.get(Space::Records, &record).await?.is_none() {
            return Ok(Some("leads to no record"));
        }
        let Ok(collection) = self.collection_by_number(tenant.no, no).await else { return Ok(None) };
        // A record that does not open is told of as a record.
        let Ok(Some(existing)) = self.existing(tenant, &collection, tokens, &record).await else { return Ok(None) };
        let Some(live) = existing.live else { return Ok(None) };
        let named = self.subject_tokens(tenant, &live.meta.subjects).await?;
        let first = named.first() == Some(subject);
        Ok(if !named.contains(subject) {
            Some("leads to a record that does not name the person")
        } else if table == Table::SecondaryRecord && first {
            Some("leads to a record that names the person first")
        } else {
            None
        })
    }
}
