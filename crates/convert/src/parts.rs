//! The models that a conversion makes of a checkpoint: inference and prefill.

use anelith_checkpoint::{Checkpoint, Config};
use anelith_mil::{Description, Feature, Function, Interface, Model, Program, Type, VarId};
use anelith_report::{Report, Reported};

use crate::arch::{self, EMBEDDING, LM_HEAD};
use crate::error::{Error, Result};
use crate::graph::Sizes;
use crate::head::{Head, HeadSplit, split_vocabulary};
use crate::metadata;
use crate::options::{Lut, Options, head_splits};
use crate::progress::Progress;
use crate::weights::{Component, Weights};

/// Specification version of iOS 18 and macOS 15, the first with states and several functions.
const SPECIFICATION_VERSION: i32 = 9;

const HEAD_YIELDS: &str =
    "lm_head.weight differs from the embedding and is ignored: config.json ties the LM head to the embedding";

/// Elements that are compared at a time.
const COMPARED: usize = 1 << 20;

/// A conversion as it is known before anything is written: the programs, and where each weight will lie.
#[derive(Debug)]
pub struct Plan<'c> {
    /// The model of step 1.
    pub infer: Model,
    /// The model of step 2.
    pub prefill: Model,
    /// The weight file of both.
    pub weights: Weights<'c>,
    /// The splits of the LM head.
    pub head: Vec<HeadSplit>,
}

impl<'c> Plan<'c> {
    /// Builds both programs and plans the weights; of these it reads no more than the smallest, and an LM head that
    /// yields to the embedding.
    ///
    /// # Errors
    /// When a tensor is missing or misshapen, when the checkpoint has tensors that the family does not know, or
    /// when config.json states numbers that cannot be computed with.
    pub fn new(checkpoint: &'c Checkpoint, options: &Options, progress: &dyn Progress) -> Result<Plan<'c>> {
        let config = &checkpoint.config;
        let mut weights = Weights::new(&checkpoint.tensors, options.luts());
        let lut = weights.lut(Component::LmHead);
        let head = vocabulary_splits(config, lut)?;
        let sizes = |tokens| Sizes { tokens, context: options.context, state_rows: options.state_rows() };
        let infer =
            arch::infer(config, sizes(1), &mut weights, Head { splits: &head, argmax: options.argmax })?;
        let prefill = arch::prefill(config, sizes(options.batch), &mut weights)?;
        check_unclaimed(&weights, checkpoint, progress)?;
        Ok(Plan {
            infer: single(infer, metadata::infer(options, config, &head)),
            prefill: single(prefill, metadata::prefill(options)),
            weights,
            head,
        })
    }
}

/// Refuses tensors that nothing asked for, except those that real checkpoints carry without meaning.
fn check_unclaimed(weights: &Weights<'_>, checkpoint: &Checkpoint, progress: &dyn Progress) -> Result<()> {
    let config = &checkpoint.config;
    for name in weights.unclaimed() {
        if name.ends_with(".rotary_emb.inv_freq") {
            continue;
        }
        if name == LM_HEAD && config.tie_word_embeddings {
            if head_differs(checkpoint)? {
                progress.warn(HEAD_YIELDS);
            }
            continue;
        }
        let what = format!("tensor `{name}` is unknown to the family {}", config.architecture);
        let mut report = Report::new(what).expecting("only the tensors that config.json implies");
        if let Some((file, shape)) = checkpoint.tensors.find(name) {
            report = report.at(file.display()).finding(format!("`{name}` of shape {shape:?}"));
        }
        return Err(Error::Input(report.mending("check that config.json belongs to these weights")));
    }
    Ok(())
}

/// Whether an LM head that yields to the embedding would have computed something else.
fn head_differs(checkpoint: &Checkpoint) -> Result<bool> {
    let (config, tensors) = (&checkpoint.config, &checkpoint.tensors);
    let shape = [config.vocab_size, config.hidden_size];
    let embedding = tensors.get(EMBEDDING, &shape)?;
    // A tensor of another shape or type differs, and is no error, since nothing uses it.
    let Ok(head) = tensors.get(LM_HEAD, &shape) else { return Ok(true) };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let count = embedding.element_count();
    for start in (0..count).step_by(COMPARED) {
        let range = start..count.min(start + COMPARED);
        embedding.read_f32(range.clone(), &mut ours)?;
        head.read_f32(range, &mut theirs)?;
        if ours != theirs {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The splits of the LM head, none of them empty.
fn vocabulary_splits(config: &Config, lut: Lut) -> Result<Vec<HeadSplit>> {
    let (vocab, count) = (config.vocab_size as u64, head_splits(config.architecture));
    if vocab >= count {
        return Ok(split_vocabulary(vocab, count, lut));
    }
    let report = Report::new("the vocabulary is smaller than the number of LM-head splits").at("config.json");
    let report = report.expecting(format!("`vocab_size` of at least {count}")).finding(vocab);
    Err(Error::Input(report.mending("use a model with a vocabulary of more tokens")))
}

/// A model of one function, called `main`.
fn single(function: Function, metadata: anelith_mil::Metadata) -> Model {
    let interface = interface(&function, "main");
    Model {
        specification_version: SPECIFICATION_VERSION,
        description: Description { functions: vec![interface], default_function: None, metadata },
        program: Program { functions: vec![function], build_info: Default::default() },
    }
}

/// What callers see of a function.
fn interface(function: &Function, name: &str) -> Interface {
    let feature = |id: &VarId| -> Feature {
        let var = function.var(*id);
        let (Type::Tensor(ty) | Type::State(ty)) = &var.ty else {
            unreachable!("graphs have tensors and states only");
        };
        let shape: Vec<i64> = ty.fixed_shape().unwrap_or_default().iter().map(|d| *d as i64).collect();
        Feature::new(&var.name, ty.dtype, &shape)
    };
    let is_state = |id: &&VarId| matches!(function.var(**id).ty, Type::State(_));
    Interface {
        name: name.to_owned(),
        inputs: function.inputs.iter().filter(|id| !is_state(id)).map(feature).collect(),
        outputs: function.outputs.iter().map(feature).collect(),
        states: function.inputs.iter().filter(is_state).map(feature).collect(),
    }
}
