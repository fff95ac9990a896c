//! Tenants: made by the operator, who sees their names and sizes and nothing of what they hold.

use super::{
    Caller, Conflict, Missing, Vault, VaultError,
    access::Aim,
    directory::{Tenant, read_u64},
    plan::entry,
    rows::{RowCodec, State, TenantRow},
    tokens::{MintToken, MintedToken},
};
use crate::{
    authn::{Narrowing, Role, TokenKind},
    authz::{TenantCreate, TenantList, TenantRead},
    domain::{CollectionNo, TenantName, TenantNo, Timestamp},
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
    /// `active`, `pending` (being shredded) or `shredded`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether a write to an unknown collection makes it.
    pub create_on_write: bool,
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        Self {
            name: tenant.name.as_str().to_owned(),
            state: state_name(tenant.state),
            created_at: tenant.created_at,
            create_on_write: tenant.create_on_write,
        }
    }
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
    /// Makes a tenant and its first owner's token, which is shown once.
    ///
    /// # Errors
    /// [`Conflict::NameTaken`] if the name is or ever was in use.
    pub async fn create_tenant(&self, caller: &Caller, name: TenantName, create_on_write: bool) -> Result<MintedToken, VaultError> {
        let (vault, caller) = (self.clone(), caller.clone());
        self.to_the_end(async move {
            let system = vault.permit_system::<TenantCreate>(&caller).await?;
            let token = vault.tenant_token(&name).await?;
            let taken = vault.inner.store.get(Space::Control, &schema::tenant_name(&token)).await?;
            if taken.is_some() {
                return Err(VaultError::Conflict(Conflict::NameTaken));
            }
            let no = TenantNo(vault.inner.forest.lease(LeaseKind::Tenant).await?);
            vault.inner.forest.make_tenant(no).await?;
            let (row, audit) = vault.tenant_row(no, &name, create_on_write).await?;
            let mint = MintToken { role: Role::Owner, kind: TokenKind::User, narrowing: Narrowing::default(), expires_at: None };
            let (minted, token_writes) = vault.mint(no, &mint).await?;
            let made =
                Tenant { no, name, state: State::Active, audit, created_at: vault.inner.clock.now(), create_on_write, row: row.clone() };
            let mut writes = vec![
                Write::Put { space: Space::Control, key: schema::tenant(no), value: row },
                Write::Put { space: Space::Control, key: schema::tenant_name(&token), value: no.to_be_bytes().to_vec().into() },
            ];
            writes.extend(token_writes);
            let commit = Commit {
                checks: vec![Check { space: Space::Control, key: schema::tenant_name(&token), expect: Expect::Absent }],
                writes,
                tail: None,
                durability: Durability::Synced,
                urgency: Urgency::Normal,
            };
            let entries = vec![
                (
                    system.audit,
                    entry(&caller, &system, Action::TenantCreate, CollectionNo::TENANT, Target { tenant: Some(no), ..Target::default() }),
                ),
                (audit, entry(&caller, &made, Action::TenantCreate, CollectionNo::TENANT, Target::default())),
            ];
            match vault.commit(Trail::Control, commit, entries).await {
                Ok(_) => Ok(minted),
                Err(VaultError::Busy) if vault.find_tenant(&made.name).await?.is_some() => Err(VaultError::Conflict(Conflict::NameTaken)),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The row of a new tenant, and the unit of its audit trail.
    pub(super) async fn tenant_row(
        &self,
        no: TenantNo,
        name: &TenantName,
        create_on_write: bool,
    ) -> Result<(bytes::Bytes, UnitRef), VaultError> {
        let audit = self.inner.forest.make_unit(TenantNo::SYSTEM).await?;
        let context = Context::<TenantMeta>::of(&self.inner.store_id, no, &[b"name"]);
        let plain = Plaintext::<TenantMeta>::new(name.as_str().as_bytes().to_vec());
        let suite = self.inner.options.suite;
        let sealed = self.with_tenant(no, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?;
        let row = TenantRow {
            state: State::Active,
            audit_slot: audit.slot.number(),
            created_at: self.inner.clock.now().0,
            create_on_write,
            sealed_name: sealed.into_row().to_vec(),
        };
        Ok((row.to_row()?, audit))
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for who may not know of it.
    pub async fn tenant(&self, caller: &Caller, name: &TenantName) -> Result<TenantView, VaultError> {
        let found = self.in_tenant::<TenantRead>(caller, name).await?;
        self.read_receipt(&found.tenant, entry(caller, &found.tenant, Action::TenantRead, CollectionNo::TENANT, Target::default())).await?;
        Ok(TenantView::from(&*found.tenant))
    }

    /// The tenants of the store, for the operator, in the order they were made: at most `limit` after number `after`.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] for everyone else.
    pub async fn tenants(&self, caller: &Caller, after: Option<u64>, limit: usize) -> Result<(Vec<TenantView>, Option<u64>), VaultError> {
        let system = self.permit_system::<TenantList>(caller).await?;
        let range = schema::table(Table::Tenant);
        let from = schema::successor(&schema::tenant(TenantNo(after.unwrap_or(0))));
        let rows = self.inner.store.scan(Space::Control, &from, &range.to, limit.saturating_add(1)).await?;
        let more = rows.len() > limit;
        let mut views = Vec::with_capacity(limit);
        let mut last = None;
        for row in rows.into_iter().take(limit) {
            let number = TenantNo(read_u64(row.key.get(1..).unwrap_or_default())?);
            views.push(TenantView::from(&self.tenant_by_number(number).await?));
            last = Some(number.0);
        }
        self.read_receipt(&system, entry(caller, &system, Action::TenantList, CollectionNo::TENANT, Target::default())).await?;
        Ok((views, last.filter(|_| more)))
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
