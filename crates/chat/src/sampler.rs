//! From logits to a token.

use anelith_report::Reported;

use crate::error::Error;

/// The token with the largest logit; among equals the first.
///
/// # Errors
/// [`Kind::Model`](crate::Kind::Model) when there is no logit or one of them is not a number.
pub fn greedy(logits: &[f32]) -> Result<u32, Error> {
    if let Some(token) = logits.iter().position(|l| l.is_nan()) {
        return Err(Error::model("the model predicted a logit that is not a number")
            .at(format!("logit of token {token}"))
            .expecting("a number for every token")
            .finding("NaN")
            .mending("check the weights for values beyond the range of fp16, or run in f32"));
    }
    let mut best = None;
    for (token, &logit) in logits.iter().enumerate() {
        if best.is_none_or(|(_, largest)| logit > largest) {
            best = Some((token, logit));
        }
    }
    let (token, _) = best.ok_or_else(|| Error::model("the model predicted no logits"))?;
    u32::try_from(token).map_err(|e| Error::model("a token id exceeds 32 bits").caused_by(e))
}

#[cfg(test)]
mod tests {
    use anelith_report::Reported;

    use super::greedy;
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
    fn nan_anywhere_and_nothing_at_all_are_model_errors() {
        let nan = greedy(&[1.0, f32::NAN, 7.0]).unwrap_err();
        assert_eq!(nan.kind(), Kind::Model);
        assert_eq!(nan.location(), Some("logit of token 1"));
        assert_eq!(greedy(&[]).unwrap_err().kind(), Kind::Model);
    }
}
