//! Single tokens as text and as bytes, for whoever asks for their probabilities.

use anelith_chat::{Tokenizer, log_softmax, top};

/// The least that is told of a probability's logarithm; JSON has no infinity.
const LEAST: f32 = -9999.0;

/// A token by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// What it adds to the text, where that can be said; `text` has U+FFFD for parts of characters.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) logprob: f32,
}

/// The token that was chosen, and the likeliest that could have been.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    pub(crate) chosen: Piece,
    pub(crate) top: Vec<Piece>,
}

impl Choice {
    /// `token` after `previous`, chosen from `logits`, with `count` of the likeliest.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        previous: Option<u32>,
        token: u32,
        logits: &[f32],
        count: usize,
    ) -> Choice {
        let logprobs: Vec<f32> = log_softmax(logits).into_iter().map(|log| log as f32).collect();
        let piece = |token: u32| {
            let (text, bytes) = piece(tokenizer, previous, token);
            let logprob = logprobs.get(token as usize).copied().unwrap_or(LEAST).max(LEAST);
            Piece { text, bytes, logprob }
        };
        let top = top(&logprobs, count).iter().map(|candidate| piece(candidate.token)).collect();
        Choice { chosen: piece(token), top }
    }
}

/// What `token` adds to the text of `previous`.
fn piece(tokenizer: &Tokenizer, previous: Option<u32>, token: u32) -> (String, Option<Vec<u8>>) {
    let decode = |ids: &[u32]| tokenizer.decode(ids).unwrap_or_default();
    let name = tokenizer.token(token).unwrap_or_default();
    let alone = decode(&[token]);
    if alone.is_empty() {
        // A special token, which is not part of any text.
        let bytes = name.as_bytes().to_vec();
        return (name, Some(bytes));
    }
    if alone.contains(char::REPLACEMENT_CHARACTER) {
        let bytes = bytes(&name);
        return (alone, bytes);
    }
    // A decoder may leave out a space at the beginning of a text.
    let both = previous.map(|previous| (decode(&[previous]), decode(&[previous, token])));
    let text = both.and_then(|(before, both)| both.strip_prefix(before.as_str()).map(str::to_owned));
    let text = text.filter(|text| !text.is_empty() && text.ends_with(&alone)).unwrap_or(alone);
    let bytes = text.as_bytes().to_vec();
    (text, Some(bytes))
}

/// The bytes of a token that is part of a character, from its name in the vocabulary: `<0xE2>`, or characters that stand
/// for bytes as in GPT-2.
fn bytes(name: &str) -> Option<Vec<u8>> {
    if let Some(hex) = name.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
        return u8::from_str_radix(hex, 16).ok().map(|byte| vec![byte]);
    }
    name.chars().map(byte).collect()
}

/// The byte that a character stands for: itself where Latin-1 can print it, else counted from U+0100 on.
fn byte(c: char) -> Option<u8> {
    let is_printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u8::try_from(c) {
        Ok(byte) => is_printed(byte).then_some(byte),
        Err(_) => {
            let place = (c as usize).checked_sub(0x100)?;
            (0..=u8::MAX).filter(|byte| !is_printed(*byte)).nth(place)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_of_characters_are_bytes() {
        assert_eq!(bytes("<0xE2>"), Some(vec![0xe2]));
        assert_eq!(bytes("Ġa"), Some(b" a".to_vec()));
        // "âĤ¬" is how GPT-2's vocabulary writes the three bytes of the euro sign.
        assert_eq!(bytes("âĤ¬"), Some("€".as_bytes().to_vec()));
        assert_eq!(bytes("▁a"), None);
    }
}
