//! The rows that a run reads of a store of some size and of a larger one, with as many due; and of records whose ends a date in their value
//! decides, where few end within the same 32 days and where many do. It fails where it reads more than ten for each, or more of the data store
//! because more is stored; where dates decide, but for the pages that what is not due is listed on. Of control it may read more: the pages of
//! the keys of more persons.

use crate::{
    Sizes,
    cost::{Counted, run_by_date, run_over},
    figures::{Goal, Row},
};

/// Rows read for each record that is due.
const ROWS_MAX: usize = 10;
/// Records that end within the same 32 days.
const WITHIN_DAYS: [usize; 2] = [10_000, 100_000];
/// Records of a page, at least.
const OF_PAGE: usize = 250;

pub(crate) async fn measure(sizes: &Sizes) -> Vec<Row> {
    let Sizes { stored, due, .. } = *sizes;
    let mut counted = Vec::new();
    for records in stored {
        eprintln!("{records} records, {due} of them due");
        counted.push(held(run_over(records, due).await, due));
    }
    assert_eq!(counted[0].read.data, counted[1].read.data, "what is read of the data store grows with what is stored");
    let mut by_date = Vec::new();
    for records in WITHIN_DAYS {
        eprintln!("{records} records that end by a date within the same 32 days, {due} of them due");
        by_date.push(held(run_by_date(records, due).await, due));
    }
    let pages = WITHIN_DAYS[1] / OF_PAGE;
    assert!(by_date[1].read.data <= by_date[0].read.data + pages, "what is read grows with what is due on other days");
    let what = |what: &str| format!("{what} by a run of {due} due records of {}, beside one of {}", stored[1], stored[0]);
    let [few, many] = WITHIN_DAYS;
    vec![
        row(what("rows read"), &counted, Goal::AtMost(number(ROWS_MAX * due)), |counted| counted.read.data + counted.read.control),
        row(what("rows of the data store read"), &counted, Goal::RatioAtMost(1.0), |counted| counted.read.data),
        row(
            format!("rows read by a run of {due} records due by a date, of {many} of the same 32 days, beside one of {few}"),
            &by_date,
            Goal::AtMost(number(ROWS_MAX * due)),
            |counted| counted.read.data + counted.read.control,
        ),
    ]
}

/// What a run read, if that is no more than it may.
fn held(one: Counted, due: usize) -> Counted {
    let Counted { read, destroyed, .. } = one;
    eprintln!(
        "  {destroyed} destroyed: {} rows of the data store and {} of control were read, {} times",
        read.data, read.control, read.times
    );
    assert_eq!(destroyed, due as u64);
    assert!(read.data + read.control <= ROWS_MAX * due, "{read:?}: more than {ROWS_MAX} rows for each record that is due");
    one
}

fn row(what: String, counted: &[Counted], goal: Goal, of: fn(&Counted) -> usize) -> Row {
    Row {
        what,
        unit: "rows",
        memory: Vec::new(),
        base: vec![number(of(&counted[0]))],
        lethe: vec![number(of(&counted[1]))],
        goal,
        errors: 0,
        generator: 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn number(rows: usize) -> f64 {
    rows as f64
}
