//! Models made on the spot, with random weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anelith_checkpoint::Checkpoint;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A config, and tensors with their shapes by name.
pub(crate) struct Model {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Model {
    /// Two layers, of every size a different one where that can be, and what `fields` say.
    pub(crate) fn new(model_type: &str, fields: Value) -> Model {
        let mut config = json!({
            "model_type": model_type,
            "hidden_size": 24,
            "intermediate_size": 37,
            "num_hidden_layers": 2,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "vocab_size": 41,
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-3,
            "rope_theta": 100.0,
        });
        let object = config.as_object_mut().unwrap();
        object.extend(fields.as_object().unwrap().clone());
        Model { config, tensors: BTreeMap::new() }
    }

    /// Adds a tensor of random weights, which are about as large as `scale` and have `mean` in their middle.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], scale: f32, mean: f32) {
        let mut state = name.bytes().fold(7u32, |s, b| s.wrapping_mul(31).wrapping_add(u32::from(b)));
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as f32 / 32_768.0 - 1.0) * scale + mean
        };
        let values = (0..shape.iter().product()).map(|_| next()).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    /// Writes the model as f32, and opens it.
    pub(crate) fn write(&self) -> (TempDir, Checkpoint) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        write_safetensors(&dir.path().join("model.safetensors"), &self.tensors);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        (dir, checkpoint)
    }
}

fn write_safetensors(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
}
