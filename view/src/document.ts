/** The document of a page: its types, and a reader that checks every size before it is used.
 *
 * docs/page-format.md describes the format. Python writes it (gatewright/page/document.py).
 */

export const FORMAT = "gatewright-page";
export const VERSION = 1;

/** Nothing in a document may ask for more numbers than this (2 GB in float64). */
const MOST_NUMBERS = 2 ** 28;
/** Longest sequence, in steps. */
const MOST_STEPS = 1_000_000;

export interface PageDocument {
  format: typeof FORMAT;
  version: typeof VERSION;
  title: string;
  made_with: string;
  task: Task;
  models: ModelDocument[];
  data: Example[];
  memory: MemoryCurve[];
}

export type TaskKind = "layer" | "classify" | "tag" | "forecast" | "text";

/** What goes in and comes out, with the names that people know. */
export interface Task {
  kind: TaskKind;
  /** Values of a step; 1 for a text, whose steps are symbols. */
  inputs: number;
  /** Names of the values of a step. */
  channels: string[];
  /** Smallest and largest training value of each channel, of a trained model. */
  low?: number[];
  high?: number[];
  /** Classes, or the symbols and pieces of a text. */
  labels: string[];
  /** Of a text: single symbols; pieces are joined from two earlier labels. */
  alphabet?: string[];
  unit?: string;
  joined?: [number, number][];
  white?: number[];
  /** Of a forecast. */
  targets?: string[];
  known?: string[];
  period?: string;
  window?: number;
  horizon?: number;
  levels?: number[];
}

export interface Part {
  text: string;
  /** Position in the equations' nodes of the value that it names (see `LayerDocument.nodes`). */
  node: number | null;
  weight: boolean;
}

export interface Formula {
  name: string;
  node: number;
  parts: Part[];
}

/** "code" has the names of the cell's step, "lesson" the event E, STM and LTM. */
export type Naming = "code" | "lesson";

export interface CellDocument {
  name: string;
  about: string;
  formulas: Record<Naming, Formula[]>;
  /** SVG with `data-name`, `data-when="before"` and `data-node` on the group of each value. */
  diagrams: Record<Naming, string>;
  /** Names of the values that a sigmoid or softmax computes. */
  gates: string[];
}

export interface Term {
  op: string;
  operands: number[];
  size: number;
  /** "inf" and "-inf" stand for numbers that JSON does not have. */
  value?: number | "inf" | "-inf";
  weight?: string;
  name?: string;
  heads?: number;
}

export interface StateDocument {
  term: number;
  size: number;
  start: string;
  update: number;
  /** Terms that carry the state to its next value, in their order; none if it is rewritten. */
  carry: number[];
}

export interface LayerDocument {
  /** `l0`, `l1.reverse`; further networks of a mean begin with `m1.` and so on. */
  name: string;
  reverse: boolean;
  input_size: number;
  hidden_size: number;
  terms: Term[];
  named: Record<string, number>;
  /** The term of each node of the equations. */
  nodes: number[];
  inputs: Record<string, number>;
  event: string;
  states: Record<string, StateDocument>;
  memory_gates: { state: string; term: number }[];
  output: number;
}

export interface Stage {
  op: string;
  reads: number[];
  [setting: string]: unknown;
}

export interface ModelDocument {
  name: string;
  about: string;
  cell: CellDocument;
  hidden_size: number;
  layers: LayerDocument[];
  stages: Stage[];
  /** The stage before the softmax; null where there is none. */
  scores: number | null;
  tensors: Record<string, { at: number; shape: number[] }>;
  /** base64 of little-endian float32, or of the upper 3 bytes of each. */
  weights: string;
  bytes_each: 3 | 4;
  notes: string[];
}

export interface Example {
  id: string;
  steps: number;
  /** base64 of little-endian float32, (steps, inputs). */
  values?: string;
  symbols?: number[];
  /** Further inputs of each step, or the `known` values of the steps to forecast. */
  further?: Record<string, string>;
  /** A class, a class for each step, or of a forecast base64 of (horizon, targets). */
  truth: number | number[] | string | null;
  step_names?: string[];
}

/** The memory of one layer of a model, measured on some of the examples. */
export interface MemoryCurve {
  /** The model's name. */
  name: string;
  layer: string;
  about: string;
  /** The share that is left after k steps, from k = 0. */
  left: number[];
}

/** A document that cannot be shown, with a message for people. */
export class DocumentError extends Error {
  override name = "DocumentError";
}

function refuse(path: string, fact: string): never {
  throw new DocumentError(
    `This page cannot be shown: ${path} ${fact}. Write the page again with gatewright.`,
  );
}

type Json = Record<string, unknown>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function object(value: unknown, path: string): Json {
  if (!isObject(value)) refuse(path, "is no object");
  return value;
}

function list(value: unknown, path: string): unknown[] {
  if (!Array.isArray(value)) refuse(path, "is no list");
  return value;
}

function text(value: unknown, path: string): string {
  if (typeof value !== "string") refuse(path, "is no text");
  return value;
}

function texts(value: unknown, path: string): string[] {
  list(value, path).forEach((item, k) => text(item, `${path}[${k}]`));
  return value as string[];
}

function whole(value: unknown, path: string, least: number, below: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value >= below) {
    refuse(path, `is ${String(value)}; expected a whole number from ${least} to ${below - 1}`);
  }
  return value;
}

function finite(value: unknown, path: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) refuse(path, "is no finite number");
  return value;
}

function bool(value: unknown, path: string): boolean {
  if (typeof value !== "boolean") refuse(path, "is neither true nor false");
  return value;
}

/** Read the text of a document.
 *
 * @throws DocumentError if it is damaged, or of another version.
 */
export function readDocument(source: string): PageDocument {
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch {
    refuse("its document", "is damaged: it is no JSON");
  }
  return checkDocument(value);
}

/** Check a parsed document: its format and version, and every size and reference in it.
 *
 * @throws DocumentError with the place that is wrong.
 */
export function checkDocument(value: unknown): PageDocument {
  const document = object(value, "its document");
  if (document["format"] !== FORMAT) {
    refuse("its document", `has the format ${shown(document["format"])}; expected ${FORMAT}`);
  }
  if (document["version"] !== VERSION) {
    refuse(
      "its document",
      `has version ${shown(document["version"])}, and this page reads version ${VERSION}`,
    );
  }
  text(document["title"], "title");
  text(document["made_with"], "made_with");
  checkTask(object(document["task"], "task"));
  const task = document["task"] as unknown as Task;
  const models = list(document["models"], "models");
  if (models.length === 0) refuse("models", "is empty");
  models.forEach((model, k) => checkModel(object(model, `models[${k}]`), `models[${k}]`));
  list(document["data"], "data").forEach((example, k) =>
    checkExample(object(example, `data[${k}]`), task, `data[${k}]`),
  );
  list(document["memory"], "memory").forEach((item, k) => {
    const curve = object(item, `memory[${k}]`);
    text(curve["name"], `memory[${k}].name`);
    text(curve["layer"], `memory[${k}].layer`);
    text(curve["about"], `memory[${k}].about`);
    list(curve["left"], `memory[${k}].left`).forEach((share) => finite(share, `memory[${k}].left`));
  });
  return document as unknown as PageDocument;
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 40) ?? "nothing";
}

const KINDS: readonly string[] = ["layer", "classify", "tag", "forecast", "text"];

function checkTask(task: Json): void {
  if (!KINDS.includes(text(task["kind"], "task.kind"))) {
    refuse("task.kind", `is ${shown(task["kind"])}; expected ${KINDS.join(", ")}`);
  }
  const inputs = whole(task["inputs"], "task.inputs", 1, MOST_NUMBERS);
  texts(task["labels"], "task.labels");
  const channels = texts(task["channels"], "task.channels");
  if (task["kind"] !== "text" && channels.length !== inputs) {
    refuse("task.channels", `has ${channels.length} names for ${inputs} values of a step`);
  }
  if (task["kind"] === "text") {
    const size = texts(task["alphabet"], "task.alphabet").length;
    const joined = list(task["joined"], "task.joined");
    if (size + joined.length !== (task["labels"] as string[]).length) {
      refuse("task.labels", "are not as many as the symbols and pieces");
    }
    joined.forEach((pair, k) => {
      const [a, b] = list(pair, `task.joined[${k}]`);
      whole(a, `task.joined[${k}]`, 0, size + k);
      whole(b, `task.joined[${k}]`, 0, size + k);
    });
    list(task["white"], "task.white").forEach((code) => whole(code, "task.white", 0, size));
  }
  if (task["kind"] === "forecast") {
    const targets = texts(task["targets"], "task.targets");
    if (targets.length === 0) refuse("task.targets", "is empty");
    texts(task["known"], "task.known");
    whole(task["window"], "task.window", 1, MOST_STEPS);
    whole(task["horizon"], "task.horizon", 1, MOST_STEPS);
    list(task["levels"], "task.levels").forEach((level) => finite(level, "task.levels"));
  }
}

function checkModel(model: Json, path: string): void {
  text(model["name"], `${path}.name`);
  text(model["about"], `${path}.about`);
  texts(model["notes"], `${path}.notes`);
  whole(model["hidden_size"], `${path}.hidden_size`, 1, MOST_NUMBERS);
  const each = whole(model["bytes_each"], `${path}.bytes_each`, 3, 5);
  const numbers = (text(model["weights"], `${path}.weights`).length * 3) / 4 / each;
  const tensors = object(model["tensors"], `${path}.tensors`);
  for (const [name, item] of Object.entries(tensors)) {
    const tensor = object(item, `${path}.tensors.${name}`);
    const shape = list(tensor["shape"], `${path}.tensors.${name}.shape`);
    const size = shape.reduce<number>(
      (product, length) => product * whole(length, `${path}.tensors.${name}.shape`, 0, MOST_NUMBERS),
      1,
    );
    const at = whole(tensor["at"], `${path}.tensors.${name}.at`, 0, MOST_NUMBERS);
    if (at + size > numbers) {
      refuse(`${path}.weights`, `is cut off: ${name} ends at number ${at + size} of ${numbers | 0}`);
    }
  }
  checkCell(object(model["cell"], `${path}.cell`), `${path}.cell`);
  const layers = list(model["layers"], `${path}.layers`);
  if (layers.length === 0) refuse(`${path}.layers`, "is empty");
  layers.forEach((layer, k) =>
    checkLayer(object(layer, `${path}.layers[${k}]`), tensors, `${path}.layers[${k}]`),
  );
  const stages = list(model["stages"], `${path}.stages`);
  stages.forEach((item, k) => {
    const stage = object(item, `${path}.stages[${k}]`);
    text(stage["op"], `${path}.stages[${k}].op`);
    list(stage["reads"], `${path}.stages[${k}].reads`).forEach((read) =>
      whole(read, `${path}.stages[${k}].reads`, 0, k),
    );
    if (stage["op"] === "layer") {
      whole(stage["layer"], `${path}.stages[${k}].layer`, 0, layers.length);
    }
  });
  if (stages.length === 0) refuse(`${path}.stages`, "is empty");
  if (model["scores"] !== null) whole(model["scores"], `${path}.scores`, 0, stages.length);
}

function checkCell(cell: Json, path: string): void {
  text(cell["name"], `${path}.name`);
  text(cell["about"], `${path}.about`);
  texts(cell["gates"], `${path}.gates`);
  const formulas = object(cell["formulas"], `${path}.formulas`);
  const diagrams = object(cell["diagrams"], `${path}.diagrams`);
  for (const naming of ["code", "lesson"]) {
    text(diagrams[naming], `${path}.diagrams.${naming}`);
    list(formulas[naming], `${path}.formulas.${naming}`).forEach((item, k) => {
      const place = `${path}.formulas.${naming}[${k}]`;
      const formula = object(item, place);
      text(formula["name"], `${place}.name`);
      whole(formula["node"], `${place}.node`, 0, MOST_NUMBERS);
      list(formula["parts"], `${place}.parts`).forEach((piece) => {
        const part = object(piece, `${place}.parts`);
        text(part["text"], `${place}.parts`);
        bool(part["weight"], `${place}.parts`);
        if (part["node"] !== null) whole(part["node"], `${place}.parts`, 0, MOST_NUMBERS);
      });
    });
  }
}

function checkLayer(layer: Json, tensors: Json, path: string): void {
  text(layer["name"], `${path}.name`);
  bool(layer["reverse"], `${path}.reverse`);
  for (const size of ["input_size", "hidden_size"]) {
    whole(layer[size], `${path}.${size}`, 1, MOST_NUMBERS);
  }
  const terms = list(layer["terms"], `${path}.terms`);
  terms.forEach((item, k) => {
    const term = object(item, `${path}.terms[${k}]`);
    text(term["op"], `${path}.terms[${k}].op`);
    const size = whole(term["size"], `${path}.terms[${k}].size`, 1, MOST_NUMBERS);
    list(term["operands"], `${path}.terms[${k}].operands`).forEach((operand) =>
      whole(operand, `${path}.terms[${k}].operands`, 0, k),
    );
    if (term["op"] === "weight") {
      const name = text(term["weight"], `${path}.terms[${k}].weight`);
      const shape = tensorShape(tensors, name, `${path}.terms[${k}].weight`);
      if (shape.length === 1 && shape[0] !== size) {
        refuse(`${path}.terms[${k}]`, `has size ${size}; its weight ${name} has ${shape[0]}`);
      }
    }
    if (term["op"] === "constant") finiteOrInfinite(term["value"], `${path}.terms[${k}].value`);
    if (term["op"] === "product") checkProduct(terms, term, tensors, `${path}.terms[${k}]`);
  });
  const inside = (value: unknown, where: string) => whole(value, where, 0, terms.length);
  for (const table of ["named", "inputs"]) {
    for (const [name, index] of Object.entries(object(layer[table], `${path}.${table}`))) {
      inside(index, `${path}.${table}.${name}`);
    }
  }
  list(layer["nodes"], `${path}.nodes`).forEach((index) => inside(index, `${path}.nodes`));
  const inputs = layer["inputs"] as Json;
  const event = inputs[text(layer["event"], `${path}.event`)];
  if (event === undefined) refuse(`${path}.event`, "is none of its inputs");
  const eventSize = (terms[event as number] as Json)["size"];
  if (eventSize !== layer["input_size"]) {
    refuse(`${path}.event`, `has size ${shown(eventSize)}; expected ${shown(layer["input_size"])}`);
  }
  for (const [name, item] of Object.entries(object(layer["states"], `${path}.states`))) {
    const place = `${path}.states.${name}`;
    const state = object(item, place);
    inside(state["term"], `${place}.term`);
    const update = terms[inside(state["update"], `${place}.update`)] as Json;
    const size = whole(state["size"], `${place}.size`, 1, MOST_NUMBERS);
    const shape = tensorShape(tensors, text(state["start"], `${place}.start`), `${place}.start`);
    const own = (terms[state["term"] as number] as Json)["size"];
    if (shape.length !== 1 || shape[0] !== size || own !== size || update["size"] !== size) {
      refuse(place, `has size ${size}, and its term, start or update another one`);
    }
    list(state["carry"], `${place}.carry`).forEach((index) => inside(index, `${place}.carry`));
  }
  list(layer["memory_gates"], `${path}.memory_gates`).forEach((item) => {
    const gate = object(item, `${path}.memory_gates`);
    text(gate["state"], `${path}.memory_gates`);
    inside(gate["term"], `${path}.memory_gates`);
  });
  inside(layer["output"], `${path}.output`);
}

function finiteOrInfinite(value: unknown, path: string): void {
  if (value !== "inf" && value !== "-inf") finite(value, path);
}

function checkProduct(terms: unknown[], term: Json, tensors: Json, path: string): void {
  const operands = term["operands"] as number[];
  if (operands.length !== 2) refuse(path, `has ${operands.length} operands; expected 2`);
  const source = terms[operands[0]!] as Json;
  const weight = terms[operands[1]!] as Json;
  if (weight["op"] !== "weight") refuse(path, "is a product with something else than a weight");
  const shape = tensorShape(tensors, weight["weight"] as string, path);
  const heads = whole(term["heads"], `${path}.heads`, 1, MOST_NUMBERS);
  const rows = term["size"] as number;
  const columns = source["size"] as number;
  const expected = heads > 1 ? [heads, rows / heads, columns / heads] : [rows, columns];
  if (shape.join() !== expected.join()) {
    refuse(path, `reads a weight of shape (${shape.join(", ")}); expected (${expected.join(", ")})`);
  }
}

function tensorShape(tensors: Json, name: string, path: string): number[] {
  if (!Object.hasOwn(tensors, name)) refuse(path, `names ${shown(name)}, which is no tensor`);
  return (tensors[name] as { shape: number[] }).shape;
}

function checkExample(example: Json, task: Task, path: string): void {
  text(example["id"], `${path}.id`);
  const steps = whole(example["steps"], `${path}.steps`, 1, MOST_STEPS);
  if (task.kind === "text") {
    const symbols = list(example["symbols"], `${path}.symbols`);
    if (symbols.length !== steps) refuse(`${path}.symbols`, `are not ${steps}`);
    symbols.forEach((code) => whole(code, `${path}.symbols`, 0, task.labels.length));
  } else {
    count(text(example["values"], `${path}.values`), steps * task.inputs, `${path}.values`);
  }
  const further = example["further"] === undefined ? {} : object(example["further"], path);
  for (const [name, values] of Object.entries(further)) {
    const rows = task.kind === "forecast" ? task.horizon! : steps;
    const numbers = decodeFloats(text(values, `${path}.further.${name}`)).length;
    if (numbers === 0 || numbers % rows !== 0) {
      refuse(`${path}.further.${name}`, `has ${numbers} numbers for ${rows} steps`);
    }
  }
  const truth = example["truth"];
  if (task.kind === "forecast" && truth !== null) {
    count(text(truth, `${path}.truth`), task.horizon! * task.targets!.length, `${path}.truth`);
  } else if (task.kind === "classify" && truth !== null) {
    whole(truth, `${path}.truth`, 0, task.labels.length);
  } else if (task.kind === "tag" && truth !== null) {
    const labels = list(truth, `${path}.truth`);
    if (labels.length !== steps) refuse(`${path}.truth`, `has ${labels.length} labels`);
    labels.forEach((label) => whole(label, `${path}.truth`, 0, task.labels.length));
  }
  if (example["step_names"] !== undefined) texts(example["step_names"], `${path}.step_names`);
}

function count(encoded: string, numbers: number, path: string): void {
  const actual = decodeFloats(encoded).length;
  if (actual !== numbers) refuse(path, `has ${actual} numbers; expected ${numbers}`);
}

/** Decode base64 of little-endian float32, or of the upper `each` bytes of such numbers.
 *
 * @throws DocumentError if it is none.
 */
export function decodeFloats(encoded: string, each: 3 | 4 = 4): Float32Array {
  let bytes: string;
  try {
    bytes = atob(encoded);
  } catch {
    throw new DocumentError("This page cannot be shown: numbers in it are damaged (no base64).");
  }
  const floats = new Float32Array(Math.floor(bytes.length / each));
  const view = new DataView(new ArrayBuffer(4));
  for (let k = 0; k < floats.length; k++) {
    for (let place = 0; place < each; place++) {
      view.setUint8(4 - each + place, bytes.charCodeAt(k * each + place));
    }
    floats[k] = view.getFloat32(0, true);
  }
  return floats;
}
