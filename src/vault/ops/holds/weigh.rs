//! Whether a hold stands over what an order to shred would destroy. The indexes lead to the records that a key seals, or a policy
//! deletes, and the rows of the holds say which of them are held. A record says itself whom it is about, for the index may be behind;
//! where it cannot be read for now, the index is believed.
//!
//! What the order names may still be written to before its intent is durable; so the shredder weighs again in the moment before the
//! keys go, when nothing that it has closed is written over, as long as holds stand ([`Vault::plan_unclosed`]).

use std::collections::HashSet;

use super::{
    super::{
        Vault, VaultError,
        plan::unit_of,
        rows::{HoldRow, Scope, State},
    },
    bind::Standing,
};
use crate::{
    domain::{CollectionNo, TenantNo, Version, policy::SecondarySubjects},
    vault::{
        crypto::{Context, OpenError, Record, RecordHeader, Sealed, Token},
        keys::KeysError,
        store::{
            Row, Space,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// A record by its place.
type Place = (CollectionNo, Vec<Token>);

impl Vault {
    /// The holds over an order's scope: one, and one that is disclosed, if there is; of a record's all. Of a record that can be read only
    /// the holds on it are read, for any other scope each hold that the tenant has.
    pub(in crate::vault::ops) async fn weigh(&self, tenant: TenantNo, scope: &Scope) -> Result<Vec<Standing>, VaultError> {
        let record = self.record_of(scope).await?;
        if matches!(scope, Scope::Record { .. }) {
            let Some((no, tokens)) = &record else { return Ok(Vec::new()) };
            let subjects = match self.seen((tenant, When::Now), *no, tokens).await? {
                Seen::Subjects(subjects, _) => Some(subjects),
                Seen::Gone => Some(Vec::new()),
                // Whom it is about is known of those alone who are asked for.
                Seen::ByIndex(..) => None,
            };
            let over = self.holds_over(tenant, *no, tokens, subjects.as_deref().unwrap_or_default()).await?;
            if subjects.is_some() || !over.is_empty() {
                return Ok(over);
            }
        }
        let along = self.along((tenant, When::Now), scope).await?;
        let mut over: Vec<Standing> = Vec::new();
        let mut range = schema::table_of_tenant(Table::HoldOn, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Some(standing) = self.standing(&row.key, &row.value)? else { continue };
                // One is enough, and one that may be told is better.
                let is_known = over.iter().any(|known| known.hold == standing.hold || !standing.disclosed);
                if is_known {
                    continue;
                }
                let (_, thing, _) = schema::hold_on_parts(&row.key).ok_or_else(|| VaultError::Internal("hold on row".into()))?;
                if self.touches((tenant, When::Now), scope, (record.as_ref(), &along), &thing).await? {
                    over.push(standing);
                }
                if over.iter().any(|known| known.disclosed) {
                    return Ok(over);
                }
            }
        }
        Ok(over)
    }

    /// Whether what a hold is on is among what an order destroys, or has destroyed.
    pub(super) async fn is_over(&self, tenant: TenantNo, scope: &Scope, hold: &HoldRow) -> Result<bool, VaultError> {
        let record = match scope {
            Scope::Record { collection, row, .. } => schema::record_tokens(row).map(|tokens| (CollectionNo(*collection), tokens)),
            Scope::Tenant | Scope::Collection(_) | Scope::Subjects(_) | Scope::Rest { .. } => None,
        };
        let along = self.along((tenant, When::Before), scope).await?;
        for thing in hold.things() {
            if self.touches((tenant, When::Before), scope, (record.as_ref(), &along), &thing).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whom those records name that an order for persons takes along although they name one of these second.
    async fn along(&self, (tenant, when): (TenantNo, When), scope: &Scope) -> Result<Along, VaultError> {
        let mut along = Along::default();
        let Scope::Subjects(subjects) = scope else { return Ok(along) };
        for second in subjects {
            let mut range = schema::secondary_records(tenant, second);
            while let Some(places) = self.places(&mut range).await? {
                for (no, tokens) in places {
                    let seen = self.seen((tenant, when), no, &tokens).await?;
                    if !seen.goes_with_any(self, tenant, subjects).await? {
                        continue;
                    }
                    match seen {
                        Seen::Gone => {}
                        Seen::Subjects(named, _) => along.named.extend(named),
                        closed @ Seen::ByIndex(..) => along.closed.push(closed),
                    }
                }
            }
        }
        Ok(along)
    }

    /// Whether a record names a person, by what it says itself; the index is believed where it cannot be read for now.
    pub(in crate::vault::ops) async fn still_names(
        &self,
        tenant: TenantNo,
        (no, tokens): (CollectionNo, &[Token]),
        subject: &Token,
    ) -> Result<bool, VaultError> {
        self.seen((tenant, When::Now), no, tokens).await?.names(self, tenant, subject).await
    }

    /// The record that an order for one would destroy; `None` where what is there now is not under its units.
    async fn record_of(&self, scope: &Scope) -> Result<Option<Place>, VaultError> {
        let Scope::Record { collection, row, units } = scope else { return Ok(None) };
        let Some(stored) = self.inner.store.get(Space::Records, row).await? else { return Ok(None) };
        // A header that cannot be read may be that of any of them.
        let is_its = RecordHeader::parse(&stored).map_or(true, |header| units.iter().any(|unit| unit.slot == header.slot.number()));
        Ok(schema::record_tokens(row).filter(|_| is_its).map(|tokens| (CollectionNo(*collection), tokens)))
    }

    /// Whether an order would destroy anything of what a hold is on.
    async fn touches(
        &self,
        (tenant, when): (TenantNo, When),
        scope: &Scope,
        (record, along): (Option<&Place>, &Along),
        thing: &HeldThing,
    ) -> Result<bool, VaultError> {
        match (scope, thing) {
            (Scope::Tenant, _) | (Scope::Collection(_) | Scope::Subjects(_), HeldThing::Tenant) => Ok(true),
            // It was made of what holds leave, and takes no new ones until it is done.
            (Scope::Rest { .. }, _) => Ok(when == When::Before),
            (Scope::Collection(no), HeldThing::Under(held, _) | HeldThing::Record(held, _)) => Ok(held.0 == *no),
            (Scope::Collection(no), HeldThing::Subject(held)) => {
                let mut range = schema::records_of_subject_in(tenant, held, CollectionNo(*no));
                while let Some(places) = self.places(&mut range).await? {
                    for (no, tokens) in places {
                        if self.seen((tenant, when), no, &tokens).await?.names(self, tenant, held).await? {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            (Scope::Record { .. }, _) => {
                let Some((no, tokens)) = record else { return Ok(false) };
                match thing {
                    HeldThing::Tenant => Ok(true),
                    HeldThing::Under(held, under) => Ok(held == no && tokens.starts_with(under)),
                    HeldThing::Record(held, of) => Ok((held, of) == (no, tokens)),
                    HeldThing::Subject(held) => self.seen((tenant, when), *no, tokens).await?.names(self, tenant, held).await,
                }
            }
            (Scope::Subjects(subjects), HeldThing::Subject(held)) => self.touches_person((tenant, when), (subjects, along), held).await,
            (Scope::Subjects(subjects), HeldThing::Record(no, tokens)) => {
                self.seen((tenant, when), *no, tokens).await?.goes_with_any(self, tenant, subjects).await
            }
            (Scope::Subjects(subjects), HeldThing::Under(no, under)) => {
                for subject in subjects {
                    let mut range = schema::prefix(&schema::subject_record(tenant, subject, *no, under));
                    while let Some(places) = self.places(&mut range).await? {
                        for (no, tokens) in places {
                            if self.seen((tenant, when), no, &tokens).await?.goes(self, tenant, subject).await? {
                                return Ok(true);
                            }
                        }
                    }
                }
                Ok(false)
            }
        }
    }

    /// Whether a shred of some persons takes along a record that names a held one, or is of the held one.
    async fn touches_person(
        &self,
        (tenant, when): (TenantNo, When),
        (subjects, along): (&[Token], &Along),
        held: &Token,
    ) -> Result<bool, VaultError> {
        if subjects.contains(held) || along.named.contains(held) {
            return Ok(true);
        }
        for closed in &along.closed {
            if closed.names(self, tenant, held).await? {
                return Ok(true);
            }
        }
        // What names the held one second, and one of them first.
        let mut range = schema::secondary_records(tenant, held);
        while let Some(places) = self.places(&mut range).await? {
            for (no, tokens) in places {
                let seen = self.seen((tenant, when), no, &tokens).await?;
                if seen.names(self, tenant, held).await? && seen.goes_with_any(self, tenant, subjects).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The next records of a range of an index of subjects.
    async fn places(&self, range: &mut KeyRange) -> Result<Option<Vec<Place>>, VaultError> {
        let Some(rows) = self.some_rows(Space::Index, range).await? else { return Ok(None) };
        let place = |row: &Row| schema::subject_record_parts(&row.key).map(|(_, no, tokens)| (no, tokens));
        rows.iter().map(place).collect::<Option<_>>().map(Some).ok_or_else(|| VaultError::Internal("subject index row".into()))
    }

    /// What a record says itself of whom it is about, where it can be read.
    async fn seen(&self, (tenant, when): (TenantNo, When), no: CollectionNo, tokens: &[Token]) -> Result<Seen, VaultError> {
        let by_index = || Ok(Seen::ByIndex(no, tokens.to_vec(), SecondarySubjects::Delete));
        let collection = match self.collection_by_number(tenant, no).await {
            Ok(collection) if matches!(collection.state, State::Shredded(_)) => return Ok(Seen::Gone),
            Ok(collection) if matches!(collection.state, State::Pending(_)) => return by_index(),
            Ok(collection) => collection,
            Err(VaultError::Shredded { .. } | VaultError::Internal(_)) => return by_index(),
            Err(error) => return Err(error),
        };
        let rule = collection.secondary_at(Version(u64::MAX));
        let by_index = || Ok(Seen::ByIndex(no, tokens.to_vec(), rule));
        let Some(stored) = self.inner.store.get(Space::Records, &schema::record(tenant, no, tokens)).await? else { return Ok(Seen::Gone) };
        let Ok(header) = RecordHeader::parse(&stored).map_err(OpenError::counted) else { return by_index() };
        if header.is_tombstone() {
            return if when == When::Before { by_index() } else { Ok(Seen::Gone) };
        }
        let unit = unit_of(&header, tenant);
        match self.inner.forest.load_unit(tenant, unit.slot).await {
            Ok(current) if current == unit => {}
            Ok(_) if when == When::Before => return by_index(),
            Ok(_) | Err(KeysError::Shredded) => return Ok(Seen::Gone),
            // Bent: it may be anybody's.
            Err(KeysError::Unknown | KeysError::Damaged(_)) => return by_index(),
            Err(error) => return Err(error.into()),
        }
        let Ok(sealed) = Sealed::<Record>::from_row(stored) else { return by_index() };
        let context = Context::<Record>::record(&self.inner.store_id, tenant, no, tokens, &header);
        match self.with_data(collection.unit, unit, no, |key| key.open_record(&context, &sealed)).await {
            Ok(Ok(opened)) => {
                let subjects = opened.meta.subjects.clone();
                let index = self.with_tenant(tenant, |secret| {
                    let index = secret.derive_subject_index();
                    subjects.iter().map(|subject| index.subject_token(subject)).collect()
                });
                Ok(Seen::Subjects(index.await?, rule))
            }
            // Closed by an order, or bent.
            Ok(Err(error)) => {
                error.counted();
                by_index()
            }
            Err(VaultError::Shredded { .. }) => by_index(),
            Err(error) => Err(error),
        }
    }
}

/// Of which time is asked what an order destroys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Its keys are there.
    Now,
    /// Its keys are gone: what they sealed counts as it lay there.
    Before,
}

/// Whom an order for persons takes along, who is not one of them.
#[derive(Default)]
struct Along {
    named: HashSet<Token>,
    /// By records that cannot be read for now.
    closed: Vec<Seen>,
}

/// What is known of whom a record is about.
enum Seen {
    /// Nothing of it can be read any more.
    Gone,
    /// It says so itself; and what its collection does to records that name a person second.
    Subjects(Vec<Token>, SecondarySubjects),
    /// It cannot be read for now: what the index says.
    ByIndex(CollectionNo, Vec<Token>, SecondarySubjects),
}

impl Seen {
    /// Whether it names a person.
    async fn names(&self, vault: &Vault, tenant: TenantNo, subject: &Token) -> Result<bool, VaultError> {
        match self {
            Self::Gone => Ok(false),
            Self::Subjects(subjects, _) => Ok(subjects.contains(subject)),
            Self::ByIndex(no, tokens, _) => {
                Ok(vault.inner.store.get(Space::Index, &schema::subject_record(tenant, subject, *no, tokens)).await?.is_some())
            }
        }
    }

    /// Whether it goes with any of some persons.
    async fn goes_with_any(&self, vault: &Vault, tenant: TenantNo, subjects: &[Token]) -> Result<bool, VaultError> {
        for subject in subjects {
            if self.goes(vault, tenant, subject).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it goes with a person: it names the person first, or its collection deletes what names one second.
    async fn goes(&self, vault: &Vault, tenant: TenantNo, subject: &Token) -> Result<bool, VaultError> {
        let (is_first, rule) = match self {
            Self::Gone => return Ok(false),
            Self::Subjects(subjects, rule) => match subjects.iter().position(|named| named == subject) {
                None => return Ok(false),
                Some(place) => (place == 0, rule),
            },
            Self::ByIndex(no, tokens, rule) => {
                if !self.names(vault, tenant, subject).await? {
                    return Ok(false);
                }
                let second = schema::secondary_record(tenant, subject, *no, tokens);
                (vault.inner.store.get(Space::Index, &second).await?.is_none(), rule)
            }
        };
        Ok(is_first || *rule == SecondarySubjects::Delete)
    }
}
