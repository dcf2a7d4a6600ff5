/** From an answer back to the inputs that moved it: by the gradient, and by cutting steps out. */

import { palette } from "./colours.ts";
import { drawn, element, fill, shortNumber, toggle } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";
import { axis, listen, magnitude, overSteps, paintHeat, visible } from "./tracks.ts";

type Go = (patch: Partial<State>) => void;

/** Sequences up to this long are cut at every step; longer ones at as many steps, evenly. */
const MOST_CUTS = 200;

/** The panel of influences on the answer. */
export function influencePanel(session: Session, go: Go): Panel {
  const { node, body, tools } = frame("Influence: which inputs moved the answer", "influence");
  const chart = element("div", { class: "timeline" });
  const heat = element("canvas", { role: "img" });
  const axisBox = element("div");
  const cursor = element("div", { class: "over cursor" });
  const about = element("p", { class: "quiet" });
  const tableBox = element("div");
  const lines = element("div");
  chart.append(lines, heat, axisBox, cursor);
  const work = element("div", { class: "row" });
  body.append(chart, about, work, tableBox);
  listen(chart, () => session.steps, {
    point: ({ step }) => go({ time: step }),
    drag: (first, last) => go({ span: [first, last] }),
  });
  let cutKey = "";
  let cut: { steps: number[]; change: number[] } | null = null;
  let busy = 0;

  const measure = async (key: string): Promise<void> => {
    const ticket = ++busy;
    const stride = Math.max(1, Math.ceil(session.steps / MOST_CUTS));
    const steps: number[] = [];
    const change: number[] = [];
    for (let step = 0; step < session.steps; step += stride) {
      const value = session.attribution.withoutStep(step);
      if (ticket !== busy || key !== influenceKey(session)) return;
      steps.push(step);
      change.push(value);
      if (steps.length % 8 === 0) {
        about.textContent = `Cutting out step ${step} of ${session.steps} …`;
        await new Promise((resolve) => window.setTimeout(resolve));
      }
    }
    cut = { steps, change };
    cutKey = key;
    draw();
  };

  let offered = "";
  const choices = (): void => {
    const first = session.state.output < 0 ? session.attribution.likeliest : "likeliest";
    const key = `${session.state.model} ${session.state.output} ${first}`;
    if (key === offered) return;
    offered = key;
    const outputs = session.attribution.outputNames();
    const select = element(
      "select",
      { "aria-label": "Answer to explain", onchange: () => go({ output: Number(select.value) }) },
      element("option", { value: -1, selected: session.state.output < 0 }, first),
      ...outputs.map((name, k) =>
        element(
          "option",
          { value: k, selected: k === session.state.output },
          session.isText ? visible(name) : name,
        ),
      ),
    );
    fill(tools, outputs.length > 1 ? element("label", {}, "Answer", select) : null);
  };

  let drawnFrom = "";
  const draw = (): void => {
    const influence = session.attribution.influence();
    const state = `${influenceKey(session)} ${influence === null} ${session.theme} ${cut !== null} ${chart.clientWidth}`;
    cursor.style.left = `${(session.state.time / session.steps) * 100}%`;
    cursor.style.width = `${100 / session.steps}%`;
    if (state === drawnFrom) return;
    drawnFrom = state;
    choices();
    if (influence === null) {
      about.textContent = "Computing the gradient of this answer …";
      return;
    }
    const { total, parts, channels, output, step } = influence;
    const steps = session.steps;
    const most = magnitude(total);
    const key = influenceKey(session);
    if (cutKey !== key) cut = null;
    const bars = Array.from(total, (value, k) => {
      const height = (Math.abs(value) / most) * 100;
      return drawn("rect", {
        x: k + 0.08,
        y: 100 - height,
        width: 0.84,
        height,
        class: "bar",
        "data-step": k,
      });
    });
    const largestCut = cut === null ? 1 : magnitude(cut.change);
    const cutLine =
      cut === null
        ? null
        : drawn("path", {
            class: "line n1",
            d: cut.steps
              .map(
                (place, k) =>
                  `${k === 0 ? "M" : "L"}${place + 0.5},${100 - (Math.abs(cut!.change[k]!) / largestCut) * 100}`,
              )
              .join(""),
          });
    // Thousands of bars are one path, which is drawn far faster.
    const picture =
      steps > 400
        ? drawn("path", {
            class: "band n0",
            d: `M0,100${Array.from(total, (v, k) => `L${k},${100 - (Math.abs(v) / most) * 100}L${k + 1},${100 - (Math.abs(v) / most) * 100}`).join("")}L${steps},100Z`,
          })
        : drawn("g", { class: "influence-bars" }, ...bars);
    fill(lines, overSteps(steps, 90, picture, ...(cutLine === null ? [] : [cutLine])));
    heat.hidden = channels.length < 2;
    if (channels.length > 1) {
      paintHeat(
        heat,
        { values: parts, steps, units: channels.length, limit: magnitude(parts) },
        [...channels.keys()],
        palette(),
      );
      heat.style.height = `${Math.min(120, channels.length * 9)}px`;
      heat.setAttribute("aria-label", `Influence of ${channels.length} channels at ${steps} steps`);
    }
    fill(axisBox, axis(steps, chart.clientWidth || 600, session.tokens));
    const label = session.attribution.outputLabel(output);
    const place = session.answersEveryStep ? ` at step ${step}` : "";
    about.textContent =
      `Bars: how strongly “${label}”${place} answers to a small change of each input (the gradient times the input's spread, largest ${shortNumber(most)}). ` +
      halfText(session.attribution.halfInfluence) +
      (channels.length > 1 ? `Below, one row a channel, blue for and orange against it. ` : "") +
      (cut === null
        ? ""
        : `Orange line: by how much the answer changes if a step is cut out, at most ${shortNumber(largestCut)}. `) +
      "One sequence.";
    fill(
      work,
      toggle(
        cut === null ? "Measure by cutting steps out" : "Measured by cutting steps out",
        cut !== null,
        () => void measure(key),
      ),
    );
    fill(
      tableBox,
      numbersTable(
        "influence",
        "Influence as numbers",
        ["step", "influence", ...(cut === null ? [] : ["change if cut out"])],
        () =>
          Array.from(total, (value, k) => [
            String(k),
            value,
            ...(cut === null ? [] : [cut.change[cut.steps.indexOf(k)] ?? ""]),
          ]).slice(0, 500),
      ),
    );
  };
  return { node, draw };
}

function halfText(steps: number | null): string {
  if (steps === null) return "";
  return `Half of all influence comes from the last ${steps === 1 ? "step" : `${steps} steps`}. `;
}

function influenceKey(session: Session): string {
  const { state } = session;
  const unit = session.kind === "layer" ? state.unit : "";
  return `${session.version} ${state.model} ${state.output} ${unit} ${session.answersEveryStep ? state.time : ""}`;
}
