//! Step 6: the compiled model, loaded from disk, must agree with itself and answer a question; and what of that can be
//! said before there is one.

use std::path::Path;

use anelith_chat::{
    Cached, Candidate, LanguageModel, Meta, Monolith, Next, Session, SessionOptions, log_softmax,
};
use anelith_checkpoint::Checkpoint;
use anelith_report::{Report, Reported};
use anelith_runtime::Precision;

use crate::bench::peak_bytes;
use crate::chat::answer;
use crate::failure::{Failure, Result, Status};
use crate::results::{Agreement, Chat};
use crate::terminal::{note, warn};

/// What a converted model is asked.
pub(crate) const QUESTION: &str = "Who are you?";

const MAX_TOKENS: usize = 100;

/// The KL divergence in nats that fp16 rounding may cause between a batch and its tokens one by one.
const MAX_KL: f64 = 1e-4;

/// How far the largest logits of a vocabulary split may be apart in the same comparison, relative to themselves where
/// they are above 1: eight units of the last place of fp16.
const MAX_APART: f64 = 8.0 / 1024.0;

/// Warns of tokens for which the model has no row; refuses them where step 6 could not even ask.
pub(crate) fn check_vocabulary(session: &Session, checkpoint: &Checkpoint) -> Result<()> {
    let (tokenizer, size) = (session.tokenizer(), checkpoint.config.vocab_size);
    let is_beyond = |id: &u32| *id as usize >= size;
    let Some((largest, token)) = tokenizer.last_token().filter(|(id, _)| is_beyond(id)) else {
        return Ok(());
    };
    // Without the chat template, the tokenizer frames a text itself.
    let asked = [session.prompt(QUESTION)?, tokenizer.encode(QUESTION, true)?].concat();
    let stops = tokenizer.stop_ids();
    let endless = stops.first().filter(|_| stops.iter().all(is_beyond));
    let (id, what) = match (asked.iter().find(|id| is_beyond(id)), endless) {
        (Some(id), _) => (*id, "prompts need a token that the model does not have"),
        (None, Some(id)) => (*id, "no token that ends an answer is one that the model has"),
        (None, None) => {
            warn(&format!(
                "tokenizer.json: ids up to {largest} ({token:?}) are beyond vocab_size {size}; \
                 the model cannot read or answer with those from {size} on"
            ));
            return Ok(());
        }
    };
    let found = tokenizer.token(id).map_or(id.to_string(), |token| format!("{id} ({token:?})"));
    let report = Report::new(what).at(checkpoint.dir.join("tokenizer.json").display());
    let report = report.expecting(format!("ids below {size}, the vocab_size of config.json")).finding(found);
    Err(Failure::new(Status::Input, report.mending("use the tokenizer files that belong to this model")))
}

/// Checks the model that `meta` describes, asks it, and shows the answer and the figures as they come.
///
/// # Errors
/// Whatever stops the model from answering is the gate's failure, except the machine's own.
pub(crate) fn chat(meta: &Path, show: fn(&str) -> Result<()>) -> Result<Chat> {
    check_and_ask(meta, show).map_err(|failure| match failure.status {
        Status::Machine => failure,
        _ => failure.with_status(Status::Gate),
    })
}

fn check_and_ask(meta: &Path, show: fn(&str) -> Result<()>) -> Result<Chat> {
    let meta = Meta::open(meta)?;
    let mut model = Monolith::open(&meta, Precision::Exact)?;
    let agreement = prefill_against_infer(&mut model)?;
    note(&format!("  prefill and infer agree: {}; {} is asked for", agreement.found, agreement.expected));
    let options = SessionOptions { max_tokens: Some(MAX_TOKENS), ..SessionOptions::default() };
    let mut session = Session::open(meta.dir(), options)?;
    show(&format!("> {QUESTION}\n"))?;
    let answer = match answer(&mut session, &mut Cached::new(model), QUESTION, show) {
        // A context too short for the question says nothing against the model.
        Err(failure) if failure.status == Status::Usage => {
            note(&format!("  not asked: {}", failure.what()));
            return Ok(Chat { agreement, question: QUESTION, answer: Err(failure.what().to_owned()) });
        }
        answer => answer?,
    };
    let is_empty = answer.text.as_ref().is_none_or(|text| text.trim().is_empty());
    if session.has_template() && is_empty {
        return Err(gate(Report::new("the model gave an empty answer").at(QUESTION)));
    }
    show(&format!(
        "prefill {}, decode {}, peak memory {}\n",
        rate(answer.prefill_rate()),
        rate(answer.decode_rate()),
        peak_bytes().map_or("unknown".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
    ))?;
    Ok(Chat { agreement, question: QUESTION, answer: Ok(answer) })
}

fn gate(report: Report) -> Failure {
    Failure::new(
        Status::Gate,
        report.mending("convert again; if that does not help, report it with the model's name"),
    )
}

/// What `infer` says of the next token.
enum Prediction {
    Logits(Vec<f32>),
    /// Of a model that picks the token itself.
    Candidates(Vec<Candidate>),
}

/// Runs one full batch through `prefill` and the same tokens through `infer`, and compares what follows.
fn prefill_against_infer(model: &mut Monolith) -> Result<Agreement> {
    let (batch, vocab) = (model.batch_size(), model.vocab_size());
    // Any fixed ids do; a stride prime to most vocabularies spreads them.
    let ids: Vec<u32> = (0..=batch).map(|i| ((i * 7919 + 1) % vocab) as u32).collect();
    // Where the batch fills the context, the last token is fed again at its place, as consumers do.
    let last = batch.min(model.context_length() - 1);
    model.reset();
    model.prefill(&ids[..batch], 0)?;
    let batched = predict(model, ids[last], last)?;
    model.reset();
    for (position, id) in ids[..last].iter().enumerate() {
        model.infer(*id, position)?;
    }
    let single = predict(model, ids[last], last)?;
    model.reset();
    let (expected, found, agrees) = match (&single, &batched) {
        (Prediction::Logits(single), Prediction::Logits(batched)) => {
            let kl = kl_divergence(single, batched);
            (format!("a KL divergence of at most {MAX_KL:.0e}"), format!("KL {kl:.1e}"), kl <= MAX_KL)
        }
        (Prediction::Candidates(single), Prediction::Candidates(batched)) => compare(single, batched),
        _ => return Err(gate(Report::new("the model answers now with logits and now with tokens"))),
    };
    if agrees {
        return Ok(Agreement { expected, found });
    }
    let report = Report::new("prefill and infer disagree on the same tokens");
    Err(gate(report.expecting(expected).finding(found)))
}

/// Compares the tokens that each vocabulary split holds for likeliest, and their logits: what is asked for, what was
/// found, and whether it is enough.
///
/// Rounding may exchange two tokens that are almost equally likely, so a token may differ where its logit agrees; that
/// most tokens do says that it is rounding.
fn compare(single: &[Candidate], batched: &[Candidate]) -> (String, String, bool) {
    let pairs = || single.iter().zip(batched);
    let apart = |(s, b): (&Candidate, &Candidate)| {
        let difference = f64::from((s.logit - b.logit).abs());
        difference / f64::from(s.logit.abs().max(1.0))
    };
    let furthest = pairs().map(apart).fold(0.0, f64::max);
    let same = pairs().filter(|(s, b)| s.token == b.token).count();
    let count = single.len();
    let expected = format!("the same token in most splits, and logits within {MAX_APART:.0e}");
    let found = format!("the same token in {same} of {count} splits, logits within {furthest:.1e}");
    let is_near = pairs().all(|pair| apart(pair) <= MAX_APART);
    let agrees = count == batched.len() && same * 4 >= count * 3 && is_near;
    (expected, found, agrees)
}

/// The prediction after `id`; it, all outputs before it and the cache must be finite.
fn predict(model: &mut Monolith, id: u32, position: usize) -> Result<Prediction> {
    let prediction = match model.has_argmax() {
        true => Prediction::Candidates(model.candidates(id, position)?),
        false => match model.infer(id, position)? {
            Next::Logits(logits) => Prediction::Logits(logits),
            Next::Token(_) => return Err(gate(Report::new("the model returns no logits"))),
        },
    };
    if model.is_finite() {
        return Ok(prediction);
    }
    let what = "the model computes infinities or NaN in fp16";
    Err(gate(Report::new(what).expecting("finite outputs and a finite cache")))
}

/// KL(p || q) in nats of the distributions that two rows of logits stand for.
fn kl_divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |rate| format!("{rate:.1} tokens/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_may_exchange_few_tokens_and_no_logit() {
        let of = |tokens: [u32; 4], logit: f32| tokens.map(|token| Candidate { token, logit });
        let one = of([1, 20, 30, 40], 8.0);
        for (other, expected) in [
            (one, true),
            (of([1, 20, 30, 41], 8.0), true),
            (of([1, 20, 31, 41], 8.0), false),
            (of([1, 20, 30, 40], 8.0625), true),
            (of([1, 20, 30, 40], 8.125), false),
            (of([1, 20, 30, 40], f32::NAN), false),
        ] {
            let (_, found, agrees) = compare(&one, &other);
            assert_eq!(agrees, expected, "{other:?}: {found}");
        }
        assert!(!compare(&one, &one[..3]).2);
    }

    #[test]
    fn equal_rows_do_not_diverge_and_others_do() {
        assert!(kl_divergence(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]).abs() < 1e-15);
        // The distributions (1/2, 1/2) and (1/4, 3/4).
        let kl = kl_divergence(&[0.0, 0.0], &[0.0, 3f32.ln()]);
        assert!((kl - 0.5 * (2f64.ln() + (2.0f64 / 3.0).ln())).abs() < 1e-6, "{kl}");
    }
}
