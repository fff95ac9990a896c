//! The seals of control rows.
//!
//! `stored = row | tag`, `tag = HMAC-SHA-256(K, be32(length of the key) | key | row)[..16]` ([RFC 2104], section 5),
//! `K = X(TS of tenant 0, "blind-index", 0, "control-row")`. The key is that of the place where the row lies, and its tag that of
//! the table: a row in the place of another is none. Nothing here tells that a row is missing, or is an older one of its own place.
//!
//! K is the system tenant's because a token, and an order, outlive their tenant. It keeps rows whole and hides nothing, so it may
//! stay in memory for as long as the process lives, and no shred ends it.
//!
//! [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{ControlRow, decode, encode};
use crate::{
    domain::CollectionNo,
    vault::{
        crypto::{Key, OpenError, OpenReason, TenantSecret},
        ops::VaultError,
        store::{Space, StoreError, Write},
    },
};

/// Bytes of a tag.
const TAG_LEN: usize = 16;

/// An HMAC that has taken its key: checking a row borrows none. hmac and sha2 wipe it on drop (their features `zeroize`).
pub(in crate::vault) struct Seals(Box<Hmac<Sha256>>);

impl Seals {
    /// Takes its key from the system tenant's secret.
    pub(in crate::vault) fn new(system: &Key<TenantSecret>) -> Self {
        let key = system.derive_blind_index(CollectionNo::TENANT, "control-row");
        Self(Box::new(Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of every length")))
    }

    /// A row as it is stored under `key`.
    pub(in crate::vault) fn seal<R: ControlRow>(&self, key: &[u8], row: &R) -> Result<Bytes, StoreError> {
        let mut stored = encode(row, R::NAME)?;
        let tag = self.mac(key, &stored).finalize().into_bytes();
        stored.extend(tag.into_iter().take(TAG_LEN));
        Ok(stored.into())
    }

    /// What writes a row to the control store.
    pub(in crate::vault) fn put<R: ControlRow>(&self, key: Bytes, row: &R) -> Result<Write, StoreError> {
        Ok(Write::Put { space: Space::Control, value: self.seal(&key, row)?, key })
    }

    /// The row that is stored under `key`.
    ///
    /// # Errors
    /// [`VaultError::Internal`], counted, if it is not one that this store wrote there.
    pub(in crate::vault) fn open<R: ControlRow>(&self, key: &[u8], stored: &[u8]) -> Result<R, VaultError> {
        Ok(decode(self.sealed(key, stored, R::NAME)?, R::NAME)?)
    }

    /// Whether what is stored under `key` is a row that this store wrote there, of whatever kind.
    ///
    /// # Errors
    /// [`VaultError::Internal`], counted, if it is not.
    pub(in crate::vault) fn check(&self, key: &[u8], stored: &[u8]) -> Result<(), VaultError> {
        self.sealed(key, stored, "control").map(drop)
    }

    fn sealed<'a>(&self, key: &[u8], stored: &'a [u8], name: &'static str) -> Result<&'a [u8], VaultError> {
        let (row, tag) = stored.split_last_chunk::<TAG_LEN>().ok_or_else(|| refused(OpenReason::Framing, name))?;
        self.mac(key, row).verify_truncated_left(tag).map_err(|_| refused(OpenReason::Tag, name))?;
        Ok(row)
    }

    fn mac(&self, key: &[u8], row: &[u8]) -> Hmac<Sha256> {
        let len = u32::try_from(key.len()).expect("no key is longer than KEY_LEN_MAX");
        let mut mac = self.0.as_ref().clone();
        for part in [&len.to_be_bytes()[..], key, row] {
            mac.update(part);
        }
        mac
    }
}

fn refused(reason: OpenReason, name: &'static str) -> VaultError {
    OpenError::from(reason).counted();
    VaultError::Internal(format!("a {name} row is not as this store wrote it"))
}
