//! Taking keys apart: one reader, from left to right, for those with a tag and those without.

use crate::domain::{CollectionNo, Slot, TenantNo};

use super::{Table, Token};

/// Reads a key from left to right; `None` where it is too short.
#[derive(Debug, Clone)]
pub struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    /// A key without a tag.
    #[must_use]
    pub const fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// A key of `table`, read from behind its tag; `None` if it is of another table.
    #[must_use]
    pub fn of(table: Table, key: &'a [u8]) -> Option<Self> {
        key.split_first().filter(|(tag, _)| **tag == table as u8).map(|(_, rest)| Self(rest))
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.bytes().map(u8::from_be_bytes)
    }

    /// The next four bytes as a number.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    /// The next eight bytes as a number.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    /// The next tenant's number.
    pub fn tenant(&mut self) -> Option<TenantNo> {
        self.u64().map(TenantNo)
    }

    /// The next collection's number.
    pub fn collection(&mut self) -> Option<CollectionNo> {
        self.u32().map(CollectionNo)
    }

    /// The next slot.
    pub fn slot(&mut self) -> Option<Slot> {
        self.bytes().map(Slot::from_be_bytes)
    }

    /// The next token.
    pub fn token(&mut self) -> Option<Token> {
        self.bytes()
    }

    /// The collection of a row of `Records`, whose key is read from its beginning.
    pub fn collection_of_record(&mut self) -> Option<CollectionNo> {
        self.tenant()?;
        self.collection()
    }

    /// All that is left, as tokens; `None` if it does not come out even.
    #[must_use]
    pub fn tokens(self) -> Option<Vec<Token>> {
        let (tokens, rest) = self.0.as_chunks::<16>();
        rest.is_empty().then(|| tokens.to_vec())
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}
