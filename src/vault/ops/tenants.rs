//! Tenants: made by the operator, who sees their names and states and nothing of what they hold.

use super::{
    Caller, Conflict, Missing, Vault, VaultError,
    access::Aim,
    bundle::ImportView,
    directory::{Tenant, read_u64},
    plan::{entry, object, retrying},
    refused::Place,
    replies::{Before, Keeping},
    rows::{LifeRow, State, TenantNameRow, TenantRow},
    tokens::{MintToken, MintedToken, forget},
};
use crate::{
    authn::{Narrowing, Role, TokenKind},
    authz::{TenantCreate, TenantList, TenantRead},
    domain::{CollectionNo, PrincipalId, TenantName, TenantNo, Timestamp, TokenId, lifecycle::TenantState},
    vault::{
        audit::{Action, Target, Trail},
        crypto::{Context, Plaintext, TenantMeta},
        keys::{LeaseKind, UnitRef},
        store::{
            Check, Commit, Durability, Expect, Space, Urgency, Write,
            schema::{self, Table},
        },
    },
};

/// A tenant as its users and the operator see it.
#[derive(Debug, Clone)]
pub struct TenantView {
    /// Its name; a pseudonym once it is shredded.
    pub name: String,
    /// As [`TenantState::name`](crate::domain::lifecycle::TenantState::name) has it, or `importing`.
    pub state: &'static str,
    /// Since when it is suspended, if it is.
    pub suspended_at: Option<Timestamp>,
    /// When its grace ends, if it is ordered to end.
    pub ends_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether a write to an unknown collection makes it.
    pub create_on_write: bool,
    /// How far its import has come, where it is, or was, made from a bundle; `None` in a list, and for the operator.
    pub import: Option<ImportView>,
}

impl TenantView {
    /// A tenant as it is at `now`.
    pub(super) fn of(tenant: &Tenant, now: Timestamp) -> Self {
        let state = tenant.stands(now);
        let is_going = matches!(state, TenantState::Pending | TenantState::Shredded);
        let life = if is_going { LifeRow::default() } else { tenant.life.clone() };
        Self {
            name: tenant.name.as_str().to_owned(),
            state: if tenant.is_importing() { "importing" } else { state.name() },
            suspended_at: life.suspended_at.map(Timestamp),
            ends_at: life.termination.map(|end| Timestamp(end.ends_at)),
            created_at: tenant.created_at,
            create_on_write: tenant.create_on_write,
            import: None,
        }
    }
}

/// What a tenant is made as.
#[derive(Clone, Copy)]
struct NewTenant {
    create_on_write: bool,
    /// In use, or to be imported.
    state: State,
}

/// What lies under the number of a tenant that was there, besides its key tree.
const USED: [Table; 6] =
    [Table::Collection, Table::CollectionName, Table::Unit, Table::UnitState, Table::SubjectState, Table::TenantAccessToken];

/// Entries of a trail read at once.
const TRAIL_PAGE: usize = 256;

/// The token that a new tenant begins with.
fn first_owner() -> MintToken {
    MintToken { role: Role::Owner, kind: TokenKind::User, narrowing: Narrowing::default(), expires_at: None }
}

/// A state as answers give it.
pub(super) const fn state_name(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Frozen => "frozen",
        State::Pending(_) => "pending",
        State::Shredded(_) => "shredded",
    }
}

impl Vault {
    /// Makes a tenant and its first owner's token, which is shown once. A repeat with the idempotency key replaces a token
    /// that was never used by a new one: its first showing may have been lost.
    ///
    /// # Errors
    /// [`Conflict::NameTaken`] if the name is or ever was in use; [`Conflict::SecretShownOnce`] for a repeat after the token
    /// was used.
    pub async fn create_tenant(
        &self,
        caller: &Caller,
        name: TenantName,
        create_on_write: bool,
        idempotency_key: Option<String>,
    ) -> Result<MintedToken, VaultError> {
        self.make_tenant(caller, name, NewTenant { create_on_write, state: State::Active }, idempotency_key).await
    }

    /// The same for a tenant that is to be imported from a bundle, and serves nothing until all of that is there.
    ///
    /// # Errors
    /// As [`Vault::create_tenant`].
    pub async fn create_tenant_for_import(
        &self,
        caller: &Caller,
        name: TenantName,
        idempotency_key: Option<String>,
    ) -> Result<MintedToken, VaultError> {
        self.make_tenant(caller, name, NewTenant { create_on_write: false, state: State::Frozen }, idempotency_key).await
    }

    async fn make_tenant(
        &self,
        caller: &Caller,
        name: TenantName,
        new: NewTenant,
        idempotency_key: Option<String>,
    ) -> Result<MintedToken, VaultError> {
        let caller = &caller.begin();
        let (vault, asker) = (self.clone(), caller.clone());
        let made =
            self.to_the_end(async move { retrying(|| vault.create_tenant_once(&asker, &name, new, idempotency_key.as_deref())).await });
        self.on_record(caller, Place::STORE, Action::TenantCreate, made).await
    }

    async fn create_tenant_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        new: NewTenant,
        idempotency_key: Option<&str>,
    ) -> Result<MintedToken, VaultError> {
        let NewTenant { create_on_write, state } = new;
        let system = self.permit_system::<TenantCreate>(caller).await?;
        let mut keeping = None;
        if let Some(key) = idempotency_key {
            let kind = if state == State::Frozen { 2 } else { u8::from(create_on_write) };
            let parts: [&[u8]; 3] = [b"tenant", name.as_str().as_bytes(), &[kind]];
            match self.made_before(TenantNo::SYSTEM, caller, key, &parts).await? {
                Before::Made(made, place) => return self.replace_first_owner(caller, &system, name, TokenId(made.id), &place).await,
                Before::Nothing(place) => keeping = Some(place),
            }
        }
        let token = self.tenant_token(name).await?;
        let taken = self.inner.store.get(Space::Control, &schema::tenant_name(&token)).await?;
        if taken.is_some() {
            return Err(VaultError::Conflict(Conflict::NameTaken));
        }
        let no = TenantNo(self.inner.forest.lease(LeaseKind::Tenant).await?);
        self.refuse_used_number(no).await?;
        self.inner.forest.make_tenant(no).await?;
        let (row, audit) = self.tenant_row(no, name, create_on_write, state).await?;
        let (minted, token_writes) = self.mint(no, &first_owner()).await?;
        let made = Tenant {
            no,
            name: name.clone(),
            state,
            audit,
            created_at: self.inner.clock.now(),
            create_on_write,
            approvals: None,
            life: LifeRow::default(),
            row: row.clone(),
        };
        // The number, too: a lease that was set back gives another one then.
        let mut checks: Vec<Check> = [schema::tenant_name(&token), schema::tenant(no)]
            .map(|key| Check { space: Space::Control, key, expect: Expect::Absent })
            .into();
        let mut writes = vec![
            Write::Put { space: Space::Control, key: schema::tenant(no), value: row },
            self.inner.seals.put(schema::tenant_name(&token), &TenantNameRow { tenant: no.0 })?,
        ];
        writes.extend(token_writes);
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, minted.id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        let of_tenant = Target { tenant: Some(no), ..Target::default() };
        let entries = vec![
            (system.audit, entry(caller, &system, Action::TenantCreate, CollectionNo::TENANT, of_tenant)),
            (audit, entry(caller, &made, Action::TenantCreate, CollectionNo::TENANT, Target::default())),
        ];
        self.commit_for(caller, Trail::Control, commit, entries).await?;
        Ok(minted)
    }

    /// Every attempt leases a number of its own, so one under which something lies already was leased before: the lease was set back,
    /// and whoever comes would have another's keys.
    async fn refuse_used_number(&self, no: TenantNo) -> Result<(), VaultError> {
        let mut used = self.inner.forest.tree(no).await?.is_some();
        for table in USED {
            let range = schema::table_of_tenant(table, no);
            used |= !self.inner.store.scan(Space::Control, &range.from, &range.to, 1).await?.is_empty();
        }
        if used {
            tracing::error!(tenant = no.0, "a tenant's number was leased that was in use; the next is tried");
            return Err(VaultError::Busy);
        }
        Ok(())
    }

    /// Replaces a first owner's token that nobody has used; recorded with the tenant and with the system.
    ///
    /// Gives the operator nothing that the first answer did not: who used the token once is safe from it.
    async fn replace_first_owner(
        &self,
        caller: &Caller,
        system: &Tenant,
        name: &TenantName,
        first: TokenId,
        place: &Keeping,
    ) -> Result<MintedToken, VaultError> {
        let shown = || VaultError::Conflict(Conflict::SecretShownOnce(first));
        let tenant = self.find_tenant(name).await?.ok_or_else(shown)?;
        tenant.in_use_or_importing()?;
        let Some(row) = self.inner.store.get(Space::Control, &schema::access_token(first)).await? else { return Err(shown()) };
        if self.acted(&tenant, PrincipalId(first.0)).await? {
            return Err(shown());
        }
        let (minted, mut writes) = self.mint(tenant.no, &first_owner()).await?;
        writes.extend(forget(tenant.no, first));
        let (check, rows) = place.rows(self, minted.id.0, true)?;
        writes.extend(rows);
        let unmoved = Check { space: Space::Control, key: schema::access_token(first), expect: Expect::Equals(row) };
        let commit = Commit {
            checks: vec![tenant.check(), unmoved, check],
            writes,
            tail: None,
            durability: Durability::Synced,
            urgency: Urgency::Normal,
        };
        let of_tenant = Target { tenant: Some(tenant.no), ..Target::default() };
        let entries = vec![
            (system.audit, entry(caller, system, Action::TenantCreate, CollectionNo::TENANT, of_tenant)),
            (tenant.audit, entry(caller, &tenant, Action::TokenRevoke, CollectionNo::TENANT, object(first.0))),
            (tenant.audit, entry(caller, &tenant, Action::TokenCreate, CollectionNo::TENANT, object(minted.id.0))),
        ];
        self.commit_for(caller, Trail::Control, commit, entries).await.inspect_err(|_| self.inner.directory.forget_tenant(name))?;
        Ok(minted)
    }

    /// Whether a principal has done, or tried, anything that a tenant's trail tells of.
    async fn acted(&self, tenant: &Tenant, principal: PrincipalId) -> Result<bool, VaultError> {
        let mut after = None;
        loop {
            let page = self.inner.audit.read(tenant.no, tenant.audit, after.as_deref(), TRAIL_PAGE).await?;
            if page.entries.iter().any(|read| read.entry.principal == principal) {
                return Ok(true);
            }
            if !page.more {
                return Ok(false);
            }
            after = Some(page.next);
        }
    }

    /// The row of a new tenant, and the unit of its audit trail.
    pub(super) async fn tenant_row(
        &self,
        no: TenantNo,
        name: &TenantName,
        create_on_write: bool,
        state: State,
    ) -> Result<(bytes::Bytes, UnitRef), VaultError> {
        let audit = self.inner.forest.make_unit(TenantNo::SYSTEM).await?;
        let context = Context::<TenantMeta>::of(&self.inner.store_id, no, &[b"name"]);
        let plain = Plaintext::<TenantMeta>::new(name.as_str().as_bytes().to_vec());
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(no, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        let row = TenantRow {
            state,
            audit_slot: audit.slot.number(),
            created_at: self.inner.clock.now().0,
            create_on_write,
            approvals: None,
            sealed_name: sealed.into_row().to_vec(),
            life: LifeRow::default(),
        };
        Ok((self.inner.seals.seal(&schema::tenant(no), &row)?, audit))
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for who may not know of it.
    pub async fn tenant(&self, caller: &Caller, name: &TenantName) -> Result<TenantView, VaultError> {
        let caller = &caller.begin();
        let read = async {
            let found = self.in_tenant_or_importing::<TenantRead>(caller, name).await?;
            let read = entry(caller, &found.tenant, Action::TenantRead, CollectionNo::TENANT, Target::default());
            self.read_receipt(&found.tenant, read).await?;
            // How much a tenant has is not the operator's to know.
            let is_own = caller.principal.tenant() == found.tenant.no;
            let import = if is_own { self.import_view(&found.tenant).await? } else { None };
            Ok(TenantView { import, ..TenantView::of(&found.tenant, self.inner.clock.now()) })
        };
        self.on_record(caller, Place::tenant(name), Action::TenantRead, read).await
    }

    /// The tenants of the store, for the operator, in the order they were made: at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] for everyone else; [`super::Unprocessable::Cursor`].
    pub async fn tenants(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TenantView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::STORE, Action::TenantList, self.tenants_page(caller, cursor, limit)).await
    }

    async fn tenants_page(
        &self,
        caller: &Caller,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TenantView>, Option<String>), VaultError> {
        let system = self.permit_system::<TenantList>(caller).await?;
        // Without the system tenant, whose number is the first.
        let range = schema::table(Table::Tenant).after(&schema::tenant(TenantNo::SYSTEM));
        let (rows, last) = self.page(TenantNo::SYSTEM, "tenants", &range, cursor, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let number = TenantNo(read_u64(row.key.get(1..).unwrap_or_default())?);
            views.push(TenantView::of(&self.tenant_by_number(number).await?, self.inner.clock.now()));
        }
        self.read_receipt(&system, entry(caller, &system, Action::TenantList, CollectionNo::TENANT, Target::default())).await?;
        let next = self.end_page(TenantNo::SYSTEM, "tenants", &range, last).await?;
        Ok((views, next))
    }

    /// A permit in the system tenant: the operator's.
    pub(super) async fn permit_system<A: crate::authz::Action>(&self, caller: &Caller) -> Result<Tenant, VaultError> {
        let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
        match crate::authz::decide::<A>(&caller.principal, &crate::authz::Resource::store()) {
            Ok(_) => Ok(system),
            Err(denied) => Err(self.denied::<A>(caller, &system, Aim::none(), denied, Missing::Tenant).await?),
        }
    }
}
