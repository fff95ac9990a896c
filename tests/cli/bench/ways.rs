//! The ways a run can go: over TLS, with which protocol, in which direction, how many at a time.

use std::{
    process::{Output, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    between::{Asked, Between, Fate},
    report,
};
use crate::{stderr, with_a_server::Served};

/// A certificate for `name` in `{file}.pem`, its key beside it.
fn certificate(served: &Served, file: &str, name: &str) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    served.write(&format!("{file}.pem"), &made.cert.pem());
    served.write(&format!("{file}.key"), &made.signing_key.serialize_pem());
}

/// A store that is served behind TLS, by the certificate in `tls.pem`.
fn served_behind_tls() -> Served {
    let mut served = Served::start();
    certificate(&served, "tls", "127.0.0.1");
    let usual = std::fs::read_to_string(served.path("store/lethe.toml")).unwrap();
    let (chain, key) = (served.path("tls.pem"), served.path("tls.key"));
    let tls = format!("[server]\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n", chain.display(), key.display());
    served.write("store/lethe.toml", &format!("{usual}\n{tls}"));
    served.stop();
    served.serve();
    served
}

#[test]
fn both_versions_of_http_are_measured_over_tls() {
    let served = served_behind_tls();
    let reads = ["get", "--ca", "tls.pem", "--records", "50", "--connections", "2", "--warmup", "0", "--operations", "40"];
    for (http, arguments) in [(1, &["--http", "1"][..]), (2, &["--http", "2", "--streams", "3"])] {
        let report = report(&served, "acme.token", &[&reads[..], arguments].concat());
        assert_eq!((&report["tls"], &report["http"]), (&true.into(), &http.into()), "{report}");
        assert_eq!(report["operations"], 40, "{report}");
    }
}

/// A run whose first connection is the generator's own, and not that of the client that other commands use.
fn own_connection(served: &Served, arguments: &[&str]) -> Output {
    served.run("store/operator.token", &[&["bench", "shred-tenant", "--records", "1", "--operations", "1"], arguments].concat())
}

#[test]
fn a_certificate_that_is_not_known_or_of_another_name_ends_with_3() {
    let mut served = served_behind_tls();
    let refused = |served: &Served, arguments: &[&str]| {
        let output = own_connection(served, arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("cannot be reached") && stderr(&output).contains("certificate"), "{}", stderr(&output));
    };
    let known = own_connection(&served, &["--ca", "tls.pem"]);
    assert!(known.status.success(), "{}", stderr(&known));
    certificate(&served, "other", "127.0.0.1");
    refused(&served, &["--ca", "other.pem"]);
    refused(&served, &[]);
    certificate(&served, "tls", "elsewhere.example");
    served.stop();
    served.serve();
    refused(&served, &["--ca", "tls.pem"]);
}

#[test]
fn the_protocol_that_was_asked_for_is_the_only_one_offered() {
    let served = Served::start();
    certificate(&served, "tls", "127.0.0.1");
    for spoken in ["http/1.1", "h2"] {
        let between = Between::behind_tls(&served, spoken);
        for (http, asked_for) in [("1", "http/1.1"), ("2", "h2")] {
            let place = ["bench", "get", "--addr", &between.url, "--ca", "tls.pem", "--http", http];
            let shape = ["--records", "1", "--connections", "1", "--warmup", "0", "--operations", "1"];
            let output = served.run("acme.token", &[&place[..], &shape].concat());
            let code = if spoken == asked_for { 0 } else { 3 };
            assert_eq!(output.status.code(), Some(code), "a server of {spoken}, asked for {asked_for}: {}", stderr(&output));
        }
    }
}

#[test]
fn a_stream_goes_the_way_it_is_told_on_every_place() {
    let served = Served::start();
    let places = ["stream", "--value-len", "1100KiB", "--http", "2", "--connections", "1", "--streams", "2"];
    for (direction, ways) in [("put", &["put"][..]), ("get", &["get"]), ("both", &["put", "get"])] {
        let report = report(&served, "acme.token", &[&places[..], &["--direction", direction]].concat());
        for way in ["put", "get"] {
            assert_eq!(report["by_operation"][format!("stream_{way}")].is_object(), ways.contains(&way), "{direction}: {report}");
        }
        assert_eq!((&report["operations"], &report["bytes"]), (&4.into(), &(4 * 1_100 * 1_024).into()), "two for each place: {report}");
        assert_eq!(report["tls"], false, "{report}");
    }
}

#[test]
fn an_order_takes_several_persons_and_one_epoch() {
    let served = Served::start();
    let orders = ["shred-subject", "--load", "never", "--operations", "4", "--connections", "1", "--per-subject", "2"];
    let report = report(&served, "acme.token", &[&orders[..], &["--subjects-per-order", "3"]].concat());
    let counts = ["operations", "items", "epochs"].map(|count| report[count].as_u64());
    assert_eq!(counts, [Some(4), Some(12), Some(4)], "each order waits for the end of the one before: {report}");
}

#[test]
fn those_who_order_together_wait_for_each_other_before_they_order_and_before_they_look() {
    const ROUNDS: usize = 5;
    let served = Served::start();
    let (filled, ordered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // One of each four is late, so that three would be ahead of it if they did not wait.
    let between = Between::start(&served, move |asked, answer| {
        let count = match asked {
            Asked::Batch => &filled,
            Asked::Order => &ordered,
            Asked::List | Asked::Record | Asked::Other => return,
        };
        if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(4) {
            answer.fate = Fate::Slow;
        }
    });
    let orders = ["shred-subject", "--load", "never", "--together", "--connections", "4", "--operations", "20", "--addr", &between.url];
    let report = report(&served, "acme.token", &orders);
    assert!(report["epochs"].as_u64().is_some_and(|epochs| (5..=20).contains(&epochs)), "no epoch has orders of two rounds: {report}");
    let answered = between.answered();
    let of = |kinds: [Asked; 2]| answered.iter().copied().filter(|asked| kinds.contains(asked)).collect::<Vec<_>>();
    for [first, then] in [[Asked::Batch, Asked::Order], [Asked::Order, Asked::Record]] {
        assert_eq!(of([first, then]), [[first; 4], [then; 4]].concat().repeat(ROUNDS), "{first:?}, then {then:?}");
    }
}

/// How many threads the generator has while it waits for an answer.
fn threads(served: &Served, asked_for: &str) -> usize {
    let (process, count) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let (number, counted) = (Arc::clone(&process), Arc::clone(&count));
    let between = Between::start(served, move |asked, _| {
        if asked == Asked::Record {
            let id: &u32 = number.wait();
            counted.store(std::fs::read_dir(format!("/proc/{id}/task")).unwrap().count(), Ordering::Relaxed);
        }
    });
    let reads = ["bench", "get", "--records", "1", "--connections", "1", "--warmup", "0", "--operations", "1"];
    let mut command = served.command("acme.token", &[&reads[..], &["--addr", &between.url, "--threads", asked_for]].concat());
    let generator = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.set(generator.id()).unwrap();
    let output = generator.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    count.load(Ordering::Relaxed)
}

#[test]
fn the_generator_has_as_many_threads_as_it_is_told() {
    let served = Served::start();
    let one = threads(&served, "1");
    assert!(one > 0);
    assert_eq!(threads(&served, "4").checked_sub(one), Some(3));
}
