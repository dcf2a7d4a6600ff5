/** What all panels share: a frame with a heading, and a table behind each picture. */

import { element, shortNumber } from "./dom.ts";

/** A part of the page that draws itself again when the state or the numbers changed. */
export interface Panel {
  node: HTMLElement;
  draw(): void;
  /** What it is drawn from, as a text: it is not drawn again while that stays the same. */
  key?(): string;
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

/** The tables that are open, so that they stay open when their panel is drawn again. */
const open = new Set<string>();

/** The numbers behind a picture, which opens on request: for screen readers and for people.
 *
 * Its rows are made only when it is open, since most pictures change with every step.
 */
export function numbersTable(
  id: string,
  label: string,
  head: readonly string[],
  rows: () => readonly (readonly (string | number)[])[],
): HTMLElement {
  const box = element("div", {
    class: "scrolls",
    tabindex: "0",
    role: "group",
    "aria-label": label,
  });
  const node = element("details", { open: open.has(id) }, element("summary", {}, label), box);
  const write = (): void => {
    if (!node.open || box.childElementCount > 0) return;
    box.append(
      element(
        "table",
        {},
        element(
          "thead",
          {},
          element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text))),
        ),
        element(
          "tbody",
          {},
          ...rows().map((row) =>
            element(
              "tr",
              {},
              ...row.map((cell, k) =>
                element(
                  k === 0 ? "th" : "td",
                  k === 0 ? { scope: "row" } : {},
                  typeof cell === "number" ? shortNumber(cell) : cell,
                ),
              ),
            ),
          ),
        ),
      ),
    );
  };
  node.addEventListener("toggle", () => {
    if (node.open) open.add(id);
    else if (node.isConnected) open.delete(id);
    write();
  });
  write();
  return node;
}
