/**
 * Tracks over time, one below the other, under one cursor and one selection.
 *
 * A heat map is a picture of one dot a value, (units, steps), which the browser scales: moving the
 * cursor or scrolling draws nothing again, so 256 units and 2,000 steps stay smooth.
 */

import type { Palette } from "./colours.ts";
import { shade } from "./colours.ts";
import { drawn, element } from "./dom.ts";

/** Values of all units over time, and their scale. */
export interface Track {
  /** The full name of the value, such as `l0.forget`. */
  name: string;
  title: string;
  note: string;
  /** (steps, units), one step after the other. */
  values: ArrayLike<number>;
  steps: number;
  units: number;
  /** null for a factor in 0..1; else the value that the deepest colours stand for. */
  limit: number | null;
}

/** The width of a step in pixels: all steps fill the width, and none is narrower than 3. */
export function stepWidth(steps: number, width: number): number {
  return Math.max(3, width / Math.max(1, steps));
}

/** The largest magnitude of values, of which a signed scale takes its ends. */
export function magnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let k = 0; k < values.length; k++) {
    const size = Math.abs(values[k]!);
    if (size > largest && size < Infinity) largest = size;
  }
  return largest === 0 ? 1 : largest;
}

/** Draw a track as a heat map: the units in this order from top to bottom, time to the right. */
export function paintHeat(
  canvas: HTMLCanvasElement,
  track: Pick<Track, "values" | "steps" | "units" | "limit">,
  order: readonly number[],
  palette: Palette,
): void {
  const { steps, units, limit, values } = track;
  canvas.width = Math.max(1, steps);
  canvas.height = Math.max(1, order.length);
  const context = canvas.getContext("2d")!;
  const picture = context.createImageData(canvas.width, canvas.height);
  const table = new Uint32Array((limit === null ? palette.factor : palette.signed).buffer);
  const dots = new Uint32Array(picture.data.buffer);
  for (let row = 0; row < order.length; row++) {
    const unit = order[row]!;
    for (let step = 0; step < steps; step++) {
      dots[row * steps + step] = table[shade(values[step * units + unit]!, limit)]!;
    }
  }
  context.putImageData(picture, 0, 0);
}

/** Draw a track as lines: one for each unit, at most 40 of them faintly, the chosen one strongly. */
export function paintLines(
  canvas: HTMLCanvasElement,
  track: Track,
  unit: number,
  width: number,
  height: number,
): void {
  const density = Math.min(window.devicePixelRatio || 1, 8000 / Math.max(1, width));
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.round(height * density);
  const context = canvas.getContext("2d")!;
  const style = getComputedStyle(document.documentElement);
  const lowest = track.limit === null ? 0 : -track.limit;
  const highest = track.limit === null ? 1 : track.limit;
  const place = (value: number): number =>
    (1 - (value - lowest) / (highest - lowest)) * (canvas.height - 4) + 2;
  const line = (which: number): void => {
    context.beginPath();
    for (let step = 0; step < track.steps; step++) {
      const across = ((step + 0.5) / track.steps) * canvas.width;
      const up = place(track.values[step * track.units + which]!);
      if (step === 0) context.moveTo(across, up);
      else context.lineTo(across, up);
    }
    context.stroke();
  };
  context.strokeStyle = style.getPropertyValue("--rule");
  context.beginPath();
  context.moveTo(0, place(track.limit === null ? 0.5 : 0));
  context.lineTo(canvas.width, place(track.limit === null ? 0.5 : 0));
  context.stroke();
  context.lineWidth = density;
  context.strokeStyle = style.getPropertyValue("--soft");
  context.globalAlpha = 0.28;
  const stride = Math.ceil(track.units / 40);
  for (let which = 0; which < track.units; which += stride) line(which);
  context.globalAlpha = 1;
  context.lineWidth = 2 * density;
  context.strokeStyle = style.getPropertyValue("--n0");
  line(unit);
}

/** The pointer on a timeline: the step and the share of the height under it. */
export interface Place {
  step: number;
  share: number;
}

export interface Pointing {
  point(place: Place): void;
  drag(first: number, last: number, isEnd: boolean): void;
}

/** Have a picture of some steps answer to clicks and to dragging over a span. */
export function listen(node: HTMLElement, steps: () => number, pointing: Pointing): void {
  let from: number | null = null;
  let moved = false;
  const place = (event: PointerEvent): Place => {
    const box = node.getBoundingClientRect();
    const step = Math.floor(((event.clientX - box.left) / box.width) * steps());
    return {
      step: Math.max(0, Math.min(steps() - 1, step)),
      share: Math.max(0, Math.min(1, (event.clientY - box.top) / box.height)),
    };
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = place(event).step;
    moved = false;
    if (event.pointerType === "mouse") node.setPointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", (event) => {
    if (from === null || event.pointerType !== "mouse") return;
    const to = place(event).step;
    if (to !== from || moved) {
      moved = true;
      pointing.drag(Math.min(from, to), Math.max(from, to), false);
    }
  });
  node.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const target = place(event);
    if (moved) pointing.drag(Math.min(from, target.step), Math.max(from, target.step), true);
    else pointing.point(target);
    from = null;
  });
  node.addEventListener("pointercancel", () => {
    from = null;
  });
}

/** The labels of an axis of steps: each symbol of a text, or round numbers. */
export function axis(steps: number, width: number, tokens: readonly string[] | null): HTMLElement {
  const node = element("div", {
    class: tokens === null ? "axis" : "axis tokens",
    "aria-hidden": "true",
  });
  if (steps === 0) return node;
  const each = width / steps;
  const put = (step: number, text: string, kind = ""): void => {
    node.append(
      element("span", { class: kind, style: { left: `${((step + 0.5) / steps) * 100}%` } }, text),
    );
  };
  if (tokens !== null && each >= 9) {
    tokens.forEach((token, step) => put(step, visible(token)));
    return node;
  }
  const least = Math.max(1, Math.ceil(52 / each));
  const round = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000, 100000];
  const stride = round.find((size) => size >= least) ?? least;
  for (let step = 0; step < steps; step += stride)
    put(step, String(step), step === 0 ? "first" : "");
  return node;
}

/** A symbol as people can see it. */
export function visible(token: string): string {
  return token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "␣");
}

/** A curve of values over steps as the points of a line, in a box of width `steps`, height 100. */
export function curve(
  values: ArrayLike<number>,
  start: number,
  stride: number,
  steps: number,
  low: number,
  high: number,
): string {
  const parts: string[] = [];
  let open = false;
  for (let step = 0; step < steps; step++) {
    const value = values[start + step * stride]!;
    if (!Number.isFinite(value)) {
      open = false;
      continue;
    }
    const up = high === low ? 50 : (1 - (value - low) / (high - low)) * 100;
    parts.push(`${open ? "L" : "M"}${step + 0.5},${up.toFixed(2)}`);
    open = true;
  }
  return parts.join("");
}

/** A drawing over steps that stretches to the width of its box: x is the step, y is 0..100. */
export function overSteps(steps: number, height: number, ...parts: SVGElement[]): SVGElement {
  const svg = drawn(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${Math.max(1, steps)} 100`,
      preserveAspectRatio: "none",
      height,
      "aria-hidden": "true",
    },
    ...parts,
  );
  return svg;
}
