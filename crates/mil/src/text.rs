//! placeholder
use crate::program::{Function, Op};
/// One op.
pub fn print_op(_function: &Function, op: &Op) -> String {
    op.name().to_owned()
}
