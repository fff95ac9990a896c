//! The row of a person's several ids: tokens; the ids themselves are sealed under a unit of the person, and go with it.

use serde::{Deserialize, Serialize};

use super::ControlRow;

/// That a person has several ids, under each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::vault) struct AliasRow {
    /// Under an alias the token of the first id, and nothing else; `None` under the first.
    pub(in crate::vault) of: Option<[u8; 16]>,
    /// Tokens of the aliases.
    pub(in crate::vault) aliases: Vec<[u8; 16]>,
    /// Slot and generation of the unit that seals the ids: the person's own, of no collection.
    pub(in crate::vault) slot: u64,
    pub(in crate::vault) generation: u32,
    /// The first id and the aliases, in that order.
    pub(in crate::vault) sealed: Vec<u8>,
}

impl ControlRow for AliasRow {
    const NAME: &'static str = "alias";
}

impl AliasRow {
    /// That of an alias.
    pub(in crate::vault) const fn of(first: [u8; 16]) -> Self {
        Self { of: Some(first), aliases: Vec::new(), slot: 0, generation: 0, sealed: Vec::new() }
    }
}
