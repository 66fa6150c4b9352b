//! A monolithic Core ML model as a language model: the protocol that ANEMLL's consumers speak.

use std::path::Path;

use anelith_mil::Bundle;
use anelith_report::Reported;
use anelith_runtime::{Instance, Precision, Tensor};

use crate::error::{Error, Kind};
use crate::meta::Meta;
use crate::model::{LanguageModel, Next};

/// The function that takes one token.
const INFER: &str = "infer";

/// The function that takes a batch.
const PREFILL: &str = "prefill";

/// A converted model, loaded and ready to answer.
#[derive(Debug)]
pub struct Monolith {
    instance: Instance,
    context: usize,
    batch: usize,
    vocab: usize,
    splits: usize,
    /// Whether every output so far was finite.
    is_finite: bool,
}

impl Monolith {
    /// Loads the model that `meta` names.
    ///
    /// # Errors
    /// When the file is missing, cannot be read or run, or does not have the inputs and outputs that `meta` says.
    pub fn open(meta: &Meta, precision: Precision) -> Result<Monolith, Error> {
        if meta.argmax_in_model {
            let what = "a model that picks the token itself (argmax_in_model) is not supported yet";
            return Err(Error::unsupported(&meta.path, what));
        }
        let path = meta.model_path()?;
        let bundle = Bundle::open(&path).map_err(|e| broken(&path, &e))?;
        let functions = [INFER, PREFILL];
        let instance =
            Instance::new(&bundle.model.program, &bundle.info, &bundle.weights, &functions, precision)
                .map_err(|e| broken(&path, &e))?;
        let mut model = Monolith {
            instance,
            context: meta.context_length,
            batch: meta.batch_size,
            vocab: 0,
            splits: meta.split_lm_head,
            is_finite: true,
        };
        model.vocab = model.logit_count().ok_or_else(|| {
            let what = format!("`{INFER}` does not return logits1 to logits{}", model.splits);
            Error::malformed(&path, what).mending("convert the model again")
        })?;
        model.check_inputs(&path)?;
        Ok(model)
    }

    /// How many logits the outputs of `infer` hold together.
    fn logit_count(&self) -> Option<usize> {
        let plan = self.instance.plan(INFER).ok()?;
        let size = |i: usize| {
            let name = format!("logits{i}");
            let output = plan.outputs().find(|f| f.name == name)?;
            output.ty.element_count().and_then(|n| usize::try_from(n).ok())
        };
        (1..=self.splits).map(size).sum()
    }

    /// Compares the inputs with what meta.yaml says of context and batch.
    fn check_inputs(&self, path: &Path) -> Result<(), Error> {
        for (function, tokens) in [(INFER, 1), (PREFILL, self.batch)] {
            let plan = self.instance.plan(function).map_err(|e| broken(path, &e))?;
            let expected = [1, 1, tokens as u64, self.context as u64];
            let mask = plan.inputs().find(|f| f.name == "causal_mask").and_then(|f| f.ty.fixed_shape());
            if mask.as_deref() != Some(&expected) {
                let what = format!("causal_mask of `{function}` does not fit meta.yaml");
                let error = Error::malformed(path, what).expecting(format!("{expected:?}"));
                return Err(error.finding(mask.map_or("none".to_owned(), |m| format!("{m:?}"))));
            }
        }
        Ok(())
    }

    /// Whether every output since the model was loaded, and every value in its cache, is finite.
    pub fn is_finite(&self) -> bool {
        self.is_finite && self.cache_is_finite()
    }

    fn cache_is_finite(&self) -> bool {
        let states = self.instance.plan(INFER).map(|p| p.states().map(|f| f.name.clone()).collect());
        let states: Vec<String> = states.unwrap_or_default();
        let values = |name: &String| self.instance.state(name).and_then(Tensor::as_f32s);
        states.iter().filter_map(values).all(all_finite)
    }

    fn call(&mut self, function: &str, tokens: &[u32], start: usize) -> Result<Vec<(String, Tensor)>, Error> {
        let inputs = self.inputs(tokens, start).map_err(|e| Error::new(Kind::Model, e.to_string()))?;
        let outputs = self.instance.run(function, &inputs);
        let outputs = outputs.map_err(|e| Error::new(Kind::Model, e.to_string()))?;
        self.is_finite &= outputs.iter().filter_map(|(_, t)| t.as_f32s()).all(all_finite);
        Ok(outputs)
    }

    /// What consumers send for `tokens` at the positions from `start` on.
    fn inputs(
        &self,
        tokens: &[u32],
        start: usize,
    ) -> Result<Vec<(&'static str, Tensor)>, anelith_runtime::Error> {
        let count = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|t| *t as i32).collect();
        let positions: Vec<i32> = (start..start + count).map(|p| p as i32).collect();
        let mut mask = vec![f32::NEG_INFINITY; count * self.context];
        for (i, row) in mask.chunks_mut(self.context).enumerate() {
            row[..start + i + 1].fill(0.0);
        }
        Ok(vec![
            ("input_ids", Tensor::new(&[1, count], ids)?),
            ("position_ids", Tensor::new(&[count], positions)?),
            ("causal_mask", Tensor::new(&[1, 1, count, self.context], mask)?),
            ("current_pos", Tensor::new(&[1], vec![start as i32])?),
        ])
    }
}

fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

fn broken(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::malformed(path, error.to_string())
}

impl LanguageModel for Monolith {
    fn context_length(&self) -> usize {
        self.context
    }

    fn batch_size(&self) -> usize {
        self.batch
    }

    fn vocab_size(&self) -> usize {
        self.vocab
    }

    fn reset(&mut self) {
        self.instance.reset();
    }

    fn prefill(&mut self, tokens: &[u32], start: usize) -> Result<(), Error> {
        self.call(PREFILL, tokens, start).map(drop)
    }

    fn infer(&mut self, token: u32, position: usize) -> Result<Next, Error> {
        let outputs = self.call(INFER, &[token], position)?;
        let mut logits = Vec::with_capacity(self.vocab);
        for i in 1..=self.splits {
            let name = format!("logits{i}");
            let part = outputs.iter().find(|(n, _)| *n == name).and_then(|(_, t)| t.as_f32s());
            logits.extend_from_slice(part.ok_or_else(|| Error::model(format!("`{name}` is missing")))?);
        }
        Ok(Next::Logits(logits))
    }
}
