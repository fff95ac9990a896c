//! Keys of `Control` about legal holds: which stand, what they are on, when they lapse, and what they stopped. [`HeldThing`] is what one
//! can be on; its place in a key begins no other's.

use bytes::Bytes;

use crate::domain::{CollectionNo, HoldId, TenantNo};

use super::{KeyRange, Parts, Table, Token, key, prefix};

/// [`Table::Hold`].
#[must_use]
pub fn hold(tenant: TenantNo, hold: HoldId) -> Bytes {
    key(Table::Hold, &[&tenant.to_be_bytes(), &hold.0])
}

/// What a legal hold is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeldThing {
    /// A whole tenant.
    Tenant,
    /// A person.
    Subject(Token),
    /// The records of a collection whose keys begin with these segments; all of it, if there are none.
    Under(CollectionNo, Vec<Token>),
    /// One record.
    Record(CollectionNo, Vec<Token>),
}

impl HeldThing {
    /// Its place among those of a tenant, each of which begins no other.
    fn place(&self) -> Vec<u8> {
        let tokens = |kind: u8, collection: &CollectionNo, tokens: &[Token]| {
            let count = u8::try_from(tokens.len()).unwrap_or(u8::MAX);
            [&[kind][..], &collection.to_be_bytes(), &[count], tokens.as_flattened()].concat()
        };
        match self {
            Self::Tenant => vec![0],
            Self::Subject(subject) => [&[1][..], subject].concat(),
            Self::Under(collection, of) => tokens(2, collection, of),
            Self::Record(collection, of) => tokens(3, collection, of),
        }
    }
}

/// [`Table::HoldOn`].
#[must_use]
pub fn hold_on(tenant: TenantNo, on: &HeldThing, hold: HoldId) -> Bytes {
    key(Table::HoldOn, &[&tenant.to_be_bytes(), &on.place(), &hold.0])
}

/// The holds on one thing.
#[must_use]
pub fn holds_on(tenant: TenantNo, on: &HeldThing) -> KeyRange {
    prefix(&key(Table::HoldOn, &[&tenant.to_be_bytes(), &on.place()]))
}

/// Tenant, thing and hold of a [`Table::HoldOn`] key; `None` if it is not one.
#[must_use]
pub fn hold_on_parts(key: &[u8]) -> Option<(TenantNo, HeldThing, HoldId)> {
    let mut parts = Parts::of(Table::HoldOn, key)?;
    let tenant = parts.tenant()?;
    let on = match parts.u8()? {
        0 => HeldThing::Tenant,
        1 => HeldThing::Subject(parts.token()?),
        kind @ (2 | 3) => {
            let collection = parts.collection()?;
            let tokens = (0..parts.u8()?).map(|_| parts.token()).collect::<Option<Vec<_>>>()?;
            if kind == 2 { HeldThing::Under(collection, tokens) } else { HeldThing::Record(collection, tokens) }
        }
        _ => return None,
    };
    let hold = HoldId(parts.bytes()?);
    parts.rest().is_empty().then_some((tenant, on, hold))
}

/// [`Table::HoldState`].
#[must_use]
pub fn hold_state(tenant: TenantNo) -> Bytes {
    key(Table::HoldState, &[&tenant.to_be_bytes()])
}

/// [`Table::HoldLapse`]; `at` in milliseconds since 1970.
#[must_use]
pub fn hold_lapse(at: u64, tenant: TenantNo, hold: HoldId) -> Bytes {
    key(Table::HoldLapse, &[&at.to_be_bytes(), &tenant.to_be_bytes(), &hold.0])
}

/// Time, tenant and hold of a [`Table::HoldLapse`] key; `None` if it is not one.
#[must_use]
pub fn hold_lapse_parts(key: &[u8]) -> Option<(u64, TenantNo, HoldId)> {
    let mut parts = Parts::of(Table::HoldLapse, key)?;
    let (at, tenant, hold) = (parts.u64()?, parts.tenant()?, HoldId(parts.bytes()?));
    parts.rest().is_empty().then_some((at, tenant, hold))
}

/// [`Table::HeldOrder`].
#[must_use]
pub fn held_order(tenant: TenantNo, scope: &Token) -> Bytes {
    key(Table::HeldOrder, &[&tenant.to_be_bytes(), scope])
}
