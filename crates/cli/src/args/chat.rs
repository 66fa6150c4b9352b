//! `chat` and `generate`.

use clap::Args;

use super::{MetaArgs, STATUSES};

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// Ask this and exit; `-` is what stands on standard input
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// Remember what was said, as a conversation in a terminal does anyway. From a pipe, each line is a question then
    #[arg(long)]
    pub(crate) full: bool,
    /// Let every question stand alone
    #[arg(long, conflicts_with = "full")]
    pub(crate) no_memory: bool,
    /// Instructions for the model, before all that is said; those of a file with `@FILE`
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Tokens of an answer at most [default: what the context has room for]
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Send the text as it is, without the model's chat template
    #[arg(long)]
    pub(crate) no_template: bool,
    /// Ask the template to turn thinking off
    #[arg(long)]
    pub(crate) no_think: bool,
    /// Tell after each answer, on standard error, how long it took and how full the context is; without this, where
    /// answers go to a terminal
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) stats: bool,
    /// Say nothing but answers, warnings and errors
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Do not keep what is typed for the next conversation, in $XDG_STATE_HOME/anelith/history
    #[arg(long)]
    pub(crate) no_save_history: bool,
    /// For one question: print one JSON object with prompt, answer, their token ids, the seed and the times
    #[arg(long, conflicts_with = "full")]
    pub(crate) json: bool,
}

/// How the next token is chosen. What is not given is as the model's makers recommend it.
#[derive(Debug, Default, Args)]
pub(crate) struct SamplingArgs {
    /// What logits are divided by; 0 takes the likeliest token always [default of these: as the model's makers say, else
    /// the likeliest token]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// From how many of the likeliest tokens to choose; 0 is all
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// From the fewest likeliest tokens that have this probability together; 1 is all
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// From those at least this part as likely as the likeliest; 0 is all
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// How much less likely tokens become that were there already; 1 is nothing
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// From which chance is drawn: with the same seed, the same questions get the same answers [default: any]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Take the likeliest token always, whatever the model's makers say
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "min_p"])]
    pub(crate) greedy: bool,
}

/// What stands below the options of `chat`.
pub(super) fn help() -> String {
    format!(
        "\
Examples:
  anelith chat --meta ./converted/meta.yaml
  anelith chat --meta ./converted/meta.yaml --system \"You answer in one sentence.\" --temperature 0.7
  anelith chat --meta ./converted/meta.yaml --prompt \"Who are you?\"
  anelith chat --meta ./converted/meta.yaml --prompt \"Who are you?\" --json
  anelith chat --meta ./converted/meta.yaml < question.txt
  anelith chat --meta ./converted/meta.yaml --full < questions.txt

In a terminal this is a conversation: /help lists its commands, Ctrl-C stops an answer, Ctrl-D ends it. What comes from a \
pipe or a file is one question, or with --full one in each line.

{STATUSES}"
    )
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) meta: MetaArgs,
    /// The ids to continue
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',', required = true)]
    pub(crate) ids: Vec<u32>,
    /// How many ids to add at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) max_tokens: usize,
    /// Go on after the model's stop tokens
    #[arg(long)]
    pub(crate) no_stop: bool,
    /// Print one JSON object with the ids, what they read as, and the times
    #[arg(long)]
    pub(crate) json: bool,
}
