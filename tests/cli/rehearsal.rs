//! docs/rehearsal.md tells what scripts/rehearsal does, step by step. What the commands answer is held against the document by the script
//! itself, each time it is run.

const SCRIPT: &str = include_str!("../../scripts/rehearsal");
const DOCUMENT: &str = include_str!("../../docs/rehearsal.md");

/// A step: a title, the clock, the server, or a command and who gives it, as the document shows it.
#[derive(Debug, Default)]
struct Step {
    shown: String,
    /// What is said of its answer in the document; in which words it must be refused, in the script.
    told: Vec<String>,
}

/// What happens to the clock and the server.
fn is_of_the_server(line: &str) -> bool {
    line == "start" || line == "stop" || line.starts_with("day ")
}

/// The steps of the script. Whatever else it does stands in its functions, or is asserted beside them.
fn steps_of_the_script() -> Vec<Step> {
    let command = |words: &str| {
        let (who, arguments) = words.split_once(' ').unwrap();
        format!("{who}$ lethe {}", arguments.replace('"', ""))
    };
    let step = |line: &str| {
        if let Some(title) = line.strip_prefix("say \"") {
            return Some(Step { shown: format!("## {}", title.trim_end_matches('"')), ..Step::default() });
        }
        if let Some((words, rest)) = line.strip_prefix("refused '").and_then(|rest| rest.split_once("' ")) {
            return Some(Step { shown: command(rest), told: vec![words.trim().to_owned()] });
        }
        if let Some(rest) = line.strip_prefix("told ") {
            return Some(Step { shown: command(rest), ..Step::default() });
        }
        is_of_the_server(line).then(|| Step { shown: line.to_owned(), ..Step::default() })
    };
    SCRIPT.lines().filter_map(step).collect()
}

fn steps_of_the_document() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, part) in DOCUMENT.split("```").enumerate() {
        let is_block = number % 2 == 1;
        for line in part.lines() {
            if let Some(told) = line.strip_prefix("#> ") {
                steps.last_mut().unwrap().told.push(told.to_owned());
            } else if (!is_block && line.starts_with("## ") && line.contains(". "))
                || (is_block && (line.contains("$ lethe ") || is_of_the_server(line)))
            {
                steps.push(Step { shown: line.to_owned(), ..Step::default() });
            }
        }
    }
    steps
}

#[test]
fn the_rehearsal_goes_as_its_document_tells() {
    let (script, document) = (steps_of_the_script(), steps_of_the_document());
    assert!(script.len() > 100, "only {} steps were read of the script", script.len());
    for (number, (done, told)) in script.iter().zip(&document).enumerate() {
        assert_eq!(done.shown, told.shown, "step {number}");
        let whole = told.told.join("\n");
        assert!(done.told.iter().all(|words| whole.contains(words)), "{}: refused with {:?}, told {whole:?}", done.shown, done.told);
    }
    assert_eq!(script.len(), document.len());
}

#[test]
fn the_rules_of_the_rehearsal_are_those_of_its_document() {
    let rules = SCRIPT.split("<<'RULES'\n").nth(1).unwrap().split("RULES\n").next().unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(rules).is_ok(), "{rules}");
    assert!(DOCUMENT.contains(&format!("```json\n{rules}```\n")), "docs/rehearsal.md shows other rules than\n{rules}");
}

#[test]
fn every_command_of_the_rehearsal_is_one_that_the_program_has() {
    let mut commands = 0;
    for step in steps_of_the_document() {
        let Some((_, arguments)) = step.shown.split_once("$ lethe ") else { continue };
        let words = std::iter::once("lethe").chain(arguments.split_whitespace());
        if let Err(refused) = lethe::cli::command().try_get_matches_from(words) {
            panic!("lethe {arguments}: {refused}");
        }
        commands += 1;
    }
    assert!(commands > 80, "{commands}");
}
