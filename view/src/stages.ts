/** What happens to a sequence before and after the recurrent layers, with the way back.
 *
 * docs/page-format.md lists the operations. Each stage turns the results of earlier ones into a
 * matrix with a row for each step, or with one row for the whole sequence.
 */

import { DocumentError, type Stage } from "./document.ts";
import { addProduct, addTransposed, zeros, type Matrix } from "./matrix.ts";
import { sigmoid } from "./ops.ts";

/** A stage with the numbers that it names. */
export interface StageContext {
  stage: Stage;
  tensor: (setting: string) => Float64Array;
  shape: (setting: string) => number[];
}

/** Refuse a stage whose inputs or tensors have other sizes than its operation needs.
 *
 * @throws DocumentError with both sizes.
 */
function fit(stage: Stage, what: string, actual: readonly number[], expected: readonly number[]) {
  if (actual.join() === expected.join()) return;
  throw new DocumentError(
    `This page cannot be shown: ${what} of the stage ${stage.op} has the size ` +
      `(${actual.join(", ")}); expected (${expected.join(", ")}).`,
  );
}

/** Refuse columns that the input of a stage does not have. */
function fitColumns(stage: Stage, columns: readonly number[], size: number): void {
  const wrong = columns.find((column) => !(Number.isInteger(column) && column >= 0 && column < size));
  if (wrong !== undefined) fit(stage, `column ${wrong}`, [wrong], [size - 1]);
}

/** The sizes that each operation needs; what is not here takes any. */
const SIZES: Readonly<Record<string, (context: StageContext, ...inputs: Matrix[]) => void>> = {
  scale: ({ stage, shape }, x) => {
    for (const name of ["mean", "scale"]) fit(stage, name, shape(name), [x!.size]);
  },
  transform: ({ stage }, x) => fitColumns(stage, [stage["column"] as number], x!.size),
  embed: ({ stage, shape }) => fit(stage, "weight", [shape("weight").length], [2]),
  linear: ({ stage, shape }, x) => {
    const [rows] = shape("weight");
    fit(stage, "weight", shape("weight"), [rows!, x!.size]);
    if (stage["bias"] !== null) fit(stage, "bias", shape("bias"), [rows!]);
  },
  columns: ({ stage }, x) => {
    const [start, size] = [stage["start"] as number, stage["size"] as number];
    fitColumns(stage, [start, start + size - 1], x!.size);
  },
  share: ({ stage, shape }, x) => fit(stage, "thresholds", shape("thresholds"), [x!.size]),
  attend: ({ stage }, scores, x) => fit(stage, "scores", [scores!.rows, scores!.size], [x!.rows, 1]),
  "window-scale": ({ stage }, z) => {
    fitColumns(stage, numbers(stage, "columns"), z!.size);
    fit(stage, "smallest", [numbers(stage, "smallest").length], [numbers(stage, "columns").length]);
  },
  "in-window-scale": ({ stage }, z, scale) => {
    fitColumns(stage, numbers(stage, "columns"), z!.size);
    fit(stage, "scale", [scale!.rows, scale!.size], [2, numbers(stage, "columns").length]);
  },
  base: ({ stage, shape }, past, scale, known) => {
    const [horizon, targets, levels] = shape("quantiles") as [number, number, number];
    const lengths = ["static", "calendar", "ahead", "lagged"].map((name) => numbers(stage, name).length);
    const [fixed, calendar, ahead, lagged] = lengths as [number, number, number, number];
    fit(stage, "weight", shape("weight"), [targets, horizon, past!.rows]);
    const optional = { past: past!.rows * lagged, known: ahead, common: fixed + calendar };
    for (const [name, size] of Object.entries(optional)) {
      if (stage[name] != null) fit(stage, name, shape(name), [horizon, targets, size]);
    }
    for (const name of ["mean", "bias"]) fit(stage, name, shape(name), [horizon, targets]);
    fit(stage, "fixed", shape("fixed"), [horizon, targets, levels]);
    fitColumns(stage, [...numbers(stage, "targets"), ...numbers(stage, "lagged")], past!.size);
    fitColumns(stage, numbers(stage, "static"), past!.size);
    fit(stage, "scaled", [numbers(stage, "scaled").length], [targets]);
    fitColumns(stage, numbers(stage, "scaled"), scale!.size);
    if (known !== undefined) {
      fitColumns(stage, [...numbers(stage, "calendar"), ...numbers(stage, "ahead")], known.size);
      fit(stage, "known", [known.rows], [horizon]);
    }
  },
  quantiles: ({ stage }, x, scale) => {
    const group = numbers(stage, "own").length * (stage["levels"] as number);
    fit(stage, "input", [x!.rows, x!.size % group], [1, 0]);
    if (scale !== undefined) fitColumns(stage, numbers(stage, "own"), scale.size);
  },
  unscale: ({ stage, shape }, x) => {
    const [horizon, targets] = shape("widening") as [number, number];
    const levels = stage["levels"] as number;
    fit(stage, "input", [x!.rows, x!.size], [1, horizon * targets * levels]);
    fitColumns(stage, [stage["median"] as number], levels);
    for (const name of ["mean", "scale"]) fit(stage, name, shape(name), [targets]);
    for (const name of ["transforms", "floor", "rounds"]) {
      fit(stage, name, [(stage[name] as unknown[]).length], [targets]);
    }
  },
};

/** Operations that read several matrices of one shape, or with as many rows. */
const SAME: Readonly<Record<string, "rows" | "shape">> = {
  join: "rows",
  add: "shape",
  average: "shape",
};

/** Refuse inputs that do not fit the stage; `run` does not check again.
 *
 * @throws DocumentError with the sizes.
 */
export function checkSizes(context: StageContext, inputs: readonly Matrix[]): void {
  const { stage } = context;
  const least = { attend: 2, "in-window-scale": 2, base: 2 }[stage.op] ?? 1;
  if (inputs.length < least) fit(stage, "reads", [inputs.length], [least]);
  SIZES[stage.op]?.(context, ...inputs);
  const same = SAME[stage.op];
  if (same === undefined) return;
  const [first, ...others] = inputs;
  for (const { rows, size } of others) {
    if (same === "rows") fit(stage, "input", [rows], [first!.rows]);
    else fit(stage, "input", [rows, size], [first!.rows, first!.size]);
  }
}

export interface Operation {
  forward: (context: StageContext, ...inputs: Matrix[]) => Matrix;
  /** Add the gradients of the inputs, from the gradient of the output. */
  backward: (
    context: StageContext,
    gradient: Matrix,
    output: Matrix,
    inputs: Matrix[],
    gradients: Matrix[],
  ) => void;
  /** The first row that can differ where rows of the inputs differ from `first` on; 0 if absent. */
  changed?: (stage: Stage, first: number) => number;
}

const sameRow = (_: Stage, first: number) => first;

function map(x: Matrix, f: (value: number, column: number, row: number) => number): Matrix {
  const y = zeros(x.rows, x.size);
  for (let t = 0, k = 0; t < x.rows; t++) {
    for (let c = 0; c < x.size; c++, k++) y.data[k] = f(x.data[k]!, c, t);
  }
  return y;
}

/** An operation on each value by itself, with its slope from the operand and the result. */
function pointwise(
  value: (context: StageContext) => (x: number, column: number) => number,
  slope: (context: StageContext) => (x: number, y: number, column: number) => number,
): Operation {
  return {
    forward: (context, x) => map(x!, value(context)),
    backward: (context, gradient, output, [x], [to]) => {
      const by = slope(context);
      for (let k = 0; k < gradient.data.length; k++) {
        const g = gradient.data[k]!;
        if (g !== 0) to!.data[k]! += g * by(x!.data[k]!, output.data[k]!, k % x!.size);
      }
    },
    changed: sameRow,
  };
}

function numbers(stage: Stage, setting: string): number[] {
  return stage[setting] as number[];
}

const linear: Operation = {
  forward(context, x) {
    const [rows, columns] = context.shape("weight") as [number, number];
    const weight = context.tensor("weight");
    const y = zeros(x!.rows, rows);
    for (let t = 0; t < x!.rows; t++) {
      if (context.stage["bias"] !== null) y.data.set(context.tensor("bias"), t * rows);
      addProduct(y.data, t * rows, weight, 0, x!.data, t * columns, rows, columns);
    }
    return y;
  },
  backward(context, gradient, _output, _inputs, [to]) {
    const [rows, columns] = context.shape("weight") as [number, number];
    const weight = context.tensor("weight");
    for (let t = 0; t < gradient.rows; t++) {
      addTransposed(to!.data, t * columns, weight, 0, gradient.data, t * rows, rows, columns);
    }
  },
  changed: sameRow,
};

const join: Operation = {
  forward(_context, ...inputs) {
    const y = zeros(
      inputs[0]!.rows,
      inputs.reduce((size, x) => size + x.size, 0),
    );
    let start = 0;
    for (const x of inputs) {
      for (let t = 0; t < y.rows; t++) {
        y.data.set(x.data.subarray(t * x.size, (t + 1) * x.size), t * y.size + start);
      }
      start += x.size;
    }
    return y;
  },
  backward(_context, gradient, _output, inputs, gradients) {
    let start = 0;
    inputs.forEach((x, k) => {
      for (let t = 0; t < x.rows; t++) {
        for (let c = 0; c < x.size; c++) {
          gradients[k]!.data[t * x.size + c]! += gradient.data[t * gradient.size + start + c]!;
        }
      }
      start += x.size;
    });
  },
  changed: sameRow,
};

const columns: Operation = {
  forward({ stage }, x) {
    const [start, size] = [stage["start"] as number, stage["size"] as number];
    const y = zeros(x!.rows, size);
    for (let t = 0; t < y.rows; t++) {
      y.data.set(x!.data.subarray(t * x!.size + start, t * x!.size + start + size), t * size);
    }
    return y;
  },
  backward({ stage }, gradient, _output, [x], [to]) {
    const start = stage["start"] as number;
    for (let t = 0; t < gradient.rows; t++) {
      for (let c = 0; c < gradient.size; c++) {
        to!.data[t * x!.size + start + c]! += gradient.data[t * gradient.size + c]!;
      }
    }
  },
  changed: sameRow,
};

/** A summary that is one row of its input. */
function pick(row: (x: Matrix) => number): Operation {
  return {
    forward(_context, x) {
      const start = row(x!) * x!.size;
      return { rows: 1, size: x!.size, data: x!.data.slice(start, start + x!.size) };
    },
    backward(_context, gradient, _output, [x], [to]) {
      const start = row(x!) * x!.size;
      for (let c = 0; c < x!.size; c++) to!.data[start + c]! += gradient.data[c]!;
    },
  };
}

const mean: Operation = {
  forward(_context, x) {
    const y = zeros(1, x!.size);
    for (let k = 0; k < x!.data.length; k++) y.data[k % x!.size]! += x!.data[k]! / x!.rows;
    return y;
  },
  backward(_context, gradient, _output, [x], [to]) {
    for (let k = 0; k < x!.data.length; k++) {
      to!.data[k]! += gradient.data[k % x!.size]! / x!.rows;
    }
  },
};

const max: Operation = {
  forward(_context, x) {
    const y = zeros(1, x!.size);
    y.data.fill(-Infinity);
    for (let k = 0; k < x!.data.length; k++) {
      y.data[k % x!.size] = Math.max(y.data[k % x!.size]!, x!.data[k]!);
    }
    return y;
  },
  backward(_context, gradient, output, [x], [to]) {
    for (let c = 0; c < x!.size; c++) {
      const ties: number[] = [];
      for (let t = 0; t < x!.rows; t++) {
        if (x!.data[t * x!.size + c] === output.data[c]) ties.push(t);
      }
      for (const t of ties) to!.data[t * x!.size + c]! += gradient.data[c]! / ties.length;
    }
  },
};

const share: Operation = {
  forward(context, x) {
    const thresholds = context.tensor("thresholds");
    const y = zeros(1, x!.size);
    for (let k = 0; k < x!.data.length; k++) {
      if (x!.data[k]! > thresholds[k % x!.size]!) y.data[k % x!.size]! += 1 / x!.rows;
    }
    return y;
  },
  backward() {}, // a count does not change with small changes
};

/** A mean over the steps with weights that are the softmax of their scores. */
const attend: Operation = {
  forward(_context, scores, x) {
    const weights = softmaxOf(scores!.data, 0, scores!.rows);
    const y = zeros(1, x!.size);
    for (let k = 0; k < x!.data.length; k++) {
      y.data[k % x!.size]! += weights[(k / x!.size) | 0]! * x!.data[k]!;
    }
    return y;
  },
  backward(_context, gradient, output, [scores, x], [toScores, to]) {
    const weights = softmaxOf(scores!.data, 0, scores!.rows);
    for (let t = 0; t < x!.rows; t++) {
      let total = 0;
      for (let c = 0; c < x!.size; c++) {
        to!.data[t * x!.size + c]! += weights[t]! * gradient.data[c]!;
        total += gradient.data[c]! * (x!.data[t * x!.size + c]! - output.data[c]!);
      }
      toScores!.data[t]! += weights[t]! * total;
    }
  },
};

function softmaxOf(values: Float64Array, start: number, size: number): Float64Array {
  let largest = -Infinity;
  for (let c = 0; c < size; c++) largest = Math.max(largest, values[start + c]!);
  const result = new Float64Array(size);
  let total = 0;
  for (let c = 0; c < size; c++) {
    result[c] = Math.exp(values[start + c]! - largest);
    total += result[c]!;
  }
  for (let c = 0; c < size; c++) result[c]! /= total;
  return result;
}

const softmax: Operation = {
  forward(_context, x) {
    const y = zeros(x!.rows, x!.size);
    for (let t = 0; t < x!.rows; t++) y.data.set(softmaxOf(x!.data, t * x!.size, x!.size), t * x!.size);
    return y;
  },
  backward(_context, gradient, output, _inputs, [to]) {
    for (let t = 0; t < output.rows; t++) {
      const start = t * output.size;
      let total = 0;
      for (let c = 0; c < output.size; c++) {
        total += gradient.data[start + c]! * output.data[start + c]!;
      }
      for (let c = 0; c < output.size; c++) {
        to!.data[start + c]! += output.data[start + c]! * (gradient.data[start + c]! - total);
      }
    }
  },
  changed: sameRow,
};

/** Rows of a table by symbols; -1 is the mean of all rows, which stands for no symbol. */
const embed: Operation = {
  forward(context, x) {
    const [symbols, size] = context.shape("weight") as [number, number];
    const table = context.tensor("weight");
    const y = zeros(x!.rows, size);
    for (let t = 0; t < x!.rows; t++) {
      const code = x!.data[t]!;
      for (let c = 0; c < size; c++) {
        y.data[t * size + c] =
          code < 0 ? columnMean(table, symbols, size, c) : table[code * size + c]!;
      }
    }
    return y;
  },
  backward() {}, // symbols do not change by little; `gradient` returns that of the rows
  changed: sameRow,
};

function columnMean(table: Float64Array, rows: number, size: number, column: number): number {
  let total = 0;
  for (let row = 0; row < rows; row++) total += table[row * size + column]!;
  return total / rows;
}

/** Each channel with mean 0 and spread 1 over the steps of this sequence. */
const standardise: Operation = {
  forward({ stage }, x) {
    const { means, spreads } = moments(x!, stage["smallest"] as number);
    return map(x!, (value, c) => (value - means[c]!) / spreads[c]!);
  },
  backward({ stage }, gradient, output, [x], [to]) {
    const { spreads, moves } = moments(x!, stage["smallest"] as number);
    for (let c = 0; c < x!.size; c++) {
      let sum = 0;
      let along = 0;
      for (let k = c; k < x!.data.length; k += x!.size) {
        sum += gradient.data[k]!;
        along += gradient.data[k]! * output.data[k]!;
      }
      for (let k = c; k < x!.data.length; k += x!.size) {
        const spread = moves[c] ? (along * output.data[k]!) / x!.rows : 0;
        to!.data[k]! += (gradient.data[k]! - sum / x!.rows - spread) / spreads[c]!;
      }
    }
  },
};

/** Mean and spread of each column; `moves` where the spread is not at its floor. */
function moments(x: Matrix, smallest: number) {
  const means = mean.forward(undefined as never, x).data;
  const squares = new Float64Array(x.size);
  for (let k = 0; k < x.data.length; k++) {
    squares[k % x.size]! += (x.data[k]! - means[k % x.size]!) ** 2 / x.rows;
  }
  const own = squares.map(Math.sqrt);
  const moves = Array.from(own, (spread) => spread > smallest);
  return { means, moves, own, spreads: own.map((spread) => Math.max(spread, smallest)) };
}

const differences: Operation = {
  forward(_context, x) {
    const y = zeros(x!.rows, 2 * x!.size);
    for (let t = 0; t < x!.rows; t++) {
      for (let c = 0; c < x!.size; c++) {
        const value = x!.data[t * x!.size + c]!;
        y.data[t * y.size + c] = value;
        if (t > 0) y.data[t * y.size + x!.size + c] = value - x!.data[(t - 1) * x!.size + c]!;
      }
    }
    return y;
  },
  backward(_context, gradient, _output, [x], [to]) {
    for (let t = 0; t < x!.rows; t++) {
      for (let c = 0; c < x!.size; c++) {
        to!.data[t * x!.size + c]! += gradient.data[t * gradient.size + c]!;
        if (t === 0) continue;
        const change = gradient.data[t * gradient.size + x!.size + c]!;
        to!.data[t * x!.size + c]! += change;
        to!.data[(t - 1) * x!.size + c]! -= change;
      }
    }
  },
  changed: sameRow,
};

/** For each output row the input rows that are joined in it; -1 for zeros. */
type Rows = (stage: Stage, rows: number) => number[][];

function gather(rowsOf: Rows, changed?: Operation["changed"]): Operation {
  const operation: Operation = {
    forward({ stage }, x) {
      const rows = rowsOf(stage, x!.rows);
      const y = zeros(rows.length, (rows[0]?.length ?? 0) * x!.size);
      rows.forEach((sources, t) =>
        sources.forEach((source, k) => {
          if (source < 0) return;
          const values = x!.data.subarray(source * x!.size, (source + 1) * x!.size);
          y.data.set(values, t * y.size + k * x!.size);
        }),
      );
      return y;
    },
    backward({ stage }, gradient, _output, [x], [to]) {
      rowsOf(stage, x!.rows).forEach((sources, t) =>
        sources.forEach((source, k) => {
          if (source < 0) return;
          for (let c = 0; c < x!.size; c++) {
            to!.data[source * x!.size + c]! += gradient.data[t * gradient.size + k * x!.size + c]!;
          }
        }),
      );
    },
  };
  return changed === undefined ? operation : { ...operation, changed };
}

/** Segments end at the last step; zeros come before the first. */
export function segmentRows(rows: number, steps: number): number[][] {
  const count = Math.ceil(rows / steps);
  const first = rows - count * steps;
  return Array.from({ length: count }, (_, s) =>
    Array.from({ length: steps }, (_, k) => Math.max(first + s * steps + k, -1)),
  );
}

const segments = gather((stage, rows) => segmentRows(rows, stage["steps"] as number));

/** The steps ahead that a stage reads. */
export function furthest(stage: Stage): number {
  return stage.op === "window" ? Math.max(0, ...numbers(stage, "offsets")) : 0;
}

/** Each step joined with those at some offsets; beyond the ends there are zeros, or the end repeats. */
const window_ = gather(
  (stage, rows) => {
    const repeats = stage["repeats"] as boolean;
    return Array.from({ length: rows }, (_, t) =>
      numbers(stage, "offsets").map((offset) => {
        const source = t + offset;
        if (source >= 0 && source < rows) return source;
        return repeats ? Math.min(Math.max(source, 0), rows - 1) : -1;
      }),
    );
  },
  (stage, first) => Math.max(first - furthest(stage), 0),
);

/** Last value and spread of the channels of a window: two rows. */
const windowScale: Operation = {
  forward({ stage }, z) {
    const own = numbers(stage, "columns");
    const smallest = numbers(stage, "smallest");
    const { own: spreads } = moments(z!, 0);
    const y = zeros(2, own.length);
    own.forEach((column, k) => {
      y.data[k] = z!.data[(z!.rows - 1) * z!.size + column]!;
      y.data[own.length + k] = Math.max(spreads[column]!, smallest[k]!);
    });
    return y;
  },
  backward({ stage }, gradient, _output, [z], [to]) {
    const own = numbers(stage, "columns");
    const smallest = numbers(stage, "smallest");
    const { means, own: spreads } = moments(z!, 0);
    own.forEach((column, k) => {
      to!.data[(z!.rows - 1) * z!.size + column]! += gradient.data[k]!;
      const g = gradient.data[own.length + k]!;
      if (spreads[column]! <= smallest[k]!) return;
      for (let at = column; at < z!.data.length; at += z!.size) {
        to!.data[at]! += (g * (z!.data[at]! - means[column]!)) / (z!.rows * spreads[column]!);
      }
    });
  },
};

/** A window with some channels measured from their last value, in units of their spread. */
const inWindowScale: Operation = {
  forward({ stage }, z, scale) {
    const y = { ...z!, data: z!.data.slice() };
    numbers(stage, "columns").forEach((column, k) => {
      const [level, spread] = [scale!.data[k]!, scale!.data[scale!.size + k]!];
      for (let at = column; at < y.data.length; at += y.size) {
        y.data[at] = (y.data[at]! - level) / spread;
      }
    });
    return y;
  },
  backward({ stage }, gradient, output, [z, scale], [to, toScale]) {
    const own = numbers(stage, "columns");
    for (let at = 0; at < gradient.data.length; at++) {
      const k = own.indexOf(at % z!.size);
      const g = gradient.data[at]!;
      if (k < 0) {
        to!.data[at]! += g;
        continue;
      }
      const spread = scale!.data[scale!.size + k]!;
      to!.data[at]! += g / spread;
      toScale!.data[k]! -= g / spread;
      toScale!.data[scale!.size + k]! -= (g * output.data[at]!) / spread;
    }
  },
};

/** All rows as one. */
const flat: Operation = {
  forward: (_context, x) => ({ rows: 1, size: x!.data.length, data: x!.data }),
  backward(_context, gradient, _output, _inputs, [to]) {
    for (let k = 0; k < gradient.data.length; k++) to!.data[k]! += gradient.data[k]!;
  },
};

/** The sum, or the mean, of matrices of one shape. */
function total(factor: (count: number) => number): Operation {
  return {
    forward(_context, ...inputs) {
      const y = zeros(inputs[0]!.rows, inputs[0]!.size);
      const by = factor(inputs.length);
      for (const x of inputs) for (let k = 0; k < y.data.length; k++) y.data[k]! += by * x.data[k]!;
      return y;
    },
    backward(_context, gradient, _output, inputs, gradients) {
      const by = factor(inputs.length);
      for (const to of gradients) {
        for (let k = 0; k < to.data.length; k++) to.data[k]! += by * gradient.data[k]!;
      }
    },
    changed: sameRow,
  };
}

/** The simple method inside a forecast: (1, H K Q) from the window in its own units.
 *
 * Inputs: the window, its scale, and the known values of the steps ahead where there are some.
 */
const base: Operation = {
  forward(context, past, scale, known) {
    const form = baseForm(context, past!, known);
    const { horizon, targets, levels } = form;
    const y = zeros(1, horizon * targets * levels);
    const quantiles = context.tensor("quantiles");
    const fixed = context.tensor("fixed");
    eachBasePoint(form, (h, k) => {
      const spread = scale!.data[scale!.size + form.own[k]!]!;
      const level = scale!.data[form.own[k]!]!;
      const at = h * targets + k;
      let point = form.bias[at]! - (level / spread) * form.mean[at]!;
      form.eachFactor(h, k, (source, index, weight) => {
        point += weight * (source === "past" ? past! : known!).data[index]!;
      });
      for (let q = 0; q < levels; q++) {
        y.data[at * levels + q] =
          point + quantiles[at * levels + q]! + fixed[at * levels + q]! / spread;
      }
    });
    return y;
  },
  backward(context, gradient, _output, [past, scale, known], [toPast, toScale, toKnown]) {
    const form = baseForm(context, past!, known);
    const fixed = context.tensor("fixed");
    eachBasePoint(form, (h, k) => {
      const own = form.own[k]!;
      const spread = scale!.data[scale!.size + own]!;
      const level = scale!.data[own]!;
      const at = h * form.targets + k;
      let sum = 0;
      let bySpread = 0;
      for (let q = 0; q < form.levels; q++) {
        const g = gradient.data[at * form.levels + q]!;
        sum += g;
        bySpread -= (g * fixed[at * form.levels + q]!) / spread ** 2;
      }
      bySpread += (sum * form.mean[at]! * level) / spread ** 2;
      toScale!.data[own]! -= (sum * form.mean[at]!) / spread;
      toScale!.data[scale!.size + own]! += bySpread;
      form.eachFactor(h, k, (source, index, weight) => {
        (source === "past" ? toPast! : toKnown!).data[index]! += sum * weight;
      });
    });
  },
};

function eachBasePoint(
  form: { horizon: number; targets: number },
  act: (h: number, k: number) => void,
): void {
  for (let h = 0; h < form.horizon; h++) for (let k = 0; k < form.targets; k++) act(h, k);
}

/** The linear map of a base: which numbers of the window and of the known values it reads. */
function baseForm(context: StageContext, past: Matrix, known: Matrix | undefined) {
  const { stage } = context;
  const [horizon, targets, levels] = context.shape("quantiles") as [number, number, number];
  const [places, lagged] = [numbers(stage, "targets"), numbers(stage, "lagged")];
  const [ahead, calendar, fixed] = ["ahead", "calendar", "static"].map((setting) =>
    numbers(stage, setting),
  ) as [number[], number[], number[]];
  const ownWeight = context.tensor("weight");
  const pastWeight = stage["past"] == null ? null : context.tensor("past");
  const aheadWeight = stage["known"] == null ? null : context.tensor("known");
  const commonWeight = stage["common"] == null ? null : context.tensor("common");
  const common = fixed.length + calendar.length;
  type Source = "past" | "known";
  const eachFactor = (
    h: number,
    k: number,
    act: (source: Source, index: number, weight: number) => void,
  ) => {
    const at = h * targets + k;
    for (let w = 0; w < past.rows; w++) {
      act("past", w * past.size + places[k]!, ownWeight[(k * horizon + h) * past.rows + w]!);
      if (pastWeight === null) continue;
      const row = (at * past.rows + w) * lagged.length;
      lagged.forEach((column, c) => act("past", w * past.size + column, pastWeight[row + c]!));
    }
    const last = (past.rows - 1) * past.size;
    if (commonWeight !== null) {
      fixed.forEach((column, s) => act("past", last + column, commonWeight[at * common + s]!));
    }
    if (known === undefined) return;
    if (commonWeight !== null) {
      const row = at * common + fixed.length;
      calendar.forEach((column, s) => act("known", column, commonWeight[row + s]!));
    }
    if (aheadWeight !== null) {
      const row = at * ahead.length;
      ahead.forEach((column, a) => act("known", h * known.size + column, aheadWeight[row + a]!));
    }
  };
  return {
    horizon,
    targets,
    levels,
    own: numbers(stage, "scaled"),
    bias: context.tensor("bias"),
    mean: context.tensor("mean"),
    eachFactor,
  };
}

/** The order of the quantiles of each step and target, and back to the window's units. */
function quantileOrder(stage: Stage, x: Matrix): { order: number[]; target: (at: number) => number } {
  const levels = stage["levels"] as number;
  const targets = numbers(stage, "own").length;
  const order: number[] = [];
  for (let start = 0; start < x.size; start += levels) {
    const own = Array.from({ length: levels }, (_, q) => start + q);
    order.push(...own.sort((a, b) => x.data[a]! - x.data[b]!));
  }
  return { order, target: (at) => ((at / levels) | 0) % targets };
}

/** Sorted quantiles in the scale of the channels. Inputs: (1, H K Q), and the scale if any. */
const quantiles: Operation = {
  forward({ stage }, x, scale) {
    const { order, target } = quantileOrder(stage, x!);
    const own = numbers(stage, "own");
    const y = zeros(1, x!.size);
    order.forEach((source, at) => {
      const k = own[target(at)]!;
      const value = x!.data[source]!;
      y.data[at] = scale ? value * scale.data[scale.size + k]! + scale.data[k]! : value;
    });
    return y;
  },
  backward({ stage }, gradient, _output, [x, scale], [to, toScale]) {
    const { order, target } = quantileOrder(stage, x!);
    const own = numbers(stage, "own");
    order.forEach((source, at) => {
      const g = gradient.data[at]!;
      if (!scale) {
        to!.data[source]! += g;
        return;
      }
      const k = own[target(at)]!;
      to!.data[source]! += g * scale.data[scale.size + k]!;
      toScale!.data[k]! += g;
      toScale!.data[scale.size + k]! += g * x!.data[source]!;
    });
  },
};

/** From the scale of the channels to the units of the data: (H, K Q). */
const unscale: Operation = {
  forward(context, x) {
    const form = unscaleForm(context);
    const y = zeros(form.horizon, form.targets * form.levels);
    for (let at = 0; at < y.data.length; at++) {
      const k = form.target(at);
      const value = backTransform(form.raw(x!, at), form.transforms[k]!);
      const floor = form.floor[k];
      const raised = floor == null ? value : Math.max(value, floor);
      y.data[at] = form.rounds[k] ? Math.floor(raised + 0.5) : raised;
    }
    return y;
  },
  backward(context, gradient, output, [x], [to]) {
    const form = unscaleForm(context);
    for (let at = 0; at < gradient.data.length; at++) {
      const k = form.target(at);
      const floor = form.floor[k];
      let g = gradient.data[at]!;
      if (g === 0 || (floor != null && output.data[at]! <= floor)) continue;
      const raw = form.raw(x!, at);
      if (form.transforms[k] === "log") g *= raw < 700 ? Math.exp(raw) : 0;
      if (form.transforms[k] === "root") g *= 2 * Math.max(raw, 0);
      const factor = form.widening[(at / form.levels) | 0]!;
      const middle = at - (at % form.levels) + form.median;
      to!.data[at]! += g * factor * form.scale[k]!;
      to!.data[middle]! += g * (1 - factor) * form.scale[k]!;
    }
  },
};

function unscaleForm(context: StageContext) {
  const { stage } = context;
  const [horizon, targets] = context.shape("widening") as [number, number];
  const levels = stage["levels"] as number;
  const median = stage["median"] as number;
  const [widening, mean_, scale] = ["widening", "mean", "scale"].map((setting) =>
    context.tensor(setting),
  ) as [Float64Array, Float64Array, Float64Array];
  const target = (at: number) => ((at / levels) | 0) % targets;
  const raw = (x: Matrix, at: number) => {
    const middle = x.data[at - (at % levels) + median]!;
    const value = middle + (x.data[at]! - middle) * widening[(at / levels) | 0]!;
    return value * scale[target(at)]! + mean_[target(at)]!;
  };
  const floor = stage["floor"] as (number | null)[];
  const rounds = stage["rounds"] as boolean[];
  const transforms = stage["transforms"] as string[];
  return {
    horizon,
    targets,
    levels,
    median,
    widening,
    scale,
    target,
    raw,
    floor,
    rounds,
    transforms,
  };
}

/** From the values of a logarithm or root to those of the data. */
export function backTransform(value: number, kind: string): number {
  if (kind === "log") return Math.exp(Math.min(value, 700));
  return kind === "root" ? Math.max(value, 0) ** 2 : value;
}

/** The logarithm or root of one channel, of values from `low` on. */
const transform: Operation = {
  forward: ({ stage }, x) =>
    map(x!, (value, column) => {
      if (column !== stage["column"]) return value;
      const raised = Math.max(value, stage["low"] as number);
      return stage["kind"] === "log" ? Math.log(raised) : Math.sqrt(raised);
    }),
  backward({ stage }, gradient, output, [x], [to]) {
    for (let k = 0; k < gradient.data.length; k++) {
      const isOwn = k % x!.size === stage["column"];
      if (isOwn && x!.data[k]! <= (stage["low"] as number)) continue;
      const slope = !isOwn ? 1 : stage["kind"] === "log" ? 1 / x!.data[k]! : 0.5 / output.data[k]!;
      to!.data[k]! += gradient.data[k]! * slope;
    }
  },
  changed: sameRow,
};

const OPERATIONS: Readonly<Record<string, Operation>> = {
  transform,
  scale: pointwise(
    (context) => {
      const [mean_, scale] = [context.tensor("mean"), context.tensor("scale")];
      return (x, column) => (x - mean_[column]!) / scale[column]!;
    },
    (context) => {
      const scale = context.tensor("scale");
      return (_x, _y, column) => 1 / scale[column]!;
    },
  ),
  relu: pointwise(
    () => (x) => (x < 0 ? 0 : x),
    () => (x) => (x > 0 ? 1 : 0),
  ),
  tanh: pointwise(
    () => Math.tanh,
    () => (_, y) => 1 - y * y,
  ),
  sigmoid: pointwise(
    () => sigmoid,
    () => (_, y) => y * (1 - y),
  ),
  embed,
  standardise,
  differences,
  segments,
  window: window_,
  linear,
  join,
  columns,
  last: pick((x) => x.rows - 1),
  first: pick(() => 0),
  mean,
  max,
  share,
  attend,
  flat,
  softmax,
  add: total(() => 1),
  average: total((count) => 1 / count),
  "window-scale": windowScale,
  "in-window-scale": inWindowScale,
  base,
  quantiles,
  unscale,
};

/** The operation of a stage.
 *
 * @throws DocumentError if there is none of its name.
 */
export function operationOf(stage: Stage): Operation {
  if (!Object.hasOwn(OPERATIONS, stage.op)) {
    throw new DocumentError(`This page cannot be shown: it has no stage ${stage.op}.`);
  }
  return OPERATIONS[stage.op]!;
}
