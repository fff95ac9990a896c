//! Deleting a record: it is gone (404), its bytes may live on in old backups. Where the unit is the record,
//! its key is shredded too, which is queued.

use super::{
    Caller, Precondition, Vault, VaultError,
    plan::{Plan, entry, retrying},
    refused::Place,
    replies::Kept,
    shred::Named,
};
use crate::{
    authz::RecordDelete,
    domain::{CollectionName, RecordKey, TenantName},
    vault::{
        audit::{Action, Entry, Target},
        store::Urgency,
    },
};

impl Vault {
    /// Deletes a record.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`], [`VaultError::PreconditionFailed`]; nothing is done then.
    pub async fn delete_record(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: RecordKey,
        precondition: Precondition,
        idempotency_key: Option<String>,
    ) -> Result<(), VaultError> {
        let caller = &caller.begin();
        let (vault, asker, place, from) = (self.clone(), caller.clone(), tenant.clone(), collection.clone());
        let deleted = self.to_the_end(async move {
            let _turn = vault.inner.turns.of((&place, &from, &key)).await;
            retrying(|| vault.delete_once(&asker, &place, &from, &key, &precondition, idempotency_key.as_deref())).await
        });
        self.on_record(caller, Place::collection(tenant, collection), Action::RecordDelete, deleted).await
    }

    async fn delete_once(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
        precondition: &Precondition,
        idempotency_key: Option<&str>,
    ) -> Result<(), VaultError> {
        let found = self.in_collection::<RecordDelete>(caller, tenant, collection, Some(key)).await?;
        let mut plan = Plan::default();
        if let Some(sent) = idempotency_key {
            let condition = format!("{precondition:?}");
            let parts: [&[u8]; 4] = [b"delete", &found.collection.no.to_be_bytes(), key.as_str().as_bytes(), condition.as_bytes()];
            let request = self.request_digest(found.tenant.no, &parts).await?;
            match self.kept_reply(&found.tenant, caller, sent, &request).await? {
                Kept::Reply(_) => {
                    return self.repeated(caller, &found.tenant, Action::RecordDelete, found.collection.no).await.map(drop);
                }
                Kept::Free(slot) => self.plan_reply(&mut plan, slot, &[])?,
            }
        }
        let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
        let purpose = self.purpose_token(caller, found.tenant.no, found.collection.no).await?;
        let deleted = match self.plan_delete(&mut plan, caller, &found.tenant, &found.collection, &tokens, precondition, purpose).await {
            Ok(deleted) => deleted,
            Err(error) => {
                let Some(outcome) = error.outcome() else { return Err(error) };
                let target = Target { record: tokens.last().copied(), purpose, ..Target::default() };
                let missed = entry(caller, &found.tenant, Action::RecordDelete, found.collection.no, target);
                self.refuse(caller, &found.tenant, Entry { outcome, ..missed }).await?;
                return Err(error);
            }
        };
        self.commit_plan_for(caller, plan, Urgency::Essential).await.inspect_err(|_| self.forget(&found))?;
        if let Some(deferred) = deleted {
            let named = Named { collection: Some(collection.as_str().to_owned()), targets: vec![key.as_str().to_owned()], unmoved: None };
            self.shred_deferred(caller.into(), &found.tenant, vec![(deferred, named)]).await;
        }
        Ok(())
    }
}
