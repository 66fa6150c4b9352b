//! What is told of an answer and of the conversation, in figures.

use anelith_chat::{End, Sampling};

use crate::bench::peak_bytes;
use crate::results::Answer;

/// One line after an answer.
pub(super) fn line(answer: &Answer, context: usize) -> String {
    format!(
        "[{}, {}, {} of {context} tokens in the context, {} re-used]",
        first_token(answer),
        rate(answer.decode_rate()),
        filled(answer).min(context),
        answer.reused,
    )
}

/// What `/stats` says of the last answer and a cache that holds `held` of `context` tokens.
pub(super) fn report(answer: Option<&Answer>, held: usize, context: usize) -> String {
    let memory =
        peak_bytes().map_or("unknown".into(), |bytes| format!("at most {:.1} MB", bytes as f64 / 1e6));
    let cache = format!("context      {held} of {context} tokens in the cache\nmemory       {memory}");
    let Some(answer) = answer else { return format!("{cache}\nlast answer  none yet") };
    format!(
        "{cache}\n\
         last answer  {} tokens after a prompt of {}, of which {} were re-used{}\n\
         speed        {}, prefill {}, decode {}\n\
         sampling     {}",
        answer.ids.len(),
        answer.prompt_ids.len(),
        answer.reused,
        end(answer.end),
        first_token(answer),
        rate(answer.prefill_rate()),
        rate(answer.decode_rate()),
        sampling(&answer.sampling),
    )
}

/// How many tokens prompt and answer are; the last of a context that is full was not run any more.
fn filled(answer: &Answer) -> usize {
    answer.prompt_ids.len() + answer.ids.len()
}

fn first_token(answer: &Answer) -> String {
    answer.times.first_token.map_or("no token".into(), |seconds| format!("first token after {seconds:.2} s"))
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |rate| format!("{rate:.1} tokens/s"))
}

fn end(end: Option<End>) -> &'static str {
    match end {
        Some(End::Stop) => "",
        Some(End::MaxTokens) => "; it has as many as it may have",
        Some(End::ContextFull) => "; it filled the context",
        None => "; it was stopped",
    }
}

/// What it takes to have an answer again.
fn sampling(sampling: &Sampling) -> String {
    let penalties = [
        ("repetition_penalty", sampling.repetition_penalty, 1.0),
        ("presence_penalty", sampling.presence_penalty, 0.0),
        ("frequency_penalty", sampling.frequency_penalty, 0.0),
    ];
    let penalties = penalties.into_iter().filter(|(_, value, none)| value != none);
    let penalties: String = penalties.map(|(name, value, _)| format!(", {name} {value}")).collect();
    if sampling.is_greedy() {
        return format!("the likeliest token always{penalties}");
    }
    let Sampling { temperature, top_k, top_p, min_p, seed, .. } = sampling;
    format!("temperature {temperature}, top_k {top_k}, top_p {top_p}, min_p {min_p}{penalties}, seed {seed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Times;

    fn answer() -> Answer {
        Answer {
            prompt_ids: vec![1; 20],
            ids: vec![2; 10],
            text: None,
            end: Some(End::Stop),
            reused: 9,
            forgotten: 0,
            sampling: Sampling::default(),
            times: Times { prefill: 0.5, first_token: Some(0.625), decode: 0.1 },
        }
    }

    #[test]
    fn a_line_has_the_figures_of_an_answer() {
        assert_eq!(
            line(&answer(), 512),
            "[first token after 0.62 s, 100.0 tokens/s, 30 of 512 tokens in the context, 9 re-used]"
        );
        let none = Answer { ids: vec![], times: Times { first_token: None, ..answer().times }, ..answer() };
        assert_eq!(line(&none, 512), "[no token, -, 20 of 512 tokens in the context, 9 re-used]");
    }

    #[test]
    fn a_report_says_how_to_have_an_answer_again() {
        assert!(report(None, 0, 512).contains("0 of 512 tokens"));
        let text = report(Some(&answer()), 29, 512);
        assert!(text.contains("prefill 20.0 tokens/s, decode 100.0 tokens/s"), "{text}");
        assert!(text.contains("the likeliest token always") && !text.contains("seed"), "{text}");
        let sampling = Sampling { temperature: 0.7, repetition_penalty: 1.1, seed: 7, ..Sampling::default() };
        let text = report(Some(&Answer { sampling, end: None, ..answer() }), 29, 512);
        assert!(text.contains("temperature 0.7, top_k 0") && text.contains("seed 7"), "{text}");
        assert!(text.contains("repetition_penalty 1.1") && text.contains("it was stopped"), "{text}");
    }
}
