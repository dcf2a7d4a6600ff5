/** Elements of the page, made without markup: text from data is only ever text. */

type Child = Node | string | number | null | false | undefined;
type Attributes = Record<string, unknown>;

/** Make an element: `element("button", {class: "chip", onclick: run}, "Run")`. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  setAttributes(node, attributes);
  append(node, children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an element of a drawing. */
export function drawn(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const node = document.createElementNS(SVG, tag);
  setAttributes(node, attributes);
  append(node, children);
  return node;
}

/** Replace what an element holds. */
export function fill(node: Element, ...children: Child[]): void {
  node.replaceChildren();
  append(node, children);
}

function append(node: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

function setAttributes(node: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      node.addEventListener(name.slice(2), value as EventListener);
    } else if (name === "style") {
      // As properties, since the page's policy forbids style attributes.
      for (const [property, text] of Object.entries(value as Record<string, string>)) {
        (node as HTMLElement).style.setProperty(property, text);
      }
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
}

/** A number for people: three significant digits, no exponent where it can be avoided. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text: string;
  if (size !== 0 && (size < 0.001 || size >= 1e6)) text = value.toExponential(1);
  else if (size >= 100) text = value.toFixed(0);
  else if (size >= 10) text = value.toFixed(1);
  else text = value.toFixed(size < 0.1 ? 3 : 2);
  return text.replace("-", "−");
}

/** A button that is pressed or not. */
export function toggle(
  label: Child,
  pressed: boolean,
  act: () => void,
  title = "",
): HTMLButtonElement {
  return element(
    "button",
    {
      type: "button",
      class: "chip",
      "aria-pressed": pressed ? "true" : "false",
      onclick: act,
      title: title || undefined,
    },
    label,
  );
}
