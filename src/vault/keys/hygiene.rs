//! Process hygiene: what keeps keys from leaving memory through the operating system.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// What could be done, to be said at start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hygiene {
    /// No core file is written.
    pub no_core_dumps: bool,
    /// Other processes of the user cannot read this one's memory or attach to it.
    pub not_dumpable: bool,
    /// How much memory may be locked, in bytes; `None` is no limit.
    pub lockable_bytes: Option<u64>,
}

/// Switches core dumps and dumpability off for this process. Call before any key is loaded.
#[must_use]
pub fn apply() -> Hygiene {
    Hygiene {
        no_core_dumps: setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).is_ok(),
        not_dumpable: set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok(),
        lockable_bytes: getrlimit(Resource::Memlock).current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_core_files_nor_attaching_are_possible_afterwards() {
        let done = apply();
        assert!(done.no_core_dumps && done.not_dumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
