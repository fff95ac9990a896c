//! The guard in front of every operation: credential -> principal, principal x action x resource -> permit.
//! A denial is on the record before it is answered; who may not know that a thing exists is told it does not.

use std::sync::Arc;

use super::{
    Caller, Conflict, Missing, Unprocessable, Vault, VaultError,
    directory::{Collection, Tenant},
    plan::{entry, record_row},
    rows::{LifeRow, State},
    tokens,
};
use crate::{
    authn::{PresentedToken, Principal, Role},
    authz::{self, Action, ActionKind, Denied, Permit, Resource},
    domain::{CollectionName, CollectionNo, PrincipalId, RecordKey, RequestId, ShredId, TenantName, TenantNo},
    vault::{
        audit::{self, Entry, Outcome, Reason, Target},
        crypto::{Receipt, RecordHeader},
        store::{Space, schema},
    },
};

/// A tenant and the permit to act in it.
pub(super) struct InTenant<A: Action> {
    pub(super) tenant: Arc<Tenant>,
    /// Proof that it was decided; dropped with the operation.
    _permit: Permit<A>,
}

/// A collection and the permit to act in it.
pub(super) struct InCollection<A: Action> {
    pub(super) tenant: Arc<Tenant>,
    pub(super) collection: Arc<Collection>,
    /// Proof that it was decided; dropped with the operation.
    _permit: Permit<A>,
}

/// A permit in a collection that need not be there.
pub(super) enum Permitted<A: Action> {
    There(InCollection<A>),
    /// It is not, and the caller may be told so.
    Missing(Arc<Tenant>),
}

impl Vault {
    /// Turns a credential into a principal. Reads the token's row each time (from memory once cached by the
    /// engine), so a revocation holds from the next request on.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`], recorded in the system's trail; those of [`Vault::refuse_credential`].
    pub async fn authenticate(&self, presented: &PresentedToken, request: RequestId) -> Result<Principal, VaultError> {
        let verified = match self.token_row(presented.id()).await? {
            None => Err(VaultError::Unauthenticated),
            // The secret first: what is sealed under the tenant's key, which may be gone, is for who has it.
            Some(row) => match presented.verify(&tokens::bare(presented.id(), &row)?, self.inner.clock.now()) {
                Err(_) => Err(VaultError::Unauthenticated),
                Ok(principal) if row.sealed_narrowing.is_empty() => Ok(principal),
                Ok(_) => {
                    let stored = tokens::stored(self, presented.id(), &row).await;
                    stored.and_then(|stored| presented.verify(&stored, self.inner.clock.now()).map_err(|_| VaultError::Unauthenticated))
                }
            },
        };
        if let Err(VaultError::Unauthenticated | VaultError::Shredded { .. }) = &verified {
            self.refuse_credential(PrincipalId(presented.id().0), request).await?;
        }
        verified
    }

    /// Whether a caller's credential still holds: asked again where its request has taken its time to come in.
    ///
    /// # Errors
    /// [`VaultError::Unauthenticated`] if it was revoked or has ended meanwhile; those of [`Vault::refuse_credential`].
    pub async fn holds(&self, caller: &Caller) -> Result<(), VaultError> {
        let token = schema::access_token(caller.principal.token());
        let ended = caller.principal.has_ended(self.inner.clock.now());
        if ended || self.inner.store.get(Space::Control, &token).await?.is_none() { Err(self.holds_no_more(caller).await?) } else { Ok(()) }
    }

    /// Records that a credential which held when its request began holds no more, and says what the caller is told.
    pub(super) async fn holds_no_more(&self, caller: &Caller) -> Result<VaultError, VaultError> {
        self.refuse_credential(caller.principal.id(), caller.request).await?;
        Ok(VaultError::Unauthenticated)
    }

    /// Finds the tenant and asks for a permit in it.
    pub(super) async fn in_tenant<A: Action>(&self, caller: &Caller, name: &TenantName) -> Result<InTenant<A>, VaultError> {
        self.in_tenant_at(caller, name, None).await
    }

    /// The same, for a collection that need not be there.
    pub(super) async fn in_tenant_at<A: Action>(
        &self,
        caller: &Caller,
        name: &TenantName,
        collection: Option<&CollectionName>,
    ) -> Result<InTenant<A>, VaultError> {
        let found = self.in_any_tenant::<A>(caller, name, collection).await?;
        found.tenant.in_use()?;
        self.admitted(caller, found).await
    }

    /// The same, in a tenant that may still be being imported.
    pub(super) async fn in_tenant_or_importing<A: Action>(&self, caller: &Caller, name: &TenantName) -> Result<InTenant<A>, VaultError> {
        let found = self.in_any_tenant::<A>(caller, name, None).await?;
        found.tenant.in_use_or_importing()?;
        self.admitted(caller, found).await
    }

    /// The same, in a tenant that is being imported.
    ///
    /// # Errors
    /// [`Conflict::NotImporting`] for any other.
    pub(super) async fn in_importing<A: Action>(&self, caller: &Caller, name: &TenantName) -> Result<InTenant<A>, VaultError> {
        let found = self.in_tenant_or_importing::<A>(caller, name).await?;
        if found.tenant.is_importing() { Ok(found) } else { Err(VaultError::Conflict(Conflict::NotImporting)) }
    }

    /// The same, whatever state the tenant is in.
    async fn in_any_tenant<A: Action>(
        &self,
        caller: &Caller,
        name: &TenantName,
        collection: Option<&CollectionName>,
    ) -> Result<InTenant<A>, VaultError> {
        let Some(tenant) = self.find_tenant(name).await? else { return Err(self.no_tenant::<A>(caller).await?) };
        let resource = match collection {
            None => Resource::tenant(tenant.no),
            Some(collection) => Resource::collection::<A>(tenant.no, collection, None),
        };
        match authz::decide::<A>(&caller.principal, &resource) {
            Ok(permit) => Ok(InTenant { tenant, _permit: permit }),
            Err(denied) => Err(self.denied::<A>(caller, &tenant, Aim::none(), denied, Missing::Tenant).await?),
        }
    }

    /// A permit that the tenant's state leaves to the caller; that its grace is over is written down first.
    async fn admitted<A: Action>(&self, caller: &Caller, found: InTenant<A>) -> Result<InTenant<A>, VaultError> {
        let tenant = self.with_its_end(caller, found.tenant.clone()).await?;
        self.admits::<A>(caller, &tenant)?;
        Ok(InTenant { tenant, ..found })
    }

    /// Whether a tenant's state leaves this to the caller, as it was read; every commit is held to what was read.
    pub(super) fn admits<A: Action>(&self, caller: &Caller, tenant: &Tenant) -> Result<(), VaultError> {
        self.leaves(tenant, A::KIND, caller.principal.role())
    }

    /// The same for a role.
    pub(super) fn leaves(&self, tenant: &Tenant, action: ActionKind, role: Role) -> Result<(), VaultError> {
        if tenant.life == LifeRow::default() {
            // Most are simply in use: no clock is asked for those.
            return Ok(());
        }
        let state = tenant.stands(self.inner.clock.now());
        if authz::leaves(state, action, role) { Ok(()) } else { Err(VaultError::TenantState(state)) }
    }

    /// A permit for what outlives a tenant, for the token that ordered its shred; `None` for everyone else, and while it is not
    /// done.
    pub(super) async fn in_shredded<A: Action>(&self, caller: &Caller, name: &TenantName) -> Result<Option<InTenant<A>>, VaultError> {
        let Some(tenant) = self.find_tenant(name).await? else { return Ok(None) };
        let State::Shredded(order) = tenant.state else { return Ok(None) };
        let ordered_by = self.shred_row(ShredId(order)).await?.map(|row| row.ordered_by);
        if ordered_by != Some(caller.principal.token().0) {
            return Ok(None);
        }
        match authz::decide::<A>(&caller.principal, &Resource::Shredded { tenant: tenant.no }) {
            Ok(permit) => Ok(Some(InTenant { tenant, _permit: permit })),
            Err(denied) => Err(self.denied::<A>(caller, &tenant, Aim::none(), denied, Missing::Tenant).await?),
        }
    }

    /// Records that a tenant was named that there is not: with the system, for the caller's own trail would tell it apart
    /// from one that there is.
    pub(super) async fn no_tenant<A: Action>(&self, caller: &Caller) -> Result<VaultError, VaultError> {
        let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
        self.deny::<A>(caller, &system, Aim::none(), Reason::NotFound).await?;
        Ok(VaultError::NotFound(Missing::Tenant))
    }

    /// Finds the collection and asks for a permit in it, for all of it or for one key or prefix.
    pub(super) async fn in_collection<A: Action>(
        &self,
        caller: &Caller,
        name: &TenantName,
        collection: &CollectionName,
        key: Option<&RecordKey>,
    ) -> Result<InCollection<A>, VaultError> {
        match self.permitted::<A>(caller, name, collection, key).await? {
            Permitted::There(found) => Ok(found),
            Permitted::Missing(tenant) => {
                let outcome = Outcome::Failed(Reason::NotFound);
                let missing = entry(caller, &tenant, audited(A::KIND), CollectionNo::TENANT, Target::default());
                self.refuse(caller, &tenant, Entry { outcome, ..missing }).await?;
                Err(VaultError::NotFound(Missing::Collection))
            }
        }
    }

    /// The same, for a collection that need not be there.
    pub(super) async fn permitted<A: Action>(
        &self,
        caller: &Caller,
        name: &TenantName,
        collection: &CollectionName,
        key: Option<&RecordKey>,
    ) -> Result<Permitted<A>, VaultError> {
        let Some(tenant) = self.find_tenant(name).await? else { return Err(self.no_tenant::<A>(caller).await?) };
        let resource = Resource::collection::<A>(tenant.no, collection, key);
        let decision = match authz::decide::<A>(&caller.principal, &resource) {
            Err(Denied::Forbidden) if tenant.has_ended(self.inner.clock.now()) => {
                authz::decide::<A>(&caller.principal, &resource.held()).map_err(|_| Denied::Forbidden)
            }
            decision => decision,
        };
        let permit = match decision {
            Ok(permit) => permit,
            Err(denied) => {
                // Only of what the caller may know to exist: what is looked up takes time that can be measured.
                let aim = if denied == Denied::Forbidden { self.aim(&tenant, collection, key).await } else { Aim::none() };
                return Err(self.denied::<A>(caller, &tenant, aim, denied, Missing::Collection).await?);
            }
        };
        tenant.in_use()?;
        let tenant = self.with_its_end(caller, tenant).await?;
        self.admits::<A>(caller, &tenant)?;
        match self.find_collection(tenant.no, collection).await? {
            Some(found) => {
                // The legal purpose of what a rule keeps is the rule; of what holds alone keep, who audits reads that, too.
                let is_audit = A::KIND == ActionKind::RestrictedRead || tenant.has_ended(self.inner.clock.now());
                let is_legal = |purpose: &str| is_audit && found.rules().any(|rule| rule == purpose);
                let declared = caller.purpose.as_ref().is_none_or(|purpose| found.policy.purposes.contains(purpose) || is_legal(purpose));
                if found.in_use().is_ok() && !declared {
                    let aim = self.aim(&tenant, collection, key).await;
                    self.deny::<A>(caller, &tenant, aim, Reason::Invalid).await?;
                    return Err(Unprocessable::PurposeUndeclared.into());
                }
                Ok(Permitted::There(InCollection { tenant, collection: found, _permit: permit }))
            }
            None => Ok(Permitted::Missing(tenant)),
        }
    }

    /// Records a denial in the trail of the tenant it was aimed at and says what the caller is told.
    pub(super) async fn denied<A: Action>(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        aim: Aim,
        denied: Denied,
        missing: Missing,
    ) -> Result<VaultError, VaultError> {
        let reason = match denied {
            Denied::NotFound => Reason::NotFound,
            Denied::Forbidden => Reason::Forbidden,
        };
        self.deny::<A>(caller, tenant, aim, reason).await?;
        Ok(match denied {
            Denied::NotFound if caller.principal.tenant() != tenant.no => VaultError::NotFound(Missing::Tenant),
            Denied::NotFound => VaultError::NotFound(missing),
            Denied::Forbidden => VaultError::Forbidden,
        })
    }

    /// What a request is aimed at, for the trail. What cannot be told is left out: the denial stands all the same.
    pub(super) async fn aim(&self, tenant: &Tenant, collection: &CollectionName, key: Option<&RecordKey>) -> Aim {
        let Ok(Some(found)) = self.find_collection(tenant.no, collection).await else { return Aim::none() };
        let mut target = Target::default();
        if let Some(key) = key
            && let Ok(tokens) = self.key_tokens(tenant, found.no, key).await
        {
            target.record = tokens.last().copied();
            let stored = self.inner.store.get(Space::Records, &record_row(tenant, found.no, &tokens)).await;
            let header = stored.ok().flatten().and_then(|row| RecordHeader::parse(&row).ok());
            target.unit = header.map(|header| (header.slot, header.generation));
        }
        Aim(found.no, target)
    }

    /// Records a denial in a tenant's trail.
    async fn deny<A: Action>(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        Aim(collection, target): Aim,
        reason: Reason,
    ) -> Result<Receipt, VaultError> {
        let denied = Entry { outcome: Outcome::Denied(reason), ..entry(caller, tenant, audited(A::KIND), collection, target) };
        self.refuse(caller, tenant, denied).await
    }
}

/// What a refused request was aimed at, as far as it is known: collection, and record or prefix.
pub(super) struct Aim(pub(super) CollectionNo, pub(super) Target);

impl Aim {
    /// At the tenant itself, or at what is not told.
    pub(super) fn none() -> Self {
        Self(CollectionNo::TENANT, Target::default())
    }
}

/// What an action is called in the audit trail.
pub(super) fn audited(kind: ActionKind) -> audit::Action {
    match kind {
        ActionKind::TenantCreate => audit::Action::TenantCreate,
        ActionKind::TenantList => audit::Action::TenantList,
        ActionKind::TenantRead => audit::Action::TenantRead,
        ActionKind::TenantSuspend => audit::Action::TenantSuspend,
        ActionKind::TenantResume => audit::Action::TenantResume,
        ActionKind::TenantTerminate => audit::Action::TenantTerminate,
        ActionKind::TenantCancel => audit::Action::TenantCancel,
        ActionKind::StateRead => audit::Action::StateRead,
        ActionKind::TenantExport => audit::Action::TenantExport,
        ActionKind::TenantImport => audit::Action::TenantImport,
        ActionKind::CollectionWrite => audit::Action::CollectionWrite,
        ActionKind::CollectionRead => audit::Action::CollectionRead,
        ActionKind::RecordRead => audit::Action::RecordRead,
        ActionKind::RestrictedRead => audit::Action::RestrictedRead,
        ActionKind::RecordWrite => audit::Action::RecordWrite,
        ActionKind::RecordDelete => audit::Action::RecordDelete,
        ActionKind::RecordList => audit::Action::RecordList,
        ActionKind::RetentionRead => audit::Action::RetentionRead,
        ActionKind::RetentionRun => audit::Action::RetentionRun,
        ActionKind::HoldPlace => audit::Action::HoldPlace,
        ActionKind::HoldRenew => audit::Action::HoldRenew,
        ActionKind::HoldRelease => audit::Action::HoldRelease,
        ActionKind::HoldRead => audit::Action::HoldRead,
        ActionKind::CounselAppoint => audit::Action::CounselAppoint,
        ActionKind::CounselDismiss => audit::Action::CounselDismiss,
        ActionKind::AuditorAppoint => audit::Action::AuditorAppoint,
        ActionKind::AuditorDismiss => audit::Action::AuditorDismiss,
        ActionKind::AliasAdd => audit::Action::AliasAdd,
        ActionKind::AliasRemove => audit::Action::AliasRemove,
        ActionKind::AliasRead => audit::Action::AliasRead,
        ActionKind::EventReport => audit::Action::EventReport,
        ActionKind::EventWithdraw => audit::Action::EventWithdraw,
        ActionKind::EventRead => audit::Action::EventRead,
        ActionKind::PolicyRead => audit::Action::PolicyRead,
        ActionKind::PolicyWrite => audit::Action::PolicyWrite,
        ActionKind::ApprovalRead => audit::Action::ApprovalRead,
        ActionKind::ApprovalApprove => audit::Action::ApprovalApprove,
        ActionKind::ApprovalRefuse => audit::Action::ApprovalRefuse,
        ActionKind::ApprovalWithdraw => audit::Action::ApprovalWithdraw,
        ActionKind::RetentionShorten => audit::Action::RetentionShorten,
        ActionKind::RetentionBypass => audit::Action::RetentionBypass,
        ActionKind::RetentionDue => audit::Action::RetentionDue,
        ActionKind::RetentionReport => audit::Action::RetentionReport,
        ActionKind::RetentionMarked => audit::Action::RetentionMarked,
        ActionKind::TokenCreate => audit::Action::TokenCreate,
        ActionKind::TokenList => audit::Action::TokenList,
        ActionKind::TokenRevoke => audit::Action::TokenRevoke,
        ActionKind::ShredOrder => audit::Action::ShredOrder,
        ActionKind::ShredRead => audit::Action::ShredRead,
        ActionKind::AuditRead => audit::Action::AuditRead,
        ActionKind::MetricsRead => audit::Action::MetricsRead,
        ActionKind::BackupTake => audit::Action::BackupTake,
        ActionKind::KeyRotate => audit::Action::KeyRotate,
    }
}
