/**
 * The runs that a state of the page asks for: the models over an example, which may be edited, held
 * and cut, or over a typed text.
 */

import type { PageDocument } from "../document.ts";
import type { Hold, Model, Run, RunOptions, Sequence } from "../engine.ts";
import { exampleSequence, run, runAsync } from "../engine.ts";
import { decodeText, encodeText } from "../text.ts";
import { plainLayer } from "./roles.ts";
import type { Held, State } from "./state.ts";

/** Multiplications that are done at once; more are done in slices. */
const AT_ONCE = 4e6;

/** The sequence that the models read. */
export interface Input {
  sequence: Sequence;
  /** The same without what was edited. */
  original: Sequence;
  tokens: string[] | null;
  /** Typed symbols that the model does not know. */
  unknown: string[];
}

/** An input, and the runs of the models over it. */
export interface Shown extends Input {
  runs: Map<number, Run>;
  /** Without what is held, cut and edited. */
  plain: Map<number, Run>;
}

export class Runner {
  private readonly plainRuns = new Map<string, Run>();

  constructor(
    private readonly document: PageDocument,
    private readonly models: readonly Model[],
  ) {}

  /** Run some models, by their positions, as a state asks for. */
  async compute(state: State, models: readonly number[], signal: AbortSignal): Promise<Shown> {
    const input = this.inputOf(state);
    const shown: Shown = { ...input, runs: new Map(), plain: new Map() };
    for (const index of models) {
      const plain = await this.plain(index, state, input.original, signal);
      shown.plain.set(index, plain);
      const holds = this.holdsOf(index, state);
      const { edits, cuts } = state;
      if (edits.length === 0 && holds.length === 0 && cuts.length === 0) {
        shown.runs.set(index, plain);
        continue;
      }
      const from = Math.min(
        ...edits.map((edit) => edit.step),
        ...holds.map((hold) => hold.from),
        ...cuts,
      );
      const options: RunOptions = { holds, earlier: plain, from };
      if (cuts.length > 0) options.cut = { steps: cuts, how: "neutral" };
      shown.runs.set(index, await this.run(index, input.sequence, options, signal));
    }
    return shown;
  }

  /** The run without changes; those of the examples are computed once. */
  private async plain(
    index: number,
    state: State,
    original: Sequence,
    signal: AbortSignal,
  ): Promise<Run> {
    const known = state.text === null ? this.plainRun(index, state.example) : undefined;
    if (known !== undefined) return known;
    const result = await this.run(index, original, {}, signal);
    if (state.text === null) this.keepPlainRun(index, state.example, result);
    return result;
  }

  /** The plain run of an example, where it is known. */
  plainRun(model: number, example: number): Run | undefined {
    return this.plainRuns.get(`${model} ${example}`);
  }
  keepPlainRun(model: number, example: number, result: Run): void {
    this.plainRuns.set(`${model} ${example}`, result);
  }

  /** Run a model: at once if that is quick. */
  private run(
    index: number,
    sequence: Sequence,
    options: RunOptions,
    signal: AbortSignal,
  ): Run | Promise<Run> {
    const model = this.models[index]!;
    const weights = model.document.weights.length / 6;
    const work = weights * (sequence.steps - (options.from ?? 0));
    return work < AT_ONCE
      ? run(model, sequence, options)
      : runAsync(model, sequence, options, signal);
  }

  // The input.

  private get isText(): boolean {
    return this.document.task.kind === "text";
  }

  /** The sequence of a state: an example, changed by hand, or a text that was typed. */
  private inputOf(state: State): Input {
    const { document } = this;
    if (this.isText) {
      const example = document.data[state.example];
      const { codes, unknown } =
        state.text === null && example !== undefined
          ? { codes: example.symbols!, unknown: [] }
          : this.encoded(state.text ?? "");
      const symbols = codes.length === 0 ? [-1] : codes;
      const sequence = { steps: symbols.length, values: Float64Array.from(symbols), further: {} };
      return {
        sequence,
        original: sequence,
        tokens: symbols.map((code) => document.task.labels[code] ?? "·"),
        unknown,
      };
    }
    const original = exampleSequence(document, document.data[state.example]!);
    const values = original.values.slice();
    const channels = document.task.channels.length;
    for (const { channel, step, value } of state.edits) {
      if (channel < channels && step < original.steps) values[step * channels + channel] = value;
    }
    return { sequence: { ...original, values }, original, tokens: null, unknown: [] };
  }

  /** The text of some codes. */
  joined(symbols: readonly number[]): string {
    return decodeText(this.document.task, symbols);
  }

  /** The codes of a typed text without the symbols that the model does not know. */
  encoded(typed: string): { codes: number[]; unknown: string[] } {
    const { task } = this.document;
    const known = new Set(task.alphabet);
    const isKnown = (symbol: string): boolean =>
      task.unit === "bytes"
        ? Array.from(new TextEncoder().encode(symbol)).every((byte) =>
            known.has(byte.toString(16).padStart(2, "0")),
          )
        : known.has(symbol);
    const symbols = Array.from(typed.replace(/\r\n?/g, "\n"));
    const text = symbols.filter(isKnown).join("");
    return {
      codes: text === "" ? [] : encodeText(task, text),
      unknown: [...new Set(symbols.filter((symbol) => !isKnown(symbol)))],
    };
  }

  // What is held.

  /** What a state holds of a model: in all networks of a mean where all units are held. */
  holdsOf(index: number, state: State): Hold[] {
    const layers = this.models[index]!.document.layers;
    const rows = state.holds.flatMap((held: Held): Hold[] => {
      const own = layers.find((layer) => held.name.startsWith(`${layer.name}.`));
      if (own === undefined) return [];
      const name = held.name.slice(own.name.length + 1);
      const alike = layers.filter(
        (layer) =>
          layer === own || (held.unit === null && plainLayer(layer.name) === plainLayer(own.name)),
      );
      return alike
        .filter((layer) => name in layer.named)
        .map((layer) => ({
          layer: layer.name,
          name,
          unit: held.unit,
          value: held.value,
          from: held.from,
          to: held.to + 1,
        }));
    });
    return rows.filter((hold) => {
      const layer = layers.find((candidate) => candidate.name === hold.layer)!;
      return hold.unit === null || hold.unit < layer.terms[layer.named[hold.name]!]!.size;
    });
  }
}
