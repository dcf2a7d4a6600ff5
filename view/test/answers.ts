/** What the tests in Python ask the engine: runs and gradients of a document, as plain lists. */

import * as analysis from "../src/analysis.ts";
import { readDocument, type PageDocument } from "../src/document.ts";
import * as engine from "../src/engine.ts";
import { encodeText } from "../src/text.ts";

interface Question {
  model?: number;
  example: number;
  options?: engine.RunOptions;
  /** Positions in the sequence's values, from the end where negative, and what is added there. */
  nudges?: [number, number][];
  /** Run with `options` from this step on, on top of a run without them. */
  after?: number;
  values?: string[];
  gradients?: (engine.GradientOptions & { values?: string[] })[];
  factors?: [string, string][];
}

export interface Job {
  document: string;
  questions: Question[];
}

export function answer(job: Job): unknown {
  let page: PageDocument;
  let models: engine.Model[];
  try {
    page = readDocument(job.document);
    models = page.models.map((_, k) => engine.loadModel(page, k));
  } catch (error) {
    return { error: String(error) };
  }
  return job.questions.map((question) => {
    const model = models[question.model ?? 0]!;
    const sequence = engine.exampleSequence(page, page.data[question.example]!);
    for (const [at, by] of question.nudges ?? []) {
      sequence.values[at < 0 ? sequence.values.length + at : at]! += by;
    }
    let run = engine.run(model, sequence, question.after === undefined ? question.options : {});
    if (question.after !== undefined) {
      run = engine.run(model, sequence, {
        ...question.options,
        earlier: run,
        from: question.after,
      });
    }
    return {
      outputs: Array.from(run.outputs.data),
      values: (question.values ?? []).map((name) => Array.from(run.value(name).data)),
      gradients: (question.gradients ?? []).map((options) => {
        const gradient = engine.gradient(model, run, options);
        return {
          inputs: Array.from(gradient.inputs.data),
          influence: Array.from(gradient.influence),
          values: (options.values ?? []).map((name) => Array.from(gradient.value(name).data)),
        };
      }),
      factors: (question.factors ?? []).map(([layer, state]) =>
        Array.from(engine.stateFactors(run, layer, state).data),
      ),
    };
  });
}

Object.assign(globalThis, { answer, engine, analysis, encodeText, readDocument });
