//! Checkpoints ([c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint)) and proofs of a leaf against one
//! ([c2sp.org/tlog-proof](https://c2sp.org/tlog-proof)): texts that anyone can check without asking the log.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    merkle::{self, Hash},
    note::{Note, NoteError, Signer, Verifier},
};

/// First line of a proof.
const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree of u64 size is no higher.
const MAX_PROOF_LEN: usize = 63;

/// A log's tree head: its name, number of leaves and root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a checkpoint or proof was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The checkpoint's note.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The signed text is not a checkpoint, or one of another log.
    #[error("not a checkpoint of this log")]
    Checkpoint,
    /// Not a proof in the format of c2sp.org/tlog-proof.
    #[error("malformed proof")]
    Malformed,
    /// The proof does not lead from this leaf to the checkpoint's root.
    #[error("proof does not lead to the checkpoint's root")]
    Proof,
}

impl Checkpoint {
    /// The signed note.
    ///
    /// # Errors
    /// [`NoteError`] if the origin cannot stand in a note.
    pub fn sign(&self, signer: &Signer) -> Result<String, NoteError> {
        signer.sign(&format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root)))
    }

    /// Verifies a note and reads it. The origin must be the key's name.
    ///
    /// # Errors
    /// [`ProofError::Note`] or [`ProofError::Checkpoint`].
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, ProofError> {
        let text = Note::parse(note)?.open(verifier)?;
        let mut lines = text.strip_suffix('\n').ok_or(ProofError::Checkpoint)?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err(ProofError::Checkpoint);
        };
        if origin != verifier.name() {
            return Err(ProofError::Checkpoint);
        }
        let size = decimal(size).ok_or(ProofError::Checkpoint)?;
        let root = hash_line(root).ok_or(ProofError::Checkpoint)?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A leaf's place in a log, with a checkpoint: all that is needed to check it offline, but the leaf and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// The leaf's index.
    pub index: u64,
    /// From the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

impl LogProof {
    /// The text of a `.tlog-proof` file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let hashes: String = self.hashes.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("{PROOF_HEADER}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }

    /// Reads a `.tlog-proof` file; nothing in it is verified yet.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Malformed)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(ProofError::Malformed);
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal).ok_or(ProofError::Malformed)?;
        let hashes = lines.map(hash_line).collect::<Option<Vec<_>>>().ok_or(ProofError::Malformed)?;
        if hashes.len() > MAX_PROOF_LEN {
            return Err(ProofError::Malformed);
        }
        Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that a leaf is in the log: the checkpoint's signature, then the path to its root.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, leaf: &[u8], verifier: &Verifier) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, verifier)?;
        let leaf = merkle::leaf_hash(leaf);
        let leads = merkle::verify_inclusion(&leaf, self.index, checkpoint.size, &self.hashes, &checkpoint.root);
        if leads { Ok(checkpoint) } else { Err(ProofError::Proof) }
    }
}

fn hash_line(line: &str) -> Option<Hash> {
    STANDARD.decode(line).ok()?.try_into().ok()
}

/// A decimal number without sign or leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) { Some(number) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::from_seed("lethe/test", &[3; 32]).unwrap()
    }

    fn proof_of(leaves: &[&[u8]], index: u64) -> LogProof {
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let nodes = merkle::Leaves(&hashes);
        let size = u64::try_from(leaves.len()).unwrap();
        let checkpoint = Checkpoint { origin: "lethe/test".into(), size, root: merkle::root(&nodes, size).unwrap() };
        LogProof { index, hashes: merkle::inclusion_proof(&nodes, index, size).unwrap(), checkpoint: checkpoint.sign(&signer()).unwrap() }
    }

    #[test]
    fn a_proof_survives_its_text_and_convinces_for_its_leaf_only() {
        let leaves: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        for index in 0..5_u64 {
            let text = proof_of(&leaves, index).to_text();
            let proof = LogProof::parse(&text).unwrap();
            assert_eq!(proof, proof_of(&leaves, index));
            let leaf = leaves[usize::try_from(index).unwrap()];
            assert_eq!(proof.verify(leaf, &signer().verifier()).unwrap().size, 5);
            assert_eq!(proof.verify(b"x", &signer().verifier()), Err(ProofError::Proof));
            let with_extra = text.replacen("index", "extra AAAA\nindex", 1);
            assert_eq!(LogProof::parse(&with_extra).unwrap(), proof);
        }
        let other = Signer::from_seed("lethe/test", &[4; 32]).unwrap();
        assert_eq!(proof_of(&leaves, 0).verify(b"a", &other.verifier()), Err(ProofError::Note(NoteError::Unknown)));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused_though_it_is_signed() {
        let root = STANDARD.encode([0; 32]);
        for text in [
            format!("other\n1\n{root}\n"),
            format!("lethe/test\n01\n{root}\n"),
            format!("lethe/test\n+1\n{root}\n"),
            format!("lethe/test\n1\n{root}\nextension\n"),
            "lethe/test\n1\nAAAA\n".to_owned(),
            "lethe/test\n1\n".to_owned(),
        ] {
            let note = signer().sign(&text).unwrap();
            assert_eq!(Checkpoint::open(&note, &signer().verifier()), Err(ProofError::Checkpoint), "{text:?}");
        }
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let text = proof_of(&[b"a", b"b"], 1).to_text();
        for broken in [
            text.replace("@v1", "@v2"),
            text.replace("index 1", "index 01"),
            text.replace("index 1", "1"),
            text.replacen("\n\n", "\n", 1).replacen("\n\n", "\n", 1),
            text.replacen("index 1\n", "index 1\nAAAA\n", 1),
        ] {
            assert_eq!(LogProof::parse(&broken), Err(ProofError::Malformed), "{broken}");
        }
    }
}
