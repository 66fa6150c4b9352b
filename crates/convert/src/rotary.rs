//! The tables of rotary positions, computed as they are written: a long context costs no memory.

use std::ops::Range;

use anelith_checkpoint::Config;
use anelith_report::{Report, Reported};
use half::f16;

use crate::error::{Error, Result};

/// Cosines or sines [positions, head_dim] in fp16; each half of a row holds all frequencies once.
#[derive(Clone, Debug)]
pub(crate) struct RotaryTable {
    frequencies: Vec<f32>,
    scale: f32,
    function: fn(f64) -> f64,
}

impl RotaryTable {
    /// The tables of cosines and sines for `positions` positions.
    ///
    /// # Errors
    /// `Input` when an angle, or the factor of the values, is beyond what can be computed.
    pub(crate) fn cos_and_sin(config: &Config, positions: u64) -> Result<[RotaryTable; 2]> {
        let (rope, last) = (&config.rope, positions.saturating_sub(1) as f32);
        let frequencies = rope.inverse_frequencies(config.head_dim);
        if let Some(f) = frequencies.iter().find(|f| !(last * **f).is_finite()) {
            return Err(impossible("rope_theta", "finite angles", &format!("{last} * {f}")));
        }
        let scale = rope.attention_scaling();
        if !f16::from_f32(scale).is_finite() {
            return Err(impossible(
                "attention_factor",
                "a factor that is finite in fp16",
                &scale.to_string(),
            ));
        }
        let table = |function| RotaryTable { frequencies: frequencies.clone(), scale, function };
        Ok([table(f64::cos), table(f64::sin)])
    }

    /// Replaces the contents of `out` with the elements of `range`, row by row.
    pub(crate) fn read(&self, range: Range<usize>, out: &mut Vec<f16>) {
        let half = self.frequencies.len();
        out.clear();
        out.extend(range.map(|i| self.value(i / (2 * half), self.frequencies[i % half])));
    }

    fn value(&self, position: usize, frequency: f32) -> f16 {
        // The angle is rounded to f32, as transformers computes it; its cosine is not.
        let angle = f64::from(position as f32 * frequency);
        f16::from_f32(((self.function)(angle) * f64::from(self.scale)) as f32)
    }
}

fn impossible(field: &str, expected: &str, found: &str) -> Error {
    let report = Report::new(format!("`{field}` makes rotary positions that cannot be computed"));
    Error::Input(
        report.at("config.json").expecting(expected).finding(found).mending(format!("correct `{field}`")),
    )
}
