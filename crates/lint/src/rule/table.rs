//! The table of rules.

use super::{Rule, Severity};
use crate::target::Target;

macro_rules! rules {
    ($($name:ident: $severity:ident $id:literal $([$($target:ident)*])? { $title:literal $source:literal $fix:literal })*) => {
        $(pub(crate) static $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            targets: &[$($(Target::$target),*)?],
            title: $title,
            source: $source,
            fix: $fix,
        };)*

        /// All rules: of programs, types, states, literals, ops and weights.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    VALID: Error "valid" {
        "the program keeps the rules of MIL; Core ML refuses others, or crashes on them"
        "the MIL specification in coremltools"
        "make the package again; if a converter wrote it so, report it there"
    }
    FUNCTIONS: Warning "functions" {
        "a model has at most two functions; of compiled ones with four the later do not load (\"function_name must be nil unless model type is ML Program\")"
        "ANEMLL, CLAUDE.md"
        "split the model, or compile it with coremlcompiler --add-mlprogram-if-eligible force"
    }
    RANK: Error "rank" {
        "tensors have at most five dimensions; Core ML refuses more"
        "Apple, neural_engine_rules"
        "fold axes that are always used together into one"
    }
    FP32: Warning "fp32" {
        "numbers are fp16; what is fp32 or fp64 runs on the CPU or GPU, and so does what surrounds it"
        "Apple, neural_engine_rules"
        "convert with compute precision FLOAT16, and inputs and outputs of fp16"
    }
    DTYPE: Warning "dtype" {
        "integers have 8, 16 or 32 bits and a type that Core ML's ops take"
        "Apple, neural_engine_rules"
        "cast to int32 or less where the values come from"
    }
    INT32: Note "int32" {
        "the Neural Engine computes in fp16, int8 and int16; whole tensors of int32 are computed on the CPU"
        "Apple, neural_engine_rules"
        "use int16 or uint16 where the range allows"
    }
    STATIC_SHAPE: Warning "static-shape" {
        "shapes are fixed; flexible ones keep the model, or ops like layer_norm in it, from the Neural Engine"
        "Apple, neural_engine_rules; apple/coremltools#1909"
        "convert with fixed shapes; one function for each shape that is needed"
    }
    DIMENSION: Error "dimension" {
        "no dimension is above 65,536, the limit of the Neural Engine; tables of gather, which the CPU reads, do not count"
        "maderix/ANE#26; microsoft/onnxruntime#25421"
        "split the tensor, as LM heads are split over the vocabulary"
    }
    WIDE: Warning "wide" {
        "no dimension is above 16,384, the conservative reading of the same limit"
        "maderix/ANE#26; microsoft/onnxruntime#25421; ANEMLL splits its LM heads below it"
        "split the tensor, as LM heads are split over the vocabulary"
    }
    LAST_AXIS: Note "last-axis" {
        "the last axis is stored in 64 bytes or multiples of it, so a short one wastes memory and time"
        "Apple, neural_engine_rules"
        "order the axes so that the last one is long; a model for one token at a time has tensors where none is"
    }
    STATE_ALIGNMENT: Error "state-alignment" {
        "the last dimension of a state is a multiple of 32; others fail on the Neural Engine when the model runs"
        "apple/coremltools#2631; Anemll/Anemll#27"
        "pad the dimension, or order the axes so that the last one is a multiple of 32"
    }
    STATE_DTYPE: Error "state-dtype" {
        "states are fp16; Core ML has no others"
        "coremltools guide, Stateful Models"
        "declare the state as fp16"
    }
    STATE_LAYOUT: Error "state-layout" {
        "functions that have states have the same ones: consumers make them from one function and give them to all"
        "ANEMLL, tests/chat.py and InferenceManager.swift"
        "give the states the same names and types in all functions"
    }
    ONE_STATE: Warning "one-state" {
        "a function has one state: two of different shapes do not compile on M1 and A14, and three or more fail everywhere"
        "ANEMLL, release notes 0.3.5; CoreML-LLM, MLSTATE_PATTERN"
        "keep all layers, keys and values alike, in one tensor"
    }
    STATE_COUNT: Error "state-count" {
        "a function has at most two states; with three or more the Neural Engine fails when the model runs"
        "CoreML-LLM, MLSTATE_PATTERN"
        "keep all layers, keys and values alike, in one tensor"
    }
    UNIFORM_STATES: Error "uniform-states" [M1 A14] {
        "all states of a function have one shape; the Neural Engine of M1 and A14 does not compile others"
        "ANEMLL, release notes 0.3.5"
        "give the states one shape, or keep the context within the sliding window"
    }
    UPDATE_DTYPE: Error "update-dtype" {
        "what is written into a tensor or state has its element type; macOS 26 refuses others (\"update data type must match output data type\")"
        "Anemll/Anemll#39"
        "cast the update to the element type of the state"
    }
    STATE_RETURNED: Error "state-returned" {
        "no function returns the very value that it writes to a state, which crashes Core ML when it loads"
        "apple/coremltools#2713"
        "return a copy, e.g. the result of an op that changes nothing"
    }
    STATE_TRANSPOSE: Warning "state-transpose" {
        "what is read from a state is not transposed: the model may not load, or leave the Neural Engine"
        "apple/coremltools#2275; apple/coremltools#2278"
        "keep the state in the order of axes it is used in; matmul transposes its operands itself"
    }
    NON_FINITE: Warning "non-finite" {
        "literals are finite: an infinity in a mask becomes NaN where rows are masked as a whole or it is scaled"
        "apple/coremltools#2669; Apple, neural_engine_rules, which masks with about -4e4"
        "mask with a finite value, e.g. -40000"
    }
    MASK_MIN: Warning "mask-min" {
        "literals stay away from the ends of fp16: what fp32 has beyond becomes an infinity, and -65504 does when a score is added"
        "apple/coremltools#2669; Apple, neural_engine_rules, which masks with about -4e4"
        "mask with a value that leaves room, e.g. -40000"
    }
    SDPA: Warning "sdpa" {
        "attention is spelled out as matmul, softmax and matmul; scaled_dot_product_attention leaves the Neural Engine"
        "CoreML-LLM, DEPLOYMENT"
        "convert for iOS 17 ops, or with attention written in matmul and softmax"
    }
    LINEAR: Note "linear" {
        "projections are convolutions of 1 x 1, whose layout is that of the Neural Engine"
        "Apple, \"Deploying Transformers on the Apple Neural Engine\", principle 1"
        "replace the linear layer by a Conv2d with kernel size 1 and the weight as [out, in, 1, 1]"
    }
    SQUARES: Warning "squares" {
        "no sum of squares in fp16: above 256 a square is beyond it, as in an RMS norm that is spelled out"
        "apple/coremltools#2821; huggingface/swift-transformers#95; pytorch/executorch#8641"
        "take layer_norm of (x, -x), or divide by the largest value first, epsilon too"
    }
    GATHER_INDEX: Error "gather-index" {
        "the type of indices reaches to the end of their table; beyond it they wrap, and other rows are read"
        "pytorch/executorch#7616"
        "cast the indices to int32 for a table of that size"
    }
    LUT_SCALE: Error "lut-scale" {
        "a palettized weight has no scales besides; with them it is decoded wrongly, or the model crashes"
        "apple/coremltools#2716; apple/coremltools#2688; apple/coremltools#2777; apple/coremltools#2546; apple/coreai-torch#93"
        "palettize without enable_per_channel_scale, and palettize weights that are not quantized"
    }
    LUT_GROUP: Error "lut-group" {
        "the groups of a lookup table divide the channels of its weight"
        "coremltools, constexpr_lut_to_dense of iOS 18; apple/coremltools#2777"
        "palettize with a group size that divides the number of channels"
    }
    UNPALETTIZED: Note "unpalettized" {
        "where weights are palettized, all large ones are: coremltools leaves those as they are whose channels the group does not divide"
        "apple/coremltools#2777; coremltools, its pass palettize_weights"
        "choose a group size that divides the channels, unless it is meant"
    }
    BLOB_SIZE: Error "blob-size" {
        "no weight is above 2 GiB; Core ML does not load larger ones"
        "apple/coremltools#1807"
        "split the weight, or palettize it"
    }
    FILE_SIZE: Warning "file-size" {
        "the weight file is at most 2 GiB, the limit of the Neural Engine"
        "apple/coremltools#1807; step 0 of anelith convert warns at the same size"
        "use fewer bits, or split the model"
    }
    FILE_SIZE_IOS: Error "file-size-ios" [Ios18 A14] {
        "the weight file is at most 1 GB (1,000,000,000 bytes), which is what iPhones load"
        "ANEMLL, notes on iOS; apple/coremltools#2503"
        "use fewer bits, or split the model"
    }
}
