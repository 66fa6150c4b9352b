//! Voice activity detection by coremltools: conv with padding, pad, lstm, and weights of opset 6 in every form,
//! against what `milref.py` computed.

use std::path::Path;

use anelith_runtime::{Instance, Precision, Tensor};
use half::f16;

use super::npz::Npz;
use super::{Package, assert_near, shared};

const FOLDER: &str = "vectors/mobius-silero-vad";

/// Packages under `FOLDER`, where a file of that name holds inputs and outputs.
const PACKAGES: [(&str, &str); 8] = [
    ("silero-vad-coreml", "silero-vad-unified-v6.0.0"),
    ("quantized_models/unified_standard", "unified_int8"),
    ("quantized_models/unified_standard", "unified_mixed"),
    ("quantized_models/unified_standard", "unified_palette_2bit"),
    ("quantized_models/unified_standard", "unified_palette_4bit"),
    ("quantized_models/unified_standard", "unified_palette_6bit"),
    ("quantized_models/unified_standard", "unified_palette_8bit"),
    ("quantized_models/unified_standard", "unified_pruned_int8"),
];

const INPUTS: [(&str, [usize; 2]); 3] =
    [("audio_input", [1, 576]), ("hidden_state", [1, 128]), ("cell_state", [1, 128])];

fn instance(path: &Path, precision: Precision) -> Instance {
    let Package { program, info, weights } = Package::open(path);
    Instance::new(&program, &info, &weights, &["main"], precision).unwrap()
}

/// The inputs, rounded to fp16: the programs cast them to it, which the reference executor heeds in both modes
/// and ours where it rounds at all.
fn inputs(expected: &Npz) -> Vec<(&'static str, Tensor)> {
    let input = |(name, shape): (&'static str, [usize; 2])| {
        let given = expected.f32s(&format!("in_{name}"));
        let rounded: Vec<f32> = given.into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
        (name, Tensor::new(&shape, rounded).unwrap())
    };
    INPUTS.map(input).into()
}

#[test]
fn voice_activity_agrees_with_the_reference_executor() {
    for (folder, name) in PACKAGES {
        let Some(root) = shared(FOLDER) else { return };
        let expected = Npz::open(&root.join(format!("expected_{name}.npz")));
        for (precision, mode, tolerance) in [(Precision::F32, "fp32", 1e-3), (Precision::Exact, "fp16", 5e-3)]
        {
            let mut instance = instance(&root.join(folder).join(format!("{name}.mlpackage")), precision);
            let outputs = instance.run("main", &inputs(&expected)).unwrap();
            assert_eq!(outputs.len(), 3, "{name}");
            for (output, found) in &outputs {
                let expected = expected.f32s(&format!("{mode}_{output}"));
                assert_near(
                    &format!("{name} {mode} {output}"),
                    found.as_f32s().unwrap(),
                    &expected,
                    tolerance,
                );
            }
        }
    }
}

/// The same model in three programs, two of which take any number of frames.
#[test]
fn the_parts_of_the_detector_make_up_the_whole() {
    let Some(root) = shared(FOLDER) else { return };
    let expected = Npz::open(&root.join("expected_silero-vad-unified-v6.0.0.npz"));
    let run = |part: &str, inputs: &[(&str, Tensor)]| {
        let path = root.join(format!("silero-vad-coreml/silero-vad-{part}-v6.0.0.mlpackage"));
        instance(&path, Precision::F32).run("main", inputs).unwrap()
    };
    let [audio, hidden, cell]: [_; 3] = inputs(&expected).try_into().unwrap();
    let spectrum = run("stft", &[audio]).remove(0).1;
    let features = run("encoder", &[("stft_features", spectrum)]).remove(0).1;
    assert_eq!(features.shape(), [1, 128, 1]);
    for (name, found) in run("decoder", &[("encoder_output", features), hidden, cell]) {
        assert_near(
            &format!("parts {name}"),
            found.as_f32s().unwrap(),
            &expected.f32s(&format!("fp32_{name}")),
            1e-3,
        );
    }
}
