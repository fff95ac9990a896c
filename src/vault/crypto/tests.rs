//! Tests of the whole room; vectors of others and our own.

use crate::domain::{CollectionNo, Gen, RecordKey, RecordMeta, Slot, StoreId, SubjectId, TenantNo, Timestamp, UploadId, Version};

use super::*;

fn meta(value_len: usize) -> RecordMeta {
    RecordMeta {
        key: RecordKey::parse("users/ann@example.com/1").unwrap(),
        content_type: "application/json".into(),
        subjects: vec![SubjectId::parse("7").unwrap(), SubjectId::parse("8").unwrap()],
        created_at: Timestamp(1_700_000_000_000),
        modified_at: Timestamp(1_700_000_000_001),
        expires_at: Some(Timestamp(1_800_000_000_000)),
        value_len: value_len as u64,
        custom: vec![("colour".into(), "red".into()), ("colour".into(), String::new())],
    }
}

const STORE: StoreId = StoreId([0x11; 16]);
const TENANT: TenantNo = TenantNo(5);
const COLLECTION: CollectionNo = CollectionNo(3);

fn header(suite: Suite) -> RecordHeader {
    RecordHeader { suite, flags: 0, slot: Slot::new(77).unwrap(), generation: Gen(2), version: Version(9) }
}

fn place(suite: Suite, tokens: &[Token]) -> Context<Record> {
    Context::record(&STORE, TENANT, COLLECTION, tokens, &header(suite))
}

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::XChaCha20Poly1305];

#[test]
fn a_record_opens_to_what_was_sealed() {
    let key = Key::<Data>::make();
    for suite in SUITES {
        for len in [0, 1, 1_000, 16_384 - 4, 16_384, 40_000, 65_536] {
            let value: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let (meta, context) = (meta(len), place(suite, &[[1; 16], [2; 16]]));
            let sealed = key.seal_record(&context, &EncodedMeta::new(&meta).unwrap(), &value);
            let row = sealed.clone().into_row();
            assert!(row.len() < 100_000);
            let sealed = Sealed::from_row(row).unwrap();
            assert!(key.open_meta(&context, &sealed).unwrap() == meta);
            let opened = key.open_record(&context, &sealed).unwrap();
            assert!(opened.meta == meta);
            assert_eq!(opened.value.expose(), value);
        }
    }
}

#[test]
fn a_large_value_opens_row_by_row_in_any_order() {
    let key = Key::<Data>::make();
    let context = Context::blob(&STORE, TENANT, COLLECTION, Slot::new(77).unwrap(), Gen(2), &UploadId([9; 16]));
    for suite in SUITES {
        for len in [0_usize, 1, 16_384, 65_535, 65_536, 65_537, 65_536 + 16_384, 200_000] {
            let value: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let mut writer = BlobWriter::new(&key, &context, suite);
            let mut rest = value.as_slice();
            let mut rows = Vec::new();
            while rest.len() >= ROW_LEN {
                rows.push(writer.seal_row(&key, &context, &rest[..ROW_LEN], false).unwrap());
                rest = &rest[ROW_LEN..];
            }
            rows.push(writer.seal_row(&key, &context, rest, true).unwrap());
            assert_eq!(writer.seal_row(&key, &context, &[], true).unwrap_err(), SealError::Row);
            let reader = BlobReader::new(writer.start(), len as u64);
            assert_eq!(reader.rows(), rows.len() as u64);
            for (index, row) in rows.iter().enumerate().rev() {
                assert!(row.len() < 100_000);
                let opened = reader.open_row(&key, &context, index as u64, row).unwrap();
                let from = index * ROW_LEN;
                assert_eq!(opened.expose(), &value[from..len.min(from + ROW_LEN)]);
            }
        }
    }
}
