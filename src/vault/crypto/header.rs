//! A record's header: the first 22 bytes of its row, in the clear, bound into its context.

use crate::domain::{Gen, Slot, Version};

use super::{OpenError, OpenReason, Suite};

/// Length of a record's header.
pub const RECORD_HEADER_LEN: usize = 22;

/// The record's value lies in rows of its own; the record holds their manifest.
pub const FLAG_MANIFEST: u16 = 1;
/// The record was shredded and its bytes reclaimed; nothing follows the header.
pub const FLAG_TOMBSTONE: u16 = 2;

const KNOWN_FLAGS: u16 = FLAG_MANIFEST | FLAG_TOMBSTONE;
const FORMAT: u8 = 1;

/// `ver u8 | suite u8 | flags u16 | slot u48 | gen u32 | version u64`, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// How the body is sealed.
    pub suite: Suite,
    /// [`FLAG_MANIFEST`], [`FLAG_TOMBSTONE`].
    pub flags: u16,
    /// The unit that seals it.
    pub slot: Slot,
    /// The unit's generation it was sealed under; an older one than the unit's is shredded.
    pub generation: Gen,
    /// The record's version, its `ETag`.
    pub version: Version,
}

impl RecordHeader {
    /// The stored bytes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; RECORD_HEADER_LEN] {
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3, s4, s5] = self.slot.to_be_bytes();
        let [g0, g1, g2, g3] = self.generation.to_be_bytes();
        let [v0, v1, v2, v3, v4, v5, v6, v7] = self.version.to_be_bytes();
        [FORMAT, self.suite.to_byte(), f0, f1, s0, s1, s2, s3, s4, s5, g0, g1, g2, g3, v0, v1, v2, v3, v4, v5, v6, v7]
    }

    /// Reads the header at the beginning of a record's row.
    ///
    /// # Errors
    /// [`OpenError`] if the row is too short, of an unknown format or suite, or has unknown flags.
    pub fn parse(row: &[u8]) -> Result<Self, OpenError> {
        let bytes = row.first_chunk::<RECORD_HEADER_LEN>().ok_or(OpenReason::Framing)?;
        let [format, suite, f0, f1, s0, s1, s2, s3, s4, s5, g0, g1, g2, g3, v0, v1, v2, v3, v4, v5, v6, v7] = *bytes;
        if format != FORMAT {
            return Err(OpenReason::Suite.into());
        }
        let flags = u16::from_be_bytes([f0, f1]);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(OpenReason::Framing.into());
        }
        Ok(Self {
            suite: Suite::from_byte(suite)?,
            flags,
            slot: Slot::from_be_bytes([s0, s1, s2, s3, s4, s5]),
            generation: Gen(u32::from_be_bytes([g0, g1, g2, g3])),
            version: Version(u64::from_be_bytes([v0, v1, v2, v3, v4, v5, v6, v7])),
        })
    }

    /// Whether the record holds a manifest.
    #[must_use]
    pub const fn is_manifest(&self) -> bool {
        self.flags & FLAG_MANIFEST != 0
    }

    /// Whether only the header is left.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        self.flags & FLAG_TOMBSTONE != 0
    }

    /// The header that stays when the body's bytes are reclaimed.
    #[must_use]
    pub const fn to_tombstone(self) -> Self {
        Self { flags: FLAG_TOMBSTONE, ..self }
    }
}
