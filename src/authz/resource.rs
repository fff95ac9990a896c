//! What something is done to.

use super::{Action, ActionKind};
use crate::domain::{CollectionName, RecordKey, TenantNo};

/// A thing that exists, or that a request says exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// The store itself: its list of tenants, its metrics, the operator's own trail and tokens.
    Store,
    /// A tenant, with the persons its records are about.
    Tenant {
        /// Its number.
        tenant: TenantNo,
    },
    /// A tenant that is shredded, for the token that ordered it; to everyone else it is gone.
    Shredded {
        /// Its number.
        tenant: TenantNo,
    },
    /// A record, or the keys, of a tenant of which legal holds alone keep something.
    Held {
        /// Its tenant.
        tenant: TenantNo,
        /// Its collection.
        collection: CollectionName,
        /// Its key, or the keys' prefix.
        key: Option<RecordKey>,
    },
    /// A collection, with its policy and the whole of its records.
    Collection {
        /// Its tenant.
        tenant: TenantNo,
        /// Its name.
        collection: CollectionName,
    },
    /// The keys of a collection, or those under a prefix.
    Keys {
        /// The collection's tenant.
        tenant: TenantNo,
        /// The collection.
        collection: CollectionName,
        /// Whole segments; none means all keys.
        prefix: Option<RecordKey>,
    },
    /// A record.
    Record {
        /// Its tenant.
        tenant: TenantNo,
        /// Its collection.
        collection: CollectionName,
        /// Its key.
        key: RecordKey,
    },
}

/// A kind of resource, as the policy table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// [`Resource::Store`].
    Store,
    /// [`Resource::Tenant`].
    Tenant,
    /// [`Resource::Shredded`].
    Shredded,
    /// [`Resource::Held`].
    Held,
    /// [`Resource::Collection`].
    Collection,
    /// [`Resource::Keys`].
    Keys,
    /// [`Resource::Record`].
    Record,
}

impl ResourceKind {
    /// All kinds, in the order of the golden policy.
    pub const ALL: [Self; 7] = [Self::Store, Self::Tenant, Self::Shredded, Self::Held, Self::Collection, Self::Keys, Self::Record];

    /// The name in the golden policy.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Tenant => "tenant",
            Self::Shredded => "shredded",
            Self::Held => "held",
            Self::Collection => "collection",
            Self::Keys => "keys",
            Self::Record => "record",
        }
    }
}

impl Resource {
    /// The store itself.
    #[must_use]
    pub const fn store() -> Self {
        Self::Store
    }

    /// A tenant; the system tenant is the store itself.
    #[must_use]
    pub const fn tenant(tenant: TenantNo) -> Self {
        if tenant.0 == TenantNo::SYSTEM.0 { Self::Store } else { Self::Tenant { tenant } }
    }

    /// What action `A` is done to in a collection: to a record or the collection, or, by a list, to the keys under a prefix.
    #[must_use]
    pub fn collection<A: Action>(tenant: TenantNo, collection: &CollectionName, key: Option<&RecordKey>) -> Self {
        let collection = collection.clone();
        match (A::KIND, key.cloned()) {
            (ActionKind::RecordList, prefix) => Self::Keys { tenant, collection, prefix },
            (_, Some(key)) => Self::Record { tenant, collection, key },
            (_, None) => Self::Collection { tenant, collection },
        }
    }

    /// The same, of a tenant of which legal holds alone keep something.
    #[must_use]
    pub fn held(self) -> Self {
        match self {
            Self::Keys { tenant, collection, prefix } => Self::Held { tenant, collection, key: prefix },
            Self::Record { tenant, collection, key } => Self::Held { tenant, collection, key: Some(key) },
            Self::Store | Self::Tenant { .. } | Self::Shredded { .. } | Self::Held { .. } | Self::Collection { .. } => self,
        }
    }

    /// What kind of thing it is.
    #[must_use]
    pub const fn kind(&self) -> ResourceKind {
        match self {
            Self::Store => ResourceKind::Store,
            Self::Tenant { .. } => ResourceKind::Tenant,
            Self::Shredded { .. } => ResourceKind::Shredded,
            Self::Held { .. } => ResourceKind::Held,
            Self::Collection { .. } => ResourceKind::Collection,
            Self::Keys { .. } => ResourceKind::Keys,
            Self::Record { .. } => ResourceKind::Record,
        }
    }

    /// In which tenant; the system tenant for the store itself.
    #[must_use]
    pub const fn tenant_no(&self) -> TenantNo {
        match self {
            Self::Store => TenantNo::SYSTEM,
            Self::Tenant { tenant }
            | Self::Shredded { tenant }
            | Self::Held { tenant, .. }
            | Self::Collection { tenant, .. }
            | Self::Keys { tenant, .. }
            | Self::Record { tenant, .. } => *tenant,
        }
    }
}
