//! An order to shred, cut off at every commit that is made on its way, from the intent to the last row behind its certificate:
//! before the commit, and behind it where only the answer is lost. Whatever was cut off, and again in the recovery from that, it
//! ends as one order that is done: its targets gone, everyone else there, one certificate in the log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use lethe::{
    authn::Role,
    domain::{
        ApprovalId, Clock as _, HoldId, ShredId, ShredUnit, TenantName, TestClock, Timestamp,
        approval::ShredScope,
        retention::{EventDate, EventName, report::Cause},
    },
    jobs::Retention,
    vault::{
        audit::certificate::Certificate,
        ops::{Caller, Missing, PutRecord, SecondPerson, ShredOrder, ShredView, Terminate, Terminated, VaultError, VaultOptions},
        store::{
            Space, Store as _,
            schema::{self, Table},
        },
    },
};
use serde_json::json;

use crate::{
    draw::{Draw, seed},
    harness::{
        Open, Place, WAIT, coll, contradictions, end_of, filed_under, findings, hold_on, is_shredded, key, person, proof, put_of, subject,
        until,
    },
    kept::{lawful, left},
    reports::{counted, reports},
    retention::{DAY, one_rule, place, policy, run},
    rows,
};

const PARTS: [&str; 4] = ["store", "mirror", "custody", "log"];

/// A store that is put back before every schedule.
struct Bench {
    place: Place,
    acme: TenantName,
    owner: Caller,
    order: ShredOrder,
    /// Who places a hold on what it names before it is given, and releases it then.
    counsel: Option<Caller>,
    /// Who approves it, where it takes two persons.
    second: Option<Caller>,
    /// Ids of whom it names.
    ids: &'static [&'static str],
    /// Who reads what a law keeps of it.
    auditor: Option<Caller>,
    /// The tenant is ordered to end without a grace, and the store gives the order itself; with a counsel, first that of the rest.
    ends: bool,
}

/// What comes beside an order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Hold,
    Law,
    SecondPerson,
    SecondPersonAndLaw,
}

/// How a schedule went.
struct Outcome {
    deaths: usize,
    /// Tables of the commits at which it died.
    met: Vec<u8>,
}

impl Bench {
    async fn make(order: ShredOrder, beside: Beside) -> Self {
        // Who is ordered by an alias is a person with two ids, and with records under each.
        let by_alias = matches!(&order, ShredOrder::Subjects(named) if named[0].as_str() == "seven");
        Self::make_of(order, beside, by_alias).await
    }

    /// The same, where the persons have other ids, too.
    async fn make_of(order: ShredOrder, beside: Beside, by_alias: bool) -> Self {
        // What a law keeps is spared one unit at a time: between two of them a process dies, too.
        let place = Place::make_with(VaultOptions { spared_at_once: 1, ..VaultOptions::default() }, true).await;
        let open = place.open().await;
        let (acme, owner, _) = open.tenant(&place, "acme").await;
        for (collection, unit) in [("people", ShredUnit::Subject), ("notes", ShredUnit::Record), ("all", ShredUnit::Collection)] {
            open.collection(&owner, &acme, collection, unit).await;
            for person in ["7", "8"] {
                open.put(&owner, &acme, (collection, person), Some(person), person.as_bytes()).await.unwrap();
            }
        }
        if by_alias {
            for collection in ["people", "notes", "all"] {
                open.put(&owner, &acme, (collection, "seven"), Some("seven"), b"seven").await.unwrap();
            }
            for (person, alias) in [("7", "seven"), ("8", "eight")] {
                open.add_alias(&owner, &acme, person, alias).await;
            }
        }
        let ids: &[&str] = if by_alias { &["7", "seven"] } else { &["7"] };
        let counsel = match beside {
            Beside::Hold => Some(open.with_role(&owner, &acme, Role::Counsel).await),
            Beside::Nothing | Beside::Law | Beside::SecondPerson | Beside::SecondPersonAndLaw => None,
        };
        let auditor = match beside {
            Beside::Law | Beside::SecondPersonAndLaw => Some(keep_invoices(&open, &acme, &owner, ids).await),
            Beside::Nothing | Beside::Hold | Beside::SecondPerson => None,
        };
        let second = match beside {
            Beside::SecondPerson | Beside::SecondPersonAndLaw => Some(ask_for_two(&open, &acme, &owner).await),
            Beside::Nothing | Beside::Hold | Beside::Law => None,
        };
        open.close().await;
        for part in PARTS {
            place.copy(part, &format!("base/{part}"));
        }
        Self { place, acme, owner, order, counsel, second, ids, auditor, ends: false }
    }

    /// The order and its approval; until that nothing of it is done. Sent again, all of it is done once.
    async fn ask_and_approve(&self, open: &Open, second: &Caller) -> Result<ShredView, VaultError> {
        let vault = &open.vault;
        let asked = vault.order_shred(&self.owner, &self.acme, self.order.clone(), None, Some("once".into())).await?;
        if asked.second == Some(SecondPerson::Awaited) {
            for collection in ["people", "notes", "all"] {
                let got = open.get(&self.owner, &self.acme, (collection, "7")).await;
                assert!(!matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{collection}: it waits: {got:?}");
            }
        }
        // A tenant that is on its way answers nobody but who ordered that.
        match vault.approve(second, &self.acme, ApprovalId(asked.id.0), None, Some("approve".into())).await {
            Err(VaultError::Shredded { .. }) if asked.second == Some(SecondPerson::Approved) => {}
            approved => drop(approved?),
        }
        vault.shred(&self.owner, &self.acme, asked.id, WAIT).await
    }

    /// The end of a tenant, as far as the order that the store gives. Sent again, all of it is done once.
    async fn end(&self, open: &Open) -> Result<ShredId, VaultError> {
        let order = Terminate { reason: Some("closed".into()), ..end_of("acme", "0d") };
        let ordered = match open.vault.terminate_tenant(&self.owner, &self.acme, order, Some("end".into())).await {
            Ok(Terminated::Asked(asked)) if asked.state == "pending" => {
                let second = self.second.as_ref().unwrap();
                open.vault.approve(second, &self.acme, asked.id, None, Some("approve".into())).await.map(drop)
            }
            ordered => ordered.map(drop),
        };
        match ordered {
            Ok(()) | Err(VaultError::Shredded { .. }) => {}
            Err(error) => return Err(error),
        }
        Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(open.vault.clock().now()).await?;
        let orders = rows::orders(&open.store, Table::ShredOrder).await;
        assert_eq!(orders.len(), 1 + usize::from(self.counsel.is_some()), "the store has given each order once");
        let mut whole = None;
        for id in orders {
            let view = open.vault.shred(&self.owner, &self.acme, id, WAIT).await?;
            match view.scope {
                "rest" => assert!(view.done, "not done after 30 s"),
                _ => whole = Some(id),
            }
        }
        Ok(whole.unwrap())
    }

    /// The same of a tenant of which a hold keeps something, until it is released.
    async fn end_in_part(&self, open: &Open, counsel: &Caller) -> Result<ShredView, VaultError> {
        match open.vault.place_hold(counsel, &self.acme, hold_on("7"), Some("hold".into())).await {
            Ok(_) | Err(VaultError::Shredded { .. }) => {}
            Err(error) => return Err(error),
        }
        let whole = self.end(open).await?;
        let holds = rows::table(&open.store, Table::Hold).await;
        assert_eq!(holds.len(), 1);
        let id = HoldId(*holds[0].key.last_chunk().unwrap());
        let shown = open.vault.hold(counsel, &self.acme, id).await;
        if let Ok(shown) = &shown
            && shown.state == "active"
        {
            // Nothing is told of what a process that dies meanwhile cannot read.
            let records = 3 * self.ids.len() as u64;
            assert!(shown.covers.is_none_or(|covers| covers == (records, false)), "what is held is there: {shown:?}");
        }
        match open.vault.release_hold(counsel, &self.acme, id, "settled".into(), Some("release".into())).await {
            Ok(_) | Err(VaultError::Shredded { .. }) => {}
            Err(error) => return Err(error),
        }
        Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(open.vault.clock().now()).await?;
        open.vault.shred(&self.owner, &self.acme, whole, WAIT).await
    }

    /// The order; with a counsel, first the hold that stops it, which is then released. Sent again, all of it is done once.
    async fn give(&self, open: &Open) -> Result<ShredView, VaultError> {
        let vault = &open.vault;
        if let (true, Some(counsel)) = (self.ends, &self.counsel) {
            return self.end_in_part(open, counsel).await;
        }
        if self.ends {
            let order = self.end(open).await?;
            return vault.shred(&self.owner, &self.acme, order, WAIT).await;
        }
        if let Some(second) = &self.second {
            return self.ask_and_approve(open, second).await;
        }
        let order = vault.order_shred(&self.owner, &self.acme, self.order.clone(), WAIT, Some("once".into()));
        let Some(counsel) = &self.counsel else { return order.await };
        let placed = vault.place_hold(counsel, &self.acme, hold_on("7"), Some("hold".into())).await?;
        let order = match order.await {
            Err(VaultError::LegalHold { order: Some(order), .. }) => {
                for collection in ["people", "notes", "all"] {
                    let got = open.get(&self.owner, &self.acme, (collection, "7")).await;
                    assert!(!matches!(got, Err(VaultError::Shredded { .. } | VaultError::NotFound(_))), "{collection}: held: {got:?}");
                }
                order
            }
            // The hold was released before the process died.
            other => {
                let view = other?;
                assert_eq!(placed.state, "released");
                view.id
            }
        };
        vault.release_hold(counsel, &self.acme, placed.id, "settled".into(), Some("release".into())).await?;
        // A release whose answer was lost is given again without its effect: that comes with the next run of retention.
        Retention { vault: vault.clone(), limit: 1_000 }.run_once(vault.clock().now()).await?;
        vault.shred(&self.owner, &self.acme, order, WAIT).await
    }

    /// A process after the other, each dying where the schedule says, until one does not.
    async fn run(&self, schedule: &[usize]) -> Outcome {
        for part in PARTS {
            self.place.put_back(&format!("base/{part}"), part);
        }
        let mut outcome = Outcome { deaths: 0, met: Vec::new() };
        loop {
            let dies_at = schedule.get(outcome.deaths).copied();
            let (opened, engine) = self.place.open_dying(dies_at).await;
            let done = match opened {
                Ok(open) => {
                    let done = tokio::select! {
                        done = self.give(&open) => done.map_err(|error| error.to_string()),
                        () = engine.died() => Err("dead".into()),
                    };
                    let lives = engine.lives_on().await;
                    match done {
                        Ok(view) if lives => {
                            self.judge(&open, &view, schedule).await;
                            open.close().await;
                            return outcome;
                        }
                        Ok(_) => {
                            open.close().await;
                            Err("dead".to_owned())
                        }
                        Err(error) => {
                            open.close().await;
                            Err(error)
                        }
                    }
                }
                Err(error) => Err::<(), _>(error),
            };
            assert!(engine.is_dead(), "schedule {schedule:?}: {done:?}");
            outcome.met.extend(engine.met());
            outcome.deaths += 1;
        }
    }

    async fn judge(&self, open: &Open, view: &ShredView, schedule: &[usize]) {
        assert!(view.done, "schedule {schedule:?}: not done after 30 s");
        let (acme, owner) = (&self.acme, &self.owner);
        let is_tenant = matches!(self.order, ShredOrder::Tenant { .. });
        for collection in ["people", "notes", "all"] {
            for id in self.ids {
                let sevens = open.get(owner, acme, (collection, id)).await;
                let is_deleted = !is_tenant && collection == "all" && matches!(sevens, Err(VaultError::NotFound(Missing::Record)));
                assert!(is_shredded(&sevens) || is_deleted, "schedule {schedule:?}: {collection}: {sevens:?}");
                let again = open.put(owner, acme, (collection, "new"), Some(id), b"v").await;
                assert!(is_shredded(&again), "schedule {schedule:?}: {collection}: erased is erased: {again:?}");
            }
            let eights = open.get(owner, acme, (collection, "8")).await;
            if is_tenant {
                assert!(is_shredded(&eights), "schedule {schedule:?}: {collection}");
            } else {
                assert_eq!(eights.unwrap(), b"8", "schedule {schedule:?}: {collection}");
            }
        }
        let note = open.vault.certificate(view.id).await.unwrap();
        let text = std::str::from_utf8(&note).unwrap();
        let certificate = Certificate::open(text, &Place::verifier()).unwrap();
        let totals = (certificate.totals.units, certificate.totals.records_deleted);
        let by = self.second.as_ref().map(|second| second.principal.id());
        assert_eq!(certificate.approval.approved_by, by, "schedule {schedule:?}");
        let expected = match (is_tenant, self.ids.len()) {
            (true, _) => (1, 0),
            (false, 1) => (2, 1),
            // And the keys of the ids themselves.
            (false, _) => (6, 2),
        };
        assert_eq!(totals, expected, "schedule {schedule:?}");
        let orders = 1 + usize::from(self.ends && self.counsel.is_some());
        // Of two persons with two ids each: those of whom the order was for are gone, or those of whom no hold was on when the rest went.
        let ids = if self.ids.len() > 1 { 2 } else { 0 };
        for (table, rows) in [
            (Table::ShredOrder, orders),
            (Table::Certificate, orders),
            (Table::ShredLog, orders),
            (Table::PendingShred, 0),
            (Table::LogOutbox, 0),
            (Table::HoldState, 0),
            (Table::HoldOn, 0),
            (Table::HeldOrder, 0),
            (Table::Alias, ids),
            (Table::TenantEnd, 0),
            (Table::Approval, usize::from(self.second.is_some())),
            (Table::ApprovalOpen, 0),
            (Table::ApprovalDue, 0),
        ] {
            assert_eq!(rows::count(&open.store, table).await, rows, "schedule {schedule:?}: {table:?}");
        }
        if let Some(auditor) = &self.auditor {
            let told: Vec<_> = view.retained.iter().map(|one| (one.collection.as_str(), one.records)).collect();
            assert_eq!(told, [("tax", self.ids.len() as u64)], "schedule {schedule:?}");
            for id in self.ids {
                let sevens = open.get(owner, acme, ("tax", id)).await;
                assert!(
                    matches!(sevens, Err(VaultError::Shredded { certificate }) if certificate == Some(view.id)),
                    "schedule {schedule:?}: {id}: {sevens:?}"
                );
                assert_eq!(open.get(auditor, acme, ("tax", id)).await.unwrap(), id.as_bytes(), "schedule {schedule:?}");
            }
            assert_eq!(open.get(owner, acme, ("tax", "8")).await.unwrap(), b"8", "schedule {schedule:?}");
            assert_eq!(left(open).await, [self.ids.len(), self.ids.len(), 0], "schedule {schedule:?}");
        }
        let journal = std::fs::read(self.place.path("mirror/log.journal")).unwrap();
        let times = journal.windows(note.len()).filter(|window| *window == note).count();
        assert_eq!(times, 1, "schedule {schedule:?}: the certificate is in the log once");
        let report = open.vault.check().await.unwrap();
        assert_eq!(report.findings, Vec::<String>::new(), "schedule {schedule:?}");
        assert_eq!(report.stated_gaps, 0, "schedule {schedule:?}");
    }
}

/// An invoice under each of a person's ids, and of person 8, which a law keeps; gives the auditor, for its purpose.
async fn keep_invoices(open: &Open, acme: &TenantName, owner: &Caller, ids: &[&str]) -> Caller {
    open.vault.put_collection(owner, acme, &coll("tax"), lawful(ShredUnit::Subject, "4y"), None).await.unwrap();
    for person in ids.iter().copied().chain(["8"]) {
        let put = PutRecord { custom: filed_under(Some("tax")), ..put_of(Some(person), person.as_bytes()) };
        open.vault.put_record(owner, acme, &coll("tax"), key(person), put).await.unwrap();
    }
    let mut auditor = open.with_role(owner, acme, Role::Auditor).await;
    auditor.purpose = Some("invoices".into());
    auditor
}

/// From now on every order takes two persons; gives the second, who was there before. A collection that has a law, if there is none yet, has
/// nothing under it.
async fn ask_for_two(open: &Open, acme: &TenantName, owner: &Caller) -> Caller {
    open.vault.put_collection(owner, acme, &coll("tax"), lawful(ShredUnit::Subject, "4y"), None).await.unwrap();
    open.ask_for_two(owner, acme, ShredScope::Record).await
}

async fn ends_however_it_is_cut_short(order: ShredOrder, beside: Beside, must_meet: &[Table]) {
    ends_wherever_cut(Bench::make(order, beside).await, must_meet).await;
}

#[expect(clippy::print_stdout, reason = "seed and counts are for who reads the test's output")]
async fn ends_wherever_cut(bench: Bench, must_meet: &[Table]) {
    // For the places of the second death.
    let seed = seed();
    println!("cut short: LETHE_SEED={seed}");
    assert_eq!(bench.run(&[]).await.deaths, 0);
    let (mut once, mut twice, mut met) = (0, 0, Vec::new());
    for place in 0.. {
        let outcome = bench.run(&[place]).await;
        if outcome.deaths == 0 {
            break;
        }
        once += 1;
        met.extend(outcome.met);
    }
    for table in must_meet {
        assert!(met.contains(&(*table as u8)), "no commit to {table:?} was cut off");
    }
    let wanted = if proof() { 400 } else { 16 };
    let mut draw = Draw(seed);
    while twice < wanted {
        let schedule = [draw.place(once), draw.place(once)];
        twice += usize::from(bench.run(&schedule).await.deaths == 2);
    }
    println!("cut short: {once} schedules of one death, {twice} of two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_shred_ends_once_wherever_it_is_cut_short() {
    let order = person("7");
    let tables = [Table::ShredOrder, Table::RootPtr, Table::Certificate, Table::LogOutbox, Table::PendingShred];
    ends_however_it_is_cut_short(order, Beside::Nothing, &tables).await;
}

/// By one of the ids that the person has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shred_of_a_person_with_aliases_ends_once_wherever_it_is_cut_short() {
    let order = person("seven");
    let tables = [Table::ShredOrder, Table::RootPtr, Table::Certificate, Table::Alias];
    ends_however_it_is_cut_short(order, Beside::Nothing, &tables).await;
}

/// Placing a hold, the order that it stops, its release and what that sets going.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_and_what_it_stops_end_as_they_should_wherever_they_are_cut_short() {
    let order = person("7");
    let tables = [Table::Hold, Table::HoldState, Table::HeldOrder, Table::PendingShred, Table::RootPtr, Table::Certificate];
    ends_however_it_is_cut_short(order, Beside::Hold, &tables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_shred_ends_once_wherever_it_is_cut_short() {
    let tables = [Table::ShredOrder, Table::RootPtr, Table::Certificate, Table::LogOutbox, Table::PendingShred];
    ends_however_it_is_cut_short(ShredOrder::Tenant { confirm: "acme".into() }, Beside::Nothing, &tables).await;
}

/// An order that spares what a law keeps under each of a person's ids: its decision, its epoch, what it leaves for the legal purpose.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shred_that_leaves_what_a_law_keeps_ends_once_wherever_it_is_cut_short() {
    let order = person("seven");
    let tables = [Table::ShredOrder, Table::KeptUnit, Table::RootPtr, Table::Certificate, Table::LogOutbox, Table::PendingShred];
    ends_however_it_is_cut_short(order, Beside::Law, &tables).await;
}

/// The end of the law: the run that deletes the last restricted record, the order for its key, its epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_law_takes_record_and_key_wherever_it_is_cut_short() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let auditor = keep_invoices(&open, &acme, &owner, &["7"]).await;
    open.shred_subject(&owner, &acme, "7").await;
    open.close().await;
    for part in PARTS {
        place.copy(part, &format!("base/{part}"));
    }
    clock.advance(DAY * 4 * 366);
    let over = async |open: &Open| {
        Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await?;
        while left(open).await != [0, 0, 0] {
            tokio::task::yield_now().await;
        }
        Ok::<_, VaultError>(())
    };
    let mut deaths = 0;
    for at in 0.. {
        for part in PARTS {
            place.put_back(&format!("base/{part}"), part);
        }
        let (opened, engine) = place.open_dying(Some(at)).await;
        if let Ok(open) = opened {
            tokio::select! {
                // A run that met its death may have come back with it.
                _ = over(&open) => {}
                () = engine.died() => {}
            }
            engine.lives_on().await;
            open.close().await;
        }
        let open = place.open().await;
        let ended = tokio::time::timeout(Duration::from_secs(30), over(&open)).await;
        assert!(matches!(ended, Ok(Ok(()))), "place {at}: {:?} are left: {ended:?}", left(&open).await);
        for caller in [&owner, &auditor] {
            assert!(open.get(caller, &acme, ("tax", "7")).await.is_err(), "place {at}");
        }
        assert_eq!(open.get(&owner, &acme, ("tax", "8")).await.unwrap(), b"8", "place {at}");
        assert_eq!(findings(&open).await, Vec::<String>::new(), "place {at}");
        open.close().await;
        if !engine.is_dead() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "{deaths} places");
}

/// A report, what follows from it, and an order that decides by it: each once, and what is left ends by what was reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_and_the_order_that_decides_by_it_are_done_once_wherever_they_are_cut_short() {
    let (place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    let law = json!({"period": "4y", "basis": "law 1"});
    let rules = json!([{"name": "deals", "from": {"event": "ended"}, "minimum": law, "maximum": "4y", "then": "delete"}]);
    open.vault.put_collection(&owner, &acme, &coll("deals"), policy(ShredUnit::Subject, "UTC", &rules), None).await.unwrap();
    for person in ["7", "8"] {
        open.put(&owner, &acme, ("deals", person), Some(person), person.as_bytes()).await.unwrap();
    }
    let auditor = open.with_role(&owner, &acme, Role::Auditor).await;
    open.close().await;
    for part in PARTS {
        place.copy(part, &format!("base/{part}"));
    }
    let go = async |open: &Open| {
        let report = (subject("7"), EventName::parse("ended").unwrap(), EventDate::parse("1999-06-30").unwrap());
        match open.vault.report_event(&owner, &acme, report, None).await {
            Ok(_) | Err(VaultError::SubjectErased { .. }) => {}
            Err(error) => return Err(error),
        }
        Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await?;
        open.vault.order_shred(&owner, &acme, person("7"), WAIT, Some("once".into())).await
    };
    let mut deaths = 0;
    for at in 0.. {
        for part in PARTS {
            place.put_back(&format!("base/{part}"), part);
        }
        let (opened, engine) = place.open_dying(Some(at)).await;
        if let Ok(open) = opened {
            tokio::select! {
                // What met its death may have come back with it.
                _ = go(&open) => {}
                () = engine.died() => {}
            }
            engine.lives_on().await;
            open.close().await;
        }
        let open = place.open().await;
        let view = go(&open).await.unwrap();
        let until = Timestamp::parse_rfc3339("2003-07-01T00:00:00Z");
        let told: Vec<_> = view.retained.iter().map(|one| (one.records, one.until)).collect();
        assert!(view.done && told == [(1, until)], "place {at}: {view:?}");
        let left = open.vault.explain_retention(&auditor, &acme, &coll("deals"), &key("7")).await.unwrap();
        assert_eq!(left.explanation.end.map(|end| end.at), until, "place {at}");
        assert_eq!(open.get(&owner, &acme, ("deals", "8")).await.unwrap(), b"8", "place {at}");
        for (table, rows) in [(Table::Events, 0), (Table::EventQueue, 0), (Table::LeftEvents, 1), (Table::PendingShred, 0)] {
            assert_eq!(rows::count(&open.store, table).await, rows, "place {at}: {table:?}");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new(), "place {at}");
        open.close().await;
        if !engine.is_dead() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "{deaths} places");
}

/// A run that marks, the run that destroys, and that behind the day on which the reports are closed: each record is counted once as
/// marked and once as destroyed, and each key has its certificate, wherever that is cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reports_of_runs_count_each_record_once_wherever_they_are_cut_short() {
    let (mut place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    for (collection, unit) in [("c", ShredUnit::Subject), ("files", ShredUnit::Record)] {
        let rule = serde_json::json!([{"name": "rule", "from": "created", "maximum": "10d", "then": "delete", "mark": "3d"}]);
        let policy = crate::retention::policy(unit, "UTC", &rule);
        open.vault.put_collection(&owner, &acme, &coll(collection), policy, None).await.unwrap();
        for name in ["a", "b"] {
            open.put(&owner, &acme, (collection, name), Some("7"), b"v").await.unwrap();
        }
    }
    open.close().await;
    for part in PARTS {
        place.copy(part, &format!("base/{part}"));
    }
    let began = clock.now();
    // Until the keys are gone of what was deleted.
    let deferred = async |open: &Open| {
        let range = schema::table(Table::ReportShred);
        let orders = async || open.store.scan(Space::Control, &range.from, &range.to, usize::MAX).await.unwrap_or_default().len();
        let all = async {
            while orders().await < 2 {
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(10), all).await;
    };
    // From whichever day it was cut off on.
    let runs = async |open: &Open, clock: &TestClock| {
        for days in [9, 11, 12] {
            let day = began.plus(DAY * days);
            if clock.now() < day {
                clock.advance(day.since(clock.now()));
            }
            let job = Retention { vault: open.vault.clone(), limit: 3 };
            while job.run_once(clock.now()).await?.more {}
        }
        Ok::<_, VaultError>(())
    };
    let (mut deaths, mut met) = (0, Vec::new());
    for at in 0.. {
        for part in PARTS {
            place.put_back(&format!("base/{part}"), part);
        }
        let clock = TestClock::at(began);
        place.clock = Arc::new(clock.clone());
        let (opened, engine) = place.open_dying(Some(at)).await;
        if let Ok(open) = opened {
            tokio::select! {
                // A run that met its death may have come back with it; the keys of what it has deleted go behind it.
                done = runs(&open, &clock) => if done.is_ok() { deferred(&open).await },
                () = engine.died() => {}
            }
            engine.lives_on().await;
            open.close().await;
        }
        met.extend(engine.met());
        let open = place.open().await;
        let owner = open.caller(&token).await;
        runs(&open, &clock).await.unwrap();
        assert_eq!(counted(&open, &owner, &acme).await, [4, 0, 4, 2], "place {at}");
        let all = reports(&open, &owner, &acme).await;
        let days: Vec<_> = all.iter().map(|view| (view.is_final, view.report.destroyed(), view.report.marked())).collect();
        assert_eq!(days, [(true, 0, 4), (true, 4, 0)], "place {at}");
        let certified = async || open.vault.retention_report(&owner, &acme, all[1].id).await.unwrap().certificates.len() >= 2;
        until(&format!("place {at}: both keys are certified"), certified).await;
        assert_eq!(findings(&open).await, Vec::<String>::new(), "place {at}");
        open.close().await;
        if !engine.is_dead() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "{deaths} places");
    for table in [Table::Due, Table::OpenReport, Table::RetentionReport, Table::ReportShred, Table::Reclaim] {
        assert!(met.contains(&(table as u8)), "no commit to {table:?} was cut off");
    }
}

/// How the records of a server's passes are at the end, whatever place they were cut short at.
async fn as_it_should_be(open: &Open, (owner, auditor): (&Caller, &Caller), acme: &TenantName, at: usize) {
    for gone in [("c", "again"), ("c", "due"), ("long", "shortened"), ("tax", "7")] {
        assert!(open.get(owner, acme, gone).await.is_err(), "place {at}: {gone:?}");
    }
    assert_eq!(open.get(owner, acme, ("c", "held")).await.unwrap(), b"v", "place {at}");
    assert_eq!(open.get(owner, acme, ("tax", "8")).await.unwrap(), b"8", "place {at}");
    assert_eq!(open.get(auditor, acme, ("tax", "7")).await.unwrap(), b"7", "place {at}: restricted");
    // That of before, and those two; the one that is held.
    assert_eq!(counted(open, owner, acme).await, [3, 1, 0, 0], "place {at}");
    let all = reports(open, owner, acme).await;
    let again: u64 = all.iter().filter(|view| view.report.cause == Cause::Restore).map(|view| view.report.destroyed()).sum();
    assert_eq!(again, 1, "place {at}: {all:?}");
    assert_eq!(findings(open).await, Vec::<String>::new(), "place {at}");
}

/// What a server does of itself from the moment on at which it finds older data: it makes that ready, and then destroys what is due, day after
/// day. One record is due, one held, one restricted, one is ended earlier by two persons, and one that was destroyed before is there again with
/// the older data: wherever a commit of all that is cut off, each is as it should be, and counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_passes_of_a_server_leave_each_record_as_it_should_be_wherever_they_are_cut_short() {
    let (mut place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, token) = open.tenant(&place, "acme").await;
    let second = open.with_role(&owner, &acme, Role::Owner).await;
    let counsel = open.with_role(&owner, &acme, Role::Counsel).await;
    let kept_for = |period: &str| policy(ShredUnit::Subject, "UTC", &one_rule(&json!("created"), period));
    for (collection, period) in [("c", "10d"), ("long", "7y")] {
        open.vault.put_collection(&owner, &acme, &coll(collection), kept_for(period), None).await.unwrap();
    }
    open.put(&owner, &acme, ("c", "again"), Some("1"), b"v").await.unwrap();
    open.put(&owner, &acme, ("long", "shortened"), Some("2"), b"v").await.unwrap();
    let auditor = keep_invoices(&open, &acme, &owner, &["7"]).await;
    open.shred_subject(&owner, &acme, "7").await;
    clock.advance(DAY * 5);
    open.put(&owner, &acme, ("c", "due"), Some("3"), b"v").await.unwrap();
    open.put(&owner, &acme, ("c", "held"), Some("9"), b"v").await.unwrap();
    clock.advance(DAY * 3);
    open.close().await;
    place.copy("store/data", "then/data");

    let open = place.open().await;
    clock.advance(DAY * 3);
    assert_eq!(run(&open, &clock).await.destroyed, 1);
    clock.advance(DAY);
    // Its report is closed: it stands whatever is put back.
    run(&open, &clock).await;
    open.vault.place_hold(&counsel, &acme, hold_on("9"), None).await.unwrap();
    open.vault.put_collection(&owner, &acme, &coll("long"), kept_for("20d"), None).await.unwrap();
    let asked = open.vault.ask_shortening(&owner, &acme, &coll("long"), None).await.unwrap();
    open.vault.approve(&second, &acme, asked.id, None, None).await.unwrap();
    open.close().await;
    clock.advance(DAY);
    place.put_back("then/data", "store/data");
    for part in PARTS {
        place.copy(part, &format!("base/{part}"));
    }
    let began = clock.now();
    // The fence stands until the older data is ready, whoever dies before it.
    let go = async |open: &Open, clock: &TestClock, is_fenced: &AtomicBool| {
        if is_fenced.load(Ordering::SeqCst) {
            open.vault.begin_restoring();
            if open.vault.replay_retention().await?.failed > 0 {
                return Err(VaultError::Busy);
            }
            is_fenced.store(false, Ordering::SeqCst);
            open.vault.end_restoring();
        }
        // What is due, and what is held; what two persons have ended earlier; the reports of those days.
        for days in [3, 8, 9] {
            let day = began.plus(DAY * days);
            if clock.now() < day {
                clock.advance(day.since(clock.now()));
            }
            let job = Retention { vault: open.vault.clone(), limit: 3 };
            while job.run_once(clock.now()).await?.more {}
        }
        Ok(())
    };
    let (mut deaths, mut met) = (0, Vec::new());
    for at in 0.. {
        for part in PARTS {
            place.put_back(&format!("base/{part}"), part);
        }
        let (clock, is_fenced) = (TestClock::at(began), AtomicBool::new(true));
        place.clock = Arc::new(clock.clone());
        let (opened, engine) = place.open_dying(Some(at)).await;
        if let Ok(open) = opened {
            tokio::select! {
                // What met its death may have come back with it.
                _ = go(&open, &clock, &is_fenced) => {}
                () = engine.died() => {}
            }
            engine.lives_on().await;
            open.close().await;
        }
        met.extend(engine.met());
        let open = place.open().await;
        go(&open, &clock, &is_fenced).await.unwrap();
        let owner = open.caller(&token).await;
        as_it_should_be(&open, (&owner, &auditor), &acme, at).await;
        open.close().await;
        if !engine.is_dead() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "{deaths} places");
    for table in [Table::Due, Table::HeldDue, Table::Shortened, Table::OpenReport, Table::RetentionReport] {
        assert!(met.contains(&(table as u8)), "no commit to {table:?} was cut off");
    }
}

/// Asking for a second person, the approval and what it carries out, for all ids of a person: nothing before it, once behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_second_person_approves_is_done_once_wherever_it_is_cut_short() {
    let tables = [Table::Approval, Table::ApprovalOpen, Table::PendingShred, Table::RootPtr, Table::Certificate, Table::Alias];
    let order = person("seven");
    ends_however_it_is_cut_short(order, Beside::SecondPerson, &tables).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_shred_that_a_second_person_approves_is_done_once_wherever_it_is_cut_short() {
    // The collection that has a law, and nothing under it, is frozen while it is looked through.
    let tables = [Table::Approval, Table::ApprovalOpen, Table::Collection, Table::PendingShred, Table::RootPtr, Table::Certificate];
    ends_however_it_is_cut_short(ShredOrder::Tenant { confirm: "acme".into() }, Beside::SecondPerson, &tables).await;
}

/// An order that takes two persons, and of which a law keeps something: asked for, approved, spared, certified, left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_second_person_approves_leaves_what_a_law_keeps_wherever_it_is_cut_short() {
    let order = person("seven");
    let tables = [Table::Approval, Table::KeptUnit, Table::PendingShred, Table::RootPtr, Table::Certificate];
    ends_however_it_is_cut_short(order, Beside::SecondPersonAndLaw, &tables).await;
}

/// From the order to end it to the certificate, which the store brings about by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_end_is_ordered_once_wherever_it_is_cut_short() {
    let bench = Bench::make(ShredOrder::Tenant { confirm: "acme".into() }, Beside::Nothing).await;
    let tables = [Table::Tenant, Table::TenantEnd, Table::TenantChange, Table::ShredOrder, Table::RootPtr, Table::Certificate];
    ends_wherever_cut(Bench { ends: true, ..bench }, &tables).await;
}

/// The same of one whose end takes two persons: nothing before the second one's word, once behind it. A collection that has a law, and nothing
/// under it, is frozen while it is looked through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_a_second_person_approves_is_ordered_once_wherever_it_is_cut_short() {
    let bench = Bench::make(ShredOrder::Tenant { confirm: "acme".into() }, Beside::SecondPerson).await;
    let tables = [Table::Approval, Table::Collection, Table::TenantEnd, Table::TenantChange, Table::ShredOrder, Table::Certificate];
    ends_wherever_cut(Bench { ends: true, ..bench }, &tables).await;
}

/// The same of a tenant of which a hold keeps something: first the rest of it goes, then, with the release, all. The hold is on a person
/// with two ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_part_and_then_wholly_is_as_it_should_be_wherever_it_is_cut_short() {
    let bench = Bench::make_of(ShredOrder::Tenant { confirm: "acme".into() }, Beside::Hold, true).await;
    let tables = [Table::TenantEnd, Table::HeldOrder, Table::ShredOrder, Table::RootPtr, Table::Certificate];
    ends_wherever_cut(Bench { ends: true, ..bench }, &tables).await;
}

/// The end of a tenant of which laws keep something: all else goes with the grace, what the first minimum had kept with that, and the tenant
/// with the last. Wherever a commit of all that is cut off, what a law keeps is there until then, and each step is taken once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_leaves_what_laws_keep_is_as_it_should_be_wherever_it_is_cut_short() {
    let (mut place, clock) = place().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    for (collection, unit) in [("people", ShredUnit::Subject), ("notes", ShredUnit::Record), ("all", ShredUnit::Collection)] {
        open.collection(&owner, &acme, collection, unit).await;
        open.put(&owner, &acme, (collection, "7"), Some("7"), b"v").await.unwrap();
    }
    let auditor = keep_invoices(&open, &acme, &owner, &["7"]).await;
    open.vault.put_collection(&owner, &acme, &coll("brief"), lawful(ShredUnit::Record, "1y"), None).await.unwrap();
    for (collection, name, category) in [("tax", "7/note", "note"), ("brief", "7", "tax"), ("brief", "7/note", "note")] {
        let put = PutRecord { custom: filed_under(Some(category)), ..put_of(Some("7"), b"v") };
        open.vault.put_record(&owner, &acme, &coll(collection), key(name), put).await.unwrap();
    }
    open.vault.terminate_tenant(&owner, &acme, end_of("acme", "30d"), None).await.unwrap();
    open.close().await;
    for part in PARTS {
        place.copy(part, &format!("base/{part}"));
    }
    let began = clock.now();
    // The grace is over; the first minimum is; the last.
    let phases: [(u32, &[&str]); 3] = [(31, &["tax", "brief"]), (400, &["tax"]), (5 * 366, &[])];
    let go = async |open: &Open, clock: &TestClock| {
        for (days, kept) in phases {
            let day = began.plus(DAY * days);
            if clock.now() < day {
                clock.advance(day.since(clock.now()));
            }
            for _ in 0..2 {
                Retention { vault: open.vault.clone(), limit: 1_000 }.run_once(clock.now()).await?;
                while left(open).await[2] > 0 {
                    tokio::task::yield_now().await;
                }
            }
            // A process behind another may find it later.
            for collection in kept.iter().filter(|_| clock.now() == day) {
                open.get(&auditor, &acme, (*collection, "7")).await?;
            }
        }
        Ok::<_, VaultError>(())
    };
    let (mut deaths, mut met) = (0, Vec::new());
    for at in 0.. {
        for part in PARTS {
            place.put_back(&format!("base/{part}"), part);
        }
        let clock = TestClock::at(began);
        place.clock = Arc::new(clock.clone());
        let mut engine = None;
        let opened = place
            .open_through(|inner| {
                let dying = Arc::new(Dying::new(inner, Some(at)));
                engine = Some(Arc::clone(&dying));
                dying
            })
            .await;
        let engine = engine.unwrap();
        if let Ok(open) = opened {
            tokio::select! {
                // What met its death may have come back with it.
                _ = go(&open, &clock) => {}
                () = engine.dead.cancelled() => {}
            }
            let is_dying = {
                let mut end = engine.end.lock().unwrap();
                end.is_over = true;
                end.is_dying
            };
            if is_dying {
                engine.dead.cancelled().await;
            }
            open.close().await;
        }
        met.extend(engine.last.lock().unwrap().iter().copied());
        let open = place.open().await;
        let gone = tokio::time::timeout(Duration::from_mins(1), go(&open, &clock)).await;
        assert!(matches!(gone, Ok(Ok(()))), "place {at}: {:?} are left: {gone:?}", left(&open).await);
        for at_place in [("tax", "7"), ("brief", "7"), ("tax", "7/note"), ("people", "7")] {
            assert!(is_shredded(&open.get(&owner, &acme, at_place).await), "place {at}: {at_place:?}");
        }
        // In two steps, and then wholly.
        for (table, there) in [
            (Table::ShredOrder, 3),
            (Table::Certificate, 3),
            (Table::ShredLog, 3),
            (Table::HeldOrder, 0),
            (Table::LeftByLaw, 0),
            (Table::PendingShred, 0),
            (Table::TenantEnd, 0),
        ] {
            assert_eq!(rows::count(&open.store, table).await, there, "place {at}: {table:?}");
        }
        assert_eq!(findings(&open).await, Vec::<String>::new(), "place {at}");
        assert_eq!(contradictions(&open).await, Vec::<String>::new(), "place {at}");
        open.close().await;
        if !engine.dead.is_cancelled() {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 20, "{deaths} places");
    for table in [Table::HeldOrder, Table::LeftByLaw, Table::ShredDeleted, Table::RootPtr, Table::Certificate, Table::TenantChange] {
        assert!(met.contains(&(table as u8)), "no commit to {table:?} was cut off");
    }
}
