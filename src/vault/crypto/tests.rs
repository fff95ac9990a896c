//! Tests of the whole room: what opens, what does not, and the vectors of others and our own.

#![expect(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, reason = "small numbers of tests")]

mod refusals;
mod roundtrip;
mod vectors;
mod wycheproof;

use crate::domain::{
    CollectionNo, Epoch, Gen, RecordKey, RecordMeta, RootId, Slot, StoreId, SubjectId, TenantNo, Timestamp, TreeId, UploadId, Version,
};

use super::*;

pub(super) const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::XChaCha20Poly1305];
const STORE: StoreId = StoreId([0x11; 16]);
const TENANT: TenantNo = TenantNo(5);
const COLLECTION: CollectionNo = CollectionNo(3);
const TOKENS: [Token; 2] = [[1; 16], [2; 16]];

fn slot(number: u64) -> Slot {
    Slot::new(number).unwrap()
}

pub(super) fn some_meta(value_len: usize) -> RecordMeta {
    RecordMeta {
        key: RecordKey::parse("users/ann").unwrap(),
        content_type: "application/json".into(),
        subjects: vec![SubjectId::parse("7").unwrap(), SubjectId::parse("8").unwrap()],
        created_at: Timestamp(1_700_000_000_000),
        modified_at: Timestamp(1_700_000_000_001),
        expires_at: Some(Timestamp(1_800_000_000_000)),
        value_len: value_len as u64,
        custom: vec![("colour".into(), "red".into())],
        rules_no: 0,
        reports_no: None,
        kept: None,
        governed: None,
    }
}

/// The same as it opens: what it does not say itself, its version says.
fn opened(meta: &RecordMeta) -> RecordMeta {
    let reports_no = meta.reports_no.or(Some(some_header(Suite::Aes256Gcm).version.0));
    RecordMeta { reports_no, ..meta.clone() }
}

fn some_header(suite: Suite) -> RecordHeader {
    RecordHeader { suite, flags: 0, slot: slot(77), generation: Gen(2), version: Version(9) }
}

pub(super) fn record_place(suite: Suite) -> Context<Record> {
    Context::record(&STORE, TENANT, COLLECTION, &TOKENS, &some_header(suite))
}

fn blob_place() -> Context<Blob> {
    Context::blob(&STORE, TENANT, COLLECTION, slot(77), Gen(2), &UploadId([9; 16]))
}

pub(super) fn some_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

/// All rows of a large value.
fn seal_rows(writer: &mut BlobWriter, key: &Key<Data>, context: &Context<Blob>, value: &[u8]) -> Vec<Vec<u8>> {
    let (full, rest) = value.as_chunks::<ROW_LEN>();
    let mut rows: Vec<_> = full.iter().map(|row| writer.seal_row(key, context, row, false).unwrap()).collect();
    rows.push(writer.seal_row(key, context, rest, true).unwrap());
    rows
}
