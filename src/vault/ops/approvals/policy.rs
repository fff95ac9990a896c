//! What takes two persons in a tenant. An owner makes it tighter alone; to make it looser takes two, as long as anything does.

use super::{Along, ApprovalView, Asking, Texts, place_of};
use crate::{
    authz::{PolicyRead, PolicyWrite, RetentionShorten},
    domain::{ApprovalId, CollectionName, CollectionNo, TenantName, Timestamp, approval::ApprovalRules, hold},
    vault::{
        audit::{Action, Target},
        crypto::random,
        ops::{
            Caller, Unprocessable, Vault, VaultError,
            access::{InCollection, InTenant},
            directory::{Collection, Tenant},
            plan::{entry, retrying},
            refused::Place,
            replies::Keeping,
            rows::{ApprovalRulesRow, ApprovalWhatRow, TenantRow},
        },
        store::schema,
    },
};

/// A tenant's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyView {
    /// What takes two persons.
    pub approvals: ApprovalRules,
    /// Since when anything does, without a break.
    pub since: Option<Timestamp>,
}

impl PolicyView {
    fn of(approvals: Option<ApprovalRulesRow>) -> Self {
        Self {
            approvals: approvals.map_or_else(ApprovalRules::default, ApprovalRulesRow::rules),
            since: approvals.map(|row| Timestamp(row.since)),
        }
    }
}

/// What became of a change of a policy.
#[derive(Debug, Clone)]
pub enum PolicyChange {
    /// It is so now.
    Now(PolicyView),
    /// It would be looser: a second owner is asked for.
    Asked(Box<ApprovalView>),
}

impl Vault {
    /// What takes two persons in a tenant.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn policy(&self, caller: &Caller, tenant: &TenantName) -> Result<PolicyView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let InTenant { tenant, .. } = self.in_tenant::<PolicyRead>(caller, tenant).await?;
            let read = entry(caller, &tenant, Action::PolicyRead, CollectionNo::TENANT, Target::default());
            self.read_receipt(&tenant, read).await?;
            Ok(PolicyView::of(tenant.approvals))
        };
        self.on_record(caller, Place::tenant(tenant), Action::PolicyRead, read).await
    }

    /// Changes what takes two persons in a tenant. What is looser than before waits for a second owner.
    ///
    /// # Errors
    /// [`Unprocessable::NoSecondPerson`] for the first such policy, where there is no second owner; [`VaultError::NotFound`],
    /// [`VaultError::Forbidden`].
    pub async fn put_policy(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        rules: ApprovalRules,
        idempotency_key: Option<String>,
    ) -> Result<PolicyChange, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let put =
            self.to_the_end(async move { retrying(|| vault.put_policy_once(&caller, &name, &rules, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::PolicyWrite, put).await
    }

    async fn put_policy_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        rules: &ApprovalRules,
        key: Option<&str>,
    ) -> Result<PolicyChange, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<PolicyWrite>(caller, name).await?;
        let wanted = format!("{rules:?}");
        let keeping = match self.made_by(tenant.no, caller, key, &[b"tenant-policy", wanted.as_bytes()]).await? {
            // As it is now: a later change is not undone by a late repeat.
            Ok(made) if made == [0; 16] => return Ok(PolicyChange::Now(PolicyView::of(tenant.approvals))),
            Ok(made) => return self.asked_before(caller, &tenant, ApprovalId(made)).await.map(Box::new).map(PolicyChange::Asked),
            Err(keeping) => keeping,
        };
        let since = tenant.approvals.map_or_else(|| self.inner.clock.now().0, |row| row.since);
        let new = ApprovalRulesRow::of(*rules, since);
        if let Some(from) = tenant.approvals.filter(|before| rules.loosen(&before.rules())) {
            let what = ApprovalWhatRow::LoosenPolicy(from, new);
            let encoded = postcard::to_allocvec(&what).map_err(|_| VaultError::Internal("policy".into()))?;
            let place = place_of(&[b"loosen-policy", &encoded]);
            if let Some(known) = self.asked_already(caller, tenant.no, &place).await? {
                return self.asked_before(caller, &tenant, known).await.map(Box::new).map(PolicyChange::Asked);
            }
            let (id, about) = (ApprovalId(random::bytes()), (CollectionNo::TENANT, Target::default()));
            let asking = Asking { id, what, place, texts: Texts::default(), about };
            let row = self.ask(caller, &tenant, asking, keeping, Along::default()).await?;
            return self.approval_view(caller, &tenant, id, &row).await.map(Box::new).map(PolicyChange::Asked);
        }
        self.set_policy(caller, &tenant, new, keeping).await?;
        Ok(PolicyChange::Now(PolicyView::of(new)))
    }

    async fn set_policy(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        new: Option<ApprovalRulesRow>,
        keeping: Option<Keeping>,
    ) -> Result<(), VaultError> {
        let is_first = tenant.approvals.is_none() && new.is_some();
        if is_first && self.another_owner(tenant.no, caller.principal.token()).await?.is_none() {
            return Err(Unprocessable::NoSecondPerson.into());
        }
        let key = schema::tenant(tenant.no);
        let row = TenantRow { approvals: new, ..self.inner.seals.open(&key, &tenant.row)? };
        let mut along = Along {
            checks: vec![tenant.check()],
            writes: vec![self.inner.seals.put(key, &row)?],
            entries: vec![(tenant.audit, entry(caller, tenant, Action::PolicyWrite, CollectionNo::TENANT, Target::default()))],
        };
        self.keep_decision(keeping, ApprovalId([0; 16]), &mut along)?;
        let done = self.commit_along(caller, along).await;
        self.inner.directory.forget_tenant(&tenant.name);
        done
    }

    /// Asks for a second owner, so that a collection's rules of retention hold for what is there already. It takes two persons whatever the
    /// policy says. What is there ends no earlier than by these rules, and no earlier than it is approved; minimums and holds stand.
    ///
    /// # Errors
    /// [`Unprocessable::NothingToShorten`]; [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn ask_shortening(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        idempotency_key: Option<String>,
    ) -> Result<ApprovalView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name, of) = (self.clone(), asker.clone(), tenant.clone(), collection.clone());
        let asked =
            self.to_the_end(async move { retrying(|| vault.ask_shortening_once(&caller, &name, &of, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::collection(tenant, collection), Action::RetentionShorten, asked).await
    }

    async fn ask_shortening_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        of: &CollectionName,
        key: Option<&str>,
    ) -> Result<ApprovalView, VaultError> {
        let InCollection { tenant, collection, .. } = self.in_collection::<RetentionShorten>(caller, name, of, None).await?;
        collection.in_use()?;
        let no = collection.no.to_be_bytes();
        let keeping = match self.made_by(tenant.no, caller, key, &[b"shorten-retention", &no]).await? {
            Ok(made) => return self.asked_before(caller, &tenant, ApprovalId(made)).await,
            Err(keeping) => keeping,
        };
        if collection.policy.retention.schedule().is_none() {
            return Err(Unprocessable::NothingToShorten.into());
        }
        let what = (&b"shorten-retention"[..], ApprovalWhatRow::ShortenRetention as Asked);
        self.ask_for_rules(caller, (&tenant, &collection), what, Texts::default(), keeping).await
    }

    /// Asks that a collection's rules hold for what is there already, also where minimums of the governance kind of earlier rules stand over
    /// it: those bind it no more once somebody approves who may bypass them. Minimums of today's rules, those of the compliance kind and legal
    /// holds stand.
    ///
    /// # Errors
    /// [`Unprocessable::NothingToBypass`]; [`Unprocessable::Hold`] for a reason that is no line; [`VaultError::NotFound`],
    /// [`VaultError::Forbidden`].
    pub async fn ask_bypass(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        collection: &CollectionName,
        reason: String,
        idempotency_key: Option<String>,
    ) -> Result<ApprovalView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name, of) = (self.clone(), asker.clone(), tenant.clone(), collection.clone());
        let asked = self
            .to_the_end(async move { retrying(|| vault.ask_bypass_once(&caller, &name, &of, &reason, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::collection(tenant, collection), Action::RetentionShorten, asked).await
    }

    async fn ask_bypass_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        of: &CollectionName,
        reason: &str,
        key: Option<&str>,
    ) -> Result<ApprovalView, VaultError> {
        let InCollection { tenant, collection, .. } = self.in_collection::<RetentionShorten>(caller, name, of, None).await?;
        hold::line("reason", reason).map_err(Unprocessable::from)?;
        collection.in_use()?;
        let no = collection.no.to_be_bytes();
        let keeping = match self.made_by(tenant.no, caller, key, &[b"bypass-governance", &no, reason.as_bytes()]).await? {
            Ok(made) => return self.asked_before(caller, &tenant, ApprovalId(made)).await,
            Err(keeping) => keeping,
        };
        if !collection.has_to_bypass() && !fault!("bypass-nothing") {
            return Err(Unprocessable::NothingToBypass.into());
        }
        let what = (&b"bypass-governance"[..], ApprovalWhatRow::BypassGovernance as Asked);
        let texts = Texts { reason: Some(reason.to_owned()), refusal: None };
        self.ask_for_rules(caller, (&tenant, &collection), what, texts, keeping).await
    }

    /// Asks that a collection's rules hold for what is there already, in one way or the other.
    async fn ask_for_rules(
        &self,
        caller: &Caller,
        (tenant, collection): (&Tenant, &Collection),
        (word, what): (&[u8], Asked),
        texts: Texts,
        keeping: Option<Keeping>,
    ) -> Result<ApprovalView, VaultError> {
        let rules = super::hash_of(&collection.policy.retention)?;
        let place = place_of(&[word, &collection.no.to_be_bytes(), &rules]);
        if let Some(known) = self.asked_already(caller, tenant.no, &place).await? {
            return self.asked_before(caller, tenant, known).await;
        }
        let id = ApprovalId(random::bytes());
        let asking = Asking { id, what: what(collection.no.0, rules), place, texts, about: (collection.no, Target::default()) };
        let along = Along { checks: vec![collection.check(tenant.no)], ..Along::default() };
        let row = self.ask(caller, tenant, asking, keeping, along).await;
        let row = row.inspect_err(|_| self.inner.directory.forget_collection(tenant.no, &collection.name))?;
        self.approval_view(caller, tenant, id, &row).await
    }
}

/// What is asked for of a collection's rules, by its number and their hash.
type Asked = fn(u32, [u8; 32]) -> ApprovalWhatRow;
