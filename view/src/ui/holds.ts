/** Hold a gate open or closed by hand, or cut the input of a step out, and watch what follows. */

import { element, fill, shortNumber } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame } from "./panels.ts";
import type { Session } from "./session.ts";
import type { Held, State } from "./state.ts";

/** The panel of what is done to the network by hand. */
export function holdPanel(session: Session, go: (patch: Partial<State>) => void): Panel {
  const { node, body } = frame("Hold a value", "hold");
  let value = 0;
  let allUnits = true;
  let onlySpan = false;
  const draw = (): void => {
    // Somebody who types a number keeps the field.
    if (document.activeElement instanceof HTMLInputElement && body.contains(document.activeElement))
      return;
    const { state } = session;
    const isFactor = session.limit(state.name) === null;
    const names = element(
      "select",
      { "aria-label": "Value to hold", onchange: () => go({ name: names.value }) },
      ...session
        .heldNames()
        .map((name) =>
          element("option", { value: name, selected: name === state.name }, session.label(name)),
        ),
    );
    const number = element("input", {
      type: "number",
      step: isFactor ? "0.1" : "any",
      value,
      "aria-label": "The number to hold it at",
      onchange: () => {
        const typed = Number(number.value);
        if (number.value !== "" && Number.isFinite(typed)) value = typed;
      },
    });
    const units = element(
      "select",
      { "aria-label": "Units to hold", onchange: () => (allUnits = units.value === "all") },
      element("option", { value: "all", selected: allUnits }, "all units"),
      element("option", { value: "one", selected: !allUnits }, `unit ${state.unit} only`),
    );
    const steps = element(
      "select",
      { "aria-label": "Steps to hold", onchange: () => (onlySpan = steps.value === "span") },
      element("option", { value: "all", selected: !onlySpan }, "at all steps"),
      element(
        "option",
        { value: "span", selected: onlySpan },
        state.span === null
          ? `at step ${state.time} only`
          : `at steps ${state.span[0]} to ${state.span[1]}`,
      ),
    );
    const hold = (): void => {
      const typed = Number(number.value);
      if (number.value === "" || !Number.isFinite(typed)) return;
      value = typed;
      const [from, to] = onlySpan
        ? (state.span ?? [state.time, state.time])
        : [0, session.steps - 1];
      const added: Held = { name: state.name, unit: allUnits ? null : state.unit, value, from, to };
      const rest = state.holds.filter(
        (held) =>
          held.name !== added.name ||
          held.unit !== added.unit ||
          held.from !== from ||
          held.to !== to,
      );
      (document.activeElement as HTMLElement | null)?.blur();
      go({ holds: [...rest, added] });
    };
    const isCut = state.cuts.includes(state.time);
    const lists = [
      ...state.holds.map((held, k) =>
        element(
          "li",
          { class: "row" },
          `${session.label(held.name)} of ${held.unit === null ? "all units" : `unit ${held.unit}`} is held at ${shortNumber(held.value)}, ` +
            `${held.from === 0 && held.to >= session.steps - 1 ? "at all steps" : held.from === held.to ? `at step ${held.from}` : `at steps ${held.from} to ${held.to}`}`,
          element(
            "button",
            {
              type: "button",
              class: "plain",
              onclick: () => go({ holds: state.holds.filter((_, other) => other !== k) }),
            },
            "Release",
          ),
        ),
      ),
      ...state.cuts.map((step) =>
        element(
          "li",
          { class: "row" },
          `The input of step ${step} is cut out`,
          element(
            "button",
            {
              type: "button",
              class: "plain",
              onclick: () => go({ cuts: state.cuts.filter((cut) => cut !== step) }),
            },
            "Restore",
          ),
        ),
      ),
    ];
    fill(
      body,
      element(
        "form",
        {
          class: "row",
          onsubmit: (event: Event) => {
            event.preventDefault();
            hold();
          },
        },
        names,
        "of",
        units,
        "at",
        number,
        steps,
        element("button", { type: "submit", class: "chip" }, "Hold"),
      ),
      element(
        "div",
        { class: "row" },
        isFactor ? quick("Close it: hold at 0", 0) : null,
        isFactor ? quick("Open it: hold at 1", 1) : null,
        element(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": isCut ? "true" : "false",
            onclick: () =>
              go({
                cuts: isCut
                  ? state.cuts.filter((cut) => cut !== state.time)
                  : [...state.cuts, state.time].sort((a, b) => a - b),
              }),
          },
          `Cut out the input of step ${state.time}`,
        ),
      ),
      lists.length === 0
        ? element(
            "p",
            { class: "quiet" },
            "Everything that is computed from a held value follows: watch the tracks and the prediction.",
          )
        : element("ul", { "aria-label": "What is changed" }, ...lists),
    );
    function quick(label: string, at: number): HTMLElement {
      return element(
        "button",
        {
          type: "button",
          class: "chip",
          onclick: () => {
            number.value = String(at);
            hold();
          },
        },
        label,
      );
    }
  };
  return { node, draw };
}
