//! What a person's shred costs from the order to the certificate, beside the number of records it is about, and beside three
//! syncs of a file on the same disk in the same run: an epoch has three barriers. It fails if 10,000 records take more than
//! [`GROWTH_MAX`] times what one takes, by the medians of the rounds and by the shortest: a busy machine bends one of the two.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "a bench: it reports, measures the machine's time, and shares the tests' harness"
)]

#[path = "../tests/proofs/harness.rs"]
mod harness;
#[path = "../tests/proofs/meddling.rs"]
mod meddling;

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use lethe::{
    domain::{ShredUnit, SubjectId, TenantName},
    vault::ops::{BatchOp, Caller, Precondition},
};

use self::harness::{Open, Place, coll, key};

/// Records of the persons that are compared.
const RECORDS: [usize; 3] = [1, 100, 10_000];
const ROUNDS: usize = 15;
const GROWTH_MAX: f64 = 2.0;

fn main() {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(Box::pin(measure()));
}

async fn measure() {
    let place = Place::make().await;
    let open = place.open().await;
    let (acme, owner, _) = open.tenant(&place, "acme").await;
    open.collection(&owner, &acme, "c", ShredUnit::Subject).await;
    for (number, records) in RECORDS.into_iter().enumerate() {
        for round in 0..ROUNDS {
            fill(&open, &owner, &acme, &format!("{number}-{round}"), records).await;
        }
    }
    let mut syncs = Vec::new();
    let mut times = vec![Vec::new(); RECORDS.len()];
    for round in 0..ROUNDS {
        syncs.push(three_syncs(&place));
        for (number, times) in times.iter_mut().enumerate() {
            let begun = Instant::now();
            open.shred_subject(&owner, &acme, &format!("{number}-{round}")).await;
            times.push(begun.elapsed());
        }
    }
    let shortest: Vec<_> = times.iter().map(|times| times.iter().min().copied().unwrap_or_default()).collect();
    let syncs = median(&mut syncs);
    println!("three syncs of 4 KiB: {syncs:?} (median of {ROUNDS})");
    let times: Vec<_> = times.iter_mut().map(|times| median(times)).collect();
    for (records, time) in RECORDS.into_iter().zip(&times) {
        println!(
            "shred of a person with {records} records, ordered to certified: {time:?}, {:.2} of the first, {:.2} of three syncs",
            time.as_secs_f64() / times[0].as_secs_f64(),
            time.as_secs_f64() / syncs.as_secs_f64()
        );
    }
    let growth = |times: &[Duration]| times[RECORDS.len() - 1].as_secs_f64() / times[0].as_secs_f64();
    let (of_medians, of_shortest) = (growth(&times), growth(&shortest));
    println!("from {} record to {}: {of_medians:.2} by the medians, {of_shortest:.2} by the shortest", RECORDS[0], RECORDS[2]);
    open.close().await;
    assert!(of_medians.min(of_shortest) <= GROWTH_MAX, "the time of a shred grows with the number of records");
}

async fn fill(open: &Open, owner: &Caller, acme: &TenantName, subject: &str, records: usize) {
    let put = |number: usize| BatchOp::Put {
        collection: coll("c"),
        key: key(&format!("{subject}/{number}")),
        value: vec![b'v'; 100].into(),
        content_type: "text/plain".into(),
        subjects: vec![SubjectId::parse(subject).expect("a subject")],
        expires_at: None,
        custom: Vec::new(),
        precondition: Precondition::None,
        new_relationship: false,
    };
    for first in (0..records).step_by(1_000) {
        let ops = (first..records.min(first + 1_000)).map(put).collect();
        open.vault.batch(owner, acme, ops, None).await.expect("a batch");
    }
}

fn three_syncs(place: &Place) -> Duration {
    let mut file = std::fs::File::create(place.path("synced")).expect("a file");
    let begun = Instant::now();
    for _ in 0..3 {
        file.write_all(&[7; 4_096]).expect("written");
        file.sync_data().expect("synced");
    }
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
