//! The three supported families, and which of them a `config.json` names.

use std::fmt;
use std::str::FromStr;

use anelith_report::Reported;

use crate::error::{Error, Result};

/// A model family, as Hugging Face's `model_type` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// LLaMA, and the DeepSeek distills of it.
    Llama,
    /// Qwen 2 and 2.5, and the DeepSeek distills of them.
    Qwen2,
    /// Qwen 3 (dense).
    Qwen3,
}

impl Architecture {
    /// Every supported family, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The value of `model_type` in config.json: `llama`, `qwen2` or `qwen3`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The transformers class that `architectures` names: `LlamaForCausalLM` and so on.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    pub(super) fn from_class_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.class_name() == name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}

impl FromStr for Architecture {
    type Err = Error;

    /// Parses a `model_type`; the error names the value and the supported ones.
    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|a| a.model_type() == name);
        known.ok_or_else(|| {
            let what = format!("Unknown architecture `{name}`; supported: {}", supported());
            Error::unsupported(what).expecting(supported()).finding(format!("`{name}`"))
        })
    }
}

/// `llama, qwen2, qwen3`, for messages.
pub(super) fn supported() -> String {
    Architecture::ALL.map(Architecture::model_type).join(", ")
}
