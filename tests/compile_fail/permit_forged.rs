use std::marker::PhantomData;

use lethe::{
    authn::Principal,
    authz::{Permit, RecordRead, Resource},
};

pub fn misuse(principal: Principal, resource: Resource) -> Permit<RecordRead> {
    Permit { principal, resource, action: PhantomData } //~ E0451 fields `principal`, `resource` and `action` of struct `Permit` are private
}
