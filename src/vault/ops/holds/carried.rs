//! Holds that go with their tenant to another store, and come from one.
//!
//! A hold keeps its id, its texts, who placed it and when, and when it ends by itself. What it is on goes by names, as far as something
//! is there to tell them. The counsels stay behind: a hold that came belongs to no counsel's line, so no owner of the new store can end
//! it, and the operator brings in who may.

use std::collections::HashSet;

use super::{
    super::{
        Caller, Unprocessable, Vault, VaultError,
        bundle::{
            BundleError, Kind,
            documents::{HoldDoc, ThingDoc},
        },
        directory::Tenant,
        names::Lookup,
        plan::{order_of, retrying},
        rows::{HoldRow, HoldThingRow},
    },
    Stored, hold_entry,
    widen::THINGS_MAX,
};
use crate::{
    domain::{
        CollectionName, CollectionNo, HoldId, PrincipalId, RecordKey, SubjectId, Timestamp,
        hold::{self, HoldScope, HoldText, NewHold},
    },
    vault::{
        audit::{Action, Trail},
        store::{
            Commit, Durability, Row, Space, Urgency,
            schema::{self, HeldThing, Table},
        },
    },
};

impl Vault {
    /// Whether a hold of a tenant stands that only a counsel may know of.
    pub(in crate::vault::ops) async fn has_undisclosed_holds(&self, tenant: &Tenant) -> Result<bool, VaultError> {
        let mut range = schema::table_of_tenant(Table::Hold, tenant.no);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let hold: HoldRow = self.inner.seals.open(&row.key, &row.value)?;
                if !hold.disclosed && hold.stands(self.inner.clock.now()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The hold of a row, as it goes to another store with these collections; `None` where it has ended.
    pub(in crate::vault::ops) async fn carried_hold(
        &self,
        tenant: &Tenant,
        row: &Row,
        collections: &HashSet<CollectionNo>,
    ) -> Result<Option<HoldDoc>, VaultError> {
        let id = row.key.last_chunk::<16>().map(|id| HoldId(*id)).ok_or_else(|| VaultError::Internal("hold row".into()))?;
        // By the row of now: it may have ended since it was read.
        let Some(Stored { row, .. }) = self.stored_hold(tenant, id).await? else { return Ok(None) };
        if row.stands(self.inner.clock.now()) { self.hold_doc(tenant, (id, &row), collections).await.map(Some) } else { Ok(None) }
    }

    async fn hold_doc(
        &self,
        tenant: &Tenant,
        (id, row): (HoldId, &HoldRow),
        collections: &HashSet<CollectionNo>,
    ) -> Result<HoldDoc, VaultError> {
        let HoldText { matter, reason, custodian, case_number, renewal_reason, release_reason: _ } =
            self.open_hold(tenant, id, row).await?;
        let (mut on, mut unnamed) = (Vec::with_capacity(row.on.len()), 0_u64);
        let mut lookup = Lookup::new(self, tenant);
        for thing in row.things() {
            let is_named_by_first = self.is_named_by_first(tenant, row, &thing).await?;
            // One that does not come along has no name there.
            let is_along = match &thing {
                HeldThing::Under(no, _) | HeldThing::Record(no, _) => collections.contains(no),
                HeldThing::Tenant | HeldThing::Subject(_) => true,
            };
            let named = if is_along { self.thing_doc(tenant, &mut lookup, thing).await } else { Ok(None) };
            match named {
                // Also where the first id names the person: what comes along of the person's ids may be what they were before.
                Ok(Some(thing)) => on.push(thing),
                Ok(None) | Err(VaultError::Internal(_)) if is_named_by_first => {}
                // What lies there is bent; who read it has counted it.
                Ok(None) | Err(VaultError::Internal(_)) => unnamed = unnamed.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
        Ok(HoldDoc {
            id: id.to_string(),
            matter,
            reason,
            custodian,
            case_number,
            renewal_reason,
            disclosed: row.disclosed,
            placed_by: PrincipalId(row.placed_by).to_string(),
            placed_at: Timestamp(row.placed_at),
            lapses_at: row.lapses_at.map(Timestamp),
            on,
            unnamed,
        })
    }

    /// Whether it is one of several ids of a person whose first id the hold is on, too: a hold on that one is on all of them.
    async fn is_named_by_first(&self, tenant: &Tenant, row: &HoldRow, thing: &HeldThing) -> Result<bool, VaultError> {
        let HeldThing::Subject(subject) = thing else { return Ok(false) };
        let first = retrying(|| self.person(tenant.no, *subject)).await?.first();
        Ok(first != *subject && row.on.contains(&HoldThingRow::Subject(first)))
    }

    /// A thing by its names; `None` where nothing tells them.
    async fn thing_doc(&self, tenant: &Tenant, lookup: &mut Lookup<'_>, thing: HeldThing) -> Result<Option<ThingDoc>, VaultError> {
        Ok(match thing {
            HeldThing::Tenant => Some(ThingDoc::Tenant),
            HeldThing::Subject(subject) => {
                // One who was shredded has a pseudonym, which is nobody's name.
                let is_shredded = self.is_subject_shredded(tenant, &subject).await?;
                if is_shredded { None } else { lookup.subject(subject).await?.map(ThingDoc::Subject) }
            }
            HeldThing::Under(no, tokens) => {
                let Some(collection) = self.name_told(tenant, no).await? else { return Ok(None) };
                if tokens.is_empty() {
                    return Ok(Some(ThingDoc::Under { collection, prefix: None }));
                }
                let prefix = self.prefix_at(tenant, no, &tokens).await?;
                prefix.map(|prefix| ThingDoc::Under { collection, prefix: Some(prefix) })
            }
            HeldThing::Record(no, tokens) => {
                let Some(collection) = self.name_told(tenant, no).await? else { return Ok(None) };
                self.key_at(tenant, no, &tokens).await?.map(|key| ThingDoc::Record { collection, key: key.into_string() })
            }
        })
    }

    /// The name of a collection that is there.
    async fn name_told(&self, tenant: &Tenant, no: CollectionNo) -> Result<Option<String>, VaultError> {
        match self.collection_by_number(tenant.no, no).await {
            Ok(collection) if order_of(collection.state).is_none() => Ok(Some(collection.name.as_str().to_owned())),
            Ok(_) | Err(VaultError::Shredded { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Places a hold that stood in another store. One that is there already, one whose time is over, and one that is on nothing that
    /// has a name, or that has come, is passed over.
    pub(in crate::vault::ops) async fn carry_hold(&self, caller: &Caller, tenant: &Tenant, doc: &HoldDoc) -> Result<(), VaultError> {
        retrying(|| self.carry_hold_once(caller, tenant, doc)).await
    }

    async fn carry_hold_once(&self, caller: &Caller, tenant: &Tenant, doc: &HoldDoc) -> Result<(), VaultError> {
        let malformed = || VaultError::from(BundleError::Form(Kind::Hold));
        let id: HoldId = doc.id.parse().map_err(|_| malformed())?;
        let placed_by: PrincipalId = doc.placed_by.parse().map_err(|_| malformed())?;
        let Some(scope) = scope_of(&self.there(tenant, &doc.on).await?)? else { return Ok(()) };
        if self.stored_hold(tenant, id).await?.is_some() || doc.lapses_at.is_some_and(|end| end <= self.inner.clock.now()) {
            return Ok(());
        }
        let text = HoldText {
            matter: doc.matter.clone(),
            reason: doc.reason.clone(),
            custodian: doc.custodian.clone(),
            case_number: doc.case_number.clone(),
            renewal_reason: doc.renewal_reason.clone(),
            release_reason: None,
        };
        // Of what it is on there may be more than a hold is placed on: persons were given other ids since.
        let said = NewHold { text, scope: HoldScope::Tenant, disclosed: doc.disclosed, law_enforcement: doc.lapses_at.is_some() };
        said.validate().map_err(Unprocessable::from)?;
        if let Some(reason) = &doc.renewal_reason {
            hold::line("renewal_reason", reason).map_err(Unprocessable::from)?;
        }
        let (things, mut checks) = self.things_of(tenant, &scope, THINGS_MAX).await?;
        let row = HoldRow {
            on: things.iter().map(Into::into).collect(),
            widened: Vec::new(),
            disclosed: doc.disclosed,
            lapses_at: doc.lapses_at.map(|end| end.0),
            placed_by: placed_by.0,
            placed_at: doc.placed_at.0,
            line: None,
            end: None,
            sealed: self.seal_hold(tenant, id, &said.text).await?,
        };
        let mut writes = vec![self.inner.seals.put(schema::hold(tenant.no, id), &row)?];
        writes.extend(self.on_rows(tenant.no, id, &row)?);
        self.count_holds(tenant, true, &mut checks, &mut writes).await?;
        checks.push(tenant.check());
        let commit = Commit { checks, writes, tail: None, durability: Durability::Synced, urgency: Urgency::Essential };
        let placed = hold_entry(caller, tenant, Action::HoldPlace, id, row.disclosed);
        let _alone = self.inner.placing.wait_patiently().await?;
        self.commit_for(caller, Trail::Control, commit, vec![(tenant.audit, placed)])
            .await
            .inspect_err(|_| self.inner.directory.forget_all())?;
        self.told_of_lapse(&row);
        Ok(())
    }
}

impl Vault {
    /// Those things that are not under a collection which has not come: nothing of it is here to be held.
    async fn there(&self, tenant: &Tenant, on: &[ThingDoc]) -> Result<Vec<ThingDoc>, VaultError> {
        let mut there = Vec::with_capacity(on.len());
        for thing in on {
            let has_come = match thing {
                ThingDoc::Under { collection, .. } | ThingDoc::Record { collection, .. } => {
                    let name = CollectionName::parse(collection).map_err(|_| BundleError::Form(Kind::Hold))?;
                    self.find_collection(tenant.no, &name).await?.is_some()
                }
                ThingDoc::Tenant | ThingDoc::Subject(_) => true,
            };
            if has_come {
                there.push(thing.clone());
            }
        }
        Ok(there)
    }
}

/// What a hold is to be on; `None` where nothing has a name.
///
/// # Errors
/// [`BundleError::Form`]: things of several kinds, which no hold is on.
fn scope_of(on: &[ThingDoc]) -> Result<Option<HoldScope>, VaultError> {
    let malformed = || VaultError::from(BundleError::Form(Kind::Hold));
    let collection = |name: &str| CollectionName::parse(name).map_err(|_| malformed());
    let key = |text: &str| RecordKey::parse(text).map_err(|_| malformed());
    let scope = match on {
        [] => return Ok(None),
        [ThingDoc::Tenant] => HoldScope::Tenant,
        [ThingDoc::Under { collection: name, prefix: None }] => HoldScope::Collection(collection(name)?),
        [ThingDoc::Under { collection: name, prefix: Some(prefix) }] => HoldScope::Prefix(collection(name)?, key(prefix)?),
        [ThingDoc::Subject(_), ..] => {
            let subject = |thing: &ThingDoc| match thing {
                ThingDoc::Subject(id) => SubjectId::parse(id).map_err(|_| malformed()),
                ThingDoc::Tenant | ThingDoc::Under { .. } | ThingDoc::Record { .. } => Err(malformed()),
            };
            HoldScope::Subjects(on.iter().map(subject).collect::<Result<_, _>>()?)
        }
        [ThingDoc::Record { .. }, ..] => {
            let record = |thing: &ThingDoc| match thing {
                ThingDoc::Record { collection: name, key: text } => Ok((collection(name)?, key(text)?)),
                ThingDoc::Tenant | ThingDoc::Under { .. } | ThingDoc::Subject(_) => Err(malformed()),
            };
            HoldScope::Records(on.iter().map(record).collect::<Result<_, _>>()?)
        }
        [ThingDoc::Tenant | ThingDoc::Under { .. }, ..] => return Err(malformed()),
    };
    Ok(Some(scope))
}
