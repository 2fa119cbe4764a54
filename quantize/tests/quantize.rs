//! The program: flags that go together.

#[path = "../../common/tests/reference/flags.rs"]
mod flags;

const QUANTIZE: &str = env!("CARGO_BIN_EXE_quantize");

#[test]
fn flags_that_exclude_each_other_are_refused() {
    let out = concat!(env!("CARGO_TARGET_TMPDIR"), "/x");
    let course = "cannot be used with the course's formats";
    let table = [
        ("pack", "--plan none --bits 4", "'--plan <PLAN>' cannot be used with '--bits <BITS>'"),
        (
            "pack",
            "--grid tensor --plan none",
            "'--grid <GRID>' cannot be used with '--plan <PLAN>'",
        ),
        ("pack", "--format encode8 --bits 4", course),
        ("pack", "--format encode16 --plan none", course),
        ("pack", "--format encode8 --grid tensor", course),
        ("pack", "--format encode8 --calibrate none", course),
        ("pack", "--false-reject 0.1", "not provided:\n  --calibrate <IMAGES>"),
        // The usual form by name excludes nothing.
        ("pack", "--format crumb --bits 4", "cannot read none"),
        ("pack", "--format crumb --grid tensor", "cannot read none"),
        ("pack", "--format encode8", "cannot read none"),
        ("plan", "--images none --bits 4 --pictures 5", "cannot read none"),
    ];
    let table = table.map(|(command, flags, told)| {
        (format!("{command} --model none {flags} --out {out}"), told)
    });
    flags::refused(QUANTIZE, &table.each_ref().map(|(flags, told)| (flags.as_str(), *told)));
    flags::refused(
        QUANTIZE,
        &[("plan --model none --images none --reuse", "not provided:\n  --out <FILE>")],
    );
}
