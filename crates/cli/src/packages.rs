//! `combine` and `compile`.

use std::fs;
use std::path::Path;

use anelith_convert::{Lut, Outputs, Step, check_prefix, combine_packages, compile_package, run_alone};
use anelith_mil::compiled::Compiler;
use anelith_mil::package::Package;
use anelith_mil::proto;
use anelith_report::{Report, Reported};

use crate::args::{CombineArgs, CompileArgs, StepArgs};
use crate::failure::{Failure, Result, Status};
use crate::terminal::print;

pub(crate) fn combine(args: &CombineArgs) -> Result<()> {
    if let [infer, prefill, out] = args.packages.as_slice() {
        check_stray(&args.step)?;
        check_source(infer)?;
        check_source(prefill)?;
        assert_lut(infer, args.step.lut)?;
        assert_lut(prefill, args.step.lut)?;
        combine_packages(infer, prefill, out)?;
        return print(&format!("{}\n", out.display()));
    }
    if !args.monolithic {
        let report = Report::new("nothing to combine").expecting("--monolithic, or three packages");
        return Err(Failure::usage(report.mending("see anelith combine --help")));
    }
    run_step(Step::Combine, &args.step)
}

pub(crate) fn compile(args: &CompileArgs) -> Result<()> {
    let compiler = args.coremlc_version.as_deref().map(compiler).transpose()?;
    if let [source, bundle] = args.source.as_slice() {
        check_stray(&args.step)?;
        check_source(source)?;
        assert_lut(source, args.step.lut)?;
        compile_package(source, bundle, &compiler.unwrap_or_default())?;
        return print(&format!("{}\n", bundle.display()));
    }
    if args.source[0] != Path::new("monolithic") {
        let report =
            Report::new("no output is named").expecting("`monolithic`, or SOURCE.mlpackage OUT.mlmodelc");
        return Err(Failure::usage(report.finding(args.source[0].display())));
    }
    if compiler.is_some() {
        let report = Report::new("--coremlc-version goes with SOURCE.mlpackage OUT.mlmodelc only");
        return Err(Failure::usage(report.mending("name the package and the bundle")));
    }
    run_step(Step::Compile, &args.step)
}

/// Runs step 3 or 4 on the outputs of a conversion.
fn run_step(step: Step, args: &StepArgs) -> Result<()> {
    let (input, output) = places(args, step)?;
    for needed in step.needs() {
        require(&input, *needed)?;
        assert_lut(&input.path(*needed), args.lut)?;
    }
    run_alone(step, &input, &output)?;
    print(&format!("{}\n", output.path(step).display()))
}

/// Refuses a path that leads nowhere.
pub(crate) fn check_source(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let report = Report::new(format!("{} does not exist", path.display())).at(path.display());
    Err(Failure::new(Status::Input, report.mending("check the path")))
}

/// Refuses options that say nothing where paths are named.
fn check_stray(args: &StepArgs) -> Result<()> {
    let Some(option) = args.stray() else { return Ok(()) };
    let report = Report::new(format!("{option} does not go with paths")).mending("leave it out");
    Err(Failure::usage(report))
}

fn compiler(versions: &str) -> Result<Compiler> {
    let plain = |v: &str| !v.is_empty() && v.chars().all(|c| c.is_ascii_digit() || c == '.');
    match versions.split_once(',') {
        Some((component, version)) if plain(component) && plain(version) => {
            Ok(Compiler { component: component.to_owned(), version: version.to_owned() })
        }
        _ => {
            let report = Report::new("no versions of Apple's compiler").at("--coremlc-version");
            Err(Failure::usage(
                report.expecting("COMPONENT,COREMLC, e.g. 3520.4.1,3520.5.1").finding(versions),
            ))
        }
    }
}

/// Where the inputs of `step` are and where its output goes, under the given prefix or the only one that fits.
fn places(args: &StepArgs, step: Step) -> Result<(Outputs, Outputs)> {
    let input = args.input.as_deref().unwrap_or(Path::new("."));
    let prefix = match &args.prefix {
        Some(prefix) => {
            check_prefix(prefix)?;
            prefix.clone()
        }
        None => find_prefix(input, step.needs()[0])?,
    };
    let output = args.output.as_deref().unwrap_or(input);
    Ok((Outputs::new(input, &prefix), Outputs::new(output, &prefix)))
}

fn find_prefix(dir: &Path, step: Step) -> Result<String> {
    let suffix = Outputs::new(dir, "").name(step);
    let entries = fs::read_dir(dir).map_err(|e| {
        let report = Report::new(format!("cannot read the input directory: {e}")).at(dir.display());
        Failure::new(Status::Input, report.mending("check the path given to --input"))
    })?;
    let names = entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()));
    let mut prefixes: Vec<String> = names
        .filter_map(|n| n.strip_suffix(&suffix).map(str::to_owned))
        .filter(|p| !p.is_empty() && !p.starts_with('.'))
        .collect();
    prefixes.sort();
    match prefixes.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let report = Report::new(format!("no *{suffix} to work on")).at(dir.display());
            let report = report.expecting(format!("the output of {step} ({})", step.title()));
            Err(Failure::new(Status::Input, report.mending(format!("run {step} first, or check --input"))))
        }
        many => {
            let report = Report::new("several prefixes fit").at(dir.display()).finding(many.join(", "));
            Err(Failure::usage(report.mending("name one with --prefix")))
        }
    }
}

fn require(input: &Outputs, step: Step) -> Result<()> {
    let path = input.path(step);
    if path.exists() {
        return Ok(());
    }
    let report = Report::new(format!("{} is missing", input.name(step))).at(path.display());
    let report = report.expecting(format!("the output of {step} ({})", step.title()));
    Err(Failure::new(Status::Input, report.mending(format!("run {step} first"))))
}

/// `--lut` names what the contents are; something else there is an error.
fn assert_lut(package: &Path, lut: Option<Lut>) -> Result<()> {
    let Some(lut) = lut else { return Ok(()) };
    let opened = Package::open(package)?;
    let model = proto::decode(&opened.specification, &opened.model_path.display().to_string())?;
    let found = model.description.metadata.user_defined.get("com.anemll.lut_bits").cloned();
    let expected = lut.bits().map(|b| b.to_string());
    if found == expected {
        return Ok(());
    }
    let show = |bits: Option<String>| bits.map_or("no palettization".to_owned(), |b| format!("{b} bits"));
    let report = Report::new("the package is not palettized as --lut says").at(package.display());
    let report = report.expecting(show(expected)).finding(show(found));
    Err(Failure::new(Status::Input, report.mending("leave --lut out, or convert with it")))
}
