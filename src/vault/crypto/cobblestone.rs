//! C2SP chunked-encryption ("Cobblestone", <https://c2sp.org/chunked-encryption>) for both suites.
//!
//! ```text
//! key32 | base nonce | commit32 = HKDF-Expand-SHA-512(input key, "c2sp.org/chunked-encryption@v1+" | aead | 0 | salt24 | context)
//! salt24 | commit32 | (AEAD ciphertext | tag16) of each chunk, nonce = base nonce XOR chunk number, no AAD
//! ```
//! Chunks are 16 KiB; the last is shorter and may be empty: so the end is authenticated without a flag.

use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{AeadInOut, KeyInit},
};
use hkdf::Hkdf;
use sha2::Sha512;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{OpenReason, Suite, gcm::Gcm};

/// Plaintext of every chunk but the last.
pub(super) const CHUNK_LEN: usize = 16_384;
pub(super) const TAG_LEN: usize = 16;
/// A full chunk, sealed.
pub(super) const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
pub(super) const SALT_LEN: usize = 24;
pub(super) const COMMIT_LEN: usize = 32;
/// What stands before the chunks.
pub(super) const START_LEN: usize = SALT_LEN + COMMIT_LEN;
/// Chunks of one message; the counter must stay below.
pub(super) const MAX_CHUNKS: u64 = 1 << 38;

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+";

/// Length of a message of `len` bytes, sealed.
pub(super) const fn sealed_len(len: usize) -> usize {
    let tags = (len / CHUNK_LEN).saturating_add(1).saturating_mul(TAG_LEN);
    len.saturating_add(START_LEN).saturating_add(tags)
}

/// Appends the sealed concatenation of `parts` to `row`. The plaintext never stands anywhere else: `row` grows once, at the
/// beginning, and each chunk is sealed where it lies.
pub(super) fn seal_into(row: &mut Vec<u8>, suite: Suite, key: &[u8; 32], salt: &[u8; SALT_LEN], context: &[u8], parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).fold(0, usize::saturating_add);
    row.reserve_exact(sealed_len(len));
    let (cipher, commit) = ChunkCipher::derive(suite, key, salt, context);
    row.extend_from_slice(salt);
    row.extend_from_slice(&commit);

    let mut start = row.len();
    let mut number = 0_u64;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let room = CHUNK_LEN.saturating_sub(row.len().saturating_sub(start));
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            row.extend_from_slice(now);
            rest = later;
            if now.len() == room {
                cipher.seal_tail(row, start, number);
                start = row.len();
                number = number.saturating_add(1);
            }
        }
    }
    cipher.seal_tail(row, start, number);
}

/// A sealed message that is in memory: opens whole or by chunks.
pub(super) struct Opener<'a> {
    cipher: ChunkCipher,
    chunks: &'a [u8],
}

impl<'a> Opener<'a> {
    /// Checks length and commitment.
    pub(super) fn new(suite: Suite, key: &[u8; 32], context: &[u8], sealed: &'a [u8]) -> Result<Self, OpenReason> {
        let (salt, rest) = sealed.split_first_chunk().ok_or(OpenReason::Framing)?;
        let (commit, chunks) = rest.split_first_chunk().ok_or(OpenReason::Framing)?;
        if chunks.len() % SEALED_CHUNK_LEN < TAG_LEN {
            return Err(OpenReason::Framing);
        }
        let cipher = ChunkCipher::committed(suite, key, salt, context, commit)?;
        Ok(Self { cipher, chunks })
    }

    /// Opens everything.
    pub(super) fn open(&self) -> Result<Zeroizing<Vec<u8>>, OpenReason> {
        let mut plain = Zeroizing::new(Vec::with_capacity(self.chunks.len()));
        for (number, chunk) in (0..MAX_CHUNKS).zip(self.chunks.chunks(SEALED_CHUNK_LEN)) {
            self.cipher.open_append(&mut plain, number, chunk)?;
        }
        Ok(plain)
    }

    /// Opens the chunks from the beginning until at least `len` bytes stand in `plain`, or all do. Chunks that `plain`
    /// already holds are not opened again. What comes after them is not looked at.
    pub(super) fn open_until(&self, plain: &mut Zeroizing<Vec<u8>>, len: usize) -> Result<(), OpenReason> {
        let done = plain.len() / CHUNK_LEN;
        for (number, chunk) in (0..MAX_CHUNKS).zip(self.chunks.chunks(SEALED_CHUNK_LEN)).skip(done) {
            if plain.len() >= len {
                break;
            }
            // Invariant: `plain` never grows in place, which would leave a copy behind.
            let mut grown = Zeroizing::new(Vec::with_capacity(plain.len().saturating_add(chunk.len())));
            grown.extend_from_slice(plain);
            self.cipher.open_append(&mut grown, number, chunk)?;
            *plain = grown;
        }
        Ok(())
    }
}

/// Seals and opens the chunks of one message.
pub(super) struct ChunkCipher {
    cipher: Cipher,
    base_nonce: BaseNonce,
}

#[expect(clippy::large_enum_variant, reason = "lives on the stack for one call; a box would be an allocation for each record")]
enum Cipher {
    Aes256Gcm(Gcm),
    XChaCha20Poly1305(XChaCha20Poly1305),
}

/// The nonce of chunk 0; suite 1 uses the last 12 bytes. The chunk number goes into the last 8.
type BaseNonce = Zeroizing<[u8; 24]>;

impl ChunkCipher {
    /// The cipher of a message and its commitment.
    pub(super) fn derive(suite: Suite, key: &[u8; 32], salt: &[u8; SALT_LEN], context: &[u8]) -> (Self, [u8; COMMIT_LEN]) {
        let info: [&[u8]; 5] = [LABEL, suite.aead_name(), &[0], salt, context];
        // The longer of the two; a shorter output is a prefix of a longer one.
        let mut out = Zeroizing::new([0_u8; 88]);
        expand_sha512(key, &info, out.as_mut_slice());
        let (key, rest) = out.split_first_chunk::<32>().expect("88 bytes begin with 32");
        let mut base_nonce = Zeroizing::new([0_u8; 24]);
        let (cipher, rest) = match suite {
            Suite::Aes256Gcm => {
                let (nonce, rest) = rest.split_first_chunk::<12>().expect("56 bytes begin with 12");
                if let Some(own) = base_nonce.last_chunk_mut() {
                    *own = *nonce;
                }
                (Cipher::Aes256Gcm(Gcm::new(key)), rest)
            }
            Suite::XChaCha20Poly1305 => {
                let (nonce, rest) = rest.split_first_chunk::<24>().expect("56 bytes begin with 24");
                *base_nonce = *nonce;
                (Cipher::XChaCha20Poly1305(XChaCha20Poly1305::new(key.into())), rest)
            }
        };
        let commit = *rest.first_chunk().expect("32 bytes are left, or more");
        (Self { cipher, base_nonce }, commit)
    }

    /// The cipher of a message that was begun with this salt and commitment.
    pub(super) fn committed(
        suite: Suite,
        key: &[u8; 32],
        salt: &[u8; SALT_LEN],
        context: &[u8],
        commit: &[u8; COMMIT_LEN],
    ) -> Result<Self, OpenReason> {
        let (cipher, derived) = Self::derive(suite, key, salt, context);
        if bool::from(derived.ct_eq(commit)) { Ok(cipher) } else { Err(OpenReason::Commitment) }
    }

    /// Seals what stands in `row` from `start` on, in place, and appends the tag.
    pub(super) fn seal_tail(&self, row: &mut Vec<u8>, start: usize, number: u64) {
        let chunk = row.get_mut(start..).unwrap_or_default();
        let nonce = self.nonce(number);
        let tag: [u8; TAG_LEN] = match &self.cipher {
            Cipher::Aes256Gcm(cipher) => cipher.seal(short(&nonce), chunk),
            Cipher::XChaCha20Poly1305(cipher) => {
                let tag = cipher.encrypt_inout_detached((&*nonce).into(), &[], chunk.into());
                tag.expect("a chunk is far below the cipher's limit").into()
            }
        };
        row.extend_from_slice(&tag);
    }

    /// Opens a sealed chunk and appends its plaintext, which is never longer. On failure nothing is appended.
    pub(super) fn open_append(&self, plain: &mut Vec<u8>, number: u64, sealed: &[u8]) -> Result<(), OpenReason> {
        let (chunk, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(OpenReason::Framing)?;
        let start = plain.len();
        plain.extend_from_slice(chunk);
        let chunk = plain.get_mut(start..).unwrap_or_default();
        let nonce = self.nonce(number);
        let opened = match &self.cipher {
            Cipher::Aes256Gcm(cipher) => cipher.open(short(&nonce), chunk, tag),
            Cipher::XChaCha20Poly1305(cipher) => {
                cipher.decrypt_inout_detached((&*nonce).into(), &[], chunk.into(), tag.into()).map_err(|_| OpenReason::Tag)
            }
        };
        if opened.is_err() {
            plain.get_mut(start..).unwrap_or_default().zeroize();
            plain.truncate(start);
        }
        opened
    }

    /// Base nonce XOR chunk number, big-endian, aligned right.
    fn nonce(&self, number: u64) -> BaseNonce {
        debug_assert!(number < MAX_CHUNKS);
        let mut nonce = self.base_nonce.clone();
        for (byte, counter) in nonce.iter_mut().rev().zip(number.to_be_bytes().iter().rev()) {
            *byte ^= counter;
        }
        nonce
    }
}

/// Suite 1's part of a base nonce.
fn short(nonce: &[u8; 24]) -> &[u8; 12] {
    nonce.last_chunk().expect("24 bytes end with 12")
}

/// HKDF-Expand-SHA-512 with a 32-byte key, as the specification has it. HMAC pads a key with zeros to its block of 128 bytes,
/// so the 64 bytes that the library asks for, being its output length, are the same key.
fn expand_sha512(key: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    let mut padded = Zeroizing::new([0_u8; 64]);
    if let Some(own) = padded.first_chunk_mut() {
        *own = *key;
    }
    let hkdf = Hkdf::<Sha512>::from_prk(padded.as_slice()).expect("64 bytes are SHA-512's output length");
    hkdf.expand_multi_info(info, out).expect("88 bytes are below 255 blocks");
}
