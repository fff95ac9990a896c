//! Frames: how the parts of a bundle follow each other.
//!
//! `kind u8 | length be32 | payload`. A value is cut into frames of at most [`VALUE_LEN`] bytes, so that nobody needs to hold it whole;
//! everything else is one document, or one text, a frame.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};

use super::BundleError;

/// The longest payload.
pub const PAYLOAD_LEN: usize = 4 * 1024 * 1024;
/// The longest part of a value.
pub const VALUE_LEN: usize = 65_536;
/// What stands before a payload.
const HEAD_LEN: usize = 5;

macro_rules! kinds {
    ($($(#[$doc:meta])* $id:ident = $code:literal $name:literal,)*) => {
        /// What a frame holds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $id = $code,)*
        }

        impl Kind {
            /// All kinds, in the order of their bytes.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            /// The kind of a byte.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$id),)*
                    _ => None,
                }
            }

            /// Its byte.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$id => $code,)*
                }
            }

            /// What counts and errors call it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// What bundle this is: the first frame.
    Header = 1 "header",
    /// A collection with its policy.
    Collection = 2 "collections",
    /// A record: all but its value.
    Record = 3 "records",
    /// The next part of the value of the record before it.
    Value = 4 "values",
    /// The value of the record before it cannot be read to its end: that record is not there.
    Gone = 5 "gone",
    /// A person's several ids.
    Person = 6 "persons",
    /// A legal hold that everybody in the tenant may know of.
    Hold = 7 "holds",
    /// A legal hold that is sealed for a counsel.
    SealedHold = 8 "sealed_holds",
    /// What a token allowed, without its secret.
    Grant = 9 "grants",
    /// A certificate.
    Certificate = 10 "certificates",
    /// A head of a chain of the audit trail, with its proof.
    Head = 11 "heads",
    /// An entry of the audit trail.
    Entry = 12 "entries",
    /// What all of it comes to: the last frame.
    Trailer = 13 "trailer",
    /// What was in a sealed frame, behind that frame. On its way to an importing store; in no file.
    Opened = 14 "opened",
    /// A record that is kept for its legal purpose alone, all but its value: sealed for an auditor.
    SealedRecord = 15 "sealed_records",
    /// The next part of the value of the sealed record before it, sealed likewise.
    SealedValue = 16 "sealed_values",
    /// What was reported of a person.
    Events = 17 "events",
}

impl Kind {
    /// The order of kinds: a frame has no lower rank than the one before it. What belongs to the frame before has that frame's rank.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            // What was opened follows its sealed frame, whatever that is, and is no frame of the bundle.
            Self::Value | Self::Gone | Self::SealedRecord | Self::SealedValue | Self::Opened => Self::Record.code(),
            Self::Events => Self::Person.code(),
            Self::SealedHold => Self::Hold.code(),
            Self::Header
            | Self::Collection
            | Self::Record
            | Self::Person
            | Self::Hold
            | Self::Grant
            | Self::Certificate
            | Self::Head
            | Self::Entry
            | Self::Trailer => self.code(),
        }
    }

    /// Whether it is sealed for somebody else than who opens the bundle.
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::SealedHold | Self::SealedRecord | Self::SealedValue)
    }

    /// The longest payload of such a frame.
    const fn longest(self) -> usize {
        match self {
            Self::Value => VALUE_LEN,
            Self::Header
            | Self::Collection
            | Self::Record
            | Self::Gone
            | Self::Person
            | Self::Hold
            | Self::SealedHold
            | Self::Grant
            | Self::Certificate
            | Self::Head
            | Self::Entry
            | Self::Trailer
            | Self::Opened
            | Self::SealedRecord
            | Self::SealedValue
            | Self::Events => PAYLOAD_LEN,
        }
    }
}

/// A frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// That.
    pub payload: Bytes,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}, {})", self.kind.name(), self.payload.len())
    }
}

impl Frame {
    /// Puts its bytes behind others.
    ///
    /// # Errors
    /// [`BundleError::TooLong`].
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), BundleError> {
        write(self.kind, &self.payload, out)
    }
}

/// Puts the bytes of a frame behind others.
///
/// # Errors
/// [`BundleError::TooLong`].
pub fn write(kind: Kind, payload: &[u8], out: &mut Vec<u8>) -> Result<(), BundleError> {
    out.extend_from_slice(&head(kind, payload.len())?);
    out.extend_from_slice(payload);
    Ok(())
}

/// What stands before a payload of that length.
///
/// # Errors
/// [`BundleError::TooLong`].
pub(super) fn head(kind: Kind, len: usize) -> Result<[u8; HEAD_LEN], BundleError> {
    let len = u32::try_from(len).ok().filter(|_| len <= kind.longest()).ok_or(BundleError::TooLong(kind))?;
    let [a, b, c, d] = len.to_be_bytes();
    Ok([kind.code(), a, b, c, d])
}

/// Takes a stream apart, in whatever pieces it comes.
#[derive(Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next frame, if it is there whole.
    ///
    /// # Errors
    /// [`BundleError::Kind`], [`BundleError::TooLong`].
    pub fn take_frame(&mut self) -> Result<Option<Frame>, BundleError> {
        let Some((&[code, len @ ..], _)) = self.buffer.split_first_chunk::<HEAD_LEN>() else { return Ok(None) };
        let kind = Kind::from_code(code).ok_or(BundleError::Kind(code))?;
        let len = usize::try_from(u32::from_be_bytes(len)).ok().filter(|len| *len <= kind.longest()).ok_or(BundleError::TooLong(kind))?;
        if self.buffer.len() < len.saturating_add(HEAD_LEN) {
            return Ok(None);
        }
        self.buffer.advance(HEAD_LEN);
        Ok(Some(Frame { kind, payload: self.buffer.split_to(len).freeze() }))
    }

    /// Whether nothing is left of the stream but whole frames that were taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(kinds: &[(Kind, usize)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, len) in kinds {
            write(*kind, &vec![kind.code(); *len], &mut out).unwrap();
        }
        out
    }

    #[test]
    fn frames_come_out_as_they_went_in_in_whatever_pieces() {
        let kinds = [(Kind::Header, 10), (Kind::Record, 0), (Kind::Value, 65_536), (Kind::Trailer, 70_000)];
        let stream = all(&kinds);
        for piece in [1, 3, 5, 4_096, stream.len()] {
            let (mut frames, mut met) = (Frames::default(), Vec::new());
            for piece in stream.chunks(piece) {
                frames.feed(piece);
                while let Some(frame) = frames.take_frame().unwrap() {
                    assert!(frame.payload.iter().all(|byte| *byte == frame.kind.code()));
                    met.push((frame.kind, frame.payload.len()));
                }
            }
            assert_eq!(met, kinds, "{piece}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_frame_that_is_cut_short_is_not_there() {
        let stream = all(&[(Kind::Hold, 100)]);
        for cut in 0..stream.len() {
            let mut frames = Frames::default();
            frames.feed(&stream[..cut]);
            assert_eq!(frames.take_frame(), Ok(None), "{cut}");
            assert_eq!(frames.is_empty(), cut == 0);
        }
    }

    #[test]
    fn what_is_no_frame_or_too_long_is_refused_before_it_is_read() {
        let refused = |head: &[u8]| {
            let mut frames = Frames::default();
            frames.feed(head);
            frames.take_frame()
        };
        for code in (0..=255_u8).filter(|code| Kind::from_code(*code).is_none()) {
            assert_eq!(refused(&[code, 0, 0, 0, 0]), Err(BundleError::Kind(code)));
        }
        assert_eq!(refused(&[4, 0, 1, 0, 1]), Err(BundleError::TooLong(Kind::Value)), "a part of a value over 64 KiB");
        assert_eq!(refused(&[3, 0, 64, 0, 1]), Err(BundleError::TooLong(Kind::Record)));
        assert_eq!(refused(&[12, 255, 255, 255, 255]), Err(BundleError::TooLong(Kind::Entry)));
        assert_eq!(write(Kind::Value, &vec![0; VALUE_LEN + 1], &mut Vec::new()), Err(BundleError::TooLong(Kind::Value)));
    }

    #[test]
    fn kinds_are_their_codes_and_their_ranks_ascend() {
        for (kind, code) in Kind::ALL.iter().zip(1_u8..) {
            assert_eq!((kind.code(), Kind::from_code(code)), (code, Some(*kind)));
        }
        let ranks: Vec<u8> = Kind::ALL.iter().take(13).map(|kind| kind.rank()).collect();
        assert!(ranks.is_sorted() && Kind::ALL[12] == Kind::Trailer, "{ranks:?}");
        assert!([Kind::SealedRecord, Kind::SealedValue].iter().all(|kind| kind.rank() == Kind::Record.rank()));
        assert_eq!(Kind::Events.rank(), Kind::Person.rank());
    }
}
