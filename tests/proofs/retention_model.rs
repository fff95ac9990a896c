//! Retention in any order of writes, deletions, changes of rules, reports of events, their corrections and withdrawals, legal holds, their
//! renewals, releases and ends, steps of the clock, also back, stops and deaths of the process, over days, months and decades, in several
//! zones, in collections of each shred unit; held against the rules themselves: none goes before its minimum or its end, nor under a hold,
//! and none is there after the first run behind both the end that was written down and that of today, but under a hold. What rules have
//! restricted is read by nobody, what is over neither, and everything else as it was written. What a rule marks is marked once before; and
//! the reports of all runs together count what was destroyed and marked, each record once, and what a run met under a hold.
//!
//! What a law keeps is stated here as an owner would: with each write, and with each change of rules, every record is promised until when
//! it will be there; and whenever one is gone, by whatever hand, nothing is promised any more. A minimum of the governance kind promises as
//! much as another, for nobody bypasses one here. Of the program's words it takes the shape of rules alone, and how they are spelt: what
//! rules say, the days that they count, what holds are on, it tells by itself ([`known`], [`model`], [`calendar`]).
//!
//! A process dies at a commit, before it or behind it, in the midst of anything, and now and then again in the start behind that. What it
//! was asked for is sent again, with the same idempotency key: so it is done once, and the model knows nothing of deaths.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lethe::{
    authn::Role,
    domain::{
        Clock as _, HoldId, ReportId, ShredUnit, TenantName, TestClock, Timestamp,
        hold::{HoldText, NewHold},
        retention::{EventDate, EventName, Mode},
    },
    jobs::Retention,
    vault::ops::{Caller, Missing, Precondition, VaultError},
};
use serde_json::json;

use self::{
    draw::{PACES, Pace},
    known::{LEFT, Law, Written},
    model::{Hold, Model, hold_over},
};
use crate::{
    draw::Draw,
    dying::Dying,
    harness::{Open, Place, coll, findings, hold_of, key, subject},
    reports::reports,
    retention::{DAY, due_rows, one_rule, place, policy},
};

mod calendar;
mod draw;
mod known;
mod model;

/// How long a hold for law enforcement stands.
const LAPSE: Duration = Duration::from_hours(24 * 90);
/// Holds that stand at once.
const HOLDS: usize = 3;
/// After so long what reports count is added up, before they are old enough to go.
const COUNTED_AFTER: Duration = Duration::from_hours(24 * 1_000);

/// What happened, over all seeds: a proof that has met nothing proves nothing.
#[derive(Debug, Default)]
struct Met {
    stored: usize,
    /// Writes that were refused for what nobody had reported.
    waited: usize,
    /// Times one outlived what its own value and the rules of today ask for.
    carried: usize,
    /// Writes that were refused for the restricted state.
    restricted: usize,
    /// Writes and deletions that were refused for a hold.
    held: usize,
    /// Deletions that were refused by a law.
    refused: usize,
    /// Of these, by another than today's.
    by_others: usize,
    /// Of the refused deletions, by a minimum of the governance kind.
    by_governance: usize,
    reports: usize,
    brought_forward: usize,
    placed: usize,
    renewed: usize,
    lapsed: usize,
    deaths: usize,
    /// By runs, as their reports count them.
    destroyed: u64,
    marked: u64,
    waits: u64,
    /// How often one had no end.
    endless: usize,
    /// Times one was there that nobody could read, for a rule had restricted it.
    hidden: usize,
}

/// A store, and what must be in it.
struct World {
    seed: u64,
    step: usize,
    unit: ShredUnit,
    pace: Pace,
    draw: Draw,
    /// Where the process dies; apart, for what it does in the background has a part in that.
    fate: Draw,
    place: Place,
    clock: TestClock,
    engine: Arc<Dying>,
    /// None between a stop and a start.
    open: Option<Open>,
    acme: TenantName,
    owner: Caller,
    counsel: Caller,
    tokens: [String; 2],
    model: Model,
    /// What each report counted when it was read last: destroyed, held, marked, keys.
    counted: BTreeMap<ReportId, [u64; 4]>,
    counted_at: Timestamp,
    met: Met,
}

impl World {
    async fn make(seed: u64) -> Self {
        let (place, clock) = place().await;
        let (open, engine) = place.open_dying(None).await;
        let open = open.unwrap();
        let (acme, owner, token) = open.tenant(&place, "acme").await;
        let (counsels, _) = open.token(&owner, &acme, Role::Counsel).await;
        let counsel = open.caller(&counsels).await;
        let (mut draw, paces) = (Draw(seed), PACES.len() as u64);
        let pace = PACES[usize::try_from(seed % paces).unwrap()];
        let units = [ShredUnit::Subject, ShredUnit::Record, ShredUnit::Collection];
        let unit = units[usize::try_from(seed / paces % 3).unwrap()];
        let today = draw.policy(pace, unit);
        open.vault.put_collection(&owner, &acme, &coll("c"), today.clone(), None).await.unwrap();
        Self {
            seed,
            step: 0,
            unit,
            pace,
            draw,
            fate: Draw(!seed),
            counted_at: clock.now(),
            place,
            clock,
            engine,
            open: Some(open),
            acme,
            owner,
            counsel,
            tokens: [token, counsels],
            model: Model::new(today),
            counted: BTreeMap::new(),
            met: Met::default(),
        }
    }

    /// For messages.
    fn at(&self) -> String {
        format!("seed {}, step {}", self.seed, self.step)
    }

    /// The idempotency key of what is asked for in this step.
    fn once(&self) -> String {
        format!("{}-{}", self.seed, self.step)
    }

    fn open(&self) -> &Open {
        self.open.as_ref().unwrap()
    }

    /// Does what is asked for; where the process dies meanwhile, again behind a start.
    async fn done<T>(&mut self, act: impl AsyncFn(&Self) -> T) -> T {
        if self.fate.below(16) == 0 {
            self.engine.dies_in(self.fate.place(16));
        }
        loop {
            let done = tokio::select! {
                done = act(&*self) => Some(done),
                () = self.engine.died() => None,
            };
            let lives = self.engine.lives_on().await;
            if let Some(done) = done.filter(|_| lives) {
                return done;
            }
            self.met.deaths += 1;
            self.restart().await;
        }
    }

    /// Ends what there is of the process, and begins anew; that may be cut short once.
    async fn restart(&mut self) {
        if let Some(open) = self.open.take() {
            open.close().await;
        }
        let dies_at = (self.fate.below(3) == 0).then(|| self.fate.place(8));
        let (mut opened, mut engine) = self.place.open_dying(dies_at).await;
        if !engine.lives_on().await {
            self.met.deaths += 1;
            if let Ok(open) = opened {
                open.close().await;
            }
            (opened, engine) = self.place.open_dying(None).await;
        }
        let open = opened.unwrap_or_else(|error| panic!("{}: {error}", self.at()));
        self.owner = open.caller(&self.tokens[0]).await;
        self.counsel = open.caller(&self.tokens[1]).await;
        (self.open, self.engine) = (Some(open), engine);
    }

    async fn write(&mut self, name: String) {
        let (at, now) = (self.at(), self.clock.now());
        let drawn = self.draw.record(self.pace, now);
        let put = self.done(async |world: &Self| {
            let put = drawn.put(world.once());
            world.open().vault.put_record(&world.owner, &world.acme, &coll("c"), key(&name), put).await
        });
        let put = put.await;
        match (&put, self.model.is_restricted(&name, now), self.model.is_held(&name)) {
            (Err(VaultError::Restricted), true, _) => return self.met.restricted += 1,
            (Err(VaultError::LegalHold { .. }), false, true) => return self.met.held += 1,
            (Ok(_) | Err(VaultError::Unprocessable(_) | VaultError::LegalMinimum { .. }), false, false) => {}
            (put, is_restricted, is_held) => panic!("{at}: {name}: {put:?}, restricted: {is_restricted}, held: {is_held}"),
        }
        let (mut known, answered) = self.model.written(&name, drawn, now);
        let told = self.model.told_of(&known);
        match put {
            Ok(_) => {
                assert!(answered.dates, "{at}: a date that a law waits for is not there: {known:?}");
                assert!(answered.reports, "{at}: it does not wait for what a law waits for: {known:?}");
                let promised = known.promised_until(told);
                let own = known.drawn.own;
                assert!(own.is_none_or(|own| promised.is_none_or(|until| own >= until)), "{at}: {known:?}");
                self.met.carried += usize::from(promised > known.of_today(&self.model.rules).promised_until(told));
                let end = known.end(&self.model.rules, told);
                assert!(end.is_none_or(|end| end.at > now), "{at}: stored, and over already");
                known.written = known.written_down(self.model.records.get(&name), &self.model);
                self.model.records.insert(name, known);
                self.met.stored += 1;
            }
            // The rules say which dates and ends they take; the next one may be right.
            Err(VaultError::Unprocessable(_)) => {}
            Err(_) => {
                // What is kept until somebody reports something is kept for that.
                assert!(answered.dates && !answered.reports, "{at}: {known:?}");
                self.met.waited += 1;
            }
        }
    }

    async fn change_rules(&mut self) {
        let drawn = self.draw.policy(self.pace, self.unit);
        self.model.change(drawn.clone(), self.clock.now());
        let changed = self.done(async |world: &Self| {
            world.open().vault.put_collection(&world.owner, &world.acme, &coll("c"), drawn.clone(), Some(world.once())).await
        });
        changed.await.unwrap();
    }

    /// A law has refused a deletion, or a hold, as each must what it keeps, and nothing else.
    async fn delete(&mut self, name: &str) {
        let (at, now) = (self.at(), self.clock.now());
        let deleted = self.done(async |world: &Self| {
            world.open().vault.delete_record(&world.owner, &world.acme, &coll("c"), key(name), Precondition::None, Some(world.once())).await
        });
        let deleted = deleted.await;
        let (law, is_held) = (self.model.law(name, now), self.model.is_held(name));
        match (deleted, law) {
            (Ok(()), Some(Law::Met)) if !is_held => {
                self.model.records.remove(name);
            }
            (Err(VaultError::NotFound(_)), None) => {}
            (Err(VaultError::LegalHold { .. }), Some(Law::Met)) if is_held => self.met.held += 1,
            (Err(VaultError::LegalMinimum { law: Some(told), .. }), Some(law)) => {
                let by_event = told.rule.as_str().starts_with('l');
                assert_eq!(told.until.map_or(Law::Unknown { by_event }, Law::Until), law, "{at}: {name}");
                self.met.refused += 1;
                self.met.by_others += usize::from(self.model.is_kept_by_others(name, now));
                self.met.by_governance += usize::from(told.mode == Mode::Governance);
            }
            (deleted, law) => panic!("{at}: {name}: {deleted:?} under {law:?}, held: {is_held}"),
        }
    }

    /// Reports when a person left, or takes that back, and the model is told.
    async fn report(&mut self) {
        let (at, now, person) = (self.at(), self.clock.now(), self.draw.person());
        let day = self.draw.left(self.pace, now);
        let brought_forward = self.model.report(person, day, now);
        let (who, event) = (subject(&person.to_string()), EventName::parse(LEFT).unwrap());
        let date = day.map(|day| EventDate::parse(&day.text()).unwrap());
        let reported = self.done(async |world: &Self| {
            let (vault, who, event) = (&world.open().vault, who.clone(), event.clone());
            match date {
                Some(date) => vault.report_event(&world.owner, &world.acme, (who, event, date), Some(world.once())).await,
                None => vault.withdraw_event(&world.owner, &world.acme, (who, event), Some(world.once())).await,
            }
        });
        match reported.await {
            Ok(view) => assert!(date.is_some() || (brought_forward.is_some() && view.events.is_empty()), "{at}: {view:?}"),
            Err(VaultError::NotFound(Missing::Event)) => assert!(date.is_none() && brought_forward.is_none(), "{at}"),
            Err(error) => panic!("{at}: {error:?}"),
        }
        self.met.reports += 1;
        self.met.brought_forward += brought_forward.unwrap_or_default();
    }

    /// Places a hold, renews one, or releases one.
    async fn hold(&mut self, name: String) {
        let (at, now) = (self.at(), self.clock.now());
        let what = self.draw.below(5);
        if what < 2 && self.model.holds.len() < HOLDS {
            let (on, law_enforcement) = (self.draw.on(name), self.draw.below(2) == 0);
            let NewHold { text, scope, disclosed, .. } = hold_of(on.scope());
            let text = HoldText { case_number: law_enforcement.then(|| "24-1".to_owned()), ..text };
            let new = NewHold { text, scope, disclosed, law_enforcement };
            let placed = self.done(async |world: &Self| {
                world.open().vault.place_hold(&world.counsel, &world.acme, new.clone(), Some(world.once())).await
            });
            let placed = placed.await.unwrap();
            let lapses_at = law_enforcement.then(|| now.plus(LAPSE));
            assert_eq!(placed.lapses_at, lapses_at, "{at}");
            self.model.holds.push(Hold { id: placed.id, on, lapses_at });
            self.met.placed += 1;
            return;
        }
        if self.model.holds.is_empty() {
            return;
        }
        let which = self.draw.place(self.model.holds.len());
        let Hold { id, lapses_at, .. } = self.model.holds[which];
        if what == 2 && lapses_at.is_some() {
            let renewed = self.done(async |world: &Self| {
                world.open().vault.renew_hold(&world.counsel, &world.acme, id, "still open".into(), Some(world.once())).await
            });
            let lapses_at = Some(now.plus(LAPSE));
            assert_eq!(renewed.await.unwrap().lapses_at, lapses_at, "{at}");
            self.model.holds[which].lapses_at = lapses_at;
            self.met.renewed += 1;
        } else if what > 2 {
            self.release(id).await;
        }
    }

    async fn release(&mut self, id: HoldId) {
        let released = self.done(async |world: &Self| {
            world.open().vault.release_hold(&world.counsel, &world.acme, id, "settled".into(), Some(world.once())).await
        });
        released.await.unwrap();
        self.model.holds.retain(|hold| hold.id != id);
    }

    /// The clock goes on: to the very moment of the end of a record, or to the one before, as often as anywhere.
    async fn go_on(&mut self, name: &str) {
        let now = self.clock.now();
        let known = self.model.records.get(name).filter(|_| self.draw.below(2) == 0);
        let near = known.and_then(|known| known.ends(&self.model.rules, self.model.told_of(known)));
        let near = near.map(|at| Timestamp(at.0 - i64::try_from(self.draw.below(2)).unwrap())).filter(|at| *at > now);
        let longest = u64::try_from((DAY * self.pace.step).as_millis()).unwrap();
        let by = near.map_or_else(|| self.draw.millis(longest), |at| at.since(now));
        if now.plus(by).since(self.counted_at) > COUNTED_AFTER {
            self.count().await;
        }
        self.clock.advance(by);
    }

    /// The clock is set back: by hours, or by days.
    fn go_back(&mut self) {
        let longest = if self.draw.below(4) == 0 { DAY * self.pace.step } else { Duration::from_hours(3) };
        let by = self.draw.millis(u64::try_from(longest.as_millis()).unwrap());
        self.clock.go_back(by);
    }

    /// Reads what the reports of runs count, before they are old enough to go.
    async fn count(&mut self) {
        let all = reports(self.open(), &self.owner, &self.acme).await;
        self.counted.extend(all.iter().map(|view| {
            let report = &view.report;
            (view.id, [report.destroyed(), report.held(), report.marked(), report.keys])
        }));
        self.counted_at = self.clock.now();
    }

    async fn run(&mut self) {
        let ran = self.done(async |world: &Self| {
            let job = Retention { vault: world.open().vault.clone(), limit: 1_000 };
            while job.run_once(world.clock.now()).await?.more {}
            Ok::<_, VaultError>(())
        });
        ran.await.unwrap();
    }

    /// Runs, and holds what is there then against what is known of it.
    async fn run_and_look(&mut self) {
        let (at, now) = (self.at(), self.clock.now());
        self.met.lapsed += self.model.look_after_holds(now);
        // What the first one writes down for now may lie behind it; the second one has seen all.
        self.run().await;
        self.run().await;
        let open = self.open.as_ref().unwrap();
        let Model { rules, records, told, holds } = &mut self.model;
        let mut gone = Vec::new();
        for (name, known) in records.iter_mut() {
            let told = &told[known.drawn.subject];
            let found = known.end_today(rules, told);
            let is_due = known.waits_under.is_none() && known.is_due(found, now);
            let hold = hold_over(holds, name, known);
            let got = open.get(&self.owner, &self.acme, ("c", name)).await;
            let is_restricted = known.is_restricted(rules, told, now);
            let is_there = if let Ok(value) = &got {
                assert!(!is_restricted && !known.is_over(rules, told, now), "{at}: {name} is read: {known:?}");
                assert_eq!(*value, known.drawn.value().into_bytes(), "{at}: {name}");
                true
            } else {
                assert!(matches!(got, Err(VaultError::NotFound(_))), "{at}: {name}: {got:?}");
                open.vault.explain_retention(&self.owner, &self.acme, &coll("c"), &key(name)).await.is_ok()
            };
            if is_there {
                let is_shown = !is_restricted && !known.is_over(rules, told, now);
                assert_eq!(got.is_ok(), is_shown, "{at}: {name} is read by nobody: {known:?}");
                assert!(!is_due || hold.is_some(), "{at}: {name} outlives its end: {known:?}");
                self.met.hidden += usize::from(is_restricted);
            } else {
                assert!(is_due && hold.is_none() && known.law(told, now) == Law::Met, "{at}: {name} died early: {known:?}");
                gone.push(name.clone());
            }
            match (is_due, known.waits_under) {
                (true, _) if is_there => {
                    known.waits_under = hold;
                    self.met.waits += 1;
                }
                (true, _) | (false, Some(_)) => {}
                // Twice, as the runs.
                (false, None) => {
                    for _ in 0..2 {
                        if known.is_looked_for(now) {
                            self.met.marked += u64::from(known.looked_for(found, now));
                            self.met.endless += usize::from(found.is_none());
                        }
                    }
                }
            }
        }
        self.met.destroyed += gone.len() as u64;
        records.retain(|name, _| !gone.contains(name));
    }

    async fn go(&mut self, step: usize) {
        self.step = step;
        let name = self.draw.key();
        match self.draw.below(17) {
            0..5 => self.write(name).await,
            5 => self.change_rules().await,
            6 if step.is_multiple_of(3) => self.restart().await,
            7 => self.delete(&name).await,
            8 => self.go_back(),
            9..11 => {
                self.report().await;
                self.run_and_look().await;
            }
            11..14 => self.hold(name).await,
            _ => {
                self.go_on(&name).await;
                self.run_and_look().await;
            }
        }
    }

    /// When all holds have ended, under a rule that ends everything, what was ever written down goes, and not before what was promised.
    async fn all_that_ends_goes(&mut self) {
        self.step += 1;
        for hold in std::mem::take(&mut self.model.holds) {
            self.step += 1;
            self.release(hold.id).await;
        }
        let (seed, last) = (self.seed, policy(self.unit, "UTC", &one_rule(&json!("created"), "1d")));
        self.model.change(last.clone(), self.clock.now());
        self.open().vault.put_collection(&self.owner, &self.acme, &coll("c"), last, None).await.unwrap();
        let mut gone = BTreeSet::new();
        for _ in 0..20 {
            self.clock.advance(DAY * self.pace.step * 7);
            self.run().await;
            for (name, known) in &self.model.records {
                let explained = self.open().vault.explain_retention(&self.owner, &self.acme, &coll("c"), &key(name)).await;
                if explained.is_err() && gone.insert(name.clone()) {
                    assert_eq!(self.model.law(name, self.clock.now()), Some(Law::Met), "seed {seed}: {name} died early: {known:?}");
                }
            }
        }
        assert!(due_rows(self.open()).await.is_empty(), "seed {seed}");
        for (name, known) in &self.model.records {
            assert_eq!(!gone.contains(name), matches!(known.written, Written::Nothing), "seed {seed}: {name}: {known:?}");
        }
    }

    async fn end(mut self) -> Met {
        self.count().await;
        let counted = self.counted.values().fold([0_u64; 4], |sum, one| std::array::from_fn(|at| sum[at] + one[at]));
        let Met { destroyed, waits, marked, .. } = self.met;
        let keys = if self.unit == ShredUnit::Record { destroyed } else { 0 };
        assert_eq!(counted, [destroyed, waits, marked, keys], "seed {}: what the reports count", self.seed);
        self.all_that_ends_goes().await;
        assert_eq!(findings(self.open()).await, Vec::<String>::new(), "seed {}", self.seed);
        self.open.take().unwrap().close().await;
        self.met
    }
}

impl Met {
    fn add(&mut self, other: &Self) {
        let Self {
            stored,
            waited,
            carried,
            restricted,
            held,
            refused,
            by_others,
            by_governance,
            reports,
            brought_forward,
            placed,
            renewed,
            lapsed,
            deaths,
            destroyed,
            marked,
            waits,
            endless,
            hidden,
        } = other;
        self.stored += stored;
        self.waited += waited;
        self.carried += carried;
        self.restricted += restricted;
        self.held += held;
        self.refused += refused;
        self.by_others += by_others;
        self.by_governance += by_governance;
        self.reports += reports;
        self.brought_forward += brought_forward;
        self.placed += placed;
        self.renewed += renewed;
        self.lapsed += lapsed;
        self.deaths += deaths;
        self.destroyed += destroyed;
        self.marked += marked;
        self.waits += waits;
        self.endless += endless;
        self.hidden += hidden;
    }
}

/// RET-2, RET-3, RET-5, HOLD-1, HOLD-2, HOLD-5 and HOLD-7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_in_whatever_order_nothing_dies_early_and_nothing_outlives_its_end_by_more_than_a_run() {
    let mut met = Met::default();
    for seed in 0..18_u64 {
        let mut world = World::make(seed).await;
        for step in 0..160 {
            world.go(step).await;
        }
        met.add(&world.end().await);
    }
    println!("retention model: {met:?}");
    assert!(met.stored > 300 && met.destroyed > 100 && met.endless > 10 && met.marked > 30, "{met:?}");
    assert!(met.refused > 20 && met.by_others > 5 && met.by_governance > 3 && met.carried > 2 && met.waited > 0, "{met:?}");
    assert!(met.reports > 200 && met.brought_forward > 10, "{met:?}");
    assert!(met.placed > 50 && met.renewed > 5 && met.lapsed > 10 && met.held > 20 && met.waits > 20, "{met:?}");
    assert!(met.restricted > 0 && met.hidden > 5 && met.deaths > 30, "{met:?}");
}
