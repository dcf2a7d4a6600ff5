"""The replay test of exported C: recorded sequences, and the answers that they had."""

from __future__ import annotations

import numpy as np

from gatewright.exports.c_text import constant, joined, number
from gatewright.exports.network import ExportedNetwork


def replay(network: ExportedNetwork) -> str:
    """The test as a part of the source that is compiled where NAME_TEST is defined."""
    upper = network.name.upper()
    records = network.records
    arrays = [("recorded_x", np.concatenate([record.events for record in records]))]
    arrays += [
        (f"recorded_{key}", np.concatenate([record.further[key] for record in records]))
        for key in records[0].further
    ]
    arrays.append(("recorded_y", np.concatenate([record.outputs for record in records])))
    counts = ", ".join(str(len(record.events)) for record in records)
    body = _sequences(network) + ("\n" + _stream(network) if network.streams else "")
    texts = [line for key, values in arrays for line in constant(key, values)]
    total = sum(len(record.events) for record in records)
    return f"""#ifdef {upper}_TEST
/* {total} recorded steps in {len(records)} sequences, and the answers that they had. */
#include <stdio.h>

static const int recorded_steps[{len(records)}] = {{{counts}}};
{joined(texts)}

/* The largest difference so far, as a share of 1 + the value; NAN where it is recorded. */
static float further_off(float worst, const float *y, const float *expected, int count)
{{
    for (int k = 0; k < count; k++) {{
        float off = fabsf(y[k] - expected[k]) / (1.0f + fabsf(expected[k]));
        if (expected[k] != expected[k]) {{
            off = y[k] != y[k] ? 0.0f : INFINITY;
        }}
        worst = off > worst || off != off ? off : worst;
    }}
    return worst;
}}

int main(void)
{{
    float worst = 0.0f;
{body}
    printf("largest difference: %g\\n", (double)worst);
    return worst < {number(network.tolerance)} ? 0 : 1;
}}
#endif"""


def _stream(network: ExportedNetwork) -> str:
    """The sequences event by event, with a reset before each."""
    name, upper = network.name, network.name.upper()
    further = "".join(f", {array.name}" for array in network.further)
    moves = "".join(f"                {array.name} += {array.size};\n" for array in network.further)
    event = "x" if network.symbols is None else "(int)x[0]"
    return f"""    {{
        static {name}_state state;
        float y[{upper}_OUTPUT];
{_pointers(network)}        for (int n = 0; n < {len(network.records)}; n++) {{
            {name}_reset(&state);
            for (int t = 0; t < recorded_steps[n]; t++) {{
                {name}_step(&state, {event}{further}, y);
                worst = further_off(worst, y, expected, {upper}_OUTPUT);
                x += {upper}_INPUT;
                expected += {upper}_OUTPUT;
{moves}            }}
        }}
    }}"""


def _sequences(network: ExportedNetwork) -> str:
    """Each sequence at once."""
    name, upper = network.name, network.name.upper()
    longest = max(len(record.events) for record in network.records)
    once = network.chains.answers_once
    answers = f"{upper}_OUTPUT" if once else f"{longest} * {upper}_OUTPUT"
    count = f"{upper}_OUTPUT" if once else f"recorded_steps[n] * {upper}_OUTPUT"
    # Of a stream there is an answer after each event; the last one is that to the sequence.
    rows = "recorded_steps[n]" if not once or network.streams else "1"
    last = f" + ({rows} - 1) * {upper}_OUTPUT" if once else ""
    forecast = network.forecast is not None
    further = "".join(
        f", {array.name}" + (f" + (recorded_steps[n] - 1) * {array.size}" if forecast else "")
        for array in network.further
    )
    moves = "".join(
        f"            {array.name} += recorded_steps[n] * {array.size};\n"
        for array in network.further
    )
    symbols, event = "", "x"
    if network.symbols is not None:
        event = "symbols"
        symbols = f"""            static int symbols[{longest}];
            for (int t = 0; t < recorded_steps[n]; t++) {{
                symbols[t] = (int)x[t];
            }}
"""
    return f"""    {{
        static float workspace[{upper}_WORKSPACE({longest})], y[{answers}];
{_pointers(network)}        for (int n = 0; n < {len(network.records)}; n++) {{
{symbols}            {name}_run({event}{further}, recorded_steps[n], workspace, y);
            worst = further_off(worst, y, expected{last}, {count});
            x += recorded_steps[n] * {upper}_INPUT;
            expected += {rows} * {upper}_OUTPUT;
{moves}        }}
    }}"""


def _pointers(network: ExportedNetwork) -> str:
    """The declarations of the positions in the recorded arrays."""
    names = ["x", *(array.name for array in network.further)]
    lines = [f"        const float *{name} = recorded_{name};\n" for name in names]
    return "".join([*lines, "        const float *expected = recorded_y;\n"])
