//! Heads of chains at a checkpoint: the row that the control store keeps, and the proof that a tenant gets.
//!
//! The log's leaf is a root over salted commitments, so it tells nobody how many tenants do how much; a tenant gets its
//! head with salt and path, and checks both against the log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    chain::ChainHash,
    checkpoint::{Checkpoint, LogProof, ProofError},
    fields,
    leaf::Leaf,
    merkle::{self, Hash},
    note::Verifier,
};
use crate::{
    domain::{StoreId, TenantNo, Timestamp, WriterId},
    vault::crypto::hash::{self, Purpose},
};

/// Version of the row.
const FORMAT: u8 = 1;

/// The last entry of a chain that a checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// The chain's value after it.
    pub hash: ChainHash,
    /// When it was written: the chain's clock does not go back behind it.
    pub time: Timestamp,
}

/// What the control store keeps of a chain: its head, and how to find it in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadRow {
    pub(super) head: Head,
    /// Entries from this number on are stated as missing; 0 is none.
    pub(super) gap_from: u64,
    pub(super) salt: [u8; 32],
    pub(super) index: u64,
    pub(super) leaf: Leaf,
    pub(super) path: Vec<Hash>,
}

impl HeadRow {
    /// `ver | seq be64 | hash32 | time i64 | gap_from be64 | salt32 | index be64 | leaf time i64 | leaf count be64 | leaf root32 | path 32..`.
    pub(super) fn to_row(&self) -> Bytes {
        let Leaf::Heads { time, count, root } = &self.leaf else { return Bytes::new() };
        let mut row = vec![FORMAT];
        row.extend_from_slice(&self.head.seq.to_be_bytes());
        row.extend_from_slice(&self.head.hash);
        row.extend_from_slice(&self.head.time.0.to_be_bytes());
        row.extend_from_slice(&self.gap_from.to_be_bytes());
        row.extend_from_slice(&self.salt);
        row.extend_from_slice(&self.index.to_be_bytes());
        row.extend_from_slice(&time.0.to_be_bytes());
        row.extend_from_slice(&count.to_be_bytes());
        row.extend_from_slice(root);
        row.extend_from_slice(self.path.as_flattened());
        row.into()
    }

    pub(super) fn parse(row: &[u8]) -> Option<Self> {
        let mut rest = row.strip_prefix(&[FORMAT])?;
        let seq = number(&mut rest)?;
        let hash = take::<32>(&mut rest)?;
        let time = timestamp(&mut rest)?;
        let gap_from = number(&mut rest)?;
        let salt = take::<32>(&mut rest)?;
        let index = number(&mut rest)?;
        let leaf = Leaf::Heads { time: timestamp(&mut rest)?, count: number(&mut rest)?, root: take::<32>(&mut rest)? };
        let (path, torn) = rest.as_chunks::<32>();
        torn.is_empty().then(|| Self { head: Head { seq, hash, time }, gap_from, salt, index, leaf, path: path.to_vec() })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn timestamp(rest: &mut &[u8]) -> Option<Timestamp> {
    take(rest).map(|bytes| Timestamp(i64::from_be_bytes(bytes)))
}

/// The commitment to a head: SHA-256("lethe/v1/audit-head\0" | L(salt) | L(store) | L(tenant) | L(writer) | L(seq) | L(hash)).
pub(super) fn commitment(salt: &[u8; 32], store: &StoreId, tenant: TenantNo, writer: WriterId, head: &Head) -> Hash {
    let fields: [&[u8]; 6] = [salt, &store.0, &tenant.to_be_bytes(), &writer.to_be_bytes(), &head.seq.to_be_bytes(), &head.hash];
    hash::of_fields(Purpose::AuditHead, &fields)
}

/// A tree over commitments.
pub(super) fn leaves(commitments: &[Hash]) -> Vec<Hash> {
    commitments.iter().map(|commitment| merkle::leaf_hash(commitment)).collect()
}

/// A chain's head with all that shows it was in the log at a checkpoint. JSON: hashes in hex, the log's proof as its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenHead {
    /// Whose chain.
    pub writer: u64,
    /// The last entry's number.
    pub seq: u64,
    /// The chain's value after it.
    #[serde(with = "fields::hash")]
    pub hash: ChainHash,
    /// Salt of its commitment.
    #[serde(with = "fields::hash")]
    pub salt: [u8; 32],
    /// Its place among the commitments of the leaf.
    pub index: u64,
    /// From its commitment to the leaf's root.
    #[serde(with = "fields::hashes")]
    pub path: Vec<Hash>,
    /// The log's leaf.
    pub leaf: String,
    /// From the leaf to a signed checkpoint, as a c2sp.org/tlog-proof.
    pub proof: String,
}

impl ProvenHead {
    /// Checks that this head of this tenant's chain is in the log.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, store: &StoreId, tenant: TenantNo, verifier: &Verifier) -> Result<Checkpoint, ProofError> {
        let Some(Leaf::Heads { count, root, .. }) = Leaf::parse(&self.leaf) else { return Err(ProofError::Malformed) };
        let head = Head { seq: self.seq, hash: self.hash, time: Timestamp(0) };
        let commitment = commitment(&self.salt, store, tenant, WriterId(self.writer), &head);
        if !merkle::verify_inclusion(&merkle::leaf_hash(&commitment), self.index, count, &self.path, &root) {
            return Err(ProofError::Proof);
        }
        LogProof::parse(&self.proof)?.verify(self.leaf.as_bytes(), verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_encoding_and_no_torn_one_is_read() {
        let row = HeadRow {
            head: Head { seq: 5, hash: [1; 32], time: Timestamp(77) },
            gap_from: 3,
            salt: [2; 32],
            index: 4,
            leaf: Leaf::Heads { time: Timestamp(78), count: 9, root: [3; 32] },
            path: vec![[4; 32], [5; 32]],
        };
        let bytes = row.to_row();
        assert_eq!(HeadRow::parse(&bytes), Some(row.clone()));
        assert_eq!(HeadRow::parse(&HeadRow { path: vec![], ..row.clone() }.to_row()), Some(HeadRow { path: vec![], ..row }));
        assert_eq!(HeadRow::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(HeadRow::parse(&bytes[..40]), None);
        assert_eq!(HeadRow::parse(&[&[2], &bytes[1..]].concat()), None);
    }
}
