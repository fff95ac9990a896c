//! The two suites. Both always open; which one seals is a setting.

use super::{OpenError, OpenReason};

/// How content is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// Cobblestone-256: HKDF-SHA-512, AES-256-GCM ([C2SP chunked-encryption]).
    ///
    /// [C2SP chunked-encryption]: https://c2sp.org/chunked-encryption
    Aes256Gcm = 1,
    /// The same framing with XChaCha20-Poly1305, for machines without AES instructions.
    XChaCha20Poly1305 = 2,
}

impl Suite {
    /// Suite 1 where AES is in hardware, suite 2 elsewhere: AES in software is slow.
    #[must_use]
    pub fn preferred() -> Self {
        if aes::hardware_accelerated() { Self::Aes256Gcm } else { Self::XChaCha20Poly1305 }
    }

    /// The stored byte.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        self as u8
    }

    /// The suite of a stored byte.
    ///
    /// # Errors
    /// [`OpenError`] if there is none with this number.
    pub const fn from_byte(byte: u8) -> Result<Self, OpenReason> {
        match byte {
            1 => Ok(Self::Aes256Gcm),
            2 => Ok(Self::XChaCha20Poly1305),
            _ => Err(OpenReason::Suite),
        }
    }

    /// The name of the AEAD in IANA's registry style, as it enters the derivation.
    pub(super) const fn aead_name(self) -> &'static [u8] {
        match self {
            Self::Aes256Gcm => b"AEAD_AES_256_GCM",
            Self::XChaCha20Poly1305 => b"AEAD_XCHACHA20_POLY1305",
        }
    }
}

impl TryFrom<u8> for Suite {
    type Error = OpenError;

    fn try_from(byte: u8) -> Result<Self, OpenError> {
        Ok(Self::from_byte(byte)?)
    }
}
