//! Every refusal is on the record: an operation that ends in an error leaves an entry before the error is answered.
//!
//! Who refuses best knows what was aimed at, and records that ([`super::access`], [`super::get`]). What no one has recorded
//! by the end of the operation is recorded here. Faults of the server itself are no refusals: nothing was told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{Caller, Conflict, Held, Vault, VaultError, directory::Tenant, plan::entry};
use crate::{
    authn::Principal,
    domain::{CollectionName, CollectionNo, RequestId, TenantName, TenantNo, Timestamp},
    vault::{
        audit::{Action, Entry, Outcome, Reason, Target},
        crypto::Receipt,
    },
};

impl Caller {
    /// Who asks, in which request, and for what purpose.
    #[must_use]
    pub fn new(principal: Principal, request: RequestId, purpose: Option<String>) -> Self {
        Self { principal, request, purpose, on_record: Arc::default(), until: None, _held: Held::default() }
    }

    /// The same caller, who commits nothing any more from a moment on.
    pub(super) fn until(&self, end: Timestamp) -> Self {
        Self { until: Some(end), ..self.clone() }
    }

    /// The same, holding `held` until all that is done for the request has ended, whoever waits for it.
    #[must_use]
    pub fn holding(self, held: impl std::any::Any + Send + Sync) -> Self {
        Self { _held: Held(Some(Arc::new(held))), ..self }
    }

    /// The same caller at the beginning of an operation, of which no trail has anything yet.
    pub(super) fn begin(&self) -> Self {
        Self { on_record: Arc::new(AtomicBool::new(false)), ..self.clone() }
    }

    /// Whether a refusal of this operation is in a trail already.
    pub(super) fn is_on_record(&self) -> bool {
        self.on_record.load(Ordering::Acquire)
    }
}

impl Vault {
    /// Awaits an operation; a refusal that is in no trail yet is recorded before it is handed on: with the caller's own tenant,
    /// or with the system where something else was named.
    pub(super) fn on_record<'a, T: Send + 'a>(
        &'a self,
        caller: &'a Caller,
        place: Place<'a>,
        action: Action,
        operation: impl Future<Output = Result<T, VaultError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, VaultError>> + Send + 'a {
        // Boxed: a future that is handed on by value lies in every one that hands it on.
        let operation = Box::pin(operation);
        async move {
            match operation.await {
                Ok(done) => Ok(done),
                Err(error) => Err(self.record_error(caller, place, action, error).await?),
            }
        }
    }

    async fn record_error(&self, caller: &Caller, place: Place<'_>, action: Action, error: VaultError) -> Result<VaultError, VaultError> {
        let Some(outcome) = error.outcome().filter(|_| !caller.is_on_record()) else { return Ok(error) };
        let own = match place.tenant {
            Some(name) => self.find_tenant(name).await?.filter(|found| found.no == caller.principal.tenant()),
            None => None,
        };
        let (tenant, collection) = match own {
            Some(tenant) => {
                let collection = match place.collection {
                    Some(name) => self.find_collection(tenant.no, name).await.ok().flatten(),
                    None => None,
                };
                (tenant, collection.map_or(CollectionNo::TENANT, |collection| collection.no))
            }
            None => (Arc::new(self.tenant_by_number(TenantNo::SYSTEM).await?), CollectionNo::TENANT),
        };
        let refused = Entry { outcome, ..entry(caller, &tenant, action, collection, Target::default()) };
        self.refuse(caller, &tenant, refused).await?;
        Ok(error)
    }

    /// Records a refusal, in the trail of `tenant`.
    pub(super) async fn refuse(&self, caller: &Caller, tenant: &Tenant, entry: Entry) -> Result<Receipt, VaultError> {
        let receipt = self.read_receipt(tenant, entry).await?;
        caller.on_record.store(true, Ordering::Release);
        Ok(receipt)
    }

    /// Records that the answer to an earlier request was given again and nothing was done: an entry that counts nothing.
    pub(super) async fn repeated(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        action: Action,
        collection: CollectionNo,
    ) -> Result<Receipt, VaultError> {
        let target = Target { count: Some(0), ..Target::default() };
        self.read_receipt(tenant, entry(caller, tenant, action, collection, target)).await
    }
}

/// What an operation named.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'a> {
    tenant: Option<&'a TenantName>,
    collection: Option<&'a CollectionName>,
}

impl<'a> Place<'a> {
    /// The store itself.
    pub(super) const STORE: Self = Self { tenant: None, collection: None };

    pub(super) const fn tenant(tenant: &'a TenantName) -> Self {
        Self { tenant: Some(tenant), collection: None }
    }

    pub(super) const fn collection(tenant: &'a TenantName, collection: &'a CollectionName) -> Self {
        Self { tenant: Some(tenant), collection: Some(collection) }
    }
}

impl VaultError {
    /// What a trail says of an operation that ended so; `None` where the service is at fault, or the credential was refused, which
    /// is recorded elsewhere.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let reason = match self {
            Self::Forbidden | Self::Invitation | Self::NotSecond(_) | Self::TenantState(_) => {
                return Some(Outcome::Denied(Reason::Forbidden));
            }
            Self::NotFound(_) => Reason::NotFound,
            Self::Shredded { .. } | Self::SubjectErased { .. } => Reason::Shredded,
            Self::LegalHold { .. } => Reason::LegalHold,
            Self::LegalMinimum { .. } => Reason::LegalMinimum,
            Self::Restricted => Reason::Restricted,
            Self::PreconditionFailed | Self::Conflict(Conflict::CheckFailed) => Reason::PreconditionFailed,
            Self::Conflict(Conflict::NameTaken) => Reason::NameTaken,
            Self::Conflict(
                Conflict::ShredUnitFixed
                | Conflict::IdempotencyMismatch
                | Conflict::SecretShownOnce(_)
                | Conflict::LastOwner
                | Conflict::HoldOver
                | Conflict::AliasTaken
                | Conflict::AliasHasRecords
                | Conflict::ApprovalOver
                | Conflict::ApprovalRequired
                | Conflict::TenantState
                | Conflict::Importing
                | Conflict::NotImporting,
            )
            | Self::Unprocessable(_)
            | Self::RangeNotSatisfiable { .. }
            | Self::Body(_) => Reason::Invalid,
            Self::Limit(_) => Reason::Limit,
            Self::Batch { source, .. } => return source.outcome(),
            Self::Unauthenticated | Self::Braked { .. } | Self::Busy | Self::DiskFull | Self::Unavailable(_) | Self::Internal(_) => {
                return None;
            }
        };
        Some(Outcome::Failed(reason))
    }
}
