//! Rows and how they are told: medians, ratios within a round, spread, and whether the goal is reached.
//!
//! Its tests run with those of the command line (`tests/cli.rs`): a bench has none.

/// A generator that takes more of its one processor than this is what is measured.
const GENERATOR_SHARE_MAX: f64 = 0.9;

/// What a row is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Lethe over the row's baseline.
    RatioAtLeast(f64),
    /// The same.
    RatioAtMost(f64),
    /// Lethe's own figure.
    AtLeast(f64),
    /// The same.
    AtMost(f64),
    /// Only to be stated.
    Stated,
}

/// One row of the table: a value for each round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) memory: Vec<f64>,
    /// What Lethe is compared with: baseline (b), or what the row's name says.
    pub(crate) base: Vec<f64>,
    pub(crate) lethe: Vec<f64>,
    pub(crate) goal: Goal,
    /// Errors in any of its runs.
    pub(crate) errors: u64,
    /// The largest share of a processor that the load generator took in any of its runs; 0 where it was not looked at.
    pub(crate) generator: f64,
}

/// The middle value, or what lies between the two in the middle; nothing of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// The smallest and the largest of several.
fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let ends = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    (values.len() > 1).then_some(ends)
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 999.5 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

impl Row {
    /// Of the rounds in which both were measured.
    fn ratios(&self) -> Vec<f64> {
        self.lethe.iter().zip(&self.base).filter(|(_, base)| **base > 0.0).map(|(lethe, base)| lethe / base).collect()
    }

    /// What the goal is about, and where it lies.
    fn judged(&self) -> Option<(Vec<f64>, f64)> {
        match self.goal {
            Goal::RatioAtLeast(goal) | Goal::RatioAtMost(goal) => Some((self.ratios(), goal)),
            Goal::AtLeast(goal) | Goal::AtMost(goal) => Some((self.lethe.clone(), goal)),
            Goal::Stated => None,
        }
    }

    fn reached(&self) -> Option<bool> {
        let (values, goal) = self.judged()?;
        let value = median(&values)?;
        Some(match self.goal {
            Goal::RatioAtLeast(_) | Goal::AtLeast(_) => value >= goal,
            Goal::RatioAtMost(_) | Goal::AtMost(_) | Goal::Stated => value <= goal,
        })
    }

    /// Whether some rounds reached the goal and others did not.
    fn crosses(&self) -> bool {
        let ends = self.judged().and_then(|(values, goal)| Some((spread(&values)?, goal)));
        ends.is_some_and(|((low, high), goal)| low < goal && goal < high)
    }

    /// The row and the generator's share of a processor, if that left no room.
    pub(crate) fn bound_by_generator(&self) -> Option<String> {
        (self.generator > GENERATOR_SHARE_MAX).then(|| format!("{} ({:.2})", self.what, self.generator))
    }

    /// Its line of the table.
    pub(crate) fn line(&self) -> String {
        let ratios = self.ratios();
        let spread = match (spread(&ratios), spread(&self.lethe)) {
            (Some((low, high)), _) => format!("{low:.2}-{high:.2}"),
            (None, Some((low, high))) if ratios.is_empty() => format!("{}-{}", figure(Some(low)), figure(Some(high))),
            (None, _) => "-".into(),
        };
        let ratio = median(&ratios).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        let goal = match self.goal {
            Goal::RatioAtLeast(goal) => format!(">= {goal:.2}x"),
            Goal::RatioAtMost(goal) => format!("<= {goal:.2}x"),
            Goal::AtLeast(goal) => format!(">= {}", figure(Some(goal))),
            Goal::AtMost(goal) => format!("<= {}", figure(Some(goal))),
            Goal::Stated => "stated".into(),
        };
        let crosses = if self.crosses() { " (spread crosses)" } else { "" };
        let reached = match self.reached() {
            _ if self.errors > 0 => format!("{} errors", self.errors),
            Some(true) => format!("yes{crosses}"),
            Some(false) => format!("**no**{crosses}"),
            None => String::new(),
        };
        let [memory, base, lethe] = [&self.memory, &self.base, &self.lethe].map(|values| figure(median(values)));
        format!("| {} | {} | {memory} | {base} | {lethe} | {ratio} | {spread} | {goal} | {reached} |", self.what, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(base: &[f64], lethe: &[f64], goal: Goal) -> Row {
        let (base, lethe) = (base.to_vec(), lethe.to_vec());
        Row { what: "it".into(), unit: "1/s", memory: Vec::new(), base, lethe, goal, errors: 0, generator: 0.0 }
    }

    #[test]
    fn a_median_is_the_middle_value_or_what_lies_between_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn a_figure_has_three_digits_or_all_of_the_whole_number() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.256, "0.26"),
            (12.34, "12.3"),
            (123.4, "123"),
            (999.4, "999"),
            (999.6, "1,000"),
            (1_234.5, "1,234"),
            (12_345_678.0, "12,345,678"),
        ] {
            assert_eq!(figure(Some(value)), text);
        }
        assert_eq!(figure(None), "-");
    }

    #[test]
    fn a_ratio_is_of_one_round_and_the_median_of_them_is_judged() {
        // The ratio of the medians would be 2.
        let of_rounds = row(&[1.0, 10.0, 100.0], &[20.0, 5.0, 60.0], Goal::RatioAtLeast(0.6));
        assert_eq!(of_rounds.line(), "| it | 1/s | - | 10.0 | 20.0 | 0.60 | 0.50-20.00 | >= 0.60x | yes (spread crosses) |");
        let missed = row(&[10.0, 10.0, 10.0], &[5.0, 5.5, 5.9], Goal::RatioAtLeast(0.6));
        assert_eq!(missed.line(), "| it | 1/s | - | 10.0 | 5.50 | 0.55 | 0.50-0.59 | >= 0.60x | **no** |");
        let most = row(&[10.0], &[19.0], Goal::RatioAtMost(2.0));
        assert_eq!(most.line(), "| it | 1/s | - | 10.0 | 19.0 | 1.90 | - | <= 2.00x | yes |");
    }

    #[test]
    fn an_own_figure_is_judged_whatever_stands_beside_it() {
        let least = row(&[100_000.0, 90_000.0], &[21_000.0, 25_000.0], Goal::AtLeast(20_000.0));
        assert!(least.line().ends_with("| 0.24 | 0.21-0.28 | >= 20,000 | yes |"), "{}", least.line());
        let most = row(&[], &[60.0, 70.0, 61.0], Goal::AtMost(64.0));
        assert_eq!(most.line(), "| it | 1/s | - | - | 61.0 | - | 60.0-70.0 | <= 64.0 | yes (spread crosses) |");
        assert!(row(&[], &[1.0], Goal::Stated).line().ends_with("| stated |  |"));
    }

    #[test]
    fn what_was_not_measured_or_had_errors_reaches_nothing() {
        assert!(row(&[0.0], &[5.0], Goal::RatioAtLeast(0.6)).line().ends_with("| - | - | >= 0.60x |  |"));
        let wrong = Row { errors: 3, ..row(&[1.0], &[1.0], Goal::RatioAtLeast(0.6)) };
        assert!(wrong.line().ends_with("| 3 errors |"), "{}", wrong.line());
    }

    #[test]
    fn a_generator_that_was_busy_all_the_time_is_told_of() {
        let of = |generator| Row { generator, ..row(&[1.0], &[1.0], Goal::Stated) }.bound_by_generator();
        assert_eq!((of(0.9), of(0.95)), (None, Some("it (0.95)".to_owned())));
    }
}
