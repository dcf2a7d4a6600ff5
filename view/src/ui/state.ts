/** The state of the page, and its form as the part of the address after `#`. */

/** A named value that is fixed by hand during some steps. */
export interface Held {
  name: string;
  unit: number | null;
  value: number;
  from: number;
  to: number;
}

/** One number of the input that was changed by hand. */
export interface Edit {
  channel: number;
  step: number;
  value: number;
}

export type Zoom = "model" | "layer" | "cell" | "formula";
export type Order = "number" | "memory" | "saturation" | "similarity";

export interface State {
  /** The example that is read. */
  example: number;
  /** A text typed by hand, which replaces the example. */
  text: string | null;
  edits: Edit[];
  /** The step under the cursor; −1 for one that shows something. */
  time: number;
  /** The named value that is looked at, such as `l0.forget`. */
  name: string;
  unit: number;
  zoom: Zoom;
  order: Order;
  /** Tracks as lines instead of heat maps. */
  lines: boolean;
  /** The first and the last step that are selected. */
  span: [number, number] | null;
  /** A unit is on where its value is larger, in the search. */
  threshold: number;
  holds: Held[];
  /** Steps whose input is cut out. */
  cuts: number[];
  channel: number;
  /** The output whose influences are shown; −1 for the likeliest. */
  output: number;
  /** Gates and memories under the names of the lesson. */
  lesson: boolean;
  /** The model that is looked into, and whether the other one is shown next to it. */
  model: number;
  pair: boolean;
  /** The step of the tour, from 1, or 0. */
  tour: number;
}

export const START: State = {
  example: 0,
  text: null,
  edits: [],
  time: -1,
  name: "",
  unit: 0,
  zoom: "cell",
  order: "memory",
  lines: false,
  span: null,
  threshold: 0.5,
  holds: [],
  cuts: [],
  channel: 0,
  output: -1,
  lesson: false,
  model: 0,
  pair: false,
  tour: 0,
};

const ZOOMS: readonly Zoom[] = ["model", "layer", "cell", "formula"];
const ORDERS: readonly Order[] = ["number", "memory", "saturation", "similarity"];

/** The address of a state: only what differs from the start. */
export function toAddress(state: State): string {
  const parts: [string, string][] = [];
  const put = (key: string, value: string | number, start: string | number): void => {
    if (value !== start) parts.push([key, String(value)]);
  };
  put("tour", state.tour, 0);
  put("example", state.example, 0);
  if (state.text !== null) parts.push(["text", state.text]);
  put("edits", state.edits.map((e) => `${e.channel}:${e.step}:${e.value}`).join(","), "");
  put("time", state.time, -1);
  put("name", state.name, "");
  put("unit", state.unit, 0);
  put("zoom", state.zoom, START.zoom);
  put("order", state.order, START.order);
  put("lines", state.lines ? 1 : 0, 0);
  put("span", state.span === null ? "" : state.span.join("-"), "");
  put("threshold", state.threshold, START.threshold);
  put(
    "hold",
    state.holds.map((h) => `${h.name}:${h.unit ?? "all"}:${h.value}:${h.from}-${h.to}`).join(","),
    "",
  );
  put("cut", state.cuts.join(","), "");
  put("channel", state.channel, 0);
  put("output", state.output, -1);
  put("lesson", state.lesson ? 1 : 0, 0);
  put("model", state.model, 0);
  put("pair", state.pair ? 1 : 0, 0);
  return parts.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
}

/** The state of an address; what it cannot be read as is left at its start. */
export function fromAddress(address: string): State {
  const state: State = { ...START, edits: [], holds: [], cuts: [] };
  const fields = new Map<string, string>();
  for (const part of address.replace(/^#/, "").split("&")) {
    const equals = part.indexOf("=");
    if (equals < 1) continue;
    try {
      fields.set(part.slice(0, equals), decodeURIComponent(part.slice(equals + 1)));
    } catch {
      // A damaged escape: this field keeps its start.
    }
  }
  const whole = (key: string, start: number, least = 0): number => {
    const text = fields.get(key);
    const value = Number(text);
    return text !== undefined && Number.isInteger(value) && value >= least ? value : start;
  };
  state.tour = whole("tour", 0);
  state.example = whole("example", 0);
  state.text = fields.get("text") ?? null;
  state.time = whole("time", -1, -1);
  state.name = fields.get("name") ?? "";
  state.unit = whole("unit", 0);
  state.channel = whole("channel", 0);
  state.output = whole("output", -1, -1);
  state.model = whole("model", 0);
  state.lines = whole("lines", 0) === 1;
  state.lesson = whole("lesson", 0) === 1;
  state.pair = whole("pair", 0) === 1;
  const zoom = fields.get("zoom") as Zoom;
  if (ZOOMS.includes(zoom)) state.zoom = zoom;
  const order = fields.get("order") as Order;
  if (ORDERS.includes(order)) state.order = order;
  const threshold = Number(fields.get("threshold") ?? "none");
  if (Number.isFinite(threshold)) state.threshold = threshold;
  const span = /^(\d+)-(\d+)$/.exec(fields.get("span") ?? "");
  if (span !== null) state.span = [Number(span[1]), Number(span[2])];
  for (const text of (fields.get("edits") ?? "").split(",")) {
    const edit = /^(\d+):(\d+):(-?[\d.]+(?:e[-+]?\d+)?)$/.exec(text);
    if (edit !== null && Number.isFinite(Number(edit[3]))) {
      state.edits.push({ channel: Number(edit[1]), step: Number(edit[2]), value: Number(edit[3]) });
    }
  }
  for (const text of (fields.get("hold") ?? "").split(",")) {
    const hold = /^([\w.]+):(all|\d+):(-?[\d.]+(?:e[-+]?\d+)?):(\d+)-(\d+)$/.exec(text);
    if (hold !== null && Number.isFinite(Number(hold[3]))) {
      state.holds.push({
        name: hold[1]!,
        unit: hold[2] === "all" ? null : Number(hold[2]),
        value: Number(hold[3]),
        from: Number(hold[4]),
        to: Number(hold[5]),
      });
    }
  }
  for (const text of (fields.get("cut") ?? "").split(",")) {
    if (/^\d+$/.test(text)) state.cuts.push(Number(text));
  }
  return state;
}
