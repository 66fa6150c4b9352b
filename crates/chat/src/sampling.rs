//! Sampling: which of the tokens that a model holds for possible comes next.
//!
//! Settings mean what transformers 4.52 takes them for, and apply in its order: penalties, temperature, `top_k`, `top_p`,
//! `min_p`. `presence_penalty`, `frequency_penalty` and `logit_bias`, which it does not have, are OpenAI's.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};

use anelith_report::Reported;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};

use crate::error::{Error, Kind};
use crate::json::Object;
use crate::meta::Meta;
use crate::sampler::{Candidate, check_numbers, greedy, likelier};

/// How many tokens `top_k` leaves in transformers where nobody says.
const TOP_K: usize = 50;

/// How many of the likeliest tokens are put in order at first, before more are.
const FEW: usize = 64;

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the likeliest token always.
    pub temperature: f32,
    /// From how many of the likeliest tokens to choose; 0 is all. Those as likely as the last of them stay too.
    pub top_k: usize,
    /// From the fewest likeliest tokens that have this probability together; 1 is all.
    pub top_p: f32,
    /// From those at least this part as likely as the likeliest; 0 is all.
    pub min_p: f32,
    /// What the logits of tokens in prompt and answer are divided by, those below 0 multiplied; 1 is nothing.
    pub repetition_penalty: f32,
    /// What the logits of tokens in the answer are lowered by.
    pub presence_penalty: f32,
    /// What the logits of tokens in the answer are lowered by for each time they are there.
    pub frequency_penalty: f32,
    /// What is added to the logits of some tokens.
    pub logit_bias: BTreeMap<u32, f32>,
    /// From which chance is drawn: with the same seed, the same logits give the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    /// The likeliest token.
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// How the makers of a model would sample from it: `recommended_sampling` of meta.yaml, and what generation_config.json
    /// beside it says of `min_p` and `repetition_penalty`. The likeliest token where they do not sample, as in transformers.
    ///
    /// # Errors
    /// When generation_config.json cannot be read, or a setting is out of its range.
    pub fn recommended(meta: &Meta) -> Result<Sampling, Error> {
        let generation = Object::read_optional(meta.dir(), "generation_config.json")?;
        let number =
            |key: &str, default: f32| generation.number(key).map(|n| n.map_or(default, |n| n as f32));
        let repetition_penalty = number("repetition_penalty", 1.0)?;
        let min_p = number("min_p", 0.0)?;
        let recommended = meta.recommended_sampling.clone().unwrap_or_default();
        let mut sampling = Sampling { repetition_penalty, ..Sampling::default() };
        if recommended.do_sample == Some(true) {
            sampling.temperature = recommended.temperature.unwrap_or(1.0) as f32;
            sampling.top_k = recommended.top_k.unwrap_or(TOP_K);
            sampling.top_p = recommended.top_p.unwrap_or(1.0) as f32;
            sampling.min_p = min_p;
        }
        match sampling.check() {
            Ok(()) => Ok(sampling),
            Err(error) => Err(error.mending("correct meta.yaml or generation_config.json beside it")),
        }
    }

    /// Refuses settings that are out of range.
    ///
    /// # Errors
    /// [`Kind::Prompt`], with the setting's name as its place.
    pub fn check(&self) -> Result<(), Error> {
        let numbers = [
            ("temperature", self.temperature, "0 to 100", (0.0..=100.0).contains(&self.temperature)),
            ("top_p", self.top_p, "above 0, at most 1", self.top_p > 0.0 && self.top_p <= 1.0),
            ("min_p", self.min_p, "0 to 1", (0.0..=1.0).contains(&self.min_p)),
            (
                "repetition_penalty",
                self.repetition_penalty,
                "above 0, at most 100",
                self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
            ),
            ("presence_penalty", self.presence_penalty, "-2 to 2", self.presence_penalty.abs() <= 2.0),
            ("frequency_penalty", self.frequency_penalty, "-2 to 2", self.frequency_penalty.abs() <= 2.0),
        ];
        let biases =
            self.logit_bias.values().map(|&bias| ("logit_bias", bias, "-100 to 100", bias.abs() <= 100.0));
        match numbers.into_iter().chain(biases).find(|(.., is_right)| !is_right) {
            None => Ok(()),
            Some((name, found, expected, _)) => {
                let error = Error::new(Kind::Prompt, "a sampling setting is out of range").at(name);
                Err(error.expecting(expected).finding(found))
            }
        }
    }

    /// As JSON, by the names that clients give the settings; numbers as people write them, not as the nearest ones of 64
    /// bits.
    pub fn json(&self) -> Value {
        let decimal = |value: f32| value.to_string().parse::<f64>().ok();
        json!({
            "temperature": decimal(self.temperature),
            "top_k": self.top_k,
            "top_p": decimal(self.top_p),
            "min_p": decimal(self.min_p),
            "repetition_penalty": decimal(self.repetition_penalty),
        })
    }

    /// Whether always the likeliest token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether the model's own choice of the likeliest token will do.
    pub fn takes_any_model(&self) -> bool {
        self.is_greedy() && !self.changes_logits()
    }

    fn changes_logits(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || !self.logit_bias.is_empty()
    }
}

/// 64 bits that nobody can know before: a seed where none is asked for.
pub fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Chooses one token after the other.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampling: Sampling,
    chance: ChaCha8Rng,
    /// The tokens of prompt and answer.
    seen: BTreeSet<u32>,
    /// How often each token is in the answer.
    said: BTreeMap<u32, u32>,
}

impl Sampler {
    /// To continue `prompt`.
    pub(crate) fn new(sampling: Sampling, prompt: &[u32]) -> Sampler {
        let chance = ChaCha8Rng::seed_from_u64(sampling.seed);
        let has_penalty = sampling.repetition_penalty != 1.0;
        let seen = if has_penalty { prompt.iter().copied().collect() } else { BTreeSet::new() };
        Sampler { sampling, chance, seen, said: BTreeMap::new() }
    }

    /// The next token.
    ///
    /// # Errors
    /// [`Kind::Model`] when there are no logits or one is not a number.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Result<u32, Error> {
        let token = if self.sampling.takes_any_model() {
            greedy(logits)?
        } else {
            check_numbers(logits)?;
            let logits = self.changed(logits);
            match self.sampling.is_greedy() {
                true => greedy(&logits)?,
                false => {
                    draw(&self.left(&logits), self.chance.next_u64()).map_or_else(|| greedy(&logits), Ok)?
                }
            }
        };
        self.note(token);
        Ok(token)
    }

    /// Remembers a token that was chosen.
    fn note(&mut self, token: u32) {
        if self.sampling.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
        *self.said.entry(token).or_default() += 1;
    }

    /// The logits after biases and penalties.
    fn changed(&self, logits: &[f32]) -> Vec<f32> {
        let mut changed = logits.to_vec();
        let mut at = |token: u32, change: &dyn Fn(f32) -> f32| {
            if let Some(logit) = changed.get_mut(token as usize) {
                *logit = change(*logit);
            }
        };
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, logit_bias, .. } =
            &self.sampling;
        for (token, bias) in logit_bias {
            at(*token, &|logit| logit + bias);
        }
        for token in &self.seen {
            at(*token, &|l| if l < 0.0 { l * repetition_penalty } else { l / repetition_penalty });
        }
        if *presence_penalty != 0.0 || *frequency_penalty != 0.0 {
            for (token, times) in &self.said {
                at(*token, &|logit| logit - presence_penalty - frequency_penalty * *times as f32);
            }
        }
        changed
    }

    /// The tokens that are left to choose from, the likeliest first, each with its weight: its probability over that of
    /// the likeliest.
    fn left(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let scaled = |logit: f32| logit / temperature;
        let largest = scaled(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let weight = |logit: f32| f64::from(scaled(logit) - largest).exp();
        let mut tokens: Vec<Candidate> =
            (0u32..).zip(logits).map(|(token, &logit)| Candidate { token, logit }).collect();
        if top_k > 0 && top_k < tokens.len() {
            let (_, last, _) = tokens.select_nth_unstable_by(top_k - 1, likelier);
            let least = last.logit;
            tokens.retain(|candidate| candidate.logit >= least);
        }
        let total: f64 = match top_p < 1.0 {
            true => tokens.iter().map(|candidate| weight(candidate.logit)).sum(),
            false => f64::INFINITY,
        };
        let share = f64::from(top_p) * total;
        let mut sorted = 0;
        let (mut left, mut sum) = (Vec::new(), 0.0);
        for i in 0..tokens.len() {
            if i == sorted {
                sorted = sort_more(&mut tokens, sorted);
            }
            let Candidate { token, logit } = tokens[i];
            let weight = weight(logit);
            if i > 0 && (sum >= share || weight < f64::from(min_p)) {
                break;
            }
            sum += weight;
            left.push((token, weight));
        }
        left
    }
}

/// Puts more than the first `sorted` of `tokens` in order, the likeliest first; how many are then.
///
/// Mostly few are asked for, and there are a hundred thousand.
fn sort_more(tokens: &mut [Candidate], sorted: usize) -> usize {
    let rest = &mut tokens[sorted..];
    let more = (sorted * 7).max(FEW);
    if more < rest.len() {
        rest.select_nth_unstable_by(more, likelier);
    }
    let more = more.min(rest.len());
    rest[..more].sort_unstable_by(likelier);
    sorted + more
}

/// One of the tokens, by their weights and 64 random bits; nothing where no weight is a number above 0.
fn draw(tokens: &[(u32, f64)], bits: u64) -> Option<u32> {
    let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
    // The numbers from 0 to 1 that f64 tells apart evenly.
    let mut rest = (bits >> 11) as f64 / (1u64 << 53) as f64 * total;
    for (token, weight) in tokens {
        rest -= weight;
        if rest < 0.0 {
            return Some(*token);
        }
    }
    tokens.iter().rev().find(|(_, weight)| *weight > 0.0).map(|(token, _)| *token)
}

#[cfg(test)]
mod tests;
