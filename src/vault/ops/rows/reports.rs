//! Rows of what runs of retention did: what was counted is sealed under the tenant.

use serde::{Deserialize, Serialize};

use super::ControlRow;

/// A report, of either store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ReportRow {
    /// Nothing is counted in it any more: its day is over.
    pub(in crate::vault) closed: bool,
    /// The counts, sealed under the tenant's metadata key.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for ReportRow {
    const NAME: &'static str = "retention report";
}
