/** The parts that values play in a cell, recognised by its terms and not by its names. */

import type { LayerDocument } from "../document.ts";

export interface Roles {
  /** The gate that multiplies the long memory at each step, and whether 1 minus it does. */
  keep: string | null;
  keepIsShut: boolean;
  /** The gate that the output is multiplied by. */
  show: string | null;
  /** The state that a gate keeps. */
  memory: string | null;
  /** The state that is the answer of a step, or the answer's name. */
  output: string;
}

/** The name of a layer without the network of a mean that it belongs to: `l0` of `m2.l0`. */
export function plainLayer(name: string): string {
  return name.replace(/^m\d+\./, "");
}

/** Recognise the roles in a layer. */
export function rolesOf(layer: LayerDocument, gates: readonly string[]): Roles {
  const nameOf = (term: number): string | null =>
    Object.entries(layer.named).find(
      ([name, index]) => index === term && gates.includes(name),
    )?.[0] ?? null;
  const states = Object.entries(layer.states);
  const output =
    states.find(([, state]) => state.update === layer.output)?.[0] ??
    Object.entries(layer.named).find(([, term]) => term === layer.output)?.[0] ??
    "";
  const memory = layer.memory_gates[0]?.state ?? null;
  let keep: string | null = null;
  let keepIsShut = false;
  for (const gate of layer.memory_gates) {
    if (gate.state !== memory) continue;
    keep = nameOf(gate.term);
    if (keep !== null) break;
    const term = layer.terms[gate.term]!;
    if (term.op === "subtract") {
      keep = nameOf(term.operands[1]!);
      keepIsShut = keep !== null;
      if (keep !== null) break;
    }
  }
  const end = layer.terms[layer.output]!;
  const factors =
    end.op === "multiply"
      ? end.operands.map(nameOf).filter((name) => name !== null && name !== keep)
      : [];
  return {
    keep,
    keepIsShut: keep !== null && keepIsShut,
    show: factors[0] ?? null,
    memory,
    output,
  };
}
