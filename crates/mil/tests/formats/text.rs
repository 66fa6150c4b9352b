//! Every text that Apple's compiler left us is read and printed back to the byte.

use std::path::Path;

use anelith_mil::text::{Dialect, parse, print};

use crate::shared;

#[test]
fn texts_of_the_real_compiler_come_back_byte_for_byte() {
    let Some(shared) = shared::folder() else { return };
    let is_text = |path: &Path| path.file_name().is_some_and(|n| n == "model.mil");
    let found = shared::find(&shared.join("vectors"), is_text);
    assert!(found.len() >= 17, "only {} texts under vectors", found.len());
    for path in found {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).expect("vectors can be read");
        let program = parse(&text, &name).unwrap_or_else(|e| panic!("{e}"));
        let dialect = if text.starts_with("program(1.3)") { Dialect::V1_3 } else { Dialect::V1_0 };
        let again = print(&program, dialect);
        for (line, (ours, theirs)) in again.lines().zip(text.lines()).enumerate() {
            assert_eq!(ours, theirs, "{name} line {}", line + 1);
        }
        // The file in coremltools' repository got a newline at its end, which the compiler never writes.
        let end = text.strip_suffix('\n').unwrap_or(&text);
        assert_eq!(again, end, "{name}");
        assert_eq!(parse(&again, &name).expect("what was printed parses"), program, "{name}");
    }
}
