"""`save` and `load`: a model as a directory, without pickle and without running its code.

`config.json` describes the model, with the cell's equations; `model.safetensors` has its
weights. The first contains a checksum of each of the two, so that a damaged or edited directory
is noticed. The path of a user's class is recorded for people, never imported.

A directory may come from a stranger. Only regular files are read, the configuration has to have
the types of the constructor's arguments, and its sizes have to agree with the header of the
weights before anything is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors.torch import save as write_tensors
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gatewright.devices import NAMES, find_device
from gatewright.errors import ArgumentError, GatewrightError, ModelError
from gatewright.files import regular_file, user_path, write_directory
from gatewright.language.cell import StoredCell, stored_form
from gatewright.language.equations import Equations
from gatewright.layers import torch_cells, torch_layers
from gatewright.layers.built_in import BUILT_IN
from gatewright.layers.plain_state import freeze_again, plain_state
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.file import (
    TensorShape,
    disagreement,
    parse_tensors,
    read_shapes,
    with_nan,
)
from gatewright.layers.weights.sharded import is_sharded
from gatewright.schema import typed_fields

FORMAT, VERSION = "gatewright", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
#: The folder of a training that is not finished, inside the directory of its model.
UNFINISHED = "unfinished"
#: The record of that training, without which it cannot be resumed.
RUN = "run.json"
SEAL = "config_sha256"  # the key of the checksum of all other keys
#: The largest configuration that is read, in bytes.
MAX_CONFIG_BYTES = 64 * 2**20
#: Most letters of the reason for which a directory is refused.
MAX_REASON = 1500
_EXPECTED = "give a directory that gatewright train or gw.save wrote"
#: The largest num_layers of a model whose cell has no weights: no tensor in the file confirms it.
MAX_EMPTY_LAYERS = 64
#: The fields of `config.json`; `frozen` names the tensors that are not trained.
FIELDS = {
    "format": str,
    "version": int,
    "weights_sha256": str,
    "model": dict[str, Any],
    "frozen": list[str],
    SEAL: str,
}

#: By class: its kind, and the function that describes a module. By kind: that which rebuilds it.
_DESCRIBE: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {}
_REBUILD: dict[str, Callable[[Mapping[str, Any], str], nn.Module]] = {}
#: Kinds whose class is in a higher package, which is imported when such a model is loaded.
_HIGHER = {
    "ensemble": "gatewright.training.ensemble",
    "model": "gatewright.training.model",
    "network": "gatewright.designs.network",
    "window": "gatewright.training.window",
}


def saveable(kind: str) -> Callable[[type], type]:
    """Decorate a class whose modules can be saved, under the name `kind`.

    Its `to_config()` returns the arguments of a module in JSON's types; its class method
    `from_config(config, path)` rebuilds the module, with weights of any value. It refuses a
    field of another type and names its place in the file, which begins with `path`.
    """

    def register(cls: Any) -> Any:
        _DESCRIBE[cls] = (kind, lambda module: module.to_config())
        _REBUILD[kind] = cls.from_config
        return cls

    return register


def leftover(directory: Path) -> str:
    """The message about the folder of an unfinished training that has no record."""
    return (
        f"{directory} holds no model, and what is left of a training: {directory / UNFINISHED} has "
        f"no {RUN}, the record of its data and settings, so that it cannot be resumed. Put {RUN} "
        f"back if you have it, or remove the folder {UNFINISHED} and train again"
    )


def describe(module: nn.Module) -> dict[str, Any]:
    """A module's configuration.

    Raises:
        ArgumentError: if its class cannot be saved.
    """
    if type(module) not in _DESCRIBE:
        _refuse_wrapped(module)
        raise ArgumentError(
            f"a {type(module).__name__} cannot be saved; save takes gatewright's layers and "
            "models: for a module of your own, save the layers in it one by one"
        )
    kind, config = _DESCRIBE[type(module)]
    return {"kind": kind, **config(module)}


def _refuse_wrapped(module: nn.Module) -> None:
    """Refuse a module that holds one that can be saved, naming that.

    Raises:
        ArgumentError: with the attribute of DistributedDataParallel, or of torch.compile.
    """
    for attribute in ("module", "_orig_mod"):
        if type(getattr(module, attribute, None)) in _DESCRIBE:
            kind = type(module).__name__
            raise ArgumentError(f"a {kind} cannot be saved, and what it wraps can: .{attribute}")


def _refuse_sharded(model: nn.Module) -> None:
    """Refuse a model that `fully_shard` was given, or weights of which this process has a part."""
    classes = [kind.__name__ for kind in type(model).__mro__]
    if "FSDPModule" in classes or any(is_sharded(weight) for weight in model.parameters()):
        raise ArgumentError(
            "the model is sharded, and each process holds a part of its weights. In all processes "
            "call torch.distributed.checkpoint.state_dict.get_model_state_dict(model, "
            "options=StateDictOptions(full_state_dict=True, cpu_offload=True)); in one load the "
            "result into a new model, and save that"
        )


def rebuild(config: Mapping[str, Any], path: str = "model") -> nn.Module:
    """The module that `describe` described.

    Raises:
        ModelError: if the configuration is damaged.
    """
    kind = config.get("kind")
    if isinstance(kind, str) and kind in _HIGHER:
        import_module(_HIGHER[kind])
    if not isinstance(kind, str) or kind not in _REBUILD:
        raise ModelError(f"{path}.kind is {kind!r}; this gatewright knows {sorted(_REBUILD)}")
    rest = {name: value for name, value in config.items() if name != "kind"}
    try:
        # The weights that are drawn here are replaced later; the user's generator is left as it
        # was. The constructor gave its warnings when the model was first made.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return _REBUILD[kind](rest, path)
    except ModelError:
        raise
    except (
        GatewrightError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RuntimeError,  # torch's, for sizes that no machine has
    ) as error:
        raise ModelError(
            f"the configuration of the model is damaged: {path}: {type(error).__name__}: {error}"
        ) from error


def save(
    model: nn.Module, directory: str | os.PathLike[str], *, files: Mapping[str, bytes] | None = None
) -> Path:
    """Write a layer or a model as a directory, completely or not at all.

    Weights that are frozen (`layer.freeze`, `requires_grad_(False)`) are still frozen after
    loading. Parametrized and pruned weights are saved with their present values.

    >>> import tempfile, gatewright as gw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gw.save(gw.GRU(3, 8), folder + "/model")
    ...     sorted(file.name for file in path.iterdir()), gw.load(path)
    (['config.json', 'model.safetensors'], GRU(3, 8))

    Args:
        directory: A new or empty directory.
        files: Further files of the directory, by name.

    Raises:
        ArgumentError: if the directory is not empty, or the model cannot be saved.
    """
    return write_directory(directory, {**model_files(model), **(files or {})})


def model_files(model: nn.Module) -> dict[str, bytes]:
    """The files of a saved model, by name; the last is the one that makes it a model.

    Raises:
        ArgumentError: if the model cannot be saved.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentError(
            f"an object of type {type(model).__name__} cannot be saved; give a layer or a model of "
            "gatewright"
        )
    _refuse_sharded(model)
    described = describe(model)
    state, frozen = plain_state(model)
    _check_saveable(model, described, state)
    # Clones, since safetensors refuses tensors that share memory, as tied weights do.
    weights = write_tensors(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    )
    config = {
        "format": FORMAT,
        "version": VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "model": described,
        **({"frozen": frozen} if frozen else {}),
    }
    text = json.dumps(sealed(config), indent=2, allow_nan=False) + "\n"
    return {WEIGHTS: weights, CONFIG: text.encode()}


def _check_saveable(
    model: nn.Module, described: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Refuse a model that could not be loaded again."""
    kind = type(model).__name__
    for name, tensor in state.items():
        if tensor.is_meta:
            raise ArgumentError(f"{name} is on the meta device and has no values to be saved")
    shapes = {name: TensorShape.of(tensor) for name, tensor in state.items()}
    difference = disagreement(shapes, _shapes_of(described))
    if difference is not None:
        raise ArgumentError(
            f"this {kind} cannot be saved: it was changed after it was made, and has "
            f"{difference}; undo the change, or save its state_dict with torch"
        )
    if (name_with_nan := with_nan(state)) is not None:
        raise ArgumentError(f"this {kind} cannot be saved: {name_with_nan} holds NaN; train again")


class _Undrawn(TorchFunctionMode):
    """Leaves new weights as they are: to draw normal ones on the meta device, torch would import
    its compiler, in 1.3 s."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is nn.init.normal_:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _shapes_of(described: Mapping[str, Any]) -> dict[str, TensorShape]:
    """The shapes of the tensors of a described model; nothing is allocated."""
    with torch.device("meta"), _Undrawn():
        state, _ = plain_state(rebuild(described))
    return {name: TensorShape.of(tensor) for name, tensor in state.items()}


def load(
    directory: str | os.PathLike[str], *, device: Any = None, dtype: torch.dtype | None = None
) -> Any:
    """Read the layer or model that `save` wrote, on any machine; nothing is unpickled.

    >>> import tempfile, torch, gatewright as gw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gw.load(gw.save(gw.LSTM(3, 8), folder), dtype=torch.float64).weights("f")["x"][0].dtype
    torch.float64

    Args:
        device: The device of the weights; without it, or with "auto", the CPU.

    Raises:
        ModelError: if a file is missing, damaged, or was not written by `save`.
        ArgumentError: if `directory` is no path, or this machine has no such device.
    """
    path = user_path(directory)
    # Others, such as meta, are torch's own business.
    target = find_device(device) if str(device).partition(":")[0] in NAMES else device
    config = read_config(path)
    try:
        tensors = _read_tensors(path / WEIGHTS, config)
        model = rebuild(config["model"])
    except ModelError as error:
        raise ModelError(f"{path} cannot be loaded: {_reason(error)}") from error
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model = model.to(dtypes.pop())
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path} cannot be loaded: {_reason(error)}") from error
    freeze_again(model, config["frozen"])
    return model.to(device=target, dtype=dtype)


def _reason(error: Exception) -> str:
    """The message of an error, cut where a damaged file has put a long value into it."""
    message = str(error)
    return message if len(message) <= MAX_REASON else f"{message[:MAX_REASON]}…"


def _read_tensors(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a model, whose shapes have to agree with its configuration."""
    try:
        with regular_file(path) as (file, size):
            shapes = read_shapes(file, size, path)
            _check_layers(config["model"], len(shapes))
            difference = disagreement(shapes, _shapes_of(config["model"]))
            if difference is not None:
                raise ModelError(
                    f"weights and configuration do not agree: {WEIGHTS} has {difference}"
                )
            file.seek(0)
            content = file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error
    if hashlib.sha256(content).hexdigest() != config["weights_sha256"]:
        raise ModelError(
            f"{path} is damaged: it is not the file that {CONFIG} was written with; "
            "copy the whole directory again"
        )
    return parse_tensors(content, path)


def _check_layers(described: Mapping[str, Any], tensors: int) -> None:
    """Refuse more layers than there are tensors, before they are built to be compared."""
    for place, part in (("model", described), ("model.body", described.get("body"))):
        arguments = part.get("arguments") if isinstance(part, dict) else None
        layers = arguments.get("num_layers") if isinstance(arguments, dict) else None
        if isinstance(layers, int) and layers > max(tensors, MAX_EMPTY_LAYERS):
            raise ModelError(
                f"weights and configuration do not agree: {place}.arguments.num_layers is "
                f"{layers}; {WEIGHTS} has {tensors} tensors"
            )


def read_config(path: Path) -> dict[str, Any]:
    """Read and check the configuration of a saved model."""
    try:
        if not path.is_dir():
            raise ModelError(f"{path} is no directory; {_EXPECTED}")
    except OSError as error:
        raise _unreadable(path, error) from error
    file = path / CONFIG
    if not os.path.lexists(file) and (path / UNFINISHED).is_dir():
        if not os.path.lexists(path / UNFINISHED / RUN):
            raise ModelError(leftover(path))
        raise ModelError(
            f"{path} holds an unfinished training, and no model yet: resume it with "
            f"gatewright train --resume {path}"
        )
    if not os.path.lexists(file):
        raise ModelError(f"{path} is no model: it has no {CONFIG}; {_EXPECTED}")
    try:
        config = json.loads(_read(file, MAX_CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{file} was not written by gatewright")
    if config.get("version") != VERSION:
        raise ModelError(
            f"{path} has version {config.get('version')!r}; this gatewright reads {VERSION}: "
            "update gatewright"
        )
    if config.get(SEAL) not in (sealed(config)[SEAL], _seal_of_text(config)):
        raise ModelError(
            f"{file} is damaged: it is not as it was written (its checksum "
            f"{'differs' if SEAL in config else 'is missing'}); copy the whole directory again, "
            "or train it again"
        )
    try:
        checked = typed_fields(_whole_numbers(config), FIELDS, CONFIG, optional=("frozen",))
    except ModelError as error:
        raise ModelError(f"{file} is damaged: {error}") from error
    return {"frozen": [], **checked}


def sealed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the checksum of all else in it.

    It is a checksum of the content: spaces, the order of the keys, and 1 or 1.0 make no
    difference, so that other tools may rewrite the file.
    """
    rest = {key: value for key, value in config.items() if key != SEAL}
    text = json.dumps(_whole_numbers(rest), separators=(",", ":"), sort_keys=True)
    return {**rest, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def _seal_of_text(config: Mapping[str, Any]) -> str:
    """The checksum of version 0.1, of the keys and numbers as they are in the file."""
    rest = {key: value for key, value in config.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, separators=(",", ":")).encode()).hexdigest()


def _whole_numbers(value: Any) -> Any:
    """A value of JSON in which 1.0 is written 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list | tuple):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return value


def _read(path: Path, limit: int) -> bytes:
    try:
        with regular_file(path) as (file, size):
            if size > limit:
                raise ModelError(
                    f"{path} is damaged: it has {size} bytes; at most {limit} are read"
                )
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"cannot read {path}: {error.strerror or error}; a model needs this file")


# The layers and step cells.
def _register(cls: type, names: tuple[str, ...]) -> None:
    def config(module: Any) -> dict[str, Any]:
        arguments = {name: getattr(module, name) for name in names}
        recurrent = isinstance(module, Recurrent)
        sizes = [module.sizes(layer) for layer in range(module.num_layers)] if recurrent else []
        return {
            "arguments": {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()},
            "cell": stored_form(module.cell, sizes),
        }

    def build(stored: Mapping[str, Any], path: str) -> nn.Module:
        parts = typed_fields(dict(stored), {"arguments": Any, "cell": Any}, path)
        arguments = typed_fields(parts["arguments"], _hints(cls, names), f"{path}.arguments")
        if cls is Recurrent:
            return Recurrent(StoredCell.from_json(parts["cell"], f"{path}.cell"), **arguments)
        equations = Equations.from_json(parts["cell"], f"{path}.cell")
        module: Any = cls(**arguments)
        if not module.cell.equations.same_as(equations):
            raise ModelError(
                f"the model was saved with other equations than this gatewright's {cls.__name__}"
            )
        return module  # type: ignore[no-any-return]

    _DESCRIBE[cls] = (cls.__name__, config)
    _REBUILD[cls.__name__] = build


def _hints(cls: Any, names: Iterable[str]) -> dict[str, Any]:
    """The types of some arguments of a constructor: the schema of a stored configuration."""
    hints = get_type_hints(cls.__init__)
    return {name: hints[name] for name in names}


_STEP = ("input_size", "hidden_size", "bias")
_LAYER = (*_STEP, "num_layers", "batch_first", "dropout", "bidirectional")

_register(Recurrent, _LAYER)
for _name in BUILT_IN:
    _layer, _step = getattr(torch_layers, _name), getattr(torch_cells, f"{_name}Cell")
    _register(_layer, (*_LAYER, *_layer.options))
    _register(_step, (*_STEP, *_step.options))
