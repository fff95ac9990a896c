//! Readable content, and the receipt without which it does not leave.
//!
//! A plaintext cannot be cloned, printed, compared or serialised. Inside the vault it can be looked at;
//! outside there is one way to its bytes: [`Plaintext::disclose`], against the receipt of an audit entry.

use std::marker::PhantomData;

use zeroize::Zeroizing;

use crate::domain::{TenantNo, WriterId};

use super::content::{Chunk, Kind};

/// Content of kind `T` in the clear: on the heap, wiped on drop.
pub struct Plaintext<T: Kind> {
    bytes: Zeroizing<Vec<u8>>,
    kind: PhantomData<T>,
}

impl<T: Kind> Plaintext<T> {
    /// Takes bytes over; they are wiped when this is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Zeroizing::new(bytes), kind: PhantomData }
    }

    /// Takes over what was just opened.
    pub(super) fn wrap(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// Length in bytes, which is no secret: it can be read off the ciphertext.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes, inside the vault.
    pub(in crate::vault) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Hands the bytes out. The receipt says that the disclosure stands in the audit trail; from here on the caller wipes.
    #[must_use]
    pub fn disclose(mut self, _receipt: Receipt) -> Vec<u8> {
        std::mem::take(&mut *self.bytes)
    }
}

impl Plaintext<Chunk> {
    /// Hands out a part of a large value, whose audit entry was written before the first part left.
    #[must_use]
    pub fn disclose_chunk(mut self, _receipt: &Receipt) -> Vec<u8> {
        std::mem::take(&mut *self.bytes)
    }
}

/// Proof that an audit entry was written: which tenant's chain, which writer, which number. Only the audit room makes one.
#[derive(Debug)]
pub struct Receipt {
    tenant: TenantNo,
    writer: WriterId,
    seq: u64,
}

impl Receipt {
    /// The receipt of an entry that is written.
    pub(in crate::vault) fn durable(tenant: TenantNo, writer: WriterId, seq: u64) -> Self {
        Self { tenant, writer, seq }
    }

    /// That of no entry, for this room's own tests.
    #[cfg(test)]
    pub(super) const fn of_test() -> Self {
        Self { tenant: TenantNo(1), writer: WriterId(1), seq: 1 }
    }

    /// Whose chain the entry is in.
    #[must_use]
    pub const fn tenant(&self) -> TenantNo {
        self.tenant
    }

    /// Which writer's.
    #[must_use]
    pub const fn writer(&self) -> WriterId {
        self.writer
    }

    /// The entry's number in it.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}
