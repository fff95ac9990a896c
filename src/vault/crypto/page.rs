//! Pages of the key forest: 64 slot keys, wrapped under the slot key above them.
//!
//! ```text
//! "LKP1" | suite u8 = 1 | level u8 | log2cap u8 = 6 | flags u8 = 0 | epoch be64 | index be64 | salt24 | commit32
//!   | AES-256-GCM ciphertext of 64 x (key32 | gen be32) | tag16         the 80 bytes before the ciphertext are its AAD
//! key32 | nonce12 | commit32 = HKDF-Expand-SHA-256(parent, label | store_id | tree_id | level | index | epoch | salt24, 76)
//! ```

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::domain::{Epoch, Gen, StoreId, TreeId};

use super::{
    OpenError, OpenReason,
    kdf::expand,
    key::{Branch, Key, Role, TenantSecret, Unit},
    labels, random,
};

/// Slots of a page.
pub const FANOUT: usize = 64;
/// Length of a wrapped page.
pub const PAGE_LEN: usize = HEADER_LEN + SLOTS_LEN + TAG_LEN;

const MAGIC: [u8; 4] = *b"LKP1";
const SUITE: u8 = 1;
const LOG2_FANOUT: u8 = 6;
const SALT_LEN: usize = 24;
const COMMIT_LEN: usize = 32;
const PUBLIC_LEN: usize = 24 + SALT_LEN;
const HEADER_LEN: usize = PUBLIC_LEN + COMMIT_LEN;
const SLOT_LEN: usize = 36;
/// Bytes of a page in the clear.
pub const SLOTS_LEN: usize = FANOUT * SLOT_LEN;
const TAG_LEN: usize = 16;
/// The top bit of a stored generation is kept for leases.
const GEN_MASK: u32 = 0x7fff_ffff;
/// The generation of an entry below which nothing is any more. No slot is re-keyed that often.
const SEVERED: u32 = GEN_MASK;

/// Where a page stands: in which tree, how far above the leaves (0), and which of its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId {
    /// The tree.
    pub tree: TreeId,
    /// 0 is the leaf.
    pub level: u8,
    /// `slot >> 6 (level + 1)`.
    pub index: u64,
}

impl PageId {
    /// The page of `level` on the path to a leaf slot.
    #[must_use]
    pub fn on_path(tree: TreeId, level: u8, slot: u64) -> Self {
        Self { tree, level, index: slots_above(level.saturating_add(1), slot) }
    }

    /// The bytes of its row's key: `tree_id16 | level u8 | index be64`.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 25] {
        let TreeId([t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, ta, tb, tc, td, te, tf]) = self.tree;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.index.to_be_bytes();
        [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, ta, tb, tc, td, te, tf, self.level, i0, i1, i2, i3, i4, i5, i6, i7]
    }
}

/// A place in a page: 0 to 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotIndex(u8);

impl SlotIndex {
    /// The place, in the page of `level`, on the path to a leaf slot.
    #[must_use]
    pub fn on_path(level: u8, slot: u64) -> Self {
        Self((slots_above(level, slot) & 63) as u8)
    }

    /// All places of a page, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..64).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// `slot >> 6 level`; 0 above the tree.
fn slots_above(level: u8, slot: u64) -> u64 {
    slot.checked_shr(u32::from(level).saturating_mul(6)).unwrap_or(0)
}

fn slot_of(bytes: &[u8; SLOTS_LEN], at: SlotIndex) -> &[u8; SLOT_LEN] {
    bytes.as_chunks().0.get(usize::from(at.0)).expect("a SlotIndex is below 64")
}

fn key_of<R: Role>(slot: &[u8; SLOT_LEN]) -> Key<R> {
    Key::from_slice(slot.first_chunk().expect("a slot of 36 bytes begins with 32"))
}

/// A page's slots in the clear: boxed, wiped on drop.
pub struct PageSlots {
    bytes: Box<[u8; SLOTS_LEN]>,
}

impl PageSlots {
    /// A page whose slots are all fresh random keys of generation 0.
    pub(in crate::vault) fn make_random() -> Self {
        let mut page = Self::zeroed();
        random::fill(page.bytes.as_mut_slice());
        for slot in page.bytes.as_chunks_mut::<SLOT_LEN>().0 {
            let [.., g0, g1, g2, g3] = slot;
            [*g0, *g1, *g2, *g3] = [0; 4];
        }
        page
    }

    /// How often a slot has been re-keyed.
    pub(in crate::vault) fn generation(&self, at: SlotIndex) -> Gen {
        Self::generation_in(&self.bytes, at)
    }

    /// The same of a page's bytes.
    pub(in crate::vault) fn generation_in(bytes: &[u8; SLOTS_LEN], at: SlotIndex) -> Gen {
        let [.., g0, g1, g2, g3] = *slot_of(bytes, at);
        Gen(u32::from_be_bytes([g0, g1, g2, g3]) & GEN_MASK)
    }

    /// A slot of a page's bytes as a shred unit's key.
    pub(in crate::vault) fn unit_in(bytes: &[u8; SLOTS_LEN], at: SlotIndex) -> (Gen, Key<Unit>) {
        (Self::generation_in(bytes, at), key_of(slot_of(bytes, at)))
    }

    /// All of it, to be held where it is wiped: 64 times a key of 32 bytes and its generation, big-endian.
    pub(in crate::vault) fn expose(&self) -> &[u8; SLOTS_LEN] {
        &self.bytes
    }

    /// The slot as the key of the page below it.
    pub(in crate::vault) fn branch(&self, at: SlotIndex) -> Key<Branch> {
        self.key(at)
    }

    /// The slot as a shred unit's key.
    pub(in crate::vault) fn unit(&self, at: SlotIndex) -> Key<Unit> {
        self.key(at)
    }

    /// The slot as a tenant's secret.
    pub(in crate::vault) fn tenant_secret(&self, at: SlotIndex) -> Key<TenantSecret> {
        self.key(at)
    }

    /// Puts a fresh random key into the slot and counts its generation up.
    pub(in crate::vault) fn refresh(&mut self, at: SlotIndex) {
        let next = if self.is_severed(at) { SEVERED } else { self.generation(at).0.saturating_add(1).min(SEVERED.saturating_sub(1)) };
        let slot = self.slot_mut(at);
        random::fill(slot);
        let [.., g0, g1, g2, g3] = slot;
        [*g0, *g1, *g2, *g3] = next.to_be_bytes();
    }

    /// Puts a fresh random key into the slot for good: nothing is below it any more, and nothing will be.
    pub(in crate::vault) fn sever(&mut self, at: SlotIndex) {
        let slot = self.slot_mut(at);
        random::fill(slot);
        let [.., g0, g1, g2, g3] = slot;
        [*g0, *g1, *g2, *g3] = SEVERED.to_be_bytes();
    }

    /// Whether the slot was severed.
    pub(in crate::vault) fn is_severed(&self, at: SlotIndex) -> bool {
        self.generation(at).0 == SEVERED
    }

    /// Puts a key that was made elsewhere into the slot: for tests that plant one.
    #[cfg(test)]
    pub(in crate::vault) fn set_branch(&mut self, at: SlotIndex, key: &Key<Branch>) {
        let next = self.generation(at).0.saturating_add(1).min(GEN_MASK);
        let slot = self.slot_mut(at);
        if let Some((own, generation)) = slot.split_first_chunk_mut::<32>() {
            own.copy_from_slice(key.expose());
            generation.copy_from_slice(&next.to_be_bytes());
        }
    }

    /// A page with these slots, for vectors.
    #[cfg(test)]
    pub(super) fn from_bytes(bytes: &[u8; SLOTS_LEN]) -> Self {
        Self { bytes: Box::new(*bytes) }
    }

    fn zeroed() -> Self {
        Self { bytes: Box::new([0; SLOTS_LEN]) }
    }

    fn key<R: Role>(&self, at: SlotIndex) -> Key<R> {
        key_of(slot_of(&self.bytes, at))
    }

    fn slot_mut(&mut self, at: SlotIndex) -> &mut [u8; SLOT_LEN] {
        self.bytes.as_chunks_mut().0.get_mut(usize::from(at.0)).expect("a SlotIndex is below 64")
    }
}

impl Drop for PageSlots {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl ZeroizeOnDrop for PageSlots {}

impl Key<Branch> {
    /// Wraps a page under a fresh salt.
    pub(in crate::vault) fn wrap_page(&self, store: &StoreId, id: &PageId, epoch: Epoch, slots: &PageSlots) -> Vec<u8> {
        self.wrap_page_with_salt(store, id, epoch, slots, &random::bytes())
    }

    pub(super) fn wrap_page_with_salt(
        &self,
        store: &StoreId,
        id: &PageId,
        epoch: Epoch,
        slots: &PageSlots,
        salt: &[u8; SALT_LEN],
    ) -> Vec<u8> {
        let material = Material::derive(self, store, id, epoch, salt);
        let mut row = Vec::with_capacity(PAGE_LEN);
        row.extend_from_slice(&MAGIC);
        row.extend_from_slice(&[SUITE, id.level, LOG2_FANOUT, 0]);
        row.extend_from_slice(&epoch.to_be_bytes());
        row.extend_from_slice(&id.index.to_be_bytes());
        row.extend_from_slice(salt);
        row.extend_from_slice(material.commit());
        // The row is as long as it will ever be: the slots are wrapped where they lie, and no copy stays behind.
        row.extend_from_slice(slots.bytes.as_slice());
        let (header, body) = row.split_at_mut(HEADER_LEN);
        let tag = material.cipher().encrypt_inout_detached(material.nonce(), header, body.into()).expect("a page is far below GCM's limit");
        row.extend_from_slice(&tag);
        row
    }

    /// Unwraps a page; its epoch is taken from its header, which is bound.
    ///
    /// # Errors
    /// [`OpenError`] if it is not this page, under this key, unchanged.
    pub(in crate::vault) fn unwrap_page(&self, store: &StoreId, id: &PageId, row: &[u8]) -> Result<PageSlots, OpenError> {
        let page = Wrapped::parse(row)?;
        if (page.level, page.index) != (id.level, id.index) {
            return Err(OpenReason::Framing.into());
        }
        let material = Material::derive(self, store, id, page.epoch, page.salt);
        if !bool::from(material.commit().ct_eq(page.commit)) {
            return Err(OpenReason::Commitment.into());
        }
        let mut slots = PageSlots::zeroed();
        let buffer = InOutBuf::new(page.ciphertext, slots.bytes.as_mut_slice()).map_err(|_| OpenReason::Framing)?;
        material.cipher().decrypt_inout_detached(material.nonce(), page.header, buffer, page.tag.into()).map_err(|_| OpenReason::Tag)?;
        Ok(slots)
    }
}

/// The epoch a wrapped page was written in; trusted only once the page has been unwrapped.
///
/// # Errors
/// [`OpenError`] if the row is no page.
pub fn page_epoch(row: &[u8]) -> Result<Epoch, OpenError> {
    Ok(Wrapped::parse(row)?.epoch)
}

/// A wrapped page cut into its parts.
struct Wrapped<'a> {
    header: &'a [u8],
    level: u8,
    epoch: Epoch,
    index: u64,
    salt: &'a [u8; SALT_LEN],
    commit: &'a [u8; COMMIT_LEN],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_LEN],
}

impl<'a> Wrapped<'a> {
    fn parse(row: &'a [u8]) -> Result<Self, OpenReason> {
        if row.len() != PAGE_LEN {
            return Err(OpenReason::Framing);
        }
        let (header, _) = row.split_at_checked(HEADER_LEN).ok_or(OpenReason::Framing)?;
        let (magic, rest) = row.split_first_chunk::<4>().ok_or(OpenReason::Framing)?;
        let (&[suite, level, log2cap, flags], rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (epoch, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (index, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (salt, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (commit, rest) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or(OpenReason::Framing)?;
        if *magic != MAGIC || suite != SUITE {
            return Err(OpenReason::Suite);
        }
        if log2cap != LOG2_FANOUT || flags != 0 {
            return Err(OpenReason::Framing);
        }
        let (epoch, index) = (Epoch(u64::from_be_bytes(*epoch)), u64::from_be_bytes(*index));
        Ok(Self { header, level, epoch, index, salt, commit, ciphertext, tag })
    }
}

/// What a page is wrapped with: key, nonce and commitment, wiped on drop.
struct Material(Zeroizing<[u8; 76]>);

impl Material {
    fn derive(parent: &Key<Branch>, store: &StoreId, id: &PageId, epoch: Epoch, salt: &[u8; SALT_LEN]) -> Self {
        let mut out = Zeroizing::new([0; 76]);
        let info: [&[u8]; 7] = [labels::PAGE, &store.0, &id.tree.0, &[id.level], &id.index.to_be_bytes(), &epoch.to_be_bytes(), salt];
        expand(parent.expose(), &info, out.as_mut_slice());
        Self(out)
    }

    fn cipher(&self) -> Aes256Gcm {
        let key: &[u8; 32] = self.0.first_chunk().expect("76 bytes begin with 32");
        Aes256Gcm::new(key.into())
    }

    fn nonce(&self) -> &aes_gcm::Nonce<aes_gcm::aead::consts::U12> {
        let nonce: &[u8; 12] = self.0.as_slice().get(32..44).and_then(|nonce| nonce.try_into().ok()).expect("76 bytes hold 44");
        nonce.into()
    }

    fn commit(&self) -> &[u8; COMMIT_LEN] {
        self.0.last_chunk().expect("76 bytes end with 32")
    }
}
