/** One recurrent layer in one direction: its steps, with values held by hand, and their gradient. */

import { DocumentError, type LayerDocument, type Term } from "./document.ts";
import { addProduct, addTransposed, zeros, type Matrix } from "./matrix.ts";
import { BINARY, UNARY } from "./ops.ts";

/** A named value that is fixed during some steps; everything computed from it follows. */
export interface Hold {
  /** The layer's name: `l0`, or `l0.reverse`. */
  layer: string;
  /** The value's name: `forget`. */
  name: string;
  /** The unit, or null for all. */
  unit: number | null;
  value: number;
  /** Steps of the layer, from `from` up to and without `to`. */
  from: number;
  to: number;
}

export interface Layer {
  document: LayerDocument;
  /** The numbers of weights and of the states' starts, by the names of the tensors. */
  tensors: Record<string, Float64Array>;
}

/** The steps of one layer over a sequence.
 *
 * A step is a function of the states before it and its inputs. Both are here in float64, so that
 * any step can be computed again.
 */
export interface LayerRun {
  layer: Layer;
  steps: number;
  event: Matrix;
  further: Record<string, Matrix>;
  holds: Hold[];
  /** The output of each step. */
  output: Matrix;
  /** States by name: row p is before the p-th step in reading order, row `steps` after the last. */
  states: Record<string, Float64Array>;
  /** Values of each term that has a name, (steps, size), by the term's index; index t is time. */
  recorded: Map<number, Float32Array>;
}

/** The time of the p-th step in reading order. */
export function timeOf(layer: Layer, steps: number, p: number): number {
  return layer.document.reverse ? steps - 1 - p : p;
}

/** The values of all terms of one step, and the code that computes them. */
class Step {
  readonly values: Float64Array[];
  private readonly loop: number[] = [];
  private readonly heldAt = new Map<number, Hold[]>();
  private readonly original = new Map<number, Float64Array>();

  constructor(
    readonly layer: Layer,
    holds: readonly Hold[],
  ) {
    const { terms, named } = layer.document;
    for (const hold of holds) {
      const index = named[hold.name];
      if (index === undefined) {
        throw new RangeError(`${layer.document.name} has no value ${hold.name}`);
      }
      this.heldAt.set(index, [...(this.heldAt.get(index) ?? []), hold]);
    }
    // What follows from weights and numbers only is computed once, unless it is held.
    const fixed: boolean[] = [];
    this.values = terms.map((term) => {
      if (term.op === "weight") return layer.tensors[term.weight!]!;
      if (term.op === "constant") return new Float64Array(term.size).fill(numberOf(term));
      return new Float64Array(term.size);
    });
    terms.forEach((term, k) => {
      const leaf = ["event", "input", "state"].includes(term.op);
      fixed[k] = !leaf && !this.heldAt.has(k) && term.operands.every((operand) => fixed[operand]);
      if (leaf) return;
      if (this.heldAt.has(k) && term.operands.length === 0) {
        this.original.set(k, this.values[k]!);
        this.values[k] = this.values[k]!.slice();
      }
      if (fixed[k]) this.compute(term, k);
      else this.loop.push(k);
    });
  }

  /** Set the inputs and states of a step. */
  load(run: LayerRun, p: number): void {
    const { document } = this.layer;
    const t = timeOf(this.layer, run.steps, p);
    document.terms.forEach((term, k) => {
      const values = this.values[k]!;
      if (term.op === "event" || term.op === "input") {
        const source = term.name === document.event ? run.event : run.further[term.name!]!;
        copy(values, source.data, t * source.size, source.size);
      } else if (term.op === "state") {
        copy(values, run.states[term.name!]!, p * term.size, term.size);
      } else return;
      this.hold(k, t);
    });
  }

  /** Compute all terms of the step at time t. */
  forward(t: number): void {
    const { terms } = this.layer.document;
    for (const k of this.loop) {
      const original = this.original.get(k);
      if (original !== undefined) this.values[k]!.set(original);
      else this.compute(terms[k]!, k);
      if (this.heldAt.size > 0) this.hold(k, t);
    }
  }

  /** Pass the gradients of all terms of the step at time t to their operands. */
  backward(gradients: Float64Array[], t: number): void {
    const { terms } = this.layer.document;
    for (let at = this.loop.length - 1; at >= 0; at--) {
      const k = this.loop[at]!;
      let gradient = gradients[k]!;
      if (gradient.every((value) => value === 0)) continue;
      if (this.heldAt.has(k)) {
        gradient = gradient.slice();
        this.eachHeld(k, t, (unit) => (gradient[unit] = 0));
      }
      this.pass(terms[k]!, k, gradient, gradients);
    }
  }

  /** Tell for each unit of a term if it is held at time t. */
  eachHeld(k: number, t: number, act: (unit: number, value: number) => void): void {
    for (const hold of this.heldAt.get(k) ?? []) {
      if (t < hold.from || t >= hold.to) continue;
      const size = this.values[k]!.length;
      if (hold.unit === null) for (let unit = 0; unit < size; unit++) act(unit, hold.value);
      else if (hold.unit < size) act(hold.unit, hold.value);
    }
  }

  private hold(k: number, t: number): void {
    const values = this.values[k]!;
    this.eachHeld(k, t, (unit, value) => (values[unit] = value));
  }

  private compute(term: Term, k: number): void {
    const { values } = this;
    const y = values[k]!;
    const size = y.length;
    const [i, j] = term.operands;
    switch (term.op) {
      case "weight":
      case "constant":
        return;
      case "product": {
        const heads = term.heads!;
        const x = values[i!]!;
        const rows = size / heads;
        const columns = x.length / heads;
        y.fill(0);
        for (let head = 0; head < heads; head++) {
          const w = head * rows * columns;
          addProduct(y, head * rows, values[j!]!, w, x, head * columns, rows, columns);
        }
        return;
      }
      case "sum":
      case "largest": {
        const a = values[i!]!;
        const share = a.length / size;
        for (let unit = 0; unit < size; unit++) {
          let total = a[unit * share]!;
          for (let m = 1; m < share; m++) {
            const value = a[unit * share + m]!;
            total = term.op === "sum" ? total + value : Math.max(total, value);
          }
          y[unit] = total;
        }
        return;
      }
      case "expand": {
        const a = values[i!]!;
        const share = size / a.length;
        for (let unit = 0; unit < size; unit++) y[unit] = a[(unit / share) | 0]!;
        return;
      }
      case "where": {
        const [c, a, b] = term.operands.map((operand) => values[operand]!) as Triple;
        const [sc, sa, sb] = [stride(c), stride(a), stride(b)];
        for (let unit = 0; unit < size; unit++) {
          y[unit] = c[unit * sc] !== 0 ? a[unit * sa]! : b[unit * sb]!;
        }
        return;
      }
    }
    const a = values[i!]!;
    const sa = stride(a);
    if (term.operands.length === 1) {
      const { value } = UNARY[term.op]!;
      for (let unit = 0; unit < size; unit++) y[unit] = value(a[unit * sa]!);
      return;
    }
    const b = values[j!]!;
    const sb = stride(b);
    if (term.op === "add") {
      for (let unit = 0; unit < size; unit++) y[unit] = a[unit * sa]! + b[unit * sb]!;
    } else if (term.op === "multiply") {
      for (let unit = 0; unit < size; unit++) y[unit] = a[unit * sa]! * b[unit * sb]!;
    } else {
      const { value } = BINARY[term.op]!;
      for (let unit = 0; unit < size; unit++) y[unit] = value(a[unit * sa]!, b[unit * sb]!);
    }
  }

  private pass(term: Term, k: number, g: Float64Array, gradients: Float64Array[]): void {
    const { values } = this;
    const y = values[k]!;
    const size = y.length;
    const [i, j] = term.operands;
    switch (term.op) {
      case "weight":
      case "constant":
      case "largest": // only used where the result does not depend on it
        return;
      case "product": {
        const heads = term.heads!;
        const rows = size / heads;
        const columns = values[i!]!.length / heads;
        for (let head = 0; head < heads; head++) {
          const w = head * rows * columns;
          const x = head * columns;
          addTransposed(gradients[i!]!, x, values[j!]!, w, g, head * rows, rows, columns);
        }
        return;
      }
      case "sum": {
        const to = gradients[i!]!;
        const share = to.length / size;
        for (let unit = 0; unit < to.length; unit++) to[unit]! += g[(unit / share) | 0]!;
        return;
      }
      case "expand": {
        const to = gradients[i!]!;
        const share = size / to.length;
        for (let unit = 0; unit < size; unit++) to[(unit / share) | 0]! += g[unit]!;
        return;
      }
      case "where": {
        const c = values[i!]!;
        const [to, other] = [gradients[term.operands[1]!]!, gradients[term.operands[2]!]!];
        const [sc, sa, sb] = [stride(c), stride(to), stride(other)];
        for (let unit = 0; unit < size; unit++) {
          if (c[unit * sc] !== 0) to[unit * sa]! += g[unit]!;
          else other[unit * sb]! += g[unit]!;
        }
        return;
      }
    }
    const a = values[i!]!;
    const toA = gradients[i!]!;
    const sa = stride(a);
    // A gradient of 0 stays 0 where the slope is infinite, as that of a root at 0.
    if (term.operands.length === 1) {
      const { slope } = UNARY[term.op]!;
      for (let unit = 0; unit < size; unit++) {
        if (g[unit] !== 0) toA[unit * sa]! += g[unit]! * slope(a[unit * sa]!, y[unit]!);
      }
      return;
    }
    const b = values[j!]!;
    const toB = gradients[j!]!;
    const sb = stride(b);
    const [slopeA, slopeB] = BINARY[term.op]!.slopes;
    for (let unit = 0; unit < size; unit++) {
      if (g[unit] === 0) continue;
      const [x, z] = [a[unit * sa]!, b[unit * sb]!];
      toA[unit * sa]! += g[unit]! * slopeA(x, z, y[unit]!);
      toB[unit * sb]! += g[unit]! * slopeB(x, z, y[unit]!);
    }
  }
}

type Triple = [Float64Array, Float64Array, Float64Array];

/** 0 for one value that all units read, else 1. */
function stride(values: Float64Array): number {
  return values.length === 1 ? 0 : 1;
}

function copy(to: Float64Array, from: Float64Array, start: number, size: number): void {
  for (let unit = 0; unit < size; unit++) to[unit] = from[start + unit]!;
}

function numberOf(term: Term): number {
  if (term.value === "inf") return Infinity;
  return term.value === "-inf" ? -Infinity : term.value!;
}

/** Refuse operations that this engine does not have.
 *
 * @throws DocumentError with the name of the operation.
 */
export function checkTerms(document: LayerDocument): void {
  const others = ["weight", "constant", "event", "input", "state", "product", "sum", "largest"];
  for (const term of document.terms) {
    const known = [...others, "expand", "where"].includes(term.op);
    const operands = UNARY[term.op] ? 1 : BINARY[term.op] ? 2 : null;
    if (!known && operands !== term.operands.length) {
      throw new DocumentError(
        `This page cannot be shown: ${document.name} has the unknown operation ${term.op}.`,
      );
    }
  }
}

/** Terms whose values a run records: those with names, and those that carry states over. */
function recordedTerms(document: LayerDocument): number[] {
  const carrying = Object.values(document.states).flatMap(({ carry }) =>
    carry.flatMap((k) => [k, ...document.terms[k]!.operands]),
  );
  const named = Object.values(document.named);
  return [...new Set([...named, ...carrying.filter((k) => !isFixed(document.terms[k]!))])];
}

function isFixed(term: Term): boolean {
  return term.op === "weight" || term.op === "constant";
}

/** Run a layer over a sequence; the generator yields after each step, and returns the run.
 *
 * @param from The first step that may differ from `earlier`, which had the same steps before it.
 */
export function* runLayer(
  layer: Layer,
  event: Matrix,
  further: Record<string, Matrix>,
  holds: readonly Hold[],
  earlier?: LayerRun,
  from = 0,
): Generator<void, LayerRun> {
  const { document } = layer;
  const steps = event.rows;
  const terms = document.terms;
  const own = holds.filter((hold) => hold.layer === document.name);
  const outputTerm = terms[document.output]!;
  const run: LayerRun = {
    layer,
    steps,
    event,
    further,
    holds: own,
    output: zeros(steps, outputTerm.size),
    states: {},
    recorded: new Map(),
  };
  for (const [name, state] of Object.entries(document.states)) {
    run.states[name] = new Float64Array((steps + 1) * state.size);
    run.states[name].set(layer.tensors[state.start]!);
  }
  const recorded = recordedTerms(document);
  for (const k of recorded) run.recorded.set(k, new Float32Array(steps * terms[k]!.size));
  let begin = 0;
  if (earlier !== undefined && !document.reverse) {
    begin = Math.min(from, earlier.steps, steps);
    for (const [name, state] of Object.entries(document.states)) {
      run.states[name]!.set(earlier.states[name]!.subarray(0, (begin + 1) * state.size));
    }
    for (const k of recorded) {
      const size = terms[k]!.size;
      run.recorded.get(k)!.set(earlier.recorded.get(k)!.subarray(0, begin * size));
    }
    run.output.data.set(earlier.output.data.subarray(0, begin * run.output.size));
  }
  const step = new Step(layer, own);
  for (let p = begin; p < steps; p++) {
    const t = timeOf(layer, steps, p);
    step.load(run, p);
    step.forward(t);
    for (const [name, state] of Object.entries(document.states)) {
      const after = step.values[state.update]!;
      run.states[name]!.set(after, (p + 1) * state.size);
    }
    for (const k of recorded) {
      const values = step.values[k]!;
      run.recorded.get(k)!.set(values, t * values.length);
    }
    run.output.data.set(step.values[document.output]!, t * run.output.size);
    yield;
  }
  return run;
}

/** The values of every term at one time, computed again from the states before it. */
export function stepValues(run: LayerRun, t: number): Float64Array[] {
  const step = new Step(run.layer, run.holds);
  const p = timeOf(run.layer, run.steps, t);
  step.load(run, p);
  step.forward(t);
  return step.values.map((values) => values.slice());
}

export interface LayerGradient {
  event: Matrix;
  /** Gradients of each term that has a name, (steps, size), by the term's index. */
  recorded: Map<number, Float32Array>;
}

/** Carry the gradient of a layer's outputs back through time; yields after each step. */
export function* layerGradient(run: LayerRun, upstream: Matrix): Generator<void, LayerGradient> {
  const { layer, steps } = run;
  const { document } = layer;
  const terms = document.terms;
  const step = new Step(layer, run.holds);
  const event = zeros(steps, run.event.size);
  const recorded = new Map(
    recordedTerms(document).map((k) => [k, new Float32Array(steps * terms[k]!.size)]),
  );
  const states = Object.entries(document.states);
  const carried = new Map(states.map(([name, state]) => [name, new Float64Array(state.size)]));
  const gradients = terms.map((term, k) =>
    term.op === "weight" ? new Float64Array(step.values[k]!.length) : new Float64Array(term.size),
  );
  const eventTerm = document.inputs[document.event]!;
  let flows = false;
  for (let p = steps - 1; p >= 0; p--) {
    const t = timeOf(layer, steps, p);
    const row = upstream.data.subarray(t * upstream.size, (t + 1) * upstream.size);
    flows ||= row.some((value) => value !== 0);
    if (!flows) continue; // steps after the one that is asked for
    step.load(run, p);
    step.forward(t);
    gradients.forEach((gradient, k) => {
      if (terms[k]!.op !== "weight") gradient.fill(0);
    });
    add(gradients[document.output]!, row);
    for (const [name, state] of states) add(gradients[state.update]!, carried.get(name)!);
    step.backward(gradients, t);
    for (const [name, state] of states) {
      const own = carried.get(name)!;
      own.set(gradients[state.term]!);
      step.eachHeld(state.term, t, (unit) => (own[unit] = 0));
    }
    for (const [k, rows] of recorded) rows.set(gradients[k]!, t * gradients[k]!.length);
    step.eachHeld(eventTerm, t, (unit) => (gradients[eventTerm]![unit] = 0));
    event.data.set(gradients[eventTerm]!, t * event.size);
    yield;
  }
  return { event, recorded };
}

function add(to: Float64Array, values: Float64Array): void {
  for (let unit = 0; unit < to.length; unit++) to[unit]! += values[unit]!;
}

/** The factor by which each unit of a state is carried through each step, (steps, size).
 *
 * It is the derivative of the state by itself through sums and factors only, not through gates
 * and products with weights: the forget gate of an LSTM. All 0 where the state is rewritten.
 */
export function carryFactors(run: LayerRun, state: string): Float32Array {
  const { document } = run.layer;
  const { term, size, carry, update } = document.states[state]!;
  const factors = new Float32Array(run.steps * size);
  if (carry.length === 0 && term !== update) return factors;
  const step = new Step(run.layer, run.holds);
  /** The values of a term at time t. */
  const valuesAt = (k: number, t: number): ArrayLike<number> => {
    const rows = run.recorded.get(k);
    if (rows === undefined) return step.values[k]!;
    const width = rows.length / run.steps;
    return rows.subarray(t * width, (t + 1) * width);
  };
  for (let t = 0; t < run.steps; t++) {
    const slopes = new Map([[term, new Float64Array(size).fill(1)]]);
    for (const k of carry) {
      const { op, operands, size: width } = document.terms[k]!;
      const total = new Float64Array(width);
      operands.forEach((operand, position) => {
        const own = slopes.get(operand);
        if (own === undefined) return;
        const inputs = operands.map((index) => valuesAt(index, t));
        const result = valuesAt(k, t);
        for (let unit = 0; unit < width; unit++) {
          // One value, or one for each head, stands for several units.
          const at = (values: ArrayLike<number>) => values[((unit * values.length) / width) | 0]!;
          total[unit]! += at(own) * slopeAt(op, position, inputs.map(at), result[unit]!);
        }
      });
      step.eachHeld(k, t, (unit) => (total[unit] = 0));
      slopes.set(k, total);
    }
    factors.set(slopes.get(update)!, t * size);
  }
  return factors;
}

function slopeAt(op: string, position: number, operands: number[], y: number): number {
  if (op === "where") return (operands[0] !== 0) === (position === 1) && position > 0 ? 1 : 0;
  if (op === "expand") return 1;
  if (UNARY[op]) return UNARY[op].slope(operands[0]!, y);
  return BINARY[op]!.slopes[position as 0 | 1](operands[0]!, operands[1]!, y);
}
