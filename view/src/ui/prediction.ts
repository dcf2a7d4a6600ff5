/** The answer of the model: classes, tags, next symbols or a forecast, with the truth next to it. */

import { drawn, element, fill, shortNumber } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import { visible } from "./tracks.ts";

const MOST = 8;

/** The panel of the prediction. */
export function predictionPanel(session: Session): Panel {
  const { node, body } = frame("Prediction", "prediction");
  const draw = (): void => {
    const rows = session.shownModels;
    fill(
      body,
      ...rows.flatMap((index) => [
        rows.length > 1 ? element("h3", {}, session.modelName(index)) : null,
        answerOf(session, index),
      ]),
    );
  };
  const key = (): string =>
    `${session.version} ${session.answersEveryStep ? session.state.time : ""} ${session.state.channel} ${session.shownModels.join()}`;
  return { node, draw, key };
}

function answerOf(session: Session, index: number): HTMLElement {
  const kind = session.kind;
  if (kind === "forecast") return forecast(session, index);
  if (kind === "layer") {
    return element(
      "p",
      { class: "quiet" },
      "This is a layer without a read-out: its answer is its short-term memory, in the tracks.",
    );
  }
  const answer = session.answer(index, session.state.time);
  const labels = session.labels;
  const truth = session.truth(session.state.time);
  const order = Array.from(answer.keys()).sort((a, b) => answer[b]! - answer[a]!);
  const best = order[0] ?? 0;
  const listed = order.slice(0, MOST);
  const right = truth === null ? -1 : labels.indexOf(truth);
  if (right >= 0 && !listed.includes(right)) listed[listed.length - 1] = right;
  const plain = session.answer(index, session.state.time, true);
  const changed =
    session.isChanged && answer.some((value, k) => Math.abs(value - plain[k]!) > 1e-6);
  const name = (k: number): string =>
    session.isText ? visible(labels[k] ?? "?") : (labels[k] ?? `output ${k}`);
  const when =
    kind === "text"
      ? `after step ${session.state.time}, for the next character`
      : kind === "tag"
        ? `at step ${session.state.time}`
        : "for the whole sequence";
  const bars = element(
    "div",
    { class: "bars" },
    ...listed.flatMap((k) => [
      element("span", { class: "label" }, name(k), k === right ? " (truth)" : ""),
      element(
        "span",
        { class: "bar" },
        element("i", { style: { width: `${answer[k]! * 100}%` } }),
        changed
          ? element("b", { title: "without your changes", style: { left: `${plain[k]! * 100}%` } })
          : null,
      ),
      element("span", { class: "number" }, `${(answer[k]! * 100).toFixed(1)} %`),
    ]),
  );
  const verdict =
    truth === null
      ? null
      : best === right
        ? element("span", { class: "mark-right" }, `✓ ${name(best)} is right`)
        : element(
            "span",
            { class: "mark-wrong" },
            `✗ ${name(best)}; right would be ${session.isText ? visible(truth) : truth}`,
          );
  return element(
    "div",
    {},
    element("p", {}, `Most likely ${when}: `, element("strong", {}, name(best)), ". ", verdict),
    bars,
    changed
      ? element("p", { class: "quiet" }, "The thin marks are the answer without your changes.")
      : null,
    order.length > listed.length
      ? numbersTable(`outputs ${index}`, `All ${order.length} outputs`, ["output", "%"], () =>
          order.map((k) => [name(k), answer[k]! * 100]),
        )
      : null,
  );
}

function forecast(session: Session, index: number): HTMLElement {
  const result = session.forecast(index);
  if (result === null) return element("p", { class: "quiet" }, "No forecast for this input.");
  const { name, past, quantiles, levels, truth, unit } = result;
  const steps = past.length + (quantiles[0]?.length ?? 0);
  const everything = [...past, ...quantiles.flat(), ...(truth ?? [])].filter(Number.isFinite);
  const low = Math.min(...everything);
  const high = Math.max(...everything);
  const place = (step: number, value: number): string =>
    `${((step + 0.5) / steps) * 1000},${high === low ? 50 : (1 - (value - low) / (high - low)) * 180 + 10}`;
  const path = (values: readonly number[], start: number): string =>
    values.map((value, k) => `${k === 0 ? "M" : "L"}${place(start + k, value)}`).join("");
  const middle = quantiles[Math.floor(quantiles.length / 2)] ?? [];
  const lowest = quantiles[0] ?? [];
  const highest = quantiles[quantiles.length - 1] ?? [];
  const band =
    path(lowest, past.length) +
    [...highest]
      .map((value, k) => [k, value] as const)
      .reverse()
      .map(([k, value]) => `L${place(past.length + k, value)}`)
      .join("") +
    "Z";
  const line = (d: string, kind: string): SVGElement => drawn("path", { d, class: `line ${kind}` });
  return element(
    "figure",
    {},
    drawn(
      "svg",
      {
        class: "chart",
        viewBox: "0 0 1000 200",
        preserveAspectRatio: "none",
        height: 200,
        role: "img",
        "aria-label": "The past and the forecast",
      },
      drawn("path", { d: band, class: "band n1" }),
      line(path(past, 0), "n7"),
      truth === null ? line("", "") : line(path(truth, past.length), "n7 before"),
      line(path(middle, past.length), "n1"),
    ),
    element(
      "figcaption",
      { class: "quiet" },
      `${name}: the last ${past.length} steps, the forecast of ${middle.length} steps (orange, with its interval from ${shortNumber(levels[0] ?? 0)} to ${shortNumber(levels[levels.length - 1] ?? 1)})`,
      truth === null ? "" : ", and what came (dashed)",
      unit === "" ? "" : `, in ${unit}`,
      `. The height goes from ${shortNumber(low)} to ${shortNumber(high)}.`,
    ),
    numbersTable(
      `forecast ${index}`,
      "The forecast as numbers",
      ["step", ...levels.map((level) => `quantile ${level}`), ...(truth === null ? [] : ["truth"])],
      () =>
        middle.map((_, k) => [
          `+${k + 1}`,
          ...quantiles.map((q) => q[k]!),
          ...(truth === null ? [] : [truth[k]!]),
        ]),
    ),
  );
}
