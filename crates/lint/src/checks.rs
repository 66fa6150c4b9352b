//! The checks, each of which finds where some rules are broken. None of them needs the program to be valid.

use std::collections::HashMap;

use anelith_mil::blob::WeightStore;
use anelith_mil::{BlobRef, Model};

use crate::finding::Findings;
use crate::view::View;

mod literals;
mod ops;
mod program;
mod states;
mod types;
mod weights;

/// Runs all checks on `model`; those of the contents of weight files are left out where there are none.
pub(crate) fn run(model: &Model, files: Option<&WeightStore>) -> Findings {
    let mut findings = Findings::default();
    let views: Vec<View<'_>> = model.program.functions.iter().map(View::new).collect();
    let mut contents = literals::Contents { files, known: HashMap::<&BlobRef, _>::new() };
    for view in &views {
        types::check(view, model, &mut findings);
        states::check(view, &mut findings);
        literals::check(view, &mut contents, &mut findings);
        ops::check(view, &mut findings);
        weights::check(view, &mut findings);
    }
    states::check_layouts(&views, &mut findings);
    program::check(model, files, &mut findings);
    findings
}
