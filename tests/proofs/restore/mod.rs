//! Copies put back: of any date, of either store, of custody, of the log. Each ends as the design says, by its own name;
//! and whatever was revoked, deleted or shredded since stays so, no number comes twice, the trail states what it lost.

mod ended;
mod life;
mod recovered;
mod refused;

use crate::restore::life::{Day, Life};
use lethe::vault::audit::verify::Verdict;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_under_todays_control_brings_nothing_back() {
    let mut life = Life::live(Day::WithShreds).await;
    life.place.put_back("yesterday/store/data", "store/data");
    // The second start finds nothing to state anew.
    for _ in 0..2 {
        let open = life.place.open().await;
        life.stands(&open).await;
        life.is_as_of_yesterday(&open).await;
        life.audit_says(&open, Verdict::StatedGap).await;
        open.close().await;
    }
    life.gives_fresh_numbers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_of_the_same_epoch_brings_no_revoked_token_back() {
    let mut life = Life::live(Day::WithoutShreds).await;
    life.place.put_back("yesterday/store/data", "store/data");
    for _ in 0..2 {
        let open = life.place.open().await;
        assert_eq!(open.forest.epoch(), life.epoch, "no epoch ended between the copy and today");
        life.stands(&open).await;
        life.is_as_of_yesterday(&open).await;
        life.audit_says(&open, Verdict::StatedGap).await;
        open.close().await;
    }
    life.gives_fresh_numbers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn todays_data_put_back_over_older_data_forks_nothing() {
    let mut life = Life::live(Day::WithShreds).await;
    life.place.put_back("yesterday/store/data", "store/data");
    life.gives_fresh_numbers().await;
    // The copy of today turns up after all: entries that were stated as lost are there again.
    life.place.put_back("today/store/data", "store/data");
    let open = life.place.open().await;
    life.stands(&open).await;
    assert_eq!(open.get(&life.owner, &life.acme, ("c", "9")).await.unwrap(), b"today");
    life.audit_says(&open, Verdict::StatedGap).await;
    open.close().await;
    life.gives_fresh_numbers().await;
}

/// A restore that is given up before its data is in its place: nothing is lost, and the trail does not say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_data_that_never_came_into_its_place_leaves_no_gap() {
    let mut life = Life::live(Day::WithShreds).await;
    life.place.put_back("yesterday/store/data", "store/data");
    let open = life.place.open_idle().await;
    open.vault.begin_restoring();
    open.vault.replay_retention().await.unwrap();
    open.vault.prove_shreds(1).await.unwrap();
    open.close().await;
    life.place.put_back("today/store/data", "store/data");
    let open = life.place.open().await;
    life.stands(&open).await;
    life.audit_says(&open, Verdict::Ok).await;
    assert_eq!(open.vault.check().await.unwrap().stated_gaps, 0);
    open.close().await;
}
