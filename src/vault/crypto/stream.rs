//! Large values: sealed and opened row by row, four chunks to a row. Neither side holds a key between two rows:
//! each call is lent one, derives what it needs and wipes it.

use zeroize::Zeroizing;

use super::{
    Blob, Chunk, Context, OpenError, OpenReason, Plaintext, Suite,
    cobblestone::{CHUNK_LEN, ChunkCipher, MAX_CHUNKS, SEALED_CHUNK_LEN, TAG_LEN},
    key::{Data, Key},
    manifest::BlobStart,
    random,
};

/// Chunks of a row.
const ROW_CHUNKS: usize = 4;
/// Plaintext of every row but the last, which is shorter and may be empty.
pub const ROW_LEN: usize = ROW_CHUNKS * CHUNK_LEN;

const ROW_LEN_U64: u64 = ROW_LEN as u64;
const ROW_CHUNKS_U64: u64 = ROW_CHUNKS as u64;
/// A row that begins with a later chunk could need one too many.
const LAST_ROW_START: u64 = MAX_CHUNKS - ROW_CHUNKS_U64;

/// Number of rows of a value of `len` bytes.
#[must_use]
pub const fn rows_of(len: u64) -> u64 {
    (len / ROW_LEN_U64).saturating_add(1)
}

/// Why a row was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A row that is not the last must be full, the last one shorter; nothing may follow it.
    #[error("row has the wrong length or follows the last one")]
    Row,
    /// More than 2^38 chunks.
    #[error("value is too long")]
    TooLong,
    /// Key or context are not those the upload began with.
    #[error("key or context changed during an upload")]
    Changed,
}

/// The writing end of a large value: knows which row comes next, and cannot be copied, so no chunk number is used twice.
#[derive(Debug)]
pub struct BlobWriter {
    start: BlobStart,
    next_chunk: u64,
    finished: bool,
}

impl BlobWriter {
    /// Begins a value under a fresh salt.
    #[must_use]
    pub fn new(key: &Key<Data>, context: &Context<Blob>, suite: Suite) -> Self {
        Self::with_salt(key, context, suite, random::bytes())
    }

    pub(super) fn with_salt(key: &Key<Data>, context: &Context<Blob>, suite: Suite, salt: [u8; 24]) -> Self {
        let (_, commit) = ChunkCipher::derive(suite, key.expose(), &salt, context.bytes());
        Self { start: BlobStart { suite, salt, commit }, next_chunk: 0, finished: false }
    }

    /// What the manifest must hold.
    #[must_use]
    pub const fn start(&self) -> BlobStart {
        self.start
    }

    /// Seals the next row: [`ROW_LEN`] bytes, fewer (or none) in the `last`.
    ///
    /// # Errors
    /// [`SealError`]; nothing is sealed then.
    pub fn seal_row(&mut self, key: &Key<Data>, context: &Context<Blob>, plain: &[u8], last: bool) -> Result<Vec<u8>, SealError> {
        let fits = if last { plain.len() < ROW_LEN } else { plain.len() == ROW_LEN };
        if self.finished || !fits {
            return Err(SealError::Row);
        }
        if self.next_chunk > LAST_ROW_START {
            return Err(SealError::TooLong);
        }
        let cipher = self.start.cipher(key, context).map_err(|_| SealError::Changed)?;
        let mut row = Vec::with_capacity(plain.len().saturating_add(ROW_CHUNKS * TAG_LEN));
        // The empty slice is the last chunk of a row that ends with a full one.
        let end: &[u8] = &[];
        let end = (last && plain.len().is_multiple_of(CHUNK_LEN)).then_some(end);
        for chunk in plain.chunks(CHUNK_LEN).chain(end) {
            let start = row.len();
            row.extend_from_slice(chunk);
            cipher.seal_tail(&mut row, start, self.next_chunk);
            self.next_chunk = self.next_chunk.saturating_add(1);
        }
        self.finished = last;
        Ok(row)
    }
}

/// The reading end of a large value: opens any row, in any order.
#[derive(Debug, Clone, Copy)]
pub struct BlobReader {
    start: BlobStart,
    len: u64,
}

impl BlobReader {
    /// Reads a value of `len` bytes, as the manifest and metadata of its opened record say.
    #[must_use]
    pub const fn new(start: BlobStart, len: u64) -> Self {
        Self { start, len }
    }

    /// The row that holds the byte at `offset`.
    #[must_use]
    pub const fn row_of(offset: u64) -> u64 {
        offset / ROW_LEN_U64
    }

    /// Number of rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        rows_of(self.len)
    }

    /// Opens row number `index`.
    ///
    /// # Errors
    /// [`OpenError`] if it is not that row of this value, unchanged and of the length it must have.
    pub fn open_row(&self, key: &Key<Data>, context: &Context<Blob>, index: u64, row: &[u8]) -> Result<Plaintext<Chunk>, OpenError> {
        let len = self.row_len(index).ok_or(OpenReason::Framing)?;
        let last = index.saturating_add(1) == self.rows();
        let tags = (len / CHUNK_LEN).saturating_add(usize::from(last));
        if row.len() != len.saturating_add(tags.saturating_mul(TAG_LEN)) {
            return Err(OpenReason::Framing.into());
        }
        let cipher = self.start.cipher(key, context)?;
        let first = index.saturating_mul(ROW_CHUNKS_U64);
        let mut plain = Zeroizing::new(Vec::with_capacity(len));
        for (number, chunk) in (first..MAX_CHUNKS).zip(row.chunks(SEALED_CHUNK_LEN)) {
            cipher.open_append(&mut plain, number, chunk)?;
        }
        if plain.len() != len {
            return Err(OpenReason::Framing.into());
        }
        Ok(Plaintext::wrap(plain))
    }

    /// Plaintext of a row; `None` behind the last.
    fn row_len(&self, index: u64) -> Option<usize> {
        let left = self.len.checked_sub(index.checked_mul(ROW_LEN_U64)?)?;
        usize::try_from(left.min(ROW_LEN_U64)).ok()
    }
}

impl BlobStart {
    /// The cipher of the value's chunks; the commitment is checked first.
    fn cipher(&self, key: &Key<Data>, context: &Context<Blob>) -> Result<ChunkCipher, OpenReason> {
        ChunkCipher::committed(self.suite, key.expose(), &self.salt, context.bytes(), &self.commit)
    }
}
