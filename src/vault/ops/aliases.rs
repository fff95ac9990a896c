//! A person's several ids: the one that the person was known by first, and its aliases.
//!
//! ```text
//! id -> token -> row of control: under an alias, which id is the first; under the first, the tokens of the aliases; under each the id
//! itself, sealed under a unit of that id's own that lies in no collection
//! ```
//! So an alias that is taken away, and is another person's, goes with that person's shred out of every copy of control, although the one
//! whose it was is not erased.
//!
//! What is written under an id is sealed, indexed and found under that id, whatever else the person is called. What is done to a person
//! is done to all ids: a shred ([`Vault::by_all_ids`]), a hold ([`Vault::widen_holds`]), a list. So a write looks for no alias, a record
//! of any date says the same whatever became of its persons' ids since, and after a shred every id is erased by itself.
//!
//! The commit of each change, and of what is done to a person, holds the person to the ids that were read ([`Person::check`]).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::{
    Caller, Conflict, Missing, Unprocessable, Vault, VaultError,
    access::InTenant,
    directory::{Tenant, damaged},
    plan::{entry, record_row, retrying, subject_target},
    refused::Place,
    replies::{Before, Keeping},
    rows::{AliasRow, ControlRow, State, SubjectRow, UnitRow},
    units::refusal,
};
use crate::{
    authz::{AliasAdd, AliasRead, AliasRemove},
    domain::{CollectionNo, SubjectId, TenantName, TenantNo, limits},
    vault::{
        audit::{Action, Entry, Target, Trail},
        crypto::{Context, Plaintext, Sealed, SubjectAliases, Token},
        keys::UnitRef,
        store::{Check, Commit, Durability, Expect, Space, Urgency, Write, schema},
    },
};

/// Rows of the index that are looked at for a record of an id.
const LOOKS: usize = 256;

/// A person's ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonView {
    /// The first.
    pub subject: SubjectId,
    /// The others, in the order in which they came.
    pub aliases: Vec<SubjectId>,
}

/// An alias to add.
#[derive(Debug, Clone)]
pub struct NewAlias {
    /// The person, by any id.
    pub subject: SubjectId,
    /// The person's new id.
    pub alias: SubjectId,
    /// Whether records that name it already are the person's.
    pub with_records: bool,
    /// Whether a person who was shredded, under either id, is known anew.
    pub new_relationship: bool,
}

/// A person, as the rows of control know the person's ids.
pub(super) struct Person {
    first: Token,
    /// The row of the first id; there is none of a person who has no other.
    row: Option<AliasRow>,
    /// That these are all ids.
    check: Check,
}

impl Person {
    fn aliases(&self) -> &[Token] {
        self.row.as_ref().map_or(&[][..], |row| row.aliases.as_slice())
    }

    /// The first id.
    pub(super) const fn first(&self) -> Token {
        self.first
    }

    /// That it has these ids, for a commit.
    pub(super) fn check(&self) -> Check {
        self.check.clone()
    }

    /// All ids, the first one first.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token> {
        std::iter::once(self.first).chain(self.aliases().iter().copied())
    }

    /// Whether there is but one.
    pub(super) const fn has_one_id(&self) -> bool {
        self.row.is_none()
    }

    /// Whether the person has this id.
    pub(super) fn has(&self, token: &Token) -> bool {
        self.tokens().any(|known| known == *token)
    }
}

/// A change of what is known of persons, and what goes with it in one commit.
#[derive(Default)]
pub(super) struct Change {
    pub(super) checks: Vec<Check>,
    pub(super) writes: Vec<Write>,
    pub(super) entries: Vec<(UnitRef, Entry)>,
    /// The units that seal what is known of its ids: those that it opens are in no row yet.
    units: HashMap<Token, UnitRef>,
}

impl Change {
    /// A change in a tenant, of persons who have the ids that were read.
    pub(super) fn of<'a>(tenant: &Tenant, persons: impl IntoIterator<Item = &'a Person>) -> Self {
        let persons = persons.into_iter().map(|person| person.check.clone());
        Self { checks: std::iter::once(tenant.check()).chain(persons).collect(), ..Self::default() }
    }

    fn check(&mut self, key: Bytes, expect: Expect) {
        self.checks.push(Check { space: Space::Control, key, expect });
    }

    pub(super) fn put<R: ControlRow>(&mut self, vault: &Vault, key: Bytes, row: &R) -> Result<(), VaultError> {
        self.writes.push(vault.inner.seals.put(key, row)?);
        Ok(())
    }

    pub(super) fn keep(&mut self, vault: &Vault, keeping: Option<Keeping>, id: Token) -> Result<(), VaultError> {
        if let Some(keeping) = keeping {
            let (check, rows) = keeping.rows(vault, id, true)?;
            self.checks.push(check);
            self.writes.extend(rows);
        }
        Ok(())
    }
}

impl Vault {
    /// Gives a person another id. The second value says whether it is new.
    ///
    /// # Errors
    /// [`VaultError::SubjectErased`] if the person was shredded under either id; [`Conflict::AliasTaken`], [`Conflict::AliasHasRecords`];
    /// [`Unprocessable::OwnAlias`]; [`VaultError::Limit`]; [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn add_alias(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        new: NewAlias,
        idempotency_key: Option<String>,
    ) -> Result<(PersonView, bool), VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let added = self.to_the_end(async move { retrying(|| vault.add_once(&caller, &name, &new, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::AliasAdd, added).await
    }

    async fn add_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        new: &NewAlias,
        key: Option<&str>,
    ) -> Result<(PersonView, bool), VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<AliasAdd>(caller, name).await?;
        self.add_to(caller, &tenant, new, key).await
    }

    /// The same in a tenant that is known already, of whoever may.
    pub(super) async fn add_to(
        &self,
        caller: &Caller,
        tenant: &Tenant,
        new: &NewAlias,
        key: Option<&str>,
    ) -> Result<(PersonView, bool), VaultError> {
        let NewAlias { subject, alias, with_records, new_relationship } = new;
        if subject == alias {
            return Err(Unprocessable::OwnAlias.into());
        }
        let (known, added) = (self.token_of(tenant.no, subject).await?, self.token_of(tenant.no, alias).await?);
        let flags = [u8::from(*with_records), u8::from(*new_relationship)];
        let parts: [&[u8]; 4] = [b"alias", subject.as_str().as_bytes(), alias.as_str().as_bytes(), &flags];
        let before = self.changed_before(tenant, caller, key, &parts).await?;
        let person = self.person(tenant.no, known).await?;
        if person.has(&added) || matches!(before, Some(Before::Made(..))) {
            self.repeated(caller, tenant, Action::AliasAdd, CollectionNo::TENANT).await?;
            return Ok((self.ids_or(tenant, &person, subject).await?, matches!(before, Some(Before::Made(..)))));
        }
        let other = self.person(tenant.no, added).await?;
        let mut change = Change::of(tenant, [&person, &other]);
        for token in [person.first, added] {
            self.plan_alive(&mut change, caller, tenant, token, *new_relationship).await?;
        }
        if !other.has_one_id() {
            return Err(VaultError::Conflict(Conflict::AliasTaken));
        }
        if person.aliases().len() as u64 >= limits::SUBJECT_ALIASES.max {
            return Err(VaultError::Limit(limits::SUBJECT_ALIASES));
        }
        if !with_records && self.is_named(tenant, &added).await? {
            return Err(VaultError::Conflict(Conflict::AliasHasRecords));
        }
        let view = self.ids_or(tenant, &person, subject).await?;
        let view = PersonView { aliases: [&view.aliases[..], std::slice::from_ref(alias)].concat(), ..view };
        let aliases = [person.aliases(), &[added]].concat();
        let ids: Vec<Token> = person.tokens().chain([added]).collect();
        self.fits_held_orders(tenant, &ids).await?;
        self.plan_id(&mut change, tenant, (person.first, &view.subject), (None, aliases)).await?;
        self.plan_id(&mut change, tenant, (added, alias), (Some(person.first), Vec::new())).await?;
        change.entries.push((tenant.audit, changed(caller, tenant, Action::AliasAdd, person.first, added)));
        change.keep(self, before.and_then(free), added)?;
        // A hold on the person is on the new id too, before anything under it can be destroyed.
        let _alone = self.widen_holds(tenant, &ids, &mut change.checks, &mut change.writes).await?;
        // What was reported of either is known of both from here on. Behind that which may wait for keys: no report waits for those.
        let _numbered = self.plan_events_joined(&mut change, tenant.no, (person.first, &view.subject), added).await?;
        self.commit_change(caller, change).await?;
        self.follow_events_soon();
        Ok((view, true))
    }

    /// Takes an alias from a person. What was written under it stays, and is its own person's from then on; a hold that was on it stays
    /// on it.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] if it is no alias; [`VaultError::SubjectErased`] if the person was shredded: what the person was called
    /// stays erased; [`VaultError::Forbidden`].
    pub async fn remove_alias(
        &self,
        caller: &Caller,
        tenant: &TenantName,
        alias: SubjectId,
        idempotency_key: Option<String>,
    ) -> Result<PersonView, VaultError> {
        let asker = &caller.begin();
        let (vault, caller, name) = (self.clone(), asker.clone(), tenant.clone());
        let removed =
            self.to_the_end(async move { retrying(|| vault.remove_once(&caller, &name, &alias, idempotency_key.as_deref())).await });
        self.on_record(asker, Place::tenant(tenant), Action::AliasRemove, removed).await
    }

    async fn remove_once(
        &self,
        caller: &Caller,
        name: &TenantName,
        alias: &SubjectId,
        key: Option<&str>,
    ) -> Result<PersonView, VaultError> {
        let InTenant { tenant, .. } = self.in_tenant::<AliasRemove>(caller, name).await?;
        let removed = self.token_of(tenant.no, alias).await?;
        let before = self.changed_before(&tenant, caller, key, &[b"remove-alias", alias.as_str().as_bytes()]).await?;
        let person = self.person(tenant.no, removed).await?;
        if matches!(before, Some(Before::Made(..))) {
            // Whose it was is nowhere any more.
            self.repeated(caller, &tenant, Action::AliasRemove, CollectionNo::TENANT).await?;
            return self.ids_or(&tenant, &person, alias).await;
        }
        let mut change = Change::of(&tenant, [&person]);
        self.plan_alive(&mut change, caller, &tenant, removed, false).await?;
        if !person.aliases().contains(&removed) {
            return Err(VaultError::NotFound(Missing::Alias));
        }
        self.plan_alive(&mut change, caller, &tenant, person.first, false).await?;
        let view = self.ids_or(&tenant, &person, alias).await?;
        let view = PersonView { aliases: view.aliases.into_iter().filter(|known| known != alias).collect(), ..view };
        let aliases: Vec<Token> = person.aliases().iter().copied().filter(|known| *known != removed).collect();
        let mut gone = vec![schema::alias(tenant.no, &removed)];
        if aliases.is_empty() {
            gone.push(schema::alias(tenant.no, &person.first));
        } else {
            self.plan_id(&mut change, &tenant, (person.first, &view.subject), (None, aliases)).await?;
        }
        change.writes.extend(gone.into_iter().map(|key| Write::Delete { space: Space::Control, key }));
        change.entries.push((tenant.audit, changed(caller, &tenant, Action::AliasRemove, person.first, removed)));
        change.keep(self, before.and_then(free), removed)?;
        let _numbered = self.plan_events_parted(&mut change, tenant.no, person.first, (removed, alias)).await?;
        self.commit_change(caller, change).await?;
        self.follow_events_soon();
        Ok(view)
    }

    /// The ids of a person, by any of them; of whom nothing is known that one alone. The audit entry is in the store before this returns.
    ///
    /// # Errors
    /// [`VaultError::Shredded`] if the person was; [`VaultError::NotFound`], [`VaultError::Forbidden`].
    pub async fn person_ids(&self, caller: &Caller, tenant: &TenantName, subject: &SubjectId) -> Result<PersonView, VaultError> {
        let caller = &caller.begin();
        let read = retrying(|| async {
            let InTenant { tenant, .. } = self.in_tenant::<AliasRead>(caller, tenant).await?;
            let token = self.token_of(tenant.no, subject).await?;
            self.refuse_shredded_subject(&tenant, &token).await?;
            let person = self.person(tenant.no, token).await?;
            let view = self.ids_or(&tenant, &person, subject).await?;
            let count = u32::try_from(person.tokens().count()).ok();
            let target = Target { count, ..subject_target(person.first) };
            self.read_receipt(&tenant, entry(caller, &tenant, Action::AliasRead, CollectionNo::TENANT, target)).await?;
            Ok(view)
        });
        self.on_record(caller, Place::tenant(tenant), Action::AliasRead, read).await
    }

    /// A person, by the token of any id.
    pub(super) async fn person(&self, tenant: TenantNo, token: Token) -> Result<Person, VaultError> {
        let stored = self.inner.store.get(Space::Control, &schema::alias(tenant, &token)).await?;
        self.person_in(tenant, token, stored).await
    }

    /// The same for many, each by the token at its place.
    pub(super) async fn persons(&self, tenant: TenantNo, tokens: &[Token]) -> Result<Vec<Person>, VaultError> {
        let keys: Vec<Bytes> = tokens.iter().map(|token| schema::alias(tenant, token)).collect();
        let stored = self.inner.store.get_many(Space::Control, &keys).await?;
        let mut persons = Vec::with_capacity(tokens.len());
        for (token, stored) in tokens.iter().zip(stored) {
            persons.push(self.person_in(tenant, *token, stored).await?);
        }
        Ok(persons)
    }

    /// The same, where what stands under the token was read.
    async fn person_in(&self, tenant: TenantNo, token: Token, stored: Option<Bytes>) -> Result<Person, VaultError> {
        let key = schema::alias(tenant, &token);
        let Some(stored) = stored else {
            return Ok(Person { first: token, row: None, check: Check { space: Space::Control, key, expect: Expect::Absent } });
        };
        let row: AliasRow = self.inner.seals.open(&key, &stored)?;
        let Some(first) = row.of else {
            return Ok(Person {
                first: token,
                row: Some(row),
                check: Check { space: Space::Control, key, expect: Expect::Equals(stored) },
            });
        };
        let of_first = schema::alias(tenant, &first);
        if let Some(of_all) = self.inner.store.get(Space::Control, &of_first).await? {
            let row: AliasRow = self.inner.seals.open(&of_first, &of_all)?;
            if row.of.is_none() && row.aliases.contains(&token) {
                let check = Check { space: Space::Control, key: of_first, expect: Expect::Equals(of_all) };
                return Ok(Person { first, row: Some(row), check });
            }
        }
        // Taken away between the two reads, or one of the rows was.
        let is_still = self.inner.store.get(Space::Control, &key).await?.as_ref() == Some(&stored);
        Err(if is_still { VaultError::Internal("an alias of somebody who does not have it".into()) } else { VaultError::Busy })
    }

    /// The same persons by all ids: the tokens that were given, behind them those of the other ids, and the names of these as far as they
    /// can be read.
    pub(super) async fn by_all_ids(&self, tenant: TenantNo, tokens: &[Token]) -> Result<(Vec<Token>, Vec<Option<SubjectId>>), VaultError> {
        let (mut all, mut names) = (tokens.to_vec(), Vec::new());
        let mut known: HashSet<Token> = tokens.iter().copied().collect();
        for person in self.persons(tenant, tokens).await? {
            let others: Vec<(usize, Token)> = person.tokens().enumerate().filter(|(_, token)| known.insert(*token)).collect();
            if others.is_empty() {
                continue;
            }
            let ids = match self.ids_of(tenant, &person).await {
                Ok(ids) => ids,
                Err(error @ (VaultError::Busy | VaultError::DiskFull | VaultError::Unavailable(_))) => return Err(error),
                // A list that is bent, or is going already, keeps nobody from being forgotten.
                Err(_) => Vec::new(),
            };
            for (place, token) in others {
                all.push(token);
                names.push(ids.get(place).cloned());
            }
        }
        Ok((all, names))
    }

    /// The checks that some persons have no ids but these, for the commit of what is done to them.
    ///
    /// # Errors
    /// [`VaultError::Busy`] if they have: they were given another one meanwhile.
    pub(super) async fn have_no_others(&self, tenant: TenantNo, tokens: &[Token]) -> Result<Vec<Check>, VaultError> {
        let given: HashSet<Token> = tokens.iter().copied().collect();
        let (mut met, mut checks) = (HashSet::new(), Vec::with_capacity(tokens.len()));
        for person in self.persons(tenant, tokens).await? {
            if !person.tokens().all(|token| given.contains(&token)) {
                return Err(VaultError::Busy);
            }
            if met.insert(person.first) {
                checks.push(person.check);
            }
        }
        Ok(checks)
    }

    /// One of a person's several ids, by its token.
    pub(super) async fn listed_id(&self, tenant: TenantNo, token: &Token) -> Result<Option<SubjectId>, VaultError> {
        let Some(row) = self.control_row::<AliasRow>(&schema::alias(tenant, token)).await? else { return Ok(None) };
        match self.id_of(tenant, token, &row).await {
            Ok(id) => Ok(Some(id)),
            // Between its order and the row that says so.
            Err(VaultError::Shredded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All ids of a person, the first one first; none of a person who has but one.
    pub(super) async fn ids_of(&self, tenant: TenantNo, person: &Person) -> Result<Vec<SubjectId>, VaultError> {
        let Some(row) = &person.row else { return Ok(Vec::new()) };
        let mut ids = vec![self.id_of(tenant, &person.first, row).await?];
        for alias in &row.aliases {
            let id = match self.control_row::<AliasRow>(&schema::alias(tenant, alias)).await? {
                Some(row) if row.of == Some(person.first) => self.id_of(tenant, alias, &row).await,
                Some(_) | None => Err(VaultError::Internal("an alias does not lead to its person".into())),
            };
            match id {
                Ok(id) => ids.push(id),
                // Unless it was taken away since the person was read, and perhaps erased by itself.
                Err(error) => return Err(if self.is_still(person).await? { error } else { VaultError::Busy }),
            }
        }
        Ok(ids)
    }

    /// The units that seal a person's several ids, by these: their slots, `None` where that cannot be told; none of a person who has but
    /// one.
    pub(super) async fn slots_of_ids(&self, tenant: TenantNo, person: &Person) -> Result<Vec<(Token, Option<u64>)>, VaultError> {
        let Some(row) = &person.row else { return Ok(Vec::new()) };
        let mut slots = vec![(person.first, Some(row.slot))];
        for alias in &row.aliases {
            let slot = match self.control_row::<AliasRow>(&schema::alias(tenant, alias)).await {
                Ok(row) => row.filter(|row| row.of == Some(person.first)).map(|row| row.slot),
                Err(VaultError::Internal(_)) => None,
                Err(error) => return Err(error),
            };
            slots.push((*alias, slot));
        }
        Ok(slots)
    }

    /// Whether a person has the ids that were read.
    async fn is_still(&self, person: &Person) -> Result<bool, VaultError> {
        let stored = self.inner.store.get(Space::Control, &person.check.key).await?;
        Ok(matches!((&person.check.expect, &stored), (Expect::Equals(known), Some(stored)) if known == stored))
    }

    /// The id of a row, held against its token.
    async fn id_of(&self, tenant: TenantNo, token: &Token, row: &AliasRow) -> Result<SubjectId, VaultError> {
        let unit = UnitRow { slot: row.slot, generation: row.generation }.unit(tenant)?;
        let sealed = Sealed::<SubjectAliases>::from_row(row.sealed.clone().into()).map_err(damaged)?;
        let context = self.id_context(unit, token);
        let opened = self.with_sole(unit, CollectionNo::TENANT, |key| key.open(&context, &sealed)).await?.map_err(damaged)?;
        let id = std::str::from_utf8(opened.expose()).ok().and_then(|text| SubjectId::parse(text).ok());
        let wrong = || VaultError::Internal("one of a person's ids".into());
        let id = id.ok_or_else(wrong)?;
        if self.token_of(tenant, &id).await? == *token { Ok(id) } else { Err(wrong()) }
    }

    /// The same as they are shown; of a person who has but one id the one that was asked for.
    async fn ids_or(&self, tenant: &Tenant, person: &Person, asked: &SubjectId) -> Result<PersonView, VaultError> {
        let mut ids = self.ids_of(tenant.no, person).await?.into_iter();
        let subject = ids.next().unwrap_or_else(|| asked.clone());
        Ok(PersonView { subject, aliases: ids.collect() })
    }

    /// Plans the row of one of a person's ids: under an alias which one is the first, under the first the aliases.
    async fn plan_id(
        &self,
        change: &mut Change,
        tenant: &Tenant,
        (token, id): (Token, &SubjectId),
        (of, aliases): (Option<Token>, Vec<Token>),
    ) -> Result<(), VaultError> {
        let unit = self.plan_unit_of_id(change, tenant.no, &token).await?;
        let plain = Plaintext::<SubjectAliases>::new(id.as_str().as_bytes().to_vec());
        let context = self.id_context(unit, &token);
        let suite = self.inner.options.suite;
        let sealed = self.with_sole(unit, CollectionNo::TENANT, |key| key.seal(suite, &context, &plain)).await?;
        let UnitRow { slot, generation } = UnitRow::of(unit);
        let row = AliasRow { of, aliases, slot, generation, sealed: sealed.into_row().to_vec() };
        change.put(self, schema::alias(tenant.no, &token), &row)
    }

    /// The unit that seals an id, and what was reported of it: one of that id's as any other, so that a shred by it finds it, and of no
    /// collection.
    pub(super) async fn plan_unit_of_id(&self, change: &mut Change, tenant: TenantNo, token: &Token) -> Result<UnitRef, VaultError> {
        if let Some(unit) = change.units.get(token) {
            return Ok(*unit);
        }
        let key = schema::unit(tenant, token, CollectionNo::TENANT);
        let stored = self.inner.store.get(Space::Control, &key).await?;
        let known = match &stored {
            Some(row) => {
                let unit = self.inner.seals.open::<UnitRow>(&key, row)?.unit(tenant)?;
                self.is_current(unit).await?.then_some(unit)
            }
            None => None,
        };
        let unit = match known {
            Some(unit) => unit,
            None => {
                let unit = self.inner.forest.make_unit(tenant).await?;
                change.put(self, key.clone(), &UnitRow::of(unit))?;
                unit
            }
        };
        change.check(key, stored.map_or(Expect::Absent, Expect::Equals));
        change.check(schema::unit_state(tenant, unit.slot), Expect::Absent);
        change.units.insert(*token, unit);
        Ok(unit)
    }

    /// Holds an id to a person who is alive; one who was shredded is so where a new relationship begins, which is recorded.
    pub(super) async fn plan_alive(
        &self,
        change: &mut Change,
        caller: &Caller,
        tenant: &Tenant,
        token: Token,
        anew: bool,
    ) -> Result<(), VaultError> {
        let key = schema::subject_state(tenant.no, &token);
        let stored = self.inner.store.get(Space::Control, &key).await?;
        if let Some(row) = &stored {
            match self.inner.seals.open::<SubjectRow>(&key, row)?.state {
                State::Active => {}
                State::Shredded(_) if anew => {
                    change.put(self, key.clone(), &SubjectRow { state: State::Active })?;
                    let returns = entry(caller, tenant, Action::SubjectReturn, CollectionNo::TENANT, subject_target(token));
                    change.entries.push((tenant.audit, returns));
                }
                state @ (State::Frozen | State::Pending(_) | State::Shredded(_)) => return Err(refusal(state)),
            }
        }
        change.check(key, stored.map_or(Expect::Absent, Expect::Equals));
        Ok(())
    }

    pub(super) async fn commit_change(&self, caller: &Caller, Change { checks, writes, entries, .. }: Change) -> Result<(), VaultError> {
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Normal };
        let done = self.commit_for(caller, Trail::Control, commit, entries).await;
        done.inspect_err(|_| self.inner.directory.forget_all()).map(drop)
    }

    /// What an earlier request with the same idempotency key has done, or where this one is remembered; `None` without a key.
    pub(super) async fn changed_before(
        &self,
        tenant: &Tenant,
        caller: &Caller,
        key: Option<&str>,
        parts: &[&[u8]],
    ) -> Result<Option<Before>, VaultError> {
        match key {
            None => Ok(None),
            Some(key) => self.made_before(tenant.no, caller, key, parts).await.map(Some),
        }
    }

    /// Whether any record that is there names a person by this id. The index of one who was erased goes with the bytes; what a law keeps
    /// of such a person is nobody's to take along.
    pub(super) async fn is_named(&self, tenant: &Tenant, token: &Token) -> Result<bool, VaultError> {
        let range = schema::records_of_subject(tenant.no, token);
        let rows = self.inner.store.scan(Space::Index, &range.from, &range.to, LOOKS).await?;
        for row in &rows {
            let parts = schema::subject_record_parts(&row.key);
            let (_, no, tokens) = parts.ok_or_else(|| VaultError::Internal("subject index row".into()))?;
            if let Some(stored) = self.inner.store.get(Space::Records, &record_row(tenant, no, &tokens)).await?
                && self.is_readable(tenant.no, &stored).await?
                && !self.is_left(tenant, no, &tokens).await?
            {
                return Ok(true);
            }
        }
        // Behind so many the next may be there.
        Ok(rows.len() >= LOOKS)
    }

    pub(super) async fn token_of(&self, tenant: TenantNo, subject: &SubjectId) -> Result<Token, VaultError> {
        self.with_tenant(tenant, |secret| secret.derive_subject_index().subject_token(subject)).await
    }

    fn id_context(&self, unit: UnitRef, token: &Token) -> Context<SubjectAliases> {
        let sealed_under = [&unit.slot.to_be_bytes()[..], &unit.generation.to_be_bytes()].concat();
        Context::of(&self.inner.store_id, unit.tenant, &[token, &sealed_under])
    }
}

/// Where a change is remembered that was not made before.
pub(super) fn free(before: Before) -> Option<Keeping> {
    match before {
        Before::Nothing(keeping) => Some(keeping),
        Before::Made(..) => None,
    }
}

/// The entry of what was done to a person's ids: whose, and which one by its token.
fn changed(caller: &Caller, tenant: &Tenant, action: Action, first: Token, alias: Token) -> Entry {
    entry(caller, tenant, action, CollectionNo::TENANT, Target { object: Some(alias), ..subject_target(first) })
}
