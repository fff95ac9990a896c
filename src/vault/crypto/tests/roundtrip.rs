//! What was sealed opens to the same bytes.

use proptest::prelude::*;

use crate::domain::{
    ShredId,
    retention::{Governed, Kept, RuleName},
};

use super::*;

#[test]
fn a_record_opens_to_what_was_sealed() {
    let key = Key::<Data>::make();
    for suite in SUITES {
        for len in [0, 1, 1_000, 16_384 - 4, 16_384, 40_000, 65_536] {
            let (value, meta, context) = (some_bytes(len), some_meta(len), record_place(suite));
            let row = key.seal_record(&context, &EncodedMeta::new(&meta).unwrap(), &value).into_row();
            assert_eq!(RecordHeader::parse(&row).unwrap(), some_header(suite));
            let sealed = Sealed::from_row(row).unwrap();
            assert!(key.open_meta(&context, &sealed).unwrap() == opened(&meta));
            let record = key.open_record(&context, &sealed).unwrap();
            assert!(record.meta == opened(&meta));
            assert_eq!(record.value.expose(), value);
        }
    }
}

/// A number of its own goes before its version, and stays when it is sealed anew under another.
#[test]
fn what_a_record_has_seen_is_told_by_its_number_or_by_its_version() {
    let key = Key::<Data>::make();
    let home = record_place(Suite::Aes256Gcm);
    for (told, seen) in [(None, 9), (Some(0), 0), (Some(9), 9), (Some(u64::MAX), u64::MAX)] {
        let meta = RecordMeta { reports_no: told, ..some_meta(1) };
        let sealed = key.seal_record(&home, &EncodedMeta::new(&meta).unwrap(), b"v");
        let read = key.open_record(&home, &sealed).unwrap().meta;
        assert_eq!((read.reports_no, key.open_meta(&home, &sealed).unwrap().reports_no), (Some(seen), Some(seen)), "{told:?}");
        let header = RecordHeader { version: Version(70), ..some_header(Suite::Aes256Gcm) };
        let anew = Context::record(&STORE, TENANT, COLLECTION, &TOKENS, &header);
        let sealed = key.seal_record(&anew, &EncodedMeta::new(&read).unwrap(), b"v");
        assert_eq!(key.open_record(&anew, &sealed).unwrap().meta.reports_seen(), seen, "{told:?}");
    }
}

/// A client's metadata may be as long as its limit, and a law may keep its record all the same.
#[test]
fn what_a_law_keeps_a_record_for_fits_beside_metadata_of_the_greatest_length() {
    let mut meta = some_meta(0);
    let room = 16_384 - EncodedMeta::new(&meta).unwrap().bytes().len() - 5;
    meta.custom.push((String::new(), "x".repeat(room)));
    let rule = RuleName::parse(&"r".repeat(64)).unwrap();
    meta.governed = Some(Governed { rule: rule.clone(), basis: "g".repeat(512), until: Timestamp(2), rules_no: u32::MAX });
    meta.kept = Some(Kept { rule, basis: "b".repeat(512), until: Timestamp(1), restricted_by: Some(ShredId([7; 16])) });
    meta.rules_no = u32::MAX;
    meta.reports_no = Some(u64::MAX);
    let encoded = EncodedMeta::new(&meta).unwrap();
    assert_eq!(encoded.bytes().len(), EncodedMeta::len_of(&meta));
    assert!(record_meta::decode(encoded.bytes()).unwrap() == meta);
    meta.custom.push((String::new(), String::new()));
    assert!(EncodedMeta::new(&meta).is_err(), "the limit is the client's as before");
}

#[test]
fn metadata_that_crosses_a_chunk_opens_alone() {
    let key = Key::<Data>::make();
    let mut meta = some_meta(65_536);
    let room = 16_384 - EncodedMeta::new(&meta).unwrap().bytes().len() - 5;
    meta.custom.push((String::new(), "x".repeat(room)));
    let encoded = EncodedMeta::new(&meta).unwrap();
    assert_eq!(encoded.bytes().len(), 16_384);
    let context = record_place(Suite::Aes256Gcm);
    let sealed = key.seal_record(&context, &encoded, &some_bytes(65_536));
    assert!(sealed.row_len() < 100_000, "a row must fit every engine");
    assert!(key.open_meta(&context, &sealed).unwrap() == opened(&meta));
    assert!(key.open_record(&context, &sealed).unwrap().meta == opened(&meta));

    meta.custom.push((String::new(), String::new()));
    assert_eq!(EncodedMeta::new(&meta).err(), Some(MetaTooLong));
}

#[test]
fn a_large_value_opens_row_by_row_in_any_order() {
    let key = Key::<Data>::make();
    let context = blob_place();
    for suite in SUITES {
        for len in [0, 1, 16_384, 65_535, 65_536, 65_537, 65_536 + 16_384, 200_000] {
            let value = some_bytes(len);
            let mut writer = BlobWriter::new(&key, &context, suite);
            let rows = seal_rows(&mut writer, &key, &context, &value);
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

#[test]
fn rows_of_a_large_value_are_the_one_message_of_the_specification() {
    let (key, context, value) = (Key::<Data>::make(), blob_place(), some_bytes(150_000));
    for suite in SUITES {
        let mut writer = BlobWriter::new(&key, &context, suite);
        let rows = seal_rows(&mut writer, &key, &context, &value).concat();
        let start = writer.start();
        let message = [&start.salt[..], &start.commit, &rows].concat();
        let opener = cobblestone::Opener::new(suite, key.expose(), context.bytes(), &message).unwrap();
        assert_eq!(*opener.open().unwrap(), value);
    }
}

#[test]
fn a_page_unwraps_to_its_slots() {
    let (parent, id) = (Key::<Branch>::make(), PageId::on_path(TreeId([3; 16]), 1, 70_000));
    let mut slots = PageSlots::make_random();
    let at = SlotIndex::on_path(1, 70_000);
    let before = slots.branch(at);
    slots.refresh(at);
    assert_ne!(before.expose(), slots.branch(at).expose());
    let row = parent.wrap_page(&STORE, &id, Epoch(4), &slots);
    assert_eq!((row.len(), page_epoch(&row).unwrap()), (PAGE_LEN, Epoch(4)));
    let opened = parent.unwrap_page(&STORE, &id, &row).unwrap();
    for place in SlotIndex::all() {
        assert_eq!(opened.unit(place).expose(), slots.unit(place).expose());
        assert_eq!(opened.generation(place), Gen(u32::from(place == at)));
    }
}

#[test]
fn the_path_to_a_slot_is_six_bits_a_level() {
    let number = (1 << 12) | (2 << 6) | 3;
    let tree = TreeId::TENANTS;
    for (level, index, at) in [(0, (1 << 6) | 2, 3), (1, 1, 2), (2, 0, 1), (3, 0, 0), (11, 0, 0), (255, 0, 0)] {
        assert_eq!((PageId::on_path(tree, level, number).index, SlotIndex::on_path(level, number).number()), (index, at), "level {level}");
    }
}

#[test]
fn side_texts_open_under_their_own_kind_of_key() {
    let context = Context::<CollectionMeta>::of(&STORE, TENANT, &[b"a", b"b"]);
    let plaintext = Plaintext::new(b"{}".to_vec());
    for suite in SUITES {
        let key = Key::<Meta>::make();
        let sealed = Sealed::from_row(key.seal(suite, &context, &plaintext).into_row()).unwrap();
        assert_eq!(key.open(&context, &sealed).unwrap().expose(), b"{}");
    }
}

fn any_meta() -> impl Strategy<Value = RecordMeta> {
    let subjects = proptest::collection::vec("[^\0]{1,20}", 0..4);
    let custom = proptest::collection::vec((".{0,20}", ".{0,40}"), 0..4);
    let kept =
        ("[a-z0-9.-]{1,64}", ".{0,60}", any::<i64>(), any::<[u8; 16]>(), any::<bool>()).prop_map(|(rule, basis, until, order, ordered)| {
            // An order of zeros is none.
            let restricted_by = Some(ShredId(order)).filter(|order| ordered && order.0 != [0; 16]);
            RuleName::parse(&rule).map(|rule| Kept { rule, basis, until: Timestamp(until), restricted_by })
        });
    let governed =
        ("[a-z0-9.-]{1,64}", ".{0,60}", any::<i64>(), any::<u32>(), any::<bool>()).prop_map(|(rule, basis, until, rules_no, is_there)| {
            let rule = RuleName::parse(&rule).filter(|_| is_there)?;
            Some(Governed { rule, basis, until: Timestamp(until), rules_no })
        });
    let fixed = (any::<[i64; 2]>(), any::<Option<i64>>(), any::<u64>(), prop_oneof![Just(0), any::<u32>()], any::<Option<u64>>());
    ("[a-z@é]{1,12}(/[a-z]{1,8}){0,3}", ".{0,40}", subjects, fixed, custom, kept, governed).prop_map(
        |(key, content_type, subjects, (times, expires_at, value_len, rules_no, reports_no), custom, kept, governed)| RecordMeta {
            key: RecordKey::parse(&key).unwrap(),
            content_type,
            subjects: subjects.iter().map(|subject| SubjectId::parse(subject).unwrap()).collect(),
            created_at: Timestamp(times[0]),
            modified_at: Timestamp(times[1]),
            expires_at: expires_at.map(Timestamp),
            value_len,
            custom,
            rules_no,
            reports_no,
            kept,
            governed,
        },
    )
}

proptest! {
    #[test]
    fn metadata_decodes_to_what_was_encoded(meta in any_meta()) {
        let encoded = EncodedMeta::new(&meta).unwrap();
        prop_assert!(record_meta::decode(encoded.bytes()).unwrap() == meta);
    }

    /// There is one encoding: whatever decodes, encodes to the same bytes.
    #[test]
    fn no_two_encodings_of_one_metadata(meta in any_meta(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = EncodedMeta::new(&meta).unwrap().bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(other) = record_meta::decode(&bytes) {
            let again = EncodedMeta::new(&other).unwrap();
            prop_assert_eq!(again.bytes(), bytes);
        }
    }

    #[test]
    fn headers_parse_to_what_was_written(number in 0..=Slot::MAX, generation in any::<u32>(), version in any::<u64>(), flags in 0..4_u16) {
        for suite in SUITES {
            let header = RecordHeader { suite, flags, slot: slot(number), generation: Gen(generation), version: Version(version) };
            prop_assert_eq!(RecordHeader::parse(&header.to_bytes()).unwrap(), header);
        }
    }

    #[test]
    fn anything_sealed_opens(bytes in proptest::collection::vec(any::<u8>(), 0..40_000), suite in prop::sample::select(&SUITES)) {
        let (key, context) = (Key::<Data>::make(), Context::<Cursor>::of(&STORE, TENANT, &[]));
        let sealed = key.seal(suite, &context, &Plaintext::new(bytes.clone()));
        prop_assert_eq!(sealed.row_len(), cobblestone::sealed_len(bytes.len()) + 1);
        let opened = key.open(&context, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), bytes);
    }
}
