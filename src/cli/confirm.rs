//! Asks before what cannot be undone, or replaces something: the name again, or `--yes`.

use std::io::{BufRead, Write};

use super::failure::Failure;

/// Asks for `name` on standard error and reads it from standard input, unless `yes`.
pub(crate) fn confirm(what: &str, name: &str, yes: bool) -> Result<(), Failure> {
    confirm_that(&format!("{what}. It cannot be undone"), name, yes)
}

/// [`confirm`] for what can be undone by hand; `what` says how.
pub(crate) fn confirm_that(what: &str, name: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let mut stderr = std::io::stderr();
    ask(what, name, &mut std::io::stdin().lock(), &mut stderr)
}

fn ask(what: &str, name: &str, input: &mut impl BufRead, prompt: &mut impl Write) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::local(format!("cannot ask: {error}"));
    write!(prompt, "This {what}.\nType \"{}\" to go on: ", super::output::printable(name)).map_err(broken)?;
    prompt.flush().map_err(broken)?;
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(broken)?;
    if answer.trim_end_matches(['\n', '\r']) == name {
        Ok(())
    } else {
        Err(Failure::local("not confirmed; nothing was done (--yes goes on without asking)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_confirms() {
        for (answer, confirmed) in [
            ("acme\n", true),
            ("acme\r\n", true),
            ("acme", true),
            ("acm\n", false),
            ("yes\n", false),
            ("\n", false),
            ("", false),
            (" acme\n", false),
        ] {
            let mut prompt = Vec::new();
            let result = ask("shreds tenant acme", "acme", &mut answer.as_bytes(), &mut prompt);
            assert_eq!(result.is_ok(), confirmed, "{answer:?}");
            assert!(String::from_utf8(prompt).unwrap().contains("shreds tenant acme"));
        }
    }
}
