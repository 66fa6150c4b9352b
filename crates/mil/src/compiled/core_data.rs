//! `coremldata.bin` and `analytics/coremldata.bin`: little-endian, without padding; a string is its length in
//! eight bytes and its bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::disk::LFS_POINTER;
use crate::error::{Error, Result};
use crate::model::check_specification_version;

use super::Source;

/// The number of the field of `Model.proto` that holds an ML program.
const ML_PROGRAM: u64 = 502;
/// The number of the field of `Model.proto` that holds a pipeline.
const PIPELINE: u64 = 202;
/// What every ML program has as the variant of its compiled version.
const VARIANT: &[u8] = b"generic";

/// The contents of `coremldata.bin`.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct CoreData<'a> {
    pub(super) specification_version: i32,
    /// The serialized `ModelDescription`.
    pub(super) description: &'a [u8],
    /// The number of functions that have a record.
    pub(super) functions: usize,
}

/// The bytes of `coremldata.bin` for a model with `functions` functions and that serialized description.
pub(super) fn encode(specification_version: i32, description: &[u8], functions: usize) -> Vec<u8> {
    // The compiled version follows the specification version in two steps, as far as real files show.
    let compiled_version = if specification_version >= 9 { 9 } else { 5 };
    let mut bytes = (ML_PROGRAM as u32).to_le_bytes().to_vec();
    put_version(&mut bytes, compiled_version, VARIANT);
    put_version(&mut bytes, u64::from(specification_version.unsigned_abs()), b"");
    put_string(&mut bytes, description);
    for _ in 0..functions.max(1) {
        put_u64(&mut bytes, ML_PROGRAM);
        put_u64(&mut bytes, 0);
    }
    bytes
}

/// The bytes of `analytics/coremldata.bin`.
pub(super) fn analytics(source: &Source<'_>) -> Vec<u8> {
    let hash = BASE64_STANDARD.encode(Sha256::digest(source.specification));
    let mut bytes = Vec::new();
    put_section(
        &mut bytes,
        "NeuralNetworkModelDetails",
        [("containsCustomLayer", "0"), ("modelDimension", "0")],
    );
    put_section(&mut bytes, "SpecificationDetails", [("modelHash", &hash), ("modelName", source.model_name)]);
    bytes
}

fn put_u64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend(value.to_le_bytes());
}

fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    put_u64(bytes, string.len() as u64);
    bytes.extend(string);
}

fn put_version(bytes: &mut Vec<u8>, major: u64, variant: &[u8]) {
    for number in [major, 0, 0] {
        put_u64(bytes, number);
    }
    put_string(bytes, variant);
}

fn put_section(bytes: &mut Vec<u8>, name: &str, entries: [(&str, &str); 2]) {
    put_string(bytes, name.as_bytes());
    put_u64(bytes, entries.len() as u64);
    for (key, value) in entries {
        put_string(bytes, key.as_bytes());
        put_string(bytes, value.as_bytes());
    }
}

/// What `bytes`, the contents of the `coremldata.bin` that errors call `what`, say.
pub(super) fn decode<'a>(bytes: &'a [u8], what: &'a str) -> Result<CoreData<'a>> {
    let mut reader = Reader { bytes, offset: 0, what };
    if bytes.starts_with(LFS_POINTER) {
        return Err(reader.malformed(0, "it is a Git LFS pointer; fetch the file that it points to"));
    }
    reader.model_type()?;
    let at = reader.offset;
    let (_, variant) = reader.version("compiled version")?;
    if variant != VARIANT {
        let variant = String::from_utf8_lossy(variant);
        let problem = format!("variant `{variant}` at byte {at}, expected `generic`");
        return Err(Error::unsupported(what, problem));
    }
    let at = reader.offset;
    let (version, _) = reader.version("specification version")?;
    let version = i32::try_from(version)
        .map_err(|_| reader.malformed(at, format!("expected a specification version, found {version}")))?;
    check_specification_version(version, what)?;
    let description = reader.string("description")?;
    let functions = reader.functions()?;
    Ok(CoreData { specification_version: version, description, functions })
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    what: &'a str,
}

impl<'a> Reader<'a> {
    fn malformed(&self, offset: usize, problem: impl std::fmt::Display) -> Error {
        Error::malformed(self.what, format!("at byte {offset}: {problem}"))
    }

    fn take(&mut self, len: u64, name: &str) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or_else(|| {
            self.malformed(self.offset, format!("expected {len} bytes of {name}, found {}", rest.len()))
        })?;
        self.offset += taken.len();
        Ok(taken)
    }

    fn u64(&mut self, name: &str) -> Result<u64> {
        let word = self.take(8, name)?.first_chunk().copied().unwrap_or_default();
        Ok(u64::from_le_bytes(word))
    }

    fn string(&mut self, name: &str) -> Result<&'a [u8]> {
        let len = self.u64(&format!("the length of the {name}"))?;
        self.take(len, name)
    }

    fn model_type(&mut self) -> Result<()> {
        let word = self.take(4, "the model type")?.first_chunk().copied().unwrap_or_default();
        match u64::from(u32::from_le_bytes(word)) {
            ML_PROGRAM => Ok(()),
            PIPELINE => {
                Err(Error::unsupported(self.what, "a pipeline (model type 202), expected an ML program"))
            }
            found => Err(self.malformed(0, format!("expected model type {ML_PROGRAM}, found {found}"))),
        }
    }

    /// The major number and the variant; the other two numbers have always been 0.
    fn version(&mut self, name: &str) -> Result<(u64, &'a [u8])> {
        let major = self.u64(name)?;
        let at = self.offset;
        let rest = (self.u64(name)?, self.u64(name)?);
        if rest != (0, 0) {
            let problem = format!("{name} {major}.{}.{} at byte {at}, expected {major}.0.0", rest.0, rest.1);
            return Err(Error::unsupported(self.what, problem));
        }
        Ok((major, self.string(name)?))
    }

    /// The number of records to the end of the file.
    fn functions(&mut self) -> Result<usize> {
        let mut count = 0;
        while self.offset < self.bytes.len() {
            let at = self.offset;
            let record = (self.u64("a function record")?, self.u64("a function record")?);
            if record != (ML_PROGRAM, 0) {
                let problem = format!("expected a function record of {ML_PROGRAM} and 0, found {record:?}");
                return Err(self.malformed(at, problem));
            }
            count += 1;
        }
        Ok(count)
    }
}
