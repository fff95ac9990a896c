//! Keys of the spaces that hold one table each, and so have no tag: records, rows of large values, entries of the audit trail.

use bytes::Bytes;

use crate::domain::{CollectionNo, TenantNo, UploadId, WriterId};

use super::{KeyRange, Token, join, prefix};

/// Tokens of the key of a row in [`Space::Records`](super::super::Space::Records); `None` if it is not one.
#[must_use]
pub fn record_tokens(key: &[u8]) -> Option<Vec<Token>> {
    let (tokens, rest) = key.get(12..)?.as_chunks::<16>();
    (rest.is_empty() && !tokens.is_empty()).then(|| tokens.to_vec())
}

/// Tenant and collection of a row in [`Space::Records`](super::super::Space::Records); `None` if it is not one.
#[must_use]
pub fn record_place(key: &[u8]) -> Option<(TenantNo, CollectionNo)> {
    let (tenant, rest) = key.split_first_chunk::<8>()?;
    Some((TenantNo(u64::from_be_bytes(*tenant)), CollectionNo(u32::from_be_bytes(*rest.first_chunk::<4>()?))))
}

/// A row of `Records`: tenant be64, collection be32, a token for each segment of the key.
#[must_use]
pub fn record(tenant: TenantNo, collection: CollectionNo, tokens: &[Token]) -> Bytes {
    join(&[&tenant.to_be_bytes(), &collection.to_be_bytes(), tokens.as_flattened()])
}

/// The records whose key begins with the segments behind `tokens`; all of the collection if there are none.
#[must_use]
pub fn records_under(tenant: TenantNo, collection: CollectionNo, tokens: &[Token]) -> KeyRange {
    prefix(&record(tenant, collection, tokens))
}

/// All records of a tenant.
#[must_use]
pub fn records_of_tenant(tenant: TenantNo) -> KeyRange {
    prefix(&tenant.to_be_bytes())
}

/// A row of `Blobs`: upload id 16, row be32.
#[must_use]
pub fn blob(upload: UploadId, row: u32) -> Bytes {
    join(&[&upload.0, &row.to_be_bytes()])
}

/// All rows of a large value.
#[must_use]
pub fn blob_rows(upload: UploadId) -> KeyRange {
    prefix(&upload.0)
}

/// A row of the audit spaces: tenant be64, writer be64, number be64.
#[must_use]
pub fn audit(tenant: TenantNo, writer: WriterId, seq: u64) -> Bytes {
    join(&[&tenant.to_be_bytes(), &writer.to_be_bytes(), &seq.to_be_bytes()])
}

/// One audit chain.
#[must_use]
pub fn audit_chain(tenant: TenantNo, writer: WriterId) -> KeyRange {
    prefix(&join(&[&tenant.to_be_bytes(), &writer.to_be_bytes()]))
}

/// All audit chains of a tenant.
#[must_use]
pub fn audit_of_tenant(tenant: TenantNo) -> KeyRange {
    prefix(&tenant.to_be_bytes())
}
