//! Combining models that are made here, op by op.
