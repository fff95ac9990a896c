//! Every key of a store that is at rest: a reader of its own, written from docs/format.md, sections 2 to 7.

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

struct Reader {
    store_id: [u8; 16],
    pages: HashMap<Page, Vec<u8>>,
    keys: Keys,
    /// Leaf slots of unit trees, by tenant and slot.
    units: BTreeMap<(u64, u64), Key>,
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
    let pages = control.iter().filter(|row| row.value.starts_with(b"LKP1")).map(|row| {
        let key = &row.key[row.key.len() - 25..];
        ((key[..16].try_into().unwrap(), key[16], u64::from_be_bytes(key[17..].try_into().unwrap())), row.value.to_vec())
    });
    let mut reader = Reader {
        store_id: store_id.try_into().unwrap(),
        pages: pages.collect(),
        keys: Keys::new(),
        units: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let salt = [b"lethe/v1/root\0", store_id, epoch, root_id].concat();
    let (prk, _) = Hkdf::<Sha256>::extract(Some(&salt), &[&[0, 32], component].concat());
    let top: Key = expand(&prk, b"lethe/v1/forest-top\0");
    reader.keep("the custody component", component);
    reader.keep("the root", &prk);
    reader.keep("the top key", &top);
    reader.tree([0; 16], &top);
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
    fn page(&self, page: Page, parent: &Key) -> Option<Vec<Key>> {
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
        Some(slots.chunks(36).map(|slot| slot[..32].try_into().unwrap()).collect())
    }

    /// Walks a tree from its top; whether `top` is its top key.
    fn tree(&mut self, tree: [u8; 16], top: &Key) -> bool {
        let Some(height) = self.pages.keys().filter(|page| page.0 == tree).map(|page| page.1).max() else { return false };
        let mut found = false;
        let mut queue = vec![((tree, height, 0), *top)];
        while let Some((page, key)) = queue.pop() {
            let Some(slots) = self.page(page, &key) else { continue };
            found = true;
            for (at, slot) in (0_u64..).zip(&slots) {
                let number = page.2 << 6 | at;
                match (page.1, tree == [0; 16]) {
                    (0, true) => self.tenant(number, slot),
                    (0, false) => {}
                    (level, _) => queue.push(((tree, level - 1, number), *slot)),
                }
                self.keep(format!("slot {number} at level {} of tree {}", page.1, hex::encode(&tree[..4])), slot);
            }
        }
        found
    }

    /// An entry of the tenant tree: a secret, or the top key of a unit tree.
    fn tenant(&mut self, number: u64, slot: &Key) {
        let tenant = number >> 1;
        if number & 1 == 0 {
            self.secrets.insert(tenant, *slot);
            return;
        }
        let mut trees: Vec<[u8; 16]> = self.pages.keys().map(|page| page.0).filter(|tree| *tree != [0; 16]).collect();
        trees.sort_unstable();
        trees.dedup();
        let Some(tree) = trees.into_iter().find(|tree| self.tree(*tree, slot)) else { return };
        let name = format!(" at level 0 of tree {}", hex::encode(&tree[..4]));
        let leaves = self.keys.iter().filter_map(|(of, key)| Some((of.strip_suffix(&name)?.strip_prefix("slot ")?.parse().unwrap(), *key)));
        let leaves: Vec<(u64, Key)> = leaves.collect();
        self.units.extend(leaves.into_iter().map(|(slot, key)| ((tenant, slot), key)));
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

    /// Opens a record under suite 1; its first chunk is enough here.
    fn record(&mut self, key: &[u8], row: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
        let (tenant, collection, tokens) = (&key[..8], &key[8..12], &key[12..]);
        let (header, message) = row.split_at_checked(22)?;
        assert_eq!(header[1], 1, "this reader knows suite 1");
        if message.is_empty() {
            // A tombstone.
            return None;
        }
        let number = u64::from_be_bytes(tenant.try_into().unwrap());
        let slot = u64::from_be_bytes([&[0, 0], &header[4..10]].concat().try_into().unwrap());
        let unit = *self.units.get(&(number, slot))?;
        let tokens_len = u32::try_from(tokens.len()).unwrap().to_be_bytes();
        let context = [b"lethe/v1/rec\0", &self.store_id[..], tenant, collection, &tokens_len, tokens, header].concat();
        let info = [b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0", &message[..24], &context].concat();
        // Which unit is the collection's own is not looked up: the commitment tells.
        let of_tenant: Vec<Key> = self.units.range((number, 0)..(number + 1, 0)).map(|(_, key)| *key).collect();
        for collections_own in of_tenant {
            let salt = x(&collections_own, "collection-salt", &[collection]);
            let (prk, _) = Hkdf::<Sha256>::extract(Some(&salt), &unit);
            let data = x(&prk, "dek", &[collection]);
            let mut material = [0; 76];
            Hkdf::<Sha512>::from_prk(&[&data[..], &[0; 32]].concat()).unwrap().expand(&info, &mut material).unwrap();
            if material[44..] != message[24..56] {
                continue;
            }
            let chunk = &message[56..message.len().min(56 + 16_400)];
            let cipher = Aes256Gcm::new(material[..32].try_into().unwrap());
            let plain = cipher.decrypt(material[32..44].try_into().unwrap(), chunk).unwrap();
            let row = hex::encode(&key[key.len() - 4..]);
            let names =
                ["the unit's key", "the extracted key", "the data key", "the message key"].map(|what| format!("{what} of record {row}"));
            for (name, key) in names.iter().zip([&unit[..], &prk, &data, &material[..32]]) {
                self.keep(name, key);
            }
            return Some((plain, names.to_vec()));
        }
        None
    }
}
