/**
 * The session: the state of the page, and the numbers that follow from it.
 *
 * A change of the input or of what is held runs the models again (`Runner`); until then the page goes
 * on with the numbers before. The panels ask this class and its parts: `overview` for what is known
 * over all examples, `attribution` for the influence of the inputs on an answer.
 */

import type { LayerDocument, ModelDocument, PageDocument } from "../document.ts";
import { decodeFloats } from "../document.ts";
import type { Model, Run } from "../engine.ts";
import { coveredSteps, layerRun, loadModel, stepValues } from "../engine.ts";
import type { Saturation, Span, SpanAnswer } from "../analysis.ts";
import { Attribution } from "./attribution.ts";
import { Overview } from "./overview.ts";
import { rolesOf, type Roles } from "./roles.ts";
import { Runner, type Shown } from "./runner.ts";
import { describeStages, type StageView } from "./stageview.ts";
import type { State } from "./state.ts";
import { magnitude, type Track } from "./tracks.ts";

/** A row of the tracks. */
export interface TrackRow {
  name: string;
  title: string;
  note: string;
  model: number;
}

/** A match of a search with the steps around it. */
export interface Surroundings {
  values: Float32Array;
  steps: number;
  units: number;
  limit: number | null;
  text: { before: string; inside: string; after: string } | null;
}

/** A forecast in the units of the data. */
export interface ForecastView {
  /** The channel that is forecast. */
  name: string;
  past: number[];
  /** For each level, the values of the steps ahead. */
  quantiles: number[][];
  levels: number[];
  truth: number[] | null;
  unit: string;
}

export class Session {
  state: State;
  theme: "light" | "dark" = "light";
  /** Goes up with every change of the numbers. */
  version = 0;
  /** Called when numbers that took their time are there. */
  onReady: () => void = () => {};
  readonly models: Model[];
  readonly attribution: Attribution;
  readonly overview: Overview;
  readonly runner: Runner;
  private shown!: Shown;
  private shownKey = "";
  private pending: AbortController | null = null;
  private readonly tracks = new Map<string, Track>();
  private readonly steps_ = new Map<string, Float64Array[]>();
  private works = 0;

  constructor(
    readonly document: PageDocument,
    state: State,
  ) {
    this.state = state;
    this.models = document.models.map((_, k) => loadModel(document, k));
    this.runner = new Runner(document, this.models);
    this.attribution = new Attribution(this);
    this.overview = new Overview(this);
    this.normalise();
  }

  /** Run the models for the first time. */
  async start(): Promise<void> {
    await this.refresh();
    void this.workOn(this.overview.start());
  }

  /** Whether numbers are on their way, and the views will change once more. */
  get isWorking(): boolean {
    return this.works > 0;
  }

  /** Count as working until a promise is kept; the views change then. */
  async workOn(work: Promise<void>): Promise<void> {
    this.works++;
    try {
      await work;
    } finally {
      this.works--;
      this.onReady();
    }
  }

  // The state.

  /** Change a part of the state. */
  change(patch: Partial<State>): void {
    this.state = { ...this.state, ...patch };
    this.normalise();
    void this.workOn(this.refresh());
  }

  /** Take over a whole state, as that of an address. */
  replace(state: State): void {
    this.change(state);
  }

  /** Bring what the address asks for within what there is. */
  private normalise(): void {
    const state = this.state;
    const last = Math.max(0, this.document.data.length - 1);
    state.example = Math.min(state.example, last);
    state.model = Math.min(state.model, this.models.length - 1);
    if (this.models.length < 2) state.pair = false;
    state.channel = Math.min(state.channel, Math.max(0, this.channels.length - 1));
    const names = this.names();
    if (!names.includes(state.name)) {
      const canonical = this.canonical(state.name);
      state.name =
        canonical !== null && names.includes(canonical)
          ? canonical
          : this.outputOf(this.models[state.model]!.layerNames[0]!);
    }
    state.unit = Math.min(state.unit, this.hiddenSize - 1);
    state.holds = state.holds.filter((hold) => this.canonical(hold.name) !== null);
    if (this.shown !== undefined) this.clampSteps();
  }

  private clampSteps(): void {
    const last = this.steps - 1;
    const state = this.state;
    if (state.time < 0) state.time = this.kind === "layer" ? Math.floor(last / 2) : last;
    state.time = Math.min(state.time, last);
    if (state.span !== null) {
      const [first, end] = state.span;
      state.span =
        first > last ? null : [Math.min(first, end), Math.min(Math.max(first, end), last)];
    }
    state.cuts = state.cuts.filter((step) => step <= last);
  }

  // Running.

  /** The models on the page: one, or both. */
  get shownModels(): number[] {
    return this.state.pair ? this.models.map((_, k) => k) : [this.state.model];
  }

  private async refresh(): Promise<void> {
    const { example, text, edits, holds, cuts } = this.state;
    const key = JSON.stringify([example, text, edits, holds, cuts, this.shownModels]);
    if (key === this.shownKey) return;
    this.shownKey = key;
    this.pending?.abort();
    const control = new AbortController();
    this.pending = control;
    try {
      const shown = await this.runner.compute(this.state, this.shownModels, control.signal);
      if (control.signal.aborted) return;
      this.commit(shown);
    } catch (error) {
      if (!control.signal.aborted) throw error;
    }
  }

  private commit(shown: Shown): void {
    this.shown = shown;
    this.version++;
    this.tracks.clear();
    this.steps_.clear();
    this.attribution.clear();
    this.clampSteps();
  }

  // The task and the input.

  get kind(): string {
    return this.document.task.kind;
  }
  get isText(): boolean {
    return this.kind === "text";
  }
  get labels(): string[] {
    return this.document.task.labels;
  }
  get channels(): string[] {
    return this.document.task.channels;
  }
  /** Steps of the input. */
  get steps(): number {
    return this.shown.sequence.steps;
  }
  get tokens(): string[] | null {
    return this.shown.tokens;
  }
  get text(): string {
    const { state } = this;
    return state.text ?? this.runner.joined(this.document.data[state.example]?.symbols ?? []);
  }
  /** Typed symbols that the model does not know. */
  get unknownSymbols(): string[] {
    return this.shown.unknown;
  }
  symbolsIn(text: string): number[] {
    return this.runner.encoded(text).codes;
  }
  get input(): Float64Array {
    return this.shown.sequence.values;
  }
  get original(): Float64Array {
    return this.shown.original.values;
  }
  get isEdited(): boolean {
    return this.state.text !== null || this.state.edits.length > 0;
  }
  /** True if what is shown differs from the model on the example as it is. */
  get isChanged(): boolean {
    return this.state.edits.length > 0 || this.state.holds.length > 0 || this.state.cuts.length > 0;
  }
  inputAt(step: number, channel: number): number {
    return this.input[step * this.channels.length + channel] ?? NaN;
  }
  /** The scale of a channel: all that occurs in the examples, and in training. */
  channelRange(channel: number): [number, number] {
    const { task } = this.document;
    let low = task.low?.[channel] ?? Infinity;
    let high = task.high?.[channel] ?? -Infinity;
    for (const values of [this.original, this.input]) {
      for (let k = channel; k < values.length; k += this.channels.length) {
        low = Math.min(low, values[k]!);
        high = Math.max(high, values[k]!);
      }
    }
    if (!(low < high)) return [low - 1, low + 1];
    return [low, high];
  }
  exampleTitle(index: number): string {
    const example = this.document.data[index];
    if (example === undefined) return "This sequence";
    if (this.kind !== "classify" || typeof example.truth !== "number") return example.id;
    return `“${this.labels[example.truth]}” (${example.id})`;
  }
  /** The step's own name, such as a date, where it has one. */
  stepName(step: number): string {
    return this.document.data[this.state.example]?.step_names?.[step] ?? "";
  }

  // The answer.

  modelName(index: number): string {
    return this.document.models[index]!.name;
  }
  /** True if the model answers at every step. */
  get answersEveryStep(): boolean {
    return this.kind === "tag" || this.kind === "text" || this.kind === "layer";
  }
  /** The outputs of a model, at a step if it answers at every step. */
  answer(index: number, step: number, isPlain = false): Float64Array {
    const { outputs } = (isPlain ? this.shown.plain : this.shown.runs).get(index)!;
    const row = this.answersEveryStep ? Math.min(step, outputs.rows - 1) : outputs.rows - 1;
    return outputs.data.subarray(row * outputs.size, (row + 1) * outputs.size);
  }
  truth(step: number): string | null {
    if (this.isText) return this.tokens![step + 1] ?? null;
    const truth = this.document.data[this.state.example]?.truth ?? null;
    if (typeof truth === "number") return this.labels[truth] ?? null;
    if (Array.isArray(truth)) return this.labels[truth[step] ?? -1] ?? null;
    return null;
  }
  /** The forecast of the channel that is looked at, or of the first one that is forecast. */
  forecast(index: number): ForecastView | null {
    const { task } = this.document;
    const { targets = [], levels = [], horizon = 0 } = task;
    const target = Math.max(0, targets.indexOf(this.channels[this.state.channel] ?? ""));
    const { data } = this.shown.runs.get(index)!.outputs;
    const column = this.channels.indexOf(targets[target] ?? "");
    const encoded = this.document.data[this.state.example]?.truth;
    const truth = typeof encoded === "string" ? decodeFloats(encoded) : null;
    const at = (ahead: number, level: number): number =>
      data[(ahead * targets.length + target) * levels.length + level]!;
    const ahead = Array.from({ length: horizon }, (_, k) => k);
    return {
      name: targets[target] ?? "",
      past: Array.from({ length: this.steps }, (_, step) => this.inputAt(step, column)),
      quantiles: levels.map((_, level) => ahead.map((k) => at(k, level))),
      levels,
      truth: truth === null ? null : ahead.map((k) => truth[k * targets.length + target]!),
      unit: task.unit ?? "",
    };
  }

  // Layers and named values.

  get model(): ModelDocument {
    return this.document.models[this.state.model]!;
  }
  /** The layer that is looked at. */
  get layerDocument(): LayerDocument {
    return this.layerIn(this.state.name, this.state.model);
  }
  private layerIn(name: string, model: number): LayerDocument {
    const { layers } = this.document.models[model]!;
    return layers.find((layer) => name.startsWith(`${layer.name}.`)) ?? layers[0]!;
  }
  get layer(): { name: string; cell: string; reverse: boolean } {
    const { name, reverse } = this.layerDocument;
    return { name, cell: this.model.cell.name, reverse };
  }
  get layerNames(): string[] {
    return this.model.layers.map((layer) => layer.name);
  }
  /** A layer's name in words. */
  titleOf(name: string): string {
    const member = /^m(\d+)\./.exec(name);
    const several = this.model.layers.some((layer) => layer.name.startsWith("m1."));
    const network = several ? `network ${member === null ? 1 : Number(member[1]) + 1}, ` : "";
    const layer = /l(\d+)/.exec(name)?.[1] ?? "0";
    const way = name.endsWith(".reverse")
      ? ", from the end"
      : name.endsWith(".forward")
        ? ", from the start"
        : "";
    const text = `${network}layer ${Number(layer) + 1}${way}`;
    return text[0]!.toUpperCase() + text.slice(1);
  }
  get layerTitle(): string {
    return this.titleOf(this.layer.name);
  }
  get hiddenSize(): number {
    return this.layerDocument.hidden_size;
  }
  get roles(): Roles {
    return rolesOf(this.layerDocument, this.model.cell.gates);
  }
  get keepIsShut(): boolean {
    return this.roles.keepIsShut;
  }
  get hasPeephole(): boolean {
    return this.model.cell.diagrams.code.includes('gw-peephole"');
  }
  /** True if the looked-at layer has a value of this name. */
  has(name: string): boolean {
    return name in this.layerDocument.named;
  }
  /** The full name of a value of the looked-at layer, by its short name or its role. */
  full(name: string): string {
    const { roles } = this;
    const short =
      name in roles
        ? ((roles as unknown as Record<string, string | null>)[name] ?? roles.output)
        : name;
    return this.canonical(`${this.layer.name}.${short}`) ?? this.outputOf(this.layer.name);
  }
  shortName(full: string): string {
    const layer = this.layerIn(full, this.state.model);
    return full.slice(layer.name.length + 1);
  }
  inLayer(short: string): string | null {
    return this.canonical(`${this.layer.name}.${short}`);
  }
  /** The first name of the same value: `l0.use` for `l0.h` of an LSTM. */
  private canonical(full: string): string | null {
    const { layers } = this.document.models[this.state.model]!;
    const layer = layers.find((candidate) => full.startsWith(`${candidate.name}.`));
    if (layer === undefined) return null;
    const term = layer.named[full.slice(layer.name.length + 1)];
    if (term === undefined) return null;
    const first = Object.entries(layer.named).find(([, other]) => other === term)!;
    return `${layer.name}.${first[0]}`;
  }
  outputOf(layer: string): string {
    const document = this.model.layers.find((candidate) => candidate.name === layer)!;
    const named = Object.entries(document.named).find(([, term]) => term === document.output);
    return `${layer}.${named?.[0] ?? Object.keys(document.named)[0]!}`;
  }
  /** All values of the looked-at layer but its event, each by its first name. */
  names(model = this.state.model): string[] {
    const layer = this.layerIn(this.state.name, model);
    const seen = new Set<number>(Object.values(layer.inputs));
    return Object.entries(layer.named).flatMap(([name, term]) => {
      if (seen.has(term)) return [];
      seen.add(term);
      return [`${layer.name}.${name}`];
    });
  }
  /** The values that can be held. */
  heldNames(): string[] {
    return this.names();
  }
  gateNames(): string[] {
    const { gates } = this.model.cell;
    return this.names().filter((name) => gates.includes(this.shortName(name)));
  }
  /** The states of the looked-at layer, the memory of the output first, by the names of their new values. */
  stateNames(): string[] {
    return Object.entries(this.layerDocument.states).map(([name, state]) => {
      const named = Object.entries(this.layerDocument.named).find(
        ([, term]) => term === state.update,
      );
      return `${this.layer.name}.${named?.[0] ?? name}`;
    });
  }
  /** A value's name for people: with the memory that it is the new value of. */
  label(full: string, model = this.state.model): string {
    const layer = this.layerIn(full, model);
    const short = full.slice(layer.name.length + 1);
    const term = layer.named[short];
    const state = Object.entries(layer.states).find(
      ([name, entry]) => entry.update === term && name !== short,
    )?.[0];
    const lesson = this.state.lesson ? (LESSON[short] ?? short) : short;
    if (state === undefined) return lesson;
    return `${lesson} (${this.state.lesson ? (LESSON[state] ?? state) : state})`;
  }
  /** The name of the memory that a value is the new value of: `c` for `remember`. */
  memoryLabel(full: string): string {
    const term = this.layerDocument.named[this.shortName(full)];
    const state =
      Object.entries(this.layerDocument.states).find(([, entry]) => entry.update === term)?.[0] ??
      this.shortName(full);
    return this.state.lesson ? (LESSON[state] ?? state) : state;
  }
  /** null for a factor in 0..1, else the magnitude of the value in this run. */
  limit(full: string, model = this.state.model): number | null {
    return this.track(full, model).limit;
  }

  // Numbers.

  /** The row of a layer that covers a step of the input: another one where steps are joined. */
  private rowOf(index: number, layer: string, step: number): number {
    const own = this.shown.runs.get(index)!;
    const rows = layerRun(own, layer).steps;
    if (rows === this.steps) return step;
    const covered = coveredSteps(own, layer);
    const row = covered.findIndex(({ from, to }) => step >= from && step < to);
    return Math.max(0, row);
  }
  /** A value of all units over all steps of the input. */
  track(full: string, model = this.state.model): Track {
    const key = `${model} ${full}`;
    let track = this.tracks.get(key);
    if (track === undefined) {
      const layer = this.layerIn(full, model);
      const { data, size, rows } = this.shown.runs.get(model)!.value(full);
      let values: Float32Array = data;
      if (rows !== this.steps) {
        values = new Float32Array(this.steps * size);
        for (let step = 0; step < this.steps; step++) {
          const row = this.rowOf(model, layer.name, step);
          values.set(data.subarray(row * size, (row + 1) * size), step * size);
        }
      }
      const isGate = this.document.models[model]!.cell.gates.includes(
        full.slice(layer.name.length + 1),
      );
      track = {
        name: full,
        title: this.label(full, model),
        note: "",
        values,
        steps: this.steps,
        units: size,
        limit: isGate ? null : magnitude(values),
      };
      this.tracks.set(key, track);
    }
    return track;
  }
  at(full: string, step: number, unit: number): number {
    const track = this.track(full);
    return track.values[step * track.units + Math.min(unit, track.units - 1)] ?? NaN;
  }
  rowAt(full: string, step: number): ArrayLike<number> {
    const track = this.track(full);
    return Array.from(
      { length: track.units },
      (_, unit) => track.values[step * track.units + unit]!,
    );
  }
  /** The step at which a unit's value is largest in magnitude. */
  largestStep(full: string, unit: number): number {
    let best = 0;
    for (let step = 1; step < this.steps; step++) {
      if (Math.abs(this.at(full, step, unit)) > Math.abs(this.at(full, best, unit))) best = step;
    }
    return best;
  }
  order(full: string, model = this.state.model): number[] {
    return this.overview.order(
      this.layerIn(full, model),
      model,
      this.track(full, model).units,
      this.state.order,
    );
  }
  trackRows(): TrackRow[] {
    return this.shownModels.flatMap((model) =>
      this.names(model).map((name) => ({
        name,
        model,
        title: `${this.state.pair ? `${this.modelName(model)}: ` : ""}${this.label(name, model)}`,
        note: this.noteOn(name, model),
      })),
    );
  }
  private noteOn(full: string, model: number): string {
    const short = full.slice(this.layerIn(full, model).name.length + 1);
    const { learn, forget, remember, use } = this.layerIn(full, model).named as Record<
      string,
      number | undefined
    >;
    const isLesson =
      learn !== undefined && forget !== undefined && remember !== undefined && use !== undefined;
    return isLesson ? (NOTES[short] ?? "") : "";
  }
  /** All terms of the looked-at layer at a step. */
  private termsAt(step: number): Float64Array[] {
    const row = this.rowOf(this.state.model, this.layer.name, step);
    const key = `${this.state.model} ${this.layer.name} ${row}`;
    let values = this.steps_.get(key);
    if (values === undefined) {
      values = stepValues(this.shown.runs.get(this.state.model)!, this.layer.name, row);
      if (this.steps_.size > 64) this.steps_.clear();
      this.steps_.set(key, values);
    }
    return values;
  }
  /** The number of a term of the looked-at layer. */
  liveTerm(term: number, unit: number, step: number): number | null {
    const values = this.termsAt(step)[term];
    if (values === undefined || values.length === 0) return null;
    return values[values.length === 1 ? 0 : Math.min(unit, values.length - 1)]!;
  }
  /** The number of a node of the equations, before or after the step. */
  liveNode(node: number): number | null {
    const term = this.layerDocument.nodes[node];
    return term === undefined ? null : this.liveTerm(term, this.state.unit, this.state.time);
  }
  /** What each number of a product's source adds to one unit of it. */
  contributions(
    product: number,
    unit: number,
  ): { name: string; value: number; weight: number; part: number }[] {
    const { terms } = this.layerDocument;
    const term = terms[product]!;
    const [source, weight] = term.operands as [number, number];
    const values = this.termsAt(this.state.time);
    const matrix = values[weight]!;
    const row = values[source]!;
    const heads = term.heads ?? 1;
    const columns = row.length / heads;
    const head = Math.floor((unit * heads) / term.size);
    const isInput =
      terms[source]!.op === "event" &&
      this.layer.name.endsWith("l0") &&
      row.length === this.channels.length;
    return Array.from({ length: columns }, (_, k) => {
      const value = row[head * columns + k]!;
      const factor = matrix[unit * columns + k]!;
      return {
        name: isInput ? this.channels[k]! : `unit ${head * columns + k}`,
        value,
        weight: factor,
        part: value * factor,
      };
    });
  }

  // The words of the model.

  get about(): string {
    return this.model.about;
  }
  get notes(): string[] {
    return this.model.notes;
  }
  get subtitle(): string {
    const step = this.stepName(this.state.time);
    const input = this.isText
      ? `a text of ${this.steps} characters`
      : `${this.steps} steps of ${this.channels.length} channel${this.channels.length === 1 ? "" : "s"}`;
    return `${this.model.about} Reading ${input}${step === "" ? "" : `; step ${this.state.time} is ${step}`}.`;
  }
  get diagram(): string {
    return this.model.cell.diagrams[this.state.lesson ? "lesson" : "code"];
  }
  get formulas(): { plain: string; term: number; text: string }[] {
    const { formulas } = this.model.cell;
    const rows = this.state.lesson ? formulas.lesson : formulas.code;
    return rows.map((formula, k) => ({
      plain: (formulas.code[k]?.name ?? formula.name).replace(/'$/, ""),
      term: this.layerDocument.nodes[formula.node] ?? 0,
      text: `${formula.name} = ${formula.parts.map((part) => part.text).join("")}`,
    }));
  }
  formulaText(short: string): string | null {
    const term = this.layerDocument.named[short];
    const own =
      this.formulas.find((formula) => formula.plain === short) ??
      this.formulas.find((formula) => formula.term === term);
    return own?.text ?? null;
  }
  stages(): StageView[] {
    return describeStages(
      this.model,
      this.layer.name,
      this.shown.runs.get(this.state.model)!,
      this.state.time,
      (name) => this.titleOf(name),
    );
  }

  // What is known over all examples.

  get exampleCount(): number {
    return this.overview.count(this.state.model);
  }
  get timeConstants(): Float64Array | null {
    return this.overview.timeConstants(this.layerDocument, this.state.model);
  }
  saturation(full: string): Saturation {
    return this.overview.saturation(full, this.state.model);
  }
  /** The units that are on over the selected span, and where else they are. */
  search(): SpanAnswer {
    const { span, threshold, name, model, example } = this.state;
    if (span === null) return { units: [], on: [], matches: [] };
    const isPlain = this.state.text === null && !this.isChanged;
    return this.overview.search(model, example, name, span[0], span[1] + 1, threshold, isPlain);
  }
  /** The state that shows a match. */
  goTo({ example, from, to }: Span): Partial<State> {
    const place = { time: from, span: [from, to - 1] as [number, number] };
    // What was typed or changed by hand comes after the examples.
    if (example >= this.document.data.length) return place;
    return { ...place, example, text: null, edits: [], holds: [], cuts: [] };
  }
  /** The steps of a match with some before and after it, for a picture. */
  around(match: Span, around: number): Surroundings {
    const own =
      this.overview.exampleRun(this.state.model, match.example) ??
      this.currentRun(this.state.model);
    const { data, size, rows } = own.value(this.state.name);
    const from = match.from - around;
    const to = match.to + around;
    // Steps outside of the sequence stay empty, so that all matches are aligned at their first step.
    const values = new Float32Array((to - from) * size).fill(NaN);
    for (let t = Math.max(0, from); t < Math.min(rows, to); t++) {
      values.set(data.subarray(t * size, (t + 1) * size), (t - from) * size);
    }
    const symbols = this.document.data[match.example]?.symbols;
    const piece = (first: number, last: number): string =>
      this.runner.joined(symbols!.slice(Math.max(0, first), Math.min(symbols!.length, last)));
    return {
      values,
      steps: to - from,
      units: size,
      limit: this.limit(this.state.name),
      text:
        symbols === undefined
          ? null
          : {
              before: piece(from, match.from),
              inside: piece(match.from, match.to),
              after: piece(match.to, to),
            },
    };
  }
  /** The run on the page. */
  currentRun(model: number): Run {
    return this.shown.runs.get(model)!;
  }
}

/** The letters of a step in the words of the lesson. */
const LESSON: Record<string, string> = { x: "E", h: "STM", c: "LTM" };

/** A few words on the values of an LSTM. */
const NOTES: Record<string, string> = {
  g: "candidate",
  i: "ignore factor of the learn gate",
  f: "factor of the forget gate",
  o: "factor of the use gate",
  learn: "what is taken in",
  forget: "what is left of the old",
  remember: "the new long-term memory",
  use: "the new short-term memory",
};
