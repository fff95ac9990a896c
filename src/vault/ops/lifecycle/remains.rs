//! What remains of a tenant that ends, why, and until when: the answer to its order, and to who asks how it goes.

use super::super::{Caller, Missing, Vault, VaultError, directory::Tenant, holds::bind::knows_holds, rows::HoldRow, tenants::TenantView};
use crate::{
    authz::{self, Action as _, CollectionRead, Resource},
    domain::{CollectionNo, HoldId, PrincipalId, Retention, Timestamp},
    vault::store::{
        Space,
        schema::{self, Table},
    },
};

/// Holds and minimums that one answer lists at most.
const LISTED: usize = 100;
/// Collections that are looked through for minimums at most.
const LOOKED_THROUGH: usize = 1_000;

/// The end of a tenant as who may know of it sees it.
#[derive(Debug, Clone)]
pub struct TerminationView {
    /// The tenant, with when its grace ends.
    pub tenant: TenantView,
    /// Token that ordered it.
    pub ordered_by: PrincipalId,
    /// Token that approved it, where that took two persons.
    pub approved_by: Option<PrincipalId>,
    /// When.
    pub ordered_at: Timestamp,
    /// The first moment behind the grace.
    pub ends_at: Timestamp,
    /// What is there behind its end.
    pub remains: Vec<Remaining>,
    /// Legal minimums of its collections: who must keep these records takes them along before the end.
    pub minimums: Vec<Minimum>,
    /// Whether there are more of either than are listed.
    pub more: bool,
}

/// Something that is there behind a tenant's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// `legal-hold`, `legal-obligation`, which is all holds that the caller may not know of, `audit-trail`, `certificate`, `name-token` or
    /// `ciphertext`.
    pub what: &'static str,
    /// Why, in a sentence.
    pub why: &'static str,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// The hold, for who may know of it.
    pub hold: Option<HoldId>,
}

/// A legal minimum of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minimum {
    /// The collection.
    pub collection: String,
    /// Its rule.
    pub rule: String,
    /// The law that it cites.
    pub basis: String,
    /// How long it asks for.
    pub period: String,
}

const HOLD: &str = "a legal hold keeps what it is on until it ends; the shred of the tenant waits for the last one";
const OBLIGATION: &str = "a legal obligation keeps something until it ends; the shred of the tenant waits for that";
const ALWAYS: [Remaining; 4] = [
    Remaining {
        what: "audit-trail",
        why: "it proves what was done with the data; its entries hold tokens, and name nobody once the tenant's keys are gone",
        until: None,
        hold: None,
    },
    Remaining {
        what: "certificate",
        why: "it proves the shred, and stands in the public log; it holds commitments and no name",
        until: None,
        hold: None,
    },
    Remaining { what: "name-token", why: "a tenant's name is never used again; a keyed token of it says so", until: None, hold: None },
    Remaining {
        what: "ciphertext",
        why: "bytes that no key opens any more, until they are reclaimed here, and in backups until those go",
        until: None,
        hold: None,
    },
];

impl Vault {
    /// The order to end a tenant, for who may know of it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if there is none.
    pub(super) async fn termination_view(&self, caller: &Caller, tenant: &Tenant) -> Result<TerminationView, VaultError> {
        let now = self.inner.clock.now();
        let ending = tenant.life.termination.ok_or(VaultError::NotFound(Missing::Termination))?;
        let (mut remains, more_holds) = self.remaining_holds(caller, tenant, now).await?;
        remains.extend(ALWAYS);
        let (principal, state) = (&caller.principal, tenant.stands(now));
        let sees_policies = authz::decide::<CollectionRead>(principal, &Resource::tenant(tenant.no)).is_ok()
            && authz::leaves(state, CollectionRead::KIND, principal.role());
        let (minimums, more_minimums) = if sees_policies { self.minimums_of(tenant).await? } else { (Vec::new(), false) };
        Ok(TerminationView {
            tenant: TenantView::of(tenant, now),
            ordered_by: PrincipalId(ending.ordered_by),
            approved_by: ending.approved_by.map(PrincipalId),
            ordered_at: Timestamp(ending.ordered_at),
            ends_at: Timestamp(ending.ends_at),
            remains,
            minimums,
            more: more_holds || more_minimums,
        })
    }

    /// The holds that stand: those that the caller may know of one by one, all others as one that is not named.
    async fn remaining_holds(&self, caller: &Caller, tenant: &Tenant, now: Timestamp) -> Result<(Vec<Remaining>, bool), VaultError> {
        let (mut remains, mut is_there_more, mut is_one_hidden) = (Vec::new(), false, false);
        if self.hold_state(tenant.no).await?.0.is_none() {
            return Ok((remains, false));
        }
        let mut range = schema::table_of_tenant(Table::Hold, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if !hold.stands(now) {
                    continue;
                }
                if !hold.disclosed && !knows_holds(caller.principal.role()) {
                    is_one_hidden = true;
                } else if remains.len() < LISTED {
                    let id = row.key.last_chunk::<16>().map(|id| HoldId(*id));
                    remains.push(Remaining { what: "legal-hold", why: HOLD, until: hold.lapses_at.map(Timestamp), hold: id });
                } else {
                    is_there_more = true;
                }
            }
        }
        if is_one_hidden {
            let what = if fault!("obligation-remains") { "legal-hold" } else { "legal-obligation" };
            remains.push(Remaining { what, why: OBLIGATION, until: None, hold: None });
        }
        Ok((remains, is_there_more))
    }

    /// The legal minimums of a tenant's collections, those that they had included, for these keep what was written under them; and whether
    /// there are more.
    async fn minimums_of(&self, tenant: &Tenant) -> Result<(Vec<Minimum>, bool), VaultError> {
        let mut minimums = Vec::new();
        let range = schema::table_of_tenant(Table::Collection, tenant.no);
        let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, LOOKED_THROUGH.saturating_add(1)).await?;
        let mut more = rows.len() > LOOKED_THROUGH;
        for row in rows.iter().take(LOOKED_THROUGH) {
            let number = row.key.last_chunk::<4>().map(|no| CollectionNo(u32::from_be_bytes(*no)));
            let number = number.ok_or_else(|| VaultError::Internal("collection row".into()))?;
            // One that is shredded, or bent, has no policy to tell.
            let Ok(collection) = self.collection_by_number(tenant.no, number).await else { continue };
            let of_today = std::iter::once(&collection.policy.retention);
            let all = of_today.chain(collection.past.retention_was.iter().rev().map(|(_, was, _)| was));
            for rule in all.filter_map(Retention::schedule).flat_map(|schedule| &schedule.rules) {
                let Some(minimum) = &rule.minimum else { continue };
                let minimum = Minimum {
                    collection: collection.name.as_str().to_owned(),
                    rule: rule.name.as_str().to_owned(),
                    basis: minimum.basis.clone(),
                    period: minimum.period.to_string(),
                };
                if minimums.contains(&minimum) {
                    continue;
                }
                if minimums.len() >= LISTED {
                    more = true;
                    continue;
                }
                minimums.push(minimum);
            }
        }
        Ok((minimums, more))
    }
}
