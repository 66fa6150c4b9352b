// Runs a two-function bundle with Core ML and compares the outputs with ours; used
// by check_on_a_mac.sh. It has not been run by its authors: see there.
//
//   coreml_check feeds   BUNDLE VOCABULARY FEEDS.json     writes calls to make
//   coreml_check run     BUNDLE UNITS FEEDS.json OUT.json makes them with Core ML
//   coreml_check compare OURS.json COREML.json            exit 1 if they differ
//   coreml_check json    ONE.json OTHER.json              exit 1 if they differ
//
// FEEDS.json and OUT.json are what `anelith run` reads and writes.

import CoreML
import Foundation

struct Tensor: Codable {
    var dtype: String?
    let shape: [Int]
    let data: [Double]
}

struct Call: Codable {
    let function: String
    let inputs: [String: Tensor]
}

struct Answer: Codable {
    let outputs: [String: Tensor]
}

struct Problem: Error, CustomStringConvertible {
    let description: String
}

// The two functions may disagree by fp16 rounding in another order. The limits are
// the authors' guess at what that can come to.
let highestMeanDivergence = 1e-3
let nearTie = 0.03
let singleTokens = 8

// JSON has no infinity; masks need it.
let decoder = JSONDecoder()
decoder.nonConformingFloatDecodingStrategy = .convertFromString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
let encoder = JSONEncoder()
encoder.nonConformingFloatEncodingStrategy = .convertToString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")

func read<T: Decodable>(_ path: String, as type: T.Type) throws -> T {
    try decoder.decode(type, from: Data(contentsOf: URL(fileURLWithPath: path)))
}

func write<T: Encodable>(_ value: T, to path: String) throws {
    try encoder.encode(value).write(to: URL(fileURLWithPath: path))
}

func load(_ bundle: String, function: String, units: MLComputeUnits) throws -> MLModel {
    let configuration = MLModelConfiguration()
    configuration.functionName = function
    configuration.computeUnits = units
    return try MLModel(contentsOf: URL(fileURLWithPath: bundle), configuration: configuration)
}

func inputShape(_ name: String, of model: MLModel) throws -> [Int] {
    guard let constraint = model.modelDescription.inputDescriptionsByName[name]?.multiArrayConstraint else {
        throw Problem(description: "the model has no array input \(name)")
    }
    return constraint.shape.map(\.intValue)
}

/// The call that feeds `tokens` at `position` to a function with a mask of `width`.
func call(_ function: String, tokens: [Int], position: Int, width: Int) -> Call {
    var mask = [Double](repeating: -Double.infinity, count: tokens.count * width)
    for row in tokens.indices {
        for column in 0...(position + row) { mask[row * width + column] = 0 }
    }
    return Call(function: function, inputs: [
        "input_ids": Tensor(dtype: "int32", shape: [1, tokens.count], data: tokens.map(Double.init)),
        "position_ids": Tensor(dtype: "int32", shape: [tokens.count], data: tokens.indices.map { Double(position + $0) }),
        "causal_mask": Tensor(dtype: "fp16", shape: [1, 1, tokens.count, width], data: mask),
        "current_pos": Tensor(dtype: "int32", shape: [1], data: [Double(position)]),
    ])
}

/// One full prefill batch, then single tokens while the context lasts; fixed ids. Where the batch fills the
/// context, the last token of it is fed again at its place, as ANEMLL's consumers do.
func feeds(bundle: String, vocabulary: Int) throws -> [Call] {
    let prefill = try load(bundle, function: "prefill", units: .cpuOnly)
    let batch = try inputShape("input_ids", of: prefill)[1]
    let width = try inputShape("causal_mask", of: prefill)[3]
    let ids = (0..<(batch + singleTokens)).map { ($0 * 7919 + 11) % vocabulary }
    var calls = [call("prefill", tokens: Array(ids[0..<batch]), position: 0, width: width)]
    let first = min(batch, width - 1)
    for position in first..<min(first + singleTokens, width) {
        calls.append(call("infer", tokens: [ids[position]], position: position, width: width))
    }
    return calls
}

func multiArray(_ tensor: Tensor) -> MLMultiArray {
    if tensor.dtype == "int32" {
        return MLMultiArray(MLShapedArray<Int32>(scalars: tensor.data.map { Int32($0) }, shape: tensor.shape))
    }
    return MLMultiArray(MLShapedArray<Float16>(scalars: tensor.data.map { Float16($0) }, shape: tensor.shape))
}

/// Makes the calls in order through one state.
func run(bundle: String, units: MLComputeUnits, calls: [Call]) throws -> [Answer] {
    let infer = try load(bundle, function: "infer", units: units)
    let models = ["infer": infer, "prefill": try load(bundle, function: "prefill", units: units)]
    let state = infer.makeState()
    return try calls.map { call in
        guard let model = models[call.function] else { throw Problem(description: "no function \(call.function)") }
        let inputs = try MLDictionaryFeatureProvider(dictionary: call.inputs.mapValues { MLFeatureValue(multiArray: multiArray($0)) })
        let outputs = try model.prediction(from: inputs, using: state)
        var tensors = [String: Tensor]()
        for name in outputs.featureNames {
            guard let array = outputs.featureValue(for: name)?.multiArrayValue else { continue }
            let values = MLShapedArray<Float>(converting: array)
            tensors[name] = Tensor(shape: values.shape, data: values.scalars.map(Double.init))
        }
        return Answer(outputs: tensors)
    }
}

/// logits1, logits2, ... joined; empty where the call returned none.
func logits(_ answer: Answer) -> [Double] {
    var joined = [Double]()
    var split = 1
    while let part = answer.outputs["logits\(split)"] {
        joined += part.data
        split += 1
    }
    return joined
}

func logSoftmax(_ values: [Double]) -> [Double] {
    let top = values.max() ?? 0
    let sum = values.reduce(0) { $0 + exp($1 - top) }
    return values.map { $0 - top - log(sum) }
}

/// Whether both name the same best token, or the two best of `ours` nearly tie.
func sameTop(_ ours: [Double], _ theirs: [Double]) -> Bool {
    let order = ours.indices.sorted { ours[$0] > ours[$1] }
    let best = theirs.indices.max { theirs[$0] < theirs[$1] }
    return best == order[0] || (order.count > 1 && best == order[1] && ours[order[0]] - ours[order[1]] <= nearTie)
}

func compare(ours: [Answer], theirs: [Answer]) throws -> Bool {
    guard ours.count == theirs.count else { throw Problem(description: "\(ours.count) answers against \(theirs.count)") }
    var furthest = 0.0
    var divergences = [Double]()
    var same = 0
    for (one, other) in zip(ours, theirs) {
        guard Set(one.outputs.keys) == Set(other.outputs.keys) else {
            throw Problem(description: "outputs \(one.outputs.keys.sorted()) against \(other.outputs.keys.sorted())")
        }
        for (name, tensor) in one.outputs {
            let others = other.outputs[name]!
            guard tensor.shape == others.shape else { throw Problem(description: "\(name): shape \(tensor.shape) against \(others.shape)") }
            guard others.data.allSatisfy(\.isFinite) else { throw Problem(description: "\(name): Core ML returned a value that is not finite") }
            for (a, b) in zip(tensor.data, others.data) { furthest = max(furthest, abs(a - b)) }
        }
        let (a, b) = (logits(one), logits(other))
        if a.isEmpty { continue }
        let (p, q) = (logSoftmax(a), logSoftmax(b))
        divergences.append(zip(p, q).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) })
        same += sameTop(a, b) ? 1 : 0
    }
    guard !divergences.isEmpty else { throw Problem(description: "no call returned logits") }
    let mean = divergences.reduce(0, +) / Double(divergences.count)
    print("calls \(ours.count), largest difference \(furthest)")
    print("tokens \(divergences.count), same best token \(same), KL divergence mean \(mean) max \(divergences.max()!) nats (limit for the mean \(highestMeanDivergence))")
    return same == divergences.count && mean <= highestMeanDivergence
}

/// Whether two JSON files hold the same values, whatever the order of their keys.
func sameJson(_ one: String, _ other: String) throws -> Bool {
    let values = try [one, other].map { try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: $0))) as? NSObject }
    return values[0] == values[1]
}

func perform() throws -> Int32 {
    let arguments = Array(CommandLine.arguments.dropFirst())
    let units: [String: MLComputeUnits] = ["all": .all, "ane": .cpuAndNeuralEngine, "gpu": .cpuAndGPU, "cpu": .cpuOnly]
    switch (arguments.first, arguments.count) {
    case ("feeds", 4):
        guard let vocabulary = Int(arguments[2]), vocabulary > 0 else { throw Problem(description: "vocabulary \(arguments[2]) is not a number") }
        try write(feeds(bundle: arguments[1], vocabulary: vocabulary), to: arguments[3])
    case ("run", 5):
        guard let chosen = units[arguments[2]] else { throw Problem(description: "unknown compute units \(arguments[2])") }
        try write(run(bundle: arguments[1], units: chosen, calls: read(arguments[3], as: [Call].self)), to: arguments[4])
    case ("compare", 3):
        return try compare(ours: read(arguments[1], as: [Answer].self), theirs: read(arguments[2], as: [Answer].self)) ? 0 : 1
    case ("json", 3):
        return try sameJson(arguments[1], arguments[2]) ? 0 : 1
    default:
        FileHandle.standardError.write(Data("usage: coreml_check feeds|run|compare|json ...\n".utf8))
        return 2
    }
    return 0
}

do {
    exit(try perform())
} catch {
    FileHandle.standardError.write(Data("error: \(error)\n".utf8))
    exit(1)
}
