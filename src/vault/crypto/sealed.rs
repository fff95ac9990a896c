//! Sealed content: the only content a store takes.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;

use super::{
    Content, OpenError, OpenReason, Record, RecordHeader, Suite,
    cobblestone::{START_LEN, TAG_LEN},
};

/// A row of kind `T`, sealed. What precedes the ciphertext has been read once: header or suite are known.
pub struct Sealed<T: Content> {
    row: Bytes,
    suite: Suite,
    kind: PhantomData<T>,
}

impl<T: Content> Sealed<T> {
    /// Reads a stored row.
    ///
    /// # Errors
    /// [`OpenError`] if it is too short or of an unknown suite. A tombstone is too short: look at the header first.
    pub fn from_row(row: Bytes) -> Result<Self, OpenError> {
        let (prefix, body) = row.split_at_checked(T::PREFIX_LEN).ok_or(OpenReason::Framing)?;
        let suite = match prefix {
            [suite] => Suite::from_byte(*suite)?,
            _ => RecordHeader::parse(prefix)?.suite,
        };
        if body.len() < START_LEN + TAG_LEN {
            return Err(OpenReason::Framing.into());
        }
        Ok(Self { row, suite, kind: PhantomData })
    }

    /// The row to store.
    #[must_use]
    pub fn into_row(self) -> Bytes {
        self.row
    }

    /// Length of the row in bytes.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.row.len()
    }

    /// How it is sealed.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The chunked ciphertext.
    pub(super) fn body(&self) -> &[u8] {
        self.row.get(T::PREFIX_LEN..).unwrap_or_default()
    }

    /// What was just sealed.
    pub(super) fn made(row: Vec<u8>, suite: Suite) -> Self {
        Self { row: row.into(), suite, kind: PhantomData }
    }
}

impl Sealed<Record> {
    /// The record's header.
    ///
    /// # Errors
    /// None that [`Sealed::from_row`] has not reported already.
    pub fn header(&self) -> Result<RecordHeader, OpenError> {
        RecordHeader::parse(&self.row)
    }
}

impl<T: Content> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self { row: self.row.clone(), suite: self.suite, kind: PhantomData }
    }
}

impl<T: Content> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RecordHeader::parse(self.row.get(..T::PREFIX_LEN).unwrap_or_default()) {
            Ok(header) => fmt::Debug::fmt(&header, f),
            Err(_) => fmt::Debug::fmt(&self.suite, f),
        }
    }
}
