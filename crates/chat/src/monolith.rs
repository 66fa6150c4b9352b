//! A monolithic Core ML model as a language model: the protocol that ANEMLL's consumers speak.

use std::path::Path;

use anelith_mil::{Bundle, DataType, TensorType};
use anelith_report::Reported;
use anelith_runtime::{Contents, Instance, Options, Plan, StepInfo, StepTime, Tensor};

use crate::error::{Error, Kind};
use crate::meta::Meta;
use crate::model::{LanguageModel, Next};
use crate::sampler::{Candidate, likeliest};

/// The function that takes one token.
const INFER: &str = "infer";

/// The function that takes a batch.
const PREFILL: &str = "prefill";

/// The outputs of `infer` where the model picks the token itself: its place within each split, and its logit.
const ARGMAX_IDX: &str = "argmax_idx";
const ARGMAX_VAL: &str = "argmax_val";

/// What `infer` returns of the LM head.
#[derive(Debug)]
enum Head {
    /// The logits, in this many outputs.
    Logits(usize),
    /// The most likely token of each split of these sizes.
    Argmax(Vec<usize>),
}

/// A converted model, loaded and ready to answer.
#[derive(Debug)]
pub struct Monolith {
    instance: Instance,
    context: usize,
    batch: usize,
    vocab: usize,
    head: Head,
    /// Bytes of the weight files.
    weight_files: u64,
    /// Whether every output so far was finite.
    is_finite: bool,
}

impl Monolith {
    /// Loads the model that `meta` names.
    ///
    /// # Errors
    /// When the file is missing, cannot be read or run, or does not have the inputs and outputs that `meta` says.
    pub fn open(meta: &Meta, options: impl Into<Options>) -> Result<Monolith, Error> {
        let path = meta.model_path()?;
        let bundle = Bundle::open(&path).map_err(|e| broken(&path, &e))?;
        let functions = [INFER, PREFILL];
        let instance =
            Instance::new(&bundle.model.program, &bundle.info, &bundle.weights, &functions, options)
                .map_err(|e| broken(&path, &e))?;
        let mut model = Monolith {
            instance,
            context: meta.context_length,
            batch: meta.batch_size,
            vocab: 0,
            head: Head::Logits(meta.split_lm_head),
            weight_files: bundle.weights.files().map(|(_, file)| file.byte_len()).sum(),
            is_finite: true,
        };
        (model.head, model.vocab) = match meta.argmax_in_model {
            true => model.argmax_head(meta, &path)?,
            false => (Head::Logits(meta.split_lm_head), model.logit_count(meta.split_lm_head, &path)?),
        };
        model.check_inputs(&path)?;
        Ok(model)
    }

    /// How many logits the outputs of `infer` hold together.
    fn logit_count(&self, splits: usize, path: &Path) -> Result<usize, Error> {
        let size = |i: usize| usize::try_from(self.output(&format!("logits{i}"))?.element_count()?).ok();
        (1..=splits).map(size).sum::<Option<usize>>().ok_or_else(|| {
            let what = format!("`{INFER}` does not return logits1 to logits{splits}");
            Error::malformed(path, what).mending("convert the model again")
        })
    }

    /// The type of an output of `infer`.
    fn output(&self, name: &str) -> Option<&TensorType> {
        let plan = self.instance.plan(INFER).ok()?;
        plan.outputs().find(|f| f.name == name).map(|f| &f.ty)
    }

    /// Where each split begins, and the vocabulary of all, of a model that picks the token itself.
    fn argmax_head(&self, meta: &Meta, path: &Path) -> Result<(Head, usize), Error> {
        let splits = meta.split_lm_head;
        for (name, dtype) in [(ARGMAX_IDX, DataType::Int32), (ARGMAX_VAL, DataType::Fp16)] {
            let expected = TensorType::new(dtype, &[splits as u64]);
            let found = self.output(name);
            if found != Some(&expected) {
                let error =
                    Error::malformed(path, format!("`{INFER}` does not return `{name}` as meta.yaml says"));
                let error = error.expecting(expected).finding(found.map_or("none".into(), |t| t.to_string()));
                return Err(error.mending("convert the model again"));
            }
        }
        let sizes = meta.chunk_sizes().ok_or_else(|| {
            let what = "`meta.yaml` does not say how many tokens each split of the LM head covers";
            let error =
                Error::malformed(&meta.path, what).expecting("`lm_head_chunk_sizes`, or `vocab_size`");
            error.finding("neither").mending("let the conversion write it again")
        })?;
        let vocab = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
        let vocab = vocab.filter(|vocab| u32::try_from(*vocab).is_ok()).ok_or_else(|| {
            Error::malformed(
                &meta.path,
                "`lm_head_chunk_sizes` add up to more tokens than ids can tell apart",
            )
        })?;
        Ok((Head::Argmax(sizes), vocab))
    }

    /// Runs one token as [`LanguageModel::infer`] does; the most likely token of each vocabulary split.
    ///
    /// # Errors
    /// [`Kind::Model`] when the model fails, picks a token outside its split, or does not pick tokens itself.
    pub fn candidates(&mut self, token: u32, position: usize) -> Result<Vec<Candidate>, Error> {
        let outputs = self.call(INFER, &[token], position)?;
        let Head::Argmax(sizes) = &self.head else {
            return Err(Error::model("the model does not pick tokens itself"));
        };
        let output = |name: &str| outputs.iter().find(|(n, _)| n == name).map(|(_, t)| t);
        let places = output(ARGMAX_IDX).and_then(Tensor::as_i32s);
        let values = output(ARGMAX_VAL).and_then(Tensor::as_f32s);
        let (Some(places), Some(values)) = (places, values) else {
            return Err(Error::model(format!("`{ARGMAX_IDX}` or `{ARGMAX_VAL}` is missing")));
        };
        candidates(sizes, places, values)
    }

    /// The steps of the plan of `infer`.
    ///
    /// # Errors
    /// As [`Monolith::open`].
    pub fn infer_steps(&self) -> Result<Vec<StepInfo>, Error> {
        self.steps(INFER)
    }

    /// The steps of the plan of `prefill`.
    ///
    /// # Errors
    /// As [`Monolith::open`].
    pub fn prefill_steps(&self) -> Result<Vec<StepInfo>, Error> {
        self.steps(PREFILL)
    }

    fn steps(&self, function: &str) -> Result<Vec<StepInfo>, Error> {
        let plan = self.instance.plan(function).map_err(|e| Error::model(e.to_string()))?;
        Ok(plan.steps().collect())
    }

    /// The bytes of the weight files that the model refers to.
    pub fn weight_file_bytes(&self) -> u64 {
        self.weight_files
    }

    /// The bytes of the weights that `infer` reads whole for one token.
    pub fn infer_weight_bytes(&self) -> u64 {
        self.instance.plan(INFER).map_or(0, Plan::weight_bytes)
    }

    /// As [`LanguageModel::infer`] and [`LanguageModel::prefill`], whichever takes so many tokens: what each step took.
    ///
    /// # Errors
    /// [`Kind::Model`] when the model fails.
    pub fn profile(&mut self, tokens: &[u32], start: usize) -> Result<Vec<StepTime>, Error> {
        let function = if tokens.len() == 1 { INFER } else { PREFILL };
        let inputs = self.inputs(tokens, start).map_err(|e| Error::model(e.to_string()))?;
        self.instance.profile(function, &inputs).map_err(|e| Error::model(e.to_string()))
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
        let is_finite = |name: &String| {
            let state = self.instance.state(name);
            state.as_deref().and_then(Tensor::as_f32s).is_none_or(all_finite)
        };
        states.iter().all(is_finite)
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

/// Places within splits of these sizes as tokens.
fn candidates(sizes: &[usize], places: &[i32], values: &[f32]) -> Result<Vec<Candidate>, Error> {
    let mut first = 0usize;
    let mut found = Vec::with_capacity(sizes.len());
    for (i, ((size, place), logit)) in sizes.iter().zip(places).zip(values).enumerate() {
        let token = usize::try_from(*place).ok().filter(|place| place < size);
        let token = token.and_then(|place| u32::try_from(first + place).ok()).ok_or_else(|| {
            Error::model("the model picked a token outside its vocabulary split")
                .at(format!("`{ARGMAX_IDX}` of split {}", i + 1))
                .expecting(format!("0 to {}", size.saturating_sub(1)))
                .finding(place)
                .mending("convert the model again; its files do not belong together")
        })?;
        found.push(Candidate { token, logit: *logit });
        first += size;
    }
    Ok(found)
}

fn all_finite(values: &[f32]) -> bool {
    values.iter().all(|v| v.is_finite())
}

fn broken(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::malformed(path, error.to_string())
}

impl LanguageModel for Monolith {
    type Cache = Contents;

    fn new_cache(&self) -> Result<Contents, Error> {
        self.instance.new_contents().map_err(|e| {
            Error::model(format!("no memory for one more cache: {e}"))
                .mending("close other programs, or ask for fewer at a time")
        })
    }

    fn swap_cache(&mut self, cache: &mut Contents) {
        self.instance.swap_contents(cache);
    }

    fn has_argmax(&self) -> bool {
        matches!(self.head, Head::Argmax(_))
    }

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
        let splits = match self.head {
            Head::Argmax(_) => return Ok(Next::Token(likeliest(&self.candidates(token, position)?)?)),
            Head::Logits(splits) => splits,
        };
        let outputs = self.call(INFER, &[token], position)?;
        let mut logits = Vec::with_capacity(self.vocab);
        for i in 1..=splits {
            let name = format!("logits{i}");
            let part = outputs.iter().find(|(n, _)| *n == name).and_then(|(_, t)| t.as_f32s());
            logits.extend_from_slice(part.ok_or_else(|| Error::model(format!("`{name}` is missing")))?);
        }
        Ok(Next::Logits(logits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_the_start_of_their_split() {
        let found = candidates(&[5, 4, 4], &[4, 0, 3], &[0.5, -1.0, 2.0]).unwrap();
        assert_eq!(found.iter().map(|c| c.token).collect::<Vec<_>>(), [4, 5, 12]);
        assert_eq!(likeliest(&found).unwrap(), 12);
        for (places, found) in [([5, 0, 0], "5"), ([0, -1, 0], "-1"), ([0, 0, 4], "4")] {
            let error = candidates(&[5, 4, 4], &places, &[0.0; 3]).unwrap_err();
            assert_eq!((error.kind(), error.found()), (Kind::Model, Some(found)), "{places:?}");
        }
    }
}
