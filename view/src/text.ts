/** A text as the symbols or pieces that a model reads. */

import type { Task } from "./document.ts";

/** Longest word in symbols, as in Python (tasks/text/pairs.py). */
const MAX_WORD = 24;

/** The codes of a text.
 *
 * @throws RangeError with the first symbol that the model has not learned.
 */
export function encodeText(task: Task, text: string): number[] {
  const codes = symbolCodes(task, text);
  const joined = task.joined ?? [];
  if (joined.length === 0) return codes;
  const white = new Set(task.white);
  return words(codes, white).flatMap((word) => pieces(word, joined, task.alphabet!.length));
}

/** The symbols of codes, spelled out; bytes that are no UTF-8 become replacement characters. */
export function decodeText(task: Task, codes: readonly number[]): string {
  const spelled = codes.map((code) => task.labels[code] ?? "").join("");
  if (task.unit !== "bytes") return spelled;
  const bytes = spelled.match(/../g) ?? [];
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => parseInt(byte, 16)));
}

function symbolCodes(task: Task, text: string): number[] {
  const alphabet = new Map(task.alphabet!.map((symbol, code) => [symbol, code]));
  const symbols =
    task.unit === "bytes"
      ? Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0"))
      : Array.from(text);
  return symbols.map((symbol, position) => {
    const code = alphabet.get(symbol);
    if (code === undefined) {
      throw new RangeError(
        `the model has not learned ${JSON.stringify(symbol)}, at position ${position}`,
      );
    }
    return code;
  });
}

/** The words of a text, each with the space before it; long ones are cut. */
function words(codes: readonly number[], white: ReadonlySet<number>): number[][] {
  const result: number[][] = [];
  codes.forEach((code, k) => {
    const isWhite = white.has(code);
    // White space begins a word if a word ended before it, or if the next one comes after it.
    const begins =
      k === 0 ||
      (isWhite && (!white.has(codes[k - 1]!) || !white.has(codes[(k + 1) % codes.length]!)));
    const last = result[result.length - 1];
    if (begins || last === undefined || last.length === MAX_WORD) result.push([code]);
    else last.push(code);
  });
  return result;
}

/** Join the pairs of a word, in the order in which the pieces were learned. */
function pieces(word: number[], joined: readonly [number, number][], size: number): number[] {
  let symbols = word;
  joined.forEach(([left, right], k) => {
    const next: number[] = [];
    for (let at = 0; at < symbols.length; at++) {
      if (symbols[at] === left && symbols[at + 1] === right) {
        next.push(size + k);
        at++;
      } else next.push(symbols[at]!);
    }
    symbols = next;
  });
  return symbols;
}
