//! Certificates of erasure: what was destroyed, how, and how it was checked, as a signed note that holds no personal data.
//!
//! The fields follow the sample certificate of NIST SP 800-88. Names appear as salted commitments only; who got the
//! salt with the answer to the order can open them ([`Commitments`](super::commitments::Commitments)). A certificate is issued after its checks have
//! passed, never before: [`Certificate::issue`] refuses otherwise.

use serde::{Deserialize, Serialize};

use super::{
    checkpoint::{Checkpoint, LogProof, ProofError},
    commitments::CommittedList,
    fields,
    note::{Note, NoteError, Signer, Verifier},
    tlog::MAX_LEAF_LEN_BYTES,
};
use crate::domain::{Epoch, PrincipalId, ShredId, StoreId, Timestamp};

/// First line of a certificate's text; no checkpoint begins so.
const HEADER: &str = "lethe/v1/certificate";
/// The method, the word of NIST SP 800-88.
const METHOD: &str = "cryptographic-erase";

/// What an order covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A tenant with everything in it.
    Tenant,
    /// A collection.
    Collection,
    /// One or more persons.
    Subject,
    /// One record.
    Record,
}

/// A certificate's content. Field order is part of the format; `docs/format.md` describes each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Of the order to shred and of this certificate.
    #[serde(with = "fields::text")]
    pub id: ShredId,
    /// When it was issued.
    #[serde(with = "fields::time")]
    pub issued_at: Timestamp,
    /// Which deployment: the store's id.
    #[serde(with = "fields::text")]
    pub deployment_id: StoreId,
    /// Always `lethe`.
    pub system: String,
    /// Name and version of the program that destroyed the keys.
    pub tool: String,
    /// Always `logical`: keys and ciphertext, whatever they lie on.
    pub media: String,
    /// What the order covers.
    pub scope: Scope,
    /// Always `erase`.
    pub action: String,
    /// Always `cryptographic-erase`.
    pub method: String,
    /// The ciphers of what was destroyed, for example `AES-256-GCM`.
    pub alg: Vec<String>,
    /// Strength of the keys in bits.
    pub strength_bits: u32,
    /// The tenant's name, committed to.
    #[serde(with = "fields::hash")]
    pub tenant_commitment: [u8; 32],
    /// The collection's name, where the scope is within one.
    #[serde(with = "fields::optional_hash")]
    pub collection_commitment: Option<[u8; 32]>,
    /// What the order names: subjects or record keys.
    pub targets: CommittedList,
    /// The keys that were destroyed: slot and generation.
    pub key_ids: CommittedList,
    /// How much.
    pub totals: Totals,
    /// Categories of the data before, from the collections' policies; after, none is left.
    pub categories_before: Vec<String>,
    /// Always `none`.
    pub confidentiality_after: String,
    /// The epochs that ended the keys, in order.
    pub epochs: Vec<EpochChange>,
    /// What became of copies of the root secret in custody.
    pub copies_destroyed: Vec<CustodyReceipt>,
    /// Backups that hold wrapped keys, and that none of them can be unwrapped.
    pub backups: Vec<Backup>,
    /// When the keys stopped being usable.
    #[serde(with = "fields::time")]
    pub effective_at: Timestamp,
    /// When the last copy in custody was gone.
    #[serde(with = "fields::time")]
    pub final_at: Timestamp,
    /// How it was checked.
    pub verification: Verification,
    /// Whether legal holds were checked when the order was accepted and when it was carried out; `false` where the version
    /// that issued it knows no holds.
    pub holds_checked: bool,
    /// Who performed and who approved, and which policy asked for that.
    pub approval: Approval,
    /// What the law keeps.
    pub exceptions_retained: Vec<Exception>,
    /// Processors that were told.
    pub subprocessors_notified: Vec<String>,
    /// Where unreadable ciphertext still lies, and when it goes.
    pub residual_ciphertext: Vec<Residual>,
    /// What is claimed, and no more.
    pub statement: String,
}

/// Counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Shred units destroyed.
    pub units: u64,
    /// Collections touched.
    pub collections: u64,
    /// Records deleted, not shredded: their collection's unit lives on.
    pub records_deleted: u64,
    /// Records kept that name the subject second.
    pub records_kept: u64,
}

/// One epoch: commitments to the roots before and after, and the page that replaced the old root's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochChange {
    /// Before.
    #[serde(with = "fields::epoch")]
    pub old: Epoch,
    /// After.
    #[serde(with = "fields::epoch")]
    pub new: Epoch,
    /// `C_e`, of the destroyed root.
    #[serde(with = "fields::hash")]
    pub old_root_commitment: [u8; 32],
    /// `C_(e+1)`, of the new root.
    #[serde(with = "fields::hash")]
    pub new_root_commitment: [u8; 32],
    /// SHA-256 of the new root page.
    #[serde(with = "fields::hash")]
    pub root_page_hash: [u8; 32],
    /// SHA-256 of all pages that the epoch wrote.
    #[serde(with = "fields::hash")]
    pub delta_hash: [u8; 32],
}

/// What one custody says about the destruction of an old root component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustodyReceipt {
    /// The epoch whose component it was.
    #[serde(with = "fields::epoch")]
    pub epoch: Epoch,
    /// Kind of custody, for example `file`.
    pub kind: String,
    /// Level it reaches on its medium.
    pub level: String,
    /// When it could no longer be used.
    #[serde(with = "fields::time")]
    pub effective_at: Timestamp,
    /// When it was gone.
    #[serde(with = "fields::time")]
    pub final_at: Timestamp,
    /// How that was done and seen.
    pub evidence: String,
}

/// Copies of the stores made before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Which, without names.
    pub id: String,
    /// Whether wrapped keys of the target are in it.
    pub contains_wrapped_keys: bool,
    /// Whether anything that still exists unwraps them.
    pub unwrap_possible: bool,
}

/// Objects read before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// How many were drawn.
    pub sample_size: u64,
    /// Seed of the draw, in hex.
    pub seed: String,
    /// How many opened before.
    pub readable_before: u64,
    /// How many open after: none, or no certificate is issued.
    pub readable_after: u64,
}

/// Who did it; ids are pseudonyms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// `single` or `two-person`.
    pub policy: ApprovalPolicy,
    /// Who ordered it.
    #[serde(with = "fields::text")]
    pub performed_by: PrincipalId,
    /// Who approved it, where the policy asks for a second person.
    #[serde(with = "fields::optional_text")]
    pub approved_by: Option<PrincipalId>,
}

/// How many persons a shred takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalPolicy {
    /// One.
    Single,
    /// A second one approves.
    TwoPerson,
}

/// Data that stays by law.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Which rule.
    pub basis: String,
    /// Until when.
    #[serde(with = "fields::time")]
    pub until: Timestamp,
}

/// Unreadable ciphertext that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Where, without names: for example `data store`.
    pub location: String,
    /// When it is removed at the latest, or `null` where no schedule reaches it (backups in other hands).
    #[serde(with = "fields::optional_time")]
    pub removal_by: Option<Timestamp>,
}

/// Why a certificate was not issued or not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The checks that must come first did not pass.
    #[error("verification has not passed")]
    NotVerified,
    /// Two persons are asked for, and there are not two.
    #[error("a second person has not approved")]
    NotApproved,
    /// No epoch or no custody receipt: nothing was destroyed.
    #[error("nothing was destroyed")]
    NothingDestroyed,
    /// It would not fit a leaf of the log.
    #[error("certificate is over 65,535 bytes")]
    TooLong,
    /// Its note does not verify.
    #[error("certificate: {0}")]
    Note(#[from] NoteError),
    /// The signed text is not a certificate, or a fixed field does not hold its fixed value.
    #[error("not a certificate of this format")]
    Format,
    /// It is not in the log that the proof speaks of.
    #[error("certificate is not in the log: {0}")]
    Log(#[from] ProofError),
}

/// The sentence that may be claimed, for what the custodies said.
#[must_use]
pub fn statement(receipts: &[CustodyReceipt]) -> String {
    let mut custody: Vec<String> = receipts.iter().map(|receipt| format!("{}, {}", receipt.kind, receipt.level)).collect();
    custody.sort();
    custody.dedup();
    format!("cryptographic erasure following the principles of NIST SP 800-88; custody: {}", custody.join("; "))
}

impl Certificate {
    /// Checks that it may be issued, and signs it. The same certificate gives the same note.
    ///
    /// # Errors
    /// [`CertificateError`] says what is missing.
    pub fn issue(&self, signer: &Signer) -> Result<String, CertificateError> {
        self.check()?;
        let body = serde_json::to_string_pretty(self).map_err(|_| CertificateError::Format)?;
        let note = signer.sign(&format!("{HEADER}\n{body}\n"))?;
        if note.len() > MAX_LEAF_LEN_BYTES { Err(CertificateError::TooLong) } else { Ok(note) }
    }

    /// Verifies a certificate's note and reads it.
    ///
    /// # Errors
    /// [`CertificateError::Note`] or [`CertificateError::Format`], or what [`Certificate::issue`] would have refused.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, CertificateError> {
        let text = Note::parse(note)?.open(verifier)?;
        let body = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or(CertificateError::Format)?;
        let certificate: Self = serde_json::from_str(body).map_err(|_| CertificateError::Format)?;
        certificate.check()?;
        Ok(certificate)
    }

    fn check(&self) -> Result<(), CertificateError> {
        let fixed = [
            (&self.system, "lethe"),
            (&self.media, "logical"),
            (&self.action, "erase"),
            (&self.method, METHOD),
            (&self.confidentiality_after, "none"),
        ];
        if fixed.iter().any(|(is, must)| is != must)
            || self.statement != statement(&self.copies_destroyed)
            || !self.targets.is_consistent()
            || !self.key_ids.is_consistent()
        {
            return Err(CertificateError::Format);
        }
        if self.epochs.is_empty() || self.copies_destroyed.is_empty() {
            return Err(CertificateError::NothingDestroyed);
        }
        let verification = &self.verification;
        if verification.readable_after != 0 || verification.readable_before != verification.sample_size {
            return Err(CertificateError::NotVerified);
        }
        if self.backups.iter().any(|backup| backup.unwrap_possible) {
            return Err(CertificateError::NotVerified);
        }
        match (self.approval.policy, self.approval.approved_by) {
            (ApprovalPolicy::Single, _) => Ok(()),
            (ApprovalPolicy::TwoPerson, Some(approver)) if approver != self.approval.performed_by => Ok(()),
            (ApprovalPolicy::TwoPerson, _) => Err(CertificateError::NotApproved),
        }
    }
}

/// Checks a certificate offline: its signature, its format, and that it is in the log of the checkpoint. The store's one key
/// signs both.
///
/// # Errors
/// [`CertificateError`].
pub fn verify_certificate(note: &str, proof: &LogProof, verifier: &Verifier) -> Result<(Certificate, Checkpoint), CertificateError> {
    let certificate = Certificate::open(note, verifier)?;
    let checkpoint = proof.verify(note.as_bytes(), verifier)?;
    Ok((certificate, checkpoint))
}

#[cfg(test)]
pub(super) mod tests;
