//! The body of a request to `anelith serve`: answered within the model's limits, or refused in OpenAI's form.

use anelith_serve::read_request;

/// Tokens of the model.
const VOCABULARY: usize = 1000;

/// The most characters of a message: it names what is wrong and does not repeat the request.
const MESSAGE: usize = 1000;

/// Reads `bytes` as a conversation and as a completion.
///
/// # Panics
/// When sampling is out of range, a refusal is not one of a wrong request, has no message or one without an end, or another
/// comes of the same bytes.
pub fn check(bytes: &[u8]) {
    for is_chat in [true, false] {
        let read = read_request(bytes, is_chat, VOCABULARY);
        match &read {
            Ok(sampling) => {
                sampling.check().expect("it was accepted");
                assert!(sampling.logit_bias.keys().all(|token| (*token as usize) < VOCABULARY));
            }
            Err((status, body)) => {
                assert_eq!(*status, 400);
                let message = body["error"]["message"].as_str().expect("it has a message");
                assert!((1..=MESSAGE).contains(&message.chars().count()), "{message}");
                assert!(body["error"]["code"].is_string());
            }
        }
        assert_eq!(read, read_request(bytes, is_chat, VOCABULARY));
    }
}
