/** The zoom: the model, a layer unrolled over time, the cell as a diagram, a formula with numbers. */

import { palette } from "./colours.ts";
import { diagram } from "./diagram.ts";
import { element, fill, shortNumber } from "./dom.ts";
import { formulaView } from "./formula.ts";
import type { Panel } from "./panels.ts";
import { frame } from "./panels.ts";
import type { Session } from "./session.ts";
import type { State, Zoom } from "./state.ts";
import { paintHeat, visible } from "./tracks.ts";

type Go = (patch: Partial<State>) => void;

/** Steps of the unrolled layer, around the cursor. */
const UNROLLED = 5;

/** The panel of the zoom. */
export function zoomPanel(session: Session, go: Go): Panel {
  const { node, body, tools } = frame("Zoom", "zoom");
  const draw = (): void => {
    const { zoom } = session.state;
    const levels: [Zoom, string][] = [
      ["model", "Model"],
      ["layer", session.layerTitle],
      ["cell", session.layer.cell],
      ["formula", `Formula of ${session.label(session.state.name)}`],
    ];
    fill(
      tools,
      element(
        "ol",
        { class: "crumbs" },
        ...levels.map(([level, title]) =>
          element(
            "li",
            {},
            element(
              "button",
              {
                type: "button",
                class: "chip",
                "aria-current": level === zoom ? "true" : undefined,
                onclick: () => go({ zoom: level }),
              },
              title,
            ),
          ),
        ),
      ),
    );
    fill(body, ...VIEWS[zoom](session, go));
  };
  return { node, draw };
}

const VIEWS: Record<Zoom, (session: Session, go: Go) => (Node | null)[]> = {
  model: modelView,
  layer: layerView,
  cell: cellView,
  formula: formulaView,
};

/** A row of numbers as a row of colours. */
export function stripe(
  values: ArrayLike<number>,
  limit: number | null,
  label: string,
): HTMLCanvasElement {
  const canvas = element("canvas", { class: "stripe", role: "img", "aria-label": label });
  // A stripe is a heat map of one row, whose steps are the units.
  paintHeat(canvas, { values, steps: values.length, units: 1, limit }, [0], palette());
  return canvas;
}

function modelView(session: Session, go: Go): Node[] {
  const stages = session.stages();
  return [
    element("p", {}, session.about),
    ...session.notes.map((note) => element("p", { class: "quiet" }, note)),
    element(
      "ol",
      { class: "stages" },
      ...stages.map((stage) => {
        const content = [
          element("strong", {}, stage.title),
          element("div", { class: "quiet" }, stage.about),
          stage.values === null
            ? null
            : stripe(
                stage.values,
                stage.limit,
                `${stage.title}: ${stage.values.length} numbers at step ${session.state.time}`,
              ),
        ];
        return element(
          "li",
          {},
          stage.layer === null
            ? element("div", { class: "stage" }, ...content)
            : element(
                "button",
                {
                  type: "button",
                  class: "stage",
                  onclick: () => go({ zoom: "layer", name: session.outputOf(stage.layer!) }),
                },
                ...content,
              ),
        );
      }),
    ),
    element(
      "p",
      { class: "quiet" },
      `From left to right what happens to a step; the colours are the numbers at step ${session.state.time}. Yellow boxes are recurrent layers: open one.`,
    ),
  ];
}

function layerView(session: Session, go: Go): Node[] {
  const { time, unit } = session.state;
  const first = Math.max(0, Math.min(session.steps - UNROLLED, time - Math.floor(UNROLLED / 2)));
  const slots: HTMLElement[] = [];
  for (let step = first; step < Math.min(session.steps, first + UNROLLED); step++) {
    slots.push(
      element(
        "div",
        { class: "slot" },
        element(
          "button",
          {
            type: "button",
            class: "box",
            "aria-current": step === time ? "true" : undefined,
            onclick: () => (step === time ? go({ zoom: "cell" }) : go({ time: step })),
          },
          element("strong", {}, `step ${step}`),
          ...session.stateNames().flatMap((name) => {
            const values = session.rowAt(name, step);
            return [
              element(
                "div",
                { class: "quiet" },
                `${session.memoryLabel(name)} `,
                shortNumber(values[unit] ?? 0),
              ),
              stripe(
                values,
                session.limit(name),
                `${session.label(name)} of all units at step ${step}`,
              ),
            ];
          }),
        ),
        element(
          "div",
          { class: "event", title: "the event of this step" },
          "↑ ",
          eventText(session, step),
        ),
      ),
    );
  }
  return [
    element(
      "p",
      {},
      `The same cell, ${session.layer.cell}, at one step after the other`,
      session.layer.reverse ? ", read from the end" : "",
      `. Each passes its ${session.stateNames().length > 1 ? "memories" : "memory"} on to the next. Click a step to go there; click it again to open the cell.`,
    ),
    element(
      "div",
      { class: "unrolled", tabindex: "0", role: "group", "aria-label": "The layer over time" },
      ...slots,
    ),
    element(
      "p",
      { class: "quiet" },
      `${session.hiddenSize} units; the number is unit ${unit}, the colours are all of them in their order.`,
    ),
  ];
}

function eventText(session: Session, step: number): string {
  if (session.tokens !== null) return visible(session.tokens[step] ?? "");
  return shortNumber(session.inputAt(step, session.state.channel));
}

function cellView(session: Session, go: Go): Node[] {
  return [
    element(
      "div",
      { class: "row" },
      element(
        "span",
        { class: "quiet" },
        `Live: unit ${session.state.unit} at step ${session.state.time}. Boxes are learned, circles work unit by unit, the thick line is the memory.`,
      ),
    ),
    element(
      "div",
      { class: "scrolls", tabindex: "0", role: "group", "aria-label": "Diagram of the cell" },
      diagram(session, go),
    ),
    element("p", { class: "quiet" }, "Click a value in the diagram to open its formula."),
  ];
}
