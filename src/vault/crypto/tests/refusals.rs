//! What does not open: other places, other keys, changed, cut, moved or lengthened bytes.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn reason<T>(result: Result<T, OpenError>) -> OpenReason {
    result.err().expect("it opened").reason()
}

#[test]
fn opening_in_another_place_fails() {
    let key = Key::<Data>::make();
    let meta = EncodedMeta::new(&some_meta(5)).unwrap();
    let header = some_header(Suite::Aes256Gcm);
    let home = record_place(Suite::Aes256Gcm);
    let sealed = key.seal_record(&home, &meta, b"value");
    let others = [
        Context::record(&StoreId([0x12; 16]), TENANT, COLLECTION, &TOKENS, &header),
        Context::record(&STORE, TenantNo(6), COLLECTION, &TOKENS, &header),
        Context::record(&STORE, TENANT, CollectionNo(4), &TOKENS, &header),
        Context::record(&STORE, TENANT, COLLECTION, &TOKENS[..1], &header),
        Context::record(&STORE, TENANT, COLLECTION, &[TOKENS[1], TOKENS[0]], &header),
        Context::record(&STORE, TENANT, COLLECTION, &[], &header),
    ];
    for (number, other) in others.iter().enumerate() {
        assert_eq!(reason(key.open_record(other, &sealed)), OpenReason::Commitment, "place {number}");
        assert_eq!(reason(key.open_meta(other, &sealed)), OpenReason::Commitment, "place {number}");
    }
    let headers = [
        RecordHeader { flags: FLAG_MANIFEST, ..header },
        RecordHeader { slot: slot(78), ..header },
        RecordHeader { generation: Gen(3), ..header },
        RecordHeader { version: Version(10), ..header },
        RecordHeader { suite: Suite::XChaCha20Poly1305, ..header },
    ];
    for other in headers {
        let place = Context::record(&STORE, TENANT, COLLECTION, &TOKENS, &other);
        // As read from the row, and with the row's header rolled to fit.
        assert_eq!(reason(key.open_record(&place, &sealed)), OpenReason::Framing, "{other:?}");
        let mut row = sealed.clone().into_row().to_vec();
        row[..RECORD_HEADER_LEN].copy_from_slice(&other.to_bytes());
        let rolled = Sealed::from_row(row.into()).unwrap();
        assert_eq!(reason(key.open_record(&place, &rolled)), OpenReason::Commitment, "{other:?}");
    }
    assert_eq!(reason(Key::make().open_record(&home, &sealed)), OpenReason::Commitment, "another key");
    assert!(key.open_record(&home, &sealed).is_ok());
}

#[test]
fn one_kind_of_content_does_not_open_as_another() {
    let key = Key::<Data>::make();
    let sealed = key.seal(Suite::Aes256Gcm, &Context::<AuditTarget>::of(&STORE, TENANT, &[b"x"]), &Plaintext::new(b"secret".to_vec()));
    let row = sealed.into_row();
    let other = Sealed::<Cursor>::from_row(row.clone()).unwrap();
    assert_eq!(reason(key.open(&Context::<Cursor>::of(&STORE, TENANT, &[b"x"]), &other)), OpenReason::Commitment);
    // Fields that join to the same bytes are different places.
    let sealed = Sealed::<AuditTarget>::from_row(row).unwrap();
    for fields in [&[&b""[..], b"x"][..], &[b"x", b""], &[], &[b"xx"]] {
        assert_eq!(reason(key.open(&Context::<AuditTarget>::of(&STORE, TENANT, fields), &sealed)), OpenReason::Commitment);
    }
}

#[test]
fn a_unit_or_its_collection_re_keyed_ends_the_data_key() {
    let (unit, collection) = (Key::<Unit>::make(), Key::<Unit>::make());
    let key = unit.derive_data(&collection, COLLECTION);
    assert_eq!(key.expose(), unit.derive_data(&collection, COLLECTION).expose());
    for other in [
        Key::<Unit>::make().derive_data(&collection, COLLECTION),
        unit.derive_data(&Key::make(), COLLECTION),
        unit.derive_data(&collection, CollectionNo(4)),
        collection.derive_data(&unit, COLLECTION),
        unit.derive_sole(COLLECTION),
        collection.derive_sole(COLLECTION),
    ] {
        assert_ne!(key.expose(), other.expose());
    }
}

/// Rows of three chunks, of a value whose end falls into none of their borders.
fn three_chunks(suite: Suite) -> (Key<Data>, Context<Record>, Vec<u8>) {
    let (key, context) = (Key::make(), record_place(suite));
    let row = key.seal_record(&context, &EncodedMeta::new(&some_meta(40_000)).unwrap(), &some_bytes(40_000)).into_row().to_vec();
    (key, context, row)
}

fn open_row(key: &Key<Data>, context: &Context<Record>, row: Vec<u8>) -> Result<OpenedRecord, OpenError> {
    key.open_record(context, &Sealed::from_row(Bytes::from(row))?)
}

const BODY: usize = RECORD_HEADER_LEN + cobblestone::START_LEN;
const CHUNK: usize = cobblestone::SEALED_CHUNK_LEN;

#[test]
fn chunks_that_were_moved_cut_or_added_are_refused() {
    for suite in SUITES {
        let (key, context, row) = three_chunks(suite);
        let (start, body) = row.split_at(BODY);
        let chunks: Vec<&[u8]> = body.chunks(CHUNK).collect();
        assert_eq!(chunks.len(), 3);
        let [a, b, c] = chunks[..] else { unreachable!() };
        assert!(open_row(&key, &context, [start, a, b, c].concat()).is_ok());
        let (framing, tag) = (OpenReason::Framing, OpenReason::Tag);
        let short = &c[..c.len() - 1];
        for (name, parts, expected) in [
            ("swapped", &[a, c, b][..], tag),
            ("reordered", &[b, a, c], tag),
            ("doubled", &[a, a, b, c], tag),
            ("the last one gone", &[a, b], framing),
            ("the middle gone", &[a, c], tag),
            ("all but the last gone", &[c], tag),
            ("all gone", &[], framing),
            ("cut", &[a, b, short], tag),
            ("cut to the tag", &[a, b, &c[..15]], framing),
            ("cut to less than a tag", &[a, b, &c[c.len() - 16..]], tag),
            ("lengthened by a byte", &[a, b, c, &[0]], tag),
            ("lengthened by a chunk", &[a, b, c, c], tag),
            ("lengthened by a full chunk", &[a, b, a, c], tag),
            ("lengthened by an empty chunk", &[a, b, c, &[0; 16]], tag),
        ] {
            assert_eq!(reason(open_row(&key, &context, [&[start][..], parts].concat().concat())), expected, "{name}");
        }
    }
}

#[test]
fn rows_of_a_large_value_that_were_swapped_cut_or_spliced_are_refused() {
    let (key, context, value) = (Key::<Data>::make(), blob_place(), some_bytes(2 * ROW_LEN + 20_000));
    let mut writer = BlobWriter::new(&key, &context, Suite::Aes256Gcm);
    let rows = seal_rows(&mut writer, &key, &context, &value);
    let reader = BlobReader::new(writer.start(), value.len() as u64);
    assert_eq!(reason(reader.open_row(&key, &context, 0, &rows[1])), OpenReason::Tag, "swapped");
    assert_eq!(reason(reader.open_row(&key, &context, 1, &rows[0])), OpenReason::Tag, "swapped");
    assert_eq!(reason(reader.open_row(&key, &context, 2, &rows[1])), OpenReason::Framing, "too long");
    assert_eq!(reason(reader.open_row(&key, &context, 0, &rows[0][..CHUNK])), OpenReason::Framing, "cut");
    assert_eq!(reason(reader.open_row(&key, &context, 3, &rows[2])), OpenReason::Framing, "behind the last");
    assert_eq!(reason(reader.open_row(&key, &context, u64::MAX, &rows[2])), OpenReason::Framing, "behind the last");
    let spliced = [&rows[0][..CHUNK], &rows[1][CHUNK..]].concat();
    assert_eq!(reason(reader.open_row(&key, &context, 0, &spliced)), OpenReason::Tag, "spliced");

    // The same value uploaded again: rows of one upload are none of the other's.
    let mut again = BlobWriter::new(&key, &context, Suite::Aes256Gcm);
    let others = seal_rows(&mut again, &key, &context, &value);
    assert_ne!(again.start().salt, writer.start().salt);
    assert_eq!(reason(reader.open_row(&key, &context, 0, &others[0])), OpenReason::Tag, "of another upload");

    // A length that is not the value's.
    for len in [value.len() - 1, value.len() + 1, 2 * ROW_LEN] {
        let reader = BlobReader::new(writer.start(), len as u64);
        assert!(reader.open_row(&key, &context, 2, &rows[2]).is_err(), "{len}");
    }
    let elsewhere = Context::blob(&STORE, TENANT, COLLECTION, slot(77), Gen(2), &UploadId([8; 16]));
    assert_eq!(reason(reader.open_row(&key, &elsewhere, 0, &rows[0])), OpenReason::Commitment);
    assert_eq!(reason(reader.open_row(&Key::make(), &context, 0, &rows[0])), OpenReason::Commitment);
}

#[test]
fn a_writer_takes_full_rows_one_last_and_nothing_after() {
    let (key, context) = (Key::<Data>::make(), blob_place());
    let mut writer = BlobWriter::new(&key, &context, Suite::Aes256Gcm);
    let full = vec![0; ROW_LEN];
    assert_eq!(writer.seal_row(&key, &context, &full[1..], false), Err(SealError::Row));
    assert_eq!(writer.seal_row(&key, &context, &full, true), Err(SealError::Row));
    assert_eq!(writer.seal_row(&Key::make(), &context, &full, false), Err(SealError::Changed));
    let elsewhere = Context::blob(&STORE, TENANT, COLLECTION, slot(77), Gen(3), &UploadId([9; 16]));
    assert_eq!(writer.seal_row(&key, &elsewhere, &full, false), Err(SealError::Changed));
    writer.seal_row(&key, &context, &full, false).unwrap();
    writer.seal_row(&key, &context, &[], true).unwrap();
    assert_eq!(writer.seal_row(&key, &context, &[], true), Err(SealError::Row));
}

#[test]
fn a_page_in_another_place_or_changed_is_refused() {
    let (parent, slots) = (Key::<Branch>::make(), PageSlots::make_random());
    let id = PageId { tree: TreeId([3; 16]), level: 1, index: 9 };
    let row = parent.wrap_page(&STORE, &id, Epoch(4), &slots);
    let reason = |result: Result<PageSlots, OpenError>| reason(result);
    for (other, expected) in [
        (PageId { tree: TreeId([4; 16]), ..id }, OpenReason::Commitment),
        (PageId { level: 2, ..id }, OpenReason::Framing),
        (PageId { index: 8, ..id }, OpenReason::Framing),
    ] {
        assert_eq!(reason(parent.unwrap_page(&STORE, &other, &row)), expected, "{other:?}");
    }
    assert_eq!(reason(parent.unwrap_page(&StoreId([9; 16]), &id, &row)), OpenReason::Commitment);
    assert_eq!(reason(Key::make().unwrap_page(&STORE, &id, &row)), OpenReason::Commitment);
    assert_eq!(reason(parent.unwrap_page(&STORE, &id, &row[1..])), OpenReason::Framing);
    for at in 0..PAGE_LEN {
        let mut changed = row.clone();
        changed[at] ^= 0x10;
        let expected = match at {
            0..5 => OpenReason::Suite,
            5..8 | 16..24 => OpenReason::Framing,
            8..16 | 24..80 => OpenReason::Commitment,
            _ => OpenReason::Tag,
        };
        assert_eq!(reason(parent.unwrap_page(&STORE, &id, &changed)), expected, "byte {at}");
    }
}

#[test]
fn short_and_unknown_rows_are_refused_not_panicked_on() {
    for len in 0..=RECORD_HEADER_LEN + 71 {
        assert!(Sealed::<Record>::from_row(vec![1; len].into()).is_err(), "{len}");
    }
    for len in 0..73 {
        assert!(Sealed::<Cursor>::from_row(vec![1; len].into()).is_err(), "{len}");
    }
    assert!(Sealed::<Cursor>::from_row(vec![1; 73].into()).is_ok());
    assert_eq!(reason(Sealed::<Cursor>::from_row(vec![3; 100].into())), OpenReason::Suite);
    let tombstone = some_header(Suite::Aes256Gcm).to_tombstone();
    assert!(RecordHeader::parse(&tombstone.to_bytes()).unwrap().is_tombstone());
    assert_eq!(reason(Sealed::<Record>::from_row(tombstone.to_bytes().to_vec().into())), OpenReason::Framing);
    for (at, expected) in [(0, OpenReason::Suite), (1, OpenReason::Suite), (2, OpenReason::Framing), (3, OpenReason::Framing)] {
        let mut bytes = some_header(Suite::Aes256Gcm).to_bytes();
        bytes[at] = 0x80;
        assert_eq!(reason(RecordHeader::parse(&bytes)), expected, "byte {at}");
    }
    assert!(Manifest::parse(&[1; Manifest::LEN]).is_ok());
    assert!(Manifest::parse(&[1; Manifest::LEN - 1]).is_err());
    assert!(Manifest::parse(&[1; Manifest::LEN + 1]).is_err());
}

#[test]
fn metadata_that_is_not_the_one_encoding_is_refused() {
    let good = EncodedMeta::new(&some_meta(1)).unwrap().bytes().to_vec();
    assert!(record_meta::decode(&good).is_ok());
    for len in 0..good.len() {
        // The custom pair is the only field that may be missing at the end.
        let whole = len == good.len() - 3 - 2 - "colourred".len();
        assert_eq!(record_meta::decode(&good[..len]).is_ok(), whole, "{len}");
    }
    assert!(record_meta::decode(&[&good[..], &[9, 0, 0]].concat()).is_err(), "an unknown field");
    assert!(record_meta::decode(&[&good[..], &[1, 0, 1, b'k']].concat()).is_err(), "a field twice");
    let mut other = good;
    other[0] = 2;
    assert_eq!(reason(record_meta::decode(&other)), OpenReason::Suite);
}

#[test]
fn what_prints_does_not_print_secrets() {
    let key = Key::<Data>::from_slice(&[0xab; 32]);
    assert_eq!(format!("{key:?}"), "Key<Data>");
    let sealed = key.seal_record(&record_place(Suite::Aes256Gcm), &EncodedMeta::new(&some_meta(1)).unwrap(), b"v");
    assert_eq!(format!("{sealed:?}"), format!("{:?}", some_header(Suite::Aes256Gcm)));
    let side = key.seal(Suite::Aes256Gcm, &Context::of(&STORE, TENANT, &[]), &Plaintext::<Cursor>::new(vec![]));
    assert_eq!(format!("{side:?}"), "Aes256Gcm");
    assert_eq!(format!("{:?} {}", OpenError::from(OpenReason::Tag), OpenError::from(OpenReason::Tag)), "OpenError cannot be opened");
}

proptest! {
    #[test]
    fn a_flipped_bit_anywhere_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8, suite in prop::sample::select(&SUITES)) {
        let (key, context, mut row) = three_chunks(suite);
        let at = at.index(row.len());
        row[at] ^= 1 << bit;
        let expected = match at {
            0 | 1 => vec![OpenReason::Suite, OpenReason::Framing],
            2..RECORD_HEADER_LEN => vec![OpenReason::Framing],
            RECORD_HEADER_LEN..BODY => vec![OpenReason::Commitment],
            _ => vec![OpenReason::Tag],
        };
        let reason = reason(open_row(&key, &context, row));
        prop_assert!(expected.contains(&reason), "byte {}: {:?}", at, reason);
    }

    #[test]
    fn a_record_cut_anywhere_is_refused(at in any::<prop::sample::Index>(), suite in prop::sample::select(&SUITES)) {
        let (key, context, mut row) = three_chunks(suite);
        row.truncate(at.index(row.len()));
        prop_assert!(open_row(&key, &context, row).is_err());
    }

    #[test]
    fn two_records_spliced_anywhere_are_refused(at in any::<prop::sample::Index>(), suite in prop::sample::select(&SUITES)) {
        let (key, context, row) = three_chunks(suite);
        let other = key.seal_record(&context, &EncodedMeta::new(&some_meta(40_000)).unwrap(), &some_bytes(40_000)).into_row();
        // From the first byte in which they differ, the salt's, to the last.
        let at = RECORD_HEADER_LEN + 1 + at.index(row.len() - RECORD_HEADER_LEN - 1);
        let spliced = [&row[..at], &other[at..]].concat();
        prop_assume!(spliced != row && spliced != *other);
        prop_assert!(open_row(&key, &context, spliced).is_err());
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RecordHeader::parse(&bytes);
        let _ = record_meta::decode(&bytes);
        let _ = record_meta::decode(&[&[1][..], &bytes].concat());
        let _ = Manifest::parse(&bytes);
        let _ = page_epoch(&bytes);
        let key = Key::<Data>::make();
        for suite in SUITES {
            prop_assert!(cobblestone::Opener::new(suite, key.expose(), &[], &bytes).is_err());
        }
    }

    #[test]
    fn tokens_depend_on_place_parent_and_segment(a in "[a-z]{1,6}", b in "[a-z]{1,6}") {
        let key = Key::<Name>::make();
        let tokens = key.key_tokens(&RecordKey::parse(&format!("{a}/{b}")).unwrap());
        prop_assert_eq!(tokens.len(), 2);
        prop_assert_eq!(tokens[0], key.text_token(&a));
        prop_assert_eq!(tokens[1], key.token(1, Some(&tokens[0]), &b));
        prop_assert_ne!(tokens[1], key.token(1, None, &b));
        prop_assert_ne!(tokens[1], key.token(2, Some(&tokens[0]), &b));
        prop_assert_eq!(a == b, key.text_token(&a) == key.text_token(&b));
        prop_assert_ne!(tokens[0], Key::<Name>::make().text_token(&a));
    }
}
