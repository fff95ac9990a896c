//! The schedules: all of depth one, and as many of depths two and three as asked for.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::vault::crypto::random;

/// Schedules of each depth in a sample.
const SAMPLE: usize = 60;

#[expect(clippy::disallowed_methods, reason = "how much is tested is no setting of the program")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A generator whose whole state is its seed (`SplitMix64`, Steele et al., 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

/// What was run.
#[derive(Default)]
struct Tally {
    depths: [AtomicUsize; 4],
    rows: Mutex<std::collections::HashMap<StartRow, usize>>,
    searched: Mutex<Searched>,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    /// Runs a schedule; the number of its crashes, and of the last process's places.
    fn run(&self, base: &Base, schedule: &[usize]) -> (usize, usize) {
        match run(base, schedule, &|| Box::new(Designed), false) {
            Ok(outcome) => {
                *self.searched.lock().unwrap() += outcome.searched;
                if outcome.crashes == schedule.len() {
                    self.depths[outcome.crashes].fetch_add(1, Ordering::Relaxed);
                    let mut rows = self.rows.lock().unwrap();
                    for row in outcome.rows {
                        *rows.entry(row).or_default() += 1;
                    }
                }
                (outcome.crashes, outcome.places)
            }
            Err(fault) => {
                self.faults.lock().unwrap().push(format!("{}, schedule {schedule:?}: {fault}", base.scenario.name));
                (schedule.len(), 0)
            }
        }
    }

    /// Every schedule that continues `start` by one crash; how many there are.
    fn all_after(&self, base: &Base, start: &[usize]) -> usize {
        for place in 0.. {
            let schedule = [start, &[place]].concat();
            if self.run(base, &schedule).0 < schedule.len() {
                return place;
            }
        }
        0
    }

    /// `wanted` schedules of `depth`, drawn at random.
    fn sample(&self, base: &Base, depth: usize, wanted: usize, bound: usize, dice: &mut Dice) {
        let mut done = 0;
        while done < wanted && self.faults.lock().unwrap().is_empty() {
            let schedule: Vec<_> = (0..depth).map(|_| dice.below(bound)).collect();
            done += usize::from(self.run(base, &schedule).0 == depth);
        }
    }
}

#[test]
fn closure_holds_whatever_crashes() {
    let seed = setting("LETHE_SEED").unwrap_or_else(|| u64::from_be_bytes(random::bytes()));
    let is_proof = setting("LETHE_PROOF") == Some(1);
    let deep = usize::try_from(setting("LETHE_SCHEDULES").unwrap_or(if is_proof { 10_000 } else { 4 * SAMPLE as u64 })).unwrap();
    println!("closure: LETHE_SEED={seed}{}", if is_proof { " LETHE_PROOF=1" } else { "" });
    let bases: Vec<_> = scenarios().into_iter().map(Base::new).collect();
    let tally = Tally::default();
    std::thread::scope(|scope| {
        for (number, base) in bases.iter().enumerate() {
            let tally = &tally;
            scope.spawn(move || {
                let mut dice = Dice(seed ^ number as u64);
                assert_eq!(tally.run(base, &[]).0, 0);
                let first = tally.all_after(base, &[]);
                if is_proof {
                    for place in 0..first {
                        tally.all_after(base, &[place]);
                    }
                } else {
                    tally.sample(base, 2, SAMPLE, first, &mut dice);
                }
                tally.sample(base, 3, deep / 4, first, &mut dice);
            });
        }
    });
    let faults = tally.faults.into_inner().unwrap();
    let [zero, one, two, three] = tally.depths.map(AtomicUsize::into_inner);
    println!(
        "closure: schedules of depth 0: {zero}, 1: {one}, 2: {two}, 3: {three}; starts by row: {:?}",
        tally.rows.into_inner().unwrap()
    );
    let Searched { keys, files, bytes } = tally.searched.into_inner().unwrap();
    println!("closure: searched {bytes} bytes of {files} files for {keys} keys, each run for its own");
    assert!(faults.is_empty(), "{} of the schedules fail, the first: {}", faults.len(), faults[0]);
    assert!(one >= 100 && two >= 4 * SAMPLE && three >= deep / 4 * 4, "too few schedules were run");
}
