//! MIL text: what is read prints, reads again as the same, and is as valid as before.

use anelith_mil::text::{Dialect, parse, print};
use anelith_mil::{Program, validate};

/// Reads `bytes` as `model.mil`.
///
/// # Panics
/// When a program that was read is not the one that its text reads as.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(program) = parse(text, "model.mil") else { return };
    check_text(&program);
}

/// Checks that both dialects of the text of `program`, which has a text form, read as what was printed.
pub(crate) fn check_text(program: &Program) {
    let is_valid = validate(program).is_ok();
    for dialect in [Dialect::V1_0, Dialect::V1_3] {
        let text = print(program, dialect);
        let again = parse(&text, "printed").unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(text, print(&again, dialect), "the text changes when it is read and printed");
        assert_eq!(is_valid, validate(&again).is_ok(), "printing changes what is valid:\n{text}");
    }
}
