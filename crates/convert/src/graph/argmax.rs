//! Place and value of the largest logit, for models that pick the token themselves.

use anelith_mil::{Argument, DataType, Opcode, Operand, Value, VarId};

use super::Graph;
use crate::error::Result;

/// Places below this fit the 16-bit index that coremltools narrows them to.
const LARGEST_INT16: u64 = i16::MAX as u64;

impl Graph<'_, '_> {
    /// `argmax_idx` int32 [splits] and `argmax_val` fp16 [splits] of logits [1, 1, rows] each: the place within the
    /// split, and the logit there. Among equals the first counts.
    pub(crate) fn argmax(&mut self, logits: &[VarId]) -> Result<Vec<VarId>> {
        let rows = logits.iter().filter_map(|l| self.shape(*l).last().copied()).max();
        let narrow = rows.is_some_and(|rows| rows <= LARGEST_INT16);
        let (mut places, mut values) = (Vec::new(), Vec::new());
        for (i, x) in logits.iter().enumerate() {
            let place = self.place_of_largest(i + 1, *x)?;
            values.push(Operand::Var(self.value_at(i + 1, *x, place, narrow)?));
            places.push(Operand::Var(place));
        }
        let places = self.concat("argmax_places", places, -1)?;
        let places = match narrow {
            true => {
                let places = self.cast("argmax_places_to_int16", places, DataType::Int16)?;
                let places = self.flat("argmax_idx_int16", places)?;
                self.cast("argmax_idx", places, DataType::Int32)?
            }
            false => self.flat("argmax_idx", places)?,
        };
        let values = self.concat("argmax_values", values, -1)?;
        Ok(vec![places, self.flat("argmax_val", values)?])
    }

    fn place_of_largest(&mut self, number: usize, logits: VarId) -> Result<VarId> {
        let args = [
            ("x", logits.into()),
            ("axis", Value::i32(-1).into()),
            ("keep_dims", Value::bool(true).into()),
            ("output_dtype", Value::string(DataType::Int32.name()).into()),
        ];
        self.call(Opcode::ReduceArgmax, &format!("argmax_{number}"), &args)
    }

    fn value_at(&mut self, number: usize, logits: VarId, place: VarId, narrow: bool) -> Result<VarId> {
        let indices = match narrow {
            true => self.cast(&format!("argmax_{number}_to_uint16"), place, DataType::UInt16)?,
            false => place,
        };
        let args: [(&str, Argument); 4] = [
            ("x", logits.into()),
            ("indices", indices.into()),
            ("axis", Value::i32(-1).into()),
            ("validate_indices", Value::bool(false).into()),
        ];
        self.call(Opcode::GatherAlongAxis, &format!("argmax_{number}_value"), &args)
    }

    /// [1, 1, n] as [n], one axis at a time as coremltools has it from PyTorch.
    fn flat(&mut self, name: &str, x: VarId) -> Result<VarId> {
        let x = self.squeeze(&format!("{name}_squeezed"), x, 0)?;
        self.squeeze(name, x, 0)
    }
}
