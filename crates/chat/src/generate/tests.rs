//! The protocol towards the model, and every way a generation ends.

use std::collections::BTreeSet;

use anelith_report::Reported;

use super::{End, Generation, Generator, Request};
use crate::fixtures::{Call, Script};
use crate::{Cached, Error, Kind, LanguageModel, Next, Sampling, Slot};

const STOP: u32 = 31;

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens,
        stop: BTreeSet::from([STOP]),
        sampling: Sampling::default(),
    }
}

fn generate(model: &mut Cached<Script>, prompt: &[u32], max_tokens: usize) -> (Vec<u32>, Option<End>) {
    let mut generator = Generator::new(model, request(prompt, max_tokens)).unwrap();
    let tokens: Vec<u32> = generator.by_ref().collect::<Result<_, _>>().unwrap();
    assert_eq!(generator.generation().generated(), tokens.len());
    assert_eq!(generator.generation().prompt(), prompt);
    assert!(generator.next().is_none(), "an iterator that ended stays ended");
    (tokens, generator.generation().end())
}

#[test]
fn a_prompt_is_run_in_batches_and_few_tokens_one_by_one() {
    use Call::{Infer, Prefill, Reset};
    let first = || Prefill((0..8).collect(), 0);
    // (prompt length, calls up to the first generated token), batches of eight, context of 16
    let cases: [(u32, Vec<Call>); 7] = [
        (1, vec![Reset, Infer(0, 0)]),
        (3, vec![Reset, Infer(0, 0), Infer(1, 1), Infer(2, 2)]),
        // More than a third of a batch: it is filled up.
        (4, vec![Reset, Prefill(vec![0, 1, 2, 2, 2, 2, 2, 2], 0), Infer(3, 3)]),
        (9, vec![Reset, first(), Infer(8, 8)]),
        (11, vec![Reset, first(), Infer(8, 8), Infer(9, 9), Infer(10, 10)]),
        (13, vec![Reset, first(), Prefill(vec![8, 9, 10, 11, 11, 11, 11, 11], 8), Infer(12, 12)]),
        (16, vec![Reset, first(), Prefill(vec![8, 9, 10, 11, 12, 13, 14, 14], 8), Infer(15, 15)]),
    ];
    for (length, calls) in cases {
        let prompt: Vec<u32> = (0..length).collect();
        let mut model = Script::new(prompt.len(), &[20, STOP]);
        model.batch_size = 8;
        let mut model = Cached::new(model);
        let (tokens, end) = generate(&mut model, &prompt, 1);
        assert_eq!((tokens, end), (vec![20], Some(End::MaxTokens)), "{length}");
        assert_eq!(model.model().calls, calls, "{length}");
    }
}

#[test]
fn no_batch_reaches_beyond_the_context() {
    let mut model = Script::new(15, &[20, STOP]);
    (model.batch_size, model.context_length) = (8, 15);
    let mut model = Cached::new(model);
    let prompt: Vec<u32> = (0..15).collect();
    assert_eq!(generate(&mut model, &prompt, 9), (vec![20], Some(End::ContextFull)));
    let expected: Vec<Call> = (8..15).map(|i| Call::Infer(i, i as usize)).collect();
    assert_eq!(model.model().calls[2..], expected);
}

#[test]
fn each_token_is_fed_at_the_position_after_the_last() {
    let mut model = Cached::new(Script::new(2, &[20, 21, STOP]));
    let (tokens, end) = generate(&mut model, &[7, 8], 100);
    assert_eq!((tokens, end), (vec![20, 21], Some(End::Stop)));
    let expected = [(7, 0), (8, 1), (20, 2), (21, 3)].map(|(t, p)| Call::Infer(t, p));
    assert_eq!(model.model().calls[1..], expected);
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
        let mut model = Cached::new(Script::new(length, &answer));
        let (tokens, end) = generate(&mut model, &vec![1; length], most);
        assert_eq!((tokens.len(), end), (yielded, Some(why)), "{length} {most} {script}");
        let last = model.model().calls.iter().filter_map(|call| match call {
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
    let mut model = Cached::new(model);
    assert_eq!(generate(&mut model, &[1], 9), (vec![20, 21], Some(End::Stop)));
    let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
    let error = Generation::new(model.model(), Request { sampling, ..request(&[1], 9) }).unwrap_err();
    assert_eq!((error.kind(), error.found()), (Kind::Unsupported, Some("sampling")));
}

#[test]
fn the_caller_can_prefill_in_steps_and_stop_between_them() {
    let mut model = Cached::new(Script::new(6, &[STOP]));
    let mut generator = Generator::new(&mut model, request(&[0, 1, 2, 3, 4, 5], 9)).unwrap();
    assert!(generator.prefill_step().unwrap(), "one token is left");
    assert!(!generator.prefill_step().unwrap());
    assert!(!generator.prefill_step().unwrap(), "nothing is done twice");
    assert!(generator.next().is_none());
    assert_eq!(generator.generation().end(), Some(End::Stop));
    assert_eq!(model.model().calls.len(), 4, "{:?}", model.model().calls);
}

#[test]
fn what_the_cache_holds_of_a_prompt_is_not_run_again() {
    let mut model = Cached::new(Script::new(7, &[20, STOP, 21]));
    let prompt = [1, 2, 3, 4, 5, 6, 7];
    generate(&mut model, &prompt, 9);
    assert_eq!(model.tokens(), [1, 2, 3, 4, 5, 6, 7, 20]);
    // (prompt, tokens that are run and their positions, whether the cache is reset)
    let cases: [(&[u32], &[Call]); 4] = [
        // The same: the last token predicts the first of the answer.
        (&prompt, &[Call::Infer(7, 6), Call::Infer(20, 7)]),
        // The answer is part of it.
        (&[1, 2, 3, 4, 5, 6, 7, 20, 8], &[Call::Infer(8, 8)]),
        // Another way from the second token on, a batch of it.
        (&[1, 9, 9, 9, 9, 9, 9], &[Call::Prefill(vec![9; 4], 1), Call::Infer(9, 5), Call::Infer(9, 6)]),
        (&[2, 2], &[Call::Reset, Call::Infer(2, 0), Call::Infer(2, 1)]),
    ];
    for (prompt, calls) in cases {
        let before = model.model().calls.len();
        let mut generator = Generator::new(&mut model, request(prompt, 2)).unwrap();
        generator.next().unwrap().unwrap();
        if prompt.len() == 7 && prompt[1] == 2 {
            assert_eq!(generator.generation().reused(), 6);
            assert!(generator.next().is_none());
        }
        assert_eq!(model.model().calls[before..], *calls, "{prompt:?}");
    }
}

#[test]
fn generations_take_turns_each_with_its_cache() {
    let mut model = Cached::new(Script::new(2, &[20, 21, 22, STOP]));
    let mut slots = [Slot::new(model.model()).unwrap(), Slot::new(model.model()).unwrap()];
    let prompts = [[1, 2], [3, 4]];
    let mut generations = prompts.map(|prompt| Generation::new(model.model(), request(&prompt, 9)).unwrap());
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..4 {
        for ((generation, slot), said) in generations.iter_mut().zip(&mut slots).zip(&mut said) {
            model.swap(slot);
            said.extend(generation.step(&mut model).unwrap());
            model.swap(slot);
        }
    }
    assert_eq!(said, [[20, 21, 22], [20, 21, 22]]);
    assert!(generations.iter().all(|generation| generation.end() == Some(End::Stop)));
    assert_eq!(slots.each_ref().map(Slot::tokens), [[1, 2, 20, 21, 22], [3, 4, 20, 21, 22]]);
    assert_eq!((slots[0].common(&[1, 2, 9]), slots[1].common(&[1, 2, 9])), (2, 0));
    assert!(model.tokens().is_empty());

    // In the wrong cache, a generation does not go on.
    let mut generation = Generation::new(model.model(), request(&[1, 2, 20, 9], 9)).unwrap();
    model.swap(&mut slots[0]);
    generation.prefill_step(&mut model).unwrap();
    model.swap(&mut slots[1]);
    assert_eq!(generation.step(&mut model).unwrap_err().kind(), Kind::Model);
    assert_eq!(generation.step(&mut model).unwrap(), None);
}

#[test]
fn the_logits_of_each_token_are_to_be_had() {
    let mut model = Cached::new(Script::new(1, &[20, STOP]));
    let mut generator = Generator::new(&mut model, request(&[1], 9)).unwrap();
    assert!(generator.generation().logits().is_none());
    generator.next().unwrap().unwrap();
    assert_eq!(generator.generation().logits().unwrap()[20], 1.0);
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
        let model = Script::new(1, &[]);
        let error = Generation::new(&model, request(&prompt, 1)).unwrap_err();
        assert_eq!((error.kind(), error.found()), (kind, Some(found)), "{error}");
        assert!(model.calls.is_empty());
    }
    let error = Generation::new(&Script::new(1, &[]), request(&[1; 17], 1)).unwrap_err();
    assert_eq!(error.to_string(), "the prompt of 17 tokens does not fit the context of 16");
    let sampling = Sampling { top_p: 2.0, ..Sampling::default() };
    let error = Generation::new(&Script::new(1, &[]), Request { sampling, ..request(&[1], 1) }).unwrap_err();
    assert_eq!((error.kind(), error.location()), (Kind::Prompt, Some("top_p")));
}

/// A model that predicts the same whatever it is told.
struct Fixed(Next);

impl LanguageModel for Fixed {
    type Cache = ();

    fn new_cache(&self) -> Result<(), Error> {
        Ok(())
    }
    fn swap_cache(&mut self, (): &mut ()) {}
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
        let mut model = Cached::new(Fixed(next.clone()));
        let mut generator = Generator::new(&mut model, request(&[1], 5)).unwrap();
        let error = generator.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Model, "{next:?}");
        assert!(generator.next().is_none(), "{next:?}");
        assert_eq!(generator.generation().end(), None, "an error is not an end");
    }
}

#[test]
fn a_model_that_fails_in_the_prompt_ends_the_generation() {
    let mut model = Script::new(1, &[5]);
    model.batch_size = 16;
    let mut model = Cached::new(model);
    let mut generator = Generator::new(&mut model, request(&[1, 2, 3], 5)).unwrap();
    assert_eq!(generator.prefill().unwrap_err().kind(), Kind::Model);
    assert!(!generator.prefill_step().unwrap());
    assert!(generator.next().is_none());
    assert!(model.tokens().is_empty(), "nobody knows what the cache holds");
}
