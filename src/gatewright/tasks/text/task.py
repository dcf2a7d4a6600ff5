"""The prediction of the next symbol of a text, a character, byte or piece, as a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Text
from gatewright.data.containers.text import BYTES, UNITS
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.metric import Metric
from gatewright.tasks.task import Batch, Task, run_all
from gatewright.tasks.text.mixture import REACH, Mixture, past_of
from gatewright.tasks.text.pairs import Pairs
from gatewright.tasks.text.streams import STEPS, Streams, Tail, tail

BITS = Metric(
    "bits",
    "bits a symbol",
    about="The memory that a symbol would need if the text were compressed with the predictions; "
    "lower is better.",
)

#: Largest size of the vectors that symbols are embedded as; small alphabets take their own size.
MAX_EMBEDDING = 64
#: The same for pieces. On the validation part of the bundled prose, after 7 epochs, 128 with a tied
#: readout need 1.716 bits a character, and 64 without 1.760.
MAX_PIECE_EMBEDDING = 128
#: Pieces of a vocabulary of pairs. A short text has fewer, so that each occurs often enough.
MAX_PAIRS = 300
#: Symbols of the training text for each piece.
SYMBOLS_A_PAIR = 500


@dataclass(frozen=True, kw_only=True)
class NextSymbol(Task):
    """Predict the next symbol; predictions are the bits that each symbol costs, (N,).

    The network may read and predict pieces, frequent pairs of symbols. The bits of a piece are then
    spread over its symbols. Its probabilities are mixed with those of counts and of
    copied passages.
    """

    kind: ClassVar[str] = "next symbol"
    data_type: ClassVar[type[Any]] = Text
    plain_types: ClassVar[tuple[type[Any], ...]] = (str, bytes)
    takes: ClassVar[str] = "a Text of gw.read, or a string, or bytes where the model reads bytes"
    metrics: ClassVar[tuple[Metric, ...]] = (BITS,)
    every_step: ClassVar[bool] = True

    alphabet: tuple[str, ...]
    unit: str  # "characters", "bytes", or "pairs" of characters
    embedding: int  # size of the vectors that symbols are embedded as
    joined: tuple[tuple[int, int], ...] = ()  # the pieces of `Pairs`, if any
    counted: bool = False  # whether counts are mixed in; models of version 0.1 have none
    chunk: int = STEPS  # steps that gradients reach back while it learns

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
        joined: tuple[tuple[int, int], ...] = ()
        if training.unit == "pairs":
            white = white_space(training.alphabet)
            count = min(len(training) // SYMBOLS_A_PAIR, MAX_PAIRS)
            joined = Pairs.learn(training.codes, len(training.alphabet), white, count).joined
        return cls(
            alphabet=training.alphabet,
            unit=training.unit,
            embedding=min(
                MAX_PIECE_EMBEDDING if joined else MAX_EMBEDDING,
                len(training.alphabet) + len(joined),
            ),
            joined=joined,
            counted=True,
        )

    def inconsistency(self) -> str | None:
        if len(set(self.alphabet)) < max(len(self.alphabet), 2):
            return "its alphabet has fewer than two symbols, or one of them twice"
        if self.unit not in UNITS:
            return f"unit is {self.unit!r}; expected {' or '.join(UNITS)}"
        if self.unit == "bytes" and self.alphabet != BYTES:
            return "its alphabet is not that of bytes"
        if self.unit != "bytes" and any(len(symbol) != 1 for symbol in self.alphabet):
            return "a symbol of its alphabet is no single character"
        for piece, pair in enumerate(self.joined, len(self.alphabet)):
            if not 0 <= min(pair) <= max(pair) < piece:
                return f"the piece {piece} is joined from {pair}, which are not both before it"
        if self.chunk < 1:
            return f"chunk is {self.chunk}"
        return None if self.embedding >= 1 else f"embedding is {self.embedding}"

    def in_chunks(self, steps: int) -> Self:
        return replace(self, chunk=steps)

    @cached_property
    def pairs(self) -> Pairs:
        """The vocabulary that the network reads and predicts."""
        return Pairs(len(self.alphabet), white_space(self.alphabet), self.joined)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The symbols and pieces, spelled out."""
        return tuple("".join(self.alphabet[code] for code in piece) for piece in self.pairs.spelled)

    @property
    def inputs(self) -> int:
        return self.embedding

    @property
    def outputs(self) -> int:
        return len(self.pairs)

    @property
    def symbols(self) -> int:
        return len(self.pairs)

    @property
    def tied(self) -> bool:
        # The alphabet of a text is small, and its readout too; a vocabulary of pieces is large.
        return bool(self.joined)

    def completion(self) -> Mixture | None:
        return Mixture(len(self.pairs)) if self.counted else None

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
        if not self.joined:
            return Streams(whole.text.codes, whole.start, self.chunk)
        # Encoded apart, so that a piece begins where the prediction does.
        parts = [self.pairs.encode(codes) for codes in np.split(whole.text.codes, [whole.start])]
        return Streams(np.concatenate(parts).astype(np.int32), len(parts[0]), self.chunk)

    def values(self, training: Text) -> None:
        return None

    def design_problem(self, design: Any) -> str | None:
        if design.needs_whole_sequence:
            return f"it has {design.words()}, and a text is read symbol by symbol as it is written"
        return None

    def complete(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        """Mix the network's probabilities with those of counts and copies."""
        past = past_of(batch.x, batch.further, REACH)
        mixed: Tensor = model.completion(outputs.flatten(0, 1), past.flatten(0, 1))
        return mixed.view_as(outputs)

    def calibrate(self, model: Any, validation: Tail) -> bool:
        """Count the text before the validation part, and set the network's share by that part."""
        if not self.counted:
            return True
        mixture, streams = model.completion, self.batches(validation)
        mixture.clear()
        # Only the truth's, before there are counts: those of all symbols would fill the memory.
        results = [(_of_truth(outputs, batch), batch) for outputs, batch in run_all(model, streams)]
        mixture.count(streams.codes[: streams.start])
        mixture.fit(self._measured(results))
        return True

    @staticmethod
    def _measured(
        results: Iterable[tuple[Tensor, Batch]],
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield log probabilities, histories and truth of the steps that count, batch by batch."""
        for of_truth, batch in results:
            counts = batch.target >= 0
            past = past_of(batch.x, batch.further, REACH)
            yield of_truth[counts], past[counts], batch.target[counts]

    def calibrate_mean(self, model: Any, members: Iterable[Any], validation: Tail) -> None:
        """Mix the mean with counts, which learn from the validation part too in the end."""
        self.calibrate(model, validation)
        self.refit(model, validation)

    def refit(self, model: Any, validation: Tail) -> None:
        """Count the text again, together with the validation part."""
        if self.counted:
            model.completion.count(self.batches(validation).codes)

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        if not batch.items:  # only warm-up: the mean over no symbol would be NaN
            return outputs.sum() * 0.0
        return nn.functional.cross_entropy(
            outputs.flatten(0, 1), batch.target.flatten(), ignore_index=-1
        )

    def mass(self, batch: Batch) -> float:
        return float((batch.target >= 0).sum())

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        bits, truth = [], []
        for outputs, batch in pairs:
            bits.append(-_of_truth(outputs, batch).double() / np.log(2.0))
            truth.append(batch.target)
        # (steps, streams) each: stream after stream is the order of the text.
        target = torch.cat(truth).T.cpu()
        costs: NDArray[np.float64] = torch.cat(bits).T.cpu()[target >= 0].numpy()
        lengths = self.pairs.lengths[target[target >= 0].numpy()]
        return np.repeat(costs / lengths, lengths)

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
        if not temperature >= 0:  # also refuses NaN
            raise ArgumentError(f"temperature is {temperature}; expected a number from 0")
        if not -(2**63) <= seed < 2**63:
            raise ArgumentError(f"seed is {seed}; expected a whole number of at most 63 bits")
        (text,) = self.samples(model, prompt, count, (temperature,), seed)
        return text

    @torch.no_grad()
    def samples(
        self,
        model: Any,
        prompt: str | bytes,
        count: int,
        temperatures: Sequence[float],
        seed: int,
    ) -> list[str | bytes]:
        """Return what `sample` does for each temperature; together they take little longer."""
        rows = len(temperatures)
        generators = [torch.Generator().manual_seed(seed) for _ in temperatures]
        training = model.training
        model.eval()
        codes = self.encode(prompt) if prompt else np.zeros(1, np.int64)
        start = self.pairs.encode(codes).tolist()
        pieces, lengths = [list(start) for _ in temperatures], [0] * rows
        x, earlier, state = torch.tensor(pieces).T, None, None
        device = next(model.parameters()).device
        while min(lengths) < count:
            outputs, state = model(Batch(x, None, x, further=earlier).to(device), state)
            chosen = [
                _chosen(logits, temperature, generator)
                for logits, temperature, generator in zip(
                    outputs[-1].cpu(), temperatures, generators, strict=True
                )
            ]
            # Of different lengths in symbols, but equally many: a row that is complete goes on.
            earlier = torch.tensor([row[-REACH:] for row in pieces]).T
            for row, piece in enumerate(chosen):
                pieces[row].append(piece)
                lengths[row] += int(self.pairs.lengths[piece])
            x = torch.tensor([chosen])
        model.train(training)
        empty = Text(np.zeros(1, np.uint8), self.alphabet, self.unit)
        written = [np.array(row[len(start) :], np.int64) for row in pieces]
        return [empty.decode(self.pairs.decode(row)[:count]) for row in written]


def _of_truth(outputs: Tensor, batch: Batch) -> Tensor:
    """Return the log probability of each target, (T, B); of any symbol where there is none."""
    return outputs.log_softmax(-1).gather(-1, batch.target.clamp(min=0)[..., None])[..., 0]


def _chosen(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """Draw a piece by its logits, (A,); the likeliest one at temperature 0."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = (logits.double() / temperature).softmax(-1)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def white_space(alphabet: tuple[str, ...]) -> frozenset[int]:
    """Return the codes of white space, where pieces begin."""
    return frozenset(code for code, symbol in enumerate(alphabet) if symbol.isspace())
