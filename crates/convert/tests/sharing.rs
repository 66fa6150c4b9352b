//! Outputs that share one weight file and outputs that do not: what becomes of one when another changes.

#![cfg(unix)]
#![allow(clippy::result_large_err, reason = "tests pass the library's errors on as they are")]

#[allow(dead_code, reason = "each test binary uses a part of the fixture")]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anelith_convert::{
    Action, Error, Options, Outputs, Pipeline, Progress, Selection, Sharing, Silent, Step,
};
use anelith_mil::Bundle;
use serde_json::json;

use fixture::{Synthetic, Watch, Written};

const WEIGHT_STEPS: [Step; 4] = [Step::Infer, Step::Prefill, Step::Combine, Step::Compile];

fn model() -> Written {
    Synthetic::tiny("qwen3").with(json!({ "vocab_size": 300 })).weights().write()
}

/// Runs `selection` as a process of its own would; the numbers of the steps that were built.
fn run(
    options: &Options,
    sharing: Sharing,
    selection: Selection,
    progress: &dyn Progress,
) -> Result<Vec<u32>, Error> {
    let checkpoint = anelith_checkpoint::Checkpoint::open(&options.model)?;
    let pipeline = Pipeline::new(&checkpoint, options, progress)?.with_sharing(sharing);
    pipeline.check(selection, progress)?;
    pipeline.check_sharing(selection, progress)?;
    let outcome = pipeline.run(selection, progress)?;
    Ok(outcome
        .steps
        .iter()
        .filter(|(_, action)| *action == Action::Build)
        .map(|(step, _)| step.number())
        .collect())
}

fn built(options: &Options, sharing: Sharing, selection: Selection) -> Vec<u32> {
    run(options, sharing, selection, &Silent).expect("a run")
}

/// The numbers of the steps that a preview gives each action: build, separate, reuse.
fn actions(options: &Options, sharing: Sharing, selection: Selection) -> [Vec<u32>; 3] {
    let checkpoint = anelith_checkpoint::Checkpoint::open(&options.model).expect("a model");
    let pipeline = Pipeline::new(&checkpoint, options, &Silent).expect("a pipeline").with_sharing(sharing);
    let steps = pipeline.preview(selection, &Silent).expect("a preview").steps;
    let with = |action| steps.iter().filter(|s| s.action == action).map(|s| s.step.number()).collect();
    [Action::Build, Action::Separate, Action::Reuse].map(with)
}

fn output(options: &Options, step: Step) -> PathBuf {
    Outputs::new(&options.output, "qwen").path(step)
}

fn weight_file(options: &Options, step: Step) -> PathBuf {
    let inside = if step == Step::Compile { "weights" } else { "Data/com.apple.CoreML/weights" };
    output(options, step).join(inside).join("weight.bin")
}

/// The file of each output's weights, and how many names it has.
fn names(options: &Options) -> [(u64, u64); 4] {
    WEIGHT_STEPS.map(|step| {
        let metadata = fs::metadata(weight_file(options, step)).expect("weights");
        (metadata.ino(), metadata.nlink())
    })
}

#[track_caller]
fn assert_all_have_their_own(options: &Options) {
    let names = names(options);
    let files: BTreeSet<u64> = names.iter().map(|(file, _)| *file).collect();
    assert!(files.len() == 4 && names.iter().all(|(_, count)| *count == 1), "{names:?}");
}

/// Whether the file system makes clones, so that no run leaves hard links.
fn clones(options: &Options) -> bool {
    names(options).iter().all(|(_, count)| *count == 1)
}

/// Every file below `dir` with its contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

#[test]
fn copies_are_files_of_their_own_with_the_bytes_of_links() {
    let written = model();
    let options = written.options("4");
    assert_eq!(built(&options, Sharing::Copy, Selection::needed()), [1, 2, 3, 4, 5]);
    assert_all_have_their_own(&options);
    let copied = contents(&options.output);
    assert_eq!(built(&options, Sharing::Copy, Selection::needed()), [0u32; 0]);
    assert_eq!(built(&options, Sharing::Link, Selection::needed()), [0u32; 0], "it asks for no more");
    assert_eq!(contents(&options.output), copied, "a run that does nothing changes nothing");
    fs::remove_dir_all(&options.output).expect("a directory");
    assert_eq!(built(&options, Sharing::Link, Selection::needed()), [1, 2, 3, 4, 5]);
    assert_eq!(contents(&options.output), copied, "the bytes, and the record of the digests");
}

#[test]
fn what_an_earlier_run_has_linked_is_not_passed_off_as_a_copy() {
    let written = model();
    let options = written.options("4");
    let [none, all] = [vec![], vec![1, 2, 3, 4, 5]];
    built(&options, Sharing::Link, Selection::needed());
    if clones(&options) {
        eprintln!("skipped: this file system makes clones, so there are no links");
        return;
    }
    let linked = contents(&options.output);
    for (selection, to_build, to_separate, to_reuse) in [
        // The last of the four keeps the file that the others have left.
        (Selection::needed(), none.clone(), vec![1, 2, 3], vec![4, 5]),
        (Selection::from(4), vec![4, 5], vec![1, 2, 3], none.clone()),
        (Selection::from(1), all.clone(), none.clone(), none.clone()),
        (Selection::from(6), none.clone(), vec![1, 2, 3], vec![4, 5]),
    ] {
        built(&options, Sharing::Link, Selection::from(1));
        let expected = [to_build.clone(), to_separate.clone(), to_reuse];
        assert_eq!(actions(&options, Sharing::Copy, selection), expected, "{selection:?}");
        assert_eq!(actions(&options, Sharing::Link, selection)[1], none, "{selection:?}");
        let watch = Watch::default();
        let ran = run(&options, Sharing::Copy, selection, &watch).expect("a run");
        assert_eq!(ran, to_build, "{selection:?}");
        assert_eq!(watch.warnings().len(), to_separate.len(), "{:?}", watch.warnings());
        assert_all_have_their_own(&options);
        assert_eq!(contents(&options.output), linked, "{selection:?}");
        assert_eq!(
            actions(&options, Sharing::Copy, Selection::needed()),
            [none.clone(), none.clone(), all.clone()]
        );
    }
}

/// Step 1 makes equal weights again; they take no space of their own.
#[test]
fn a_package_made_again_shares_what_the_others_have() {
    let written = model();
    let options = written.options("4");
    built(&options, Sharing::Link, Selection::needed());
    if clones(&options) {
        return;
    }
    fs::remove_dir_all(output(&options, Step::Infer)).expect("a package");
    assert_eq!(built(&options, Sharing::Link, Selection::needed()), [1]);
    assert!(names(&options).iter().all(|name| name.1 == 4), "{:?}", names(&options));
    built(&options, Sharing::Link, Selection::from(1).until(1));
    assert!(names(&options).iter().all(|name| name.1 == 4), "{:?}", names(&options));
    assert_eq!(built(&options, Sharing::Link, Selection::needed()), [0u32; 0]);

    fs::remove_dir_all(output(&options, Step::Infer)).expect("a package");
    assert_eq!(built(&options, Sharing::Copy, Selection::needed().until(1)), [1]);
    assert_eq!(names(&options)[0].1, 1);
}

#[test]
fn a_step_alone_makes_a_copy_and_leaves_the_others() {
    let written = model();
    let options = written.options("4");
    built(&options, Sharing::Link, Selection::needed());
    let before = names(&options);
    assert_eq!(built(&options, Sharing::Copy, Selection::only(3)), [3]);
    let after = names(&options);
    assert!(after[2].0 != before[2].0 && after[2].1 == 1, "{after:?}");
    assert_eq!([0, 1, 3].map(|i| after[i].0), [0, 1, 3].map(|i| before[i].0));
    assert_eq!(built(&options, Sharing::Copy, Selection::only(6)), [0u32; 0]);
    assert_eq!(names(&options), after, "the step that chats writes nothing");
}

/// A name outside, as a backup of hard links has them.
#[test]
fn a_link_from_elsewhere_counts_too() {
    let written = model();
    let options = written.options("4");
    built(&options, Sharing::Copy, Selection::needed());
    let backup = written.out().with_file_name("backup.bin");
    fs::hard_link(weight_file(&options, Step::Infer), &backup).expect("a link");
    assert_eq!(actions(&options, Sharing::Copy, Selection::needed())[1], [1]);
    assert_eq!(built(&options, Sharing::Copy, Selection::needed()), [0u32; 0]);
    assert_all_have_their_own(&options);
    assert!(backup.is_file());
}

#[test]
fn a_copy_that_is_stopped_leaves_what_was_there() {
    let written = model();
    let options = written.options("none");
    built(&options, Sharing::Link, Selection::needed());
    let before = contents(&options.output);
    for selection in [Selection::needed(), Selection::from(2), Selection::only(3), Selection::only(4)] {
        if selection == Selection::needed() && clones(&options) {
            continue;
        }
        let stopped = run(&options, Sharing::Copy, selection, &Watch::stopping_after(1000));
        assert!(matches!(stopped, Err(Error::Interrupted)), "{selection:?}: {stopped:?}");
        assert_eq!(contents(&options.output), before, "{selection:?}");
    }
}

/// The bytes of a weight file, after everything in it that the program refers to was found.
fn weights_of(output: &Path) -> Vec<u8> {
    let bundle = Bundle::open(output).expect("a whole model");
    for (blob, ty) in bundle.model.program.blobs() {
        bundle.weights.bytes(blob, ty).expect("a blob");
    }
    let inside =
        ["Data/com.apple.CoreML/weights/weight.bin", "weights/weight.bin"].map(|name| output.join(name));
    fs::read(inside.iter().find(|path| path.is_file()).expect("weights")).expect("weights")
}

#[test]
fn what_happens_to_one_output_does_not_reach_the_others() {
    for sharing in [Sharing::Link, Sharing::Copy] {
        let written = model();
        let options = written.options("4");
        built(&options, sharing, Selection::needed());
        let [infer, prefill, combined, bundle] = WEIGHT_STEPS.map(|step| output(&options, step));
        let weights = weights_of(&infer);
        fs::remove_dir_all(&prefill).expect("a package");
        let elsewhere = options.output.join("deep/er/moved.mlpackage");
        fs::create_dir_all(elsewhere.parent().expect("a parent")).expect("a directory");
        fs::rename(&combined, &elsewhere).expect("a package");
        for left in [&infer, &elsewhere, &bundle] {
            assert_eq!(weights_of(left), weights, "{sharing:?} {}", left.display());
        }
        // Other weights take the place of those of step 1, and of nothing else.
        let other = Options { lut: "6".parse().expect("a lut"), ..options.clone() };
        built(&other, sharing, Selection::only(1));
        assert_ne!(weights_of(&infer), weights);
        for left in [&elsewhere, &bundle] {
            assert_eq!(weights_of(left), weights, "{sharing:?} {}", left.display());
        }
        // What is gone comes back.
        built(&options, sharing, Selection::needed());
        for whole in [&infer, &prefill, &combined, &bundle, &elsewhere] {
            assert_eq!(weights_of(whole), weights, "{sharing:?} {}", whole.display());
        }
    }
}

#[test]
fn a_program_that_writes_in_place_reaches_one_copy() {
    let written = model();
    let options = written.options("4");
    built(&options, Sharing::Copy, Selection::needed());
    let before = fs::read(weight_file(&options, Step::Infer)).expect("weights");
    for step in WEIGHT_STEPS {
        let mut file = OpenOptions::new().append(true).open(weight_file(&options, step)).expect("weights");
        file.write_all(&[step.number() as u8]).expect("room");
    }
    for step in WEIGHT_STEPS {
        let expected = [&before[..], &[step.number() as u8]].concat();
        assert_eq!(fs::read(weight_file(&options, step)).expect("weights"), expected);
    }
}
