"""Read a cell: run its `step` once on symbolic values and keep the recorded equations.

Local names are taken from the step's own frame at the moment when it calls `state(...)`,
and the key of a product's source at the moment when it calls `linear(...)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from gatewright.errors import GatewrightError
from gatewright.language.argument_checks import check_size
from gatewright.language.equations import Equations
from gatewright.language.frames import line_of
from gatewright.language.functions import Update
from gatewright.language.node import closure
from gatewright.language.recorder import RECORDER, AnyCell, Recorder, Scope, step_function
from gatewright.language.signature import read_arguments, read_initial, read_sizes
from gatewright.language.storing import MAX_NAME_LETTERS, for_people
from gatewright.language.values import Value, describe, lift, record
from gatewright.language.weight_names import check_weights, name_values

#: Cells within cells. A cell that contains itself through its fields stops here.
MAX_DEPTH = 20


def read(cell: AnyCell) -> Equations:
    """The equations of a cell's step.

    Raises:
        CellError: naming the cell, the line and a hint, if the step cannot be read.
    """
    recorder = Recorder(cell)
    arguments = read_arguments(cell, recorder.error)
    initial = read_initial(cell, arguments, recorder.error)
    sizes = read_sizes(cell, arguments, recorder.error, partial(check_size, recorder))
    positional = [record(recorder, "event", name=arguments.event)]
    positional += [record(recorder, "state", name=name) for name in arguments.states]
    inputs = {name: record(recorder, "input", name=name) for name in arguments.inputs}
    update, scope = run_step(recorder, cell, "", positional, inputs)
    if recorder.first_error is not None:
        raise recorder.first_error
    output = update.output.node
    updates = {name: value.node for name, value in update.states.items()}
    names = {arguments.event: positional[0].node}
    names |= {name: value.node for name, value in inputs.items()}
    names |= scope.names
    if names.get("output", output) is not output:
        raise recorder.error(
            "the local name `output` is not the output of the layer",
            "return state(..., output=output), or rename it",
            names["output"].line,
        )
    if output not in updates.values():
        names["output"] = output
    check_name_lengths(recorder, names)
    learned = [name for name, start in initial.items() if isinstance(start, dict)]
    check_weights(recorder, learned)
    # Operations that neither a state, the output nor a name depends on are dropped.
    needed = closure([*updates.values(), output, *names.values()])
    needed |= {value.node for value in (*positional, *inputs.values())}
    return Equations(
        name=for_people(recorder.cell_name),
        about=for_people(inspect.cleandoc(type(cell).__doc__ or "").partition("\n")[0]),
        origin=for_people(f"{type(cell).__module__}.{type(cell).__qualname__}"),
        nodes=tuple(node for node in recorder.nodes if node in needed),
        event=arguments.event,
        states=arguments.states,
        inputs=arguments.inputs,
        updates=updates,
        output=output,
        names={name: node for name, node in names.items() if node in needed},
        initial=initial,
        sizes=sizes,
    )


def check_name_lengths(recorder: Recorder, names: Iterable[str]) -> None:
    """Refuse names that are too long for a diagram and for the stored equations."""
    weights = [node.attributes["name"] for node in recorder.nodes if "name" in node.attributes]
    longest = max((*names, *map(str, weights)), key=len)
    if len(longest) > MAX_NAME_LETTERS:
        raise recorder.error(
            f"the name {longest[:40]}… has {len(longest)} letters",
            f"give it a name of at most {MAX_NAME_LETTERS}",
        )


def run_step(
    recorder: Recorder,
    cell: AnyCell,
    prefix: str,
    arguments: list[Value],
    inputs: Mapping[str, Value],
) -> tuple[Update, Scope]:
    """Run a step on symbolic values, and name the values and weights that it made."""
    step = step_function(cell)
    assert step is not None  # read_arguments has refused a cell without one
    code = step.__code__
    states = read_arguments(cell, recorder.error).states
    scope = Scope(cell, code, states, prefix, len(recorder.nodes))
    recorder.scopes.append(scope)
    token = RECORDER.set(recorder)
    try:
        update = cell.step(*arguments, **inputs)
    except GatewrightError:
        raise
    except RecursionError as error:
        raise recorder.error(
            "the step calls itself", "a cell may not contain itself", line_of(error, code)
        ) from None
    except Exception as error:
        raise recorder.error(
            f"running the step raised {type(error).__name__}: {error}",
            "correct that line; a step runs once on symbolic values, which only gatewright's "
            "functions and operators understand",
            line_of(error, code),
        ) from error
    finally:
        RECORDER.reset(token)
    if not isinstance(update, Update):
        raise recorder.error(
            f"step returned {describe(update)}",
            f"end it with `return gw.state({', '.join(f'{s}=...' for s in scope.states)})`",
        )
    name_values(recorder, scope, update)
    recorder.scopes.pop()
    return update, scope


def inline(
    recorder: Recorder, cell: AnyCell, arguments: tuple[Any, ...], inputs: Mapping[str, Any]
) -> Update:
    """Run the step of a cell that is a field of the cell being read."""
    outer = recorder.scopes[-1]
    field = field_name(outer.cell, cell)
    if field is None:
        raise recorder.error(
            f"{type(cell).__name__} was called in the step but is not a field of the cell",
            "make it a field: `inner: gw.Cell = LSTM()`, then `self.inner(x, h, c)`",
        )
    if len(recorder.scopes) > MAX_DEPTH:
        raise recorder.error(
            f"cells are nested more than {MAX_DEPTH} deep", "a cell may not contain itself"
        )
    expected = read_arguments(cell, recorder.error)
    if len(arguments) != 1 + len(expected.states) or set(inputs) != set(expected.inputs):
        keywords = [f"{name}=..." for name in expected.inputs]
        raise recorder.error(
            f"{field} was called with the wrong arguments",
            f"write {field}({', '.join(('x', *expected.states, *keywords))})",
        )
    values = [lift(recorder, argument, field) for argument in arguments]
    keyed = {name: lift(recorder, argument, field) for name, argument in inputs.items()}
    update, scope = run_step(recorder, cell, f"{outer.prefix}{field}.", values, keyed)
    outer.names |= scope.names
    return update


def field_name(outer: AnyCell, inner: AnyCell) -> str | None:
    """The field of the outer cell that holds the inner one: `field`, or `field.index`."""
    for name, value in outer.fields().items():
        if value is inner:
            return name
        if isinstance(value, tuple | list):
            for index, item in enumerate(value):
                if item is inner:
                    return f"{name}.{index}"
    return None
