//! `combine` and `compile`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fmt, fs};

use anelith_convert::{
    Group, Lut, Outputs, Progress, Sharing, Step, check_prefix, combine_packages, compile_package, run_alone,
};
use anelith_mil::compiled::Compiler;
use anelith_mil::package::{Package, weights_path};
use anelith_mil::{Argument, Function, Model, Op, Operand, TensorType, proto};
use anelith_report::{Report, Reported};

use crate::args::{CombineArgs, CompileArgs, Form, StepArgs};
use crate::convert::recompile;
use crate::document;
use crate::failure::{Failure, Result, Status};
use crate::results::{Output, Packaged};
use crate::terminal::{Interrupt, Steps, note, print, warn};

pub(crate) fn combine(args: &CombineArgs, interrupt: &Interrupt) -> Result<()> {
    if let [infer, prefill, out] = args.packages.as_slice() {
        check_stray(&args.step)?;
        check_source(infer)?;
        check_source(prefill)?;
        assert_lut(infer, args.step.lut)?;
        assert_lut(prefill, args.step.lut)?;
        let (sharing, steps) = (args.step.link.sharing(), Steps::new(interrupt));
        // Of different weights a file is made that is no copy.
        let copied = weight_bytes(infer).filter(|bytes| weight_bytes(prefill) == Some(*bytes));
        begin(Step::Combine, sharing, copied, &steps);
        let start = Instant::now();
        interrupt.defer(|| Ok(combine_packages(infer, prefill, out, sharing, &steps)?))?;
        steps.end(out);
        let inputs = vec![infer.clone(), prefill.clone()];
        return show(Step::Combine, inputs, out, start, &args.step);
    }
    if !args.monolithic {
        let report = Report::new("nothing to combine").expecting("--monolithic, or three packages");
        return Err(Failure::usage(report.mending("see anelith combine --help")));
    }
    run_step(Step::Combine, &args.step, interrupt).map(drop)
}

pub(crate) fn compile(args: &CompileArgs, interrupt: &Interrupt) -> Result<()> {
    let compiler = args.coremlc_version.as_deref().map(compiler).transpose()?;
    if let [source, bundle] = args.source.as_slice() {
        check_stray(&args.step)?;
        check_source(source)?;
        assert_lut(source, args.step.lut)?;
        let compiler = compiler.unwrap_or_default();
        let (sharing, steps) = (args.step.link.sharing(), Steps::new(interrupt));
        begin(Step::Compile, sharing, weight_bytes(source), &steps);
        let start = Instant::now();
        let warning = interrupt.defer(|| Ok(compile_package(source, bundle, &compiler, sharing, &steps)?))?;
        steps.end(bundle);
        warning.iter().for_each(|warning| warn(warning));
        return show(Step::Compile, vec![source.clone()], bundle, start, &args.step);
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
    let (input, output) = run_step(Step::Compile, &args.step, interrupt)?;
    note(&recompile(&input.path(Step::Combine), output.dir()));
    Ok(())
}

/// Runs step 3 or 4 on the outputs of a conversion.
fn run_step(step: Step, args: &StepArgs, interrupt: &Interrupt) -> Result<(Outputs, Outputs)> {
    let (input, output) = places(args, step)?;
    for needed in step.needs() {
        require(&input, *needed)?;
        assert_lut(&input.path(*needed), args.lut)?;
    }
    let (sharing, steps) = (args.link.sharing(), Steps::new(interrupt));
    begin(step, sharing, weight_bytes(&input.path(step.needs()[0])), &steps);
    let start = Instant::now();
    interrupt.defer(|| Ok(run_alone(step, &input, &output, sharing, &steps)?))?;
    steps.end(&output.path(step));
    let inputs = step.needs().iter().map(|needed| input.path(*needed)).collect();
    show(step, inputs, &output.path(step), start, args)?;
    Ok((input, output))
}

/// Prints what a step, begun at `start`, has made of `inputs`.
fn show(step: Step, inputs: Vec<PathBuf>, output: &Path, start: Instant, args: &StepArgs) -> Result<()> {
    let seconds = start.elapsed().as_secs_f64();
    match args.printing.form() {
        Form::Text => print(&format!("{}\n", output.display())),
        Form::Json => {
            let done = Packaged { inputs, step, seconds, output: Output::read(output)? };
            document::show(document::packaged(done))
        }
        Form::Nothing => Ok(()),
    }
}

/// Tells of a step that copies the weights, which takes a while; the others take none.
fn begin(step: Step, sharing: Sharing, copied: Option<u64>, steps: &Steps) {
    if sharing == Sharing::Copy {
        steps.begin(step, copied.unwrap_or(0));
    }
}

/// Bytes of the weight file of a package, where it has one.
fn weight_bytes(package: &Path) -> Option<u64> {
    fs::metadata(weights_path(package)).ok().map(|metadata| metadata.len())
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

/// `--lut` names what the contents are, as it does for `convert`: how the decoder layers are palettized. Something
/// else there is an error; embedding and LM head may have settings of their own.
fn assert_lut(package: &Path, lut: Option<Lut>) -> Result<()> {
    let Some(lut) = lut else { return Ok(()) };
    let opened = Package::open(package)?;
    let model = proto::decode(&opened.specification, &opened.model_path.display().to_string())?;
    let stated = model.description.metadata.user_defined.get("com.anemll.lut_bits");
    let tables = tables(&model);
    let fits = match lut {
        Lut::None => tables.is_empty(),
        // A model of small tensors alone is converted with tables and has none.
        Lut::Bits { bits, .. } if tables.is_empty() => stated == Some(&bits.to_string()),
        Lut::Bits { bits, group } => tables.iter().all(|t| t.bits == bits) && has_group(&tables, group),
    };
    if fits {
        return Ok(());
    }
    let found: BTreeSet<String> = tables.iter().map(Table::to_string).collect();
    let found = found.into_iter().collect::<Vec<_>>().join(", ");
    let nothing = "no palettization of decoder layers";
    let report = Report::new("the package is not palettized as --lut says").at(package.display());
    let report = report.expecting(named(lut)).finding(if found.is_empty() { nothing } else { &found });
    Err(Failure::new(Status::Input, report.mending("leave --lut out, or convert with it")))
}

/// What the option says, in words.
fn named(lut: Lut) -> String {
    match lut {
        Lut::None => "no palettization of decoder layers".to_owned(),
        Lut::Bits { bits, group: None } => format!("{bits} bits"),
        Lut::Bits { bits, group: Some(Group::Tensor) } => format!("{bits} bits, one table per tensor"),
        Lut::Bits { bits, group: Some(Group::Channels(n)) } => {
            format!("{bits} bits in groups of {n} channels")
        }
    }
}

/// How a tensor is palettized.
struct Table {
    bits: u32,
    /// Output channels that share a table.
    channels: u64,
    is_whole: bool,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bits in groups of {} channels", self.bits, self.channels)
    }
}

/// Tensors whose channels the group does not divide have smaller groups, so the largest one counts.
fn has_group(tables: &[Table], group: Option<Group>) -> bool {
    match group {
        None => true,
        Some(Group::Tensor) => tables.iter().all(|t| t.is_whole),
        Some(Group::Channels(n)) => tables.iter().map(|t| t.channels).max() == Some(u64::from(n)),
    }
}

/// The palettized tensors of all functions, but for embedding and LM head, which all converters name alike.
fn tables(model: &Model) -> Vec<Table> {
    let is_apart = |op: &&Op| ["embed_tokens", "lm_head"].iter().any(|name| op.name().contains(name));
    let functions = model.program.functions.iter();
    let ops = functions.flat_map(|f| f.ops.iter().map(move |op| (f, op)));
    ops.filter(|(_, op)| !is_apart(op)).filter_map(|(f, op)| table(f, op)).collect()
}

fn table(function: &Function, op: &Op) -> Option<Table> {
    let shape = |name: &str| parameter(function, op, name)?.fixed_shape();
    let lut = match op.kind.name() {
        "constexpr_lut_to_dense" | "constexpr_lut_to_sparse" => shape("lut")?,
        _ => return None,
    };
    if let &[entries] = lut.as_slice() {
        // The form before iOS 18: one table, and the shape of the tensor in an attribute.
        let rows = *function.var(*op.outputs.first()?).ty.as_tensor()?.fixed_shape()?.first()?;
        return Some(Table { bits: entries.checked_ilog2()?, channels: rows, is_whole: true });
    }
    let entries = lut.len().checked_sub(2).and_then(|i| lut.get(i))?;
    let rows = *shape("indices").or_else(|| shape("indices_mask"))?.first()?;
    let groups = *lut.first()?;
    Some(Table { bits: entries.checked_ilog2()?, channels: rows / groups.max(1), is_whole: groups == 1 })
}

/// The type of what an op gets as `name`: a literal, another op's result, or an attribute.
fn parameter<'f>(function: &'f Function, op: &'f Op, name: &str) -> Option<&'f TensorType> {
    let value = match op.inputs.get(name).map(Argument::operands) {
        Some([Operand::Value(value)]) => value,
        Some([Operand::Var(id)]) => return function.var(*id).ty.as_tensor(),
        Some(_) => return None,
        None => op.attributes.get(name)?,
    };
    value.ty.as_tensor()
}
