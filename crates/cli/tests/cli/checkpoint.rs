//! Model directories made for a test: the demo with something changed, or one large enough to take a while.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::anelith::demo;
use crate::files;

/// A copy of the demo's model directory.
pub(crate) struct Model {
    dir: TempDir,
}

impl Model {
    pub(crate) fn demo() -> Model {
        let dir = TempDir::new().unwrap();
        files::copy(&demo(), dir.path());
        Model { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Sets a field of config.json.
    pub(crate) fn with_config(self, key: &str, value: Value) -> Model {
        let path = self.path().join("config.json");
        let mut config: Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config.insert(key.to_owned(), value);
        fs::write(&path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
        self
    }

    pub(crate) fn without(self, file: &str) -> Model {
        fs::remove_file(self.path().join(file)).unwrap();
        self
    }

    pub(crate) fn with_weights_cut_to(self, bytes: usize) -> Model {
        let path = self.path().join("model.safetensors");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..bytes]).unwrap();
        self
    }

    /// Changes the header of model.safetensors and leaves the data alone.
    pub(crate) fn with_header(self, change: impl FnOnce(&mut Map<String, Value>)) -> Model {
        let path = self.path().join("model.safetensors");
        let (mut header, data) = split(&fs::read(&path).unwrap());
        change(&mut header);
        fs::write(&path, join(&header, &data)).unwrap();
        self
    }

    /// Sets every element of a tensor.
    pub(crate) fn with_all(self, tensor: &str, value: f32) -> Model {
        let path = self.path().join("model.safetensors");
        let (header, mut data) = split(&fs::read(&path).unwrap());
        let offset = |i: usize| header[tensor]["data_offsets"][i].as_u64().unwrap() as usize;
        for element in data[offset(0)..offset(1)].chunks_exact_mut(2) {
            element.copy_from_slice(&bf16(value));
        }
        fs::write(&path, join(&header, &data)).unwrap();
        self
    }

    /// Enlarges the vocabulary, with random weights for all of it: some seconds of palettization.
    pub(crate) fn with_vocabulary(self, size: usize) -> Model {
        let path = self.path().join("model.safetensors");
        let (mut header, mut data) = split(&fs::read(&path).unwrap());
        let start = data.len();
        data.extend(random_bf16(size * 128));
        let embedding = json!({"dtype": "BF16", "shape": [size, 128], "data_offsets": [start, data.len()]});
        let old = header.insert("model.embed_tokens.weight".to_owned(), embedding).unwrap();
        // The format wants every byte to belong to a tensor; one of this name means nothing.
        header.insert("model.rotary_emb.inv_freq".to_owned(), old);
        fs::write(&path, join(&header, &data)).unwrap();
        self.with_config("vocab_size", json!(size))
    }
}

/// Header and data of a safetensors file.
fn split(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
}

fn join(header: &Map<String, Value>, data: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

/// Values between -1 and 1, from a linear congruential generator.
fn random_bf16(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 1u64;
    (0..count).flat_map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        bf16(value)
    })
}

fn bf16(value: f32) -> [u8; 2] {
    ((value.to_bits() >> 16) as u16).to_le_bytes()
}
