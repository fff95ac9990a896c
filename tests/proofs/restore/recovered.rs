//! What is lost comes back from what holds it too, and all that was done stands.

use lethe::vault::{audit::verify::Verdict, store::embedded::Embedded};

use super::life::{Day, Life};

/// Opens what was recovered, and proves it.
async fn holds(life: &mut Life, verdict: Verdict) {
    for _ in 0..2 {
        let open = life.place.open().await;
        life.stands(&open).await;
        life.audit_says(&open, verdict).await;
        open.close().await;
    }
    life.gives_fresh_numbers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_old_control_store_is_rebuilt_from_its_mirror() {
    let mut life = Life::live(Day::WithShreds).await;
    for old in [false, true] {
        life.reset();
        if old {
            life.place.put_back("yesterday/store/control", "store/control");
        } else {
            life.place.lose("store/control");
        }
        let rebuilt = Embedded::rebuild_control_from_mirror(&life.place.options()).unwrap();
        assert_eq!(rebuilt.moved_to.is_some(), old);
        holds(&mut life, Verdict::Ok).await;
        let open = life.place.open().await;
        assert_eq!(open.get(&life.owner, &life.acme, ("c", "9")).await.unwrap(), b"today");
        open.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yesterdays_copy_of_the_whole_directory_under_todays_mirror_and_custody_is_recovered() {
    let mut life = Life::live(Day::WithShreds).await;
    for part in ["store/data", "store/control", "log"] {
        life.place.put_back(&format!("yesterday/{part}"), part);
    }
    Embedded::rebuild_control_from_mirror(&life.place.options()).unwrap();
    let refusal = life.place.try_open().await.err().unwrap();
    assert!(refusal.contains("log-shorter"), "{refusal}");
    life.place.rebuild_log(None).unwrap();
    assert_eq!(std::fs::read(life.place.path("log/checkpoint")).unwrap(), std::fs::read(life.place.path("today/log/checkpoint")).unwrap());
    holds(&mut life, Verdict::StatedGap).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_or_old_mirror_is_made_anew_from_control() {
    let mut life = Life::live(Day::WithShreds).await;
    life.place.lose("mirror");
    Embedded::rebuild_mirror_from_control(&life.place.options()).unwrap();
    holds(&mut life, Verdict::Ok).await;
    // Only behind, as after a crash between the two: the start brings it up to date by itself.
    life.reset();
    life.place.put_back("yesterday/mirror", "mirror");
    holds(&mut life, Verdict::Ok).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_rebuilt_so_that_its_old_checkpoint_still_verifies() {
    let mut life = Life::live(Day::WithShreds).await;
    life.place.lose("log");
    life.place.rebuild_log(None).unwrap();
    assert_eq!(std::fs::read(life.place.path("log/checkpoint")).unwrap(), std::fs::read(life.place.path("today/log/checkpoint")).unwrap());
    holds(&mut life, Verdict::Ok).await;
}
