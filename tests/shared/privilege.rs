//! Tests that need a right of root's: an ordinary user has it in a user namespace of its own.

use std::process::Command;

use rustix::thread::{CapabilitySet, capabilities};

/// Set for a test that runs in such a namespace.
const INSIDE: &str = "LETHE_TEST_IN_A_NAMESPACE";

/// Whether this process has the right, and the test goes on here. If not, the test of that name (as libtest prints it) has
/// run once more where it has the right, and has passed.
///
/// Fails where there is no such place: a proof that did not run is no proof.
pub(crate) fn held(right: CapabilitySet, test: &str) -> bool {
    if capabilities(None).unwrap().effective.contains(right) {
        return true;
    }
    let needs = format!("{test} needs {right:?}: run it as root, or allow user namespaces (unshare --user --map-root-user)");
    #[expect(clippy::disallowed_methods, reason = "the parent tells its child so")]
    let inside = std::env::var_os(INSIDE).is_some();
    assert!(!inside, "a user namespace does not give the right; {needs}");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap_or_else(|error| panic!("unshare: {error}; {needs}"));
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    #[expect(clippy::print_stdout, reason = "what the test says there is for who reads the output here")]
    {
        println!("in a user namespace:\n{told}");
    }
    // A name that no test has ends well, too.
    assert!(output.status.success() && told.contains("1 passed"), "in a user namespace: {}: {failed}{told}\n{needs}", output.status);
    false
}
