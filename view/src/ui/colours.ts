/** The two colour scales: factors from closed to open, signed values around 0. */

type Colour = readonly [number, number, number];

interface Scales {
  closed: Colour;
  open: Colour;
  minus: Colour;
  zero: Colour;
  plus: Colour;
}

/** Tables of 256 colours as bytes for pictures, read from the style sheet, so that it decides. */
export interface Palette {
  factor: Uint8ClampedArray;
  signed: Uint8ClampedArray;
}

function parse(text: string): Colour {
  const digits = /^#([0-9a-f]{6})$/i.exec(text.trim());
  if (digits === null) throw new Error(`the colour ${text} is not of the form #rrggbb`);
  const value = parseInt(digits[1]!, 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mix(first: Colour, second: Colour, share: number): Colour {
  return [0, 1, 2].map((k) => first[k]! + (second[k]! - first[k]!) * share) as unknown as Colour;
}

/** The palette of the page's present theme. */
export function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const scales = {} as Record<keyof Scales, Colour>;
  for (const name of ["closed", "open", "minus", "zero", "plus"] as const) {
    scales[name] = parse(style.getPropertyValue(`--${name}`));
  }
  const factor = new Uint8ClampedArray(256 * 4);
  const signed = new Uint8ClampedArray(256 * 4);
  for (let k = 0; k < 256; k++) {
    const share = k / 255;
    const end = share < 0.5 ? scales.minus : scales.plus;
    factor.set([...mix(scales.closed, scales.open, share), 255], k * 4);
    signed.set([...mix(scales.zero, end, Math.abs(share - 0.5) * 2), 255], k * 4);
  }
  return { factor, signed };
}

/** The position in a table of colours: of a factor in 0..1, of a signed value in −limit..limit. */
export function shade(value: number, limit: number | null): number {
  const share = limit === null ? value : 0.5 + value / (2 * limit);
  return Math.max(0, Math.min(255, Math.round(share * 255)));
}

/** A colour of a table, for a style. */
export function colour(table: Uint8ClampedArray, position: number): string {
  const start = position * 4;
  return `rgb(${table[start]} ${table[start + 1]} ${table[start + 2]})`;
}

/** True where dark letters cannot be read on a colour of a table. */
export function isDeep(table: Uint8ClampedArray, position: number): boolean {
  const start = position * 4;
  return 0.3 * table[start]! + 0.59 * table[start + 1]! + 0.11 * table[start + 2]! < 128;
}
