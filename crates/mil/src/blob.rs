//! Weight files: the storage format of `weight.bin`, version 2.
//!
//! A header of 64 bytes, then records. A record is 64 bytes of metadata at a multiple of 64, and its data
//! right behind them; zeros fill up to the next record, and the file ends where the last data end. Programs
//! refer to a blob by the offset of its metadata. All numbers are little-endian.
//!
//! Writing goes in two steps, so that no weight need be in memory for long: a [`BlobLayout`] plans every offset
//! from types alone, which is all that the program needs, and a [`BlobWriter`] then takes the data in plan
//! order, in pieces of any size. Reading maps whole files ([`WeightStore`]). A [`BlobPool`] gathers blobs of
//! several files for one, and [`repoint`] leads a function to where they went.

use std::path::{Component, Path};

use crate::error::{Error, Result};

mod flush;
mod layout;
mod map;
mod pool;
mod record;
mod repoint;
mod store;
mod writer;

pub use layout::BlobLayout;
pub use pool::BlobPool;
pub use record::Record;
pub use repoint::repoint;
pub use store::{SharedBytes, WeightFile, WeightStore};
pub use writer::BlobWriter;

/// The name under which programs refer to the weight file that anelith writes.
pub const WEIGHT_FILE: &str = "@model_path/weights/weight.bin";

/// What the names of weight files start with: the directory that holds the program.
const MODEL_PATH: &str = "@model_path/";

/// The longest file name, in bytes, that common file systems have.
const LONGEST_NAME: usize = 255;

/// The path of the weight file `name` below `@model_path`, which leads nowhere else.
///
/// # Errors
/// `Malformed` when it would.
pub(crate) fn relative_path(name: &str) -> Result<&Path> {
    let is_plain = |c: Component<'_>| matches!(c, Component::Normal(n) if n.len() <= LONGEST_NAME);
    let inside = |path: &&Path| {
        !path.as_os_str().is_empty() && !name.contains('\0') && path.components().all(is_plain)
    };
    name.strip_prefix(MODEL_PATH).map(Path::new).filter(inside).ok_or_else(|| {
        let problem =
            "expected a path below `@model_path` without `..`, e.g. `@model_path/weights/weight.bin`";
        Error::malformed(format!("weight file `{name}`"), problem)
    })
}
