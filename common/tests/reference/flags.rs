//! Flags that exclude or need each other: what the program says of them.

use std::process::Command;

/// Runs `program` with each list of flags; it must refuse it in these words.
pub(crate) fn refused(program: &str, table: &[(&str, &str)]) {
    for (flags, expected) in table {
        let done = Command::new(program).args(flags.split_whitespace()).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{flags}: accepted");
        assert!(told.contains(expected), "{flags}: {told}");
    }
}
