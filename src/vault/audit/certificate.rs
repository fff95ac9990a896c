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
    merkle::{self, Hash},
    note::{Note, NoteError, Signer, Verifier},
    tlog::MAX_LEAF_LEN_BYTES,
};
use crate::{
    domain::{Epoch, PrincipalId, ShredId, StoreId, Timestamp},
    vault::keys::EpochRecord,
};

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
    /// All of a tenant but what legal holds are on and laws keep: of its secret and the keys of that, nothing is claimed.
    Rest,
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
    /// The keys that were destroyed, by epoch, then by slot.
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
    /// Where unreadable ciphertext may still lie, and what of it a key still opens that the law keeps.
    pub residual_ciphertext: Vec<Residual>,
    /// What is claimed, and no more.
    pub statement: String,
    /// What was too long to stand above in full; absent where everything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beyond: Option<Beyond>,
}

/// Lists of which the certificate gives a part: a leaf of the log has 65,535 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beyond {
    /// Of `categories_before`.
    pub categories: Option<Whole>,
    /// Of `epochs`.
    pub epochs: Option<Whole>,
    /// Of `copies_destroyed`.
    pub copies: Option<Whole>,
}

/// A whole list: how long it is, and the RFC 6962 root over its items, each a leaf's input as `docs/format.md` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// Its length.
    pub count: u64,
    /// The root over it.
    #[serde(with = "fields::hash")]
    pub root: Hash,
}

/// Counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Shred units destroyed.
    pub units: u64,
    /// Collections touched.
    pub collections: u64,
    /// Records deleted, not shredded: their key lives on, for it is the collection's, or seals what the law keeps.
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

impl EpochChange {
    /// What is public of an epoch.
    #[must_use]
    pub const fn of(record: &EpochRecord) -> Self {
        Self {
            old: record.old_epoch,
            new: record.new_epoch,
            old_root_commitment: record.old_commitment,
            new_root_commitment: record.new_commitment,
            root_page_hash: record.root_page_hash,
            delta_hash: record.delta_hash,
        }
    }
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
    /// Rows that the draw met and that did not open before: damaged, they show nothing. Absent where there were none.
    #[serde(default, skip_serializing_if = "is_none_of_them")]
    pub unreadable_before: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_none_of_them(count: &u64) -> bool {
    *count == 0
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

/// Ciphertext that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Where, without names: for example `data store`.
    pub location: String,
    /// By when it is promised to be removed; `null` where no date is: the server removes in the background what lies in its own
    /// data store, and nothing in copies that others hold. Of what a key opens that the law keeps, when that law ends, as far as it is
    /// known: by then it is unreadable, unless a longer law or a legal hold has come.
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

/// Items of a list that a certificate gives; of receipts also the first of each further kind and level.
const LISTED_CATEGORIES: usize = 64;
const LISTED_EPOCHS: usize = 32;
const LISTED_COPIES: usize = 32;
/// Bytes of the categories as JSON texts.
const CATEGORIES_LEN: usize = 8_192;

impl EpochChange {
    fn leaf(&self) -> Hash {
        let [old, new] = [self.old, self.new].map(Epoch::to_be_bytes);
        let hashes = [self.old_root_commitment, self.new_root_commitment, self.root_page_hash, self.delta_hash];
        merkle::leaf_hash(&[&old[..], &new, hashes.as_flattened()].concat())
    }
}

impl CustodyReceipt {
    fn leaf(&self) -> Hash {
        let len = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut input = self.epoch.to_be_bytes().to_vec();
        for text in [&self.kind, &self.level] {
            input.extend_from_slice(&len(text));
            input.extend_from_slice(text.as_bytes());
        }
        input.extend_from_slice(&self.effective_at.0.to_be_bytes());
        input.extend_from_slice(&self.final_at.0.to_be_bytes());
        input.extend_from_slice(&len(&self.evidence));
        input.extend_from_slice(self.evidence.as_bytes());
        merkle::leaf_hash(&input)
    }
}

impl Whole {
    fn of(leaves: &[Hash]) -> Self {
        let count = u64::try_from(leaves.len()).unwrap_or(u64::MAX);
        Self { count, root: merkle::root(&merkle::Leaves(leaves), count).unwrap_or_else(|_| merkle::empty_root()) }
    }

    /// Whether a list is the whole of which this speaks.
    #[must_use]
    pub fn is_of(&self, leaves: &[Hash]) -> bool {
        *self == Self::of(leaves)
    }
}

/// Leaves `keep` items of a list that is longer, and says what it was.
fn cut<T>(list: &mut Vec<T>, keep: impl Fn(usize, &T) -> bool, leaf: impl Fn(&T) -> Hash) -> Option<Whole> {
    let kept: Vec<bool> = list.iter().enumerate().map(|(place, item)| keep(place, item)).collect();
    if kept.iter().all(|kept| *kept) {
        return None;
    }
    let whole = Whole::of(&list.iter().map(leaf).collect::<Vec<_>>());
    let mut kept = kept.into_iter();
    list.retain(|_| kept.next().unwrap_or(false));
    Some(whole)
}

impl Certificate {
    /// Gives of its long lists what fits a leaf of the log, and of the rest count and root.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        let mut room = CATEGORIES_LEN;
        let texts: Vec<usize> =
            self.categories_before.iter().map(|text| serde_json::to_string(text).map_or(usize::MAX, |text| text.len())).collect();
        let fitting = texts.iter().take_while(|len| room.checked_sub(**len).inspect(|left| room = *left).is_some()).count();
        let categories =
            cut(&mut self.categories_before, |place, _| place < fitting.min(LISTED_CATEGORIES), |text| merkle::leaf_hash(text.as_bytes()));
        let epochs = cut(&mut self.epochs, |place, _| place < LISTED_EPOCHS, EpochChange::leaf);
        let mut levels = Vec::new();
        let firsts: Vec<bool> = self
            .copies_destroyed
            .iter()
            .map(|copy| {
                let level = (copy.kind.clone(), copy.level.clone());
                let is_first = !levels.contains(&level);
                if is_first {
                    levels.push(level);
                }
                is_first
            })
            .collect();
        let copies =
            cut(&mut self.copies_destroyed, |place, _| place < LISTED_COPIES || firsts.get(place) == Some(&true), CustodyReceipt::leaf);
        if categories.is_some() || epochs.is_some() || copies.is_some() {
            self.beyond = Some(Beyond { categories, epochs, copies });
        }
        self
    }

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
        if let Some(Beyond { categories, epochs, copies }) = &self.beyond {
            let lists = [(categories, self.categories_before.len()), (epochs, self.epochs.len()), (copies, self.copies_destroyed.len())];
            let is_longer = |(whole, listed): &(&Option<Whole>, usize)| {
                whole.as_ref().is_none_or(|whole| usize::try_from(whole.count).is_ok_and(|count| count > *listed))
            };
            if lists.iter().all(|(whole, _)| whole.is_none()) || !lists.iter().all(is_longer) {
                return Err(CertificateError::Format);
            }
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
