"""The names of a cell's further inputs in a program, which has other names too.

The functions of a program take the further inputs by name, next to variables, functions, keywords
and macros; an input `steps` or `INPUT` would break them, or silently change them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Names that the printed functions use; a test exports a cell with all of their names as inputs.
_USED = """
    ahead answer answers atob back base64 below check create enumerate erf expected further
    further_off inputSize joined k labels len main math mean n np numbers order out outputShape
    outputSize outputs over product raw reset rows run runAll run_all self sequences sigmoid
    softplus start state stateNames states step steps stream sum symbol symbols t undefined
    valueNames values workspace worst x xs y zip Array ArrayLike Float32Array Float64Array
    INPUT_SIZE Infinity LABELS Math NaN OUTPUT_SIZE Object RangeError Record Stream Uint8Array
    ValueError
"""
#: Keywords of C and C++, which may include the header, and words that compilers define.
_C = """
    alignas alignof and_eq asm atomic_cancel auto bitand bitor bool case catch char char8_t char16_t
    char32_t compl concept const const_cast consteval constexpr constinit co_await co_return
    co_yield decltype default delete do double dynamic_cast enum explicit export extern false far
    float friend goto inline int interface linux long mutable namespace near new noexcept not_eq
    nullptr operator or_eq private protected public register reinterpret_cast requires restrict
    short signed size_t sizeof static static_assert static_cast struct switch template this
    thread_local throw true typedef typeid typename typeof union unix unsigned using virtual void
    volatile wchar_t xor xor_eq
"""
#: What the source uses of the standard headers, and macros of theirs.
_HEADERS = """
    EOF FILE HUGE_VAL HUGE_VALF HUGE_VALL I INFINITY NAN NULL errno exp fabsf printf stderr stdin
    stdout
"""
#: Keywords of JavaScript and TypeScript that C does not have.
_JAVASCRIPT = """
    abstract any arguments boolean debugger eval extends function implements instanceof let null
    number package string super transient var
"""
TAKEN = frozenset(f"{_USED} {_C} {_HEADERS} {_JAVASCRIPT}".split())
#: Names like those of the printed text or of the standard headers.
TAKEN_FORMS = re.compile(
    r"""_.* | gw_.* | l\d+_.* | buffer\d+ | recorded_.* | u?int\d*_t
    | U?INT(_LEAST|_FAST)?\d+_(MIN|MAX)
    | M_(1_PI|2_PI|2_SQRTPI|E|LN10|LN2|LOG10E|LOG2E|PI|PI_2|PI_4|SQRT1_2|SQRT2)""",
    re.VERBOSE,
)
#: Endings of the header's own macros, `NAME_INPUT` and so on, and of its functions.
MACROS = frozenset({"H", "INPUT", "OUTPUT", "TEST", "WORKSPACE"})
FUNCTIONS = frozenset({"labels", "reset", "run", "state", "step"})


def printed_names(inputs: Sequence[str], name: str) -> dict[str, str]:
    """The names of further inputs in a program: their own, or after `input_` where it is taken.

    A name is also taken by another input if both give the same macro, which has capitals only.

    >>> printed_names(["dt", "INPUT", "steps", "DT"], "model")
    {'dt': 'dt', 'INPUT': 'input_INPUT', 'steps': 'input_steps', 'DT': 'input_DT'}
    """
    printed: dict[str, str] = {}
    macros = set(MACROS)
    free = [own for own in inputs if not _is_taken(own, name)]
    for own in [*free, *(own for own in inputs if own not in free)]:
        text = own
        while _is_taken(text, name) or text.upper() in macros:
            text = f"input_{text}"
        printed[own] = text
        macros.add(text.upper())
    return {own: printed[own] for own in inputs}


def _is_taken(text: str, name: str) -> bool:
    """True if a program of this name uses the text for something else than an input."""
    macro = f"{name}_{text}".upper()
    return (
        text in TAKEN
        or text.startswith(f"{name.upper()}_")  # a macro, of this input or another one
        or text in {f"{name}_{ending}" for ending in FUNCTIONS}
        or TAKEN_FORMS.fullmatch(text) is not None
        or TAKEN_FORMS.fullmatch(macro) is not None
    )
