//! Type inference of recurrent layers.

use super::{Call, Inferred};
use crate::types::Type;

/// `x` [steps, batch, in] through a layer of H units: the outputs of all steps or of the last one, and the
/// last output and memory, each H wide, or 2 H in both directions.
pub(crate) fn lstm(call: &Call<'_>) -> Inferred {
    let x = call.tensor("x")?;
    if !x.dtype.is_float() {
        return Err(format!("`x` has type {x}, expected floating-point numbers"));
    }
    let [steps, batch, columns] = call.shape("x")?[..] else {
        return Err(format!("`x` has type {x}, expected 3 dimensions: steps, batch and columns"));
    };
    let units = match call.shape("weight_hh")?[..] {
        [rows, units] if units.checked_mul(4) == Some(rows) => units,
        ref other => return Err(format!("`weight_hh` has shape {other:?}, expected [4 H, H]")),
    };
    let directions = match call.str_or("direction", "forward")? {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => {
            return Err(format!(
                "`direction` is \"{other}\", expected \"forward\", \"reverse\" or \"bidirectional\""
            ));
        }
    };
    let width = units.checked_mul(directions).ok_or("the hidden size overflows")?;
    expect_weights(call, "", units, columns)?;
    if directions == 2 {
        expect_weights(call, "_back", units, columns)?;
    }
    for name in ["initial_h", "initial_c"] {
        expect(call, name, &[batch, width])?;
    }
    let rows = if call.bool_or("output_sequence", false)? { steps } else { 1 };
    let last = Type::tensor(x.dtype, &[batch, width]);
    Ok(vec![Type::tensor(x.dtype, &[rows, batch, width]), last.clone(), last])
}

/// The weights of one direction, whose names end in `suffix`.
fn expect_weights(call: &Call<'_>, suffix: &str, units: u64, columns: u64) -> Result<(), String> {
    let gates = units.checked_mul(4).ok_or("the hidden size overflows")?;
    expect(call, &format!("weight_ih{suffix}"), &[gates, columns])?;
    expect(call, &format!("weight_hh{suffix}"), &[gates, units])?;
    for (name, extent) in [(format!("bias{suffix}"), gates), (format!("peephole{suffix}"), gates - units)] {
        if call.has(&name) {
            expect(call, &name, &[extent])?;
        }
    }
    Ok(())
}

fn expect(call: &Call<'_>, name: &str, shape: &[u64]) -> Result<(), String> {
    let (found, expected) = (call.tensor(name)?, Type::tensor(call.tensor("x")?.dtype, shape));
    if Type::Tensor(found.clone()) == expected {
        return Ok(());
    }
    Err(format!("`{name}` has type {found}, expected {expected}"))
}
