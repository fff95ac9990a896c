//! Derivation: the root from custody, and everything below the unit that can be shredded.
//!
//! `X(secret, label, ctx.., L) = HKDF-Expand-SHA-256(secret, label | be16(len) | ctx .., L)`, [RFC 5869]. Slot keys between
//! the root and a unit are random, never derived: what is derived lives as long as its source.
//!
//! [RFC 5869]: https://www.rfc-editor.org/rfc/rfc5869

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::domain::{CollectionNo, Epoch, RootId, StoreId};

use super::{
    key::{Branch, Data, Key, Meta, Name, Role, Root, TenantSecret, Unit},
    labels,
};

/// A collection's part of its data keys.
pub(in crate::vault) struct CollectionSalt {
    salt: Key<Unit>,
    number: CollectionNo,
}

/// HKDF-Expand-SHA-256 of a 32-byte secret; at most 255 x 32 bytes.
pub(super) fn expand(secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    let hkdf = Hkdf::<Sha256>::from_prk(secret).expect("32 bytes are SHA-256's output length");
    hkdf.expand_multi_info(info, out).expect("no derivation asks for more than 255 blocks");
}

/// X of the module's head, as a key; of at most two fields.
fn x<R: Role, const N: usize>(secret: &[u8; 32], label: &[u8], fields: [&[u8]; N]) -> Key<R> {
    const { assert!(N <= 2) };
    let lens = fields.map(|field| u16::try_from(field.len()).expect("fields are numbers and names of fields, below 64 KiB").to_be_bytes());
    // What is empty adds nothing.
    let mut info: [&[u8]; 5] = [label, &[], &[], &[], &[]];
    for (place, part) in info.iter_mut().skip(1).zip(lens.iter().zip(fields).flat_map(|(len, field)| [len.as_slice(), field])) {
        *place = part;
    }
    Key::fill_with(|key| expand(secret, &info, key))
}

/// `PRK_e = HKDF-Extract-SHA-256(salt = label | store_id | be64(epoch) | root_id16, ikm = be16(|c1|) | c1 ..)`.
pub(in crate::vault) fn derive_root(store: &StoreId, epoch: Epoch, root: &RootId, components: &[Zeroizing<[u8; 32]>]) -> Key<Root> {
    let salt = [labels::ROOT, &store.0, &epoch.to_be_bytes(), &root.0].concat();
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(&salt));
    for component in components {
        extract.input_ikm(&32_u16.to_be_bytes());
        extract.input_ikm(component.as_slice());
    }
    let (prk, _) = extract.finalize();
    let prk = Zeroizing::new(<[u8; 32]>::from(prk));
    Key::from_slice(&prk)
}

impl Key<Root> {
    /// The tenant tree's top key.
    pub(in crate::vault) fn derive_top(&self) -> Key<Branch> {
        Key::fill_with(|key| expand(self.expose(), &[labels::FOREST_TOP], key))
    }

    /// The root's public commitment `C_e`.
    pub(in crate::vault) fn commitment(&self) -> [u8; 32] {
        let mut commitment = [0; 32];
        expand(self.expose(), &[labels::ROOT_COMMIT], &mut commitment);
        commitment
    }
}

impl Key<TenantSecret> {
    /// `X(TS, "name", collection_no)`: names of records; of collections under [`CollectionNo::TENANT`].
    pub(in crate::vault) fn derive_names(&self, collection: CollectionNo) -> Key<Name> {
        x(self.expose(), labels::NAME, [&collection.to_be_bytes()])
    }

    /// `X(TS, "subject-index")`.
    pub(in crate::vault) fn derive_subject_index(&self) -> Key<Name> {
        x(self.expose(), labels::SUBJECT_INDEX, [])
    }

    /// `X(TS, "blind-index", collection_no, field)`.
    pub(in crate::vault) fn derive_blind_index(&self, collection: CollectionNo, field: &str) -> Key<Name> {
        x(self.expose(), labels::BLIND_INDEX, [&collection.to_be_bytes(), field.as_bytes()])
    }

    /// `X(TS, "meta")`.
    pub(in crate::vault) fn derive_meta(&self) -> Key<Meta> {
        x(self.expose(), labels::META, [])
    }
}

impl Key<Unit> {
    /// The data key of this unit in a collection, of the unit's key UK and the collection's own unit CK:
    /// `X(HKDF-Extract-SHA-256(salt = X(CK, "collection-salt", collection_no), ikm = UK), "dek", collection_no)`.
    /// So either one's shred ends it.
    pub(in crate::vault) fn derive_data(&self, collection: &Self, number: CollectionNo) -> Key<Data> {
        self.derive_data_with(&collection.derive_salt(number))
    }

    /// The same, where the collection's part is at hand.
    pub(in crate::vault) fn derive_data_with(&self, CollectionSalt { salt, number }: &CollectionSalt) -> Key<Data> {
        // HKDF-Extract is an HMAC under the salt; the library's would key the expansion as well, which `x` does.
        let mut extract = Hmac::<Sha256>::new_from_slice(salt.expose()).expect("HMAC takes keys of every length");
        extract.update(self.expose());
        let prk = Zeroizing::new(<[u8; 32]>::from(extract.finalize().into_bytes()));
        x(&prk, labels::DEK, [&number.to_be_bytes()])
    }

    /// What a collection's own unit, this one, brings to the data keys of all units in it: derived once for many of them.
    pub(in crate::vault) fn derive_salt(&self, number: CollectionNo) -> CollectionSalt {
        CollectionSalt { salt: x(self.expose(), labels::COLLECTION_SALT, [&number.to_be_bytes()]), number }
    }

    /// `X(UK, "dek", collection_no)`: what hangs on this unit alone: a collection's name and policy, audit trails, side texts.
    pub(in crate::vault) fn derive_sole(&self, number: CollectionNo) -> Key<Data> {
        x(self.expose(), labels::DEK, [&number.to_be_bytes()])
    }
}
