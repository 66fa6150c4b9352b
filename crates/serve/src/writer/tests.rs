//! Stop strings that span tokens, and characters that do.

use anelith_chat::Tokenizer;

use super::Writer;
use crate::fixtures::demo;
use crate::pieces::Choice;

/// The parts that come of `ids`, and whether a stop string ended them.
fn parts(tokenizer: &Tokenizer, ids: &[u32], stops: &[&str]) -> (Vec<String>, bool) {
    let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut writer = Writer::new(tokenizer, stops);
    let mut parts = Vec::new();
    for &id in ids {
        parts.push(writer.push(id, None).unwrap().text);
        if writer.is_stopped() {
            assert_eq!(writer.finish().unwrap().text, "", "nothing comes after a stop string");
            return (parts, true);
        }
    }
    parts.push(writer.finish().unwrap().text);
    (parts, writer.is_stopped())
}

/// The ids of each character by itself, so that every string spans tokens.
fn spelled(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    text.chars().flat_map(|c| tokenizer.encode(&c.to_string(), false).unwrap()).collect()
}

#[test]
fn text_before_a_stop_string_is_all_there_is() {
    let tokenizer = demo();
    // (text, stop strings, what is told, whether it was stopped)
    let cases: [(&str, &[&str], &str, bool); 12] = [
        ("one two three", &[], "one two three", false),
        ("one two three", &["two"], "one ", true),
        ("one two three", &["four"], "one two three", false),
        ("one two th", &["three"], "one two th", false),
        ("aab", &["ab"], "a", true),
        ("aaab", &["aab"], "a", true),
        ("abcabd", &["abd"], "abc", true),
        ("one", &["one"], "", true),
        ("xabcd", &["abcd", "bc"], "xa", true),
        ("xabcd", &["abc", "b"], "xa", true),
        ("München – hier", &["–"], "München ", true),
        ("a€b", &["€b"], "a", true),
    ];
    for (text, stops, expected, is_stopped) in cases {
        for ids in [spelled(&tokenizer, text), tokenizer.encode(text, false).unwrap()] {
            let (parts, stopped) = parts(&tokenizer, &ids, stops);
            assert_eq!((parts.concat().as_str(), stopped), (expected, is_stopped), "{text} {stops:?}");
        }
    }
}

#[test]
fn only_what_may_become_a_stop_string_is_held_back() {
    let tokenizer = demo();
    let (parts, _) = parts(&tokenizer, &spelled(&tokenizer, "xabyab"), &["abc"]);
    assert_eq!(parts, ["x", "", "", "aby", "", "", "ab"]);
}

#[test]
fn tokens_come_with_the_text_that_they_begin_in() {
    let tokenizer = demo();
    let logits = vec![0.0; 1024];
    let ids = spelled(&tokenizer, "xabcab");
    let run = |stops: &[&str]| {
        let mut writer = Writer::new(&tokenizer, stops.iter().map(|s| (*s).to_owned()).collect());
        let mut told: Vec<(String, Vec<usize>)> = Vec::new();
        let mut take = |part: super::Part| {
            told.push((part.text, part.choices.iter().map(|(place, _)| *place).collect()))
        };
        for &id in &ids {
            take(writer.push(id, Some(Choice::new(&tokenizer, None, id, &logits, 1))).unwrap());
        }
        take(writer.finish().unwrap());
        told
    };
    let told = run(&["abd"]);
    let expected: [(&str, &[usize]); 7] =
        [("x", &[0]), ("", &[]), ("", &[]), ("abc", &[1, 2, 3]), ("", &[]), ("", &[]), ("ab", &[4, 5])];
    assert_eq!(told, expected.map(|(text, places)| (text.to_owned(), places.to_vec())));
    let told = run(&["bc"]);
    let places: Vec<usize> = told.iter().flat_map(|(_, places)| places.clone()).collect();
    assert_eq!(places, [0, 1], "those of the stop string are not told");
}
