//! From logits to a token.

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

    use super::{Candidate, greedy, likeliest};
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
    fn nan_anywhere_and_nothing_at_all_are_model_errors() {
        let nan = greedy(&[1.0, f32::NAN, 7.0]).unwrap_err();
        assert_eq!(nan.kind(), Kind::Model);
        assert_eq!(nan.location(), Some("logit of token 1"));
        assert_eq!(greedy(&[]).unwrap_err().kind(), Kind::Model);
    }
}
