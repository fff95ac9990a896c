//! What leaves the vault for somebody outside: sealed in the age format, version 1 ([c2sp.org/age]), for an X25519 recipient, under a file
//! key of its own for each file; and such a file opened, for who brings it back in.
//!
//! * [`bech32`]: how recipients and identities are written.
//! * [`header`]: whom a file is for: the file key, wrapped.
//! * [`stream`]: what is in it: chunks of 64 KiB, of which the last says that it is the last.
//!
//! No passphrases, no plugins, no armour: what is not here is refused, or passed over where the format says so.
//!
//! [c2sp.org/age]: https://c2sp.org/age

use std::{fmt, io, str::FromStr};

use curve25519_dalek::MontgomeryPoint;
use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

mod bech32;
mod header;
mod stream;
#[cfg(test)]
mod tests;

pub use stream::{Incoming, Outgoing};

/// Whom something is sealed for: a point of Curve25519, and none of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

/// A text that is no recipient, or one that seals for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X25519 recipient of age: `age1` and 58 characters behind it")]
pub struct RecipientError;

impl FromStr for Recipient {
    type Err = RecipientError;

    fn from_str(text: &str) -> Result<Self, RecipientError> {
        let point = *bech32::decode("age", text).ok_or(RecipientError)?;
        // Any scalar will do: each is a multiple of the cofactor.
        agreed(&point, &[0; 32]).map(|_| Self(point)).ok_or(RecipientError)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recipient(..)")
    }
}

/// What opens what is sealed for its recipient.
pub struct Identity(Zeroizing<[u8; 32]>);

/// A text that is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X25519 identity of age: `AGE-SECRET-KEY-1` and 58 characters behind it")]
pub struct IdentityError;

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        bech32::decode("AGE-SECRET-KEY-", text).map(Self).ok_or(IdentityError)
    }
}

impl Identity {
    /// Who seals for it names this.
    #[must_use]
    pub fn recipient(&self) -> Recipient {
        Recipient(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// Why a file does not open.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// It does not begin as one, or its header is not as it was sealed.
    #[error("no age file, or its header is bent")]
    Header,
    /// It is sealed for nobody that was named.
    #[error("sealed for another identity")]
    NoMatch,
    /// It ends within its header or its first chunk, or between two chunks.
    #[error("cut short")]
    Cut,
    /// A chunk is not as it was sealed: bent, or itself cut short.
    #[error("a byte of it is bent, or its end is missing")]
    Bent,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A stream that could not be sealed: more than 2^64 chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stream for a recipient is too long")]
pub struct TooManyChunks;

/// The secret that two sides share by X25519 ([RFC 7748], section 5); `None` where it is zero, which it is with a point of small order,
/// whoever asks.
///
/// [RFC 7748]: https://www.rfc-editor.org/rfc/rfc7748
fn agreed(point: &[u8; 32], secret: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = Zeroizing::new(MontgomeryPoint(*point).mul_clamped(*secret).to_bytes());
    let is_zero = bool::from(shared.as_slice().ct_eq(&[0; 32][..]));
    (!is_zero).then_some(shared)
}

/// HKDF-SHA-256 of 32 bytes.
fn derive(secret: &[u8], salt: &[u8], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), secret).expand(info, key.as_mut_slice()).expect("32 bytes are one block");
    key
}
