/** What all panels share: a frame with a heading, and a table behind each picture. */

import { element, shortNumber } from "./dom.ts";

/** A part of the page that draws itself again when the state or the numbers changed. */
export interface Panel {
  node: HTMLElement;
  draw(): void;
}

/** The frame of a panel: its heading, tools on the right of it, and a body to fill. */
export function frame(
  title: string,
  id: string,
  ...tools: (Node | null)[]
): { node: HTMLElement; body: HTMLElement; tools: HTMLElement } {
  const body = element("div");
  const bar = element("div", { class: "row" }, ...tools);
  const node = element(
    "section",
    { class: "panel", id, "aria-labelledby": `${id}-title` },
    element("header", {}, element("h2", { id: `${id}-title` }, title), bar),
    body,
  );
  return { node, body, tools: bar };
}

/** The numbers behind a picture, which opens on request and is read by screen readers. */
export function numbersTable(
  label: string,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): HTMLElement {
  return element(
    "details",
    {},
    element("summary", {}, label),
    element(
      "div",
      { class: "scrolls", tabindex: "0" },
      element(
        "table",
        {},
        element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
        element(
          "tbody",
          {},
          ...rows.map((row) =>
            element(
              "tr",
              {},
              ...row.map((cell, k) =>
                element(k === 0 ? "th" : "td", k === 0 ? { scope: "row" } : {}, typeof cell === "number" ? shortNumber(cell) : cell),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
