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
    /// A row that another one vouches for is not there.
    Missing,
}

impl OpenReason {
    /// Every reason, so that counters start at zero.
    pub const ALL: [Self; 5] = [Self::Suite, Self::Framing, Self::Commitment, Self::Tag, Self::Missing];

    /// The metric's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Suite => "suite",
            Self::Framing => "framing",
            Self::Commitment => "commitment",
            Self::Tag => "tag",
            Self::Missing => "missing",
        }
    }
}

impl OpenError {
    /// The reason, for counters only.
    #[must_use]
    pub const fn reason(self) -> OpenReason {
        self.0
    }

    /// Counts it in `lethe_open_failures_total`: a stored row that does not open is damage or tampering.
    pub(in crate::vault) fn counted(self) -> Self {
        metrics::counter!("lethe_open_failures_total", "reason" => self.0.label()).increment(1);
        self
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
