//! The picture of a simulation: for each month a bar, the rules' counts on top of each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use jiff::civil::Date;
use plotters::{
    prelude::{ChartBuilder, IntoDrawingArea, LabelAreaPosition, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition},
    style::Color as _,
};

use super::{super::failure::Failure, simulate::Counts};

const WIDTH: u32 = 960;
const HEIGHT: u32 = 480;
const WHITE: RGBColor = RGBColor(255, 255, 255);
const COLORS: [RGBColor; 6] = [
    RGBColor(30, 136, 229),
    RGBColor(251, 140, 0),
    RGBColor(46, 125, 50),
    RGBColor(142, 36, 170),
    RGBColor(198, 40, 40),
    RGBColor(96, 125, 139),
];

/// Writes the picture of counts by month (`2031-04`) and rule.
pub(super) fn draw(title: &str, months: &BTreeMap<(String, String), Counts>, path: &Path) -> Result<(), Failure> {
    let mut svg = String::new();
    picture(title, months, &mut svg).map_err(|error| Failure::local(format!("cannot draw: {error}")))?;
    std::fs::write(path, svg).map_err(|error| Failure::file(path, &error))
}

fn picture(title: &str, months: &BTreeMap<(String, String), Counts>, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 15))?;
    // From 0 on, so that empty months are as wide as others.
    let first = months.keys().filter_map(|(month, _)| number(month)).min().unwrap_or(0);
    let last = months.keys().filter_map(|(month, _)| number(month)).max().unwrap_or(first);
    let mut sums: BTreeMap<i32, u64> = BTreeMap::new();
    for ((month, _), [records, ..]) in months {
        let sum = sums.entry(number(month).unwrap_or(first)).or_default();
        *sum = sum.saturating_add(*records);
    }
    let highest = sums.values().copied().max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .set_label_area_size(LabelAreaPosition::Left, 70)
        .set_label_area_size(LabelAreaPosition::Bottom, 35)
        .build_cartesian_2d(f64::from(first)..f64::from(last) + 1.0, 0.0..float(highest) * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .disable_x_mesh()
        .y_desc("records")
        .x_label_formatter(&|at| name(at.floor()))
        .y_label_formatter(&|count| format!("{count:.0}"))
        .draw()?;
    let rules: BTreeSet<&String> = months.keys().map(|(_, rule)| rule).collect();
    let mut below: BTreeMap<i32, u64> = BTreeMap::new();
    for (rule, color) in rules.into_iter().zip(COLORS.into_iter().cycle()) {
        let of_rule = months.iter().filter(|((_, of), _)| of == rule);
        let bars: Vec<_> = of_rule
            .map(|((month, _), [records, ..])| {
                let month = number(month).unwrap_or(first);
                let from = below.entry(month).or_default();
                let to = from.saturating_add(*records);
                let bar = Rectangle::new([(f64::from(month) + 0.05, float(*from)), (f64::from(month) + 0.95, float(to))], color.filled());
                *from = to;
                bar
            })
            .collect();
        chart
            .draw_series(bars)?
            .label(rule.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y.saturating_sub(5)), (x.saturating_add(12), y.saturating_add(5))], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    root.present()?;
    Ok(())
}

/// Months since the year 0.
fn number(month: &str) -> Option<i32> {
    let day: Date = format!("{month}-01").parse().ok()?;
    Some(i32::from(day.year()).saturating_mul(12).saturating_add(i32::from(day.month())).saturating_sub(1))
}

fn name(number: f64) -> String {
    format!("{:04}-{:02}", (number / 12.0).floor(), number.rem_euclid(12.0) + 1.0)
}

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
