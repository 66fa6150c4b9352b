// Runs a two-function bundle with Core ML and compares the outputs with ours; used
// by check_on_a_mac.sh. It has not been run by its authors: see there.
//
//   coreml_check feeds   BUNDLE VOCABULARY FEEDS.json     writes calls to make
//   coreml_check run     BUNDLE UNITS FEEDS.json OUT.json makes them with Core ML
//   coreml_check compare OURS.json COREML.json            exit 1 if they differ
//   coreml_check json    ONE.json OTHER.json              exit 1 if they differ
//   coreml_check agree   BUNDLE UNITS VOCABULARY          exit 1 if prefill and infer differ
//   coreml_check soak    BUNDLE UNITS VOCABULARY STEPS    exit 1 if an output is not finite
//   coreml_check plan    BUNDLE UNITS                     where each op would run
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

/// The two functions of a bundle, loaded.
func functions(bundle: String, units: MLComputeUnits) throws -> [String: MLModel] {
    ["infer": try load(bundle, function: "infer", units: units), "prefill": try load(bundle, function: "prefill", units: units)]
}

/// What the model answers to one call.
func answer(_ call: Call, models: [String: MLModel], state: MLState) throws -> Answer {
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

/// Makes the calls in order through one state.
func run(bundle: String, units: MLComputeUnits, calls: [Call]) throws -> [Answer] {
    let models = try functions(bundle: bundle, units: units)
    guard let infer = models["infer"] else { throw Problem(description: "no function infer") }
    let state = infer.makeState()
    return try calls.map { try answer($0, models: models, state: state) }
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

/// Feeds the same tokens once as a batch to prefill and once one by one to infer, then one more to infer, and
/// compares what is said then.
func agree(bundle: String, units: MLComputeUnits, vocabulary: Int) throws -> Bool {
    let models = try functions(bundle: bundle, units: units)
    guard let infer = models["infer"], let prefill = models["prefill"] else { throw Problem(description: "a function is missing") }
    let batch = try inputShape("input_ids", of: prefill)[1]
    let width = try inputShape("causal_mask", of: prefill)[3]
    let ids = (0...batch).map { ($0 * 7919 + 1) % vocabulary }
    // Where the batch fills the context, its last token is fed again at its place.
    let last = min(batch, width - 1)
    let question = call("infer", tokens: [ids[last]], position: last, width: width)
    let batched = infer.makeState()
    _ = try answer(call("prefill", tokens: Array(ids[0..<batch]), position: 0, width: width), models: models, state: batched)
    let afterBatch = try answer(question, models: models, state: batched)
    let single = infer.makeState()
    for position in 0..<last {
        _ = try answer(call("infer", tokens: [ids[position]], position: position, width: width), models: models, state: single)
    }
    let afterSingle = try answer(question, models: models, state: single)
    print("prefill of \(batch) tokens against infer of the same, one by one:")
    return try compare(ours: [afterSingle], theirs: [afterBatch])
}

/// Runs infer `steps` times through one state, from the beginning again where the context ends. Some failures of
/// the Neural Engine show only after some hundred calls.
func soak(bundle: String, units: MLComputeUnits, vocabulary: Int, steps: Int) throws {
    let infer = try load(bundle, function: "infer", units: units)
    let width = try inputShape("causal_mask", of: infer)[3]
    let state = infer.makeState()
    let start = Date()
    for step in 0..<steps {
        let next = call("infer", tokens: [(step * 7919 + 11) % vocabulary], position: step % width, width: width)
        let said = try answer(next, models: ["infer": infer], state: state)
        for (name, tensor) in said.outputs {
            guard tensor.data.allSatisfy(\.isFinite) else { throw Problem(description: "step \(step): \(name) is not finite") }
        }
        if (step + 1) % 100 == 0 { print("  \(step + 1) steps") }
    }
    print("\(steps) steps through one state, all finite, \(Double(steps) / Date().timeIntervalSince(start)) tokens a second")
}

func name(_ device: MLComputeDevice) -> String {
    switch device {
    case .cpu: return "CPU"
    case .gpu: return "GPU"
    case .neuralEngine: return "Neural Engine"
    @unknown default: return "other"
    }
}

/// A result that a task leaves for whoever waits for it.
final class Box<T>: @unchecked Sendable {
    var result: Result<T, Error>?
}

/// Where Core ML would run each op of each function: counts for each device, and the ops that are not on the Neural
/// Engine by kind. Constants are on no device.
func plan(bundle: String, units: MLComputeUnits) throws {
    let configuration = MLModelConfiguration()
    configuration.computeUnits = units
    let (box, done) = (Box<MLComputePlan>(), DispatchSemaphore(value: 0))
    Task.detached {
        do {
            box.result = .success(try await MLComputePlan.load(contentsOf: URL(fileURLWithPath: bundle), configuration: configuration))
        } catch {
            box.result = .failure(error)
        }
        done.signal()
    }
    done.wait()
    guard let plan = try box.result?.get() else { throw Problem(description: "no compute plan") }
    guard case .program(let program) = plan.modelStructure else { throw Problem(description: "the model is no ML program") }
    for (function, body) in program.functions.sorted(by: { $0.key < $1.key }) {
        var devices = [String: Int]()
        var elsewhere = [String: Int]()
        for operation in body.block.operations {
            guard let usage = plan.deviceUsage(for: operation) else { continue }
            let device = name(usage.preferred)
            devices[device, default: 0] += 1
            if device != "Neural Engine" { elsewhere["\(operation.operatorName) on \(device)", default: 0] += 1 }
        }
        print("\(function): " + devices.sorted { $0.key < $1.key }.map { "\($0.value) ops on \($0.key)" }.joined(separator: ", "))
        for (kind, count) in elsewhere.sorted(by: { $0.key < $1.key }) { print("  \(count) x \(kind)") }
    }
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
    case ("agree", 4), ("soak", 5):
        guard let chosen = units[arguments[2]] else { throw Problem(description: "unknown compute units \(arguments[2])") }
        guard let vocabulary = Int(arguments[3]), vocabulary > 0 else { throw Problem(description: "vocabulary \(arguments[3]) is not a number") }
        if arguments[0] == "agree" { return try agree(bundle: arguments[1], units: chosen, vocabulary: vocabulary) ? 0 : 1 }
        guard let steps = Int(arguments[4]), steps > 0 else { throw Problem(description: "steps \(arguments[4]) is not a number") }
        try soak(bundle: arguments[1], units: chosen, vocabulary: vocabulary, steps: steps)
    case ("plan", 3):
        guard let chosen = units[arguments[2]] else { throw Problem(description: "unknown compute units \(arguments[2])") }
        try plan(bundle: arguments[1], units: chosen)
    case ("json", 3):
        return try sameJson(arguments[1], arguments[2]) ? 0 : 1
    default:
        FileHandle.standardError.write(Data("usage: coreml_check feeds|run|compare|json|agree|soak|plan ...\n".utf8))
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
