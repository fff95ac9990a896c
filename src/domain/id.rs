//! Numbers and random ids. Each kind has its own type, so that one cannot be passed for another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// Big-endian bytes, as stored in keys and contexts.
            #[must_use]
            pub const fn to_be_bytes(self) -> [u8; <$inner>::BITS as usize / 8] {
                self.0.to_be_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0_u8; 16];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError)?;
                Ok(Self(bytes))
            }
        }
    };
}

/// An id that is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 hexadecimal digits")]
pub struct IdError;

number!(
    /// A tenant's number; 0 is the system tenant. Leased, never reused.
    TenantNo, u64
);
number!(
    /// A collection's number within its tenant; 0 is reserved for the tenant's own names. Leased, never reused.
    CollectionNo, u32
);
number!(
    /// How often a slot has been re-keyed.
    Gen, u32
);
number!(
    /// A record's version, from a leased counter: grows at every write, never repeats.
    Version, u64
);
number!(
    /// One generation of the root secret.
    Epoch, u64
);
number!(
    /// One audit chain's writer: a process start and a store. Leased.
    WriterId, u64
);

/// A leaf slot of a unit tree: the number of a shred unit. 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    /// The largest slot number.
    pub const MAX: u64 = (1 << 48) - 1;

    /// A slot, or `None` above [`Slot::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The number as 48 bits, big-endian.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 6] {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        [a, b, c, d, e, f]
    }

    /// The slot stored as 48 bits, big-endian.
    #[must_use]
    pub const fn from_be_bytes([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl TenantNo {
    /// The system tenant: accounts, audit units, request registers. Cannot be shredded.
    pub const SYSTEM: Self = Self(0);
}

impl CollectionNo {
    /// Stands for the tenant itself where a collection number is asked: names of collections.
    pub const TENANT: Self = Self(0);
}

random_id!(
    /// One deployment.
    StoreId
);
random_id!(
    /// One root secret; two attempts at one epoch have different ones.
    RootId
);
random_id!(
    /// One key tree; zeros for the tenant tree.
    TreeId
);
random_id!(
    /// One upload of a large value.
    UploadId
);
random_id!(
    /// One snapshot of the data store, to copy a backup from.
    SnapshotId
);
random_id!(
    /// One access token, the public part.
    TokenId
);
random_id!(
    /// One order to shred; also the id of its certificate.
    ShredId
);
random_id!(
    /// One legal hold.
    HoldId
);
random_id!(
    /// One request for a second person's approval; of an order to shred, the order's id.
    ApprovalId
);
random_id!(
    /// What one run of retention has done in one tenant on one day.
    ReportId
);
random_id!(
    /// One HTTP request, taken from `X-Request-Id` where that is a valid id.
    RequestId
);
random_id!(
    /// One user, service, job or operator, as audit entries name it.
    PrincipalId
);

impl ReportId {
    /// That of a run, by the first bytes of its own id, on a day since 1970, UTC: they lie in the order of days.
    #[must_use]
    pub fn of(day: u32, run: &[u8; 12]) -> Self {
        let [a, b, c, d] = day.to_be_bytes();
        let [e, f, g, h, i, j, k, l, m, n, o, p] = *run;
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// The day, since 1970.
    #[must_use]
    pub const fn day(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }
}

impl TreeId {
    /// The tenant tree.
    pub const TENANTS: Self = Self([0; 16]);
}
