//! What exactly is wrong with a file that is no safetensors file: the tensor, or the format that it is in instead.

use std::collections::BTreeMap;

use safetensors::tensor::TensorInfo;
use serde_json::Value;

/// The longest quotation of a file in a message, in characters.
const QUOTE: usize = 120;

/// A fault of a header, in the words of an error.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) found: String,
}

/// A format that files called `.safetensors` turn out to have.
#[derive(Debug)]
pub(super) struct Lookalike {
    /// What the file is, with its article.
    pub(super) name: &'static str,
    pub(super) mend: &'static str,
}

/// The first fault of a header that the format's own reader has refused; `None` where it refuses what this cannot see.
pub(super) fn fault(header: &[u8]) -> Option<Fault> {
    let entries: BTreeMap<String, Value> = match serde_json::from_slice(header) {
        Ok(entries) => entries,
        Err(problem) => {
            return Some(Fault {
                what: format!("its header is no JSON object: {problem}"),
                expected: "a JSON object with one entry for each tensor".to_owned(),
                found: quoted(&String::from_utf8_lossy(&header[..header.len().min(4 * QUOTE)])),
            });
        }
    };
    let mut tensors = Vec::new();
    for (name, entry) in entries.iter().filter(|(name, _)| *name != "__metadata__") {
        let Ok(info) = serde_json::from_value::<TensorInfo>(entry.clone()) else {
            return Some(unreadable(name, entry));
        };
        if let Some(fault) = misfit(name, &info) {
            return Some(fault);
        }
        tensors.push((info.data_offsets, name));
    }
    tensors.sort_unstable();
    gap(&tensors)
}

fn unreadable(name: &str, entry: &Value) -> Fault {
    Fault {
        what: format!("the entry of tensor `{name}` cannot be read"),
        expected: r#"{"dtype": "BF16" or another, "shape": [sizes], "data_offsets": [begin, end]}"#
            .to_owned(),
        found: quoted(&entry.to_string()),
    }
}

/// A tensor whose size contradicts its offsets.
fn misfit(name: &str, info: &TensorInfo) -> Option<Fault> {
    let (begin, end) = info.data_offsets;
    let elements = info.shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    let bytes = elements.and_then(|n| Some(n.checked_mul(info.dtype.bitsize())? / 8));
    if bytes.is_some() && end.checked_sub(begin) == bytes {
        return None;
    }
    let needed = bytes.map_or("more than memory can address".to_owned(), |b| b.to_string());
    Some(Fault {
        what: format!("tensor `{name}` does not fit its data offsets"),
        expected: format!("{needed} bytes ({} {:?})", info.dtype, info.shape),
        found: format!("data_offsets [{begin}, {end}]"),
    })
}

/// A tensor that does not begin where the one before it ends; the tensors come in the order of their offsets.
fn gap(tensors: &[((usize, usize), &String)]) -> Option<Fault> {
    let mut previous: Option<(usize, &String)> = None;
    for &((begin, end), name) in tensors {
        let expected = previous.map_or(0, |(end, _)| end);
        if begin != expected {
            let after = previous.map_or("the header".to_owned(), |(_, before)| format!("tensor `{before}`"));
            let problem = if begin < expected { "overlaps with" } else { "leaves a hole after" };
            return Some(Fault {
                what: format!("tensor `{name}` {problem} {after}"),
                expected: format!("data_offsets that begin at {expected}"),
                found: format!("data_offsets [{begin}, {end}]"),
            });
        }
        previous = Some((end, name));
    }
    None
}

/// The format of a file that begins with these bytes, where it is one that users meet. No safetensors file begins so.
pub(super) fn lookalike(start: &[u8]) -> Option<Lookalike> {
    const RESAVE: &str = "save the checkpoint with transformers as safetensors";
    let known: [(&[u8], &str, &str); 6] = [
        (
            b"version https://git-lfs",
            "a Git LFS pointer, not the weights",
            "fetch the real file: git lfs pull",
        ),
        (b"GGUF", "a GGUF file", "use the checkpoint from which it was made, as safetensors"),
        (b"PK\x03\x04", "a ZIP file, as PyTorch writes them", RESAVE),
        (b"\x80\x02", "a pickle, as PyTorch writes them", RESAVE),
        (b"\x89HDF", "an HDF5 file", RESAVE),
        (b"<", "a web page or other text", "download the file itself; some models ask to log in first"),
    ];
    // Where the header begins as it should, the bytes before it are the length of the header, however they look.
    let is_header = start.get(8) == Some(&b'{');
    let found = known.into_iter().find(|(magic, ..)| !is_header && start.starts_with(magic));
    found.map(|(_, name, mend)| Lookalike { name, mend })
}

fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
