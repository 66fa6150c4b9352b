//! The protocol towards the model, and every way a generation ends.

use std::collections::BTreeSet;

use anelith_report::Reported;

use super::{End, Generator, Limits};
use crate::fixtures::{Call, Script};
use crate::{Error, Kind, LanguageModel, Next};

const STOP: u32 = 31;

fn generate(model: &mut Script, prompt: &[u32], max_tokens: usize) -> (Vec<u32>, Option<End>) {
    let stop = BTreeSet::from([STOP]);
    let mut generator = Generator::new(model, prompt.to_vec(), Limits { max_tokens }, stop).unwrap();
    let tokens: Vec<u32> = generator.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(generator.generated(), tokens.len());
    assert_eq!(generator.prompt_tokens(), prompt.len());
    assert!(generator.next().is_none(), "an iterator that ended stays ended");
    (tokens, generator.end())
}

#[test]
fn full_batches_are_prefilled_and_the_rest_is_inferred_token_by_token() {
    use Call::{Infer, Prefill, Reset};
    let first = || Prefill(vec![0, 1, 2, 3], 0);
    // (prompt length, calls up to the first generated token), batches of four
    let cases: [(u32, Vec<Call>); 6] = [
        (1, vec![Reset, Infer(0, 0)]),
        (3, vec![Reset, Infer(0, 0), Infer(1, 1), Infer(2, 2)]),
        (4, vec![Reset, Infer(0, 0), Infer(1, 1), Infer(2, 2), Infer(3, 3)]),
        (5, vec![Reset, first(), Infer(4, 4)]),
        (7, vec![Reset, first(), Infer(4, 4), Infer(5, 5), Infer(6, 6)]),
        (9, vec![Reset, first(), Prefill(vec![4, 5, 6, 7], 4), Infer(8, 8)]),
    ];
    for (length, calls) in cases {
        let prompt: Vec<u32> = (0..length).collect();
        let mut model = Script::new(prompt.len(), &[20, STOP]);
        let (tokens, end) = generate(&mut model, &prompt, 1);
        assert_eq!((tokens, end), (vec![20], Some(End::MaxTokens)), "{length}");
        assert_eq!(model.calls, calls, "{length}");
    }
}

#[test]
fn each_token_is_fed_at_the_position_after_the_last() {
    let mut model = Script::new(2, &[20, 21, STOP]);
    let (tokens, end) = generate(&mut model, &[7, 8], 100);
    assert_eq!((tokens, end), (vec![20, 21], Some(End::Stop)));
    let expected = [(7, 0), (8, 1), (20, 2), (21, 3)].map(|(t, p)| Call::Infer(t, p));
    assert_eq!(model.calls[1..], expected);
}

#[test]
fn a_generation_ends_at_the_first_limit_it_meets() {
    // (prompt length, most tokens, script length, yielded, why), context of 16
    let cases = [
        (3, 0, 5, 0, End::MaxTokens),
        (3, 5, 5, 5, End::MaxTokens),
        (3, 6, 5, 5, End::Stop),
        (15, 100, 20, 2, End::ContextFull),
        (16, 100, 20, 1, End::ContextFull),
        (16, 1, 20, 1, End::MaxTokens),
    ];
    for (length, most, script, yielded, why) in cases {
        let mut answer = vec![9; script];
        answer.push(STOP);
        let mut model = Script::new(length, &answer);
        let (tokens, end) = generate(&mut model, &vec![1; length], most);
        assert_eq!((tokens.len(), end), (yielded, Some(why)), "{length} {most} {script}");
        let last = model.calls.iter().filter_map(|call| match call {
            Call::Infer(_, position) => Some(*position),
            _ => None,
        });
        assert!(last.max().is_none_or(|position| position < 16), "no position beyond the context");
    }
}

#[test]
fn models_with_the_argmax_built_in_are_taken_at_their_word() {
    let mut model = Script::new(1, &[20, 21, STOP]);
    model.argmax = true;
    assert_eq!(generate(&mut model, &[1], 9), (vec![20, 21], Some(End::Stop)));
}

#[test]
fn the_caller_can_prefill_in_steps_and_stop_between_them() {
    let mut model = Script::new(6, &[STOP]);
    let prompt = (0..6).collect();
    let limits = Limits { max_tokens: 9 };
    let mut generator = Generator::new(&mut model, prompt, limits, BTreeSet::from([STOP])).unwrap();
    assert!(generator.prefill_step().unwrap(), "one token is left");
    assert!(!generator.prefill_step().unwrap());
    assert!(!generator.prefill_step().unwrap(), "nothing is done twice");
    assert!(generator.next().is_none());
    assert_eq!(generator.end(), Some(End::Stop));
    assert_eq!(model.calls.len(), 4, "{:?}", model.calls);
}

#[test]
fn prompts_that_cannot_be_run_are_refused_before_the_model_is_touched() {
    // (prompt, kind, found)
    let cases: [(Vec<u32>, Kind, &str); 3] = [
        (vec![], Kind::Prompt, "none"),
        (vec![1; 17], Kind::Prompt, "17 tokens"),
        (vec![1, 32], Kind::Malformed, "32"),
    ];
    for (prompt, kind, found) in cases {
        let mut model = Script::new(1, &[]);
        let limits = Limits { max_tokens: 1 };
        let result = Generator::new(&mut model, prompt, limits, BTreeSet::new());
        let error = result.err().unwrap();
        assert_eq!((error.kind(), error.found()), (kind, Some(found)), "{error}");
        assert!(model.calls.is_empty());
    }
    let mut model = Script::new(1, &[]);
    let limits = Limits { max_tokens: 1 };
    let error = Generator::new(&mut model, vec![1; 17], limits, BTreeSet::new()).err().unwrap();
    assert_eq!(error.to_string(), "the prompt of 17 tokens does not fit the context of 16");
}

/// A model that predicts the same whatever it is told.
struct Fixed(Next);

impl LanguageModel for Fixed {
    fn context_length(&self) -> usize {
        8
    }
    fn batch_size(&self) -> usize {
        4
    }
    fn vocab_size(&self) -> usize {
        3
    }
    fn reset(&mut self) {}
    fn prefill(&mut self, _: &[u32], _: usize) -> Result<(), Error> {
        Ok(())
    }
    fn infer(&mut self, _: u32, _: usize) -> Result<Next, Error> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_model_that_does_not_make_sense_is_an_error_once() {
    let cases = [
        Next::Logits(vec![0.0, 1.0]),
        Next::Logits(vec![0.0; 4]),
        Next::Logits(vec![0.0, f32::NAN, 0.0]),
        Next::Token(3),
    ];
    for next in cases {
        let mut model: Box<dyn LanguageModel> = Box::new(Fixed(next.clone()));
        let limits = Limits { max_tokens: 5 };
        let mut generator = Generator::new(model.as_mut(), vec![1], limits, BTreeSet::new()).unwrap();
        let error = generator.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Model, "{next:?}");
        assert!(generator.next().is_none(), "{next:?}");
        assert_eq!(generator.end(), None, "an error is not an end");
    }
}

#[test]
fn a_model_that_fails_in_the_prompt_ends_the_generation() {
    let mut model = Script::new(1, &[5]);
    let limits = Limits { max_tokens: 5 };
    let mut generator = Generator::new(&mut model, vec![1, 2, 3], limits, BTreeSet::new()).unwrap();
    assert_eq!(generator.prefill().unwrap_err().kind(), Kind::Model);
    assert!(!generator.prefill_step().unwrap());
    assert!(generator.next().is_none());
}
