/**
 * The influence of the inputs on one answer: by gradients, and by cutting a step out.
 *
 * A gradient takes its time, so it is computed once the cursor rests, and kept until the numbers of
 * the page change.
 */

import type { Gradient, GradientOptions, Matrix, Run, RunOptions } from "../engine.ts";
import { gradientAsync, run } from "../engine.ts";
import type { Session } from "./session.ts";
import { visible } from "./tracks.ts";

/** Milliseconds for which the cursor has to rest. */
const REST = 60;

/** The influence of all inputs on one answer. */
export interface Influence {
  total: Float64Array;
  /** (steps, channels); empty for a text. */
  parts: Float64Array;
  channels: string[];
  output: number;
  step: number;
}

export class Attribution {
  private readonly gradients = new Map<string, Gradient>();
  /** The gradient that is computed, or was computed last. */
  private key = "";
  private work: AbortController | null = null;
  private unitNames: string[] = [];

  constructor(private readonly session: Session) {}

  /** Forget all gradients: the numbers of the page have changed. */
  clear(): void {
    this.gradients.clear();
    this.key = "";
  }

  // The answer.

  /** The names of what the model answers, such as its classes. */
  outputNames(): string[] {
    const { kind, document, labels } = this.session;
    if (kind === "forecast") {
      const { targets = [], levels = [] } = document.task;
      return targets.flatMap((target) => levels.map((level) => `${target}, quantile ${level}`));
    }
    return kind === "layer" ? this.namesOfUnits() : labels;
  }
  private namesOfUnits(): string[] {
    const units = this.session.answer(this.session.state.model, 0).length;
    if (this.unitNames.length !== units)
      this.unitNames = Array.from({ length: units }, (_, k) => `unit ${k}`);
    return this.unitNames;
  }
  /** An output's name with its white space visible. */
  outputLabel(output: number): string {
    const name = this.outputNames()[output] ?? `output ${output}`;
    return this.session.isText ? visible(name) : name;
  }
  /** The answer that is explained where none is chosen, in words. */
  get likeliest(): string {
    const { kind } = this.session;
    if (kind === "layer") return `the chosen unit`;
    return `${kind === "forecast" ? "middle" : "likeliest"}: ${this.outputLabel(this.output)}`;
  }
  /** The output that is explained. */
  private get output(): number {
    const { state, kind, document } = this.session;
    const names = this.outputNames();
    if (state.output >= 0 && state.output < names.length) return state.output;
    if (kind === "forecast") return Math.floor((document.task.levels ?? [0]).length / 2);
    if (kind === "layer") return Math.min(state.unit, names.length - 1);
    const answer = this.session.answer(state.model, state.time);
    return answer.indexOf(Math.max(...answer));
  }
  /** The step of the answer: that of the cursor, or the last one. */
  private stepOf({ outputs }: Run): number {
    const last = outputs.rows - 1;
    return this.session.answersEveryStep ? Math.min(this.session.state.time, last) : last;
  }
  /** The row of the outputs that has the answer. */
  private rowOf(own: Run): number {
    return this.session.kind === "forecast" ? 0 : this.stepOf(own);
  }

  // Gradients.

  /** The influences on the chosen answer; null until they are computed. */
  influence(): Influence | null {
    const { model } = this.session.state;
    const own = this.session.currentRun(model);
    const output = this.output;
    const row = this.rowOf(own);
    const key = `${model} ${output} ${row}`;
    const gradient = this.gradients.get(key);
    if (gradient === undefined) {
      const of = own.scores === null ? "outputs" : "scores";
      this.differentiate(own, key, { output, step: row, of });
      return null;
    }
    return {
      total: gradient.influence,
      parts: this.partsOf(gradient.inputs, own),
      channels: this.session.isText ? [] : this.session.channels,
      output,
      step: this.stepOf(own),
    };
  }
  /** Compute a gradient once the cursor rests; what was computed for its last place is given up. */
  private differentiate(own: Run, key: string, options: GradientOptions): void {
    if (this.key === key) return;
    this.key = key;
    this.work?.abort();
    const control = new AbortController();
    this.work = control;
    void this.session.workOn(this.differentiateAtRest(own, key, options, control.signal));
  }
  private async differentiateAtRest(
    own: Run,
    key: string,
    options: GradientOptions,
    signal: AbortSignal,
  ): Promise<void> {
    const { version } = this.session;
    await new Promise((resolve) => window.setTimeout(resolve, REST));
    if (signal.aborted) return;
    try {
      const result = await gradientAsync(own.model, own, options, signal);
      if (version === this.session.version) this.gradients.set(key, result);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
  /** Derivative times the difference from the neutral input, channel by channel. */
  private partsOf(inputs: Matrix, own: Run): Float64Array {
    if (this.session.isText) return new Float64Array();
    const parts = inputs.data.slice();
    const { neutral } = own.model;
    for (let k = 0; k < parts.length; k++)
      parts[k]! *= own.sequence.values[k]! - neutral[k % neutral.length]!;
    return parts;
  }
  /** The number of last steps that half of all influence comes from; null where there is none. */
  get halfInfluence(): number | null {
    const influence = this.influence();
    if (influence === null) return null;
    // An answer to the whole sequence reads all steps, one at a step only those up to it.
    const end = this.session.answersEveryStep ? influence.step + 1 : influence.total.length;
    const sizes = influence.total.subarray(0, end).map(Math.abs);
    const all = sizes.reduce((sum, value) => sum + value, 0);
    if (all === 0) return null;
    let sum = 0;
    for (let k = sizes.length - 1; k >= 0; k--) {
      sum += sizes[k]!;
      if (sum >= all / 2) return sizes.length - k;
    }
    return null;
  }

  // Cutting out.

  /** By how much the chosen answer changes if the input of a step is cut out. */
  withoutStep(step: number): number {
    const { state, runner } = this.session;
    const { model: index, cuts } = state;
    const own = this.session.currentRun(index);
    const options: RunOptions = {
      holds: runner.holdsOf(index, state),
      cut: { steps: [...cuts, step], how: "neutral" },
      earlier: own,
      from: step,
    };
    const cut = run(own.model, own.sequence, options);
    const row = this.rowOf(own);
    const answerOf = ({ outputs }: Run): number => outputs.data[row * outputs.size + this.output]!;
    return answerOf(cut) - answerOf(own);
  }
}
