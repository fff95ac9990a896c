//! What is in a file: `nonce16`, then chunks under `ChaCha20-Poly1305` with the key HKDF-SHA-256(file key, nonce, "payload"). The nonce
//! of a chunk is its number and whether it is the last: so a file that is cut between two chunks does not pass for whole. Only the chunk
//! of an empty file is empty.

use std::io::{BufRead, Read as _};

use chacha20poly1305::{
    ChaCha20Poly1305,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use zeroize::Zeroizing;

use super::{
    super::{Receipt, random, residue},
    AgeError, Identity, Recipient, TooManyChunks, derive,
    header::{self, FileKey},
};

/// Plaintext of every chunk but the last.
pub(super) const CHUNK_LEN: usize = 65_536;
const TAG_LEN: usize = 16;
/// A full chunk, sealed.
const SEALED_CHUNK_LEN: u64 = 65_552;
const NONCE_LEN: usize = 16;

/// A file on its way to a recipient: plaintext in, ciphertext out as it comes.
pub struct Outgoing {
    cipher: Box<ChaCha20Poly1305>,
    number: u64,
    /// What waits for its chunk to be full. Invariant: it never grows in place, which would leave a copy behind.
    chunk: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

impl Outgoing {
    /// Begins a file.
    #[must_use]
    pub fn to(recipient: &Recipient) -> Self {
        residue::leaving_none(|| {
            let mut file_key = FileKey::default();
            random::fill(file_key.as_mut_slice());
            let nonce: [u8; NONCE_LEN] = random::bytes();
            let mut sealed = header::write(recipient, &file_key);
            sealed.extend_from_slice(&nonce);
            let chunk = Zeroizing::new(Vec::with_capacity(CHUNK_LEN));
            Self { cipher: Box::new(cipher(&file_key, &nonce)), number: 0, chunk, sealed }
        })
    }

    /// Seals what follows. The receipt says that the disclosure stands in the audit trail.
    ///
    /// # Errors
    /// [`TooManyChunks`].
    pub fn write(&mut self, plain: &[u8], _receipt: &Receipt) -> Result<(), TooManyChunks> {
        let mut rest = plain;
        while !rest.is_empty() {
            if self.chunk.len() == CHUNK_LEN {
                // Something follows it.
                self.seal(false)?;
            }
            let room = CHUNK_LEN.saturating_sub(self.chunk.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.chunk.extend_from_slice(now);
            rest = later;
        }
        Ok(())
    }

    /// Bytes of ciphertext that wait to be taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.sealed.len()
    }

    /// Takes the ciphertext that waits.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sealed)
    }

    /// Seals the last chunk, without which the file does not open, and takes what waits.
    ///
    /// # Errors
    /// [`TooManyChunks`].
    pub fn finish(mut self) -> Result<Vec<u8>, TooManyChunks> {
        self.seal(true)?;
        Ok(self.take())
    }

    fn seal(&mut self, is_last: bool) -> Result<(), TooManyChunks> {
        let next = self.number.checked_add(1).ok_or(TooManyChunks)?;
        let nonce = nonce_of(self.number, is_last);
        let Self { cipher, chunk, sealed, .. } = self;
        residue::leaving_none_of_one_use(|| {
            // Sealed where it lies: it grows once, before.
            sealed.reserve(CHUNK_LEN.saturating_add(TAG_LEN));
            let start = sealed.len();
            sealed.extend_from_slice(chunk);
            let buffer = InOutBuf::from(sealed.get_mut(start..).unwrap_or_default());
            let tag = cipher.encrypt_inout_detached((&nonce).into(), &[], buffer).expect("a chunk is far below the cipher's limit");
            sealed.extend_from_slice(&<[u8; TAG_LEN]>::from(tag));
        });
        self.chunk.clear();
        self.number = next;
        Ok(())
    }
}

/// A file that is opened, chunk by chunk.
pub struct Incoming<R> {
    source: R,
    cipher: ChaCha20Poly1305,
    number: u64,
    sealed: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    is_over: bool,
}

impl<R: BufRead> Incoming<R> {
    /// Opens a file that is sealed for one of these.
    ///
    /// # Errors
    /// [`AgeError`], but for [`AgeError::Bent`].
    pub fn open(mut source: R, identities: &[Identity]) -> Result<Self, AgeError> {
        let file_key = header::read(&mut source, identities)?;
        let mut nonce = [0; NONCE_LEN];
        source.read_exact(&mut nonce).map_err(cut)?;
        let (sealed, plain) = (Vec::new(), Zeroizing::new(Vec::with_capacity(CHUNK_LEN)));
        Ok(Self { source, cipher: cipher(&file_key, &nonce), number: 0, sealed, plain, is_over: false })
    }

    /// The next chunk; `None` behind the last. Nothing of a chunk that does not open is given.
    ///
    /// # Errors
    /// [`AgeError::Cut`], [`AgeError::Bent`], [`AgeError::Io`]; the file is not to be read on then.
    pub fn chunk(&mut self) -> Result<Option<&[u8]>, AgeError> {
        if self.is_over {
            return Ok(None);
        }
        self.sealed.clear();
        self.source.by_ref().take(SEALED_CHUNK_LEN).read_to_end(&mut self.sealed)?;
        if self.sealed.is_empty() {
            return Err(AgeError::Cut);
        }
        let is_last = self.source.fill_buf()?.is_empty();
        if !self.opens(is_last) {
            // Whole, and not the last: what follows it is not there.
            return Err(if is_last && self.opens(false) { AgeError::Cut } else { AgeError::Bent });
        }
        if self.plain.is_empty() && self.number > 0 {
            return Err(AgeError::Bent);
        }
        self.number = self.number.checked_add(1).ok_or(AgeError::Bent)?;
        self.is_over = is_last;
        Ok(Some(&self.plain))
    }

    fn opens(&mut self, is_last: bool) -> bool {
        let nonce = nonce_of(self.number, is_last);
        let Some((sealed, tag)) = self.sealed.split_last_chunk::<TAG_LEN>() else { return false };
        // Never longer than it was made.
        self.plain.resize(sealed.len(), 0);
        let Ok(buffer) = InOutBuf::new(sealed, self.plain.as_mut_slice()) else { return false };
        self.cipher.decrypt_inout_detached((&nonce).into(), &[], buffer, tag.into()).is_ok()
    }
}

fn cut(error: std::io::Error) -> AgeError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof { AgeError::Cut } else { AgeError::Io(error) }
}

pub(super) fn cipher(file_key: &FileKey, nonce: &[u8; NONCE_LEN]) -> ChaCha20Poly1305 {
    let key = derive(file_key.as_slice(), nonce, b"payload");
    ChaCha20Poly1305::new((&*key).into())
}

/// `number be88 | 1 for the last, else 0`.
pub(super) fn nonce_of(number: u64, is_last: bool) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(is_last)]
}
