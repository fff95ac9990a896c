//! Rows of large values: each belongs to a record, to an upload under way, or to what waits to be reclaimed.

use std::collections::HashSet;

use super::{CheckReport, Tenant, Vault, VaultError};
use crate::{
    domain::{CollectionNo, UploadId},
    vault::store::{
        Space,
        schema::{self, Parts, Table},
    },
};

/// What the records that were read refer to.
#[derive(Default)]
pub(super) struct Referred {
    /// Upload ids in manifests.
    pub(super) uploads: HashSet<UploadId>,
    /// Collections whose records could be read.
    pub(super) collections: HashSet<CollectionNo>,
}

impl Vault {
    /// Every large value that is listed under a live unit of a tenant is some record's.
    pub(super) async fn check_values(&self, tenant: &Tenant, referred: &Referred, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut range = schema::table_of_tenant(Table::UnitUpload, tenant.no);
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let mut parts = Parts::of(Table::UnitUpload, &row.key).filter(|parts| parts.clone().rest().len() == 30);
                let place = parts.as_mut().and_then(|parts| Some((parts.tenant()?, parts.slot()?, UploadId(parts.bytes()?))));
                let collection = row.value.as_ref().try_into().map(u32::from_be_bytes).map(CollectionNo);
                let (Some((_, slot, upload)), Ok(collection)) = (place, collection) else {
                    report.findings.push(format!("tenant {}, list of large values: a malformed row", tenant.no));
                    continue;
                };
                // What was shredded, its manifests with it, waits here until its bytes are reclaimed.
                let is_live = referred.collections.contains(&collection)
                    && self.inner.store.get(Space::Control, &schema::unit_state(tenant.no, slot)).await?.is_none();
                if is_live && !referred.uploads.contains(&upload) {
                    report.findings.push(format!("tenant {}, large value {}: no record refers to it", tenant.no, hex::encode(upload.0)));
                }
            }
        }
        Ok(())
    }

    /// Every row of a large value is listed somewhere.
    pub(super) async fn check_blobs(&self, report: &mut CheckReport) -> Result<(), VaultError> {
        let mut listed: HashSet<UploadId> = HashSet::new();
        for table in [Table::UnitUpload, Table::Upload] {
            let mut range = schema::table(table);
            while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
                if table == Table::Upload {
                    report.uploads = report.uploads.saturating_add(u64::try_from(rows.len()).unwrap_or(u64::MAX));
                }
                listed.extend(rows.iter().filter_map(|row| row.key.last_chunk::<16>()).map(|id| UploadId(*id)));
            }
        }
        let all = schema::prefix(&[]);
        let mut from = all.from;
        // One row of each value is enough: the rest of them is passed over.
        while let Some(row) = self.inner.store.scan(Space::Blobs, &from, &all.to, 1).await?.pop() {
            let Some(id) = row.key.first_chunk::<16>().map(|id| UploadId(*id)) else {
                report.findings.push(format!("row {} of no large value", hex::encode(&row.key)));
                from = schema::successor(&row.key);
                continue;
            };
            if !listed.contains(&id) {
                report.findings.push(format!("large value {}: its rows belong to nothing", hex::encode(id.0)));
            }
            from = schema::blob_rows(id).to;
        }
        Ok(())
    }
}
