//! A program ready to run, with the state that its functions share.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem::swap;
use std::sync::Arc;

use anelith_mil::blob::WeightStore;
use anelith_mil::{DataType, Dim, Program, ProgramInfo, TensorType};

use crate::error::{Error, Result};
use crate::plan::{Constants, Feature, Half, MAX_BYTES, Memory, Options, Plan, Precision, States, StepTime};
use crate::tensor::{Tensor, ask_for, held_bytes};

/// Some functions of one program and their common state.
#[derive(Debug)]
pub struct Instance {
    plans: Vec<Plan>,
    features: Arc<[Feature]>,
    memory: Memory,
    precision: Precision,
}

/// What the states of an [`Instance`] hold, set aside: with one of these for each, several sequences of calls can take
/// turns on one instance, see [`Instance::swap_contents`].
#[derive(Debug)]
pub struct Contents {
    features: Arc<[Feature]>,
    states: States,
    halves: BTreeMap<String, Half>,
}

impl Instance {
    /// Plans `functions` of `program`, which share their weights. States start as zeros.
    ///
    /// # Errors
    /// As [`Plan::new`]; [`Error::State`] when two functions declare one state with different types;
    /// [`Error::Memory`] when the states of all functions, with the values of one of them, do not fit in memory.
    pub fn new(
        program: &Program,
        info: &ProgramInfo,
        weights: &WeightStore,
        functions: &[&str],
        options: impl Into<Options>,
    ) -> Result<Instance> {
        let options = options.into();
        let mut constants = Constants::new(weights);
        let plan = |name: &&str| Plan::new(program, info, &mut constants, name, options);
        let plans = functions.iter().map(plan).collect::<Result<Vec<_>>>()?;
        let features = shared_states(&plans)?;
        check_memory(&features, plans.iter().map(Plan::room).max().unwrap_or(0))?;
        let memory = Memory::empty();
        let mut instance =
            Instance { plans, features: features.into(), memory, precision: options.precision };
        instance.reset();
        Ok(instance)
    }

    /// Sets every state to zeros.
    pub fn reset(&mut self) {
        // The old values go first, so that memory never holds both.
        self.memory.states.clear();
        self.memory.halves.clear();
        (self.memory.states, self.memory.halves) = self.zeros();
    }

    /// Contents for every state, all zeros.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no room for them.
    pub fn new_contents(&self) -> Result<Contents> {
        check_memory(&self.features, 0)?;
        let (states, halves) = self.zeros();
        Ok(Contents { features: Arc::clone(&self.features), states, halves })
    }

    /// Exchanges what the states hold for `contents`, without copying any.
    ///
    /// # Panics
    /// When `contents` were made by another instance.
    pub fn swap_contents(&mut self, contents: &mut Contents) {
        assert!(Arc::ptr_eq(&self.features, &contents.features), "contents of another instance");
        swap(&mut self.memory.states, &mut contents.states);
        swap(&mut self.memory.halves, &mut contents.halves);
    }

    /// Zeros for every state: as tensors, and as fp16 where plans hold it so.
    fn zeros(&self) -> (States, BTreeMap<String, Half>) {
        let (mut states, mut halves) = (States::new(), BTreeMap::new());
        for feature in &*self.features {
            let name = feature.name.clone();
            let shape = extents(&feature.ty);
            let is_half = feature.ty.dtype == DataType::Fp16 && !shape.contains(&0);
            if self.precision == Precision::Fast && is_half {
                let bits = vec![0; shape.iter().product()];
                halves.insert(name, Half { shape, bits });
            } else {
                states.insert(name, Arc::new(zeros(&feature.ty)));
            }
        }
        (states, halves)
    }

    /// The plan of `function`.
    ///
    /// # Errors
    /// [`Error::NoFunction`] when the instance was made without it.
    pub fn plan(&self, function: &str) -> Result<&Plan> {
        find(&self.plans, function)
    }

    /// The contents of the state called `name`.
    pub fn state(&self, name: &str) -> Option<Cow<'_, Tensor>> {
        let whole = self.memory.states.get(name).map(|tensor| Cow::Borrowed(tensor.as_ref()));
        whole.or_else(|| self.memory.halves.get(name).map(|half| Cow::Owned(half.tensor())))
    }

    /// Runs `function` on `inputs`, in any order, and answers its outputs in declaration order.
    ///
    /// # Errors
    /// [`Error::NoFunction`]; [`Error::Input`] for an input that is missing, unknown or not of the declared
    /// type, with the state untouched; [`Error::Run`] when an op fails, with every state reset to zeros.
    pub fn run(&mut self, function: &str, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        self.observed(function, inputs, None)
    }

    /// As [`Instance::run`], but for what each step of the plan took in place of the outputs.
    ///
    /// # Errors
    /// As [`Instance::run`].
    pub fn profile(&mut self, function: &str, inputs: &[(&str, Tensor)]) -> Result<Vec<StepTime>> {
        let mut times = Vec::new();
        let mut observe = |time| times.push(time);
        self.observed(function, inputs, Some(&mut observe))?;
        Ok(times)
    }

    fn observed(
        &mut self,
        function: &str,
        inputs: &[(&str, Tensor)],
        observe: Option<&mut dyn FnMut(StepTime)>,
    ) -> Result<Vec<(String, Tensor)>> {
        let plan = find(&self.plans, function)?;
        let inputs = bind(plan, inputs)?;
        let result = plan.run(inputs, &mut self.memory, observe);
        if result.is_err() {
            self.reset();
        }
        result
    }
}

fn find<'a>(plans: &'a [Plan], function: &str) -> Result<&'a Plan> {
    plans.iter().find(|p| p.function() == function).ok_or_else(|| Error::NoFunction {
        name: function.to_owned(),
        available: plans.iter().map(|p| format!("`{}`", p.function())).collect::<Vec<_>>().join(", "),
    })
}

/// The states of all plans, each once.
fn shared_states(plans: &[Plan]) -> Result<Vec<Feature>> {
    let mut features: Vec<Feature> = Vec::new();
    for state in plans.iter().flat_map(Plan::states) {
        match features.iter().find(|f| f.name == state.name) {
            None => features.push(state.clone()),
            Some(known) if known.ty == state.ty => {}
            Some(known) => {
                let (name, one, other) = (state.name.clone(), known.ty.clone(), state.ty.clone());
                return Err(Error::State { name, one, other });
            }
        }
    }
    Ok(features)
}

/// Refuses states and values, which take `values` bytes, of more than `MAX_BYTES` together, or more than there is.
fn check_memory(states: &[Feature], values: u64) -> Result<()> {
    let needed = states.iter().fold(values, |sum, f| sum.saturating_add(held_bytes(&f.ty)));
    let refuse = |problem: String| Err(Error::Memory { needed, problem });
    if needed > MAX_BYTES {
        return refuse(format!("expected at most {MAX_BYTES}"));
    }
    match usize::try_from(needed).map_err(|e| e.to_string()).and_then(ask_for) {
        Ok(()) => Ok(()),
        Err(problem) => refuse(problem),
    }
}

fn zeros(ty: &TensorType) -> Tensor {
    Tensor::zeros(ty.dtype, extents(ty))
}

fn extents(ty: &TensorType) -> Vec<usize> {
    let extent = |d: &Dim| match d {
        Dim::Known(n) => usize::try_from(*n).unwrap_or(0),
        Dim::Unknown => 0,
    };
    ty.shape.iter().map(extent).collect()
}

/// The tensors in the order of the plan's inputs.
fn bind(plan: &Plan, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>> {
    let error = |name: &str, problem: String| Error::Input {
        function: plan.function().to_owned(),
        name: name.to_owned(),
        problem,
    };
    for (i, (name, _)) in inputs.iter().enumerate() {
        if !plan.inputs().any(|f| f.name == *name) {
            let known = plan.inputs().map(|f| format!("`{}`", f.name)).collect::<Vec<_>>().join(", ");
            return Err(error(name, format!("the function has no such input; it takes {known}")));
        }
        if inputs[..i].iter().any(|(earlier, _)| earlier == name) {
            return Err(error(name, "it is given twice".to_owned()));
        }
    }
    let value = |feature: &Feature| {
        let given = inputs.iter().find(|(name, _)| *name == feature.name);
        let (_, tensor) = given.ok_or_else(|| error(&feature.name, "it is missing".to_owned()))?;
        check(&feature.ty, tensor).map_err(|problem| error(&feature.name, problem))?;
        Ok(tensor.clone())
    };
    plan.inputs().map(value).collect()
}

/// Whether `tensor` has the type `ty` and only values that fit it.
fn check(ty: &TensorType, tensor: &Tensor) -> Result<(), String> {
    tensor.expect_type(ty)?;
    let range = match ty.dtype {
        DataType::Int8 => -128..=127,
        DataType::UInt8 => 0..=255,
        DataType::Int16 => -32768..=32767,
        DataType::UInt16 => 0..=65535,
        _ => return Ok(()),
    };
    match tensor.as_i32s().and_then(|v| v.iter().find(|v| !range.contains(*v))) {
        Some(v) => Err(format!("the value {v} does not fit {}", ty.dtype)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
