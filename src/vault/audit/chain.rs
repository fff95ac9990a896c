//! The hash chain over entries: `h_0` binds store, tenant and writer; `h_i = SHA-256(h_(i-1) | be32(len) | entry)`.

use crate::{
    domain::{StoreId, TenantNo, WriterId},
    vault::{
        crypto::hash::{self, Purpose},
        store::Space,
    },
};

/// A value of the chain.
pub type ChainHash = [u8; 32];

/// Which of a tenant's two audit spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trail {
    /// Entries of what changes control rows.
    Control,
    /// Entries of what reads or changes data rows.
    Data,
}

impl Trail {
    /// The store's space.
    #[must_use]
    pub const fn space(self) -> Space {
        match self {
            Self::Control => Space::ControlAudit,
            Self::Data => Space::DataAudit,
        }
    }

    /// The writer of a process start (its leased number) in this trail: `2 * start`, plus one for the data trail.
    #[must_use]
    pub const fn writer(self, start: u64) -> WriterId {
        WriterId(match self {
            Self::Control => start << 1,
            Self::Data => start << 1 | 1,
        })
    }

    /// Which trail a writer writes.
    #[must_use]
    pub const fn of(writer: WriterId) -> Self {
        if writer.0 & 1 == 0 { Self::Control } else { Self::Data }
    }
}

/// `h_0` of a writer's chain of a tenant.
#[must_use]
pub fn start(store: &StoreId, tenant: TenantNo, writer: WriterId) -> ChainHash {
    hash::of_fields(Purpose::AuditChain, &[&store.0, &tenant.to_be_bytes(), &writer.to_be_bytes()])
}

/// `h_i` from `h_(i-1)` and the entry's encoding.
#[must_use]
pub fn next(previous: &ChainHash, entry: &[u8]) -> ChainHash {
    let len = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    hash::sha256(&[previous, &len.to_be_bytes(), entry])
}
