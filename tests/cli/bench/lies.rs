//! What is not true is an error with a code of its own, and not a fast answer.

use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    between::{Answer, Asked, Between, Fate},
    report,
};
use crate::{
    stderr,
    with_a_server::{Served, json_lines},
};

/// The report of a run that is told lies, and how it ended.
fn told(
    served: &Served,
    token: &str,
    lie: impl Fn(Asked, &mut Answer) + Send + Sync + 'static,
    arguments: &[&str],
) -> (Option<i32>, Value) {
    let between = Between::start(served, lie);
    let usual = ["bench", "--format", "json", "--warmup", "0", "--connections", "1", "--addr", &between.url];
    let output = served.run(token, &[&usual[..], arguments].concat());
    assert!(!output.stdout.is_empty(), "{arguments:?}: {}", stderr(&output));
    (output.status.code(), json_lines(&String::from_utf8(output.stdout).unwrap()).remove(0))
}

/// The errors of such a run, which must end as one that was refused.
fn errors(served: &Served, token: &str, lie: impl Fn(Asked, &mut Answer) + Send + Sync + 'static, arguments: &[&str]) -> Value {
    let (code, report) = told(served, token, lie, arguments);
    assert_eq!(code, Some(2), "{arguments:?}: {report}");
    report["errors"]["by_code"].clone()
}

fn a_name_of_another_group(asked: Asked, answer: &mut Answer) {
    if asked == Asked::List {
        answer.edit(|page| page["data"][0]["key"] = "elsewhere/a".into());
    }
}

fn a_name_with_another_size(asked: Asked, answer: &mut Answer) {
    if asked == Asked::List {
        answer.edit(|page| page["data"][0]["size"] = 1.into());
    }
}

fn a_name_too_few(asked: Asked, answer: &mut Answer) {
    if asked == Asked::List {
        answer.edit(|page| drop(page["data"].as_array_mut().unwrap().pop()));
    }
}

fn a_name_too_many(asked: Asked, answer: &mut Answer) {
    if asked == Asked::List {
        answer.edit(|page| {
            let again = page["data"][0].clone();
            page["data"].as_array_mut().unwrap().push(again);
        });
    }
}

/// The last digit of what JSON holds, so that it stays JSON; any byte elsewhere.
fn a_wrong_bit(asked: Asked, answer: &mut Answer) {
    if asked == Asked::Record && answer.status.is_success() {
        *answer.body.iter_mut().nth_back(2).unwrap() ^= 1;
    }
}

fn what_is_gone_is_there(asked: Asked, answer: &mut Answer) {
    if asked == Asked::Record && matches!(answer.status, StatusCode::GONE | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED) {
        answer.status = StatusCode::OK;
    }
}

fn an_order_is_never_done(asked: Asked, answer: &mut Answer) {
    if asked == Asked::Order {
        answer.edit(|order| order["state"] = "pending".into());
    }
}

fn all_orders_went_with_one_epoch(asked: Asked, answer: &mut Answer) {
    if asked == Asked::Order {
        answer.edit(|order| order["epochs"] = json!([{ "old": 1, "new": 2 }]));
    }
}

#[test]
fn a_list_that_lies_is_an_error() {
    let served = Served::start();
    let lists = ["list", "--records", "20", "--group-len", "10", "--operations", "3"];
    let honest = Between::start(&served, |_, _| ());
    report(&served, "acme.token", &[&lists[..], &["--warmup", "0", "--connections", "1", "--addr", &honest.url]].concat());
    let list = |lie: fn(Asked, &mut Answer)| errors(&served, "acme.token", lie, &lists);
    assert_eq!(list(a_name_of_another_group), json!({ "wrong-name-in-list": 3 }));
    assert_eq!(list(a_name_with_another_size), json!({ "wrong-name-in-list": 3 }));
    assert_eq!(list(a_name_too_few), json!({ "wrong-count-of-names": 3 }));
    assert_eq!(list(a_name_too_many), json!({ "wrong-count-of-names": 3 }));
}

#[test]
fn a_wrong_byte_is_found_in_what_was_imported_and_in_a_stream() {
    let served = Served::start();
    let (code, report) = told(&served, "acme.token", a_wrong_bit, &["import", "--records", "20", "--batch-len", "10"]);
    assert_eq!((code, &report["operations"], &report["items"]), (Some(2), &2.into(), &20.into()), "it was stored all the same: {report}");
    assert_eq!(report["errors"]["by_code"], json!({ "wrong-bytes": 20 }), "each of so few is looked at: {report}");
    let (code, report) = told(&served, "acme.token", a_wrong_bit, &["stream", "--value-len", "1100KiB"]);
    assert_eq!((code, &report["operations"]), (Some(2), &1.into()), "{report}");
    assert!(report["by_operation"]["stream_put"].is_object() && report["by_operation"]["stream_get"].is_null(), "{report}");
    assert_eq!(report["errors"]["by_code"], json!({ "wrong-bytes": 1 }), "{report}");
}

#[test]
fn a_shred_that_left_something_or_is_not_done_is_an_error() {
    let served = Served::start();
    let persons = ["shred-subject", "--load", "never", "--per-subject", "3", "--operations", "4"];
    assert_eq!(errors(&served, "acme.token", an_order_is_never_done, &persons), json!({ "shred-still-pending": 4 }));
    assert_eq!(errors(&served, "acme.token", what_is_gone_is_there, &persons), json!({ "readable-after-shred": 4 }));
    let second = AtomicBool::new(false);
    let the_last_is_there = move |asked: Asked, answer: &mut Answer| {
        if asked == Asked::Record && second.fetch_not(Ordering::Relaxed) {
            what_is_gone_is_there(asked, answer);
        }
    };
    assert_eq!(errors(&served, "acme.token", the_last_is_there, &persons), json!({ "readable-after-shred": 4 }), "both ends are looked at");
    let tenants = ["shred-tenant", "--records", "1", "--operations", "2"];
    let of_tenants = errors(&served, "store/operator.token", what_is_gone_is_there, &tenants);
    assert_eq!(of_tenants, json!({ "readable-after-shred": 2 }));
}

#[test]
fn an_epoch_of_several_orders_counts_once() {
    let served = Served::start();
    let persons = ["shred-subject", "--load", "never", "--operations", "3"];
    let (code, report) = told(&served, "acme.token", all_orders_went_with_one_epoch, &persons);
    assert_eq!((code, &report["operations"], &report["epochs"]), (Some(0), &3.into(), &1.into()), "{report}");
}

#[test]
fn a_connection_that_breaks_is_one_error_and_another_takes_its_place() {
    let served = Served::start();
    let broken = AtomicBool::new(false);
    let the_first_breaks = move |asked: Asked, answer: &mut Answer| {
        if asked == Asked::Record && !broken.swap(true, Ordering::Relaxed) {
            answer.fate = Fate::Broken;
        }
    };
    let (code, report) = told(&served, "acme.token", the_first_breaks, &["get", "--records", "5", "--operations", "10"]);
    assert_eq!(report["errors"]["by_code"], json!({ "connection-broken": 1 }), "{report}");
    assert_eq!((code, &report["operations"]), (Some(3), &9.into()), "{report}");
}

#[test]
fn a_server_that_is_gone_for_good_ends_the_run_with_3() {
    let served = Served::start();
    let between = Between::start(&served, |asked, answer| {
        if asked == Asked::Record {
            answer.fate = Fate::Last;
        }
    });
    let reads = ["get", "--records", "5", "--warmup", "0", "--connections", "1", "--operations", "1000", "--addr", &between.url];
    let output = served.run("acme.token", &[&["bench"], &reads[..]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot be reached"), "{}{}", stderr(&output), String::from_utf8_lossy(&output.stdout));
}
