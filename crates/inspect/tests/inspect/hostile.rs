//! Packages that are cut or damaged end in an error or in figures, never in a panic.

use std::fs;
use std::path::Path;

use anelith_inspect::detail::detail;
use anelith_inspect::diff::diff;
use anelith_inspect::summary::{summary, weights_of};
use anelith_mil::blob::WeightStore;
use anelith_mil::{Bundle, Program, proto, text, validate};
use tempfile::TempDir;

use crate::shared::{of_program, shared};

const MODEL: &str = "Data/com.apple.CoreML/model.mlmodel";
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => fs::write(target, fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

/// Looks at all there is; whether it could be opened.
fn look(path: &Path, sound: &Bundle) -> bool {
    let Ok(bundle) = Bundle::open(path) else { return false };
    let Ok(weights) = weights_of(&bundle, None) else { return false };
    let _ = summary(&bundle, &weights);
    for weight in &weights {
        let _ = detail(&bundle, &weights, weight, 0, None);
    }
    let _ = diff(sound, &bundle, None);
    true
}

#[test]
fn damaged_packages_do_not_panic() {
    for (scheme, step) in [("lut4_vec2", 61), ("sparse50_lut4", 61), ("lut4_g8_pcs", 97)] {
        let Some(source) = shared(&format!("vectors/ct_tiny_llama/{scheme}/model.mlpackage")) else { return };
        let sound = Bundle::open(&source).unwrap();
        let dir = TempDir::new().unwrap();
        let package = dir.path().join("x.mlpackage");
        copy(&source, &package);
        let (mut opened, mut refused) = (0, 0);
        for file in [MODEL, WEIGHTS] {
            let whole = fs::read(package.join(file)).unwrap();
            let mut try_bytes = |bytes: &[u8]| {
                fs::write(package.join(file), bytes).unwrap();
                if look(&package, &sound) { opened += 1 } else { refused += 1 }
            };
            for i in 0..40 {
                try_bytes(&whole[..whole.len() * i / 40]);
                let mut damaged = whole.clone();
                // Spread over the file, and over the bits.
                for k in 0..1 + i % 3 {
                    let at = (i * step * 131 + k * 7919) % whole.len();
                    damaged[at] ^= 1 << (i % 8);
                }
                try_bytes(&damaged);
            }
            fs::write(package.join(file), &whole).unwrap();
        }
        assert!(opened > 10 && refused > 60, "{scheme}: {opened} opened, {refused} refused");
    }
}

/// Makes a program of a file, if it is one.
type Reader<'r> = &'r dyn Fn(&[u8]) -> Option<Program>;

/// What the fuzzers have found in readers goes through here too, as far as it is valid and has no files.
#[test]
fn programs_of_the_fuzzers_do_not_panic() {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"));
    let of_text = |bytes: &[u8]| text::parse(std::str::from_utf8(bytes).ok()?, "corpus").ok();
    let of_proto = |bytes: &[u8]| Some(proto::decode(bytes, "corpus").ok()?.program);
    let readers: [(&str, Reader<'_>); 2] = [("mil_text", &of_text), ("protobuf", &of_proto)];
    let mut looked_at = 0;
    for (folder, read) in readers {
        for entry in fs::read_dir(corpus.join(folder)).unwrap() {
            let Some(program) = read(&fs::read(entry.unwrap().path()).unwrap()) else { continue };
            if validate(&program).is_err() || WeightStore::open(Path::new("."), &program).is_err() {
                continue;
            }
            let bundle = of_program(program);
            let weights = weights_of(&bundle, None).unwrap();
            let _ = summary(&bundle, &weights);
            weights.iter().for_each(|weight| drop(detail(&bundle, &weights, weight, 0, None)));
            let found = diff(&bundle, &bundle, None);
            assert!(found.is_err() || found.is_ok_and(|found| found.is_empty()), "it differs from itself");
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "only {looked_at} programs are valid");
}
