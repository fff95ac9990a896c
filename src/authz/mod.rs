//! May this principal do this to that? A pure function from ([`Principal`], [`Action`], [`Resource`]) to a
//! [`Permit`] or a [`Denied`]; the only maker of permits.
//!
//! The whole policy is one table, [`policy::POLICY`]; `tests/golden/policy.txt` shows every cell of it. Three
//! rules decide between 404 and 403:
//! * Another tenant's anything is *not found*, and so is what lies outside a narrowing.
//! * Who holds no permission at all on a kind of thing may not know that one exists: *not found*. So an operator,
//!   who knows tenants, is told of no collection and no record.
//! * Everybody else is told *forbidden*.
//!
//! Nothing is looked up here, so a refusal says nothing about whether the thing is really there. A tenant that is not simply in use
//! leaves less than the policy allows: [`states`].

use std::marker::PhantomData;

pub mod action;
pub mod policy;
pub mod resource;
pub mod states;

pub use action::*;
pub use policy::Reach;
pub use resource::{Resource, ResourceKind};
pub use states::leaves;

use crate::authn::{Principal, Role};
use crate::domain::TenantNo;

/// Why a principal may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// It may not even know that the thing exists: 404.
    #[error("not found")]
    NotFound,
    /// It may know the thing, and not do this to it: 403.
    #[error("forbidden")]
    Forbidden,
}

/// That a principal may do `A` to a resource. Made by [`decide`] alone.
#[must_use]
#[derive(Debug)]
pub struct Permit<A: Action> {
    principal: Principal,
    resource: Resource,
    action: PhantomData<A>,
}

impl<A: Action> Permit<A> {
    /// Who may.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// To what.
    #[must_use]
    pub const fn resource(&self) -> &Resource {
        &self.resource
    }

    /// In which tenant; the system tenant for the store itself.
    #[must_use]
    pub const fn tenant(&self) -> TenantNo {
        self.resource.tenant_no()
    }

    /// What it may do, as a value.
    #[must_use]
    pub const fn action(&self) -> ActionKind {
        A::KIND
    }
}

/// Decides whether `principal` may do `A` to `resource`.
///
/// # Errors
/// [`Denied`] says whether it may know that the thing exists.
pub fn decide<A: Action>(principal: &Principal, resource: &Resource) -> Result<Permit<A>, Denied> {
    decide_kind(principal, A::KIND, resource)?;
    Ok(Permit { principal: principal.clone(), resource: resource.clone(), action: PhantomData })
}

fn decide_kind(principal: &Principal, action: ActionKind, resource: &Resource) -> Result<(), Denied> {
    if !may_know(principal, resource) {
        return Err(Denied::NotFound);
    }
    let row = policy::POLICY.iter().find(|row| row.action == action && row.on == resource.kind() && row.roles.contains(&principal.role()));
    if row.is_some_and(|row| reaches(principal, row.reach, resource)) { Ok(()) } else { Err(Denied::Forbidden) }
}

/// Whether the principal may know that the resource exists, should it exist.
fn may_know(principal: &Principal, resource: &Resource) -> bool {
    let role = principal.role();
    let narrowing = principal.narrowing();
    let at_home = resource.tenant_no() == principal.tenant();
    match resource {
        // That there is a store, everybody can see.
        Resource::Store => true,
        // Every principal knows its own tenant, and an operator every tenant.
        Resource::Tenant { .. } => at_home || role == Role::Operator,
        // Whose it is that ordered it, the caller has looked up.
        Resource::Shredded { .. } => at_home,
        Resource::Held { collection, key, .. } => {
            at_home
                && policy::has_any(role, ResourceKind::Held)
                && narrowing.reaches(collection)
                && key.as_ref().is_none_or(|key| narrowing.covers(key))
        }
        Resource::Collection { collection, .. } | Resource::Keys { collection, .. } => {
            at_home && policy::has_any(role, ResourceKind::Collection) && narrowing.reaches(collection)
        }
        Resource::Record { collection, key, .. } => {
            at_home && policy::has_any(role, ResourceKind::Record) && narrowing.reaches(collection) && narrowing.covers(key)
        }
    }
}

/// Whether the principal's grant, narrowed as it is, reaches as far as the rule asks.
fn reaches(principal: &Principal, reach: Reach, resource: &Resource) -> bool {
    let narrowing = principal.narrowing();
    match reach {
        Reach::Part => match resource {
            Resource::Keys { prefix, .. } | Resource::Held { key: prefix, .. } => {
                narrowing.prefix.is_none() || prefix.as_ref().is_some_and(|prefix| narrowing.covers(prefix))
            }
            Resource::Store
            | Resource::Tenant { .. }
            | Resource::Shredded { .. }
            | Resource::Collection { .. }
            | Resource::Record { .. } => true,
        },
        Reach::WholeCollection => narrowing.prefix.is_none(),
        Reach::Whole => narrowing.is_whole(),
    }
}

#[cfg(test)]
mod tests;
