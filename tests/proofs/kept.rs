//! What a law keeps: no path destroys it before its minimum is met, an order to shred leaves it for its legal purpose alone, and when
//! the law ends, record and key go. Over restarts and changed rules; beside holds and aliases, under two persons, in older data, against others
//! at the same moment. RET-3, RET-5.

use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{CollectionPolicy, Epoch, ShredId, ShredUnit, TenantName, TestClock},
    vault::{
        ops::{
            BatchOp, Caller, GetRecord, ListQuery, Missing, NamedEntry, Precondition, PutRecord, RangeSpec, ShredOrder, Unprocessable,
            VaultError,
        },
        store::{Space, schema::Table},
    },
};
use serde_json::{Value, json};

use crate::{
    harness::{Open, Place, certificate, coll, contradictions, filed_under, findings, is_shredded, key, put_about, put_of, read},
    retention::{DAY, ends_soon, place, policy, run, time},
    rows,
};

mod approved;
mod beside;
mod crossing;
mod governance;
mod judged;
mod older;
mod pieces;
mod races;
mod since;

const UNITS: [(&str, ShredUnit); 3] = [("people", ShredUnit::Subject), ("files", ShredUnit::Record), ("all", ShredUnit::Collection)];
/// Until when the law keeps what is written at noon of 31 January 2000.
const END: &str = "2004-02-01T00:00:00Z";

/// Invoices by the law, notes for as long as they like.
pub(crate) fn lawful(unit: ShredUnit, minimum: &str) -> CollectionPolicy {
    let law = json!({"period": minimum, "basis": "law 1"});
    let rules = json!([
        {"name": "invoices", "categories": ["tax"], "from": "created", "minimum": law, "maximum": "12y", "then": "delete"},
        {"name": "notes", "categories": ["note"], "from": "created", "maximum": "30y", "then": "delete"},
    ]);
    CollectionPolicy { categories: vec!["tax".into(), "note".into()], ..policy(unit, "UTC", &rules) }
}

/// A rule without a law.
fn brief() -> Value {
    json!({"name": "brief", "from": "created", "maximum": "30d", "then": "delete"})
}

fn with_rules(unit: ShredUnit, rules: &[Value]) -> CollectionPolicy {
    policy(unit, "UTC", &json!(rules))
}

fn unruled(unit: ShredUnit) -> CollectionPolicy {
    CollectionPolicy { shred_unit: unit, ..CollectionPolicy::default() }
}

/// A tenant with a collection of each unit, under a law; its owner, its auditor.
struct Acme {
    name: TenantName,
    owner: Caller,
    tokens: [String; 2],
}

impl Acme {
    async fn make(open: &Open, place: &Place) -> Self {
        let (name, owner, token) = open.tenant(place, "acme").await;
        let (auditor, _) = open.token(&owner, &name, Role::Auditor).await;
        let acme = Self { name, owner, tokens: [token, auditor] };
        for (collection, unit) in UNITS {
            acme.set(open, collection, lawful(unit, "4y")).await;
        }
        acme
    }

    /// The same after a start.
    async fn again(&mut self, open: &Open) {
        self.owner = open.caller(&self.tokens[0]).await;
    }

    /// The trail as it is shown to the owner.
    async fn trail(&self, open: &Open) -> Vec<Value> {
        open.vault.audit_page(&self.owner, &self.name, None, 1_000).await.unwrap().entries.iter().map(NamedEntry::to_json).collect()
    }

    async fn auditor(&self, open: &Open, purpose: Option<&str>) -> Caller {
        let mut caller = open.caller(&self.tokens[1]).await;
        caller.purpose = purpose.map(str::to_owned);
        caller
    }

    async fn set(&self, open: &Open, collection: &str, policy: CollectionPolicy) {
        open.vault.put_collection(&self.owner, &self.name, &coll(collection), policy, None).await.unwrap();
    }

    async fn put(&self, open: &Open, at: (&str, &str), subjects: &[&str], category: &str, value: &[u8]) -> Result<(), VaultError> {
        let put = PutRecord { custom: filed_under(Some(category)), new_relationship: true, ..put_about(subjects, value) };
        open.vault.put_record(&self.owner, &self.name, &coll(at.0), key(at.1), put).await.map(drop)
    }

    async fn delete(&self, open: &Open, at: (&str, &str)) -> Result<(), VaultError> {
        open.delete(&self.owner, &self.name, at).await
    }

    async fn get(&self, open: &Open, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        open.get(&self.owner, &self.name, at).await
    }

    /// What the auditor reads for the law's purpose.
    async fn audited(&self, open: &Open, at: (&str, &str)) -> Result<Vec<u8>, VaultError> {
        open.get(&self.auditor(open, Some("invoices")).await, &self.name, at).await
    }

    /// An invoice and a note of two persons in each collection, and one large invoice.
    async fn fill(&self, open: &Open) {
        for (collection, _) in UNITS {
            for person in ["7", "8"] {
                for kind in ["tax", "note"] {
                    let name = format!("{person}/{kind}");
                    self.put(open, (collection, &name), &[person], kind, name.as_bytes()).await.unwrap();
                }
            }
        }
        self.put(open, ("people", "7/large"), &["7"], "tax", &vec![7; 200_000]).await.unwrap();
    }

    /// What is left of person 7 is what the order left, and of person 8 everything.
    async fn is_restricted(&self, open: &Open, order: ShredId) {
        for (collection, _) in UNITS {
            let tax = (collection, "7/tax");
            let refused = self.get(open, tax).await;
            assert!(matches!(refused, Err(VaultError::Shredded { certificate: Some(id) }) if id == order), "{tax:?}: {refused:?}");
            assert_eq!(self.audited(open, tax).await.unwrap(), b"7/tax", "{tax:?}");
            let note = self.get(open, (collection, "7/note")).await;
            if collection == "files" {
                assert!(is_shredded(&note), "its key was its own: {note:?}");
            } else {
                assert!(
                    matches!(note, Err(VaultError::NotFound(Missing::Record))),
                    "{collection}: deleted beside what the law keeps: {note:?}"
                );
            }
            assert!(self.audited(open, (collection, "7/note")).await.is_err(), "{collection}");
            for kind in ["8/tax", "8/note"] {
                assert_eq!(self.get(open, (collection, kind)).await.unwrap(), kind.as_bytes(), "{collection}");
                let denied = self.audited(open, (collection, kind)).await;
                assert!(
                    matches!(denied, Err(VaultError::Forbidden)),
                    "{collection}: an auditor reads what is restricted alone: {denied:?}"
                );
            }
            let listed =
                open.vault.list(&self.owner, &self.name, &coll(collection), ListQuery { limit: 100, ..ListQuery::default() }).await;
            let names: Vec<String> = listed.unwrap().items.iter().map(|item| item.meta.key.as_str().to_owned()).collect();
            assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("8/")), "{collection}: {names:?}");
        }
        assert_eq!(self.audited(open, ("people", "7/large")).await.unwrap(), vec![7; 200_000]);
        assert_eq!(findings(open).await, Vec::<String>::new());
    }

    /// Of what a first order of person 7 had left nothing is there.
    async fn has_nothing_of_the_first_time(&self, open: &Open) {
        for (collection, _) in UNITS {
            assert!(self.audited(open, (collection, "7/tax")).await.is_err(), "{collection}");
            assert!(self.get(open, (collection, "7/tax")).await.is_err(), "{collection}");
        }
        assert_eq!(contradictions(open).await, Vec::<String>::new());
        assert_eq!(findings(open).await, Vec::<String>::new());
    }

    /// The same of what the law keeps alone.
    async fn is_restricted_until(&self, open: &Open, order: ShredId) {
        for (collection, _) in UNITS {
            let refused = self.get(open, (collection, "7/tax")).await;
            assert!(matches!(refused, Err(VaultError::Shredded { certificate: Some(id) }) if id == order), "{collection}: {refused:?}");
            assert_eq!(self.audited(open, (collection, "7/tax")).await.unwrap(), b"7/tax", "{collection}");
        }
    }
}

/// Spared units, counts of what they seal, and orders that are not done.
pub(crate) async fn left(open: &Open) -> [usize; 3] {
    [
        rows::count(&open.store, Table::KeptUnit).await,
        rows::count(&open.store, Table::KeptRecords).await,
        rows::count(&open.store, Table::PendingShred).await,
    ]
}

/// Runs retention, and waits until no more than that is left: keys that go with records are gone by then, and certified.
async fn run_until(open: &Open, clock: &TestClock, expected: [usize; 3]) -> u64 {
    let done = run(open, clock).await;
    let over = async {
        while left(open).await != expected {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), over).await.is_ok(), "{:?} are left, not {expected:?}", left(open).await);
    done.destroyed
}

fn refused_by_law(result: Result<(), VaultError>) -> String {
    match result {
        Err(VaultError::LegalMinimum { law: Some(law), .. }) => {
            assert_eq!((law.rule.as_str(), law.basis.as_str()), ("invoices", "law 1"));
            law.until.unwrap().to_rfc3339()
        }
        other => panic!("no law refuses: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_law_keeps_of_a_shredded_person_is_for_its_legal_purpose_alone_until_the_law_ends() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    open.close().await;
    place.copy("store/data", "before");
    let open = place.open().await;
    acme.again(&open).await;

    let view = open.shred_subject(&acme.owner, &acme.name, "7").await;
    let told: Vec<_> =
        view.retained.iter().map(|one| (one.collection.as_str(), one.records, one.rule.as_str(), one.basis.as_str())).collect();
    assert_eq!(told, [("people", 2, "invoices", "law 1"), ("files", 1, "invoices", "law 1"), ("all", 1, "invoices", "law 1")]);
    assert!(view.retained.iter().all(|one| one.until == Some(time(END))), "{:?}", view.retained);
    let note = certificate(&open, view.id).await;
    assert_eq!(note["exceptions_retained"], json!([{"basis": "law 1", "until": "2004-02-01T00:00:00.000Z"}]));
    assert_eq!((&note["totals"]["units"], &note["totals"]["records_deleted"]), (&json!(1), &json!(2)), "{note}");
    assert_eq!(note["verification"]["readable_after"], 0);
    let residual = note["residual_ciphertext"].as_array().unwrap();
    assert!(residual[2]["location"].as_str().unwrap().contains("deleted beside what a law keeps"), "{note}");
    assert_eq!((residual.len(), &residual[2]["removal_by"]), (3, &json!("2004-02-01T00:00:00.000Z")), "{note}");
    acme.is_restricted(&open, view.id).await;
    assert_eq!(left(&open).await, [2, 2, 0]);
    let later = open.vault.shred(&acme.owner, &acme.name, view.id, None).await.unwrap();
    assert_eq!(later.retained, view.retained, "every later answer says so, too");

    // Only for its purpose, which is the rule; the head as the whole, and a part.
    let at = ("people", "7/tax");
    for (purpose, get) in [
        (None, GetRecord::default()),
        (Some("notes"), GetRecord::default()),
        (None, GetRecord { head_only: true, ..GetRecord::default() }),
        (Some("notes"), GetRecord { range: Some(RangeSpec::From(1)), ..GetRecord::default() }),
    ] {
        let auditor = acme.auditor(&open, purpose).await;
        let refused = open.vault.get_record(&auditor, &acme.name, &coll(at.0), &key(at.1), get).await;
        assert!(matches!(refused, Err(VaultError::Forbidden)), "{purpose:?}");
    }
    let undeclared = open.get(&acme.auditor(&open, Some("marketing")).await, &acme.name, at).await;
    assert!(matches!(undeclared, Err(VaultError::Unprocessable(Unprocessable::PurposeUndeclared))));
    let part = GetRecord { range: Some(RangeSpec::From(2)), ..GetRecord::default() };
    let auditor = acme.auditor(&open, Some("invoices")).await;
    assert_eq!(read(open.vault.get_record(&auditor, &acme.name, &coll(at.0), &key(at.1), part).await.unwrap()).await.unwrap(), b"tax");
    // Nobody writes to it, deletes it, or has it explained but who audits.
    let auditor = acme.auditor(&open, None).await;
    for (collection, _) in UNITS {
        let tax = (collection, "7/tax");
        assert!(matches!(acme.put(&open, tax, &["8"], "tax", b"v").await, Err(VaultError::Restricted)), "{collection}");
        assert!(matches!(acme.put(&open, tax, &["7"], "tax", b"v").await, Err(VaultError::Restricted)), "{collection}");
        assert!(is_shredded(&acme.delete(&open, tax).await), "{collection}");
        let explain = async |caller: &Caller| open.vault.explain_retention(caller, &acme.name, &coll(collection), &key("7/tax")).await;
        assert!(is_shredded(&explain(&acme.owner).await), "{collection}");
        let told = explain(&auditor).await.unwrap();
        assert_eq!((told.explanation.state, told.restricted_by), ("restricted", Some(view.id)), "{collection}");
        assert_eq!(told.explanation.end.unwrap().at, time(END), "{collection}: the law's, and not that of the rule's maximum");
    }
    acme.put(&open, ("people", "9/note"), &["9"], "note", b"v").await.unwrap();
    let nothing = certificate(&open, open.shred_subject(&acme.owner, &acme.name, "9").await.id).await;
    assert_eq!(nothing["residual_ciphertext"].as_array().unwrap().len(), 2, "of whom no law keeps anything: {nothing}");
    // The person returns, and shares no key with what is left.
    acme.put(&open, ("people", "7/new"), &["7"], "note", b"new").await.unwrap();
    assert_eq!(findings(&open).await, Vec::<String>::new());

    clock.advance(Duration::from_millis(u64::try_from(time(END).0 - 1 - time("2000-01-31T12:00:00Z").0).unwrap()));
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    acme.is_restricted_until(&open, view.id).await;
    clock.advance(Duration::from_millis(1));
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 4);
    for (collection, _) in UNITS {
        assert!(acme.audited(&open, (collection, "7/tax")).await.is_err(), "{collection}");
        assert!(acme.get(&open, (collection, "7/tax")).await.is_err(), "{collection}");
        assert_eq!(acme.get(&open, (collection, "8/tax")).await.unwrap(), b"8/tax", "{collection}: another's rule has not ended it");
    }
    assert_eq!(acme.get(&open, ("people", "7/new")).await.unwrap(), b"new");
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;

    // With the record went the key: older data gives nothing back of it.
    place.put_back("before", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    for (collection, name) in [("people", "7/tax"), ("people", "7/large"), ("people", "7/note"), ("files", "7/tax"), ("files", "7/note")] {
        assert!(is_shredded(&acme.get(&open, (collection, name)).await), "{collection}/{name}");
        assert!(is_shredded(&acme.audited(&open, (collection, name)).await), "{collection}/{name}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// RET-3: neither a request nor another rule, another date or another category brings a minimum forward.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_destroys_what_a_law_keeps_before_its_minimum() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    let batch = async |open: &Open, acme: &Acme, at: (&str, &str)| {
        let delete = BatchOp::Delete { collection: coll(at.0), key: key(at.1), precondition: Precondition::None };
        match open.vault.batch(&acme.owner, &acme.name, vec![delete], None).await {
            Err(VaultError::Batch { source, .. }) => Err(*source),
            other => other.map(drop),
        }
    };
    let shred = async |open: &Open, acme: &Acme, order: ShredOrder| {
        open.vault.order_shred(&acme.owner, &acme.name, order, None, None).await.map(drop)
    };
    let file = || ShredOrder::Record { collection: coll("files"), key: key("7/tax") };
    for round in 0..4 {
        let until = "2004-02-01T00:00:00.000Z";
        for (collection, unit) in UNITS {
            assert_eq!(refused_by_law(acme.delete(&open, (collection, "7/tax")).await), until, "round {round}: {collection}");
            assert_eq!(refused_by_law(batch(&open, &acme, (collection, "7/tax")).await), until, "round {round}: {collection}");
            assert_eq!(refused_by_law(shred(&open, &acme, ShredOrder::Collection(coll(collection))).await), until, "{collection}");
            match round {
                // Corrected, and as if it were something else.
                0 => acme.put(&open, (collection, "7/tax"), &["7"], "note", b"7/tax").await.unwrap(),
                // Under other rules, and none.
                1 => acme.set(&open, collection, lawful(unit, "1d")).await,
                2 => acme.set(&open, collection, unruled(unit)).await,
                _ => {}
            }
        }
        assert_eq!(refused_by_law(shred(&open, &acme, file()).await), until, "round {round}");
        assert_eq!(refused_by_law(shred(&open, &acme, ShredOrder::Tenant { confirm: "acme".into() }).await), until, "round {round}");
        clock.advance(DAY * 40);
    }
    // A record that was never under another rule goes at once, and so does a note.
    acme.put(&open, ("people", "free"), &["9"], "tax", b"v").await.unwrap();
    acme.delete(&open, ("people", "free")).await.unwrap();
    acme.delete(&open, ("people", "8/note")).await.unwrap();
    // Who cannot read rules is told none.
    let eraser = open.with_role(&acme.owner, &acme.name, Role::Eraser).await;
    let refused = open.delete(&eraser, &acme.name, ("all", "7/tax")).await;
    assert!(matches!(refused, Err(VaultError::LegalMinimum { law: None, .. })), "{refused:?}");
    open.close().await;
    // Nor does a start.
    let open = place.open().await;
    acme.again(&open).await;
    assert_eq!(refused_by_law(acme.delete(&open, ("people", "7/tax")).await), "2004-02-01T00:00:00.000Z");
    clock.advance(DAY * 4 * 366);
    for (collection, _) in UNITS {
        acme.delete(&open, (collection, "7/tax")).await.unwrap();
        acme.delete(&open, (collection, "8/tax")).await.unwrap();
    }
    assert!(open.shred(&acme.owner, &acme.name, ShredOrder::Tenant { confirm: "acme".into() }).await.done, "nothing is kept any more");
    open.close().await;
}

/// A rule that counts from a date in the value: an earlier one does not shorten what a later one asked for, a later one lengthens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_date_in_the_value_does_not_bring_a_minimum_forward() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    let law = json!({"period": "1y", "basis": "law 1"});
    let rules = |unit| {
        policy(unit, "UTC", &json!([{"name": "invoices", "from": {"field": "/date"}, "minimum": law, "maximum": "2y", "then": "delete"}]))
    };
    acme.set(&open, "dated", rules(ShredUnit::Subject)).await;
    let put = async |date: &str| {
        let value = json!({ "date": date }).to_string();
        open.put(&acme.owner, &acme.name, ("dated", "k"), Some("7"), value.as_bytes()).await.map(drop)
    };
    for (date, until) in [
        ("2000-01-31", "2001-02-01T00:00:00.000Z"),
        ("1999-05-31", "2001-02-01T00:00:00.000Z"),
        // Over long ago by its own date, and kept all the same.
        ("1970-01-01", "2001-02-01T00:00:00.000Z"),
        ("2000-03-31", "2001-04-01T00:00:00.000Z"),
        ("2000-01-31", "2001-04-01T00:00:00.000Z"),
    ] {
        put(date).await.unwrap();
        assert_eq!(refused_by_law(acme.delete(&open, ("dated", "k")).await), until, "{date}");
        let told = open.vault.explain_retention(&acme.owner, &acme.name, &coll("dated"), &key("k")).await.unwrap();
        let minimum = told.explanation.minimum.unwrap();
        assert_eq!(minimum.until.to_rfc3339(), until, "{date}: {}", told.explanation.why);
        assert!(told.explanation.end.unwrap().at >= minimum.until, "{date}");
    }
    // An own end before it is refused, whatever the date says now.
    let own = PutRecord { expires_at: Some(time("2001-03-01T00:00:00Z")), ..put_of(Some("7"), br#"{"date": "1999-05-31"}"#) };
    let refused = open.vault.put_record(&acme.owner, &acme.name, &coll("dated"), key("k"), own).await;
    assert!(matches!(refused, Err(VaultError::Unprocessable(Unprocessable::BeforeMinimum { .. }))), "{:?}", refused.map(drop));
    // It ends by its rule, and not before the law of the date that it had once.
    put("1999-05-31").await.unwrap();
    clock.advance(Duration::from_millis(u64::try_from(time("2001-04-01T00:00:00Z").0 - 1 - time("2000-01-31T12:00:00Z").0).unwrap()));
    assert_eq!(run(&open, &clock).await.destroyed, 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(run(&open, &clock).await.destroyed, 0, "two years from the date are not over yet");
    clock.advance(DAY * 62);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    open.close().await;
}

/// A record that waits for the date its law counts from is kept as long as that is not known, and goes once nothing asks for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_whose_date_is_not_known_keeps_until_it_is() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.set(&open, "dated", unruled(ShredUnit::Subject)).await;
    open.put(&acme.owner, &acme.name, ("dated", "k"), Some("7"), b"{}").await.unwrap();
    clock.advance(DAY);
    let law = json!({"period": "1y", "basis": "law 1"});
    let rules = json!([{"name": "invoices", "from": {"field": "/date"}, "minimum": law, "maximum": "2y", "then": "delete"}]);
    acme.set(&open, "dated", policy(ShredUnit::Subject, "UTC", &rules)).await;
    let refused = acme.delete(&open, ("dated", "k")).await;
    assert!(matches!(&refused, Err(VaultError::LegalMinimum { law: Some(law), .. }) if law.until.is_none()), "{refused:?}");
    // At the very moment of the change, too.
    let view = open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert_eq!(view.retained.iter().map(|one| (one.records, one.until)).collect::<Vec<_>>(), [(1, None)]);
    let at = ("dated", "k");
    assert_eq!(acme.audited(&open, at).await.unwrap(), b"{}");
    for _ in 0..4 {
        clock.advance(DAY * 400);
        assert_eq!(run(&open, &clock).await.destroyed, 0);
        assert_eq!(acme.audited(&open, at).await.unwrap(), b"{}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    acme.set(&open, "dated", unruled(ShredUnit::Subject)).await;
    clock.advance(DAY * 400);
    let epoch: Epoch = open.forest.epoch();
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    assert!(ends_soon(&open, epoch).await, "its key goes with it");
    open.close().await;
}

/// A person who is shredded, returns and is shredded again: what the first order left stays as it is, and the second one's is beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_returns_and_is_shredded_again_leaves_what_the_law_keeps_of_both_times() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    let first = open.shred_subject(&acme.owner, &acme.name, "7").await;
    clock.advance(DAY * 100);
    for (collection, _) in UNITS {
        acme.put(&open, (collection, "7/again"), &["7"], "tax", b"again").await.unwrap();
    }
    let second = open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert!(second.retained.iter().map(|one| one.records).sum::<u64>() >= 3, "{:?}", second.retained);
    acme.is_restricted(&open, first.id).await;
    for (collection, _) in UNITS {
        assert_eq!(acme.audited(&open, (collection, "7/again")).await.unwrap(), b"again");
        let refused = acme.get(&open, (collection, "7/again")).await;
        assert!(matches!(refused, Err(VaultError::Shredded { certificate: Some(id) }) if id == second.id), "{collection}: {refused:?}");
    }
    assert_eq!(left(&open).await, [4, 4, 0]);
    assert_eq!(contradictions(&open).await, Vec::<String>::new(), "the second order let be what the first had left");
    clock.advance(time(END).since(time("2000-01-31T12:00:00Z")).saturating_sub(DAY * 100));
    assert_eq!(run_until(&open, &clock, [2, 2, 0]).await, 4, "what was left the first time");
    assert_eq!(acme.audited(&open, ("people", "7/again")).await.unwrap(), b"again");
    clock.advance(DAY * 100);
    assert_eq!(run_until(&open, &clock, [0, 0, 0]).await, 3);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// What the first order left, and whose law is over, goes with the second one, although no run came by; in older data, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_and_is_over_goes_with_the_next_order_of_the_person() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let mut acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    let first = open.shred_subject(&acme.owner, &acme.name, "7").await;
    open.close().await;
    place.copy("store/data", "between");
    let open = place.open().await;
    acme.again(&open).await;
    clock.advance(time(END).since(time("2000-01-31T12:00:00Z")));
    acme.put(&open, ("people", "7/again"), &["7"], "tax", b"again").await.unwrap();
    acme.is_restricted_until(&open, first.id).await;
    let second = open.shred_subject(&acme.owner, &acme.name, "7").await;
    let told: Vec<_> = second.retained.iter().map(|one| (one.collection.as_str(), one.records)).collect();
    assert_eq!(told, [("people", 1)], "of the first time nothing is kept any more");
    assert_eq!(run_until(&open, &clock, [1, 1, 0]).await, 0, "the order has left nothing to a run but the key");
    assert_eq!(acme.audited(&open, ("people", "7/again")).await.unwrap(), b"again");
    acme.has_nothing_of_the_first_time(&open).await;
    open.close().await;
    place.put_back("between", "store/data");
    let open = place.open().await;
    acme.again(&open).await;
    acme.has_nothing_of_the_first_time(&open).await;
    open.close().await;
}

/// A category that the policy names no more: what was of it is under the law of then, and what was not is under none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minimum_is_that_of_the_category_that_a_record_had_when_it_was_written() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    clock.advance(DAY);
    let rules = json!([{"name": "all", "from": "created", "maximum": "30y", "then": "delete"}]);
    for (collection, unit) in UNITS {
        acme.set(&open, collection, policy(unit, "UTC", &rules)).await;
        assert_eq!(refused_by_law(acme.delete(&open, (collection, "7/tax")).await), "2004-02-01T00:00:00.000Z", "{collection}");
        acme.delete(&open, (collection, "8/note")).await.unwrap();
    }
    let view = open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert_eq!(view.retained.iter().map(|one| one.records).sum::<u64>(), 4, "{:?}", view.retained);
    for (collection, _) in UNITS {
        assert_eq!(acme.audited(&open, (collection, "7/tax")).await.unwrap(), b"7/tax", "{collection}");
        assert!(acme.get(&open, (collection, "7/note")).await.is_err(), "{collection}");
    }
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A collection that is shredded when its law is over takes along what an order had left there, and the keys go, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_what_was_left_go_with_its_collection() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    let order = || ShredOrder::Collection(coll("people"));
    let refused = open.vault.order_shred(&acme.owner, &acme.name, order(), None, None).await;
    assert!(matches!(refused, Err(VaultError::LegalMinimum { .. })), "what is restricted is kept, too: {refused:?}");
    clock.advance(time(END).since(time("2000-01-31T12:00:00Z")));
    assert!(open.shred(&acme.owner, &acme.name, order()).await.done);
    run_until(&open, &clock, [0, 1, 0]).await;
    open.vault.reclaim(100).await.unwrap();
    assert_eq!(left(&open).await, [0, 0, 0]);
    assert_eq!(findings(&open).await, Vec::<String>::new());
    open.close().await;
}

/// A spared key that nothing looks at any more would never go: a check tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_of_a_spared_key_that_nothing_looks_at_again() {
    let (place, _) = place().await;
    let open = place.open().await;
    let acme = Acme::make(&open, &place).await;
    acme.fill(&open).await;
    open.shred_subject(&acme.owner, &acme.name, "7").await;
    assert_eq!(findings(&open).await, Vec::<String>::new());
    let looks = rows::table(&open.store, Table::KeptDue).await;
    assert_eq!(looks.len(), 2);
    rows::set(&open.store, Space::Control, &looks[0].key, None).await;
    let found = findings(&open).await;
    assert!(found.len() == 1 && found[0].contains("nothing looks at it again"), "{found:?}");
    open.close().await;
}
