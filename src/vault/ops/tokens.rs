//! Access tokens: made, listed without secrets, revoked with effect from the next request on.

use std::{collections::HashSet, sync::Arc};

use super::{
    Caller, Conflict, Missing, Unprocessable, Vault, VaultError,
    directory::{Tenant, damaged, pseudonym},
    plan::{Existing, entry, object, order_of, record_row, retrying},
    refused::Place,
    replies::Before,
    rows::{HoldRow, TokenRow},
    start::SYSTEM,
};
use crate::{
    authn::{self, Narrowing, Role, StoredToken, TokenKind},
    authz::{self, AuditorAppoint, AuditorDismiss, CounselAppoint, CounselDismiss, TokenCreate, TokenList, TokenRevoke},
    domain::{
        CollectionName, CollectionNo, PrincipalId, RecordKey, SubjectId, TenantName, TenantNo, Timestamp, TokenId, lifecycle::TenantState,
    },
    vault::{
        audit::{self, Action, Entry, Outcome, Target, Trail},
        crypto::{Context, Plaintext, Sealed, TokenMeta, random},
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// A token to make.
#[derive(Debug, Clone)]
pub struct MintToken {
    /// What its holder may do.
    pub role: Role,
    /// Who holds it.
    pub kind: TokenKind,
    /// To what it is narrowed.
    pub narrowing: Narrowing,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl MintToken {
    /// An operator's, without an end.
    pub(super) fn operator() -> Self {
        Self { role: Role::Operator, kind: TokenKind::Operator, narrowing: Narrowing::default(), expires_at: None }
    }

    /// The store's tokens are operators' and jobs', and nothing else; no tenant has one.
    fn fits(&self, tenant: TenantNo) -> Result<(), Unprocessable> {
        let of_store = matches!(self.role, Role::Operator | Role::Job);
        if tenant != TenantNo::SYSTEM {
            return if of_store || self.kind == TokenKind::Operator { Err(Unprocessable::RoleNotOfTenant) } else { Ok(()) };
        }
        let kind = if self.role == Role::Job { TokenKind::Service } else { TokenKind::Operator };
        let whole = of_store && self.kind == kind && self.narrowing.is_whole();
        if whole { Ok(()) } else { Err(Unprocessable::OperatorsOnly) }
    }
}

/// A token that was made: its text is shown once and kept nowhere.
pub struct MintedToken {
    /// Its public id.
    pub id: TokenId,
    /// Its text.
    pub text: zeroize::Zeroizing<String>,
    /// What its holder may do.
    pub role: Role,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// A token as lists show it.
#[derive(Debug, Clone)]
pub struct TokenView {
    /// Its public id.
    pub id: TokenId,
    /// What its holder may do.
    pub role: Role,
    /// Who holds it.
    pub kind: TokenKind,
    /// To what it is narrowed.
    pub narrowing: Narrowing,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Which counsels a token belongs to.
enum Line {
    /// None yet: whom it is given to begins one with it, and it goes then. Until then its line is its own id.
    Invitation,
    /// Those, or none.
    Of(Option<[u8; 16]>),
}

/// A token without its narrowing, which only its tenant's key opens.
pub(super) fn bare(id: TokenId, row: &TokenRow) -> Result<StoredToken, VaultError> {
    Ok(StoredToken {
        id,
        hash: row.secret_hash,
        tenant: TenantNo(row.tenant),
        role: Role::from_code(row.role).ok_or_else(|| VaultError::Internal("stored role".into()))?,
        kind: TokenKind::from_code(row.kind).ok_or_else(|| VaultError::Internal("stored kind of token".into()))?,
        created_at: Timestamp(row.created_at),
        expires_at: row.expires_at.map(Timestamp),
        narrowing: Narrowing::default(),
    })
}

/// A token as `authn` checks it.
pub(super) async fn stored(vault: &Vault, id: TokenId, row: &TokenRow) -> Result<StoredToken, VaultError> {
    let tenant = TenantNo(row.tenant);
    let narrowing = if row.sealed_narrowing.is_empty() {
        Narrowing::default()
    } else {
        let sealed = Sealed::<TokenMeta>::from_row(row.sealed_narrowing.clone().into()).map_err(damaged)?;
        let context = Context::<TokenMeta>::of(&vault.inner.store_id, tenant, &[&id.0]);
        let opened = vault.with_tenant(tenant, |secret| secret.derive_meta().open(&context, &sealed)).await?.map_err(damaged)?;
        Narrowing::from_bytes(opened.expose()).ok_or_else(|| VaultError::Internal("stored narrowing".into()))?
    };
    Ok(StoredToken { narrowing, ..bare(id, row)? })
}

impl Vault {
    /// Makes a token of a tenant, no wider than the caller's own grant and ending with it at the latest. A counsel's that an owner makes
    /// is an invitation: it makes one counsel's token, which begins a line, and goes with that.
    ///
    /// # Errors
    /// [`Unprocessable::RoleNotOfTenant`], [`Unprocessable::OperatorsOnly`], [`Unprocessable::ExpiryInThePast`],
    /// [`VaultError::Forbidden`].
    pub async fn create_token(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        mint: MintToken,
        idempotency_key: Option<String>,
    ) -> Result<MintedToken, VaultError> {
        let (vault, asker, name) = (self.clone(), caller.begin(), tenant.clone());
        let caller = asker.clone();
        let made =
            self.to_the_end(async move { retrying(|| vault.create_token_once(&asker, &name, &mint, idempotency_key.as_deref())).await });
        self.on_record(&caller, Place::tenant(tenant), Action::TokenCreate, made).await
    }

    async fn create_token_once(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        mint: &MintToken,
        idempotency_key: Option<&str>,
    ) -> Result<MintedToken, VaultError> {
        let by = caller.principal.role();
        let (found, held_to) = match mint.role {
            Role::Counsel if tenant.as_str() != SYSTEM => self.appointing(caller, tenant).await?,
            Role::Auditor if by == Role::Counsel => self.over_auditors::<AuditorAppoint>(caller, tenant).await?,
            Role::Counsel
            | Role::Operator
            | Role::Owner
            | Role::Writer
            | Role::Reader
            | Role::Auditor
            | Role::Eraser
            | Role::Job
            | Role::Governor => (self.in_tenant::<TokenCreate>(caller, tenant).await?.tenant, None),
        };
        mint.fits(found.no)?;
        if mint.expires_at.is_some_and(|end| end <= self.inner.clock.now()) {
            return Err(Unprocessable::ExpiryInThePast.into());
        }
        let last = caller.principal.expires_at();
        let outlives = mint.expires_at.zip(last).is_some_and(|(end, last)| end > last);
        if outlives || !caller.principal.narrowing().contains(&mint.narrowing) {
            return Err(VaultError::Forbidden);
        }
        let mut keeping = None;
        if let Some(key) = idempotency_key {
            let asked = format!("{:?} {:?} {:?}", mint.role, mint.kind, mint.expires_at);
            let parts: [&[u8]; 3] = [b"token", asked.as_bytes(), &mint.narrowing.to_bytes()];
            match self.made_before(found.no, caller, key, &parts).await? {
                Before::Made(made, _) => return Err(VaultError::Conflict(Conflict::SecretShownOnce(TokenId(made.id)))),
                Before::Nothing(place) => keeping = Some(place),
            }
        }
        let mint = MintToken { expires_at: mint.expires_at.or(last), ..mint.clone() };
        let (line, action) = match mint.role {
            Role::Counsel => {
                let line = match by {
                    Role::Counsel => Line::Of(self.line_or_invitation(caller).await?),
                    Role::Owner => Line::Invitation,
                    Role::Operator | Role::Writer | Role::Reader | Role::Auditor | Role::Eraser | Role::Job | Role::Governor => {
                        Line::Of(None)
                    }
                };
                (line, Action::CounselAppoint)
            }
            Role::Auditor if by == Role::Counsel => (Line::Of(None), Action::AuditorAppoint),
            Role::Operator | Role::Owner | Role::Writer | Role::Reader | Role::Auditor | Role::Eraser | Role::Job | Role::Governor => {
                (Line::Of(None), Action::TokenCreate)
            }
        };
        // Accepted: whoever has a copy of it has nothing.
        let accepted = matches!(line, Line::Of(Some(line)) if line == caller.principal.token().0).then(|| caller.principal.token());
        let accepted = accepted.filter(|_| !fault!("invitation-stays"));
        let (minted, mut writes) = self.mint_in(found.no, &mint, line).await?;
        let mut checks = vec![found.check()];
        checks.extend(held_to);
        // The commit is held to its being there: of two who accept it at once, one does.
        writes.extend(accepted.into_iter().flat_map(|invitation| forget(found.no, invitation)));
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, minted.id.0, true)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        let gone = accepted.map(|id| entry(caller, &found, Action::CounselDismiss, CollectionNo::TENANT, object(id.0)));
        let made = entry(caller, &found, action, CollectionNo::TENANT, object(minted.id.0));
        let entries = [made].into_iter().chain(gone).map(|done| (found.audit, done)).collect();
        self.commit_for(caller, Trail::Control, commit, entries).await.inspect_err(|_| self.inner.directory.forget_tenant(tenant))?;
        Ok(minted)
    }

    /// A permit to make a counsel's token, and what must still hold then: an owner's only while no hold stands; the operator's only where
    /// one stands that no counsel could release.
    async fn appointing(&self, caller: &Caller, tenant: &TenantName) -> Result<(Arc<Tenant>, Option<Check>), VaultError> {
        let found = self.in_tenant_or_importing::<CounselAppoint>(caller, tenant).await?.tenant;
        if caller.principal.role() == Role::Operator && !self.is_stuck(found.no).await? {
            return Err(VaultError::Forbidden);
        }
        let unheld = self.unheld_for_owner(caller, &found).await?;
        Ok((found, unheld))
    }

    /// A permit for a counsel to make or revoke an auditor's token, and what must still hold then: once the tenant has ended, for the
    /// counsel of a hold that stands. No owner has it by then, for whoever dismissed all auditors would have put what is held out of
    /// everybody's sight.
    ///
    /// # Errors
    /// [`VaultError::Forbidden`] otherwise.
    async fn over_auditors<A: authz::Action>(
        &self,
        caller: &Caller,
        tenant: &TenantName,
    ) -> Result<(Arc<Tenant>, Option<Check>), VaultError> {
        let found = self.in_tenant::<A>(caller, tenant).await?.tenant;
        let (state, unmoved) = self.hold_state(found.no).await?;
        let is_its_counsel = state.is_some() && self.has_placed_a_hold_that_stands(caller, found.no).await?;
        if is_its_counsel && found.has_ended(self.inner.clock.now()) { Ok((found, Some(unmoved))) } else { Err(VaultError::Forbidden) }
    }

    /// Whether a hold stands that a counsel could release: one of its line's, or for one whom the operator has brought in any.
    async fn has_placed_a_hold_that_stands(&self, caller: &Caller, tenant: TenantNo) -> Result<bool, VaultError> {
        let (line, now) = (self.line_of(caller).await?, self.inner.clock.now());
        let mut range = schema::table_of_tenant(schema::Table::Hold, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if hold.stands(now) && (line.is_none() || line == hold.line) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The line of a counsel who asks.
    ///
    /// # Errors
    /// [`VaultError::Invitation`] if its token is one: an owner has seen that. [`VaultError::Unauthenticated`], on the record as any
    /// credential that is refused, if its token was revoked meanwhile.
    pub(super) async fn line_of(&self, caller: &Caller) -> Result<Option<[u8; 16]>, VaultError> {
        let line = self.line_or_invitation(caller).await?;
        if line == Some(caller.principal.token().0) && !fault!("invitation-own") { Err(VaultError::Invitation) } else { Ok(line) }
    }

    /// The same, also that which an invitation begins.
    async fn line_or_invitation(&self, caller: &Caller) -> Result<Option<[u8; 16]>, VaultError> {
        match self.token_row(caller.principal.token()).await? {
            Some(row) => Ok(row.line),
            None => Err(self.holds_no_more(caller).await?),
        }
    }

    /// Whether a hold of a tenant stands that no counsel whose token holds could release.
    async fn is_stuck(&self, tenant: TenantNo) -> Result<bool, VaultError> {
        if self.hold_state(tenant).await?.0.is_none() {
            return Ok(false);
        }
        let now = self.inner.clock.now();
        let mut lines = HashSet::new();
        for id in self.tokens_of(tenant).await? {
            // One that cannot be read lets nobody in.
            let row = unless_damaged(self.token_row(id).await)?.flatten();
            let holds = |row: &TokenRow| row.tenant == tenant.0 && row.expires_at.is_none_or(|end| now < Timestamp(end));
            lines.extend(row.filter(|row| row.role == Role::Counsel.code() && holds(row)).map(|row| row.line));
        }
        if lines.contains(&None) {
            return Ok(false);
        }
        let mut range = schema::table_of_tenant(schema::Table::Hold, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if hold.stands(now) && !lines.contains(&hold.line) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// # Errors
    /// [`VaultError::Forbidden`] for an owner, where a hold stands.
    async fn unheld_for_owner(&self, caller: &Caller, tenant: &Tenant) -> Result<Option<Check>, VaultError> {
        if caller.principal.role() == Role::Owner { self.unheld(tenant).await.map(Some) } else { Ok(None) }
    }

    /// # Errors
    /// [`VaultError::Forbidden`] where a hold stands.
    async fn unheld(&self, tenant: &Tenant) -> Result<Check, VaultError> {
        let (state, unmoved) = self.hold_state(tenant.no).await?;
        if state.is_some() { Err(VaultError::Forbidden) } else { Ok(unmoved) }
    }

    /// A token's row.
    ///
    /// # Errors
    /// [`VaultError::Internal`], counted, if it is not as this store wrote it.
    pub(super) async fn token_row(&self, id: TokenId) -> Result<Option<TokenRow>, VaultError> {
        self.control_row(&schema::access_token(id)).await
    }

    /// A new token and its rows.
    pub(super) async fn mint(&self, tenant: TenantNo, mint: &MintToken) -> Result<(MintedToken, Vec<Write>), VaultError> {
        self.mint_in(tenant, mint, Line::Of(None)).await
    }

    /// The same of a line.
    async fn mint_in(&self, tenant: TenantNo, mint: &MintToken, line: Line) -> Result<(MintedToken, Vec<Write>), VaultError> {
        let id = TokenId(random::bytes());
        let minted = authn::MintedToken::new(mint.kind, id, random::bytes());
        let sealed_narrowing = if mint.narrowing.is_whole() {
            Vec::new()
        } else {
            let context = Context::<TokenMeta>::of(&self.inner.store_id, tenant, &[&id.0]);
            let plain = Plaintext::<TokenMeta>::new(mint.narrowing.to_bytes());
            let suite = self.inner.options.suite;
            self.with_tenant(tenant, |secret| secret.derive_meta().seal(suite, &context, &plain)).await?.into_row().to_vec()
        };
        let row = TokenRow {
            tenant: tenant.0,
            principal: id.0,
            role: mint.role.code(),
            kind: mint.kind.code(),
            secret_hash: minted.hash(),
            created_at: self.inner.clock.now().0,
            expires_at: mint.expires_at.map(|end| end.0),
            sealed_narrowing,
            line: match line {
                Line::Invitation => Some(id.0),
                Line::Of(line) => line,
            },
        };
        let writes = vec![
            self.inner.seals.put(schema::access_token(id), &row)?,
            Write::Put { space: Space::Control, key: schema::tenant_access_token(tenant, id), value: bytes::Bytes::new() },
        ];
        Ok((MintedToken { id, text: minted.into_text(), role: mint.role, expires_at: mint.expires_at }, writes))
    }

    /// The tokens of a tenant, without secrets: at most `limit` behind a cursor.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Forbidden`], [`Unprocessable::Cursor`].
    pub async fn tokens(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TokenView>, Option<String>), VaultError> {
        let caller = &caller.begin();
        self.on_record(caller, Place::tenant(tenant), Action::TokenList, self.tokens_page(caller, tenant, cursor, limit)).await
    }

    async fn tokens_page(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TokenView>, Option<String>), VaultError> {
        let found = self.in_tenant_or_importing::<TokenList>(caller, tenant).await?;
        let range = schema::table_of_tenant(schema::Table::TenantAccessToken, found.tenant.no);
        let (rows, last) = self.page(found.tenant.no, "tokens", &range, cursor, limit).await?;
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            match self.token_view(&found.tenant, token_of(&row.key)?).await {
                Ok(view) => views.extend(view),
                // It lets nobody in, and keeps nobody from the others.
                Err(VaultError::Internal(reason)) => tracing::error!(reason, "a token that cannot be read is left out of its list"),
                Err(other) => return Err(other),
            }
        }
        let read = entry(caller, &found.tenant, Action::TokenList, CollectionNo::TENANT, Target::default());
        self.read_receipt(&found.tenant, read).await?;
        let next = self.end_page(found.tenant.no, "tokens", &range, last).await?;
        Ok((views, next))
    }

    /// A token as its tenant's lists show it.
    pub(super) async fn token_view(&self, tenant: &Tenant, id: TokenId) -> Result<Option<TokenView>, VaultError> {
        // The list alone vouches for nothing: it could name another tenant's token.
        let Some(row) = self.token_row(id).await?.filter(|row| row.tenant == tenant.no.0) else { return Ok(None) };
        let StoredToken { role, kind, narrowing, created_at, expires_at, .. } = stored(self, id, &row).await?;
        let narrowing = self.veil_narrowing(tenant, narrowing).await?;
        Ok(Some(TokenView { id, role, kind, narrowing, created_at, expires_at }))
    }

    /// A narrowing as a list shows it: pseudonyms in the place of collections, persons and keys that were shredded since, or of
    /// which that cannot be told.
    async fn veil_narrowing(&self, tenant: &Tenant, narrowing: Narrowing) -> Result<Narrowing, VaultError> {
        let Narrowing { mut collections, mut prefix } = narrowing;
        let (mut gone, mut alive) = (None, false);
        for name in &mut collections {
            let Some(collection) = unless_damaged(self.find_collection(tenant.no, name).await)? else {
                let token = self.collection_token(tenant.no, name).await?;
                *name = CollectionName::parse(&pseudonym("collection", &token)).map_err(Unprocessable::from)?;
                gone = Some(token);
                continue;
            };
            let Some(collection) = collection else { continue };
            let shredded = order_of(collection.state).is_some();
            if shredded {
                *name = collection.name.clone();
            }
            let Some(key) = &prefix else { continue };
            let tokens = self.key_tokens(tenant, collection.no, key).await?;
            let row = record_row(tenant, collection.no, &tokens);
            let record = if shredded { None } else { unless_damaged(self.existing(tenant, &collection, &tokens, &row).await)? };
            // What an order has left for the law alone is as gone as what it shredded.
            let is_named = |record: &Existing| record.live.as_ref().is_some_and(|live| live.restricted_by().is_none());
            match record {
                Some(record) if record.as_ref().is_none_or(is_named) => alive = true,
                Some(_) | None => gone = tokens.last().copied(),
            }
        }
        if let (Some(token), false) = (gone, alive) {
            prefix = Some(RecordKey::parse(&pseudonym("key", &token)).map_err(Unprocessable::from)?);
        }
        if let Some(key) = &prefix {
            let (mut segments, mut veiled) = (Vec::new(), None);
            for segment in key.segments() {
                let token = match SubjectId::parse(segment) {
                    Ok(subject) => self.subject_tokens(tenant, std::slice::from_ref(&subject)).await?.first().copied(),
                    Err(_) => None,
                };
                let shredded = match token {
                    Some(token) if unless_damaged(self.is_subject_shredded(tenant, &token).await)? != Some(false) => {
                        Some(pseudonym("subject", &token))
                    }
                    Some(_) | None => None,
                };
                veiled = shredded.clone().or(veiled);
                segments.push(shredded.unwrap_or_else(|| segment.to_owned()));
            }
            // A pseudonym may be longer than what it stands for: where they do not all fit, one stands for all.
            let whole = RecordKey::parse(&segments.join("/"));
            prefix = Some(whole.or_else(|error| RecordKey::parse(&veiled.ok_or(error)?)).map_err(Unprocessable::from)?);
        }
        Ok(Narrowing { collections, prefix })
    }

    /// Revokes a token: refused from the next request on.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if the tenant has no such token; [`Conflict::LastOwner`] if nobody else could make tokens for
    /// the tenant, or for the store, then; [`VaultError::TenantState`] to an owner for an auditor's of a tenant that has ended.
    pub async fn revoke_token(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: TokenId,
        idempotency_key: Option<String>,
    ) -> Result<(), VaultError> {
        let (vault, asker, name) = (self.clone(), caller.begin(), tenant.clone());
        let caller = asker.clone();
        let revoked = self.to_the_end(async move { retrying(|| vault.revoke_once(&asker, &name, id, idempotency_key.as_deref())).await });
        self.on_record(&caller, Place::tenant(tenant), Action::TokenRevoke, revoked).await
    }

    async fn revoke_once(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: TokenId,
        idempotency_key: Option<&str>,
    ) -> Result<(), VaultError> {
        let (found, action, unheld) = self.revoking(caller, tenant, id).await?;
        let mut checks: Vec<Check> = unheld.into_iter().collect();
        let no = found.no;
        let mut keeping = None;
        if let Some(key) = idempotency_key {
            match self.made_before(no, caller, key, &[b"revoke", &id.0]).await? {
                Before::Made(..) => return self.repeated(caller, &found, action, CollectionNo::TENANT).await.map(drop),
                Before::Nothing(place) => keeping = Some(place),
            }
        }
        let by_tenant = schema::tenant_access_token(no, id);
        let is_listed = self.inner.store.get(Space::Control, &by_tenant).await?.is_some();
        // The list alone vouches for nothing: it could name another tenant's token.
        if !is_listed || self.token_row(id).await?.is_none_or(|row| row.tenant != no.0) {
            return Err(VaultError::NotFound(Missing::Token));
        }
        checks.push(Check { space: Space::Control, key: by_tenant, expect: Expect::Present });
        let mut writes = forget(no, id);
        if self.owns(no, id).await? {
            // It must still be there in this very commit: two owners may be revoking each other.
            let other = self.another_owner(no, id).await?.ok_or(VaultError::Conflict(Conflict::LastOwner))?;
            checks.push(Check { space: Space::Control, key: schema::access_token(other), expect: Expect::Present });
        }
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(self, id.0, false)?;
            checks.push(check);
            writes.extend(rows);
        }
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let revoked = entry(caller, &found, action, CollectionNo::TENANT, object(id.0));
        self.commit_for(caller, Trail::Control, commit, vec![(found.audit, revoked)]).await.map(drop)
    }

    /// A permit to revoke a token, what the trail calls it, and what must still hold then: of a counsel's token, and an auditor's of a tenant
    /// that has ended, as for making one.
    async fn revoking(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        id: TokenId,
    ) -> Result<(Arc<Tenant>, Action, Option<Check>), VaultError> {
        let at_home = self.find_tenant(tenant).await?;
        let row = self.token_row(id).await?.filter(|row| at_home.as_ref().is_some_and(|found| row.tenant == found.no.0));
        let state = at_home.map_or(TenantState::Active, |found| found.stands(self.inner.clock.now()));
        if state.has_ended() && !fault!("has-ended") && row.as_ref().is_some_and(|row| row.role == Role::Auditor.code()) {
            if caller.principal.role() == Role::Counsel {
                let (found, unmoved) = self.over_auditors::<AuditorDismiss>(caller, tenant).await?;
                return Ok((found, Action::AuditorDismiss, unmoved));
            }
            self.in_tenant::<TokenRevoke>(caller, tenant).await?;
            return Err(VaultError::TenantState(state));
        }
        let is_counsels = match &row {
            Some(row) => row.role == Role::Counsel.code(),
            // Of one that is gone, who may revoke those alone is told what became of it.
            None => caller.principal.role() == Role::Counsel,
        };
        if !is_counsels {
            // One that leaked must not wait for the rest of a bundle.
            return Ok((self.in_tenant_or_importing::<TokenRevoke>(caller, tenant).await?.tenant, Action::TokenRevoke, None));
        }
        let found = self.in_tenant_or_importing::<CounselDismiss>(caller, tenant).await?.tenant;
        let unheld = if caller.principal.role() == Role::Counsel {
            let line = self.line_of(caller).await?;
            // Of another line only while there is nothing that it alone could end.
            if line.is_none() || row.is_none_or(|row| row.line == line) { None } else { Some(self.unheld(&found).await?) }
        } else {
            self.unheld_for_owner(caller, &found).await?
        };
        Ok((found, Action::CounselDismiss, unheld))
    }

    /// Makes a new operator's token in the place of all there are: for a store at rest whose operator lost theirs. `keep` gets
    /// its text before anything changes, and by failing stops it. Tells how many were revoked.
    ///
    /// # Errors
    /// That of `keep`, and those of the store; the old tokens hold then.
    pub async fn replace_operators<E: From<VaultError>>(&self, keep: impl FnOnce(&str) -> Result<(), E>) -> Result<usize, E> {
        let system = self.tenant_by_number(TenantNo::SYSTEM).await?;
        let old = self.tokens_of(TenantNo::SYSTEM).await?;
        let (minted, mut writes) = self.mint(TenantNo::SYSTEM, &MintToken::operator()).await?;
        keep(&minted.text)?;
        writes.extend(old.iter().flat_map(|id| forget(TenantNo::SYSTEM, *id)));
        let request = Self::make_request_id();
        let did = |action: Action, id: TokenId| Entry {
            tenant: TenantNo::SYSTEM,
            action,
            outcome: Outcome::Allowed,
            principal: PrincipalId([0; 16]),
            role: audit::Role::System,
            request,
            collection: CollectionNo::TENANT,
            target: object(id.0),
        };
        let revoked = old.iter().map(|id| did(Action::TokenRevoke, *id));
        let entries = revoked.chain([did(Action::TokenCreate, minted.id)]).map(|entry| (system.audit, entry)).collect();
        let checks = vec![system.check()];
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        self.commit(Trail::Control, commit, entries).await?;
        Ok(old.len())
    }

    async fn tokens_of(&self, tenant: TenantNo) -> Result<Vec<TokenId>, VaultError> {
        let range = schema::table_of_tenant(schema::Table::TenantAccessToken, tenant);
        let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await?;
        rows.iter().map(|row| token_of(&row.key)).collect()
    }

    /// Whether a token can make any token of its tenant, or of the store: one with an end makes none that outlives it.
    async fn owns(&self, tenant: TenantNo, id: TokenId) -> Result<bool, VaultError> {
        let Some(row) = self.token_row(id).await? else { return Ok(false) };
        let role = if tenant == TenantNo::SYSTEM { Role::Operator } else { Role::Owner };
        Ok(row.tenant == tenant.0 && row.role == role.code() && row.sealed_narrowing.is_empty() && row.expires_at.is_none())
    }

    /// A token that owns as much, if there is another.
    pub(super) async fn another_owner(&self, tenant: TenantNo, than: TokenId) -> Result<Option<TokenId>, VaultError> {
        let mut range = schema::table_of_tenant(schema::Table::TenantAccessToken, tenant);
        loop {
            let rows = self.inner.store.scan(Space::Control, &range.from, &range.to, SCAN_ROWS).await?;
            let Some(last) = rows.last() else { return Ok(None) };
            range = range.after(&last.key);
            for row in rows {
                let id = token_of(&row.key)?;
                // One that cannot be read owns nothing, and keeps no other from being revoked.
                if id != than && unless_damaged(self.owns(tenant, id).await)? == Some(true) {
                    return Ok(Some(id));
                }
            }
        }
    }
}

/// The token that a row of the tenant's list names.
pub(super) fn token_of(key: &[u8]) -> Result<TokenId, VaultError> {
    key.last_chunk::<16>().map(|id| TokenId(*id)).ok_or_else(|| VaultError::Internal("token row".into()))
}

/// `None` for what is stored and cannot be read.
fn unless_damaged<T>(read: Result<T, VaultError>) -> Result<Option<T>, VaultError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(VaultError::Internal(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What removes a token.
pub(super) fn forget(tenant: TenantNo, id: TokenId) -> Vec<Write> {
    vec![
        Write::Delete { space: Space::Control, key: schema::access_token(id) },
        Write::Delete { space: Space::Control, key: schema::tenant_access_token(tenant, id) },
    ]
}

/// Rows read at once.
const SCAN_ROWS: usize = 256;
