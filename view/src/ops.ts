/** The operations of a cell's step on numbers, with their derivatives.
 *
 * They are those of graph/adjoint.py; truths are 1 and 0.
 */

const ROOT = Math.sqrt(Math.PI);

/** erf as a series of terms of one sign, so that nothing cancels. */
export function erf(x: number): number {
  if (!(Math.abs(x) < 6)) return x > 0 ? 1 : x < 0 ? -1 : x;
  let term = x;
  let total = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    total += term;
  }
  return (2 / ROOT) * Math.exp(-x * x) * total;
}

export function sigmoid(x: number): number {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : 1 - 1 / (1 + Math.exp(x));
}

export interface Unary {
  value: (a: number) => number;
  /** dy/da from the operand a and the result y. */
  slope: (a: number, y: number) => number;
}

export interface Binary {
  value: (a: number, b: number) => number;
  /** dy/da and dy/db. */
  slopes: [(a: number, b: number, y: number) => number, (a: number, b: number, y: number) => number];
}

const none = () => 0;

export const UNARY: Readonly<Record<string, Unary>> = {
  negative: { value: (a) => -a, slope: () => -1 },
  sigmoid: { value: sigmoid, slope: (_, y) => y * (1 - y) },
  tanh: { value: Math.tanh, slope: (_, y) => 1 - y * y },
  exp: { value: Math.exp, slope: (_, y) => y },
  expm1: { value: Math.expm1, slope: (_, y) => y + 1 },
  log: { value: Math.log, slope: (a) => 1 / a },
  log1p: { value: Math.log1p, slope: (a) => 1 / (1 + a) },
  sqrt: { value: Math.sqrt, slope: (_, y) => 1 / (2 * y) },
  abs: { value: Math.abs, slope: (a) => Math.sign(a) },
  sign: { value: Math.sign, slope: none },
  sin: { value: Math.sin, slope: (a) => Math.cos(a) },
  cos: { value: Math.cos, slope: (a) => -Math.sin(a) },
  erf: { value: erf, slope: (a) => (2 / ROOT) * Math.exp(-a * a) },
  relu: { value: (a) => (a < 0 ? 0 : a), slope: (a) => (a <= 0 ? 0 : 1) },
  softplus: {
    value: (a) => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
    slope: (a) => sigmoid(a),
  },
  stop_gradient: { value: (a) => a, slope: none },
  logical_not: { value: (a) => (a === 0 ? 1 : 0), slope: none },
};

function truth(holds: (a: number, b: number) => boolean): Binary {
  return { value: (a, b) => (holds(a, b) ? 1 : 0), slopes: [none, none] };
}

/** The larger or smaller operand; where both tie, each has half of the gradient. */
function choice(value: (a: number, b: number) => number): Binary {
  const share = (own: number, other: number, y: number) =>
    own === other ? 0.5 : own === y ? 1 : 0;
  return { value, slopes: [share, (a, b, y) => share(b, a, y)] };
}

export const BINARY: Readonly<Record<string, Binary>> = {
  add: { value: (a, b) => a + b, slopes: [() => 1, () => 1] },
  subtract: { value: (a, b) => a - b, slopes: [() => 1, () => -1] },
  multiply: { value: (a, b) => a * b, slopes: [(_, b) => b, (a) => a] },
  divide: { value: (a, b) => a / b, slopes: [(_, b) => 1 / b, (_, b, y) => -y / b] },
  power: {
    value: (a, b) => Math.pow(a, b),
    slopes: [
      (a, b) => (b === 0 ? 0 : b * Math.pow(a, b - 1)),
      (a, _, y) => (a === 0 ? 0 : y * Math.log(a)),
    ],
  },
  maximum: choice(Math.max),
  minimum: choice(Math.min),
  less: truth((a, b) => a < b),
  less_equal: truth((a, b) => a <= b),
  greater: truth((a, b) => a > b),
  greater_equal: truth((a, b) => a >= b),
  equal: truth((a, b) => a === b),
  not_equal: truth((a, b) => a !== b),
  logical_and: truth((a, b) => a !== 0 && b !== 0),
  logical_or: truth((a, b) => a !== 0 || b !== 0),
};
