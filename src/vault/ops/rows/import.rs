//! The row of a tenant that is imported: numbers and hashes. A bundle's header holds a salt that is nowhere else, so its hash confirms
//! no guess.

use serde::{Deserialize, Serialize};

use super::{ApprovalRulesRow, ControlRow};

/// How far an import has come. It lies in the data store, and is written in the commits of the records that it counts, so that data and
/// row are of the same moment whatever is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct ImportRow {
    /// The bundle's id.
    pub(in crate::vault) bundle: [u8; 16],
    /// The number of its next frame.
    pub(in crate::vault) next: u64,
    /// The running hash over those before it.
    pub(in crate::vault) chain: [u8; 32],
    /// The rank of the last one.
    pub(in crate::vault) rank: u8,
    /// How many there are of each kind, in the order of the kinds.
    pub(in crate::vault) counts: Vec<u64>,
    /// Whether a write to an unknown collection is to make it, once the tenant is there.
    pub(in crate::vault) create_on_write: bool,
    /// What is to take two persons in it, once it is there.
    pub(in crate::vault) approvals: Option<ApprovalRulesRow>,
}

impl ControlRow for ImportRow {
    const NAME: &'static str = "import";
}
