//! A picture of a run: latency percentiles above, throughput below, both over time.

use std::path::Path;

use super::{
    super::failure::Failure,
    numbers::float,
    report::Report,
    tally::{Latency, Second},
};
use plotters::{
    chart::{ChartBuilder, LabelAreaPosition, SeriesLabelPosition},
    coord::combinators::IntoLogRange as _,
    drawing::{DrawingArea, IntoDrawingArea as _},
    element::PathElement,
    prelude::SVGBackend,
    series::LineSeries,
    style::{Color as _, RGBColor},
};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 640;
const WHITE: RGBColor = RGBColor(255, 255, 255);
const LINES: [Line; 5] = [
    ("p50", RGBColor(46, 125, 50), |latency| latency.p50),
    ("p90", RGBColor(30, 136, 229), |latency| latency.p90),
    ("p99", RGBColor(251, 140, 0), |latency| latency.p99),
    ("p99.9", RGBColor(142, 36, 170), |latency| latency.p999),
    ("max", RGBColor(198, 40, 40), |latency| latency.max),
];

/// A name, a colour, and which percentile it is.
type Line = (&'static str, RGBColor, fn(&Latency) -> f64);
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Writes the picture.
pub(crate) fn draw(report: &Report, path: &Path) -> Result<(), Failure> {
    let mut svg = String::new();
    picture(report, &mut svg).map_err(|error| Failure::local(format!("cannot draw: {error}")))?;
    std::fs::write(path, svg).map_err(|error| Failure::file(path, &error))
}

fn picture(report: &Report, svg: &mut String) -> Drawn {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(&report.title(), ("sans-serif", 15))?;
    let (above, below) = root.split_vertically(HEIGHT.saturating_mul(3) / 5);
    let series = whole_seconds(report);
    latencies(&above, series)?;
    throughput(&below, series)?;
    root.present()?;
    Ok(())
}

/// Seconds in which nothing ended have no latency.
fn latencies(area: &Area<'_>, series: &[Second]) -> Drawn {
    let rows: Vec<&Second> = series.iter().filter(|row| row.operations > 0).collect();
    let millis = |micros: f64| (micros / 1_000.0).max(0.001);
    let low = rows.iter().map(|row| millis(row.latency.p50)).fold(f64::INFINITY, f64::min).min(1_000.0) / 2.0;
    let high = rows.iter().map(|row| millis(row.latency.max)).fold(low * 10.0, f64::max) * 1.5;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 70)
        .set_label_area_size(LabelAreaPosition::Bottom, 25)
        .build_cartesian_2d(0.0..end(series), (low..high).log_scale())?;
    chart.configure_mesh().light_line_style(WHITE).y_desc("latency, ms").y_label_formatter(&|value| format!("{value:.3}")).draw()?;
    for (name, color, of) in LINES {
        let points = rows.iter().map(|row| (float(row.number), millis(of(&row.latency))));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x.saturating_add(16), y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    Ok(())
}

fn throughput(area: &Area<'_>, series: &[Second]) -> Drawn {
    let highest = series.iter().map(|row| float(row.operations)).fold(1.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 70)
        .set_label_area_size(LabelAreaPosition::Bottom, 40)
        .build_cartesian_2d(0.0..end(series), 0.0..highest)?;
    chart.configure_mesh().light_line_style(WHITE).x_desc("seconds").y_desc("operations/s").draw()?;
    let color = RGBColor(30, 136, 229);
    let points = series.iter().map(|row| (float(row.number), float(row.operations)));
    chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    let errors = series.iter().map(|row| (float(row.number), float(row.errors)));
    if series.iter().any(|row| row.errors > 0) {
        chart.draw_series(LineSeries::new(errors, RGBColor(198, 40, 40).stroke_width(2)))?;
    }
    Ok(())
}

/// A last, broken second would look like a fall; it is left out unless it is all there is.
fn whole_seconds(report: &Report) -> &[Second] {
    let series = &report.series;
    match series.split_last() {
        Some((last, others)) if !others.is_empty() && float(last.number) > report.duration_s => others,
        _ => series,
    }
}

fn end(series: &[Second]) -> f64 {
    float(series.len() as u64).max(1.0) + 0.5
}
