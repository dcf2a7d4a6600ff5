/** All units of a layer in one picture: how open their gates are and how long they remember. */

import { drawn, element, fill, shortNumber } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";

/** The panel of the units. */
export function unitsPanel(session: Session, go: (patch: Partial<State>) => void): Panel {
  const { node, body, tools } = frame("Units: saturation and memory", "units");
  let gate = "";
  const draw = (): void => {
    const gates = session.gateNames();
    if (!gates.includes(gate))
      gate = session.roles.keep !== null ? session.full("keep") : (gates[0] ?? "");
    if (!gates.includes(gate)) gate = gates[0] ?? "";
    const select = element(
      "select",
      {
        "aria-label": "Gate",
        onchange: () => {
          gate = select.value;
          draw();
        },
      },
      ...gates.map((name) =>
        element("option", { value: name, selected: name === gate }, session.label(name)),
      ),
    );
    fill(tools, gates.length > 1 ? element("label", {}, "Gate", select) : null);
    const { timeConstants } = session;
    const saturation = gate === "" ? null : session.saturation(gate);
    const parts: (Node | null)[] = [];
    if (saturation !== null)
      parts.push(scatter(session, go, saturation.shut, saturation.open, session.label(gate)));
    if (timeConstants !== null) parts.push(constants(session, go, timeConstants));
    if (parts.length === 0) {
      parts.push(
        element(
          "p",
          { class: "quiet" },
          `${session.layer.cell} has no gates: no unit is open or closed, and none keeps its memory by a factor.`,
        ),
      );
    }
    parts.push(
      element(
        "p",
        { class: "quiet" },
        `${session.hiddenSize} units; shares and means over all ${session.exampleCount} examples of this page.`,
      ),
      numbersTable(
        "units",
        "All units as numbers",
        [
          "unit",
          ...(saturation === null ? [] : ["closed", "open"]),
          ...(timeConstants === null ? [] : ["remembers (steps)"]),
        ],
        () =>
          Array.from({ length: session.hiddenSize }, (_, k) => [
            String(k),
            ...(saturation === null ? [] : [saturation.shut[k] ?? NaN, saturation.open[k] ?? NaN]),
            ...(timeConstants === null ? [] : [timeConstants[k] ?? NaN]),
          ]),
      ),
    );
    fill(body, ...parts);
  };
  const key = (): string => {
    const { state } = session;
    return `${session.exampleCount} ${session.exampleCount > 1 ? "" : session.version} ${state.model} ${session.layer.name} ${state.unit} ${state.lesson} ${gate}`;
  };
  return { node, draw, key };
}

/** A dot a unit: the share of steps at which its gate is closed, against that at which it is open. */
function scatter(
  session: Session,
  go: (patch: Partial<State>) => void,
  closed: ArrayLike<number>,
  open: ArrayLike<number>,
  label: string,
): HTMLElement {
  const size = 240;
  const left = 44;
  const across = (share: number): number => left + share * size;
  const up = (share: number): number => 8 + (1 - share) * size;
  const order = Array.from({ length: closed.length }, (_, k) => k).sort((a) =>
    a === session.state.unit ? 1 : -1,
  );
  const svg = drawn(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${left + size + 16} ${size + 52}`,
      role: "group",
      "aria-label": `Saturation of ${label}`,
    },
    drawn("path", { class: "grid", d: `M${across(0)},${up(1)}V${up(0)}H${across(1)}` }),
    drawn("path", {
      class: "grid",
      d: `M${across(0)},${up(1)}L${across(1)},${up(0)}`,
      "stroke-dasharray": "3 4",
    }),
    ...[0, 0.5, 1].flatMap((share) => [
      drawn(
        "text",
        { x: across(share), y: size + 24, "text-anchor": "middle" },
        `${share * 100} %`,
      ),
      drawn("text", { x: left - 6, y: up(share) + 4, "text-anchor": "end" }, `${share * 100}`),
    ]),
    drawn(
      "text",
      { x: across(0.5), y: size + 44, "text-anchor": "middle" },
      "of the steps closed (below 0.1)",
    ),
    drawn(
      "text",
      { x: 12, y: up(0.5), "text-anchor": "middle", transform: `rotate(-90 12 ${up(0.5)})` },
      "open (above 0.9), %",
    ),
    ...order.map((unit) =>
      drawn(
        "circle",
        {
          class: "unit-dot",
          cx: across(closed[unit]!),
          cy: up(open[unit]!),
          r: unit === session.state.unit ? 6 : 4,
          "aria-current": unit === session.state.unit ? "true" : undefined,
          onclick: () => go({ unit }),
        },
        drawn(
          "title",
          {},
          `unit ${unit}: closed at ${(closed[unit]! * 100).toFixed(0)} %, open at ${(open[unit]! * 100).toFixed(0)} % of the steps`,
        ),
      ),
    ),
  );
  svg.style.maxWidth = "26rem";
  return element(
    "figure",
    {},
    svg,
    element(
      "figcaption",
      { class: "quiet" },
      `A dot a unit, by its gate ${label}. Bottom right: mostly closed. Top left: mostly open. On the dashed line it is never in between.`,
    ),
  );
}

/** The time constant of each unit as a bar on a logarithmic scale, the longest first. */
function constants(
  session: Session,
  go: (patch: Partial<State>) => void,
  values: ArrayLike<number>,
): HTMLElement {
  const most = 1000;
  const order = Array.from({ length: values.length }, (_, k) => k)
    .filter((unit) => values[unit]! > 0)
    .sort((a, b) => values[b]! - values[a]!);
  const share = (value: number): number =>
    Math.max(0.005, Math.min(1, Math.log(Math.max(value, 0.1) / 0.1) / Math.log(most / 0.1)));
  const width = 300;
  const height = Math.max(90, Math.min(200, order.length * 6));
  const each = height / Math.max(1, order.length);
  const svg = drawn(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${width + 20} ${height + 24}`,
      role: "group",
      "aria-label": "How long each unit remembers",
    },
    ...[0.1, 1, 10, 100, 1000].flatMap((value) => [
      drawn("path", { class: "grid", d: `M${8 + share(value) * width},0V${height}` }),
      drawn(
        "text",
        {
          x: 8 + share(value) * width,
          y: height + 16,
          "text-anchor": value === 0.1 ? "start" : value === 1000 ? "end" : "middle",
        },
        String(value),
      ),
    ]),
    ...order.map((unit, row) =>
      drawn(
        "rect",
        {
          class: "unit-dot",
          "aria-current": unit === session.state.unit ? "true" : undefined,
          x: 8,
          y: row * each + each * 0.1,
          width: share(values[unit]!) * width,
          height: Math.max(1, each * 0.8),
          onclick: () => go({ unit }),
        },
        drawn("title", {}, `unit ${unit}: ${shortNumber(values[unit]!)} steps`),
      ),
    ),
  );
  svg.style.maxWidth = "30rem";
  const longest = order[0];
  return element(
    "figure",
    {},
    svg,
    element(
      "figcaption",
      { class: "quiet" },
      "How long each unit remembers, in steps: those after which its memory gates, at their mean, leave a share of 1/e (37 %).",
      longest === undefined
        ? ""
        : ` The longest is unit ${longest} with ${shortNumber(values[longest]!)} steps.`,
    ),
  );
}
