//! Why something did not open: one opaque value outside, a fixed label for counters.

use std::fmt;

/// Ciphertext, or a wrapped page, that does not open in this place under this key.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened")]
pub struct OpenError(OpenReason);

/// The label of a counter; never shown to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenReason {
    /// Unknown suite or format version.
    Suite,
    /// Wrong length, magic, place or inner encoding.
    Framing,
    /// The key, salt or context is not the one it was sealed under.
    Commitment,
    /// A chunk or page was changed, moved or cut.
    Tag,
}

impl OpenReason {
    /// Every reason, so that counters start at zero.
    pub const ALL: [Self; 4] = [Self::Suite, Self::Framing, Self::Commitment, Self::Tag];

    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Framing => "framing",
            Self::Commitment => "commitment",
            Self::Tag => "tag",
        }
    }
}

impl OpenError {
    /// The reason, for counters only.
    #[must_use]
    pub const fn reason(self) -> OpenReason {
        self.0
    }
}

impl From<OpenReason> for OpenError {
    fn from(reason: OpenReason) -> Self {
        Self(reason)
    }
}

impl fmt::Debug for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenError")
    }
}
