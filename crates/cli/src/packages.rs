//! `combine` and `compile`.

use std::fs;
use std::path::{Path, PathBuf};

use anelith_convert::{Lut, Outputs, Report, Step, check_prefix, combine_packages, compile_package};
use anelith_mil::compiled::Compiler;
use anelith_mil::package::Package;
use anelith_mil::proto;

use crate::args::{CombineArgs, CompileArgs, StepArgs};
use crate::failure::{Failure, Result, Status};
use crate::terminal::{Bars, Interrupt, print_line};

pub(crate) fn combine(args: &CombineArgs, interrupt: Interrupt) -> Result<()> {
    let bars = Bars::new(interrupt);
    if let [infer, prefill, out] = args.packages.as_slice() {
        combine_packages(infer, prefill, out, &bars)?;
        return print_line(&out.display().to_string());
    }
    if !args.monolithic {
        let report = Report::new("nothing to combine").expected("--monolithic, or three packages");
        return Err(Failure::usage(report.mend("see anelith combine --help")));
    }
    let (input, output) = places(&args.step, Step::Infer)?;
    for step in [Step::Infer, Step::Prefill] {
        require(&input, step)?;
        assert_lut(&input.path(step), args.step.lut)?;
    }
    let out = output.path(Step::Combine);
    combine_packages(&input.path(Step::Infer), &input.path(Step::Prefill), &out, &bars)?;
    print_line(&out.display().to_string())
}

pub(crate) fn compile(args: &CompileArgs, interrupt: Interrupt) -> Result<()> {
    let bars = Bars::new(interrupt);
    let compiler = compiler(args.coremlc_version.as_deref())?;
    if let [source, bundle] = args.source.as_slice() {
        compile_package(source, bundle, &compiler, &bars)?;
        return print_line(&bundle.display().to_string());
    }
    if args.source[0] != Path::new("monolithic") {
        let report =
            Report::new("no output is named").expected("`monolithic`, or SOURCE.mlpackage OUT.mlmodelc");
        return Err(Failure::usage(report.found(args.source[0].display())));
    }
    let (input, output) = places(&args.step, Step::Combine)?;
    require(&input, Step::Combine)?;
    assert_lut(&input.path(Step::Combine), args.step.lut)?;
    let bundle = output.path(Step::Compile);
    compile_package(&input.path(Step::Combine), &bundle, &compiler, &bars)?;
    print_line(&bundle.display().to_string())
}

fn compiler(versions: Option<&str>) -> Result<Compiler> {
    let Some(versions) = versions else { return Ok(Compiler::default()) };
    let plain = |v: &str| !v.is_empty() && v.chars().all(|c| c.is_ascii_digit() || c == '.');
    match versions.split_once(',') {
        Some((component, version)) if plain(component) && plain(version) => {
            Ok(Compiler { component: component.to_owned(), version: version.to_owned() })
        }
        _ => {
            let report = Report::new("no versions of Apple's compiler").at("--coremlc-version");
            Err(Failure::usage(report.expected("COMPONENT,COREMLC, e.g. 3520.4.1,3520.5.1").found(versions)))
        }
    }
}

/// Where the inputs are and where the output goes, under the given prefix or the only one that fits.
fn places(args: &StepArgs, first: Step) -> Result<(Outputs, Outputs)> {
    let prefix = match &args.prefix {
        Some(prefix) => {
            check_prefix(prefix)?;
            prefix.clone()
        }
        None => find_prefix(&args.input, first)?,
    };
    let output = args.output.as_ref().unwrap_or(&args.input);
    if !output.is_dir() {
        fs::create_dir_all(output).map_err(|e| {
            let report = Report::new(format!("cannot create the output directory: {e}"));
            Failure::new(Status::Machine, report.at(output.display()))
        })?;
    }
    Ok((Outputs::new(&args.input, &prefix), Outputs::new(output, &prefix)))
}

fn find_prefix(dir: &Path, step: Step) -> Result<String> {
    let suffix = Outputs::new(dir, "").name(step);
    let entries = fs::read_dir(dir).map_err(|e| {
        let report = Report::new(format!("cannot read the input directory: {e}")).at(dir.display());
        Failure::new(Status::Input, report.mend("check the path given to --input"))
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
            let made_by = format!("it is the output of {step} ({})", step.title());
            Err(Failure::new(Status::Input, report.mend(made_by)))
        }
        many => {
            let report = Report::new("several prefixes fit").at(dir.display()).found(many.join(", "));
            Err(Failure::usage(report.mend("name one with --prefix")))
        }
    }
}

fn require(input: &Outputs, step: Step) -> Result<()> {
    let path: PathBuf = input.path(step);
    if path.exists() {
        return Ok(());
    }
    let report = Report::new(format!("{} is missing", input.name(step))).at(path.display());
    let report = report.expected(format!("the output of {step} ({})", step.title()));
    Err(Failure::new(Status::Input, report.mend(format!("run {step} first"))))
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
    let report = report.expected(show(expected)).found(show(found));
    Err(Failure::new(Status::Input, report.mend("leave --lut out, or convert with it")))
}
