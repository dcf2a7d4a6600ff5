/** The panel of tracks: every named value of a layer over time, under the cursor. */

import { palette } from "./colours.ts";
import { element, fill, shortNumber, toggle } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import type { Order, State } from "./state.ts";
import { axis, listen, paintHeat, paintLines, stepWidth } from "./tracks.ts";

type Go = (patch: Partial<State>) => void;

const ORDERS: [Order, string][] = [
  ["memory", "how long they remember"],
  ["saturation", "how open their gates are"],
  ["similarity", "similarity"],
  ["number", "number"],
];

/** A picture in the panel, and what it was painted from. */
interface Picture {
  node: HTMLElement;
  canvas: HTMLCanvasElement;
  title: HTMLButtonElement;
  note: HTMLElement;
  line: HTMLElement;
  box: HTMLElement;
  painted: string;
}

/** The tracks of the looked-at layer; of both models, one below the other, if two are compared. */
export function trackPanel(session: Session, go: Go): Panel {
  const { node, body, tools } = frame("Over time", "tracks");
  const scroller = element("div", {
    class: "scroller",
    tabindex: "0",
    role: "group",
    "aria-label": "Values over time; arrow keys move the cursor",
  });
  const timeline = element("div", { class: "timeline" });
  const pictures = element("div");
  const axisBox = element("div");
  const cursor = element("div", { class: "over cursor" });
  const selection = element("div", { class: "over selected", hidden: true });
  timeline.append(pictures, axisBox, selection, cursor);
  scroller.append(timeline);
  const legend = element("p", { class: "quiet" });
  const tableBox = element("div");
  body.append(scroller, legend, tableBox);
  const shown = new Map<string, Picture>();
  let layout = "";

  listen(timeline, () => session.steps, {
    point: ({ step }) => go({ time: step, span: null }),
    drag: (first, last, isEnd) =>
      go(isEnd ? { span: [first, last], time: last } : { span: [first, last] }),
  });

  const picture = (name: string): Picture => {
    const canvas = element("canvas", { role: "img" });
    const title = element("button", { type: "button", onclick: () => go({ name }) });
    const note = element("span", { class: "quiet" });
    const line = element("div", { class: "unit-line" });
    const box = element("div", { class: "picture" }, canvas, line);
    box.addEventListener("pointerdown", (event) => {
      const area = box.getBoundingClientRect();
      const order = session.order(name);
      const row = Math.floor(((event.clientY - area.top) / area.height) * order.length);
      const unit = order[Math.max(0, Math.min(order.length - 1, row))] ?? 0;
      // The step comes from the timeline, which hears of the same pointer.
      go(session.state.lines ? { name } : { name, unit });
    });
    const whole = element(
      "div",
      { class: "track" },
      element("div", { class: "name" }, title, note),
      box,
    );
    return { node: whole, canvas, title, note, line, box, painted: "" };
  };

  let tooled = "";
  const drawTools = (): void => {
    const { state } = session;
    const key = [
      session.version,
      state.order,
      state.lines,
      state.lesson,
      state.model,
      session.layer.name,
    ].join();
    if (key === tooled) return;
    tooled = key;
    const select = element(
      "select",
      { "aria-label": "Order of the units", onchange: () => go({ order: select.value as Order }) },
      ...ORDERS.map(([order, title]) =>
        element("option", { value: order, selected: order === state.order }, title),
      ),
    );
    const layers = element(
      "select",
      { "aria-label": "Layer", onchange: () => go({ name: session.outputOf(layers.value) }) },
      ...session.layerNames.map((name) =>
        element(
          "option",
          { value: name, selected: name === session.layer.name },
          session.titleOf(name),
        ),
      ),
    );
    fill(
      tools,
      session.layerNames.length > 1 ? element("label", {}, "Layer", layers) : null,
      element("label", {}, "Units by", select),
      toggle("Lines", state.lines, () => go({ lines: !state.lines })),
      toggle("Names of the lesson", state.lesson, () => go({ lesson: !state.lesson })),
    );
    fill(
      legend,
      element("span", { class: "scale factor", "aria-hidden": "true" }),
      " gates, from 0 (closed) to 1 (open); ",
      element("span", { class: "scale signed", "aria-hidden": "true" }),
      " memories and other values, negative to positive around 0. ",
      `One sequence, ${session.steps} steps, ${session.hiddenSize} units. Click for a step and a unit, drag to select a span.`,
    );
  };

  const draw = (): void => {
    const { state } = session;
    drawTools();
    const width = Math.max(120, scroller.clientWidth || 600);
    const each = stepWidth(session.steps, width);
    const full = Math.round(each * session.steps);
    timeline.style.width = `${full}px`;

    const rows = session.trackRows();
    const key = rows.map((row) => `${row.model} ${row.name}`).join("|");
    if (key !== layout) {
      layout = key;
      shown.clear();
      for (const row of rows) shown.set(`${row.model} ${row.name}`, picture(row.name));
      fill(pictures, ...Array.from(shown.values(), (entry) => entry.node));
    }
    for (const row of rows) {
      const entry = shown.get(`${row.model} ${row.name}`)!;
      const track = session.track(row.name, row.model);
      const order = session.order(row.name, row.model);
      const chosen = row.name === state.name && row.model === state.model;
      const height = Math.round(
        Math.max(34, Math.min(chosen ? 170 : 84, track.units * (chosen ? 7 : 4))),
      );
      entry.title.textContent = row.title;
      entry.title.setAttribute("aria-pressed", chosen ? "true" : "false");
      const value =
        track.values[state.time * track.units + Math.min(state.unit, track.units - 1)] ?? NaN;
      entry.note.textContent = `unit ${Math.min(state.unit, track.units - 1)}: ${shortNumber(value)}${row.note === "" ? "" : ` · ${row.note}`}`;
      entry.canvas.setAttribute(
        "aria-label",
        `${row.title}: ${track.units} units over ${track.steps} steps; the numbers are in the table below`,
      );
      const painted = `${session.version} ${session.exampleCount} ${state.lines} ${state.order} ${session.theme} ${height} ${state.lines ? `${state.unit} ${full}` : ""}`;
      if (painted !== entry.painted) {
        entry.painted = painted;
        entry.canvas.style.height = `${height}px`;
        if (state.lines)
          paintLines(entry.canvas, track, Math.min(state.unit, track.units - 1), full, height);
        else paintHeat(entry.canvas, track, order, palette());
      }
      entry.line.hidden = state.lines;
      const unitRow = order.indexOf(Math.min(state.unit, track.units - 1));
      entry.line.style.top = `${(unitRow / order.length) * 100}%`;
      entry.line.style.height = `${Math.max(1.5, height / order.length)}px`;
    }
    const axisKey = `${session.version} ${full}`;
    if (axisBox.dataset["key"] !== axisKey) {
      axisBox.dataset["key"] = axisKey;
      fill(axisBox, axis(session.steps, full, session.tokens));
    }
    cursor.style.left = `${state.time * each}px`;
    cursor.style.width = `${Math.max(each, 3)}px`;
    selection.hidden = state.span === null;
    if (state.span !== null) {
      selection.style.left = `${state.span[0] * each}px`;
      selection.style.width = `${(state.span[1] - state.span[0] + 1) * each}px`;
    }
    keepInView(state.time * each, each);
    fill(
      tableBox,
      numbersTable(
        "values",
        `All values of unit ${state.unit} at step ${state.time}`,
        ["value", "number"],
        () =>
          rows.map((row) => {
            const track = session.track(row.name, row.model);
            return [
              row.title,
              track.values[state.time * track.units + Math.min(state.unit, track.units - 1)] ?? NaN,
            ];
          }),
      ),
    );
  };

  let last = -1;
  const keepInView = (left: number, each: number): void => {
    if (left === last) return;
    last = left;
    if (left < scroller.scrollLeft || left + each > scroller.scrollLeft + scroller.clientWidth) {
      scroller.scrollLeft = Math.max(0, left - scroller.clientWidth / 2);
    }
  };
  return { node, draw };
}
