//! A store with a yesterday, of which there is a copy, and a today; and what must hold after something of it was put back.

use std::collections::{BTreeMap, BTreeSet};

use lethe::{
    authn::{PresentedToken, Role},
    domain::{Epoch, RequestId, ShredUnit, TenantName},
    vault::{
        audit::{
            heads::ProvenHead,
            verify::{Verdict, verify_trail},
        },
        ops::{Caller, Conflict, ShredOrder, VaultError, VaultOptions},
        store::{Space, schema::Table},
    },
};

use crate::{
    harness::{Open, Place, STORE, coll, is_shredded, key, name},
    rows,
};

/// What happens today.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Day {
    WithShreds,
    /// The epoch is yesterday's.
    WithoutShreds,
}

/// The parts of a store.
pub(super) const PARTS: [&str; 5] = ["store/data", "store/control", "mirror", "custody", "log"];

pub(super) struct Life {
    pub(super) place: Place,
    pub(super) acme: TenantName,
    pub(super) owner: Caller,
    /// The epoch that today ended in.
    pub(super) epoch: Epoch,
    day: Day,
    reader: String,
    /// Every number that was ever given.
    given: Numbers,
    /// Every entry of the trail that was ever seen, by writer and number.
    seen: BTreeMap<(u64, u64), String>,
    /// Heads of the trail that somebody kept.
    kept: Vec<ProvenHead>,
    /// Both as of the end of today.
    at_midnight: (Numbers, BTreeMap<(u64, u64), String>),
    /// Names of what [`Life::gives_fresh_numbers`] makes.
    rounds: u32,
}

impl Life {
    pub(super) async fn live(day: Day) -> Self {
        let place = Place::make_of(VaultOptions::default(), true, vec!["custody/a", "custody/b"]).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
        open.collection(&owner, &acme, "files", ShredUnit::Record).await;
        open.collection(&owner, &acme, "logs", ShredUnit::Collection).await;
        for subject in ["7", "8"] {
            open.put(&owner, &acme, ("c", subject), Some(subject), b"yesterday").await.unwrap();
            open.put(&owner, &acme, ("logs", subject), Some(subject), b"yesterday").await.unwrap();
        }
        for file in ["kept", "shredded", "deleted"] {
            open.put(&owner, &acme, ("files", file), Some("8"), b"yesterday").await.unwrap();
        }
        open.put(&owner, &acme, ("c", "deleted"), Some("8"), b"yesterday").await.unwrap();
        open.put(&owner, &acme, ("c", "large"), Some("8"), &[1; 200_000]).await.unwrap();
        let (reader, reader_id) = open.token(&owner, &acme, Role::Reader).await;
        open.vault.checkpoint_heads().await.unwrap();
        let given = Numbers::of(&open).await;
        let epoch = open.forest.epoch();
        open.close().await;
        let (seen, kept, at_midnight) = (BTreeMap::new(), Vec::new(), (Numbers::default(), BTreeMap::new()));
        let mut life = Self { place, acme, owner, epoch, day, reader, given, seen, kept, at_midnight, rounds: 0 };
        life.keep("yesterday");

        let open = life.place.open().await;
        let (acme, owner) = (&life.acme, &life.owner);
        open.tenant(&life.place, "beta").await;
        open.collection(owner, acme, "new", ShredUnit::Subject).await;
        open.put(owner, acme, ("c", "9"), Some("9"), b"today").await.unwrap();
        open.put(owner, acme, ("new", "9"), Some("9"), b"today").await.unwrap();
        open.put(owner, acme, ("c", "large-too"), Some("9"), &[2; 200_000]).await.unwrap();
        open.delete(owner, acme, ("c", "deleted")).await.unwrap();
        open.vault.revoke_token(owner, acme, reader_id, None).await.unwrap();
        if day == Day::WithShreds {
            open.delete(owner, acme, ("files", "deleted")).await.unwrap();
            open.shred(owner, acme, ShredOrder::Record { collection: coll("files"), key: key("shredded") }).await;
            open.shred_subject(owner, acme, "7").await;
        }
        open.vault.checkpoint_heads().await.unwrap();
        life.epoch = open.forest.epoch();
        life.given = life.given.and(Numbers::of(&open).await);
        life.kept = open.vault.audit_heads(&life.owner, &life.acme).await.unwrap().1;
        life.audit_says(&open, Verdict::Ok).await;
        open.close().await;
        life.at_midnight = (life.given.clone(), life.seen.clone());
        life.keep("today");
        life
    }

    fn keep(&self, day: &str) {
        for part in PARTS {
            self.place.copy(part, &format!("{day}/{part}"));
        }
    }

    /// Everything as it was at the end of today.
    pub(super) fn reset(&mut self) {
        for part in PARTS {
            if !self.place.path(part).exists() {
                std::fs::create_dir_all(self.place.path(part)).unwrap();
            }
            self.place.put_back(&format!("today/{part}"), part);
        }
        (self.given, self.seen) = self.at_midnight.clone();
    }

    /// The revocation, the shreds and the deletions of what has a unit of its own stand, whatever data is there.
    pub(super) async fn stands(&self, open: &Open) {
        let (acme, owner) = (&self.acme, &self.owner);
        let revoked = open.vault.authenticate(&PresentedToken::parse(&self.reader).unwrap(), RequestId([3; 16])).await;
        assert!(matches!(revoked, Err(VaultError::Unauthenticated)), "a revoked token is good again");
        assert_eq!(open.get(owner, acme, ("c", "8")).await.unwrap(), b"yesterday");
        assert_eq!(open.get(owner, acme, ("c", "large")).await.unwrap(), [1; 200_000]);
        assert_eq!(open.get(owner, acme, ("files", "kept")).await.unwrap(), b"yesterday");
        let operator = open.caller(&self.place.operator).await;
        let taken = open.vault.create_tenant(&operator, name("beta"), false, None).await;
        assert!(matches!(taken, Err(VaultError::Conflict(Conflict::NameTaken))));
        if self.day == Day::WithoutShreds {
            return;
        }
        assert!(is_shredded(&open.get(owner, acme, ("c", "7")).await));
        assert!(is_shredded(&open.put(owner, acme, ("c", "7"), Some("7"), b"v").await));
        assert!(is_shredded(&open.get(owner, acme, ("files", "shredded")).await));
        assert!(matches!(open.get(owner, acme, ("logs", "7")).await, Err(VaultError::NotFound(_))));
        assert_eq!(open.get(owner, acme, ("logs", "8")).await.unwrap(), b"yesterday");
        let deleted = open.get(owner, acme, ("files", "deleted")).await;
        assert!(matches!(deleted, Err(VaultError::NotFound(_) | VaultError::Shredded { .. })), "a deleted record is back");
    }

    /// What was only in the data store is as it was: writes are lost, and a plain deletion too.
    pub(super) async fn is_as_of_yesterday(&self, open: &Open) {
        for at in [("c", "9"), ("new", "9"), ("c", "large-too")] {
            assert!(matches!(open.get(&self.owner, &self.acme, at).await, Err(VaultError::NotFound(_))), "{at:?}");
        }
        assert_eq!(open.get(&self.owner, &self.acme, ("c", "deleted")).await.unwrap(), b"yesterday");
    }

    /// The verdict on the trail against every head that was ever kept; and no entry is another than it was.
    pub(super) async fn audit_says(&mut self, open: &Open, verdict: Verdict) {
        let (tenant, heads) = open.vault.audit_heads(&self.owner, &self.acme).await.unwrap();
        let mut lines = Vec::new();
        let mut after = None;
        loop {
            let page = open.vault.audit_page(&self.owner, &self.acme, after.as_deref(), 100).await.unwrap();
            for entry in &page.entries {
                // As it was written: the names beside it become pseudonyms with a shred.
                let (entry, line) = (&entry.entry, entry.entry.to_json().to_string());
                let known = self.seen.entry((entry.writer.0, entry.seq)).or_insert_with(|| line.clone());
                assert_eq!(*known, line, "a fork: another entry under the same number");
                lines.push(line);
            }
            after = Some(page.next);
            if !page.more {
                break;
            }
        }
        let kept: Vec<ProvenHead> = self.kept.iter().cloned().chain(heads).collect();
        let report = verify_trail(&STORE, tenant, lines.iter().map(String::as_str), &kept, &Place::verifier()).unwrap();
        assert_eq!(report.verdict, verdict, "{:?}", report.findings);
        assert!(report.findings.iter().all(|finding| finding.verdict == verdict), "{:?}", report.findings);
    }

    /// New things of every kind get numbers that nothing ever had.
    pub(super) async fn gives_fresh_numbers(&mut self) {
        self.rounds += 1;
        let round = format!("fresh-{}", self.rounds);
        let open = self.place.open().await;
        let before = Numbers::of(&open).await;
        let large = format!("{round}-large");
        open.tenant(&self.place, &round).await;
        open.collection(&self.owner, &self.acme, &round, ShredUnit::Subject).await;
        open.put(&self.owner, &self.acme, (&round, "small"), Some(&round), b"v").await.unwrap();
        open.put(&self.owner, &self.acme, (&round, &large), Some(&large), &[3; 200_000]).await.unwrap();
        let after = Numbers::of(&open).await;
        for kind in Kind::ALL {
            let fresh: BTreeSet<_> = after.0[&kind].difference(&before.0[&kind]).collect();
            // This start took its writers' numbers when it was opened.
            let fresh = if kind == Kind::Writer { after.0[&kind].difference(&self.given.0[&kind]).collect() } else { fresh };
            assert!(!fresh.is_empty(), "nothing new of {kind:?}");
            for number in fresh {
                assert!(!self.given.0[&kind].contains(number), "{kind:?} {number:?} was given twice");
            }
        }
        let top = |numbers: &Numbers| numbers.0[&Kind::Version].last().cloned();
        assert!(top(&after) > top(&self.given), "versions went back");
        self.given = std::mem::take(&mut self.given).and(after);
        open.vault.checkpoint_heads().await.unwrap();
        open.close().await;
    }
}

/// A kind of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Tenant,
    Collection,
    Slot,
    Version,
    Upload,
    Writer,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Tenant, Self::Collection, Self::Slot, Self::Version, Self::Upload, Self::Writer];
}

/// Numbers in use, as their bytes.
#[derive(Default, Clone)]
struct Numbers(BTreeMap<Kind, BTreeSet<Vec<u8>>>);

impl Numbers {
    /// All that the rows of a store show.
    async fn of(open: &Open) -> Self {
        let mut numbers = Self(Kind::ALL.into_iter().map(|kind| (kind, BTreeSet::new())).collect());
        for (kind, table) in [(Kind::Tenant, Table::Tenant), (Kind::Collection, Table::Collection)] {
            for row in rows::table(&open.store, table).await {
                numbers.add(kind, &[&row.key]);
            }
        }
        // tenant be64 | collection be32 | ..: ver 1 | suite 1 | flags 2 | slot 6 | gen 4 | version 8
        for row in rows::all(&open.store, Space::Records).await {
            numbers.add(Kind::Slot, &[&row.key[..8], &row.value[4..10]]);
            numbers.add(Kind::Version, &[&row.value[14..22]]);
        }
        for row in rows::all(&open.store, Space::Blobs).await {
            numbers.add(Kind::Upload, &[&row.key[..16]]);
        }
        for space in [Space::ControlAudit, Space::DataAudit] {
            for row in rows::all(&open.store, space).await {
                numbers.add(Kind::Writer, &[&row.key[8..16]]);
            }
        }
        numbers
    }

    fn add(&mut self, kind: Kind, number: &[&[u8]]) {
        self.0.entry(kind).or_default().insert(number.concat());
    }

    fn and(mut self, other: Self) -> Self {
        for (kind, numbers) in other.0 {
            self.0.entry(kind).or_default().extend(numbers);
        }
        self
    }
}
