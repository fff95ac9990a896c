//! C2SP signed notes ([c2sp.org/signed-note](https://c2sp.org/signed-note)) with Ed25519 keys.
//!
//! A note is a text and signatures over it; certificates and checkpoints are notes. Nothing of a note's text
//! is used before a signature of a known key was verified: [`Note::open`] is the only way to the text.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::vault::crypto::{hash, random};

/// Longest note that is read.
const MAX_NOTE_LEN_BYTES: usize = 1 << 20;
/// Most signature lines that are read; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;
/// Signature type of Ed25519 in key ids and key texts.
const ED25519: u8 = 1;

/// Why a note or a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a note: no blank line, no newline at the end, control characters, too long.
    #[error("malformed note")]
    Malformed,
    /// A key name is empty or holds a space or `+`.
    #[error("key name must not be empty nor hold spaces or '+'")]
    KeyName,
    /// A key's text is not `name+id+base64`, or its id is not that of the key.
    #[error("malformed key")]
    Key,
    /// No signature is by the expected key.
    #[error("note is not signed by the expected key")]
    Unknown,
    /// A signature by the expected key is wrong.
    #[error("signature does not verify")]
    Signature,
}

/// A key that checks notes: a name and an Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl Verifier {
    /// A verifier from its name and public key.
    ///
    /// # Errors
    /// [`NoteError::KeyName`], or [`NoteError::Key`] if the bytes are no point of the curve.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, NoteError> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| NoteError::Key)?;
        Ok(Self { name: checked_name(name)?.to_owned(), id: key_id(name, public), key })
    }

    /// Reads `<name>+<hex id>+<base64 of 0x01 | public key>`, the text that the Go tools use too.
    ///
    /// # Errors
    /// [`NoteError::Key`] or [`NoteError::KeyName`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, key) = split_key(text.trim())?;
        let verifier = Self::new(name, &key_bytes(&key)?)?;
        if verifier.id == id { Ok(verifier) } else { Err(NoteError::Key) }
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name | 0x0A | 0x01 | public key).
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id, STANDARD.encode([&[ED25519], self.key.as_bytes().as_slice()].concat()))
    }
}

/// A key that signs notes.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// A fresh random key.
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    pub fn make(name: &str) -> Result<Self, NoteError> {
        let seed = Zeroizing::new(random::bytes::<32>());
        Self::from_seed(name, &seed)
    }

    /// The key of a 32-byte Ed25519 seed ([RFC 8032]).
    ///
    /// # Errors
    /// [`NoteError::KeyName`].
    ///
    /// [RFC 8032]: https://www.rfc-editor.org/rfc/rfc8032
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        Ok(Self { name: checked_name(name)?.to_owned(), key: SigningKey::from_bytes(seed) })
    }

    /// Reads `PRIVATE+KEY+<name>+<hex id>+<base64 of 0x01 | seed>`.
    ///
    /// # Errors
    /// [`NoteError::Key`] or [`NoteError::KeyName`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, id, key) = split_key(text.trim().strip_prefix("PRIVATE+KEY+").ok_or(NoteError::Key)?)?;
        let signer = Self::from_seed(name, &Zeroizing::new(key_bytes(&key)?))?;
        if signer.verifier().id == id { Ok(signer) } else { Err(NoteError::Key) }
    }

    /// The secret text that [`Signer::parse`] reads: for a file that only its owner may read.
    #[must_use]
    pub fn danger_to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new([&[ED25519], self.key.as_bytes().as_slice()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*key));
        Zeroizing::new(format!("PRIVATE+KEY+{}+{:08x}+{}\n", self.name, self.verifier().id, *encoded))
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let key = self.key.verifying_key();
        Verifier { name: self.name.clone(), id: key_id(&self.name, key.as_bytes()), key }
    }

    /// Signs a text; the same text gives the same note.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if the text does not end with a newline, or holds other control characters.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed);
        }
        let mut bytes = self.verifier().id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        Ok(format!("{text}\n\u{2014} {} {}\n", self.name, STANDARD.encode(&bytes)))
    }
}

/// A parsed note whose text is not to be trusted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    signatures: Vec<(&'a str, u32, Vec<u8>)>,
}

impl<'a> Note<'a> {
    /// Splits a note at its last empty line.
    ///
    /// # Errors
    /// [`NoteError::Malformed`].
    pub fn parse(note: &'a str) -> Result<Self, NoteError> {
        check_text(note)?;
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, rest) = note.split_at(at.saturating_add(1));
        let lines = rest.strip_prefix('\n').and_then(|rest| rest.strip_suffix('\n')).ok_or(NoteError::Malformed)?;
        let signatures = lines.split('\n').map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES { Err(NoteError::Malformed) } else { Ok(Self { text, signatures }) }
    }

    /// The text, with its final newline, if a signature of this key verifies and none of it fails.
    ///
    /// # Errors
    /// [`NoteError::Unknown`] or [`NoteError::Signature`].
    pub fn open(&self, verifier: &Verifier) -> Result<&'a str, NoteError> {
        let mut trusted = false;
        for (name, id, signature) in &self.signatures {
            if *name == verifier.name && *id == verifier.id {
                let signature = Signature::from_slice(signature).map_err(|_| NoteError::Signature)?;
                verifier.key.verify_strict(self.text.as_bytes(), &signature).map_err(|_| NoteError::Signature)?;
                trusted = true;
            }
        }
        if trusted { Ok(self.text) } else { Err(NoteError::Unknown) }
    }
}

fn parse_signature(line: &str) -> Result<(&str, u32, Vec<u8>), NoteError> {
    let (name, encoded) = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' ')).ok_or(NoteError::Malformed)?;
    checked_name(name).map_err(|_| NoteError::Malformed)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed)?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
    if signature.is_empty() { Err(NoteError::Malformed) } else { Ok((name, u32::from_be_bytes(*id), signature.to_vec())) }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let allowed = text.len() <= MAX_NOTE_LEN_BYTES && text.bytes().all(|byte| byte >= 0x20 || byte == b'\n');
    if allowed { Ok(()) } else { Err(NoteError::Malformed) }
}

fn checked_name(name: &str) -> Result<&str, NoteError> {
    let refused = name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == '+' || c < ' ');
    if refused { Err(NoteError::KeyName) } else { Ok(name) }
}

fn key_id(name: &str, public: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = hash::sha256(&[name.as_bytes(), &[b'\n', ED25519], public]);
    u32::from_be_bytes([a, b, c, d])
}

/// Splits `name+id+base64`.
fn split_key(text: &str) -> Result<(&str, u32, Zeroizing<Vec<u8>>), NoteError> {
    let (name, rest) = text.split_once('+').ok_or(NoteError::Key)?;
    let (id, encoded) = rest.split_once('+').ok_or(NoteError::Key)?;
    let id = if id.len() == 8 { u32::from_str_radix(id, 16).map_err(|_| NoteError::Key)? } else { return Err(NoteError::Key) };
    Ok((name, id, Zeroizing::new(STANDARD.decode(encoded).map_err(|_| NoteError::Key)?)))
}

fn key_bytes(bytes: &[u8]) -> Result<[u8; 32], NoteError> {
    let key = bytes.strip_prefix(&[ED25519]).ok_or(NoteError::Key)?;
    key.try_into().map_err(|_| NoteError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of golang.org/x/mod/sumdb/note, from which the specification grew.
    const GO_SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn the_go_vectors_sign_and_verify() {
        let signer = Signer::parse(GO_SIGNER).unwrap();
        assert_eq!(signer.verifier().to_string(), GO_VERIFIER);
        assert_eq!(signer.sign(GO_TEXT).unwrap(), GO_NOTE);
        assert_eq!(signer.danger_to_text().trim(), GO_SIGNER);
        let verifier = Verifier::parse(GO_VERIFIER).unwrap();
        assert_eq!(Note::parse(GO_NOTE).unwrap().open(&verifier).unwrap(), GO_TEXT);
    }

    #[test]
    fn the_public_key_of_sum_golang_org_is_read() {
        let text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let verifier = Verifier::parse(text).unwrap();
        assert_eq!((verifier.name(), verifier.id()), ("sum.golang.org", 0x033d_e0ae));
        assert_eq!(Verifier::parse(&text.replace("033de0ae", "033de0af")), Err(NoteError::Key));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let verifier = Verifier::parse(GO_VERIFIER).unwrap();
        for at in 0..GO_NOTE.len() {
            for bit in 0..8 {
                let mut bytes = GO_NOTE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let opened =
                    std::str::from_utf8(&bytes).ok().map(|note| Note::parse(note).and_then(|note| note.open(&verifier).map(str::to_owned)));
                assert!(!matches!(opened, Some(Ok(_))), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn signatures_of_others_are_ignored_and_wrong_ones_are_not() {
        let other = Signer::from_seed("other", &[7; 32]).unwrap();
        let verifier = Verifier::parse(GO_VERIFIER).unwrap();
        let theirs = other.sign(GO_TEXT).unwrap();
        let line = theirs.strip_prefix(&format!("{GO_TEXT}\n")).unwrap();
        assert_eq!(Note::parse(&format!("{GO_NOTE}{line}")).unwrap().open(&verifier).unwrap(), GO_TEXT);
        assert_eq!(Note::parse(&theirs).unwrap().open(&verifier), Err(NoteError::Unknown));
        let forged = Signer::from_seed("PeterNeumann", &[7; 32]).unwrap();
        let forged = forged.sign(GO_TEXT).unwrap();
        assert_eq!(Note::parse(&forged).unwrap().open(&verifier), Err(NoteError::Unknown), "the id differs");
    }

    #[test]
    fn what_is_no_note_is_refused() {
        for text in [
            "",
            "a",
            "a\n",
            "a\n\n",
            "a\n\n\u{2014} b\n",
            "a\n\n\u{2014} b AAAA\n",
            "a\n\n- b AAAAAAA=\n",
            "a\u{7}\n\n\u{2014} b AAAAAAA=\n",
            "a\n\n\u{2014} b AAAAAAA=",
        ] {
            assert_eq!(Note::parse(text), Err(NoteError::Malformed), "{text:?}");
        }
        assert!(Note::parse("a\n\n\u{2014} b AAAAAAA=\n").is_ok());
        let many = format!("a\n\n{}", "\u{2014} b AAAAAAA=\n".repeat(65));
        assert_eq!(Note::parse(&many), Err(NoteError::Malformed));
        assert!(Note::parse(&format!("a\n\n{}", "\u{2014} b AAAAAAA=\n".repeat(16))).is_ok());
        let signer = Signer::from_seed("lethe/x", &[1; 32]).unwrap();
        for text in ["", "no newline", "tab\t\n"] {
            assert_eq!(signer.sign(text), Err(NoteError::Malformed), "{text:?}");
        }
        for name in ["", "a b", "a+b", "a\u{a0}b"] {
            assert!(Signer::from_seed(name, &[1; 32]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_signer_does_not_print_its_key() {
        let signer = Signer::from_seed("lethe/x", &[0xab; 32]).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer { name: \"lethe/x\", .. }");
    }
}
