/** The diagram of the cell, with the live value of the chosen unit at every named wire. */

import { drawn, element, shortNumber } from "./dom.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";

/** What a drawing may consist of: anything else in it is left out. */
const TAGS = new Set([
  "svg",
  "g",
  "path",
  "rect",
  "circle",
  "ellipse",
  "line",
  "polyline",
  "polygon",
  "text",
  "tspan",
  "title",
  "desc",
]);
const ATTRIBUTES = new Set([
  "viewBox",
  "d",
  "x",
  "y",
  "x1",
  "y1",
  "x2",
  "y2",
  "dx",
  "dy",
  "cx",
  "cy",
  "r",
  "rx",
  "ry",
  "width",
  "height",
  "points",
  "transform",
  "class",
  "font-size",
  "text-anchor",
  "font-style",
  "font-weight",
  "data-name",
  "data-node",
  "data-when",
  "data-value",
]);

/** The drawings of the page, by their sources: parsed once, copied for each step. */
const rebuilt = new Map<string, SVGElement>();

/** Rebuild a drawing of the document from harmless parts only. */
export function harmless(source: string): SVGElement {
  let svg = rebuilt.get(source);
  if (svg === undefined) rebuilt.set(source, (svg = rebuild(source)));
  return svg.cloneNode(true) as SVGElement;
}

function rebuild(source: string): SVGElement {
  const parsed = new DOMParser().parseFromString(source, "image/svg+xml");
  const root = parsed.documentElement;
  if (root.localName !== "svg")
    throw new Error("the diagram of the cell is damaged: it is no drawing");
  return copy(root) as SVGElement;
}

function copy(node: Element): Element {
  const result = drawn(node.localName);
  for (const { name, value } of Array.from(node.attributes)) {
    if (ATTRIBUTES.has(name)) result.setAttribute(name, value);
  }
  for (const child of Array.from(node.childNodes)) {
    if (child instanceof Element) {
      if (TAGS.has(child.localName)) result.append(copy(child));
    } else if (child.nodeType === Node.TEXT_NODE) {
      result.append(child.textContent ?? "");
    }
  }
  return result;
}

/** The diagram of the looked-at cell, with live values; a click opens a formula. */
export function diagram(session: Session, go: (patch: Partial<State>) => void): Node {
  let svg: SVGElement;
  try {
    svg = harmless(session.diagram);
  } catch (error) {
    return element("p", { class: "quiet" }, error instanceof Error ? error.message : String(error));
  }
  svg.setAttribute("class", "gatewright-cell");
  svg.setAttribute("role", "img");
  svg.setAttribute(
    "aria-label",
    `The diagram of ${session.layer.cell} with the numbers of unit ${session.state.unit}`,
  );
  // Room for the numbers at the right edge.
  const box = (svg.getAttribute("viewBox") ?? "").split(/[ ,]+/).map(Number);
  if (box.length === 4 && box.every(Number.isFinite))
    svg.setAttribute("viewBox", `${box[0]} ${box[1]} ${box[2]! + 64} ${box[3]}`);
  svg.removeAttribute("width");
  svg.removeAttribute("height");
  const chosen = session.shortName(session.state.name);
  const written = new Set<string>();
  for (const group of Array.from(svg.querySelectorAll<SVGElement>("[data-name]"))) {
    const name = group.getAttribute("data-name")!;
    const before = group.getAttribute("data-when") === "before";
    const full = session.inLayer(name);
    if (full === null) continue;
    if (name === chosen && !before) group.classList.add("chosen");
    group.addEventListener("click", (event) => {
      event.stopPropagation();
      go({ name: full, zoom: "formula" });
    });
    const value = session.liveNode(Number(group.getAttribute("data-node") ?? NaN));
    const key = `${name}${before ? " before" : ""}`;
    if (value === null || written.has(key)) continue;
    const place = labelPlace(group);
    if (place === null) continue;
    written.add(key);
    const text = shortNumber(value);
    const width = text.length * 9.4 + 8;
    const left = place.anchor === "end" ? -width : 0;
    group.append(
      drawn(
        "g",
        { class: "live", transform: `translate(${place.x},${place.y})` },
        drawn("title", {}, `${name}${before ? " before the step" : ""} = ${text}`),
        drawn("rect", { x: left, y: -16, width, height: 22, rx: 5 }),
        drawn("text", { "text-anchor": "middle", x: left + width / 2 }, text),
      ),
    );
  }
  return svg;
}

/** The point at which the value of a group is written: after its name, where it has one. */
function labelPlace(
  group: SVGElement,
): { x: number; y: number; anchor: "start" | "middle" | "end" } | null {
  const number = (node: Element, name: string): number => Number(node.getAttribute(name) ?? 0);
  const names = Array.from(group.querySelectorAll("text.gw-name")).filter(
    (text) => text.closest("[data-name]") === group,
  );
  const name = names[0];
  if (name === undefined) return null;
  const anchor = name.getAttribute("text-anchor");
  // Below a name, since wires leave to its sides.
  if (anchor === "end") return { x: number(name, "x"), y: number(name, "y") + 26, anchor: "end" };
  if (anchor === "middle")
    return { x: number(name, "x") + 16, y: number(name, "y"), anchor: "start" };
  return {
    x: number(name, "x") + widthOf(name.textContent!, number(name, "font-size")) + 6,
    y: number(name, "y"),
    anchor: "start",
  };
}

let ruler: CanvasRenderingContext2D | null = null;

/** The width of a name in the diagram's units. */
function widthOf(text: string, size: number): number {
  ruler ??= document.createElement("canvas").getContext("2d")!;
  ruler.font = `italic ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}
