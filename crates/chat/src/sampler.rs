//! From logits to a token.

use std::cmp::Ordering;

use anelith_report::Reported;

use crate::error::Error;

/// The most likely token of one vocabulary split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token, counted over the whole vocabulary.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
}

/// The candidate with the largest logit; among equals the first.
///
/// # Errors
/// [`Kind::Model`](crate::Kind::Model) when there is no candidate or a logit is not a number.
pub fn likeliest(candidates: &[Candidate]) -> Result<u32, Error> {
    let logits: Vec<f32> = candidates.iter().map(|c| c.logit).collect();
    let split =
        largest(&logits).map_err(|split| not_a_number(format!("largest logit of split {}", split + 1)))?;
    split.map(|split| candidates[split].token).ok_or_else(no_logits)
}

/// The token with the largest logit; among equals the first.
///
/// # Errors
/// [`Kind::Model`](crate::Kind::Model) when there is no logit or one of them is not a number.
pub fn greedy(logits: &[f32]) -> Result<u32, Error> {
    let token = largest(logits).map_err(|token| not_a_number(format!("logit of token {token}")))?;
    let token = token.ok_or_else(no_logits)?;
    u32::try_from(token).map_err(|e| Error::model("a token id exceeds 32 bits").caused_by(e))
}

/// The natural logarithms of the probabilities that `logits` stand for.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<f64> = logits.iter().map(|logit| f64::from(*logit) - f64::from(largest)).collect();
    let log_sum = shifted.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    shifted.iter().map(|logit| logit - log_sum).collect()
}

/// The `count` tokens with the largest of `values`, the largest first; of equals the one with the smaller id.
pub fn top(values: &[f32], count: usize) -> Vec<Candidate> {
    let mut tokens: Vec<Candidate> =
        (0u32..).zip(values).map(|(token, &logit)| Candidate { token, logit }).collect();
    if count > 0 && count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, likelier);
    }
    tokens.truncate(count);
    tokens.sort_unstable_by(likelier);
    tokens
}

/// The one with the larger logit first, of equals the one with the smaller id.
pub(crate) fn likelier(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// Refuses logits that are not numbers, and none.
pub(crate) fn check_numbers(logits: &[f32]) -> Result<(), Error> {
    greedy(logits).map(drop)
}

/// The first place of the largest logit, if there is one; the place of the first that is not a number as an error.
fn largest(logits: &[f32]) -> Result<Option<usize>, usize> {
    if let Some(place) = logits.iter().position(|l| l.is_nan()) {
        return Err(place);
    }
    let mut best = None;
    for (place, &logit) in logits.iter().enumerate() {
        if best.is_none_or(|(_, largest)| logit > largest) {
            best = Some((place, logit));
        }
    }
    Ok(best.map(|(place, _)| place))
}

fn not_a_number(place: String) -> Error {
    Error::model("the model predicted a logit that is not a number")
        .at(place)
        .expecting("a number for every token")
        .finding("NaN")
        .mending("check the weights for values beyond the range of fp16, or run in f32")
}

fn no_logits() -> Error {
    Error::model("the model predicted no logits")
}

#[cfg(test)]
mod tests {
    use anelith_report::Reported;

    use super::{Candidate, greedy, likeliest, log_softmax, top};
    use crate::Kind;

    #[test]
    fn the_first_of_equal_maxima_wins() {
        let cases: [(&[f32], u32); 5] = [
            (&[0.5], 0),
            (&[1.0, 3.0, 2.0], 1),
            (&[1.0, 3.0, 3.0], 1),
            (&[f32::NEG_INFINITY, f32::NEG_INFINITY], 0),
            (&[-0.0, 0.0], 0),
        ];
        for (logits, token) in cases {
            assert_eq!(greedy(logits).unwrap(), token, "{logits:?}");
        }
    }

    #[test]
    fn the_first_of_equal_splits_wins() {
        let candidates = |logits: &[f32]| -> Vec<Candidate> {
            let token = |i: usize| [3, 40, 77][i];
            logits.iter().enumerate().map(|(i, &logit)| Candidate { token: token(i), logit }).collect()
        };
        for (logits, token) in [(&[1.0, 2.0, 2.0][..], 40), (&[-1.0], 3), (&[f32::NEG_INFINITY; 3], 3)] {
            assert_eq!(likeliest(&candidates(logits)).unwrap(), token, "{logits:?}");
        }
        let nan = likeliest(&candidates(&[1.0, f32::NAN])).unwrap_err();
        assert_eq!(nan.location(), Some("largest logit of split 2"));
        assert_eq!(likeliest(&[]).unwrap_err().kind(), Kind::Model);
    }

    #[test]
    fn logarithms_of_probabilities_sum_to_one() {
        let logs = log_softmax(&[1000.0, 1000.0, 1000.0 - 2f32.ln()]);
        for (log, expected) in logs.iter().zip([0.4f64, 0.4, 0.2]) {
            assert!((log - expected.ln()).abs() < 1e-4, "{logs:?}");
        }
        assert_eq!(log_softmax(&[0.0, f32::NEG_INFINITY]), [0.0, f64::NEG_INFINITY]);
    }

    #[test]
    fn the_top_are_in_order() {
        let tokens =
            |count| -> Vec<u32> { top(&[0.5, 2.0, -1.0, 2.0], count).iter().map(|c| c.token).collect() };
        assert_eq!(
            (tokens(0), tokens(1), tokens(3), tokens(9)),
            (vec![], vec![1], vec![1, 3, 0], vec![1, 3, 0, 2])
        );
    }

    #[test]
    fn nan_anywhere_and_nothing_at_all_are_model_errors() {
        let nan = greedy(&[1.0, f32::NAN, 7.0]).unwrap_err();
        assert_eq!(nan.kind(), Kind::Model);
        assert_eq!(nan.location(), Some("logit of token 1"));
        assert_eq!(greedy(&[]).unwrap_err().kind(), Kind::Model);
    }
}
