/** What is known over all examples of the page; the models run over them while nobody waits. */

import type { LayerDocument } from "../document.ts";
import {
  orderBy,
  orderBySimilarity,
  saturation,
  searchSpans,
  timeConstants,
  type Saturation,
  type SpanAnswer,
} from "../analysis.ts";
import { exampleSequence, runAsync, type Run } from "../engine.ts";
import type { Session } from "./session.ts";
import type { Order } from "./state.ts";

/** Numbers that are recorded for the overview at most; further examples are left out. */
const MOST_NUMBERS = 3e7;

export class Overview {
  private readonly runs = new Map<number, (Run | undefined)[]>();
  private readonly cache = new Map<string, unknown>();
  private version = 0;

  constructor(private readonly session: Session) {}

  /** Run all models over all examples, one after the other, between other work. */
  async start(): Promise<void> {
    const { session } = this;
    const { data } = session.document;
    if (session.isText && data.length === 0) return;
    for (const [index, model] of session.models.entries()) {
      let recorded = 0;
      const values = model.document.layers.reduce(
        (sum, layer) => sum + Object.keys(layer.named).length * layer.hidden_size,
        0,
      );
      for (const [position, example] of data.entries()) {
        recorded += values * example.steps;
        if (recorded > MOST_NUMBERS && position > 0) break;
        const known = session.runner.plainRun(index, position);
        const result = known ?? (await runAsync(model, exampleSequence(session.document, example)));
        session.runner.keepPlainRun(index, position, result);
        const own = this.runs.get(index) ?? [];
        own[position] = result;
        this.runs.set(index, own);
        this.version++;
        await new Promise((resolve) => window.setTimeout(resolve, 4));
      }
      session.onReady();
    }
  }

  /** Examples that the overview of a model knows. */
  count(model: number): number {
    return this.of(model).length;
  }

  /** The runs of the examples that are known; what is on the page if there is none yet. */
  private of(model: number): Run[] {
    const runs = (this.runs.get(model) ?? []).filter((entry) => entry !== undefined);
    return runs.length > 0 ? runs : [this.session.currentRun(model)];
  }

  private remembered<Result>(key: string, compute: () => Result): Result {
    const full = `${this.version} ${this.runs.size === 0 ? this.session.version : ""} ${key}`;
    if (this.cache.size > 200) this.cache.clear();
    if (!this.cache.has(full)) this.cache.set(full, compute());
    return this.cache.get(full) as Result;
  }

  saturation(full: string, model: number): Saturation {
    return this.remembered(`saturation ${model} ${full}`, () => saturation(this.of(model), full));
  }

  /** Steps until a share of 1/e is left, for each unit; null where nothing is carried. */
  timeConstants(layer: LayerDocument, model: number): Float64Array | null {
    return this.remembered(`constants ${model} ${layer.name}`, () => {
      const carried = Object.entries(layer.states).filter(
        ([, state]) => state.carry.length > 0 && state.size === layer.hidden_size,
      );
      const state =
        carried.find(([name]) => layer.memory_gates.some((gate) => gate.state === name)) ??
        carried[0];
      if (state === undefined) return null;
      const constants = timeConstants(this.of(model), layer.name, state[0]);
      return constants.some((value) => value > 0) ? constants : null;
    });
  }

  /** The units of a layer in an order, for values of so many units. */
  order(layer: LayerDocument, model: number, units: number, order: Order): number[] {
    const plain = (): number[] => Array.from({ length: units }, (_, k) => k);
    if (units !== layer.hidden_size) return plain();
    return this.remembered(`order ${model} ${layer.name} ${order}`, () => {
      if (order === "memory") {
        const constants = this.timeConstants(layer, model);
        return constants === null ? plain() : orderBy(constants);
      }
      if (order === "saturation") {
        const { gates } = this.session.document.models[model]!.cell;
        const gate = gates.find(
          (name) => name in layer.named && layer.terms[layer.named[name]!]!.size === units,
        );
        return gate === undefined
          ? plain()
          : orderBy(this.saturation(`${layer.name}.${gate}`, model).mean);
      }
      if (order === "similarity") {
        const named = Object.entries(layer.named).find(([, term]) => term === layer.output);
        if (named === undefined || layer.terms[layer.output]!.size !== units) return plain();
        return orderBySimilarity(this.of(model), `${layer.name}.${named[0]}`);
      }
      return plain();
    });
  }

  /** Where else the units are on that are on over the selected span. */
  search(
    model: number,
    example: number,
    name: string,
    from: number,
    to: number,
    threshold: number,
    isPlain: boolean,
  ): SpanAnswer {
    const runs = [...(this.runs.get(model) ?? [])];
    // What was typed or changed by hand is searched from, too: as an example of its own.
    const position = isPlain && runs[example] !== undefined ? example : runs.length;
    if (position === runs.length) runs.push(this.session.currentRun(model));
    return searchSpans(runs, { name, span: { example: position, from, to }, threshold });
  }

  exampleRun(model: number, example: number): Run | undefined {
    return (this.runs.get(model) ?? [])[example];
  }
}
