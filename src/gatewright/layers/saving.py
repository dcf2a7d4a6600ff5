"""`save` and `load`: a model as a directory, without pickle and without running its code.

`config.json` holds what the model is, with the cell's equations; `model.safetensors` its
weights. The first holds a checksum of either file, so that a damaged or edited directory is
noticed. The path of a user's class is recorded for people, never imported.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gatewright.errors import ArgumentError, GatewrightError, ModelError
from gatewright.files import write_directory
from gatewright.language.cell import StoredCell
from gatewright.language.equations import Equations
from gatewright.layers import drop_ins, step_cells
from gatewright.layers.naming import stored_prefixes
from gatewright.layers.recurrent import Recurrent

FORMAT, VERSION = "gatewright", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SEAL = "config_sha256"  # the key of the checksum of all other keys

#: Kind to the two functions that describe a module and build it again.
_DESCRIBE: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {}
_REBUILD: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {}
#: Kinds whose class stands above the layers: it is imported when such a model is loaded.
_ABOVE = {"model": "gatewright.training.model", "window": "gatewright.training.window"}


def saveable(kind: str) -> Callable[[type], type]:
    """Class decorator: modules of this class can be saved, under the name `kind`.

    `to_config()` gives what one was built with, in JSON's types; the class method
    `from_config(config)` is the module again, with weights of any value.
    """

    def register(cls: Any) -> Any:
        _DESCRIBE[cls] = (kind, lambda module: module.to_config())
        _REBUILD[kind] = cls.from_config
        return cls

    return register


def describe(module: nn.Module) -> dict[str, Any]:
    """A module's configuration.

    Raises:
        ArgumentError: if it is of no class that can be saved.
    """
    if type(module) not in _DESCRIBE:
        raise ArgumentError(
            f"a {type(module).__name__} cannot be saved; save takes gatewright's layers and "
            "models: for a module of your own, save the layers in it one by one"
        )
    kind, config = _DESCRIBE[type(module)]
    return {"kind": kind, **config(module)}


def rebuild(config: Mapping[str, Any]) -> nn.Module:
    """The module that `describe` described.

    Raises:
        ModelError: if the configuration is damaged.
    """
    kind = config.get("kind")
    if isinstance(kind, str) and kind in _ABOVE:
        import_module(_ABOVE[kind])
    if not isinstance(kind, str) or kind not in _REBUILD:
        raise ModelError(f"the model is of kind {kind!r}; this gatewright knows {sorted(_REBUILD)}")
    try:
        # Weights are drawn, to be replaced; the user's random numbers go on as they were.
        with torch.random.fork_rng(devices=[]):
            return _REBUILD[kind](config)
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
            f"the configuration of the model is damaged ({type(error).__name__}: {error})"
        ) from error


def save(
    model: nn.Module, directory: str | os.PathLike[str], *, files: Mapping[str, bytes] | None = None
) -> Path:
    """Write a layer or a model as a directory, whole or not at all.

    >>> import tempfile, gatewright as gw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = gw.save(gw.GRU(3, 8), folder + "/model")
    ...     sorted(one.name for one in path.iterdir()), gw.load(path)
    (['config.json', 'model.safetensors'], GRU(3, 8))

    Args:
        directory: A new or empty directory.
        files: Further files to be put beside, by name.

    Raises:
        ArgumentError: if the directory is not empty, or the model cannot be saved.
    """
    described = describe(model)
    tensors = {name: one.detach().cpu() for name, one in plain_state(model).items()}
    # Clones, since safetensors refuses tensors that share memory, as tied weights do.
    weights = write_tensors({name: one.clone().contiguous() for name, one in tensors.items()})
    config = {
        "format": FORMAT,
        "version": VERSION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "model": described,
    }
    text = json.dumps(sealed(config), indent=2, allow_nan=False) + "\n"
    return write_directory(directory, {CONFIG: text.encode(), WEIGHTS: weights, **(files or {})})


def load(
    directory: str | os.PathLike[str], *, device: Any = None, dtype: torch.dtype | None = None
) -> Any:
    """The layer or model that `save` wrote, on any machine; nothing is unpickled.

    >>> import tempfile, torch, gatewright as gw
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gw.load(gw.save(gw.LSTM(3, 8), folder), dtype=torch.float64).weights("f")["x"][0].dtype
    torch.float64

    Raises:
        ModelError: if a file is missing, damaged, or was not written by `save`.
    """
    path = Path(directory)
    config = read_config(path)
    weights = _read(path / WEIGHTS)
    if hashlib.sha256(weights).hexdigest() != config.get("weights_sha256"):
        raise ModelError(
            f"{path / WEIGHTS} is damaged: it is not the file that {CONFIG} was written with; "
            "copy the whole directory again"
        )
    try:
        tensors: dict[str, Tensor] = read_tensors(weights)
    except SafetensorError as error:
        raise ModelError(f"{path / WEIGHTS} is damaged: {error}") from error
    model = rebuild(config["model"])
    kinds = {one.dtype for one in tensors.values() if one.is_floating_point()}
    if len(kinds) == 1:
        model = model.to(kinds.pop())
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path}: weights and configuration do not agree: {error}") from error
    return model.to(device=device, dtype=dtype)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a saved model, checked to be one of ours."""
    if not path.is_dir():
        raise ModelError(f"{path} is no directory; give one that gatewright has saved")
    try:
        config = json.loads(_read(path / CONFIG))
        intact = isinstance(config, dict) and config.get(SEAL) == sealed(config)[SEAL]
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path / CONFIG} is damaged: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{path / CONFIG} was not written by gatewright")
    if config.get("version") != VERSION:
        raise ModelError(
            f"{path} has version {config.get('version')!r}; this gatewright reads {VERSION}: "
            "update gatewright"
        )
    if not intact:
        raise ModelError(
            f"{path / CONFIG} is damaged: it is not as it was written (its checksum "
            f"{'differs' if SEAL in config else 'is missing'}); copy the whole directory again, "
            "or train it again"
        )
    if not isinstance(config.get("model"), dict):
        raise ModelError(f"{path / CONFIG} is damaged: it has no model")
    return config


def sealed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the checksum of all else in it, whatever the spaces of its file."""
    rest = {key: value for key, value in config.items() if key != SEAL}
    text = json.dumps(rest, separators=(",", ":"))
    return {**rest, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror}; a model needs this file"
        ) from error


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """The state_dict as it were without parametrizations: the values that they give now."""
    state = dict(model.state_dict())
    for path, module in model.named_modules():
        if not parametrize.is_parametrized(module):
            continue
        prefix = stored_path(model, f"{path}." if path else "")
        for name, chain in module.parametrizations.items():
            inside = f"{prefix}parametrizations.{name}."
            state = {key: one for key, one in state.items() if not key.startswith(inside)}
            state[prefix + name] = _at_rest(module, name, chain)
    return state


def stored_path(model: nn.Module, path: str) -> str:
    """The beginning of a module's keys in the state_dict, where it differs from its path."""
    for owner, layer in model.named_modules():
        for place in layer.places if isinstance(layer, Recurrent) else ():
            own, stored = stored_prefixes(f"{owner}." if owner else "", *place)
            if path.startswith(own):
                return stored + path.removeprefix(own)
    return path


def _at_rest(module: nn.Module, name: str, chain: nn.Module) -> Tensor:
    """A parametrized tensor in eval mode: in training, spectral_norm moves with every call."""
    modes = [(one, one.training) for one in chain.modules()]
    chain.eval()
    try:
        found: Tensor = getattr(module, name)
        return found
    finally:
        for one, training in modes:
            one.training = training


# The layers and step cells.
def _register(cls: type, names: tuple[str, ...]) -> None:
    def config(module: Any) -> dict[str, Any]:
        given = {name: getattr(module, name) for name in names}
        return {
            "arguments": {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()},
            "cell": module.cell.equations.to_json(),
        }

    def build(stored: Mapping[str, Any]) -> nn.Module:
        equations = Equations.from_json(stored["cell"])
        arguments: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stored["arguments"].items()
        }
        if cls is Recurrent:
            return Recurrent(StoredCell(equations), **arguments)
        module: Any = cls(**arguments)
        if not module.cell.equations.same_as(equations):
            raise ModelError(
                f"the model was saved with other equations than this gatewright's {cls.__name__}"
            )
        return module  # type: ignore[no-any-return]

    _DESCRIBE[cls] = (cls.__name__, config)
    _REBUILD[cls.__name__] = build


_STEP = ("input_size", "hidden_size", "bias")
_LAYER = (*_STEP, "num_layers", "batch_first", "dropout", "bidirectional")

for _cls in (Recurrent, drop_ins.RNN, drop_ins.LSTM, drop_ins.GRU, drop_ins.PeepholeLSTM):
    _register(_cls, (*_LAYER, *(_cls.options or ())))
for _step in (
    step_cells.RNNCell,
    step_cells.LSTMCell,
    step_cells.GRUCell,
    step_cells.PeepholeLSTMCell,
):
    _register(_step, (*_STEP, *_step.options))
