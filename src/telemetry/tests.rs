use std::collections::BTreeSet;
use std::path::Path;

use super::*;

#[test]
fn the_metrics_of_the_documents_are_those_of_the_table() {
    let documents = include_str!("../../docs/metrics.md");
    let rows: Vec<&str> = documents.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let labels: Vec<&str> = metric.labels.iter().map(|(name, _)| *name).collect();
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!("| `{}` | {kind} | {} | {} | {} |", metric.name, metric.unit, labels.join(", "), metric.help)
        })
        .collect();
    assert_eq!(rows, expected, "docs/metrics.md and telemetry.rs differ; the table should read:\n{}", expected.join("\n"));
}

/// Every name that is recorded anywhere, and every name of the table.
#[test]
fn what_is_recorded_is_in_the_table_and_what_is_in_the_table_is_recorded() {
    let mut sources = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut sources);
    let mut recorded = BTreeSet::new();
    for source in &sources {
        let text = std::fs::read_to_string(source).unwrap();
        for verb in ["counter!(", "gauge!(", "histogram!("] {
            for place in text.split(verb).skip(1) {
                let name = place.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                recorded.extend(name.map(str::to_owned));
            }
        }
    }
    let table: BTreeSet<String> = METRICS.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(recorded, table, "telemetry::METRICS and the names in the code differ");
}

fn collect(dir: &Path, sources: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("telemetry/tests.rs") {
            sources.push(path);
        }
    }
}

/// The list of issue 2, part 8.
#[test]
fn each_thing_an_operator_was_promised_to_see_has_its_metric() {
    let promised: [(&str, &[&str]); 12] = [
        ("requests", &["lethe_http_requests_total"]),
        ("latencies", &["lethe_http_request_seconds"]),
        ("commits and group size", &["lethe_store_commits_total", "lethe_store_group_size"]),
        ("fsync time", &["lethe_store_fsync_seconds"]),
        ("epochs", &["lethe_epoch", "lethe_epochs_total"]),
        ("shred time", &["lethe_shred_seconds"]),
        ("pages", &["lethe_epoch_page_bytes_total"]),
        ("key cache", &["lethe_keys_cached"]),
        ("audit lag", &["lethe_audit_lag_seconds", "lethe_audit_lag_entries"]),
        ("queue depth", &["lethe_store_queue_depth"]),
        ("oldest pending shred", &["lethe_shred_oldest_pending_seconds", "lethe_shreds_pending"]),
        ("reads that no trail tells of", &["lethe_metrics_unrecorded_total"]),
    ];
    for (what, names) in promised {
        for name in names {
            assert!(METRICS.iter().any(|metric| metric.name == *name), "{what}: {name} is not in telemetry::METRICS");
        }
    }
}

#[test]
fn counters_and_histograms_with_known_labels_start_at_zero() {
    let rendered = metrics_handle().render();
    for metric in METRICS.iter().filter(|metric| metric.kind != Gauge) {
        let name = if metric.kind == Histogram { format!("{}_count", metric.name) } else { metric.name.to_owned() };
        for labels in known_labels(metric.labels) {
            let texts: Vec<String> = labels.iter().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
            let series = if texts.is_empty() { format!("{name} ") } else { format!("{name}{{{}}} ", texts.join(",")) };
            assert!(rendered.lines().any(|line| line.starts_with(&series)), "{series} is missing");
        }
    }
}

#[test]
fn labels_multiply() {
    assert_eq!(known_labels(&[]).len(), 1);
    assert_eq!(known_labels(&[("a", &["1", "2"]), ("b", &["x", "y", "z"])]).len(), 6);
    assert_eq!(known_labels(&[("a", &["1"]), ("b", &[])]).len(), 0);
}
