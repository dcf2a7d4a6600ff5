/** Rows of numbers, one after the other: the steps of a sequence, or a single row. */

export interface Matrix {
  rows: number;
  size: number;
  data: Float64Array;
}

export function zeros(rows: number, size: number): Matrix {
  return { rows, size, data: new Float64Array(rows * size) };
}

/** y += W x from offsets on, with the rows of W one after another.
 *
 * Four rows at a time, so that x is loaded a quarter as often.
 */
export function addProduct(
  y: Float64Array,
  yStart: number,
  w: Float64Array,
  wStart: number,
  x: Float64Array,
  xStart: number,
  rows: number,
  columns: number,
): void {
  let k = 0;
  for (; k + 4 <= rows; k += 4) {
    const a = wStart + k * columns;
    const b = a + columns;
    const c = b + columns;
    const d = c + columns;
    let p = 0;
    let q = 0;
    let r = 0;
    let s = 0;
    for (let j = 0; j < columns; j++) {
      const value = x[xStart + j]!;
      p += w[a + j]! * value;
      q += w[b + j]! * value;
      r += w[c + j]! * value;
      s += w[d + j]! * value;
    }
    y[yStart + k]! += p;
    y[yStart + k + 1]! += q;
    y[yStart + k + 2]! += r;
    y[yStart + k + 3]! += s;
  }
  for (; k < rows; k++) {
    const row = wStart + k * columns;
    let total = 0;
    for (let j = 0; j < columns; j++) total += w[row + j]! * x[xStart + j]!;
    y[yStart + k]! += total;
  }
}

/** x += W' y from offsets on: the gradient of a product's source. */
export function addTransposed(
  x: Float64Array,
  xStart: number,
  w: Float64Array,
  wStart: number,
  y: Float64Array,
  yStart: number,
  rows: number,
  columns: number,
): void {
  let k = 0;
  for (; k + 4 <= rows; k += 4) {
    const a = wStart + k * columns;
    const b = a + columns;
    const c = b + columns;
    const d = c + columns;
    const p = y[yStart + k]!;
    const q = y[yStart + k + 1]!;
    const r = y[yStart + k + 2]!;
    const s = y[yStart + k + 3]!;
    if (p === 0 && q === 0 && r === 0 && s === 0) continue;
    for (let j = 0; j < columns; j++) {
      x[xStart + j]! += w[a + j]! * p + w[b + j]! * q + (w[c + j]! * r + w[d + j]! * s);
    }
  }
  for (; k < rows; k++) {
    const row = wStart + k * columns;
    const value = y[yStart + k]!;
    for (let j = 0; j < columns; j++) x[xStart + j]! += w[row + j]! * value;
  }
}
