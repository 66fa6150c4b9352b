//! How answers are made: options of the command line, and what `/set` changes of them.

use std::fmt::Display;
use std::str::FromStr;

use anelith_chat::{Meta, Sampling, SessionOptions, chance};
use anelith_report::{Report, Reported};

use super::file;
use crate::args::SamplingArgs;
use crate::failure::{Failure, Result};

/// The sampling that the options ask for, with any seed where they name none.
///
/// # Errors
/// For an option that is out of its range or that has no effect, and for any with a model that picks the likeliest
/// token itself.
pub(super) fn sampling(args: &SamplingArgs, meta: &Meta) -> Result<Sampling> {
    if meta.argmax_in_model {
        check_argmax(args)?;
    }
    let mut sampling = match args.greedy || meta.argmax_in_model {
        true => Sampling::default(),
        false => Sampling::recommended(meta)?,
    };
    put(&mut sampling.temperature, args.temperature);
    put(&mut sampling.top_k, args.top_k);
    put(&mut sampling.top_p, args.top_p);
    put(&mut sampling.min_p, args.min_p);
    put(&mut sampling.repetition_penalty, args.repetition_penalty);
    sampling.seed = args.seed.unwrap_or_else(any_seed);
    sampling.check().map_err(|error| {
        let flag = error.location().unwrap_or_default().replace('_', "-");
        Failure::from(error.at(format!("--{flag}")))
    })?;
    match limits(args) {
        Some(flag) if sampling.is_greedy() => {
            let report = Report::new("the likeliest token is taken always, so this has no effect").at(flag);
            Err(Failure::usage(report.mending("give a --temperature above 0 too")))
        }
        _ => Ok(sampling),
    }
}

fn put<T: Copy>(place: &mut T, value: Option<T>) {
    *place = value.unwrap_or(*place);
}

/// The first option that says from how many tokens to choose.
fn limits(args: &SamplingArgs) -> Option<&'static str> {
    let given = [
        ("--top-k", args.top_k.is_some()),
        ("--top-p", args.top_p.is_some()),
        ("--min-p", args.min_p.is_some()),
    ];
    given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
}

/// Refuses options that a model with the argmax built in has no use for.
fn check_argmax(args: &SamplingArgs) -> Result<()> {
    let given = [
        ("--temperature", args.temperature.is_some_and(|temperature| temperature != 0.0)),
        ("--repetition-penalty", args.repetition_penalty.is_some()),
        ("--seed", args.seed.is_some()),
    ];
    let given = given.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag);
    match given.or(limits(args)) {
        None => Ok(()),
        Some(flag) => {
            let report = Report::new("the model picks the likeliest token itself").at(flag);
            let report = report.expecting("none of the options of sampling");
            Err(Failure::usage(report.mending("leave it out, or convert the model without `--argmax`")))
        }
    }
}

/// A seed that nobody chose, short enough to be typed.
fn any_seed() -> u64 {
    chance() >> 32
}

/// Instructions for the model, which are in a file where the text given `at` begins with `@`; those that are empty are none.
pub(super) fn system(at: &str, text: &str) -> Result<Option<String>> {
    let Some(path) = text.strip_prefix('@') else { return Ok(some(text)) };
    let place = format!("{at} @{path}");
    let text = file::read("the instructions for the model", &file::place(path), place)?;
    Ok(some(text.trim_end()))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The names that `/set` knows.
pub(super) const NAMES: [&str; 9] = [
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
];

/// Changes one setting.
///
/// # Errors
/// For an unknown name, and a value that is none of its values; all is as before then.
pub(super) fn set(options: &mut SessionOptions, name: &str, value: &str, has_argmax: bool) -> Result<()> {
    let name = name.replace('-', "_");
    let mut changed = options.clone();
    let sampling = &mut changed.sampling;
    match name.as_str() {
        "temperature" => sampling.temperature = parse(&name, value, "a number")?,
        "top_k" => sampling.top_k = parse(&name, value, "a whole number")?,
        "top_p" => sampling.top_p = parse(&name, value, "a number")?,
        "min_p" => sampling.min_p = parse(&name, value, "a number")?,
        "repetition_penalty" => sampling.repetition_penalty = parse(&name, value, "a number")?,
        "presence_penalty" => sampling.presence_penalty = parse(&name, value, "a number")?,
        "frequency_penalty" => sampling.frequency_penalty = parse(&name, value, "a number")?,
        "seed" if value == "any" => sampling.seed = any_seed(),
        "seed" => sampling.seed = parse(&name, value, "a whole number, or any")?,
        "max_tokens" if value == "all" => changed.max_tokens = None,
        "max_tokens" => changed.max_tokens = Some(parse(&name, value, "a whole number, or all")?),
        _ => {
            let report = Report::new("there is no such setting").at("/set").finding(name);
            return Err(Failure::usage(report.expecting(NAMES.join(", "))));
        }
    }
    changed.sampling.check()?;
    if has_argmax && (name == "seed" || !changed.sampling.takes_any_model()) {
        let report = Report::new("the model picks the likeliest token itself").at(format!("/set {name}"));
        return Err(Failure::usage(report.mending("convert the model without `--argmax`")));
    }
    *options = changed;
    Ok(())
}

fn parse<T: FromStr>(name: &str, value: &str, expected: &str) -> Result<T> {
    value.parse().map_err(|_| {
        let report = Report::new("the setting has no such value").at(format!("/set {name}"));
        Failure::usage(report.expecting(expected).finding(value))
    })
}

/// The settings as `/set` shows them, one a line.
pub(super) fn shown(options: &SessionOptions) -> String {
    let sampling = &options.sampling;
    let most = options.max_tokens.map_or("all".to_owned(), |most| most.to_string());
    let values: [&dyn Display; NAMES.len()] = [
        &sampling.temperature,
        &sampling.top_k,
        &sampling.top_p,
        &sampling.min_p,
        &sampling.repetition_penalty,
        &sampling.presence_penalty,
        &sampling.frequency_penalty,
        &sampling.seed,
        &most,
    ];
    let lines = NAMES.iter().zip(values).map(|(name, value)| format!("{name:<20}{value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Status;

    fn options() -> SessionOptions {
        SessionOptions::default()
    }

    #[test]
    fn settings_are_changed_by_name() {
        let mut options = options();
        for (name, value) in [
            ("temperature", "0.5"),
            ("top-k", "7"),
            ("top_p", "0.9"),
            ("min_p", "0.1"),
            ("repetition_penalty", "1.2"),
            ("presence-penalty", "-0.5"),
            ("frequency_penalty", "2"),
            ("seed", "18446744073709551615"),
            ("max_tokens", "12"),
        ] {
            set(&mut options, name, value, false).unwrap();
        }
        assert_eq!(
            shown(&options),
            "temperature         0.5\ntop_k               7\ntop_p               0.9\nmin_p               0.1\n\
             repetition_penalty  1.2\npresence_penalty    -0.5\nfrequency_penalty   2\n\
             seed                18446744073709551615\nmax_tokens          12"
        );
        set(&mut options, "max_tokens", "all", false).unwrap();
        assert_eq!(options.max_tokens, None);
        set(&mut options, "seed", "any", false).unwrap();
        assert!(options.sampling.seed < 1 << 32);
    }

    #[test]
    fn instructions_may_be_in_a_file() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("system.txt");
        let named = format!("@{}", path.display());
        std::fs::write(&path, "Be kind.\n").unwrap();
        for text in ["Be kind.", &named] {
            assert_eq!(system("/system", text).unwrap().as_deref(), Some("Be kind."));
        }
        std::fs::write(&path, "\n").unwrap();
        for text in ["", &named] {
            assert_eq!(system("--system", text).unwrap(), None);
        }
        let failure = system("/system", "@nowhere.txt").unwrap_err();
        assert_eq!(failure.status, Status::Input);
        assert!(failure.text().contains("/system @nowhere.txt"), "{}", failure.text());
    }

    #[test]
    fn a_wrong_setting_changes_nothing() {
        for (name, value, words) in [
            ("heat", "1", "repetition_penalty"),
            ("temperature", "warm", "expected: a number"),
            ("temperature", "-1", "out of range"),
            ("temperature", "NaN", "out of range"),
            ("top_p", "0", "out of range"),
            ("top_k", "-1", "a whole number"),
            ("max_tokens", "1.5", "or all"),
            ("seed", "", "or any"),
        ] {
            let mut changed = options();
            let failure = set(&mut changed, name, value, false).unwrap_err();
            assert_eq!(failure.status, Status::Usage);
            assert!(failure.text().contains(words), "{}", failure.text());
            assert_eq!(shown(&changed), shown(&options()));
        }
    }

    #[test]
    fn a_model_that_picks_tokens_takes_the_likeliest() {
        let mut changed = options();
        assert!(set(&mut changed, "temperature", "1", true).unwrap_err().text().contains("--argmax"));
        assert!(set(&mut changed, "repetition_penalty", "1.1", true).is_err());
        assert!(set(&mut changed, "seed", "1", true).is_err());
        set(&mut changed, "temperature", "0", true).unwrap();
        let refused = |args: SamplingArgs| check_argmax(&args).unwrap_err().text();
        assert!(refused(SamplingArgs { seed: Some(1), ..Default::default() }).contains("--seed"));
        assert!(refused(SamplingArgs { top_p: Some(0.5), ..Default::default() }).contains("--top-p"));
        check_argmax(&SamplingArgs { temperature: Some(0.0), greedy: true, ..Default::default() }).unwrap();
    }
}
