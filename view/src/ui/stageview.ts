/** The stages of a model in words, with their numbers at one step. */

import type { ModelDocument, Stage } from "../document.ts";
import type { Run } from "../engine.ts";
import { magnitude } from "./tracks.ts";

/** One box of the model. */
export interface StageView {
  title: string;
  about: string;
  values: ArrayLike<number> | null;
  limit: number | null;
  /** The recurrent layer in it. */
  layer: string | null;
}

const WORDS: Record<string, [string, string]> = {
  input: ["Input", "the event of this step"],
  embed: ["Embedding", "a learned row for each symbol"],
  transform: ["Transform", "a logarithm or a root of the values"],
  scale: ["Scaling", "mean 0 and spread 1, as in training"],
  standardise: ["Own scaling", "each sequence by its own mean and spread"],
  differences: ["Changes", "the change since the step before joins each step"],
  segments: ["Segments", "several steps become one"],
  window: ["Window", "each step with its neighbours"],
  linear: ["Linear", "a matrix and a bias"],
  relu: ["Rectifier", "negative numbers become 0"],
  tanh: ["tanh", "each number between −1 and 1"],
  join: ["Join", "side by side"],
  last: ["Last step", "the output after the last step"],
  ends: ["Both ends", "the last output of each direction"],
  mean: ["Mean", "of all steps"],
  max: ["Largest", "of all steps, for each unit"],
  share: ["Share", "of the steps above a threshold"],
  attend: ["Attention", "a weighted mean of all steps"],
  softmax: ["Probabilities", "of all outputs, 100 % together"],
  average: ["Mean of the networks", "their answers, averaged"],
  add: ["Sum", "of what is joined"],
  columns: ["Some channels", "the others are left out"],
  quantiles: ["Quantiles", "of each step ahead"],
  unscale: ["Units of the data", "the scaling, undone"],
  base: ["Base forecast", "the best simple methods; the network adds what they miss"],
  "window-scale": ["Level and spread", "of the series in this window"],
  "in-window-scale": ["Scaled window", "mean 0 and spread 1 in this window"],
  flat: ["One row", "all steps ahead side by side"],
  known: ["Known ahead", "what is known of the steps to come"],
};

/** The stages of the network that a layer belongs to, from the input to the answer. */
export function describeStages(
  model: ModelDocument,
  layer: string,
  run: Run,
  step: number,
  titleOf: (layer: string) => string,
): StageView[] {
  return ownStages(model, layer).map((k) => {
    const stage = model.stages[k]!;
    const result = run.stages[k]!;
    const own = stage.op === "layer" ? model.layers[stage["layer"] as number]!.name : null;
    const [title, about] =
      own === null
        ? (WORDS[stage.op] ?? [words(stage.op), ""])
        : [titleOf(own), `${model.cell.name}, ${model.hidden_size} units`];
    const row = Math.min(result.rows - 1, step);
    const values = result.data.subarray(row * result.size, (row + 1) * result.size);
    const isProbability = stage.op === "softmax" || stage.op === "average";
    const isSymbol = stage.op === "input" && model.stages.some((other) => other.op === "embed");
    const isReadout = stage.op === "linear" && k === model.scores;
    return {
      title: isReadout ? "Read-out" : title,
      about: isReadout ? "one score for each output" : about,
      values: isSymbol ? null : values,
      limit: isProbability ? null : magnitude(result.data),
      layer: own,
    };
  });
}

/** Stages before, in and after the layers of one network; those of other networks are left out. */
function ownStages(model: ModelDocument, layer: string): number[] {
  const member = /^m\d+\./.exec(layer)?.[0] ?? "";
  const isOwn = (stage: Stage): boolean => {
    if (stage.op !== "layer") return false;
    const { name } = model.layers[stage["layer"] as number]!;
    return member === "" ? !/^m\d+\./.test(name) : name.startsWith(member);
  };
  const chosen = new Set<number>();
  const before = (k: number): void => {
    if (chosen.has(k)) return;
    chosen.add(k);
    model.stages[k]!.reads.forEach(before);
  };
  model.stages.forEach((stage, k) => {
    if (isOwn(stage)) before(k);
  });
  const layers = new Set(chosen);
  model.stages.forEach((stage, k) => {
    if (stage.op !== "layer" && stage.reads.some((read) => layers.has(read) && chosen.has(read))) {
      chosen.add(k);
      layers.add(k);
    }
  });
  return [...chosen].sort((a, b) => a - b);
}

function words(op: string): string {
  const text = op.replace(/-/g, " ");
  return (text[0] ?? "").toUpperCase() + text.slice(1);
}
