"""The prediction of the next symbol of a text, a character or byte, as a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Text
from gatewright.data.containers.text import BYTES
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.metric import Metric
from gatewright.tasks.task import Batch, Task, run_all
from gatewright.tasks.text.ngram import kneser_ney, unigram
from gatewright.tasks.text.streams import Streams, Tail, tail

BITS = Metric("bits", "bits a symbol")

#: Largest size of the vectors that symbols are embedded as; small alphabets take their own size.
MAX_EMBEDDING = 64


@dataclass(frozen=True, kw_only=True)
class NextSymbol(Task):
    """Predict the next symbol; predictions are the bits that each symbol costs, (N,)."""

    kind: ClassVar[str] = "next symbol"
    metrics: ClassVar[tuple[Metric, ...]] = (BITS,)
    every_step: ClassVar[bool] = True

    alphabet: tuple[str, ...]
    unit: str  # "characters" or "bytes"
    embedding: int  # size of the vectors that symbols are embedded as

    @classmethod
    def of(cls, training: Text) -> Self:
        """Return the task for this training text.

        Raises:
            DataError: if it has fewer than two different symbols.
        """
        if len(training.alphabet) < 2:
            raise DataError(
                f"{training.name} repeats the one symbol {training.alphabet[0]!r}; expected at "
                "least two: there is nothing to predict"
            )
        size = min(MAX_EMBEDDING, len(training.alphabet))
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
                "a validation part are split off"
            )
        return whole.part(0, cut), Tail(whole, cut)

    def parts(self, training: Text, fraction: float, seed: int) -> tuple[Text, Tail]:
        cut = int((1 - fraction) * len(training))
        return training.part(0, cut), Tail(training, cut)

    def batches(self, part: Text | Tail) -> Streams:
        whole = tail(part)
        return Streams(torch.from_numpy(whole.text.codes.astype(np.int64)), whole.start)

    def values(self, training: Text) -> None:
        return None

    def design_problem(self, design: Any) -> str | None:
        if design.needs_whole_sequence:
            return f"it has {design.words()}, and a text is read symbol by symbol as it is written"
        return None

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        if not batch.items:  # only warm-up: the mean over no symbol would be NaN
            return outputs.sum() * 0.0
        return nn.functional.cross_entropy(
            outputs.flatten(0, 1), batch.target.flatten(), ignore_index=-1
        )

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        bits, counted = [], []
        for outputs, batch in pairs:
            log_probabilities = outputs.log_softmax(-1)
            target = batch.target.clamp(min=0)[..., None]
            nats = -log_probabilities.gather(-1, target)[..., 0]
            bits.append(nats.double() / np.log(2.0))
            counted.append(batch.target >= 0)
        # (steps, streams) each: stream after stream is the order of the text.
        return torch.cat(bits).T[torch.cat(counted).T].numpy()

    def score(self, predicted: NDArray[np.float64], part: Text | Tail) -> dict[str, float]:
        return {"bits": float(predicted.mean())}

    def adapt(self, data: Text) -> tuple[Text, list[str]]:
        unknown = [symbol for symbol in data.alphabet if symbol not in self.alphabet]
        if unknown:
            code = data.alphabet.index(unknown[0])
            position = int(np.flatnonzero(data.codes == code)[0])
            raise DataError(
                f"{data.name} has {unknown[0]!r} at position {position}, which the model has not "
                f"learned ({len(unknown)} such symbols); replace it, or train on bytes "
                "(text='bytes')"
            )
        new_codes = np.array([self.alphabet.index(symbol) for symbol in data.alphabet])
        dtype = np.uint8 if len(self.alphabet) <= 256 else np.uint32
        codes = new_codes[data.codes].astype(dtype)
        return replace(data, codes=codes, alphabet=self.alphabet), []

    def predict(self, model: Any, data: Text | str | bytes) -> NDArray[np.float64]:
        """Return the bits that each symbol of a text but the first costs, (T - 1,).

        The model starts from an empty state.
        """
        if not isinstance(data, Text):
            data = Text(self.encode(data), self.alphabet, self.unit)
        text, _ = self.adapt(data)
        if len(text) < 2:
            return np.zeros(0)
        return self.predictions(run_all(model, self.batches(text)), model)

    def table(self, model: Any, data: Text) -> dict[str, list[Any]]:
        return {
            "position": list(range(1, len(data))),
            "symbol": [self.alphabet[code] for code in data.codes[1:]],
            "bits": self.predict(model, data).tolist(),
        }

    def encode(self, text: str | bytes) -> NDArray[np.unsignedinteger]:
        """Return the codes of a text, (T,).

        Raises:
            DataError: with a symbol that is not in the alphabet.
        """
        return Text(np.zeros(1, np.uint8), self.alphabet, self.unit, name="the model").encode(text)

    @torch.no_grad()
    def sample(
        self, model: Any, prompt: str | bytes, count: int, temperature: float, seed: int
    ) -> str | bytes:
        """Return `count` symbols that the model writes after a prompt, the same for each seed.

        Args:
            model: A trained model.
            prompt: A text; the first symbol of the alphabet if it is empty.
            count: Symbols to write.
            temperature: Divides the logits: below 1 likely symbols become likelier, and at 0 the
                likeliest is always taken.
            seed: Of the random numbers.

        Raises:
            ArgumentError: if temperature or seed is out of range.
            DataError: if the prompt has a symbol that is not in the alphabet.
        """
        codes = self.encode(prompt) if prompt else np.zeros(1, np.int64)
        if not temperature >= 0:  # also refuses NaN
            raise ArgumentError(f"temperature is {temperature}; expected a number from 0")
        if not -(2**63) <= seed < 2**63:
            raise ArgumentError(f"seed is {seed}; expected a whole number of at most 63 bits")
        generator = torch.Generator().manual_seed(seed)
        training = model.training
        model.eval()
        x = torch.from_numpy(codes.astype(np.int64))[:, None]
        state, written = None, []
        for _ in range(count):
            outputs, state = model(Batch(x, None, x), state)
            logits = outputs[-1, 0]
            if temperature == 0:
                code = int(logits.argmax())
            else:
                probabilities = (logits.double() / temperature).softmax(-1)
                code = int(torch.multinomial(probabilities, 1, generator=generator))
            written.append(code)
            x = torch.tensor([[code]])
        model.train(training)
        empty = Text(np.zeros(1, np.uint8), self.alphabet, self.unit)
        return empty.decode(np.array(written, dtype=np.int64))


def text_baselines(task: NextSymbol) -> Sequence[Baseline]:
    """Return the methods that a network has to beat, from the simplest."""
    return (unigram(), kneser_ney(5))
