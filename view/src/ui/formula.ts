/** The formula of a named value, with the numbers of one unit at one step in it. */

import type { LayerDocument, Term } from "../document.ts";
import { element, shortNumber } from "./dom.ts";
import { numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";

/** Terms of a product that are listed one by one, the largest first. */
const LISTED = 8;

const INFIX: Record<string, [string, number]> = {
  add: [" + ", 1],
  subtract: [" − ", 1],
  multiply: [" · ", 2],
  divide: [" / ", 2],
};

/** A matrix product in a formula: where its sum comes from. */
export interface ProductPart {
  source: string;
  term: number;
  value: number;
}

/** A term with numbers in place of its operands, and the products in it. */
export interface Numbers {
  text: string;
  products: ProductPart[];
}

/**
 * Write a term of a layer with the numbers of a unit.
 *
 * The writing stops at named values, matrix products and weights, whose numbers it shows.
 */
export function withNumbers(
  layer: LayerDocument,
  start: number,
  unit: number,
  value: (term: number, unit: number) => number,
): Numbers {
  const named = new Map<number, string>();
  for (const [name, term] of Object.entries(layer.named))
    if (!named.has(term)) named.set(term, name);
  for (const [name, state] of Object.entries(layer.states)) named.set(state.term, name);
  const products: ProductPart[] = [];

  const leaf = (index: number, which: number): string => {
    const number = value(index, which);
    const text = shortNumber(number);
    return number < 0 ? `(${text})` : text;
  };
  const write = (index: number, which: number, level: number): string => {
    const term = layer.terms[index]!;
    if (term.op === "product") {
      products.push({
        source: sourceName(layer, term, named),
        term: index,
        value: value(index, which),
      });
      return leaf(index, which);
    }
    const stops = ["weight", "event", "input", "state", "constant", "sum", "largest"].includes(
      term.op,
    );
    if (stops || (index !== start && named.has(index))) return leaf(index, which);
    if (term.op === "expand")
      return write(
        term.operands[0]!,
        Math.floor((which * layer.terms[term.operands[0]!]!.size) / term.size),
        level,
      );
    const operand = (position: number, strength: number): string => {
      const inner = term.operands[position]!;
      return write(inner, layer.terms[inner]!.size === 1 ? 0 : which, strength);
    };
    const infix = INFIX[term.op];
    if (infix !== undefined) {
      const [sign, strength] = infix;
      const text = `${operand(0, strength)}${sign}${operand(1, strength + (sign === " − " || sign === " / " ? 1 : 0))}`;
      return strength < level ? `(${text})` : text;
    }
    if (term.op === "negative") return `−${operand(0, 3)}`;
    return `${term.op}(${term.operands.map((_, k) => operand(k, 0)).join(", ")})`;
  };
  const text = write(start, unit, 0);
  return { text, products };
}

function sourceName(layer: LayerDocument, product: Term, named: Map<number, string>): string {
  const source = product.operands[0]!;
  const term = layer.terms[source]!;
  return named.get(source) ?? term.name ?? "a value of the step";
}

/** The view of the zoom: all formulas of the cell, and the chosen one in numbers. */
export function formulaView(
  session: Session,
  go: (patch: Partial<State>) => void,
): (Node | null)[] {
  const { name, unit, time } = session.state;
  const short = session.shortName(name);
  const layer = session.layerDocument;
  const rows = session.formulas.flatMap((formula) => {
    const full = session.inLayer(formula.plain);
    const live = session.liveTerm(formula.term, unit, time);
    return [
      element(
        "button",
        {
          type: "button",
          "aria-pressed": formula.plain === short ? "true" : "false",
          disabled: full === null,
          onclick: () => full !== null && go({ name: full }),
        },
        formula.text,
      ),
      element("output", {}, live === null ? "" : shortNumber(live)),
    ];
  });
  const index = layer.named[short];
  if (index === undefined) return [element("div", { class: "equations" }, ...rows)];
  const size = layer.terms[index]!.size;
  const which = Math.min(unit, size - 1);
  const numbers = withNumbers(
    layer,
    index,
    which,
    (term, k) => session.liveTerm(term, k, time) ?? NaN,
  );
  const result = session.liveTerm(index, which, time) ?? NaN;
  const held = session.state.holds.some(
    (hold) =>
      hold.name === name &&
      time >= hold.from &&
      time <= hold.to &&
      (hold.unit === null || hold.unit === which),
  );
  return [
    element("p", {}, `${session.label(name)} of unit ${which} at step ${time}:`),
    element(
      "div",
      { class: "formula", tabindex: "0", role: "group", "aria-label": "The formula in numbers" },
      `${session.formulaText(short) ?? short}\n${" ".repeat(short.length)} = ${numbers.text}\n${" ".repeat(short.length)} = `,
      element("strong", {}, shortNumber(result)),
    ),
    held
      ? element("p", { class: "quiet" }, "This value is held by hand, whatever its formula gives.")
      : null,
    ...numbers.products.map((product) => contributions(session, product, which)),
    element("h3", {}, "All formulas of the cell"),
    element("div", { class: "equations" }, ...rows),
    element(
      "p",
      { class: "quiet" },
      `The numbers on the right are unit ${unit} at step ${time}. Click a formula to see it in numbers.`,
    ),
  ];
}

function contributions(session: Session, product: ProductPart, unit: number): HTMLElement {
  const parts = session.contributions(product.term, unit);
  const largest = [...parts].sort((a, b) => Math.abs(b.part) - Math.abs(a.part)).slice(0, LISTED);
  const rest = product.value - largest.reduce((sum, { part }) => sum + part, 0);
  const count = parts.length - largest.length;
  return numbersTable(
    `product ${product.term}`,
    `Where ${shortNumber(product.value)} comes from: ${parts.length} number${parts.length === 1 ? "" : "s"} of ${product.source}, each times a weight`,
    [product.source, "number", "weight", "share of the sum"],
    () => [
      ...largest.map(({ name, value, weight, part }) => [name, value, weight, part]),
      ...(count > 0 ? [[`${count} more`, "", "", rest]] : []),
    ],
  );
}
