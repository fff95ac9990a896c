//! A key: 32 bytes in a box, with its role in its type. Wiped on drop; never cloned, compared or printed.

use std::{fmt, marker::PhantomData};

use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(test)]
use super::random;

mod sealed {
    pub trait Role {
        const NAME: &'static str;
    }
}

/// What a key is for.
pub trait Role: sealed::Role + Send + Sync + 'static {}

/// Roles whose keys seal content.
pub trait SealsContent: Role {}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl sealed::Role for $name {
            const NAME: &'static str = stringify!($name);
        }
        impl Role for $name {}
    )*};
}

roles! {
    /// An epoch's root, extracted from the custody components.
    Root;
    /// A slot above the leaves, or a tree's top: wraps one page.
    Branch;
    /// A tenant's secret: names and indexes hang on it.
    TenantSecret;
    /// A shred unit's key: data keys hang on it.
    Unit;
    /// Seals the content of one unit in one collection.
    Data;
    /// Makes lookup tokens.
    Name;
    /// Seals a tenant's own metadata.
    Meta;
}

impl SealsContent for Data {}
impl SealsContent for Meta {}

/// A key in the role `R`.
pub struct Key<R: Role> {
    // Invariant: never moved out of its box, so that no copy stays behind.
    bytes: Box<[u8; 32]>,
    role: PhantomData<R>,
}

impl<R: Role> Key<R> {
    /// A fresh random key. Outside tests fresh keys are slots, made in their pages.
    #[cfg(test)]
    pub(in crate::vault) fn make() -> Self {
        Self::fill_with(|bytes| random::fill(bytes))
    }

    /// The key with these bytes; wiping `bytes` is the caller's.
    pub(in crate::vault) fn from_slice(bytes: &[u8; 32]) -> Self {
        Self::fill_with(|own| own.copy_from_slice(bytes))
    }

    /// A key whose bytes `fill` writes in place.
    pub(in crate::vault) fn fill_with(fill: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut key = Self { bytes: Box::new([0; 32]), role: PhantomData };
        fill(&mut key.bytes);
        key
    }

    /// The key's bytes.
    pub(in crate::vault) fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl<R: Role> Drop for Key<R> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl<R: Role> ZeroizeOnDrop for Key<R> {}

impl<R: Role> fmt::Debug for Key<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key<{}>", R::NAME)
    }
}
