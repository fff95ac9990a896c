//! Explaining how long a record is kept: the rules of its collection, held against its times and, where they count from it, a date
//! in its value. A read as any other, but that nothing of the value leaves.

use super::{
    Caller, Missing, Vault, VaultError,
    directory::damaged,
    due::end_over,
    events::{follow::end_reported, known::Known},
    holds::bind::knows_holds,
    minimum::{law_unbypassed, standing},
    plan::{entry, record_row, target, unit_of},
    refused::Place,
    restricted::restricted,
    retention,
};
use crate::{
    authn::Role,
    authz::RetentionRead,
    domain::{
        CollectionName, HoldId, RecordKey, ShredId, TenantName, Timestamp, Version,
        retention::{
            Kept, Law,
            explain::{Explanation, explain},
        },
    },
    vault::{
        audit::{Action, Target},
        crypto::{Context, Record, RecordHeader, Sealed},
        store::Space,
    },
};

/// How long one record is kept, and why.
#[derive(Debug, Clone)]
pub struct RetentionView {
    /// Its version.
    pub version: Version,
    /// First write of its key since it was last free.
    pub created_at: Timestamp,
    /// Last write.
    pub modified_at: Timestamp,
    /// The end that it was given itself.
    pub expires_at: Option<Timestamp>,
    /// The category that it names.
    pub category: Option<String>,
    /// What the rules say of it.
    pub explanation: Explanation,
    /// Whether legal holds that the caller may know of keep it, whatever the rules say.
    pub held: bool,
    /// Those of them.
    pub holds: Vec<HoldId>,
    /// The order to shred that has left it for its legal purpose alone.
    pub restricted_by: Option<ShredId>,
}

/// Whether a role is told of what an order to shred has restricted; to the others it is gone.
const fn knows_restricted(role: Role) -> bool {
    matches!(role, Role::Auditor | Role::Counsel)
}

/// Whether a minimum lasts longer than another; one that waits for its date does.
fn is_longer(law: &Law, than: &Law) -> bool {
    than.until.is_some_and(|than| law.until.is_none_or(|until| until > than))
}

impl Vault {
    /// Explains a record's retention as of now, also of one whose time is over and whose bytes are still there. The audit entry is
    /// in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Shredded`].
    pub async fn explain_retention(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
    ) -> Result<RetentionView, VaultError> {
        let caller = &caller.begin();
        let explained = self.explain_record(caller, tenant, collection, key);
        self.on_record(caller, Place::collection(tenant, collection), Action::RetentionRead, explained).await
    }

    async fn explain_record(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        key: &RecordKey,
    ) -> Result<RetentionView, VaultError> {
        // Gather: only sealed bytes.
        let found = self.in_collection::<RetentionRead>(caller, tenant, collection, Some(key)).await?;
        let tokens = self.key_tokens(&found.tenant, found.collection.no, key).await?;
        let purpose = self.purpose_token(caller, found.tenant.no, found.collection.no).await?;
        let nothing = Target { record: tokens.last().copied(), purpose, ..Target::default() };
        let stored = match found.collection.in_use() {
            Ok(()) => self.inner.store.get(Space::Records, &record_row(&found.tenant, found.collection.no, &tokens)).await?,
            Err(error) => return Err(self.missed(caller, &found, nothing, error).await?),
        };
        let Some(stored) = stored else {
            return Err(self.missed(caller, &found, nothing, VaultError::NotFound(Missing::Record)).await?);
        };
        let header = RecordHeader::parse(&stored).map_err(damaged)?;
        let read = Target { purpose, ..target(&tokens, &header) };
        if header.is_tombstone() {
            let shredded = self.shredded_by(found.tenant.no, header.slot).await?;
            return Err(self.missed(caller, &found, read, shredded).await?);
        }

        // Open: the value is looked at inside the vault, for the dates of rules alone, and wiped.
        let sealed = Sealed::<Record>::from_row(stored).map_err(damaged)?;
        let context = Context::<Record>::record(&self.inner.store_id, found.tenant.no, found.collection.no, &tokens, &header);
        let unit = unit_of(&header, found.tenant.no);
        let opened = self.with_data(found.collection.unit, unit, found.collection.no, |key| key.open_record(&context, &sealed)).await;
        let opened = match opened {
            Ok(opened) => opened.map_err(damaged)?,
            Err(VaultError::Shredded { .. }) => {
                let shredded = self.shredded_by(found.tenant.no, header.slot).await?;
                return Err(self.missed(caller, &found, read, shredded).await?);
            }
            Err(error) => return Err(error),
        };
        if let Some(order) = self.leaving(&found.tenant, &found.collection, &opened.meta).await? {
            return Err(self.missed(caller, &found, read, VaultError::Shredded { certificate: Some(order) }).await?);
        }
        let Known { events, .. } = self.events_over(found.tenant.no, &found.collection, &opened.meta).await?;
        let (meta, value) = (&opened.meta, Some(opened.value.expose()).filter(|_| !header.is_manifest()));
        let (policy, now) = (&found.collection.policy, self.inner.clock.now());
        let kept = meta.kept.as_ref().filter(|kept| kept.restricted_by.is_some());
        if let Some(order) = kept.and_then(|kept| kept.restricted_by).filter(|_| !knows_restricted(caller.principal.role())) {
            return Err(self.missed(caller, &found, read, VaultError::Shredded { certificate: Some(order) }).await?);
        }
        let explanation = explain(&policy.retention, policy.shred_unit, &retention::facts(policy, meta, value, &events), now);
        let explanation = match kept {
            Some(kept) => {
                let today = found.collection.rules_now();
                let end = end_over(&found.collection, today, meta, value, &events).map(|end| end.at);
                // The longer of the two that are sealed with it, as long as that binds.
                let governed = found.collection.governed(meta, today);
                let governed = governed.map(|of| Kept { rule: of.rule.clone(), basis: of.basis.clone(), until: of.until, ..kept.clone() });
                explanation.restricted_by_order(governed.as_ref().unwrap_or(kept), policy.shred_unit, end, now)
            }
            None => match restricted(&found.collection, meta, value, &events, now) {
                Some(restricted) => explanation.restricted_before(restricted.rule()),
                None => explanation,
            },
        };
        let law = standing(&found.collection, meta, value, &events, now);
        let unbypassed = law_unbypassed(&found.collection, meta, value, &events).filter(|other| other.stands(now));
        let unbypassed = unbypassed.filter(|other| law.as_ref().is_none_or(|law| is_longer(other, law)));
        let explanation = explanation.under_law(law.as_ref());
        let explanation = explanation.had_nobody_bypassed(unbypassed.as_ref().zip(found.collection.bypassed_at(meta)));
        let scheduled = self.scheduled((found.tenant.no, found.collection.no, &tokens), header.version).await?;
        // What was reported a moment ago is followed by the next run.
        let reported = end_reported(&found.collection, (meta, value, &events)).filter(|_| kept.is_none()).map(|end| end.at);
        let scheduled = scheduled.into_iter().chain(reported).min();
        let mut explanation = explanation.carried_out(scheduled).marked(meta.modified_at, now);

        let over = match self.hold_state(found.tenant.no).await?.0 {
            None => Vec::new(),
            Some(_) => {
                let subjects = self.subject_tokens(&found.tenant, &meta.subjects).await?;
                self.holds_over(found.tenant.no, found.collection.no, &tokens, &subjects).await?
            }
        };
        let role = caller.principal.role();
        let known = over.iter().filter(|standing| standing.disclosed || knows_holds(role));
        let holds: Vec<HoldId> = known.map(|standing| standing.hold).collect();
        if let Some(hold) = holds.first() {
            explanation.why = format!("legal hold {hold} keeps it until the hold ends; otherwise: {}", explanation.why);
        } else if !over.is_empty() {
            // As of a law, to who may not know of it.
            explanation.why = format!("a legal obligation keeps it until that ends; otherwise: {}", explanation.why);
        }

        // Record.
        let read = entry(caller, &found.tenant, Action::RetentionRead, found.collection.no, read);
        self.read_receipt(&found.tenant, read).await?;
        Ok(RetentionView {
            version: header.version,
            created_at: meta.created_at,
            modified_at: meta.modified_at,
            expires_at: meta.expires_at,
            category: retention::category(meta).map(str::to_owned),
            explanation,
            held: !holds.is_empty() || (!over.is_empty() && fault!("obligation-explain")),
            holds,
            restricted_by: kept.and_then(|kept| kept.restricted_by),
        })
    }
}
