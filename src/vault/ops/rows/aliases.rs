//! The row of one of a person's several ids: tokens; the id itself is sealed under a unit of its own, and goes with it.

use serde::{Deserialize, Serialize};

use super::ControlRow;

/// That a person has several ids, under each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct AliasRow {
    /// Under an alias the token of the first id; `None` under the first.
    pub(in crate::vault) of: Option<[u8; 16]>,
    /// Tokens of the aliases; none under an alias.
    pub(in crate::vault) aliases: Vec<[u8; 16]>,
    /// Slot and generation of the unit that seals the id: the id's own, of no collection.
    pub(in crate::vault) slot: u64,
    pub(in crate::vault) generation: u32,
    /// The id.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for AliasRow {
    const NAME: &'static str = "alias";
}
