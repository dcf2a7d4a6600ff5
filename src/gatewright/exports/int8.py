"""Products in int8 as C, JavaScript and NumPy write them: their functions, calls and constants.

Each rounds the source of a product to codes and multiplies integers; `backends/int8.py` has the
arithmetic. A source is rounded in float32 in every language, so that all get the same integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatewright.backends.int8 import Int8Matrix
from gatewright.exports.network import in_base64

#: The functions of C that a product calls, each with those that it calls itself.
C_FUNCTIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "gw_codes": (
        (),
        """\
/* Round x to n codes from -127 to 127, and return the step between them. A bounded x lies within
   -1 and 1; the codes of any other x reach its largest absolute value. If x has a NaN or an
   infinity, the step is NaN. */
static float gw_codes(int16_t *restrict codes, const float *restrict x, int n, int bounded)
{
    union { int32_t bits; float value; } largest, number;
    largest.bits = 0;
    for (int k = 0; k < n; k++) { /* without their sign, floats are in the order of their bits */
        number.value = x[k];
        number.bits &= 0x7FFFFFFF;
        largest.bits = number.bits > largest.bits ? number.bits : largest.bits;
    }
    if (largest.bits >= 0x7F800000) {
        for (int k = 0; k < n; k++) {
            codes[k] = 0;
        }
        return NAN;
    }
    const float peak = bounded ? 1.0f : (largest.value > 1e-30f ? largest.value : 1e-30f);
    const float factor = 127.0f / peak;
    for (int k = 0; k < n; k++) {
        float value = x[k] > peak ? peak : x[k];
        value = value < -peak ? -peak : value;
        codes[k] = (int16_t)rintf(value * factor);
    }
    return peak * 0.00787401571f;
}
""",
    ),
    "gw_int8_product": (
        (),
        """\
/* y = W x, both as codes, with the rows of W one after another: exact sums of integers. x has 16
   bits, as have the products that processors add up in pairs; compilers find these instructions. */
static void gw_int8_product(float *restrict y, const int8_t *restrict w,
                            const float *restrict scales, const int16_t *restrict x, float step,
                            int rows, int columns)
{
    for (int k = 0; k < rows; k++) {
        const int8_t *restrict row = w + (size_t)k * (size_t)columns;
        int32_t total = 0;
        for (int j = 0; j < columns; j++) {
            total += (int16_t)row[j] * x[j];
        }
        y[k] = (float)total * (scales[k] * step);
    }
}
""",
    ),
}

JAVASCRIPT_FUNCTIONS: Mapping[str, str] = {
    "int8Product": """\
// y = W x in integers: x is rounded to codes from -127 to 127, W are codes with a scale for each
// row. A bounded x lies within -1 and 1; the codes of any other x reach its largest absolute value.
// If x has a NaN or an infinity, y is NaN.
function int8Product(y, yStart, w, scales, x, xStart, heads, rows, columns, bounded) {
  const round = Math.fround, size = heads * columns, codes = new Int8Array(size);
  let peak = bounded ? 1 : round(1e-30), finite = true;
  for (let j = 0; j < size; j++) {
    const value = Math.abs(round(x[xStart + j]));
    if (!Number.isFinite(value)) finite = false;
    else if (!bounded && value > peak) peak = value;
  }
  const factor = round(127 / peak), step = finite ? round(peak * round(1 / 127)) : NaN;
  for (let j = 0; j < size && finite; j++) {
    const value = round(Math.max(-peak, Math.min(peak, round(x[xStart + j]))) * factor);
    codes[j] = round(value + 12582912) - 12582912; // the nearest whole number, ties to even
  }
  for (let head = 0, k = 0; head < heads; head++) {
    for (let row = 0; row < rows; row++, k++) {
      let total = 0;
      for (let j = 0; j < columns; j++) total += w[k * columns + j] * codes[head * columns + j];
      y[yStart + k] = total * scales[k] * step;
    }
  }
}
""",
    "codesOf": """\
function codesOf(text) {
  return Int8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}
""",
}

PYTHON_FUNCTIONS = '''\
def _int8_codes(text, *shape):
    # In float64 the products of codes are exact, and fast.
    return np.frombuffer(base64.b64decode(text), "i1").reshape(shape).astype(np.float64)


def _int8_product(x, codes, scales, bounded):
    """y = W x in integers; x is rounded to codes, W has codes and a scale for each row.

    A bounded x lies within -1 and 1; the codes of any other x reach its largest absolute value. If
    x has a NaN or an infinity, y is NaN.
    """
    x = np.asarray(x, np.float32)
    peak = np.abs(x).max(-1, keepdims=True)
    finite = np.isfinite(peak)
    peak = np.where(finite, np.float32(1) if bounded else np.maximum(peak, np.float32(1e-30)), 1)
    peak = peak.astype(np.float32)
    step = np.where(finite, peak * np.float32(1 / 127), np.float32(np.nan))
    rounded = np.rint(np.clip(np.where(finite, x, 0), -peak, peak) * (np.float32(127) / peak))
    heads = codes.shape[0] if codes.ndim == 3 else 1
    parts = rounded.astype(np.float64).reshape(*x.shape[:-1], heads, 1, -1)
    blocks = codes.reshape(heads, -1, codes.shape[-1])
    sums = (parts @ blocks.transpose(0, 2, 1)).reshape(*x.shape[:-1], -1)
    return sums.astype(np.float32) * (scales * step)
'''


def c_product(
    target: str, source: str, matrix: str, shape: tuple[int, int, int], *, bounded: bool
) -> list[str]:
    """The lines of a product, from the address of a source to that of a target."""
    heads, rows, columns = shape
    size = heads * columns
    lines = [
        f"int16_t codes[{size}];",
        f"const float step = gw_codes(codes, {source}, {size}, {int(bounded)});",
    ]
    if heads == 1:
        sizes = f"{rows}, {columns}"
        lines.append(f"gw_int8_product({target}, {matrix}, {matrix}_scales, codes, step, {sizes});")
    else:
        lines += [
            f"for (int head = 0; head < {heads}; head++) {{",
            f"    gw_int8_product({target} + head * {rows}, {matrix} + head * {rows * columns},",
            f"        {matrix}_scales + head * {rows}, codes + head * {columns}, step, {rows},",
            f"        {columns});",
            "}",
        ]
    return ["{", *(f"    {line}" for line in lines), "}"]


def c_codes(name: str, matrix: Int8Matrix) -> Iterator[str]:
    """The array of a matrix's codes."""
    codes = [str(code) for code in matrix.codes.flatten().tolist()]
    yield f"static const int8_t {name}[{len(codes)}] = {{"
    for start in range(0, len(codes), 20):
        yield f"    {', '.join(codes[start : start + 20])},"
    yield "};"


def python_constants(name: str, matrix: Int8Matrix) -> Iterator[str]:
    """The codes and the scales of a matrix as Python."""
    shape = ", ".join(map(str, matrix.codes.shape))
    yield f'{name} = _int8_codes("{in_base64(matrix.codes.numpy())}", {shape})'
    yield f'{name}_scales = _numbers("{in_base64(matrix.scales.numpy())}", {len(matrix.scales)})'


def javascript_constants(name: str, matrix: Int8Matrix) -> Iterator[str]:
    """The codes and the scales of a matrix as JavaScript."""
    yield f'const {name} = codesOf("{in_base64(matrix.codes.numpy())}");'
    yield f'const {name}_scales = numbers("{in_base64(matrix.scales.numpy())}");'
