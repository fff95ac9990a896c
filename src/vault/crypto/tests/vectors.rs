//! Our own vectors: fixed inputs, from the custody components down to a record's row, computed anew and held against
//! `tests/vectors/crypto.txt` and against the worked example in `docs/format.md`. A change here is a change of the format.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::*;

const VECTORS: &str = include_str!("../../../../tests/vectors/crypto.txt");
const FORMAT: &str = include_str!("../../../../docs/format.md");

/// Slot i holds 32 bytes i and has generation i.
fn numbered_slots() -> PageSlots {
    let mut bytes = Vec::new();
    for i in 0..64_u8 {
        bytes.extend_from_slice(&[i; 32]);
        bytes.extend_from_slice(&[0, 0, 0, i]);
    }
    PageSlots::from_bytes(bytes.as_slice().try_into().unwrap())
}

struct Vectors(Vec<(&'static str, Vec<u8>)>);

impl Vectors {
    fn add(&mut self, name: &'static str, value: impl AsRef<[u8]>) {
        self.0.push((name, value.as_ref().to_vec()));
    }

    /// The whole value for the vectors, its hash for the document.
    fn add_long(&mut self, name: &'static str, hash_name: &'static str, value: &[u8]) {
        self.add(name, value);
        self.add(hash_name, hash::sha256(&[value]));
    }
}

fn example() -> Vectors {
    let mut v = Vectors(Vec::new());
    let root_id = RootId([0x22; 16]);
    let components = [Zeroizing::new([1; 32]), Zeroizing::new([2; 32])];
    let root = derive_root(&STORE, Epoch(7), &root_id, &components);
    let top = root.derive_top();
    v.add("store_id", STORE.0);
    v.add("root_id", root_id.0);
    v.add("component_1", components[0].as_slice());
    v.add("component_2", components[1].as_slice());
    v.add("root_prk", root.expose());
    v.add("forest_top", top.expose());
    v.add("root_commit", root.commitment());

    let slots = numbered_slots();
    let page = top.wrap_page_with_salt(&STORE, &PageId::on_path(TreeId::TENANTS, 0, 10), Epoch(7), &slots, &[0x44; 24]);
    v.add("tenant_page_header", &page[..80]);
    v.add_long("tenant_page", "tenant_page_sha256", &page);
    let ts = slots.tenant_secret(SlotIndex::on_path(0, 10));
    let sr = slots.branch(SlotIndex::on_path(0, 11));
    v.add("ts", ts.expose());
    v.add("sr", sr.expose());
    let page = sr.wrap_page_with_salt(&STORE, &PageId::on_path(TreeId([0x33; 16]), 0, 77), Epoch(7), &slots, &[0x45; 24]);
    v.add("unit_page_header", &page[..80]);
    v.add_long("unit_page", "unit_page_sha256", &page);
    let (uk, ck) = (slots.unit(SlotIndex::on_path(0, 77)), slots.unit(SlotIndex::on_path(0, 78)));
    v.add("uk", uk.expose());
    v.add("ck", ck.expose());

    keys_and_tokens(&mut v, &ts);
    records(&mut v, &uk, &ck);
    large_value(&mut v, &uk.derive_data(&ck, COLLECTION));
    v
}

fn keys_and_tokens(v: &mut Vectors, ts: &Key<TenantSecret>) {
    let names = ts.derive_names(COLLECTION);
    v.add("names_key", names.expose());
    v.add("collection_names_key", ts.derive_names(CollectionNo::TENANT).expose());
    v.add("subject_index_key", ts.derive_subject_index().expose());
    v.add("blind_index_key", ts.derive_blind_index(COLLECTION, "email").expose());
    v.add("meta_key", ts.derive_meta().expose());
    v.add("key_tokens", names.key_tokens(&some_meta(0).key).as_flattened());
    v.add("subject_token", ts.derive_subject_index().subject_token(&some_meta(0).subjects[0]));
    v.add("collection_token", ts.derive_names(CollectionNo::TENANT).text_token("customers"));
}

fn records(v: &mut Vectors, uk: &Key<Unit>, ck: &Key<Unit>) {
    let tokens = [[0x66; 16], [0x67; 16]];
    let value = br#"{"n":1}"#;
    let data = uk.derive_data(ck, COLLECTION);
    v.add("data_key", data.expose());
    v.add("sole_key", ck.derive_sole(COLLECTION).expose());
    let meta = EncodedMeta::new(&some_meta(value.len())).unwrap();
    v.add("metadata", meta.bytes());
    for (suite, names) in [
        (Suite::Aes256Gcm, ["record_header_1", "record_context_1", "record_row_1"]),
        (Suite::XChaCha20Poly1305, ["record_header_2", "record_context_2", "record_row_2"]),
    ] {
        let header = RecordHeader { suite, flags: 0, slot: slot(77), generation: Gen(13), version: Version(9) };
        let context = Context::record(&STORE, TENANT, COLLECTION, &tokens, &header);
        let sealed = data.seal_record_with_salt(&context, &meta, value, &[0x55; 24]);
        v.add(names[0], header.to_bytes());
        v.add(names[1], context.bytes());
        assert_eq!(data.open_record(&context, &sealed).unwrap().value.expose(), value);
        v.add(names[2], sealed.into_row());
    }
    let context = Context::<CollectionMeta>::of(&STORE, TENANT, &[b"one", b""]);
    let sealed = ck.derive_sole(COLLECTION).seal_with_salt(Suite::Aes256Gcm, &context, &Plaintext::new(b"text".to_vec()), &[0x56; 24]);
    v.add("side_context", context.bytes());
    v.add("side_row", sealed.into_row());
}

fn large_value(v: &mut Vectors, data: &Key<Data>) {
    let upload = UploadId([0x77; 16]);
    let context = Context::blob(&STORE, TENANT, COLLECTION, slot(77), Gen(13), &upload);
    let mut writer = BlobWriter::with_salt(data, &context, Suite::Aes256Gcm, [0x57; 24]);
    let rows = seal_rows(&mut writer, data, &context, &vec![0x2a; ROW_LEN + 1]);
    v.add("blob_context", context.bytes());
    v.add("manifest", Manifest { upload, start: writer.start() }.to_bytes());
    v.add("blob_row_0_sha256", hash::sha256(&[&rows[0]]));
    v.add("blob_row_1", &rows[1]);
}

/// Reads `name = hex` lines; a line that begins with a space goes on with the value before it.
fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    let mut name = "";
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let hex = if let Some(more) = line.strip_prefix(' ') {
            more
        } else {
            let (new, hex) = line.split_once('=').unwrap_or_else(|| panic!("not `name = hex`: {line}"));
            name = new.trim();
            assert!(!found.contains_key(name), "{name} stands twice");
            hex
        };
        found.entry(name).or_default().push_str(hex.trim());
    }
    found
}

fn lines_of(name: &str, value: &[u8]) -> String {
    let hex = hex::encode(value);
    let lines: Vec<&str> = hex.as_bytes().chunks(128).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("{name} = {}", lines.join("\n  "))
}

#[test]
fn the_vectors_are_what_the_code_computes() {
    let stored = parse(VECTORS.lines());
    let computed = example().0;
    for (name, value) in &computed {
        assert_eq!(stored.get(name), Some(&hex::encode(value)), "the code computes\n{}", lines_of(name, value));
    }
    assert_eq!(stored.len(), computed.len(), "a vector that nothing computes");
    assert!(computed.len() > 35);
}

/// The document is not allowed to drift: its worked example is this one, and leaves out only what is too long to print.
#[test]
fn the_worked_example_of_the_format_document_is_what_the_code_computes() {
    let blocks = FORMAT.split("```hex\n").skip(1).map(|block| block.split("```").next().unwrap());
    let text: Vec<&str> = blocks.flat_map(str::lines).collect();
    let shown = parse(text.into_iter());
    let computed = example().0;
    for (name, hex) in &shown {
        let value = computed.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("nothing computes {name}"));
        assert_eq!(*hex, hex::encode(&value.1), "{name}");
    }
    for (name, value) in &computed {
        assert!(value.len() > 400 || shown.contains_key(name), "docs/format.md does not show\n{}", lines_of(name, value));
    }
}

/// Every label of the code stands in the document.
#[test]
fn the_format_document_names_every_label() {
    for label in labels::ALL {
        let text = str::from_utf8(label).unwrap().trim_end_matches('\0');
        let name = text.strip_prefix("lethe/v1/").unwrap();
        assert!(FORMAT.contains(&format!("`{name}`")), "docs/format.md does not name the label `{name}`");
    }
}
