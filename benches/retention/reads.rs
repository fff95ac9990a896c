//! The rows that a run reads of a store of some size and of a larger one, with as many due. It fails where it reads more than ten for
//! each, or more of the data store because more is stored. Of control it may read more: the pages of the keys of more persons.

use crate::{
    Sizes,
    cost::{Counted, run_over},
    figures::{Goal, Row},
};

/// Rows read for each record that is due.
const ROWS_MAX: usize = 10;

pub(crate) async fn measure(sizes: &Sizes) -> Vec<Row> {
    let Sizes { stored, due, .. } = *sizes;
    let mut counted = Vec::new();
    for records in stored {
        eprintln!("{records} records, {due} of them due");
        let one = run_over(records, due).await;
        let Counted { read, destroyed } = one;
        eprintln!(
            "  {destroyed} destroyed: {} rows of the data store and {} of control were read, {} times",
            read.data, read.control, read.times
        );
        assert_eq!(destroyed, due as u64);
        assert!(read.data + read.control <= ROWS_MAX * due, "{read:?}: more than {ROWS_MAX} rows for each record that is due");
        counted.push(one);
    }
    assert_eq!(counted[0].read.data, counted[1].read.data, "what is read of the data store grows with what is stored");
    let row = |what: &str, goal: Goal, of: fn(&Counted) -> usize| Row {
        what: format!("{what} by a run of {due} due records of {}, beside one of {}", stored[1], stored[0]),
        unit: "rows",
        memory: Vec::new(),
        base: vec![number(of(&counted[0]))],
        lethe: vec![number(of(&counted[1]))],
        goal,
        errors: 0,
        generator: 0.0,
    };
    vec![
        row("rows read", Goal::AtMost(number(ROWS_MAX * due)), |counted| counted.read.data + counted.read.control),
        row("rows of the data store read", Goal::RatioAtMost(1.0), |counted| counted.read.data),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn number(rows: usize) -> f64 {
    rows as f64
}
