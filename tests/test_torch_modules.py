"""The recurrent entries of torch's own database of modules, run on the drop-ins."""

from __future__ import annotations

import copy
import io
import pickle
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.utils.rnn import PackedSequence

import gatewright as gw
from tolerances import close, gradients, tensors

F64 = torch.float64
CLASSES = {
    nn.RNN: gw.RNN,
    nn.LSTM: gw.LSTM,
    nn.GRU: gw.GRU,
    nn.RNNCell: gw.RNNCell,
    nn.LSTMCell: gw.LSTMCell,
    nn.GRUCell: gw.GRUCell,
}
every_module = pytest.mark.parametrize(
    "module", CLASSES, ids=lambda cls: cls.__name__, indirect=True
)
every_mode = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


@cache
def database() -> Any:
    """torch's database, which takes a second to import: only where its tests run."""
    return pytest.importorskip(
        "torch.testing._internal.common_modules",
        reason="torch's database of modules needs the package expecttest (extra `test`)",
        exc_type=ImportError,
    )


def entries() -> dict[type[nn.Module], Any]:
    """The database's entries of the classes."""
    return {one.module_cls: one for one in database().module_db if one.module_cls in CLASSES}


@pytest.fixture
def module(request: pytest.FixtureRequest) -> Any:
    """The database's entry of a class."""
    return entries()[request.param]


def samples(module: Any, training: bool = False) -> list[Any]:
    """The database's samples of a module."""
    more = {"with_packed_sequence": True} if module.module_cls in (nn.RNN, nn.GRU) else {}
    torch.manual_seed(0)
    return list(
        module.module_inputs_func(
            module, device="cpu", dtype=F64, requires_grad=True, training=training, **more
        )
    )


def build(cls: type[nn.Module], sample: Any) -> nn.Module:
    arguments = sample.constructor_input
    return cls(*arguments.args, **arguments.kwargs, dtype=F64)


def pair(module: Any, sample: Any, training: bool = False) -> tuple[nn.Module, nn.Module]:
    """torch's module, and ours with its weights."""
    theirs, ours = (build(cls, sample) for cls in (module.module_cls, CLASSES[module.module_cls]))
    ours.load_state_dict(theirs.state_dict())
    return theirs.train(training), ours.train(training)


def run(layer: nn.Module, sample: Any) -> Any:
    arguments = sample.forward_input
    return layer(*arguments.args, **arguments.kwargs)


def leaves(sample: Any) -> list[Tensor]:
    """The leaves that require gradients, in the arguments of a sample."""
    arguments = tensors([one for one in sample.forward_input.args if one is not None])
    return [one for one in arguments if one.requires_grad]


def strided(value: Any) -> Any:
    """The same numbers, with other numbers between them in memory."""
    if isinstance(value, Tensor):
        wide = torch.stack([value.detach(), torch.full_like(value, 7.0)], -1)
        return wide[..., 0].requires_grad_(value.requires_grad)
    if isinstance(value, PackedSequence):
        return value
    return tuple(strided(one) for one in value)


def test_all_six_are_there():
    classes = [one.module_cls for one in database().module_db if one.module_cls in CLASSES]
    assert sorted(classes, key=str) == sorted(CLASSES, key=str)
    assert all(samples(one) and errors(one) for one in entries().values())


@every_mode
@every_module
def test_values_and_gradients(module: Any, training: bool):
    for sample in samples(module, training):
        results = []
        for layer in pair(module, sample, training):
            for _ in range(2):  # a second call may use another path
                result = run(layer, sample)
            inputs = [*leaves(sample), *layer.parameters()]
            results.append((result, gradients(result, inputs)))
        (expected, expected_gradients), (actual, actual_gradients) = results
        close(actual, expected, f"{sample.constructor_input.kwargs}")
        close(actual_gradients, expected_gradients, f"{sample.constructor_input.kwargs}")


@every_module
def test_derivatives_of_first_and_second_order(module: Any):
    for sample in samples(module)[::6]:
        _, ours = pair(module, sample)
        arguments = sample.forward_input.args
        if isinstance(arguments[0], PackedSequence):
            continue
        flat = [one.detach().clone().requires_grad_() for one in tensors(arguments)]

        def function(event: Tensor, *states: Tensor, layer: nn.Module = ours) -> tuple[Tensor, ...]:
            hx = states if len(states) > 1 else states[0] if states else None
            return tuple(tensors(layer(event, hx)))

        assert gradcheck(function, flat, fast_mode=True)
        assert gradgradcheck(function, flat, fast_mode=True)


@every_module
def test_inputs_that_do_not_lie_in_a_row(module: Any):
    for sample in samples(module)[::3]:
        _, ours = pair(module, sample)
        expected = run(ours, sample)
        arguments = [strided(one) for one in sample.forward_input.args]
        assert not all(one.is_contiguous() for one in tensors(arguments)) or isinstance(
            arguments[0], PackedSequence
        )
        for _ in range(2):
            close(ours(*arguments), expected)


@every_module
def test_copies_and_pickles(module: Any):
    for sample in samples(module)[:4]:
        _, ours = pair(module, sample)
        expected = run(ours, sample)
        saved = io.BytesIO()
        torch.save(ours, saved)
        saved.seek(0)
        copies = [
            copy.deepcopy(ours),
            pickle.loads(pickle.dumps(ours)),
            torch.load(saved, weights_only=False),
        ]
        for twin in copies:
            close(run(twin, sample), expected)
            close(list(twin.parameters()), list(ours.parameters()))
            assert repr(twin) == repr(ours)


@every_module
def test_reprs_have_what_torchs_have(module: Any):
    """Except for the nonlinearity: torch's layer leaves it out, and its cell prints it bare."""
    for sample in samples(module):
        theirs, ours = (
            {one for one in layer.extra_repr().split(", ") if not one.startswith("nonlinearity")}
            for layer in pair(module, sample)
        )
        assert ours == theirs


@every_module
def test_moves(module: Any):
    """Devices, dtypes, memory formats, and a module that is built without memory."""
    for sample in samples(module)[:4]:
        _, ours = pair(module, sample)
        expected = run(ours, sample)
        ours.to("cpu", memory_format=torch.contiguous_format)
        close(run(ours, sample), expected)
        ours.float().double().to(device="cpu")
        close(run(ours, sample), expected, table={F64: 1e-4})
        arguments = sample.constructor_input
        empty = CLASSES[module.module_cls](
            *arguments.args, **arguments.kwargs, dtype=F64, device="meta"
        )
        assert all(one.is_meta for one in empty.parameters())
        filled = empty.to_empty(device="cpu")
        filled.load_state_dict(ours.state_dict())
        close(run(filled, sample), run(ours, sample))


def errors(module: Any) -> list[Any]:
    """The database's bad arguments."""
    return list(
        module.module_error_inputs_func(
            module, device="cpu", dtype=F64, requires_grad=False, training=False
        )
    )


@every_module
def test_what_torch_refuses_is_refused(module: Any):
    for error in errors(module):
        sample, kind = error.module_error_input, error.error_type
        for cls in (module.module_cls, CLASSES[module.module_cls]):
            arguments = sample.constructor_input
            expected = kind if cls is module.module_cls else gw.GatewrightError
            what = f"{arguments.args} {arguments.kwargs}: {error.error_regex}"
            if error.error_on is database().ModuleErrorEnum.CONSTRUCTION_ERROR:
                with pytest.raises(expected):
                    cls(*arguments.args, **arguments.kwargs)
                    pytest.fail(f"{cls} takes {what}")
                continue
            layer = cls(*arguments.args, **arguments.kwargs).to(F64)
            with pytest.raises(expected) as refusal:
                run(layer, sample)
                pytest.fail(f"{cls} takes {what}")
            assert isinstance(refusal.value, kind), what


#: Calls that torch refuses with a TypeError, a ValueError or a RuntimeError.
REFUSED = {
    "a size that is no integer": lambda module: module.LSTM(3, 4.0),
    "a size that is a text": lambda module: module.GRU("3", 4),
    "layers that are no integer": lambda module: module.RNN(3, 4, 1.5),
    "no units": lambda module: module.RNN(3, 0),
    "a flag that is a number": lambda module: module.LSTM(3, 4, 1, 1),
    "another dtype": lambda module: module.GRU(3, 4)(torch.zeros(2, 2, 3).double()),
    "a state of another dtype": lambda module: module.GRU(3, 4)(
        torch.zeros(2, 2, 3), torch.zeros(1, 2, 4).double()
    ),
    "a device": lambda module: module.RNN(3, 4)(torch.zeros(2, 2, 3, device="meta")),
    "three states": lambda module: module.LSTM(3, 4)(
        torch.zeros(2, 2, 3), (torch.zeros(1, 2, 4),) * 3
    ),
    "another size": lambda module: module.LSTM(3, 4)(torch.zeros(2, 2, 5)),
    "a step of another dtype": lambda module: module.GRUCell(3, 4)(torch.zeros(2, 3).double()),
    "a step of integers": lambda module: module.RNNCell(3, 4)(torch.zeros(2, 3).long()),
    "a state for a tuple": lambda module: module.LSTMCell(3, 4)(
        torch.zeros(2, 3), torch.zeros(2, 4)
    ),
    "a tuple of one state": lambda module: module.LSTMCell(3, 4)(
        torch.zeros(2, 3), (torch.zeros(2, 4),)
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_are_caught_by_the_types_of_torchs(case: str):
    """Code that catches torch's error catches ours."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as torchs:
        REFUSED[case](nn)
    with pytest.raises(gw.GatewrightError) as ours:
        REFUSED[case](gw)
    assert isinstance(ours.value, torchs.type)
