//! Steps in words.

use super::StepInfo;
use super::action::Action;
use super::operand::Operand;
use crate::kernels::Isa;

impl Action {
    /// What the step at `at` is, on a machine that is used as `isa`.
    pub(super) fn describe(&self, at: &str, isa: Isa) -> StepInfo {
        let (kind, kernel, shape) = self.words(isa);
        StepInfo { op: at.to_owned(), kind, kernel, shape }
    }

    fn words(&self, isa: Isa) -> (&'static str, String, String) {
        let isa = format!("{isa:?}").to_lowercase();
        match self {
            Action::Run { operation, outputs, .. } => {
                let name = format!("{operation:?}");
                let name = name.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
                let shapes: Vec<String> = outputs.iter().map(|o| o.ty.to_string()).collect();
                ("other op", name, shapes.join(", "))
            }
            Action::Read { .. } => ("state", "read".to_owned(), String::new()),
            Action::Write { data, .. } => ("state", "write".to_owned(), shape(data)),
            Action::Copy { x, .. } => ("copy", "copy".to_owned(), shape(x)),
            Action::Multiply { x, columns, products } => {
                let forms: Vec<String> = products.iter().map(|p| p.weight.form_name()).collect();
                let forms = if forms.iter().all(|f| *f == forms[0]) { forms[..1].to_vec() } else { forms };
                let rows: Vec<String> = products.iter().map(|p| p.weight.rows().to_string()).collect();
                let count = x.layout.count() / columns;
                let shape = format!("{count} x {columns} x {}", rows.join("+"));
                ("matrix product", format!("{} {isa}", forms.join("+")), shape)
            }
            Action::PickRows { lookup, indices, .. } => {
                let shape = format!("{} x {}", indices.layout.count(), lookup.weight.columns());
                ("lookup", format!("{} {isa}", lookup.weight.form_name()), shape)
            }
            Action::Normalize { x, .. } => ("norm", format!("rms_norm {isa}"), shape(x)),
            Action::Rotate { x, .. } => ("rotary", format!("rotate {isa}"), shape(x)),
            Action::Attend(attend) => {
                let keys = &attend.keys;
                let shape = format!("{} over {} x {}", shape(&attend.queries), keys.heads, keys.count);
                ("attention", format!("attend {isa}"), shape)
            }
            Action::Gate { gate, .. } => ("gate", format!("silu_mul {isa}"), shape(gate)),
            Action::Add { x, .. } => ("add", format!("add {isa}"), shape(x)),
            Action::Chain(chain) => ("elementwise", chain.names.clone(), chain.shape()),
            Action::Store { update, .. } => ("state", "store".to_owned(), shape(update)),
        }
    }
}

fn shape(x: &Operand) -> String {
    let extents: Vec<String> = x.layout.shape.iter().map(usize::to_string).collect();
    extents.join(" x ")
}
