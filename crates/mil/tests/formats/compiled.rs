//! Sources that Apple's compiler compiled are compiled here, and the results compared file by file.

use std::path::{Path, PathBuf};

use anelith_mil::compiled::{self, Compiler, Source};
use anelith_mil::{Model, Opcode, proto, validate_model};
use serde_json::Value as Json;

use crate::shared;

fn vectors() -> Option<PathBuf> {
    Some(shared::folder()?.join("vectors"))
}

/// A source and what Apple's compiler made of it.
struct Pair {
    specification: PathBuf,
    compiled: PathBuf,
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|s| s.to_str()).expect("vectors have names")
}

fn pairs(vectors: &Path) -> Vec<Pair> {
    let silero = vectors.join("mobius-silero-vad");
    let mut pairs = Vec::new();
    for compiled in shared::entries(&silero.join("compiled")) {
        let package = format!("{}.mlpackage", stem(&compiled));
        let places = [silero.join("silero-vad-coreml"), silero.join("quantized_models/unified_standard")];
        let package = places.iter().map(|p| p.join(&package)).find(|p| p.is_dir()).expect("a source");
        pairs.push(Pair { specification: package.join("Data/com.apple.CoreML/model.mlmodel"), compiled });
    }
    for fixture in shared::entries(&vectors.join("mlmodelc-export/fixtures")) {
        pairs.push(Pair {
            specification: fixture.join("input.mlmodel"),
            compiled: fixture.join("expected-macos.mlmodelc"),
        });
    }
    pairs
}

/// The compiler's versions in a compiled model that was read.
fn compiler_of(model: &Model) -> Compiler {
    let entry =
        |key: &str| model.program.build_info.get(key).expect("the compiler leaves its version").clone();
    Compiler { component: entry("coremlc-component-MIL"), version: entry("coremlc-version") }
}

/// Compiles the source of `pair` into `dir` as the compiler of those versions, and gives the source model.
fn compile(pair: &Pair, compiler: &Compiler, dir: &Path) -> Model {
    let bytes = std::fs::read(&pair.specification).expect("sources can be read");
    let model = proto::decode(&bytes, &pair.specification.display().to_string()).expect("sources decode");
    let info = validate_model(&model).expect("sources are valid");
    let source = Source {
        specification: &bytes,
        model_name: stem(&pair.specification),
        weights_root: pair.specification.parent().expect("a folder"),
        class_name: "source",
        place: &|from, to| anelith_mil::disk::share_file(from, to, &|_| true),
    };
    compiled::write(dir, &model, &info, &source, compiler).expect("sources compile");
    model
}

fn bytes(dir: &Path, file: &str) -> Vec<u8> {
    let path = dir.join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `metadata.json` without the name of the class, and with the names of foreign ops without their release.
///
/// The class is named after a file name that the vectors do not keep; the release of an op is a thing of the op
/// table, which foreign ops are not in.
fn comparable(json: &[u8]) -> Json {
    let mut json: Json = serde_json::from_slice(json).expect("metadata is JSON");
    let entry = json.as_array_mut().and_then(|a| a.first_mut()).expect("one entry");
    entry.as_object_mut().expect("an object").remove("generatedClassName");
    name_known_ops(entry);
    json
}

fn name_known_ops(json: &mut Json) {
    match json {
        Json::Object(map) => {
            if let Some(Json::Object(histogram)) = map.get_mut("mlProgramOperationTypeHistogram") {
                *histogram = histogram.iter().map(|(key, count)| (known_name(key), count.clone())).collect();
            }
            map.values_mut().for_each(name_known_ops);
        }
        Json::Array(items) => items.iter_mut().for_each(name_known_ops),
        _ => {}
    }
}

/// The name in a histogram: as it stands for ops of the table, without the release for others.
fn known_name(key: &str) -> String {
    let plain = key.rsplit('.').next().unwrap_or_default().to_lowercase();
    let is_known = Opcode::ALL.iter().any(|op| op.info().name.replace('_', "") == plain);
    if is_known { key.to_owned() } else { plain }
}

#[test]
fn every_file_is_what_the_real_compiler_wrote() {
    let Some(vectors) = vectors() else { return };
    let pairs = pairs(&vectors);
    assert_eq!(pairs.len(), 12);
    for pair in pairs {
        let name = pair.compiled.display();
        let theirs = compiled::read(&pair.compiled).unwrap_or_else(|e| panic!("{e}"));
        let dir = tempfile::tempdir().expect("a directory");
        compile(&pair, &compiler_of(&theirs), dir.path());
        let same =
            |file: &str| assert!(bytes(dir.path(), file) == bytes(&pair.compiled, file), "{name}: {file}");
        same("model.mil");
        same("analytics/coremldata.bin");
        if theirs.description.metadata.user_defined.len() < 2 {
            // Apple's writer leaves the order of these entries to chance.
            same("coremldata.bin");
        }
        if pair.compiled.join("weights").is_dir() {
            same("weights/weight.bin");
        }
        let metadata = |dir: &Path| comparable(&bytes(dir, "metadata.json"));
        assert_eq!(metadata(dir.path()), metadata(&pair.compiled), "{name}: metadata.json");
        let length = |dir: &Path| bytes(dir, "coremldata.bin").len();
        assert_eq!(length(dir.path()), length(&pair.compiled), "{name}: coremldata.bin");
        assert_eq!(compiled::read(dir.path()).expect("what was written reads"), theirs, "{name}");
    }
}

#[test]
fn a_source_of_thousands_of_ops_compiles_to_the_same_text() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("fluidaudio-parakeet-eou/160ms");
    let pair = Pair {
        specification: folder.join("streaming_encoder.mlpackage/Data/com.apple.CoreML/model.mlmodel"),
        compiled: folder.join("streaming_encoder.mlmodelc"),
    };
    // Its `coremldata.bin` is a pointer, so the versions are taken from the text.
    let text = String::from_utf8(bytes(&pair.compiled, "model.mil")).expect("text");
    let theirs = anelith_mil::text::parse(&text, "model.mil").expect("the text parses");
    let entry = |key: &str| theirs.build_info[key].clone();
    let compiler = Compiler { component: entry("coremlc-component-MIL"), version: entry("coremlc-version") };
    let dir = tempfile::tempdir().expect("a directory");
    compile(&pair, &compiler, dir.path());
    assert!(bytes(dir.path(), "model.mil") == text.as_bytes());
    let metadata = |dir: &Path| comparable(&bytes(dir, "metadata.json"));
    assert_eq!(metadata(dir.path()), metadata(&pair.compiled));
    let pointer = compiled::read(&pair.compiled).expect_err("a pointer is no data").to_string();
    assert!(pointer.contains("coremldata.bin is malformed: at byte 0: it is a Git LFS pointer"), "{pointer}");
}

#[test]
fn a_compiled_model_is_the_model_it_was_compiled_from() {
    let Some(vectors) = vectors() else { return };
    let tiny = vectors.join("ct_tiny_llama");
    for folder in shared::entries(&tiny).into_iter().filter(|f| f.is_dir()) {
        let specification = folder.join("model.mlpackage/Data/com.apple.CoreML/model.mlmodel");
        let pair = Pair { specification, compiled: PathBuf::new() };
        let dir = tempfile::tempdir().expect("a directory");
        let model = compile(&pair, &Compiler::default(), dir.path());
        let mut again = compiled::read(dir.path()).expect("what was written reads");
        again.program.build_info.retain(|key, _| !key.starts_with("coremlc-"));
        let text = |m: &Model| anelith_mil::text::print(&m.program, anelith_mil::text::Dialect::V1_3);
        assert_eq!(text(&again), text(&model), "{}", folder.display());
        assert_eq!(again.description, model.description, "{}", folder.display());
        let json = String::from_utf8(bytes(dir.path(), "metadata.json")).expect("text");
        assert!(json.contains(r#""formattedType" : "State (Float16 4 × 2 × 32 × 16)""#), "{json}");
    }
}
