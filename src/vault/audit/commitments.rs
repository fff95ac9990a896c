//! Salted commitments: a certificate says about a name only what who knows name and salt can check.
//!
//! One salt belongs to an order and is given with its answer. Each commitment has a salt of its own, derived from it,
//! so that one name can be shown without giving the others to guessers.

use serde::{Deserialize, Serialize};

use super::merkle::{self, Hash};
use crate::{
    domain::{Gen, Slot, TenantNo},
    vault::crypto::{
        hash::{self, Purpose},
        random,
    },
};

/// A list of up to this many commitments stands in the certificate; of a longer one its root only.
const MAX_LISTED: usize = 64;

/// What a commitment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// A tenant's name.
    Tenant,
    /// A collection's name.
    Collection,
    /// A subject's id or a record's key.
    Target,
    /// A destroyed key: [`KeyId`].
    KeyId,
}

/// A destroyed key, as a commitment names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyId {
    /// A tenant's secret.
    Tenant(TenantNo, Gen),
    /// A unit's key: its slot, and the generation that the headers of its records carry. `None` where it went with its
    /// tenant's and nobody looked.
    Unit(TenantNo, Slot, Option<Gen>),
}

impl KeyId {
    /// `tenant be64 | generation be32`; of a unit `tenant be64 | slot u48 | generation be32`, `ffffffff` where it is not known.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Tenant(tenant, generation) => [&tenant.to_be_bytes()[..], &generation.to_be_bytes()].concat(),
            Self::Unit(tenant, slot, generation) => {
                let generation = generation.unwrap_or(Gen(u32::MAX));
                [&tenant.to_be_bytes()[..], &slot.to_be_bytes(), &generation.to_be_bytes()].concat()
            }
        }
    }
}

impl Label {
    const fn text(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Collection => "collection",
            Self::Target => "target",
            Self::KeyId => "key-id",
        }
    }
}

/// The salt of one order's commitments. Whoever has it can check guesses.
pub struct Commitments {
    salt: [u8; 32],
}

impl std::fmt::Debug for Commitments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commitments")
    }
}

impl Commitments {
    /// With a fresh salt.
    #[must_use]
    pub fn make() -> Self {
        Self { salt: random::bytes() }
    }

    /// With the salt of an answer.
    #[must_use]
    pub const fn from_salt(salt: [u8; 32]) -> Self {
        Self { salt }
    }

    /// The salt: for the authenticated answer only.
    #[must_use]
    pub const fn danger_salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The salt of one commitment: SHA-256("lethe/v1/commit-salt\0" | L(salt) | L(label) | L(be32 index)).
    #[must_use]
    pub fn salt_of(&self, label: Label, index: u32) -> [u8; 32] {
        hash::of_fields(Purpose::CommitmentSalt, &[&self.salt, label.text().as_bytes(), &index.to_be_bytes()])
    }

    /// The commitment to a value; `index` counts within the label, from 0.
    #[must_use]
    pub fn commit(&self, label: Label, index: u32, value: &[u8]) -> Hash {
        commitment(&self.salt_of(label, index), label, value)
    }

    /// The commitments to a list of values, in its order.
    #[must_use]
    pub fn commit_all<V: AsRef<[u8]>>(&self, label: Label, values: impl IntoIterator<Item = V>) -> CommittedList {
        CommittedList::of((0..).zip(values).map(|(index, value)| self.commit(label, index, value.as_ref())).collect())
    }
}

/// SHA-256("lethe/v1/commitment\0" | L(salt of the commitment) | L(label) | L(value)): what who was shown one name computes.
#[must_use]
pub fn commitment(salt: &[u8; 32], label: Label, value: &[u8]) -> Hash {
    hash::of_fields(Purpose::Commitment, &[salt, label.text().as_bytes(), value])
}

/// Commitments of a certificate: their number and the RFC 6962 root over them; the commitments themselves up to 64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommittedList {
    count: u64,
    #[serde(with = "super::fields::hash")]
    root: Hash,
    #[serde(with = "super::fields::hashes")]
    commitments: Vec<Hash>,
}

impl CommittedList {
    fn of(commitments: Vec<Hash>) -> Self {
        let root = root_of(&commitments);
        let count = u64::try_from(commitments.len()).unwrap_or(u64::MAX);
        Self { count, root, commitments: if commitments.len() > MAX_LISTED { Vec::new() } else { commitments } }
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether the values of an answer are those committed to: all of them, in order.
    #[must_use]
    pub fn opens<V: AsRef<[u8]>>(&self, commitments: &Commitments, label: Label, values: impl IntoIterator<Item = V>) -> bool {
        let opened = commitments.commit_all(label, values);
        opened.count == self.count && opened.root == self.root
    }

    /// Whether one commitment is in a list short enough to stand in the certificate.
    #[must_use]
    pub fn lists(&self, commitment: &Hash) -> bool {
        self.commitments.contains(commitment)
    }

    /// Whether one commitment of a longer list is in it, by its path to the root.
    #[must_use]
    pub fn includes(&self, commitment: &Hash, index: u64, path: &[Hash]) -> bool {
        merkle::verify_inclusion(&merkle::leaf_hash(commitment), index, self.count, path, &self.root)
    }

    /// Count, root and list belong together.
    pub(super) fn is_consistent(&self) -> bool {
        let listed = u64::try_from(self.commitments.len()).unwrap_or(u64::MAX);
        if self.count > MAX_LISTED as u64 { listed == 0 } else { listed == self.count && root_of(&self.commitments) == self.root }
    }
}

fn root_of(commitments: &[Hash]) -> Hash {
    let leaves: Vec<Hash> = commitments.iter().map(|commitment| merkle::leaf_hash(commitment)).collect();
    merkle::root(&merkle::Leaves(&leaves), u64::try_from(leaves.len()).unwrap_or(u64::MAX)).unwrap_or_else(|_| merkle::empty_root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_opens_with_its_salt_label_place_and_value_only() {
        let (ours, theirs) = (Commitments::from_salt([1; 32]), Commitments::from_salt([2; 32]));
        let commitment = ours.commit(Label::Target, 3, b"ann");
        assert_eq!(commitment, ours.commit(Label::Target, 3, b"ann"));
        for other in [
            theirs.commit(Label::Target, 3, b"ann"),
            ours.commit(Label::Tenant, 3, b"ann"),
            ours.commit(Label::Target, 4, b"ann"),
            ours.commit(Label::Target, 3, b"bob"),
        ] {
            assert_ne!(commitment, other);
        }
        assert_eq!(super::commitment(&ours.salt_of(Label::Target, 3), Label::Target, b"ann"), commitment);
        assert_eq!(hex::encode(commitment), "24977545fb3260f55a8be54d3c93e40da21a2cbaf742e59e7bb2653528652d67");
    }

    #[test]
    fn a_key_is_named_as_the_format_says() {
        let slot = Slot::new(77).unwrap();
        let unit = |generation| hex::encode(KeyId::Unit(TenantNo(5), slot, generation).to_bytes());
        assert_eq!(unit(Some(Gen(2))), "000000000000000500000000004d00000002");
        assert_eq!(unit(None), "000000000000000500000000004dffffffff");
        assert_eq!(hex::encode(KeyId::Tenant(TenantNo(5), Gen(0)).to_bytes()), "000000000000000500000000");
        // The example of docs/format.md.
        let commitment = Commitments::from_salt([1; 32]).commit(Label::KeyId, 0, &KeyId::Unit(TenantNo(5), slot, Some(Gen(2))).to_bytes());
        assert_eq!(hex::encode(commitment), "f74db3f4052548a9ff277c29f1d6e805da1620ddf6673174cd90ae08aea4b487");
    }

    #[test]
    fn a_list_opens_with_all_its_values_in_order() {
        let commitments = Commitments::from_salt([1; 32]);
        for count in [0, 1, 2, 64, 65, 1_000] {
            let values: Vec<String> = (0..count).map(|number| format!("subject {number}")).collect();
            let list = commitments.commit_all(Label::Target, &values);
            assert_eq!(list.count(), count);
            assert!(list.is_consistent() && list.opens(&commitments, Label::Target, &values));
            assert!(!list.opens(&commitments, Label::KeyId, &values) || count == 0);
            assert!(!list.opens(&commitments, Label::Target, values.iter().skip(1)) || count == 0);
            assert!(!list.opens(&Commitments::from_salt([2; 32]), Label::Target, &values) || count == 0);
        }
    }

    #[test]
    fn one_value_of_a_long_list_is_shown_by_its_path() {
        let commitments = Commitments::from_salt([1; 32]);
        let hashes: Vec<Hash> = (0..100).map(|index| commitments.commit(Label::Target, index, &index.to_be_bytes())).collect();
        let list = CommittedList::of(hashes.clone());
        let leaves: Vec<Hash> = hashes.iter().map(|hash| merkle::leaf_hash(hash)).collect();
        let path = merkle::inclusion_proof(&merkle::Leaves(&leaves), 70, 100).unwrap();
        assert!(list.includes(&hashes[70], 70, &path) && !list.includes(&hashes[71], 70, &path));
        assert!(!list.lists(&hashes[70]) && CommittedList::of(hashes[..64].to_vec()).lists(&hashes[63]));
    }

    #[test]
    fn lists_that_contradict_themselves_are_noticed() {
        let list = Commitments::from_salt([1; 32]).commit_all(Label::Target, ["a", "b"]);
        let changed = [
            CommittedList { count: 3, ..list.clone() },
            CommittedList { root: [0; 32], ..list.clone() },
            CommittedList { commitments: Vec::new(), ..list.clone() },
            CommittedList { count: 65, ..list },
        ];
        assert!(changed.iter().all(|list| !list.is_consistent()));
    }
}
