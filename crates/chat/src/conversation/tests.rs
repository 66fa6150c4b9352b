//! Questions and answers over a model that follows a script.

use super::{Session, SessionOptions};
use crate::fixtures::{Call, Script, directory, shared, word_tokenizer};
use crate::{Cached, End, Kind, Role, Turn};

/// Ids from 3 on.
const WORDS: [&str; 10] = ["S", "U", "A", "q0", "q1", "q2", "a0", "a1", "a2", "rules"];
const S: u32 = 3;
const U: u32 = 4;
const A: u32 = 5;
const Q0: u32 = 6;
const Q1: u32 = 7;
const Q2: u32 = 8;
const A0: u32 = 9;
const A1: u32 = 10;
const A2: u32 = 11;
const RULES: u32 = 12;
const BOS: u32 = 0;
const EOS: u32 = 1;

/// `<s> U q0 A a0 </s> U q1 A`: roles as letters, each answer closed.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %} {{ m.role[:1] | upper }} {{ m.content }}{% if m.role == 'assistant' %} {{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %} A{% endif %}";

fn session(template: Option<&str>, options: SessionOptions) -> Session {
    let tokenizer = word_tokenizer(&WORDS);
    let mut files = vec![
        ("tokenizer.json", tokenizer.as_str()),
        ("tokenizer_config.json", r#"{"tokenizer_class": "LlamaTokenizer"}"#),
    ];
    files.extend(template.map(|text| ("chat_template.jinja", text)));
    Session::open(directory(&files).path(), options).unwrap()
}

/// The tokens at the positions of the prompt, as the model was given them last.
fn prompt_of(model: &Script) -> Vec<u32> {
    let mut tokens = vec![None; model.context_length];
    for call in &model.calls {
        match call {
            Call::Reset | Call::Swap(_) => tokens.fill(None),
            Call::Prefill(batch, start) => {
                (*start..).zip(batch).for_each(|(at, token)| tokens[at] = Some(*token));
            }
            Call::Infer(token, at) => tokens[*at] = Some(*token),
        }
    }
    tokens[..=model.prompt_end].iter().map(|token| token.unwrap()).collect()
}

/// Asks and checks the prompt; the model answers with `answer`.
fn ask(session: &mut Session, question: &str, prompt: &[u32], answer: &[u32]) -> super::Reply {
    let mut model = Cached::new(Script::new(prompt.len(), answer));
    let reply = session.answer(&mut model, question).unwrap();
    assert_eq!(prompt_of(model.model()), prompt, "prompt of {question}");
    assert_eq!(reply.prompt_tokens, prompt.len());
    reply
}

#[test]
fn one_shot_questions_know_nothing_of_each_other() {
    let mut session = session(Some(TEMPLATE), SessionOptions::default());
    assert!(session.has_template());
    let reply = ask(&mut session, "q0", &[BOS, U, Q0, A], &[A0, A1, EOS]);
    assert_eq!((reply.text.as_str(), reply.end), ("a0 a1", Some(End::Stop)));
    assert_eq!((reply.generated, reply.forgotten), (2, 0));
    ask(&mut session, "q1", &[BOS, U, Q1, A], &[EOS]);
    assert!(session.history().is_empty());
}

#[test]
fn a_full_conversation_repeats_what_was_said() {
    let options = SessionOptions {
        full: true,
        system: Some("rules".into()),
        max_tokens: Some(2),
        ..SessionOptions::default()
    };
    let mut session = session(Some(TEMPLATE), options);
    ask(&mut session, "q0", &[BOS, S, RULES, U, Q0, A], &[A0, EOS]);
    let second = [BOS, S, RULES, U, Q0, A, A0, EOS, U, Q1, A];
    let reply = ask(&mut session, "q1", &second, &[A1, A1, A1]);
    assert_eq!((reply.end, reply.forgotten), (Some(End::MaxTokens), 0));
    assert_eq!(session.history().len(), 4);
    assert_eq!(session.history()[3], Turn::new(Role::Assistant, "a1 a1"));

    // 17 tokens would not leave room for two more in a context of 16. As something goes, so much goes that a quarter is
    // free: without the first pair there would be 12 tokens.
    let reply = ask(&mut session, "q2", &[BOS, S, RULES, U, Q2, A], &[A2, EOS]);
    assert_eq!(reply.forgotten, 4);
    assert_eq!(session.history().len(), 2);
    session.clear();
    ask(&mut session, "q1", &[BOS, S, RULES, U, Q1, A], &[EOS]);
}

#[test]
fn what_does_not_fit_is_forgotten_when_there_is_an_answer() {
    let options = SessionOptions { full: true, max_tokens: Some(2), ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    let turn = |i: usize| Turn::new(if i.is_multiple_of(2) { Role::User } else { Role::Assistant }, "q0");
    let history: Vec<Turn> = (0..40).map(turn).collect();
    session.set_history(history.clone());
    let mut model = Cached::new(Script::new(9, &[A1, EOS]));
    drop(session.ask(&mut model, "q1").unwrap());
    assert_eq!(session.history(), history);
    // As many questions stay as fit three quarters of what the answer leaves: one, and its answer.
    let reply = session.answer(&mut model, "q1").unwrap();
    assert_eq!((reply.forgotten, reply.prompt_tokens, session.history().len()), (38, 9, 4));
}

#[test]
fn without_a_template_the_text_goes_with_the_tokenizers_own_special_tokens() {
    for (template, no_template) in [(None, false), (Some(TEMPLATE), true)] {
        let options = SessionOptions { full: true, no_template, ..SessionOptions::default() };
        let mut session = session(template, options);
        assert!(!session.has_template());
        ask(&mut session, "q0", &[BOS, Q0], &[A0, EOS]);
        ask(&mut session, "q1", &[BOS, Q0, A0, Q1], &[EOS]);
    }
}

#[test]
fn stopping_early_keeps_what_was_said_only_when_finished() {
    let options = SessionOptions { full: true, ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    let mut model = Cached::new(Script::new(4, &[A0, A1, A2, EOS]));
    let mut answer = session.ask(&mut model, "q0").unwrap();
    assert_eq!(answer.next().unwrap().unwrap(), "a0");
    drop(answer);
    assert!(session.history().is_empty());

    let mut answer = session.ask(&mut model, "q0").unwrap();
    answer.generator().prefill().unwrap();
    let said: Vec<String> = answer.by_ref().take(2).map(Result::unwrap).collect();
    assert_eq!(said, ["a0", " a1"]);
    let reply = answer.finish().unwrap();
    assert_eq!((reply.text.as_str(), reply.end, reply.generated), ("a0 a1", None, 2));
    assert_eq!(session.history(), [Turn::new(Role::User, "q0"), Turn::new(Role::Assistant, "a0 a1")]);
}

#[test]
fn a_question_that_cannot_fit_leaves_the_conversation_as_it_was() {
    let options = SessionOptions { full: true, ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    ask(&mut session, "q0", &[BOS, U, Q0, A], &[A0, EOS]);
    let mut model = Cached::new(Script::new(1, &[]));
    let error = session.ask(&mut model, &"q1 ".repeat(14)).err().unwrap();
    assert_eq!(error.kind(), Kind::Prompt);
    assert_eq!(error.to_string(), "the prompt of 17 tokens does not fit the context of 16");
    assert_eq!(session.history().len(), 2);
    assert!(model.model().calls.is_empty());
}

#[test]
fn only_what_is_new_is_run() {
    let options = SessionOptions { full: true, max_tokens: Some(2), ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    // From the end of the first prompt to that of the second, and its answer.
    let mut model = Cached::new(Script::new(4, &[A0, EOS, 0, 0, 0, A1, EOS]));
    assert_eq!(session.answer(&mut model, "q0").unwrap().reused, 0);
    assert_eq!(model.tokens(), [BOS, U, Q0, A, A0]);
    let before = model.model().calls.len();
    let reply = session.answer(&mut model, "q1").unwrap();
    assert_eq!((reply.text.as_str(), reply.prompt_tokens, reply.reused), ("a1", 9, 5));
    let new = &model.model().calls[before..];
    assert_eq!(new, [Call::Prefill(vec![EOS, U, Q1, Q1], 5), Call::Infer(A, 8), Call::Infer(A1, 9)]);
}

#[test]
fn a_question_is_taken_back_with_its_answer() {
    let options = SessionOptions { full: true, max_tokens: Some(2), ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    assert_eq!(session.retract(), None);
    ask(&mut session, "q0", &[BOS, U, Q0, A], &[A0, EOS]);
    ask(&mut session, "q1", &[BOS, U, Q0, A, A0, EOS, U, Q1, A], &[A1, EOS]);
    assert_eq!(session.retract().as_deref(), Some("q1"));
    ask(&mut session, "q2", &[BOS, U, Q0, A, A0, EOS, U, Q2, A], &[A2, EOS]);
    let history = session.history().to_vec();
    session.clear();
    session.set_history(history[..2].to_vec());
    ask(&mut session, "q2", &[BOS, U, Q0, A, A0, EOS, U, Q2, A], &[A2, EOS]);
    assert_eq!(session.history(), history);
}

#[test]
fn a_failing_model_is_reported_and_its_answer_not_kept() {
    let options = SessionOptions { full: true, ..SessionOptions::default() };
    let mut session = session(Some(TEMPLATE), options);
    let mut model = Cached::new(Script::new(4, &[A0]));
    let error = session.answer(&mut model, "q0").unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Model, "the script is over"));
    assert!(session.history().is_empty());
}

#[test]
fn the_bos_of_a_template_is_not_added_twice_and_thinking_is_passed_on() {
    let Some(dir) = shared("data/tokenizers/deepseek-r1-distill-llama") else {
        return;
    };
    let session = Session::open(&dir, SessionOptions::default()).unwrap();
    let ids = session.prompt_ids(&[], "Who are you?").unwrap();
    assert_eq!(ids, [128_000, 128_011, 15546, 527, 499, 30, 128_012, 128_013, 198]);

    let Some(dir) = shared("data/tokenizers/qwen3") else {
        return;
    };
    let options = SessionOptions { enable_thinking: Some(false), ..SessionOptions::default() };
    let session = Session::open(&dir, options).unwrap();
    let ids = session.prompt_ids(&[], "Who are you?").unwrap();
    assert_eq!(ids[ids.len() - 4..], [151_667, 271, 151_668, 271]);
}

#[test]
fn a_character_that_is_never_finished_comes_last() {
    let Some(dir) = shared("data/tokenizers/qwen3") else {
        return;
    };
    let mut session = Session::open(&dir, SessionOptions::default()).unwrap();
    // The tower is several tokens, of which only the last completes the character.
    let tower = session.tokenizer().encode(" \u{1f5fc}", false).unwrap();
    let mut model = Script::new(12, &tower[..tower.len() - 1]);
    (model.context_length, model.vocab_size, model.batch_size) = (32, 151_936, 8);
    let mut model = Cached::new(model);
    session.options.max_tokens = Some(tower.len() - 1);
    let pieces: Vec<String> = session.ask(&mut model, "Who are you?").unwrap().map(Result::unwrap).collect();
    let (last, held) = pieces.split_last().unwrap();
    assert!(held.iter().all(String::is_empty), "{pieces:?}");
    assert!(last.contains('\u{fffd}'), "{pieces:?}");
}
