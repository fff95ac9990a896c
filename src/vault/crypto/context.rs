//! The place a ciphertext lies in, as bytes of its key derivation: moved elsewhere, it does not open.
//!
//! Numbers have fixed lengths; everything else is preceded by its length (be32), so no two places share bytes.

use std::marker::PhantomData;

use zeroize::Zeroizing;

use crate::domain::{CollectionNo, Gen, Slot, StoreId, TenantNo, UploadId};

use super::{Blob, Content, Record, RecordHeader, Token, header::RECORD_HEADER_LEN};

/// The place of one ciphertext of kind `T`. Wiped on drop: it may hold names.
pub struct Context<T: Content> {
    bytes: Zeroizing<Vec<u8>>,
    kind: PhantomData<T>,
}

impl<T: Content> Context<T> {
    /// `label | store_id | tenant be64 | L(field)..`, L = be32 length prefix.
    #[must_use]
    pub fn of(store: &StoreId, tenant: TenantNo, fields: &[&[u8]]) -> Self {
        let len = fields.iter().map(|field| field.len().saturating_add(4)).fold(0, usize::saturating_add);
        let mut context = Self::begin(store, tenant, len);
        for field in fields {
            context.field(field);
        }
        context
    }

    /// The bytes that enter the derivation.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn begin(store: &StoreId, tenant: TenantNo, more: usize) -> Self {
        let mut bytes = Vec::with_capacity(T::LABEL.len().saturating_add(24).saturating_add(more));
        bytes.extend_from_slice(T::LABEL);
        bytes.extend_from_slice(&store.0);
        bytes.extend_from_slice(&tenant.to_be_bytes());
        Self { bytes: Zeroizing::new(bytes), kind: PhantomData }
    }

    fn field(&mut self, field: &[u8]) {
        let len = u32::try_from(field.len()).expect("fields are names and numbers, far below 4 GiB");
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(field);
    }
}

impl Context<Record> {
    /// `label | store_id | tenant be64 | collection be32 | L(tokens) | header`. The key enters as its tokens, as in the
    /// row's key: a list opens records whose names it learns only then.
    #[must_use]
    pub fn record(store: &StoreId, tenant: TenantNo, collection: CollectionNo, key: &[Token], header: &RecordHeader) -> Self {
        let key = key.as_flattened();
        let mut context = Self::begin(store, tenant, key.len().saturating_add(8 + RECORD_HEADER_LEN));
        context.bytes.extend_from_slice(&collection.to_be_bytes());
        context.field(key);
        context.bytes.extend_from_slice(&header.to_bytes());
        context
    }

    /// The header it was made with.
    pub(super) fn header(&self) -> &[u8; RECORD_HEADER_LEN] {
        self.bytes.last_chunk().expect("a record's context ends with its header")
    }
}

impl Context<Blob> {
    /// `label | store_id | tenant be64 | collection be32 | slot u48 | gen u32 | upload_id16`.
    #[must_use]
    pub fn blob(store: &StoreId, tenant: TenantNo, collection: CollectionNo, slot: Slot, generation: Gen, upload: &UploadId) -> Self {
        let mut context = Self::begin(store, tenant, 30);
        context.bytes.extend_from_slice(&collection.to_be_bytes());
        context.bytes.extend_from_slice(&slot.to_be_bytes());
        context.bytes.extend_from_slice(&generation.to_be_bytes());
        context.bytes.extend_from_slice(&upload.0);
        context
    }
}
