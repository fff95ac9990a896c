//! Merkle trees of [RFC 6962] section 2.1 over SHA-256: roots, inclusion and consistency proofs.
//!
//! Everything is computed from the hashes of complete subtrees, which a [`Nodes`] gives: a list in memory,
//! or the tiles of a log.
//!
//! [RFC 6962]: https://www.rfc-editor.org/rfc/rfc6962

#![expect(clippy::arithmetic_side_effects, reason = "indices and sizes are halves and differences of a tree's size, which is a u64")]

use crate::vault::crypto::hash::sha256;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// SHA-256(0x00 | leaf).
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

/// SHA-256(0x01 | left | right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// Where hashes of complete subtrees come from.
pub trait Nodes {
    /// What can go wrong.
    type Error;
    /// The hash over the leaves `index << level .. (index + 1) << level`.
    ///
    /// # Errors
    /// What the source says.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// Leaf hashes in memory.
#[derive(Debug, Clone, Copy)]
pub struct Leaves<'a>(pub &'a [Hash]);

/// A hash was asked for that is outside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("outside the tree")]
pub struct Outside;

impl Nodes for Leaves<'_> {
    type Error = Outside;

    fn node(&self, level: u8, index: u64) -> Result<Hash, Outside> {
        let Some(below) = level.checked_sub(1) else {
            return usize::try_from(index).ok().and_then(|index| self.0.get(index)).copied().ok_or(Outside);
        };
        Ok(node_hash(&self.node(below, index * 2)?, &self.node(below, index * 2 + 1)?))
    }
}

/// The hash of the tree's first `size` leaves.
///
/// # Errors
/// The source's.
pub fn root<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { subtree(nodes, 0, size) }
}

/// The hashes that lead from leaf `index` to the root of the first `size` leaves; `index < size`.
///
/// # Errors
/// The source's.
pub fn inclusion_proof<N: Nodes>(nodes: &N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            proof.push(subtree(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(subtree(nodes, low, middle)?);
            low = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The hashes that show that the first `new` leaves begin with the first `old`; `old <= new`.
///
/// # Errors
/// The source's.
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, N::Error> {
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut low, mut high) = (0, new);
    let mut proof = Vec::new();
    while high != old {
        let middle = low + split(high - low);
        if old <= middle {
            proof.push(subtree(nodes, middle, high)?);
            high = middle;
        } else {
            proof.push(subtree(nodes, low, middle)?);
            low = middle;
        }
    }
    if low > 0 {
        proof.push(subtree(nodes, low, high)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether a proof leads from a leaf's hash to the root ([RFC 9162] section 2.1.3.2).
///
/// [RFC 9162]: https://www.rfc-editor.org/rfc/rfc9162
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether a proof shows that a tree grew from an older one ([RFC 9162] section 2.1.4.2).
///
/// [RFC 9162]: https://www.rfc-editor.org/rfc/rfc9162
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let mut path = proof.iter();
    let Some(first) = (if old.is_power_of_two() { Some(old_root) } else { path.next() }) else { return false };
    let trailing = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1).checked_shr(trailing).unwrap_or(0), (new - 1).checked_shr(trailing).unwrap_or(0));
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The hash over `low..high`, where `low` is a multiple of the largest power of two not above `high - low`.
fn subtree<N: Nodes>(nodes: &N, low: u64, high: u64) -> Result<Hash, N::Error> {
    let len = high - low;
    if len.is_power_of_two() {
        let level = len.trailing_zeros();
        return nodes.node(u8::try_from(level).unwrap_or(u8::MAX), low >> level);
    }
    let middle = low + split(len);
    Ok(node_hash(&subtree(nodes, low, middle)?, &subtree(nodes, middle, high)?))
}

/// The largest power of two below `len`, which is at least 2.
fn split(len: u64) -> u64 {
    1 << (len - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962's definition, word for word.
    fn brute(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            len => {
                let mut k = 1;
                while k * 2 < len {
                    k *= 2;
                }
                node_hash(&brute(&leaves[..k]), &brute(&leaves[k..]))
            }
        }
    }

    /// All complete subtrees, hashed once: the proofs of all sizes take a second, not a minute.
    struct Levels(Vec<Vec<Hash>>);

    impl Levels {
        fn of(leaves: &[Hash]) -> Self {
            let mut levels = vec![leaves.to_vec()];
            while levels.last().unwrap().len() > 1 {
                let above = levels.last().unwrap().chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
                levels.push(above);
            }
            Self(levels)
        }
    }

    impl Nodes for Levels {
        type Error = Outside;

        fn node(&self, level: u8, index: u64) -> Result<Hash, Outside> {
            let level = self.0.get(usize::from(level)).ok_or(Outside)?;
            level.get(usize::try_from(index).unwrap()).copied().ok_or(Outside)
        }
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn roots_are_those_of_the_certificate_transparency_vectors() {
        let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let hashes: Vec<Hash> = inputs.iter().map(|input| leaf_hash(&hex::decode(input).unwrap())).collect();
        for (size, expected) in (0..).zip(roots) {
            assert_eq!(hex::encode(root(&Leaves(&hashes), size).unwrap()), expected, "size {size}");
        }
    }

    #[test]
    fn every_inclusion_proof_up_to_300_verifies_against_the_definition() {
        let hashes = leaves(300);
        let nodes = Levels::of(&hashes);
        for size in 1..=300_u64 {
            let expected = brute(&hashes[..usize::try_from(size).unwrap()]);
            assert_eq!((root(&nodes, size).unwrap(), root(&Leaves(&hashes), size).unwrap()), (expected, expected));
            for index in 0..size {
                let proof = inclusion_proof(&nodes, index, size).unwrap();
                let leaf = &hashes[usize::try_from(index).unwrap()];
                assert!(verify_inclusion(leaf, index, size, &proof, &expected), "{index} of {size}");
                assert!(!verify_inclusion(&[9; 32], index, size, &proof, &expected));
                assert!(!verify_inclusion(leaf, (index + 1) % size, size, &proof, &expected) || size == 1);
            }
        }
        assert!(!verify_inclusion(&hashes[0], 1, 1, &[], &hashes[0]));
    }

    #[test]
    fn every_consistency_proof_up_to_300_verifies_and_a_changed_history_does_not() {
        let hashes = leaves(300);
        let nodes = Levels::of(&hashes);
        let roots: Vec<Hash> = (0..=300).map(|size| root(&nodes, size).unwrap()).collect();
        let root_of = |size: u64| &roots[usize::try_from(size).unwrap()];
        for new in 0..=300_u64 {
            for old in 0..=new {
                let proof = consistency_proof(&nodes, old, new).unwrap();
                assert!(verify_consistency(old, root_of(old), new, root_of(new), &proof), "{old} in {new}");
                if old > 0 {
                    assert!(!verify_consistency(old, &[9; 32], new, root_of(new), &proof), "{old} in {new}");
                    assert!(!verify_consistency(old, root_of(old), new, &[9; 32], &proof), "{old} in {new}");
                }
                if old > 0 && old < new {
                    let mut longer = proof.clone();
                    longer.push([9; 32]);
                    assert!(!verify_consistency(old, root_of(old), new, root_of(new), &longer));
                    assert!(!verify_consistency(old, root_of(old), new, root_of(new), &proof[1..]));
                }
            }
        }
        assert!(!verify_consistency(2, &roots[2], 1, &roots[1], &[]));
    }
}
