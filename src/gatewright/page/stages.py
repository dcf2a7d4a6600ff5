"""The stages of a network as the page runs them, from those that every export is written from.

A stage reads the results of earlier stages, each a matrix of T rows, one a step, or of one row, and
returns one. `docs/page-format.md` lists the operations. The page runs them, and their derivatives
backwards, so they are smaller than those of `exports/stages.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewright.errors import ArgumentError
from gatewright.exports.network import Chains
from gatewright.exports.stages import (
    Differences,
    Embedding,
    ForecastWindow,
    Linear,
    LinearBase,
    Pointwise,
    Quantiles,
    RecurrentLayers,
    Scale,
    Segments,
    SequenceScale,
    Softmax,
    Stage,
    Summary,
    Window,
)
from gatewright.layers.recurrent import Recurrent
from gatewright.page.blob import Blob
from gatewright.page.cell import layer_parts


class PageStages:
    """The stages of a model, added one by one.

    Attributes:
        blob: The numbers of all stages and layers.
        stages: Each with its operation, the stages that it reads, and its settings.
        layers: The recurrent layers that the stages of the operation "layer" run.
        scores: The stage before the softmax of a single network, if it ends with one.
    """

    def __init__(self) -> None:
        self.blob = Blob()
        self.stages: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.scores: int | None = None

    def add(self, op: str, *reads: int, **settings: Any) -> int:
        """Add a stage, and return its position."""
        self.stages.append({"op": op, "reads": list(reads), **settings})
        return len(self.stages) - 1

    def tensors(self, stage: Stage, *names: str) -> dict[str, str | None]:
        """Add arrays of an exported stage; those that it does not have are None."""
        arrays = {name: getattr(stage, name) for name in names}
        return {
            name: None if array is None else self.blob.add(f"{stage.name}_{name}", array)
            for name, array in arrays.items()
        }

    def recurrent(self, x: int, layers: Recurrent, prefix: str = "") -> int:
        """Add recurrent layers: each reads the joined outputs of the directions below it."""
        parts = iter(layer_parts(layers, self.blob, prefix))
        for _ in range(layers.num_layers):
            outputs = []
            for _ in range(layers.directions):
                self.layers.append(next(parts))
                outputs.append(self.add("layer", x, layer=len(self.layers) - 1))
            x = outputs[0] if len(outputs) == 1 else self.add("join", *outputs)
        return x

    def chain(self, x: int, chain: Sequence[Stage], layers: Recurrent, prefix: str) -> int:
        """Add the stages of one network; `layers` are those of its `RecurrentLayers`."""
        for stage in chain:
            match stage:
                case RecurrentLayers():
                    output = self.recurrent(x, layers, prefix)
                    x = self.add("join", output, x) if stage.joins_input else output
                case ForecastWindow():
                    x = self.forecast(x, stage, layers, prefix)
                case _:
                    x = self.simple(x, stage)
        return x

    def simple(self, x: int, stage: Stage) -> int:
        """Add a stage without recurrent layers."""
        match stage:
            case Scale():
                for column, kind, low in stage.transforms:
                    x = self.add("transform", x, column=column, kind=kind, low=float(low))
                return self.add("scale", x, **self.tensors(stage, "mean", "scale"))
            case Embedding():
                return self.add("embed", x, **self.tensors(stage, "weight"))
            case SequenceScale():
                return self.add("standardise", x, smallest=float(stage.smallest))
            case Differences():
                return self.add("differences", x)
            case Segments():
                return self.add("segments", x, steps=stage.steps)
            case Window():
                offsets = list(stage.offsets)
                return self.add("window", x, offsets=offsets, repeats=stage.repeats)
            case Linear():
                return self.add("linear", x, **self.tensors(stage, "weight", "bias"))
            case Pointwise():
                return self.add(stage.function, x)
            case Summary():
                return self.summary(x, stage)
            case Softmax():
                return self.add("softmax", x)
            case Quantiles():
                return self.add(
                    "unscale",
                    x,
                    **self.tensors(stage, "widening", "mean", "scale"),
                    levels=stage.input_size // stage.widening.size,
                    median=stage.median,
                    transforms=list(stage.transforms),
                    floor=list(stage.floor),
                    rounds=list(stage.rounds),
                )
        raise ArgumentError(f"a page cannot show the stage {type(stage).__name__}")

    def summary(self, x: int, stage: Summary) -> int:
        """Add the summaries of the steps of a sequence, joined."""
        parts = []
        for number, part in enumerate(stage.parts):
            own = x
            if part.size != stage.input_size:
                own = self.add("columns", x, start=part.start, size=part.size)
            if part.kind == "attention":
                inner = self.add("linear", own, **self.tensors(stage, "weight", "bias"))
                assert stage.vector is not None
                outer = self.blob.add(f"{stage.name}_vector", stage.vector[None])
                scores = self.add("linear", self.add("tanh", inner), weight=outer, bias=None)
                parts.append(self.add("attend", scores, own))
            elif part.kind == "share":
                assert stage.thresholds is not None
                first = stage.first_threshold(number)
                own_thresholds = stage.thresholds[first : first + part.size]
                name = self.blob.add(f"{stage.part_name(number)}_thresholds", own_thresholds)
                parts.append(self.add("share", own, thresholds=name))
            else:
                parts.append(self.add(part.kind, own))
        return parts[0] if len(parts) == 1 else self.add("join", *parts)

    def forecast(self, z: int, stage: ForecastWindow, layers: Recurrent, prefix: str) -> int:
        """Add network, known values and base of a forecast, and sort their sum: (1, H K Q)."""
        own = list(stage.own)
        scale, window = -1, z
        if stage.smallest is not None:
            smallest = [float(value) for value in stage.smallest]
            scale = self.add("window-scale", z, columns=own, smallest=smallest)
            window = self.add("in-window-scale", z, scale, columns=own)
        events = window if stage.scales_network else z
        summands = [self.chain(events, stage.chain, layers, prefix)]
        known = -1
        if stage.known_weight is not None:
            known = self.add("known")
            arrays = self.tensors(
                stage, "known_mean", "known_scale", "known_weight", "known_bias", "known_effect"
            )
            known = self.add("scale", known, mean=arrays["known_mean"], scale=arrays["known_scale"])
            inner = self.add(
                "linear", known, weight=arrays["known_weight"], bias=arrays["known_bias"]
            )
            effect = self.add(
                "linear", self.add("tanh", inner), weight=arrays["known_effect"], bias=None
            )
            summands.append(self.add("flat", effect))
        # The position of each target among the channels that are scaled by the window.
        targets = [own.index(target) if own else k for k, target in enumerate(stage.targets)]
        if stage.base is not None:
            of_base = [window, scale] if known < 0 else [window, scale, known]
            summands.append(self.base(stage.base, of_base, targets))
        total = summands[0] if len(summands) == 1 else self.add("add", *summands)
        reads = [total, scale] if own else [total]
        return self.add("quantiles", *reads, own=targets, levels=stage.levels)

    def base(self, base: LinearBase, reads: Sequence[int], own: Sequence[int]) -> int:
        """Add the simple method of a forecast; `own` are its targets' places in the scale."""
        names = ("own", "past", "known", "common", "mean", "bias", "quantiles", "fixed")
        arrays = self.tensors(base, *names)
        return self.add(
            "base",
            *reads,
            **{("weight" if name == "own" else name): array for name, array in arrays.items()},
            scaled=list(own),
            targets=list(base.targets),
            lagged=list(base.lagged),
            static=list(base.static),
            calendar=list(base.calendar),
            ahead=list(base.ahead),
        )


def layer_stages(layers: Recurrent) -> PageStages:
    """The stages of bare layers: the input, and the layers."""
    stages = PageStages()
    stages.recurrent(stages.add("input"), layers)
    return stages


def network_stages(chains: Chains, layers: Sequence[Recurrent]) -> PageStages:
    """The stages of a whole network, from raw values to its answer in the units of the data.

    Args:
        chains: The network as it is exported.
        layers: The recurrent layers of each member of `chains`.
    """
    stages = PageStages()
    answers = []
    for number, (chain, own) in enumerate(zip(chains.members, layers, strict=True)):
        prefix = f"m{number}." if number else ""
        answers.append(stages.chain(stages.add("input"), chain, own, prefix))
    answer = answers[0] if len(answers) == 1 else stages.add("average", *answers)
    last = stages.stages[answer]
    if last["op"] == "softmax":
        stages.scores = last["reads"][0]
    stages.chain(answer, chains.ending, layers[0], "")
    return stages
