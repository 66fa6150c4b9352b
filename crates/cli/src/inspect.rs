//! `inspect`: what is in a package or bundle.

pub(crate) mod json;
pub(crate) mod text;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anelith_chat::Meta;
use anelith_inspect::detail::{Detail, detail};
use anelith_inspect::diff::check_function;
use anelith_inspect::names;
use anelith_inspect::source::Source;
use anelith_inspect::summary::{summary, weights_of};
use anelith_inspect::weights::Weight;
use anelith_mil::text::{Dialect, write};
use anelith_mil::{Bundle, Model, Program, read_model};
use anelith_report::Report;

use crate::args::InspectArgs;
use crate::failure::{Failure, Result, Status};
use crate::hub;
use crate::packages::check_source;
use crate::terminal::print;

pub(crate) fn inspect(args: &InspectArgs) -> Result<()> {
    let path = program_path(&args.package)?;
    if args.text {
        // Neither weights nor a valid program are needed to read it: what Core ML refuses must be looked at as well.
        let (model, _) = read_model(&path)?;
        check_named(&model, args.function.as_deref())?;
        return print_program(&model, args.function.as_deref());
    }
    let bundle = Bundle::open(&path)?;
    check_named(&bundle.model, args.function.as_deref())?;
    let weights = weights_of(&bundle, args.function.as_deref())?;
    if let Some(name) = &args.weight {
        let (weight, detail) = look_at(&bundle, &weights, name, args)?;
        return print(&match args.json {
            true => format!("{}\n", json::weight(weight, &detail)),
            false => text::weight(weight, &detail, args.model.as_deref()),
        });
    }
    let mut summary = summary(&bundle, &weights);
    if let Some(function) = &args.function {
        summary.functions.retain(|f| f.name == *function);
    }
    print(&match args.json {
        true => format!("{}\n", json::summary(&path, &summary, &weights)),
        false => text::summary(&path, &summary),
    })
}

fn check_named(model: &Model, function: Option<&str>) -> Result<()> {
    let Some(function) = function else { return Ok(()) };
    let names: Vec<String> = model.program.functions.iter().map(|f| f.name.clone()).collect();
    Ok(check_function(&names, function)?)
}

/// The package or bundle that `path` means: itself, or what a `meta.yaml` there names.
pub(crate) fn program_path(path: &Path) -> Result<PathBuf> {
    check_source(path)?;
    let is_meta =
        path.extension().is_some_and(|e| e == "yaml" || e == "yml") || path.join("meta.yaml").is_file();
    if !is_meta {
        return Ok(path.to_owned());
    }
    let found = Meta::open(path)?.model_path()?;
    check_source(&found)?;
    Ok(found)
}

fn look_at<'w, 'm>(
    bundle: &'m Bundle,
    weights: &'w [Weight<'m>],
    name: &str,
    args: &InspectArgs,
) -> Result<(&'w Weight<'m>, Detail)> {
    let names: Vec<&str> = weights.iter().map(|w| w.name.as_str()).collect();
    let weight = &weights[names::find(name, &names)?];
    let source = args.model.as_deref().map(|model| source(model, args.revision.as_deref())).transpose()?;
    Ok((weight, detail(bundle, weights, weight, args.group, source.as_ref())?))
}

/// The weights of a checkpoint, downloaded if they are on the hub and not here.
fn source(model: &Path, revision: Option<&str>) -> Result<Source> {
    let dir = hub::model(model, revision)?.dir;
    check_source(&dir)?;
    Ok(Source::open(&dir)?)
}

/// The whole program, or one function of it. A reader that has gone away ends it quietly.
fn print_program(model: &Model, function: Option<&str>) -> Result<()> {
    let whole = &model.program;
    let part = function
        .and_then(|name| whole.function(name))
        .map(|function| Program { functions: vec![function.clone()], build_info: whole.build_info.clone() });
    let dialect = Dialect::of_specification(model.specification_version);
    let mut out = BufWriter::new(io::stdout().lock());
    let written = write(part.as_ref().unwrap_or(whole), dialect, &mut out);
    match written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Status::Machine, Report::new(format!("cannot write to standard output: {e}"))))
        }
        Err(_) => {
            // What is still held back has no reader either.
            let _ = out.into_parts();
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
