//! Closure: keep every byte ever written, crash everywhere, and compute what today's secrets can still reach.
//! What was shredded must be outside, what was not must be inside; and each wrong procedure must be caught. Besides, no key
//! lies raw in any byte of any file that there ever was: store, mirror, custody.
//!
//! A *schedule* is a list of places: the first process crashes at the first, the one that recovers at the second, and
//! so on. `LETHE_PROOF=1` runs all of depth two and `LETHE_SCHEDULES` (10,000) of depth three; otherwise a sample is
//! drawn, by `LETHE_SEED` if that is set. Seed and counts are printed.

#![expect(clippy::arithmetic_side_effects, reason = "a test counts small numbers")]

use std::collections::{BTreeMap, HashSet};

use self::{
    raw::Searched,
    reach::{planted, reach},
    world::World,
};
use super::{
    Forest, ForestOptions, LeaseKind, ShredTarget, StartRow, UnitRef,
    forest::Inner,
    shred::{Designed, Procedure, Step},
};
use crate::{
    domain::{Epoch, TenantNo},
    vault::{
        crypto::{Key, PageSlots, SlotIndex},
        store::{Space, Write, embedded::mirror, schema},
    },
};

mod kept;
mod raw;
mod reach;
mod world;

const A: TenantNo = TenantNo(1);
const B: TenantNo = TenantNo(2);

/// What a scenario does, one after the other; each is done once, however often the process crashes.
#[derive(Debug, Clone)]
enum Act {
    /// Shreds these units (by their place in the base) and tenants; nothing at all rotates.
    Shred(Vec<usize>, Vec<TenantNo>),
    /// Shreds all units of A but these; besides, those of the second list, wherever they are.
    Keep(Vec<usize>, Vec<usize>),
    /// Opens units of A until its tree is a level higher.
    Grow,
}

struct Scenario {
    name: &'static str,
    options: ForestOptions,
    units: [usize; 2],
    acts: Vec<Act>,
}

fn scenarios() -> Vec<Scenario> {
    let options = |unit_height| ForestOptions { cached_keys: 256, unit_height, tenant_height: 1, ..ForestOptions::default() };
    let scenario = |name, unit_height, units, acts| Scenario { name, options: options(unit_height), units, acts };
    vec![
        scenario("one unit", 2, [3, 2], vec![Act::Shred(vec![1], vec![])]),
        scenario("a tenant and a unit of another", 2, [3, 2], vec![Act::Shred(vec![1], vec![B])]),
        scenario(
            "two shreds and a rotation",
            2,
            [4, 1],
            vec![Act::Shred(vec![1], vec![]), Act::Shred(vec![2], vec![]), Act::Shred(vec![], vec![])],
        ),
        scenario("growth, then a shred", 1, [64, 1], vec![Act::Grow, Act::Shred(vec![1], vec![])]),
        // Two leaves, of which one is kept in part and one goes.
        scenario("all but two units", 2, [66, 2], vec![Act::Keep(vec![1, 3], vec![])]),
        scenario(
            "all but some, a shred, then the tenant",
            2,
            [5, 1],
            vec![Act::Keep(vec![1, 2, 3], vec![3, 5]), Act::Shred(vec![2], vec![]), Act::Shred(vec![], vec![A])],
        ),
    ]
}

/// The disk before a scenario, and every secret of it that matters.
struct Base {
    scenario: Scenario,
    world: World,
    units: Vec<(UnitRef, [u8; 32])>,
    tenants: BTreeMap<TenantNo, [u8; 32]>,
    /// Shredded before the scenario begins.
    dead: HashSet<[u8; 32]>,
}

/// Runs one async test body to its end.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Base {
    fn new(scenario: Scenario) -> Self {
        let mut world = World::new();
        let ground = world.start(None).unwrap();
        let (mut base, present) = block_on(async {
            let forest = Forest::create(ground, scenario.options).await.unwrap();
            let (mut units, mut tenants) = (Vec::new(), BTreeMap::new());
            for (tenant, count) in [A, B].into_iter().zip(scenario.units) {
                assert_eq!(forest.lease(LeaseKind::Tenant).await.unwrap(), tenant.0);
                forest.make_tenant(tenant).await.unwrap();
                forest.load_tenant(tenant).await.unwrap();
                tenants.insert(tenant, forest.lend_tenant(tenant, |key| *key.expose()).unwrap());
                for _ in 0..count {
                    let unit = forest.make_unit(tenant).await.unwrap();
                    units.push((unit, forest.lend_unit(unit, |key| *key.expose()).unwrap()));
                }
            }
            // Something has been shredded before, so that there are old pages.
            let (first, key) = units[0];
            forest.shred(&[ShredTarget::Unit { tenant: A, slot: first.slot }], vec![], vec![]).await.unwrap();
            let present = forest.0.present().root_id;
            (Self { scenario, world: World::new(), units, tenants, dead: HashSet::from([key]) }, present)
        });
        world.stop();
        raw::search(&world, present).unwrap();
        base.world = world;
        base
    }

    /// Keys that must be out of reach at the end.
    fn dead(&self) -> HashSet<[u8; 32]> {
        let mut dead = self.dead.clone();
        for act in &self.scenario.acts {
            match act {
                Act::Grow => {}
                Act::Shred(units, tenants) => {
                    dead.extend(units.iter().map(|at| self.units[*at].1));
                    dead.extend(self.units.iter().filter(|(unit, _)| tenants.contains(&unit.tenant)).map(|(_, key)| *key));
                    dead.extend(tenants.iter().map(|tenant| self.tenants[tenant]));
                }
                Act::Keep(kept, units) => {
                    let others = self.units.iter().enumerate().filter(|(at, (unit, _))| unit.tenant == A && !kept.contains(at));
                    dead.extend(others.map(|(_, (_, key))| *key));
                    dead.extend(units.iter().map(|at| self.units[*at].1));
                }
            }
        }
        dead
    }
}

/// How a schedule ended.
struct Outcome {
    /// Crashes that happened; fewer than asked for if a place was never met.
    crashes: usize,
    /// Places of the last process.
    places: usize,
    /// Rows of the start table that were met.
    rows: Vec<StartRow>,
    /// What was searched for raw keys.
    searched: Searched,
}

type MakeProcedure<'a> = &'a (dyn Fn() -> Box<dyn Procedure> + Sync);

/// Runs a schedule to its end; an error says what does not hold.
fn run(base: &Base, schedule: &[usize], procedure: MakeProcedure<'_>, is_derived: bool) -> Result<Outcome, String> {
    let mut world = base.world.copy();
    let mut outcome = Outcome { crashes: 0, places: 0, rows: Vec::new(), searched: Searched::default() };
    loop {
        let crash_at = schedule.get(outcome.crashes).copied();
        let ground = world.start(crash_at)?;
        let ended = block_on(async {
            let (forest, recovery) =
                Forest::open_by(ground, base.scenario.options, procedure()).await.map_err(|error| format!("start: {error}"))?;
            outcome.rows.push(recovery.row);
            live(&forest, base).await?;
            Ok::<_, String>(forest)
        });
        match ended {
            Ok(forest) => {
                let judged = block_on(judge(&forest, base, &world, is_derived));
                outcome.places = world.places();
                let present = forest.0.present().root_id;
                drop(forest);
                world.stop();
                judged?;
                mirror_is_whole(base, &world)?;
                outcome.searched = raw::search(&world, present)?;
                return Ok(outcome);
            }
            Err(_) if world.is_down() => outcome.crashes += 1,
            Err(error) => return Err(error),
        }
        world.stop();
    }
}

/// What a process does: uses keys, then does what is not done yet.
async fn live(forest: &Forest, base: &Base) -> Result<(), String> {
    for (unit, _) in &base.units {
        // Fills the cache, so that memory holds what a busy process holds.
        drop(forest.load_unit(unit.tenant, unit.slot).await);
    }
    for tenant in base.tenants.keys() {
        drop(forest.load_tenant(*tenant).await);
    }
    for (number, act) in base.scenario.acts.iter().enumerate() {
        act_once(forest, base, number, act).await?;
    }
    Ok(())
}

async fn act_once(forest: &Forest, base: &Base, number: usize, act: &Act) -> Result<(), String> {
    let text = |error: super::KeysError| format!("act {number}: {error}");
    let unit = |at: &usize| ShredTarget::Unit { tenant: base.units[*at].0.tenant, slot: base.units[*at].0.slot };
    let (targets, kept) = match act {
        Act::Shred(units, tenants) => {
            let tenants = tenants.iter().copied().map(ShredTarget::Tenant);
            (units.iter().map(unit).chain(tenants).collect::<Vec<_>>(), BTreeMap::new())
        }
        Act::Keep(kept, units) => {
            let kept = kept.iter().map(|at| base.units[*at].0.slot).collect();
            (units.iter().map(unit).chain([ShredTarget::Others(A)]).collect(), BTreeMap::from([(A, kept)]))
        }
        Act::Grow => {
            while forest.make_tenant(A).await.map_err(text)?.height < 2 {
                forest.make_unit(A).await.map_err(text)?;
            }
            return Ok(());
        }
    };
    // The row stands for the intent's end: it is true if and only if the pages are in place.
    let key = schema::setting(&format!("act-{number}"));
    let inner: &Inner = &forest.0;
    if inner.store.get(Space::Control, &key).await.map_err(|error| error.to_string())?.is_some() {
        return Ok(());
    }
    let done = Write::Put { space: Space::Control, key, value: bytes::Bytes::from_static(b"done") };
    let extra = |_: &super::EpochRecord| super::Extra { writes: vec![done], ..super::Extra::default() };
    forest.shred_keeping(&targets, kept, extra).await.map(drop).map_err(text)
}

/// The invariant: the dead are out of reach, the living within, for an attacker with today's secrets and for the forest itself.
async fn judge(forest: &Forest, base: &Base, world: &World, is_derived: bool) -> Result<(), String> {
    let dead = base.dead();
    let reached = reach(&world.record(), &world.custody_bytes(), &forest.0.secrets(), is_derived);
    for (unit, key) in &base.units {
        let is_dead = dead.contains(key);
        if reached.contains(key) == is_dead {
            return Err(format!(
                "unit {} of tenant {}: {}",
                unit.slot,
                unit.tenant,
                if is_dead { "still reachable" } else { "out of reach" }
            ));
        }
        let is_lent =
            forest.load_unit(unit.tenant, unit.slot).await.is_ok() && forest.lend_unit(*unit, |lent| lent.expose() == key) == Ok(true);
        if is_lent == is_dead {
            return Err(format!("unit {} of tenant {}: {}", unit.slot, unit.tenant, if is_dead { "still lent" } else { "not lent" }));
        }
    }
    for (tenant, key) in &base.tenants {
        let is_dead = dead.contains(key);
        if reached.contains(key) == is_dead {
            return Err(format!("tenant {tenant}: {}", if is_dead { "still reachable" } else { "out of reach" }));
        }
        if forest.load_tenant(*tenant).await.is_ok() == is_dead {
            return Err(format!("tenant {tenant}: {}", if is_dead { "still lent" } else { "not lent" }));
        }
    }
    for epoch in 2..=forest.epoch().0 {
        // What a certificate would be made of: every old root is gone, and the self-check of its epoch holds.
        match forest.report(Epoch(epoch)).await {
            Ok(Some(report)) if report.receipts.len() == 2 => {}
            other => return Err(format!("no report of epoch {epoch}: {:?}", other.err())),
        }
    }
    Ok(())
}

/// The mirror alone gives the control store with today's custody.
fn mirror_is_whole(base: &Base, world: &World) -> Result<(), String> {
    let restored = mirror::restore(&world.path("mirror")).map_err(|error| error.to_string())?;
    let row = restored.rows.get(&(Space::Control, schema::root_ptr())).ok_or("the mirror has no root")?;
    let epochs = base.scenario.acts.len() as u64 + 2;
    let ptr = super::rows::RootPtr::parse(row).map_err(|error| error.to_string())?;
    if ptr.name.epoch < Epoch(epochs) { Err(format!("the mirror stands at epoch {}", ptr.name.epoch)) } else { Ok(()) }
}

mod proof;
mod restore;
mod wrong;
