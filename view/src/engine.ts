/** The engine of the page: run a model of a document on a sequence, and differentiate the run.
 *
 * All arithmetic is in float64, from weights in float32. The results are those of Python within
 * float32's rounding. Nothing here touches the page.
 *
 *     const model = loadModel(document, 0);
 *     const sequence = exampleSequence(document, document.data[0]);
 *     const first = run(model, sequence);
 *     first.value("l0.forget")                        // {rows: T, size: H, data}
 *     run(model, sequence, { holds: [{ layer: "l0", name: "f", unit: 3, value: 0, from: 0, to: 12 }] })
 *     gradient(model, first, { output: 2, step: 40 }) // what moved it
 */

import {
  decodeFloats,
  DocumentError,
  type Example,
  type LayerDocument,
  type ModelDocument,
  type PageDocument,
  type Stage,
  type Task,
} from "./document.ts";
import {
  carryFactors,
  checkTerms,
  layerGradient,
  runLayer,
  stepValues as layerStepValues,
  type Hold,
  type Layer,
  type LayerRun,
} from "./layer.ts";
import { zeros, type Matrix } from "./matrix.ts";
import {
  backTransform,
  furthest,
  checkSizes,
  operationOf,
  segmentRows,
  type StageContext,
} from "./stages.ts";

export type { Hold, LayerRun } from "./layer.ts";
export type { Matrix } from "./matrix.ts";

/** A sequence to run: values of each step, or the symbols of a text. */
export interface Sequence {
  steps: number;
  /** (steps, inputs); of a text (steps, 1), the codes of its symbols. */
  values: Float64Array;
  /** Further inputs by name, (steps, size); of a forecast `known`, (horizon, known channels). */
  further: Record<string, Matrix>;
}

/** A model that is ready to run. */
export interface Model {
  document: ModelDocument;
  task: Task;
  layers: Layer[];
  /** The names of its layers, in the order in which they run. */
  layerNames: string[];
  /** One step that means nothing: the mean of the training part, 0, or no symbol (-1). */
  neutral: Float64Array;
  /** Whether each output depends on earlier steps only. */
  causal: boolean;
  /** Rows of the output: one for each step, or one for the sequence. */
  everyStep: boolean;
  contexts: StageContext[];
}

/** Steps whose input is cut out: replaced by the neutral input, or removed from the sequence. */
export interface Cut {
  steps: number[];
  how: "neutral" | "remove";
}

export interface RunOptions {
  holds?: Hold[];
  cut?: Cut | null;
  /** A run of the same model, whose steps before `from` are taken over. */
  earlier?: Run;
  /** The first step at which the sequence, the holds or the cut differ from `earlier`. */
  from?: number;
}

/** A named value at every step: index t of a row is time. */
export interface Values {
  rows: number;
  size: number;
  data: Float32Array;
}

/** A model's run over a sequence. */
export interface Run {
  model: Model;
  /** The sequence that was run, after the cut. */
  sequence: Sequence;
  /** For each step that was run, its step in the sequence that was passed. */
  times: Int32Array;
  options: RunOptions;
  layers: LayerRun[];
  /** The results of all stages. */
  stages: Matrix[];
  /** Probabilities, quantiles in the units of the data, or a layer's outputs. */
  outputs: Matrix;
  /** The values before the softmax; null where there is none. */
  scores: Matrix | null;
  /** A named value of a layer: `l0.forget`, or `l0.reverse.forget`. */
  value(name: string): Values;
}

/** Prepare a model of a document.
 *
 * @throws DocumentError if the document asks for something that this engine does not have.
 */
export function loadModel(page: PageDocument, index: number): Model {
  const document = page.models[index];
  if (document === undefined) throw new RangeError(`there is no model ${index}`);
  const numbers = decodeFloats(document.weights, document.bytes_each);
  const tensors: Record<string, Float64Array> = {};
  for (const [name, { at, shape }] of Object.entries(document.tensors)) {
    const size = shape.reduce((product, length) => product * length, 1);
    tensors[name] = Float64Array.from(numbers.subarray(at, at + size));
  }
  const layers = document.layers.map((layer) => {
    checkTerms(layer);
    return { document: layer, tensors };
  });
  const contexts = document.stages.map((stage): StageContext => {
    if (!isSource(stage)) operationOf(stage);
    const tensor = (setting: string) => {
      const own = tensors[stage[setting] as string];
      if (own === undefined) throw missing(stage, setting);
      return own;
    };
    const shape = (setting: string) => {
      const entry = document.tensors[stage[setting] as string];
      if (entry === undefined) throw missing(stage, setting);
      return entry.shape;
    };
    return { stage, tensor, shape };
  });
  const model: Model = {
    document,
    task: page.task,
    layers,
    layerNames: document.layers.map((layer) => layer.name),
    neutral: neutralInput(document, page.task, tensors),
    causal: document.layers.every((layer) => !layer.reverse) &&
      document.stages.every((stage) => !WHOLE.has(stage.op) && furthest(stage) === 0),
    everyStep: page.task.kind !== "classify" && page.task.kind !== "forecast",
    contexts,
  };
  checkStages(model);
  return model;
}

/** Run the stages, but not the layers, on two steps of zeros: each checks the sizes that it gets.
 *
 * @throws DocumentError naming the stage that does not fit.
 */
function checkStages(model: Model): void {
  const { task } = model;
  const steps = task.kind === "forecast" ? task.window! : 2;
  const results: Matrix[] = [];
  model.document.stages.forEach((stage, k) => {
    const inputs = stage.reads.map((read) => results[read]!);
    if (stage.op === "input") results.push(zeros(steps, task.inputs));
    else if (stage.op === "known") results.push(zeros(task.horizon!, task.known!.length));
    else if (stage.op === "layer") {
      const { document } = model.layers[stage["layer"] as number]!;
      const size = inputs[0]?.size;
      if (size !== document.input_size) {
        throw new DocumentError(
          `This page cannot be shown: ${document.name} reads ${document.input_size} values of a ` +
            `step, and the stage before it has ${size}.`,
        );
      }
      results.push(zeros(inputs[0]!.rows, document.terms[document.output]!.size));
    } else {
      checkSizes(model.contexts[k]!, inputs);
      results.push(operationOf(stage).forward(model.contexts[k]!, ...inputs));
    }
  });
}

/** Stages that read steps after their own. */
const WHOLE = new Set(["standardise", "segments", "in-window-scale"]);

function isSource(stage: Stage): boolean {
  return stage.op === "input" || stage.op === "known" || stage.op === "layer";
}

function missing(stage: Stage, setting: string): DocumentError {
  return new DocumentError(
    `This page cannot be shown: the stage ${stage.op} names no tensor as its ${setting}.`,
  );
}

/** The raw values that become 0 by the scaling of the input. */
function neutralInput(
  document: ModelDocument,
  task: Task,
  tensors: Record<string, Float64Array>,
): Float64Array {
  if (task.kind === "text") return Float64Array.of(-1);
  const neutral = new Float64Array(task.inputs);
  const at = document.stages.findIndex((stage) => stage.op === "scale");
  if (at < 0) return neutral;
  neutral.set(tensors[document.stages[at]!["mean"] as string]!);
  for (const stage of document.stages.slice(0, at)) {
    if (stage.op !== "transform") continue;
    const column = stage["column"] as number;
    neutral[column] = backTransform(neutral[column]!, stage["kind"] as string);
  }
  return neutral;
}

/** The sequence of an example. */
export function exampleSequence(page: PageDocument, example: Example): Sequence {
  const further = Object.entries(example.further ?? {}).map(([name, encoded]) => {
    const data = Float64Array.from(decodeFloats(encoded));
    const rows = page.task.kind === "forecast" ? page.task.horizon! : example.steps;
    return [name, { rows, size: data.length / rows, data }] as const;
  });
  const values =
    example.symbols === undefined
      ? Float64Array.from(decodeFloats(example.values!))
      : Float64Array.from(example.symbols);
  return { steps: example.steps, values, further: Object.fromEntries(further) };
}

/** Run a model over a sequence at once; see `runAsync` for long ones.
 *
 * @throws RangeError if the sequence does not fit the model.
 */
export function run(model: Model, sequence: Sequence, options: RunOptions = {}): Run {
  return drained(runSteps(model, sequence, options));
}

/** Run a model in slices of some milliseconds, between which the page can react.
 *
 * @throws RangeError if the sequence does not fit; the signal's reason if it is aborted.
 */
export function runAsync(
  model: Model,
  sequence: Sequence,
  options: RunOptions = {},
  signal?: AbortSignal,
): Promise<Run> {
  return sliced(runSteps(model, sequence, options), signal);
}

function drained<Result>(work: Generator<void, Result>): Result {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Milliseconds of work between two chances for the page to react: a frame has 16. */
const SLICE = 10;

async function sliced<Result>(work: Generator<void, Result>, signal?: AbortSignal): Promise<Result> {
  for (;;) {
    const end = performance.now() + SLICE;
    while (performance.now() < end) {
      const { done, value } = work.next();
      if (done) return value;
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    signal?.throwIfAborted();
  }
}

function* runSteps(model: Model, original: Sequence, options: RunOptions): Generator<void, Run> {
  const { sequence, times } = afterCut(model, original, options.cut ?? null);
  checkSequence(model, sequence);
  for (const hold of options.holds ?? []) checkHold(model, hold);
  const earlier = options.earlier?.model === model ? options.earlier : undefined;
  const sameSteps = earlier?.sequence.steps === sequence.steps || model.causal;
  const { stages } = model.document;
  const results: Matrix[] = [];
  const layers: LayerRun[] = [];
  // The first row of each stage that can differ from the earlier run.
  const changed: number[] = [];
  for (const [k, stage] of stages.entries()) {
    const first = Math.min(Infinity, ...stage.reads.map((read) => changed[read]!));
    if (stage.op === "input") {
      results.push({ rows: sequence.steps, size: model.task.inputs, data: sequence.values });
      changed.push(options.from ?? 0);
    } else if (stage.op === "known") {
      results.push(sequence.further["known"]!);
      changed.push(0);
    } else if (stage.op === "layer") {
      const at = stage["layer"] as number;
      const layer = model.layers[at]!;
      const begin = layer.document.reverse ? 0 : Math.min(first, options.from ?? 0);
      const result: LayerRun = yield* runLayer(
        layer,
        results[stage.reads[0]!]!,
        sequence.further,
        options.holds ?? [],
        sameSteps ? earlier?.layers[at] : undefined,
        begin,
      );
      layers[at] = result;
      results.push(result.output);
      changed.push(begin);
    } else {
      const operation = operationOf(stage);
      results.push(
        operation.forward(model.contexts[k]!, ...stage.reads.map((read) => results[read]!)),
      );
      changed.push(operation.changed?.(stage, first) ?? 0);
      yield;
    }
  }
  const { scores } = model.document;
  return {
    model,
    sequence,
    times,
    options: { ...options, earlier: undefined as never },
    layers,
    stages: results,
    outputs: results[results.length - 1]!,
    scores: scores === null ? null : results[scores]!,
    value: (name) => valueOf(layers, name),
  };
}

function afterCut(
  model: Model,
  original: Sequence,
  cut: Cut | null,
): { sequence: Sequence; times: Int32Array } {
  const all = Int32Array.from({ length: original.steps }, (_, t) => t);
  const inputs = model.task.inputs;
  if (cut === null || cut.steps.length === 0) return { sequence: original, times: all };
  const out = new Set(cut.steps);
  if (cut.how === "neutral") {
    const values = original.values.slice();
    for (const t of out) if (t >= 0 && t < original.steps) values.set(model.neutral, t * inputs);
    return { sequence: { ...original, values }, times: all };
  }
  const times = all.filter((t) => !out.has(t));
  const rowsOf = (data: Float64Array, size: number) => {
    const rest = new Float64Array(times.length * size);
    times.forEach((t, row) => rest.set(data.subarray(t * size, (t + 1) * size), row * size));
    return rest;
  };
  const further = Object.fromEntries(
    Object.entries(original.further).map(([name, matrix]) =>
      name === "known"
        ? [name, matrix]
        : [name, { ...matrix, rows: times.length, data: rowsOf(matrix.data, matrix.size) }],
    ),
  );
  const values = rowsOf(original.values, inputs);
  return { sequence: { steps: times.length, values, further }, times };
}

function checkSequence(model: Model, sequence: Sequence): void {
  const { steps, values } = sequence;
  if (steps < 1) throw new RangeError("the sequence has no steps; expected at least 1");
  if (values.length !== steps * model.task.inputs) {
    throw new RangeError(
      `the sequence has ${values.length} values; expected ${steps} steps of ${model.task.inputs}`,
    );
  }
  if (model.task.kind === "forecast" && steps !== model.task.window) {
    throw new RangeError(`the window has ${steps} steps; the model reads ${model.task.window}`);
  }
  if (model.task.kind === "text") {
    const symbols = model.task.labels.length;
    const wrong = values.find((code) => !Number.isInteger(code) || code < -1 || code >= symbols);
    if (wrong !== undefined) throw new RangeError(`symbol ${wrong}; expected one below ${symbols}`);
  }
  for (const stage of model.document.stages) {
    if (stage.op === "known") {
      checkFurther(sequence, "known", model.task.horizon!, model.task.known!.length);
    }
  }
  for (const { document } of model.layers) {
    for (const [name, index] of Object.entries(document.inputs)) {
      if (name !== document.event) checkFurther(sequence, name, steps, document.terms[index]!.size);
    }
  }
}

function checkFurther(sequence: Sequence, name: string, rows: number, size: number): void {
  const matrix = sequence.further[name];
  if (matrix?.rows !== rows || matrix.size !== size || matrix.data.length !== rows * size) {
    throw new RangeError(
      `the input ${name} is ${matrix ? `(${matrix.rows}, ${matrix.size})` : "missing"}; ` +
        `expected (${rows}, ${size})`,
    );
  }
}

function checkHold(model: Model, hold: Hold): void {
  const layer = model.layers.find(({ document }) => document.name === hold.layer);
  if (layer === undefined) throw new RangeError(`there is no layer ${hold.layer}`);
  const index = layer.document.named[hold.name];
  if (index === undefined) throw new RangeError(`${hold.layer} has no value ${hold.name}`);
  const size = layer.document.terms[index]!.size;
  if (hold.unit !== null && !(hold.unit >= 0 && hold.unit < size)) {
    throw new RangeError(`${hold.layer}.${hold.name} has ${size} units; unit ${hold.unit} is none`);
  }
  if (!Number.isFinite(hold.value)) throw new RangeError("a held value has to be a finite number");
}

function valueOf(layers: readonly LayerRun[], name: string): Values {
  const split = name.lastIndexOf(".");
  // A value of a cell within the cell has a point in its name: the layer's name decides.
  const match = layers
    .map((run) => ({ run, own: name.slice(run.layer.document.name.length + 1) }))
    .find(
      ({ run, own }) =>
        name.startsWith(`${run.layer.document.name}.`) && own in run.layer.document.named,
    );
  if (match === undefined) {
    throw new RangeError(`there is no value ${name.slice(split + 1)} of ${name.slice(0, split)}`);
  }
  const { run, own } = match;
  const index = run.layer.document.named[own]!;
  const data = run.recorded.get(index)!;
  return { rows: run.steps, size: data.length / run.steps, data };
}

/** All names that `Run.value` takes: `l0.forget`. */
export function valueNames(model: Model): string[] {
  return model.layers.flatMap(({ document }) =>
    Object.keys(document.named).map((name) => `${document.name}.${name}`),
  );
}

/** The values of every term of a layer at one step, by the term's index, for a diagram.
 *
 * `layer.nodes[k]` is the term of the group with `data-node="k"`, and of a formula's part.
 */
export function stepValues(run: Run, layer: string, t: number): Float64Array[] {
  return layerStepValues(layerRun(run, layer), t);
}

/** The run of the layer with this name. */
export function layerRun(run: Run, name: string): LayerRun {
  const own = run.layers.find((candidate) => candidate.layer.document.name === name);
  if (own === undefined) throw new RangeError(`there is no layer ${name}`);
  return own;
}

/** The factor that carries each unit of a state through each step, (steps, size). */
export function stateFactors(run: Run, layer: string, state: string): Values {
  const own = layerRun(run, layer);
  const document: LayerDocument = own.layer.document;
  if (!(state in document.states)) throw new RangeError(`${layer} has no state ${state}`);
  const data = carryFactors(own, state);
  return { rows: own.steps, size: document.states[state]!.size, data };
}

/** The steps of the sequence that each step of a layer reads, from `from` up to `to`. */
export function coveredSteps(run: Run, layer: string): { from: number; to: number }[] {
  const rows = layerRun(run, layer).steps;
  const segments = run.model.document.stages.find((stage) => stage.op === "segments");
  if (segments === undefined) return Array.from({ length: rows }, (_, t) => ({ from: t, to: t + 1 }));
  return segmentRows(run.sequence.steps, segments["steps"] as number).map((sources) => ({
    from: Math.max(sources[0]!, 0),
    to: sources[sources.length - 1]! + 1,
  }));
}

export interface GradientOptions {
  /** The position in a row of the outputs. */
  output: number;
  /** The row of the outputs: a step, of a model with an answer at every step; the last if absent.
   * Of a forecast a step ahead. */
  step?: number;
  /** "scores" differentiates the values before the softmax, which never saturate. */
  of?: "outputs" | "scores";
}

/** The derivatives of one output. */
export interface Gradient {
  /** By every raw value, (steps, inputs); of a text by the vector of each symbol, (steps, E),
   * in the first network where the model is the mean of several. */
  inputs: Matrix;
  /** Per step, the sum of derivative times difference from the neutral input, (steps,). */
  influence: Float64Array;
  /** By a named value, such as `l0.forget`: what the output would change by if it changed. */
  value(name: string): Values;
}

/** Differentiate one output of a run back to all inputs and named values. */
export function gradient(model: Model, run: Run, options: GradientOptions): Gradient {
  return drained(gradientSteps(model, run, options));
}

/** The same in slices; see `runAsync`. */
export function gradientAsync(
  model: Model,
  run: Run,
  options: GradientOptions,
  signal?: AbortSignal,
): Promise<Gradient> {
  return sliced(gradientSteps(model, run, options), signal);
}

function* gradientSteps(
  model: Model,
  run: Run,
  { output, step, of = "outputs" }: GradientOptions,
): Generator<void, Gradient> {
  const { stages } = model.document;
  const target = of === "scores" ? model.document.scores : stages.length - 1;
  if (target === null) throw new RangeError("the model has no scores: it ends without a softmax");
  const results = run.stages;
  const end = results[target]!;
  const row = step ?? end.rows - 1;
  if (!(row >= 0 && row < end.rows && output >= 0 && output < end.size)) {
    throw new RangeError(`output ${output} of row ${row}; there are (${end.rows}, ${end.size})`);
  }
  const gradients: (Matrix | undefined)[] = stages.map(() => undefined);
  const of_ = (k: number) => (gradients[k] ??= zeros(results[k]!.rows, results[k]!.size));
  of_(target).data[row * end.size + output] = 1;
  const values = new Map<string, Values>();
  const embedded: number[] = [];
  for (let k = target; k >= 0; k--) {
    const stage = stages[k]!;
    if (gradients[k] === undefined || stage.op === "input" || stage.op === "known") continue;
    if (stage.op === "embed") embedded.unshift(k);
    if (stage.op === "layer") {
      const own = run.layers[stage["layer"] as number]!;
      const result = yield* layerGradient(own, of_(k));
      addTo(of_(stage.reads[0]!), result.event);
      for (const [name, index] of Object.entries(own.layer.document.named)) {
        const data = result.recorded.get(index)!;
        const size = data.length / own.steps;
        values.set(`${own.layer.document.name}.${name}`, { rows: own.steps, size, data });
      }
    } else {
      operationOf(stage).backward(
        model.contexts[k]!,
        of_(k),
        results[k]!,
        stage.reads.map((read) => results[read]!),
        stage.reads.map((read) => of_(read)),
      );
      yield;
    }
  }
  const inputStages = stages.flatMap((stage, k) => (stage.op === "input" ? [k] : []));
  const inputs =
    embedded.length === 0 ? summed(inputStages.map((k) => of_(k))) : of_(embedded[0]!);
  const influence = new Float64Array(inputs.rows);
  if (embedded.length === 0) {
    addInfluence(influence, inputs, run.sequence.values, model.neutral);
  }
  for (const k of embedded) {
    const none = { rows: 1, size: 1, data: Float64Array.of(-1) };
    const neutral = operationOf(stages[k]!).forward(model.contexts[k]!, none).data;
    addInfluence(influence, of_(k), results[k]!.data, neutral);
  }
  return {
    inputs,
    influence,
    value(name) {
      const own = values.get(name);
      if (own !== undefined) return own;
      const { rows, size } = run.value(name); // refuses an unknown name
      return { rows, size, data: new Float32Array(rows * size) };
    },
  };
}

function addTo(to: Matrix, values: Matrix): void {
  for (let k = 0; k < to.data.length; k++) to.data[k]! += values.data[k]!;
}

/** The sum of matrices: members of a mean read the same input. */
function summed(matrices: Matrix[]): Matrix {
  const [first, ...others] = matrices;
  for (const other of others) addTo(first!, other);
  return first!;
}

/** Add to each step its derivatives times the difference from the neutral input. */
function addInfluence(
  influence: Float64Array,
  gradients: Matrix,
  values: Float64Array,
  neutral: Float64Array,
): void {
  for (let t = 0, k = 0; t < gradients.rows; t++) {
    for (let c = 0; c < gradients.size; c++, k++) {
      influence[t]! += gradients.data[k]! * (values[k]! - neutral[c]!);
    }
  }
}
