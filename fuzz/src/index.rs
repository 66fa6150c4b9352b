//! `model.safetensors.index.json` beside two shards: what it names is in the shards, and no other file is reached.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use anelith_checkpoint::Tensors;

use crate::scratch;

const INDEX: &str = "model.safetensors.index.json";

/// Reads `bytes` as the index of the shards `a.safetensors` (tensors `a`, `b`) and `b.safetensors` (`c`).
///
/// # Panics
/// When a tensor is listed that is in no shard, or a file outside the directory is opened.
pub fn check(bytes: &[u8]) {
    let dir = dir();
    fs::write(dir.join(INDEX), bytes).expect("the temporary directory takes files");
    let Ok(tensors) = Tensors::open(dir) else { return };
    for file in tensors.files() {
        assert_eq!(file.parent(), Some(dir.as_path()));
    }
    for name in tensors.names() {
        let tensor = tensors.get(name, &[2]).expect("every listed tensor is in its shard");
        let mut values = Vec::new();
        tensor.read_f32(0..2, &mut values).expect("its data are there");
        assert_eq!(values, [1.0, 2.0]);
    }
}

fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = scratch::dir().join("sharded");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("a.safetensors"), shard(&["a", "b"])).expect("a file");
        fs::write(dir.join("b.safetensors"), shard(&["c"])).expect("a file");
        dir
    })
}

/// A shard in which every tensor is `[1, 2]`.
fn shard(names: &[&str]) -> Vec<u8> {
    let entry = |(i, name): (usize, &&str)| {
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{},{}]}}"#, 8 * i, 8 * i + 8)
    };
    let header = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    for value in names.iter().flat_map(|_| [1.0f32, 2.0]) {
        file.extend(value.to_le_bytes());
    }
    file
}
