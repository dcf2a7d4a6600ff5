/** Statistics of runs: time constants, saturation, orders of units, and the search for spans. */

import { layerRun, stateFactors, valueNames, type Run, type Values } from "./engine.ts";

/** Below this a gate counts as shut, and above 1 minus it as open (Karpathy et al. 2015). */
export const SHUT = 0.1;

/** Steps until 1/e of a unit's value is left, over the steps of some runs of one model.
 *
 * It is -1 over the mean logarithm of the factor that carries the state, as in Python
 * (probes/time_constants.py): Infinity where the factor is 1, 0 where the state is rewritten.
 */
export function timeConstants(runs: readonly Run[], layer: string, state: string): Float64Array {
  const size = runs[0]!.model.layers.find(({ document }) => document.name === layer)!.document
    .states[state]!.size;
  const logs = new Float64Array(size);
  let steps = 0;
  for (const run of runs) {
    const { rows, data } = stateFactors(run, layer, state);
    for (let k = 0; k < data.length; k++) logs[k % size]! += Math.log(Math.abs(data[k]!));
    steps += rows;
  }
  return logs.map((log) => (log < 0 ? Math.max(-steps / log, 0) : Infinity));
}

/** For each unit of a gate, the share of steps at which it is shut, and open. */
export interface Saturation {
  shut: Float64Array;
  open: Float64Array;
  /** The mean of the gate. */
  mean: Float64Array;
  steps: number;
}

/** The saturation of a gate over some runs; `name` is `l0.f`. */
export function saturation(runs: readonly Run[], name: string): Saturation {
  const all = runs.map((run) => run.value(name));
  const size = all[0]!.size;
  const steps = all.reduce((sum, { rows }) => sum + rows, 0);
  const result = {
    shut: new Float64Array(size),
    open: new Float64Array(size),
    mean: new Float64Array(size),
    steps,
  };
  for (const { data } of all) {
    for (let k = 0; k < data.length; k++) {
      const value = data[k]!;
      if (value < SHUT) result.shut[k % size]! += 1 / steps;
      if (value > 1 - SHUT) result.open[k % size]! += 1 / steps;
      result.mean[k % size]! += value / steps;
    }
  }
  return result;
}

/** The units in the order of a key, the largest first; equal ones stay in their order. */
export function orderBy(key: ArrayLike<number>): number[] {
  const units = Array.from({ length: key.length }, (_, unit) => unit);
  const rank = (value: number) => (Number.isNaN(value) ? -Infinity : value);
  return units.sort((a, b) => {
    const [x, y] = [rank(key[a]!), rank(key[b]!)];
    return x === y ? a - b : y > x ? 1 : -1;
  });
}

/** Units by how alike they are, so that neighbours do the same.
 *
 * The correlations over the steps of some runs; from the most typical unit on, the unit that is
 * most like the last one comes next.
 */
export function orderBySimilarity(runs: readonly Run[], name: string): number[] {
  const rows = standardised(runs.map((run) => run.value(name)));
  const size = rows.length;
  const correlation = (a: number, b: number) => {
    let total = 0;
    for (let t = 0; t < rows[a]!.length; t++) total += rows[a]![t]! * rows[b]![t]!;
    return total;
  };
  if (size === 0) return [];
  const means = new Float64Array(rows[0]!.length);
  for (const row of rows) row.forEach((value, t) => (means[t]! += value));
  const typical = rows.map((row) => row.reduce((sum, value, t) => sum + value * means[t]!, 0));
  const order = [orderBy(typical)[0]!];
  const left = new Set(rows.keys());
  left.delete(order[0]!);
  while (left.size > 0) {
    const last = order[order.length - 1]!;
    let best = -1;
    let most = -Infinity;
    for (const unit of left) {
      const own = correlation(last, unit);
      if (own > most || best < 0) [best, most] = [unit, own];
    }
    order.push(best);
    left.delete(best);
  }
  return order;
}

/** At most so many steps decide which units are alike: 256 units then take 30 ms. */
const COMPARED = 400;

/** Each unit's values with mean 0 and length 1, at evenly spaced steps. */
function standardised(all: readonly Values[]): Float64Array[] {
  const size = all[0]!.size;
  const steps = all.reduce((sum, { rows }) => sum + rows, 0);
  const every = Math.max(1, Math.ceil(steps / COMPARED));
  const rows: Float64Array[] = [];
  for (let unit = 0; unit < size; unit++) {
    const values: number[] = [];
    let step = 0;
    for (const { rows: own, data } of all) {
      for (let t = 0; t < own; t++, step++) {
        if (step % every === 0) values.push(data[t * size + unit]!);
      }
    }
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const centred = Float64Array.from(values, (value) => value - mean);
    const length = Math.hypot(...centred) || 1;
    rows.push(centred.map((value) => value / length));
  }
  return rows;
}

/** A span of steps in one example: from `from` up to and without `to`. */
export interface Span {
  example: number;
  from: number;
  to: number;
}

export interface SpanQuery {
  /** A named value: `l0.h`. */
  name: string;
  span: Span;
  /** A unit is on where its value is at least this, or with `below` at most this. */
  threshold: number;
  below?: boolean;
  /** Only these units are asked for; all if absent. */
  units?: readonly number[];
}

export interface SpanMatch extends Span {
  /** The share of the units that are on over the whole span. */
  share: number;
  /** Similarity of lengths, from 0 to 1. */
  length: number;
  /** The order: share times length. */
  rank: number;
}

export interface SpanAnswer {
  /** The units that are on at every step of the selected span, and off right around it. */
  units: number[];
  /** The units that are on at every step of it, also those that stay on around it. */
  on: number[];
  matches: SpanMatch[];
}

/** The units that are on over a span, and where else they are on together.
 *
 * As in LSTMVis (Strobelt et al. 2018): units that are on over the whole span and off just before
 * and after it describe it best; where none is, those that are on at all are taken. A match is the
 * longest run of steps at which at least half of these units are on.
 *
 * @param runs The runs of the examples, by their positions; an example without a run is skipped.
 */
export function searchSpans(
  runs: readonly (Run | undefined)[],
  query: SpanQuery,
  most = 20,
): SpanAnswer {
  const own = runs[query.span.example]?.value(query.name);
  if (own === undefined) throw new RangeError(`example ${query.span.example} was not run`);
  const isOn = (values: Values, t: number, unit: number) => {
    const value = values.data[t * values.size + unit]!;
    return query.below === true ? value <= query.threshold : value >= query.threshold;
  };
  const { from, to } = query.span;
  if (!(from >= 0 && from < to && to <= own.rows)) {
    throw new RangeError(`the span ${from} to ${to} is none of ${own.rows} steps`);
  }
  const asked = query.units ?? Array.from({ length: own.size }, (_, unit) => unit);
  const on = asked.filter((unit) => {
    for (let t = from; t < to; t++) if (!isOn(own, t, unit)) return false;
    return true;
  });
  const edged = on.filter(
    (unit) =>
      !(from > 0 && isOn(own, from - 1, unit)) && !(to < own.rows && isOn(own, to, unit)),
  );
  const units = edged.length > 0 ? edged : on;
  if (units.length === 0) return { units, on, matches: [] };
  const matches: SpanMatch[] = [];
  runs.forEach((run, example) => {
    const values = run?.value(query.name);
    if (values === undefined) return;
    let begin = -1;
    let total = 0;
    for (let t = 0; t <= values.rows; t++) {
      const count = t < values.rows ? units.filter((unit) => isOn(values, t, unit)).length : 0;
      if (count * 2 >= units.length && t < values.rows) {
        if (begin < 0) [begin, total] = [t, 0];
        total += count;
        continue;
      }
      const isSelected = example === query.span.example && begin < to && t > from;
      if (begin >= 0 && !isSelected) {
        const steps = t - begin;
        const share = total / steps / units.length;
        const length = Math.min(steps, to - from) / Math.max(steps, to - from);
        matches.push({ example, from: begin, to: t, share, length, rank: share * length });
      }
      begin = -1;
    }
  });
  matches.sort((a, b) => b.rank - a.rank || a.example - b.example || a.from - b.from);
  return { units, on, matches: matches.slice(0, most) };
}

/** The gates of a model's layers by the names that `Run.value` takes. */
export function gateNames(run: Run): string[] {
  const { gates } = run.model.document.cell;
  return valueNames(run.model).filter((name) =>
    gates.some((gate) => run.layers.some(({ layer }) => name === `${layer.document.name}.${gate}`)),
  );
}

/** The states of a layer. */
export function stateNames(run: Run, layer: string): string[] {
  return Object.keys(layerRun(run, layer).layer.document.states);
}
