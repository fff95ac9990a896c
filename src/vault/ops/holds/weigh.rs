//! Whether a hold stands over what an order to shred would destroy. Nothing is opened for it: the indexes say which records a key
//! seals, or a policy deletes, and the rows of the holds which of them are held.
//!
//! What the order names may still be written to before its intent is durable; so the shredder weighs again when nothing is, in the
//! moment before the keys go.

use super::{
    super::{
        Vault, VaultError,
        plan::order_of,
        rows::{HoldRow, Scope},
    },
    bind::Standing,
};
use crate::{
    domain::{CollectionNo, TenantNo, Version, policy::SecondarySubjects},
    vault::{
        crypto::{RecordHeader, Token},
        store::{
            Space,
            schema::{self, HeldThing, KeyRange, Table},
        },
    },
};

/// A record by its place.
type Place = (CollectionNo, Vec<Token>);

impl Vault {
    /// The holds over an order's scope: one, and those that are disclosed. Reads every hold that the tenant has.
    pub(in crate::vault::ops) async fn weigh(&self, tenant: TenantNo, scope: &Scope) -> Result<Vec<Standing>, VaultError> {
        let mut over: Vec<Standing> = Vec::new();
        let record = self.record_of(scope).await?;
        let mut range = schema::table_of_tenant(Table::HoldOn, tenant);
        while let Some(rows) = self.some_rows(Space::Control, &mut range).await? {
            for row in rows {
                let Some(standing) = self.standing(&row.key, &row.value)? else { continue };
                // One is enough, and one that may be told is better.
                let is_known = over.iter().any(|known| known.hold == standing.hold || (known.disclosed || !standing.disclosed));
                if is_known {
                    continue;
                }
                let (_, thing, _) = schema::hold_on_parts(&row.key).ok_or_else(|| VaultError::Internal("hold on row".into()))?;
                if self.touches(tenant, scope, record.as_ref(), &thing).await? {
                    over.push(standing);
                }
            }
        }
        Ok(over)
    }

    /// Whether what a hold is on is among what an order destroys, or has destroyed.
    pub(super) async fn is_over(&self, tenant: TenantNo, scope: &Scope, hold: &HoldRow) -> Result<bool, VaultError> {
        let record = match scope {
            Scope::Record { collection, row, .. } => schema::record_tokens(row).map(|tokens| (CollectionNo(*collection), tokens)),
            Scope::Tenant | Scope::Collection(_) | Scope::Subjects(_) => None,
        };
        for thing in hold.things() {
            if self.touches(tenant, scope, record.as_ref(), &thing).await? {
                return Ok(true);
            }
        }
        Ok(false)
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
    async fn touches(&self, tenant: TenantNo, scope: &Scope, record: Option<&Place>, thing: &HeldThing) -> Result<bool, VaultError> {
        match scope {
            Scope::Tenant => Ok(true),
            Scope::Collection(no) => {
                let no = CollectionNo(*no);
                Ok(match thing {
                    HeldThing::Tenant => true,
                    HeldThing::Under(held, _) | HeldThing::Record(held, _) => *held == no,
                    HeldThing::Subject(subject) => self.is_any(&schema::records_of_subject_in(tenant, subject, no)).await?,
                })
            }
            Scope::Record { .. } => {
                let Some((no, tokens)) = record else { return Ok(false) };
                Ok(match thing {
                    HeldThing::Tenant => true,
                    HeldThing::Under(held, under) => held == no && tokens.starts_with(under),
                    HeldThing::Record(held, of) => (held, of) == (no, tokens),
                    HeldThing::Subject(subject) => self.names(tenant, subject, *no, tokens).await?,
                })
            }
            Scope::Subjects(subjects) => {
                if let HeldThing::Subject(held) = thing {
                    return self.touches_person(tenant, subjects, held).await;
                }
                for subject in subjects {
                    let goes = match thing {
                        HeldThing::Tenant => true,
                        HeldThing::Under(no, under) => {
                            self.goes_any(tenant, subject, schema::prefix(&schema::subject_record(tenant, subject, *no, under))).await?
                        }
                        HeldThing::Record(no, tokens) => self.goes(tenant, subject, *no, tokens).await?,
                        HeldThing::Subject(_) => false,
                    };
                    if goes {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Whether a shred of some persons takes along a record that names a held one, or is of the held one.
    async fn touches_person(&self, tenant: TenantNo, subjects: &[Token], held: &Token) -> Result<bool, VaultError> {
        if subjects.contains(held) {
            return Ok(true);
        }
        // A record that names both: one of them is not the first.
        for (second, others) in [(std::slice::from_ref(held), subjects), (subjects, std::slice::from_ref(held))] {
            for person in second {
                let mut range = schema::secondary_records(tenant, person);
                while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
                    for row in rows {
                        let (_, no, tokens) = parts(&row.key)?;
                        for other in others {
                            let shredded = if person == held { other } else { person };
                            if self.names(tenant, other, no, &tokens).await? && self.goes(tenant, shredded, no, &tokens).await? {
                                return Ok(true);
                            }
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    /// Whether any record of a range of a person's index goes with the person.
    async fn goes_any(&self, tenant: TenantNo, subject: &Token, range: KeyRange) -> Result<bool, VaultError> {
        let mut range = range;
        while let Some(rows) = self.some_rows(Space::Index, &mut range).await? {
            for row in rows {
                let (_, no, tokens) = parts(&row.key)?;
                if self.goes(tenant, subject, no, &tokens).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a record goes with a person: it names the person first, or its collection deletes those that name one second.
    async fn goes(&self, tenant: TenantNo, subject: &Token, no: CollectionNo, tokens: &[Token]) -> Result<bool, VaultError> {
        if !self.names(tenant, subject, no, tokens).await? {
            return Ok(false);
        }
        if self.inner.store.get(Space::Index, &schema::secondary_record(tenant, subject, no, tokens)).await?.is_none() {
            return Ok(true);
        }
        match self.collection_by_number(tenant, no).await {
            Ok(collection) => {
                Ok(order_of(collection.state).is_none() && collection.secondary_at(Version(u64::MAX)) == SecondarySubjects::Delete)
            }
            // It goes with its own order.
            Err(VaultError::Shredded { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a record names a person, by the index.
    async fn names(&self, tenant: TenantNo, subject: &Token, no: CollectionNo, tokens: &[Token]) -> Result<bool, VaultError> {
        Ok(self.inner.store.get(Space::Index, &schema::subject_record(tenant, subject, no, tokens)).await?.is_some())
    }

    async fn is_any(&self, range: &KeyRange) -> Result<bool, VaultError> {
        Ok(!self.inner.store.scan(Space::Index, &range.from, &range.to, 1).await?.is_empty())
    }
}

fn parts(key: &[u8]) -> Result<(Token, CollectionNo, Vec<Token>), VaultError> {
    schema::subject_record_parts(key).ok_or_else(|| VaultError::Internal("subject index row".into()))
}
