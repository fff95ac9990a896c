//! SHA-256: over parts that the caller cannot cut differently, and over labelled fields for public commitments.

use sha2::{Digest, Sha256};

use super::labels;

/// What a public hash of fields is for; each has its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The start of an audit chain.
    AuditChain,
    /// The commitment to a chain's head in the log.
    AuditHead,
    /// A salted commitment in a certificate.
    Commitment,
    /// The salt of one commitment, from the certificate's.
    CommitmentSalt,
    /// What a request for approval asks for.
    Approval,
    /// The running hash over the frames of a bundle.
    Bundle,
    /// The commitment to what a frame of a bundle holds that is sealed for a counsel or an auditor.
    SealedFrame,
}

/// SHA-256(label | L(field)..), L = be32 length prefix.
///
/// # Panics
/// If a field is 4 GiB long, which none is.
#[must_use]
pub fn of_fields(purpose: Purpose, fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(match purpose {
        Purpose::AuditChain => labels::AUDIT_CHAIN,
        Purpose::AuditHead => labels::AUDIT_HEAD,
        Purpose::Commitment => labels::COMMITMENT,
        Purpose::CommitmentSalt => labels::COMMITMENT_SALT,
        Purpose::Approval => labels::APPROVAL,
        Purpose::Bundle => labels::BUNDLE,
        Purpose::SealedFrame => labels::SEALED_FRAME,
    });
    for field in fields {
        hash.update(u32::try_from(field.len()).expect("fields are names and numbers, far below 4 GiB").to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// SHA-256 ([FIPS 180-4]) of the concatenation of `parts`.
///
/// [FIPS 180-4]: https://csrc.nist.gov/pubs/fips/180-4/upd1/final
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
