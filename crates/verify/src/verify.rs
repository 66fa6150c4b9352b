//! The whole of it: the reference first, then every column token by token beside it, then the package against itself.

use std::path::PathBuf;

use anelith_chat::Meta;
use anelith_checkpoint::Checkpoint;
use anelith_reference::{Matrix, Observer, Reference, Stage};
use anelith_report::Report;

use crate::agreement::{self, Agreement, Repeat};
use crate::block::Block;
use crate::column::{Blocks, Column, Part, hidden};
use crate::error::{Error, Result};
use crate::figures::{Comparison, Figures, Row};
use crate::graph;
use crate::noise::{BlockFigures, Noise, mark};
use crate::package::{Package, Plain};
use crate::progress::{Progress, Relay, step};
use crate::saturation::{Gauge, Saturation};
use crate::tokens::{Recorded, Tokens};

/// Logits of the reference that are in memory at once: those of so many tokens.
const TOKENS: usize = 64;

/// Bytes of hidden states that are in memory at once, unless one window has more.
const HIDDEN_BYTES: usize = 256 << 20;

/// Which columns are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// All that say something: the package in exact fp16; where it has lookup tables, in f32 and without them too.
    #[default]
    All,
    /// The package in exact fp16 alone.
    Exact,
    /// The package in f32 alone.
    F32,
}

/// What a verification has found.
#[derive(Debug)]
pub struct Verification {
    /// The package or bundle.
    pub package: PathBuf,
    /// Where the tokens are from, in words.
    pub source: String,
    /// How many tokens.
    pub tokens: usize,
    /// How many windows, each of which begins at position 0.
    pub windows: usize,
    /// Tokens of a window at most.
    pub window: usize,
    /// Whether the package has lookup tables, or other weights that it unpacks.
    pub is_packed: bool,
    /// What was measured; the last one is the one that all else is about.
    pub columns: Vec<(Part, Figures)>,
    /// Every block; none where the residual stream was not found in the package.
    pub blocks: Vec<BlockFigures>,
    /// How near to the end of fp16.
    pub saturation: Saturation,
    /// `prefill` against `infer`.
    pub agreement: Agreement,
    /// Two runs.
    pub repeat: Repeat,
    /// The recorded logits against our reference, where some were given.
    pub recorded: Option<Figures>,
}

impl Verification {
    /// The figures that all else is about: of the package as it is on the disk, unless only f32 was asked for.
    pub fn main(&self) -> &Figures {
        let (_, figures) = &self.columns[self.columns.len() - 1];
        figures
    }

    /// The figures of a column, where it was measured.
    pub fn column(&self, part: Part) -> Option<&Figures> {
        self.columns.iter().find(|(found, _)| *found == part).map(|(_, figures)| figures)
    }

    /// The first block that drops.
    pub fn first_drop(&self) -> Option<&BlockFigures> {
        self.blocks.iter().find(|block| block.drops)
    }
}

/// Measures the model of `meta` against `checkpoint` on `tokens`.
///
/// # Errors
/// `Input` where the files do not belong together, `Usage` and `Input` for tokens that the model does not have, and those
/// of reading, converting and running; `Interrupted` where `progress` asks for it. That the model is bad is no error.
pub fn verify(
    checkpoint: &Checkpoint,
    meta: &Meta,
    tokens: Tokens,
    scope: Scope,
    progress: &dyn Progress,
) -> Result<Verification> {
    let config = &checkpoint.config;
    let package = Package::open(meta, config)?;
    tokens.check_vocabulary(config.vocab_size)?;
    let reference = Reference::open(checkpoint)?;
    let window = package.context.min(config.max_positions()).min(config.sliding_window.unwrap_or(usize::MAX));
    let Tokens { ids, source, recorded } = tokens;
    let windows: Vec<&[u32]> = ids.chunks(window.max(1)).collect();
    let layers = config.num_hidden_layers;
    let is_packed = graph::is_packed(package.infer()?);
    let plain = match scope {
        Scope::All if is_packed => Some(Plain::convert(checkpoint, &package, progress)?),
        _ => None,
    };
    let mut run = Run {
        reference: &reference,
        columns: columns(&package, plain.as_ref(), scope, layers)?,
        blocks: None,
        recorded: recorded.map(|recorded| (recorded, Comparison::default())),
        layers,
        progress,
    };
    if !package.anatomy.stream.is_empty() {
        run.blocks = Some(Blocks::new(&package, main_part(scope).precision())?);
    }
    run.all(&ids, &windows)?;
    let Some(main) = run.columns.last_mut() else { unreachable!("the main column is always there") };
    let digests = std::mem::take(&mut main.digests);
    let (columns, blocks, saturation, recorded) = run.finish(&package)?;
    progress.begin("prefill against infer", agreement::units(&package, windows[0].len()));
    let precision = main_part(scope).precision();
    let (agreement, repeat) = agreement::compare(&package, windows[0], &digests, precision, progress)?;
    progress.end();
    Ok(Verification {
        package: package.path,
        source,
        tokens: ids.len(),
        windows: windows.len(),
        window,
        is_packed,
        columns,
        blocks,
        saturation,
        agreement,
        repeat,
        recorded,
    })
}

/// The column that a verification is about.
fn main_part(scope: Scope) -> Part {
    if scope == Scope::F32 { Part::Lut } else { Part::Both }
}

/// The columns, the main one last.
fn columns(package: &Package, plain: Option<&Plain>, scope: Scope, layers: usize) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    if let Some(plain) = plain {
        columns.push(Column::of_plain(plain, package.context)?);
        columns.push(Column::of_package(package, Part::Lut, None)?);
    }
    let gauge = Gauge::new(package.anatomy.activations(package.infer()?), layers);
    columns.push(Column::of_package(package, main_part(scope), Some(gauge))?);
    Ok(columns)
}

/// The text on its way.
struct Run<'a> {
    reference: &'a Reference,
    columns: Vec<Column>,
    blocks: Option<Blocks>,
    recorded: Option<(Recorded, Comparison)>,
    layers: usize,
    progress: &'a dyn Progress,
}

/// What is left of a run.
type Found = (Vec<(Part, Figures)>, Vec<BlockFigures>, Saturation, Option<Figures>);

impl Run<'_> {
    /// Takes the windows through the reference, some at a time, and each through the columns.
    fn all(&mut self, ids: &[u32], windows: &[&[u32]]) -> Result<()> {
        let state = 4 * self.reference.config().hidden_size * (2 * self.layers + 1);
        let longest = windows.iter().map(|window| window.len()).max().unwrap_or(1);
        let at_once = (HIDDEN_BYTES / state.max(1) / longest.max(1)).max(1);
        let mut token = 0;
        for group in windows.chunks(at_once) {
            let mut kept = Kept::new(self.progress, self.blocks.is_some());
            self.progress.begin("reference", self.reference.run_weights());
            let states = self.reference.run(group, &mut kept)?;
            self.progress.end();
            let tokens: usize = group.iter().map(|window| window.len()).sum();
            self.progress.begin("package beside the reference", tokens as u64);
            let mut row = 0;
            for window in group {
                self.columns.iter_mut().for_each(Column::reset);
                self.blocks.iter_mut().for_each(Blocks::reset);
                self.window(window, ids, (token, row), &states, &kept.hidden)?;
                (token, row) = (token + window.len(), row + window.len());
            }
            self.progress.end();
        }
        Ok(())
    }

    /// Takes a window through the columns; it begins at this token of the text, and this row of `states`.
    fn window(
        &mut self,
        window: &[u32],
        ids: &[u32],
        (token, row): (usize, usize),
        states: &Matrix,
        hidden_states: &[Matrix],
    ) -> Result<()> {
        for start in (0..window.len()).step_by(TOKENS) {
            let end = window.len().min(start + TOKENS);
            let rows: Vec<usize> = (row + start..row + end).collect();
            let mut logits = Logits { rows: Vec::new(), progress: self.progress };
            self.reference.logits(states, &rows, &mut logits)?;
            for (position, expected) in (start..end).zip(&logits.rows) {
                let at = token + position;
                let expected = Row::new(expected, ids.get(at + 1).copied());
                let hidden = hidden(hidden_states, row + position);
                self.position((window[position], position, at), &expected, &hidden)?;
                step(self.progress)?;
            }
        }
        Ok(())
    }

    fn position(&mut self, place: (u32, usize, usize), expected: &Row<'_>, hidden: &[&[f32]]) -> Result<()> {
        let (id, position, _) = place;
        for column in &mut self.columns {
            column.step(place, expected, hidden)?;
        }
        if let Some(blocks) = &mut self.blocks {
            blocks.step(id, position, expected, hidden)?;
        }
        if let Some((recorded, comparison)) = &mut self.recorded {
            let recorded = recorded.next_row()?;
            comparison.take(&Row::new(&recorded, expected.next()), expected.logits());
        }
        Ok(())
    }

    fn finish(self, package: &Package) -> Result<Found> {
        let own = self.blocks.map(Blocks::finish).unwrap_or_default();
        let (mut figures, mut after, mut gauge) = (Vec::new(), Vec::new(), None);
        for column in self.columns {
            let (part, comparison, noise, its_gauge) = column.finish();
            figures.push((part, comparison.figures()));
            after.push(noise);
            gauge = its_gauge.or(gauge);
        }
        let gauge = gauge.ok_or_else(|| Error::input(Report::new("nothing was measured")))?;
        let bits = package.anatomy.bits(package.infer()?, self.layers);
        let block = |(number, own): (usize, &Noise)| BlockFigures {
            block: Block::at(number, self.layers),
            bits: bits.get(number).copied().flatten(),
            after: after.iter().filter_map(|noise| noise.get(number)).map(Noise::decibels).collect(),
            own: own.decibels(),
            drops: false,
            largest: gauge.largest.get(number).map_or(0.0, |(largest, _)| *largest),
            largest_at: gauge.largest_at(number),
        };
        let mut blocks: Vec<BlockFigures> = own.iter().enumerate().map(block).collect();
        mark(&mut blocks);
        let recorded = self.recorded.map(|(_, comparison)| comparison.figures());
        Ok((figures, blocks, gauge.saturation, recorded))
    }
}

/// Keeps the hidden states after the embedding, each attention and each MLP.
struct Kept<'p> {
    hidden: Vec<Matrix>,
    keeps: bool,
    relay: Relay<'p>,
}

impl<'p> Kept<'p> {
    fn new(progress: &'p dyn Progress, keeps: bool) -> Kept<'p> {
        Kept { hidden: Vec::new(), keeps, relay: Relay(progress) }
    }
}

impl Observer for Kept<'_> {
    fn hidden_states(&mut self, stage: Stage, states: &Matrix) {
        if self.keeps && stage != Stage::Norm {
            self.hidden.push(states.clone());
        }
    }

    fn advance(&mut self, weights: u64) {
        self.relay.advance(weights);
    }

    fn interrupted(&mut self) -> bool {
        self.relay.interrupted()
    }
}

/// Keeps rows of logits.
struct Logits<'p> {
    rows: Vec<Vec<f32>>,
    progress: &'p dyn Progress,
}

impl Observer for Logits<'_> {
    fn logits(&mut self, _row: usize, logits: &[f32]) {
        self.rows.push(logits.to_vec());
    }

    fn interrupted(&mut self) -> bool {
        self.progress.interrupted()
    }
}
