//! Every key of a store that is at rest: a reader of its own, written from docs/format.md, sections 2 to 7 and 11 to 15. The
//! engine gives it the rows; what they are it tells by their tags.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    sync::Arc,
};

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use chacha20poly1305::XChaCha20Poly1305;
use hkdf::Hkdf;
use lethe::{
    domain::SystemClock,
    vault::store::{
        Space, Store as _,
        embedded::{Embedded, EmbeddedOptions},
    },
};
use sha2::{Sha256, Sha512};

pub(super) type Key = [u8; 32];

/// Keys by what they are.
pub(super) type Keys = BTreeMap<String, Key>;

/// What a copy of a store gives away to who holds its custody.
pub(super) struct Opened {
    pub(super) keys: Keys,
    /// The plaintext of each record, and the names of the keys it hangs on.
    pub(super) records: Vec<(Vec<u8>, Vec<String>)>,
}

/// Tree, level, index.
type Page = ([u8; 16], u8, u64);

/// Tags of section 14.
const ROOT_PTR: u8 = 2;
const PAGE: u8 = 3;
const TREE: u8 = 4;
const COLLECTION: u8 = 8;

struct Reader {
    store_id: [u8; 16],
    pages: HashMap<Page, Vec<u8>>,
    /// Tree and height, by tenant.
    trees: BTreeMap<u64, ([u8; 16], u8)>,
    /// Slot of the collection's own unit, by tenant and collection.
    collections: BTreeMap<(u64, u32), u64>,
    keys: Keys,
    /// Leaf slots of unit trees with their generations, by tenant and slot.
    units: BTreeMap<(u64, u64), (Key, u32)>,
    secrets: BTreeMap<u64, Key>,
}

/// Opens everything in a copy.
pub(super) async fn open(dir: &Path) -> Opened {
    let custody = fs::read(dir.join("store-custody/root")).unwrap();
    let held: Vec<&[u8]> = custody.chunks(4_096).filter(|slot| slot[4] == 1).collect();
    assert_eq!(held.len(), 1, "a store at rest has one root");
    let (store_id, epoch, root_id, component) = (&held[0][8..24], &held[0][24..32], &held[0][32..48], &held[0][56..88]);

    let options = EmbeddedOptions {
        block_cache_bytes: 1 << 20,
        reserve_bytes: 0,
        ..EmbeddedOptions::new(dir.join("store"), dir.join("store-mirror"))
    };
    let store = Embedded::open(options, Arc::new(SystemClock)).unwrap();
    let control = store.scan(Space::Control, &[], &[0xff; 32], usize::MAX).await.unwrap();
    let records = store.scan(Space::Records, &[], &[0xff; 32], usize::MAX).await.unwrap();
    store.close();
    let table = |tag: u8| control.iter().filter_map(move |row| Some((row.key.strip_prefix(&[tag])?, &row.value[..])));
    let (_, root) = table(ROOT_PTR).next().unwrap();
    assert!(root.starts_with(b"LRP1") && root[4..12] == *epoch && root[12..28] == *root_id, "custody and root pointer name one root");
    let height = root[92];
    let pages = table(PAGE).map(|(key, row)| ((key[..16].try_into().unwrap(), key[16], number(&key[17..])), row.to_vec()));
    let trees = table(TREE).map(|(key, row)| (number(key), (row[4..20].try_into().unwrap(), row[20])));
    let collections = table(COLLECTION).map(|(key, row)| {
        let collection = u32::from_be_bytes(key[8..].try_into().unwrap());
        ((number(&key[..8]), collection), own_slot(row))
    });
    let mut reader = Reader {
        store_id: store_id.try_into().unwrap(),
        pages: pages.collect(),
        trees: trees.collect(),
        collections: collections.collect(),
        keys: Keys::new(),
        units: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let salt = [b"lethe/v1/root\0", store_id, epoch, root_id].concat();
    let (prk, _) = Hkdf::<Sha256>::extract(Some(&salt), &[&[0, 32], component].concat());
    let top: Key = expand(&prk, b"lethe/v1/forest-top\0");
    assert_eq!(root[28..60], expand::<32>(&prk, b"lethe/v1/root-commit\0"));
    reader.keep("the custody component", component);
    reader.keep("the root", &prk);
    reader.keep("the top key", &top);
    assert!(reader.tree(None, [0; 16], height, &top));
    assert!(reader.units.len() >= 64 && reader.secrets.len() >= 2);
    reader.derive();
    let opened = records.iter().filter_map(|row| reader.record(&row.key, &row.value)).collect();
    Opened { keys: reader.keys, records: opened }
}

fn expand<const N: usize>(prk: &[u8], info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand(info, &mut out).unwrap();
    out
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().unwrap())
}

/// The slot of a collection's own unit: section 15.
fn own_slot(row: &[u8]) -> u64 {
    let fields = row.strip_prefix(&[1]).unwrap();
    // A state has an order's id behind it from 2 on.
    let fields = &fields[if fields[0] < 2 { 1 } else { 17 }..];
    let mut slot = 0;
    for (at, byte) in fields.iter().enumerate() {
        slot |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    slot
}

/// X of section 1.
fn x(secret: &[u8], label: &str, fields: &[&[u8]]) -> Key {
    let mut info = format!("lethe/v1/{label}\0").into_bytes();
    for field in fields {
        info.extend_from_slice(&u16::try_from(field.len()).unwrap().to_be_bytes());
        info.extend_from_slice(field);
    }
    expand(secret, &info)
}

impl Reader {
    fn keep(&mut self, name: impl Into<String>, key: &[u8]) {
        self.keys.insert(name.into(), key.try_into().unwrap());
    }

    /// A page's slots, if `parent` is the key above it.
    fn page(&self, page: Page, parent: &Key) -> Option<Vec<(Key, u32)>> {
        let (tree, level, index) = page;
        let row = self.pages.get(&page)?;
        let info = [b"lethe/v1/page\0", &self.store_id[..], &tree, &[level], &index.to_be_bytes(), &row[8..16], &row[24..48]].concat();
        let material: [u8; 76] = expand(parent, &info);
        if material[44..] != row[48..80] {
            return None;
        }
        let cipher = Aes256Gcm::new(material[..32].try_into().unwrap());
        let payload = Payload { msg: &row[80..], aad: &row[..80] };
        let slots = cipher.decrypt(material[32..44].try_into().unwrap(), payload).unwrap();
        let slot = |slot: &[u8]| (slot[..32].try_into().unwrap(), u32::from_be_bytes(slot[32..].try_into().unwrap()) & 0x7fff_ffff);
        Some(slots.chunks(36).map(slot).collect())
    }

    /// Walks a tree from its top, a tenant's unless it is the tenant tree; whether `top` is its top key.
    fn tree(&mut self, tenant: Option<u64>, tree: [u8; 16], height: u8, top: &Key) -> bool {
        let mut found = false;
        let mut queue = vec![((tree, height - 1, 0), *top)];
        while let Some((page, key)) = queue.pop() {
            // A page is there once something lies below it.
            let Some(slots) = self.page(page, &key) else { continue };
            found = true;
            for (at, (key, generation)) in (0_u64..).zip(&slots) {
                let number = page.2 << 6 | at;
                match (page.1, tenant) {
                    (0, None) => self.tenant(number, key),
                    (0, Some(tenant)) => drop(self.units.insert((tenant, number), (*key, *generation))),
                    (level, _) => queue.push(((tree, level - 1, number), *key)),
                }
                self.keep(format!("slot {number} at level {} of tree {}", page.1, hex::encode(&tree[..4])), key);
            }
        }
        found
    }

    /// An entry of the tenant tree: a secret, or the top key of a unit tree.
    fn tenant(&mut self, number: u64, slot: &Key) {
        let tenant = number >> 1;
        if number & 1 == 0 {
            self.secrets.insert(tenant, *slot);
        } else if let Some((tree, height)) = self.trees.get(&tenant).copied() {
            // After its shred its pages open no more.
            self.tree(Some(tenant), tree, height, slot);
        }
    }

    /// What hangs on tenants' secrets; tenants that were never made have a slot, too.
    fn derive(&mut self) {
        let tenants: Vec<u64> = self.units.keys().map(|(tenant, _)| *tenant).collect();
        for (tenant, secret) in self.secrets.clone() {
            if !tenants.contains(&tenant) {
                continue;
            }
            self.keep(format!("the metadata key of tenant {tenant}"), &x(&secret, "meta", &[]));
            self.keep(format!("the subjects' index key of tenant {tenant}"), &x(&secret, "subject-index", &[]));
            for collection in 0_u32..4 {
                self.keep(format!("names key {collection} of tenant {tenant}"), &x(&secret, "name", &[&collection.to_be_bytes()]));
            }
        }
    }

    /// Opens a record; its first chunk is enough here.
    fn record(&mut self, key: &[u8], row: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
        let (tenant, collection, tokens) = (&key[..8], &key[8..12], &key[12..]);
        let (header, message) = row.split_at_checked(22)?;
        if message.is_empty() {
            // A tombstone.
            return None;
        }
        let owner = number(tenant);
        let slot = number(&[&[0, 0], &header[4..10]].concat());
        let (unit, generation) = *self.units.get(&(owner, slot))?;
        if generation != u32::from_be_bytes(header[10..14].try_into().unwrap()) {
            // Shredded.
            return None;
        }
        let own = self.collections[&(owner, u32::from_be_bytes(collection.try_into().unwrap()))];
        let (collections_own, _) = self.units[&(owner, own)];
        let tokens_len = u32::try_from(tokens.len()).unwrap().to_be_bytes();
        let context = [b"lethe/v1/rec\0", &self.store_id[..], tenant, collection, &tokens_len, tokens, header].concat();
        let salt = x(&collections_own, "collection-salt", &[collection]);
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&salt), &unit);
        let data = x(&prk, "dek", &[collection]);
        let (aead, nonce_len) = match header[1] {
            1 => ("AES_256_GCM", 12),
            2 => ("XCHACHA20_POLY1305", 24),
            other => panic!("suite {other}"),
        };
        let info = [b"c2sp.org/chunked-encryption@v1+AEAD_", aead.as_bytes(), &[0], &message[..24], &context].concat();
        let mut material = vec![0; 64 + nonce_len];
        Hkdf::<Sha512>::from_prk(&[&data[..], &[0; 32]].concat()).unwrap().expand(&info, &mut material).unwrap();
        let ((material, commitment), chunk) = (material.split_at(32 + nonce_len), &message[56..message.len().min(56 + 16_400)]);
        assert!(*commitment == message[24..56], "the tables name the keys of a record");
        let (message_key, nonce) = material.split_at(32);
        let row = hex::encode(&key[key.len() - 4..]);
        let mut named = vec![("the unit's key", unit), ("the extracted key", prk.into()), ("the data key", data)];
        named.push(("the message key", message_key.try_into().unwrap()));
        let plain = if nonce_len == 12 {
            Aes256Gcm::new(message_key.try_into().unwrap()).decrypt(nonce.try_into().unwrap(), chunk).unwrap()
        } else {
            // Of every chunk: their numbers are in the nonce's other half.
            named.push(("the subkey of HChaCha20", hchacha20(message_key.try_into().unwrap(), nonce[..16].try_into().unwrap())));
            XChaCha20Poly1305::new(message_key.try_into().unwrap()).decrypt(nonce.try_into().unwrap(), chunk).unwrap()
        };
        let names: Vec<String> = named.iter().map(|(what, _)| format!("{what} of record {row}")).collect();
        for (name, (_, key)) in names.iter().zip(&named) {
            self.keep(name, key);
        }
        Some((plain, names))
    }
}

/// draft-irtf-cfrg-xchacha-03, section 2.2.
fn hchacha20(key: &Key, nonce: &[u8; 16]) -> Key {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().unwrap());
    let mut state: [u32; 16] = std::array::from_fn(|at| match at {
        0..4 => word(b"expand 32-byte k", at),
        4..12 => word(key, at - 4),
        _ => word(nonce, at - 12),
    });
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        for at in 0..4 {
            quarter(at, at + 4, at + 8, at + 12);
        }
        for at in 0..4 {
            quarter(at, (at + 1) % 4 + 4, (at + 2) % 4 + 8, (at + 3) % 4 + 12);
        }
    }
    let words = [&state[..4], &state[12..]].concat();
    words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>().try_into().unwrap()
}

/// draft-irtf-cfrg-xchacha-03, section 2.2.1.
#[test]
fn the_subkey_is_that_of_the_draft() {
    let key: Key = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let nonce = hex::decode("000000090000004a0000000031415927").unwrap();
    let subkey = hchacha20(&key, &nonce.try_into().unwrap());
    assert_eq!(hex::encode(subkey), "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc");
}
