"""Which symbol comes next in a text: characters or bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Text
from gatewright.data.containers.text import BYTES
from gatewright.draw.page.page import Section
from gatewright.draw.plots.sample import sample_section
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.task import Baseline, Batch, Example, Metric, Task, run_all
from gatewright.tasks.text.ngram import kneser_ney, unigram
from gatewright.tasks.text.streams import STEPS, STREAMS, WARM_UP, Streams, Tail, tail

BITS = Metric("bits", "bits a symbol")


@dataclass(frozen=True, kw_only=True)
class NextSymbol(Task):
    """Tell the next symbol; predictions are the bits that each symbol costs, (N,)."""

    kind: ClassVar[str] = "next symbol"
    title: ClassVar[str] = "the next symbol"
    metrics: ClassVar[tuple[Metric, ...]] = (BITS,)
    division: ClassVar[str] = (
        "In order: the last tenth is the test part, and the last tenth of the rest the "
        "validation part."
    )
    reading: ClassVar[str] = (
        f"A network is read at every step and carries its state through the text; gradients reach "
        f"back {STEPS} steps. In measuring, {STREAMS} pieces are read side by side, each after "
        f"{WARM_UP} symbols that come before it."
    )
    every_step: ClassVar[bool] = True

    alphabet: tuple[str, ...]
    unit: str  # "characters" or "bytes"
    embedding: int  # values that a symbol is turned into

    @classmethod
    def of(cls, training: Text) -> Self:
        """The task that a text sets."""
        if len(training.alphabet) < 2:
            raise DataError(
                f"{training.name} repeats the one symbol {training.alphabet[0]!r}; expected at "
                "least two: there is nothing to tell"
            )
        size = min(64, len(training.alphabet))
        return cls(alphabet=training.alphabet, unit=training.unit, embedding=size)

    def inconsistency(self) -> str | None:
        if len(set(self.alphabet)) < max(len(self.alphabet), 2):
            return "its alphabet has fewer than two symbols, or one of them twice"
        if self.unit == "bytes" and self.alphabet != BYTES:
            return "its alphabet is not that of bytes"
        if self.unit != "bytes" and any(len(symbol) != 1 for symbol in self.alphabet):
            return "a symbol of its alphabet is no single character"
        if self.unit not in ("characters", "bytes"):
            return f"unit is {self.unit!r}; expected characters or bytes"
        return None if self.embedding >= 1 else f"embedding is {self.embedding}"

    @property
    def inputs(self) -> int:
        return self.embedding

    @property
    def outputs(self) -> int:
        return len(self.alphabet)

    @property
    def symbols(self) -> int:
        return len(self.alphabet)

    @staticmethod
    def split(whole: Text) -> tuple[Text, Tail]:
        cut = int(0.9 * len(whole))
        if cut < 100:
            raise DataError(
                f"{whole.name} has {len(whole)} symbols; expected at least 112: a test part and "
                "a validation part are taken off it"
            )
        return whole.part(0, cut), Tail(whole, cut)

    def parts(self, training: Text, fraction: float, seed: int) -> tuple[Text, Tail]:
        cut = int((1 - fraction) * len(training))
        return training.part(0, cut), Tail(training, cut)

    def batches(self, part: Text | Tail) -> Streams:
        given = tail(part)
        return Streams(torch.from_numpy(given.text.codes.astype(np.int64)), given.start)

    def values(self, training: Text) -> None:
        return None

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        if not batch.items:
            return outputs.sum() * 0.0
        return nn.functional.cross_entropy(
            outputs.flatten(0, 1), batch.target.flatten(), ignore_index=-1
        )

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        bits, counted = [], []
        for outputs, batch in pairs:
            chances = outputs.log_softmax(-1)
            told = chances.gather(-1, batch.target.clamp(min=0)[..., None])[..., 0]
            bits.append(-told.double() / np.log(2.0))
            counted.append(batch.target >= 0)
        # (steps, streams) each: stream after stream is the order of the text.
        return torch.cat(bits).T[torch.cat(counted).T].numpy()

    def score(self, predicted: NDArray[np.float64], part: Text | Tail) -> dict[str, float]:
        return {"bits": float(predicted.mean())}

    def baselines(self) -> Sequence[Baseline]:
        return (unigram(), kneser_ney(5))

    def counted(self, part: Text | Tail) -> str:
        given = tail(part)
        return f"{len(given.text) - (given.start if given.start > 1 else 0):,} {self.unit}"

    def shown_of(self, model: Any, part: Text | Tail) -> dict[str, Any]:
        given = tail(part)
        prompt = given.text.part(max(given.start - 200, 0), given.start)
        return {
            "prompt": said(prompt.decode(prompt.codes)),
            "samples": [
                {"temperature": heat, "text": said(self.sample(model, prompt.codes, 400, heat))}
                for heat in (0.5, 0.8, 1.0)
            ],
        }

    def shown(self, predicted: NDArray[np.float64], part: Text | Tail) -> dict[str, Any]:
        given = tail(part)
        count = min(len(predicted), 400)
        text = given.text.part(given.start, given.start + count)
        return {
            "symbols": [text.alphabet[code] for code in text.codes],
            "bits": predicted[:count].round(3).tolist(),
        }

    def sections(self, shown: Mapping[str, Any], whose: str) -> list[Section]:
        return [sample_section(shown, whose)]

    def example(self, model: Any, part: Text | Tail) -> Example:
        given = tail(part)
        codes = given.text.codes[given.start : given.start + 60].astype(np.int64)
        x = torch.from_numpy(codes)[:, None]
        return Example(
            Batch(x, None, x),
            f"The first {len(codes)} symbols of the test part, from an empty memory.",
            symbols=tuple(self.alphabet[code] for code in codes),
        )

    @torch.no_grad()
    def sample(
        self,
        model: Any,
        prompt: NDArray[np.integer],
        count: int,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str | bytes:
        """What the model writes after `prompt` (codes): `count` symbols, the same for a seed.

        At a temperature below 1 it keeps to what is likely, at 0 to the likeliest.
        """
        if not temperature >= 0:  # NaN is not
            raise ArgumentError(f"temperature is {temperature}; expected a number from 0")
        if not -(2**63) <= seed < 2**63:
            raise ArgumentError(f"seed is {seed}; expected a whole number of at most 63 bits")
        generator = torch.Generator().manual_seed(seed)
        training = model.training
        model.eval()
        x = torch.from_numpy(np.asarray(prompt, dtype=np.int64))[:, None]
        if not len(x):
            x = torch.zeros((1, 1), dtype=torch.int64)
        state, written = None, []
        for _ in range(count):
            outputs, state = model(Batch(x, None, x), state)
            logits = outputs[-1, 0]
            if temperature == 0:
                code = int(logits.argmax())
            else:
                shares = (logits.double() / temperature).softmax(-1)
                code = int(torch.multinomial(shares, 1, generator=generator))
            written.append(code)
            x = torch.tensor([[code]])
        model.train(training)
        empty = Text(np.zeros(1, np.uint8), self.alphabet, self.unit)
        return empty.decode(np.array(written, dtype=np.int64))

    def encode(self, text: str | bytes) -> NDArray[np.unsignedinteger]:
        """(T,), the codes of a text; `DataError` names a symbol that was not learned."""
        return Text(np.zeros(1, np.uint8), self.alphabet, self.unit, name="the model").encode(text)

    def predict(self, model: Any, data: Text | str | bytes) -> NDArray[np.float64]:
        """Bits that each symbol of a text costs, (T,), the first one after an empty memory."""
        if not isinstance(data, Text):
            data = Text(self.encode(data), self.alphabet, self.unit)
        whole, _ = self.ready(data)
        if len(whole) < 2:
            return np.zeros(0)
        return self.predictions(run_all(model, self.batches(whole)), model)

    def ready(self, data: Text) -> tuple[Text, list[str]]:
        unknown = [symbol for symbol in data.alphabet if symbol not in self.alphabet]
        if unknown:
            code = data.alphabet.index(unknown[0])
            at = int(np.flatnonzero(data.codes == code)[0])
            raise DataError(
                f"{data.name} has {unknown[0]!r} at position {at}, which the model has not "
                f"learned ({len(unknown)} such symbols); replace it, or train on bytes "
                "(text='bytes')"
            )
        table = np.array([self.alphabet.index(symbol) for symbol in data.alphabet])
        kind = np.uint8 if len(self.alphabet) <= 256 else np.uint32
        return replace(data, codes=table[data.codes].astype(kind), alphabet=self.alphabet), []

    def table(self, model: Any, data: Text) -> dict[str, list[Any]]:
        return {
            "position": list(range(1, len(data))),
            "symbol": [self.alphabet[code] for code in data.codes[1:]],
            "bits": self.predict(model, data).tolist(),
        }

    def says(self) -> str:
        return (
            f"It tells which of {len(self.alphabet)} {self.unit} comes next in a text, and can go "
            "on writing one."
        )

    def usage(self) -> str:
        return (
            'text = model.sample("The ", symbols=200, temperature=0.8)\n'
            'bits = model.predict("a text")  # that each symbol costs, the first one left out'
        )

    def limits(self) -> str:
        return (
            "It writes what sounds like the text that it learned from; none of it need be true. "
            "Symbols that were not in that text are refused."
        )


def said(text: str | bytes) -> str:
    """A text for people."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
