"""The words and figures of a text model: samples, and the bits that real symbols cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gatewright.data import Text
from gatewright.draw.page.page import Section
from gatewright.draw.plots.sample import sample_section
from gatewright.tasks.presentation import Example, Presentation
from gatewright.tasks.task import Batch
from gatewright.tasks.text.streams import STEPS, STREAMS, WARM_UP, Tail, tail
from gatewright.tasks.text.task import NextSymbol

#: Symbols that a report shows: of the prompt, of each sample, of real text with its bits.
PROMPT, SAMPLE, COLOURED = 200, 400, 400
#: Temperatures of the samples.
TEMPERATURES = (0.5, 0.8, 1.0)
#: Symbols of the example whose gates a report shows.
EXAMPLE_SYMBOLS = 60


@dataclass(frozen=True, slots=True)
class TextPresentation(Presentation):
    """The words and figures of one text model."""

    title: ClassVar[str] = "the next symbol"
    splitting: ClassVar[str] = (
        "In order: the last tenth is the test part, and the last tenth of the rest the "
        "validation part."
    )
    readout: ClassVar[str] = (
        "The readout uses every step, and the state is carried through the text; gradients reach "
        f"back about {STEPS} steps, or as many as chunk is. After the training, the probabilities "
        "are mixed with those of counts of the training text (Kneser-Ney) and with copies of its "
        "passages, in shares that are fitted on the validation part. For evaluation "
        f"{STREAMS} pieces are read side by side, each after the {WARM_UP} symbols before it."
    )

    task: NextSymbol

    def summary(self) -> str:
        kinds = f"{len(self.task.alphabet)} {self.symbols}"
        if self.task.joined:
            kinds += f" and {len(self.task.joined)} pieces of several"
        return f"It predicts which of {kinds} comes next in a text, and can continue a text."

    @property
    def symbols(self) -> str:
        """The kind of the text's symbols."""
        return "bytes" if self.task.unit == "bytes" else "characters"

    def usage(self) -> str:
        return (
            'text = model.sample("The ", symbols=200, temperature=0.8)\n'
            'bits = model.predict("a text")  # that each symbol costs, the first one left out'
        )

    def limits(self) -> str:
        return (
            "It writes what resembles its training text; none of it need be true. The model holds "
            "the end of that text itself, up to a million symbols, and may repeat it word for "
            "word: do not hand it to people who may not read the text. Symbols that were not in "
            "that text are refused."
        )

    def part_size(self, part: Text | Tail) -> str:
        whole = tail(part)
        # A plain text, which starts at 1, counts with its first symbol.
        history = whole.start if whole.start > 1 else 0
        return f"{len(whole.text) - history:,} {self.symbols}"

    def figures(self, predicted: NDArray[np.float64], part: Text | Tail) -> dict[str, Any]:
        whole = tail(part)
        count = min(len(predicted), COLOURED)
        text = whole.text.part(whole.start, whole.start + count)
        return {
            "symbols": [text.alphabet[code] for code in text.codes],
            "bits": predicted[:count].round(3).tolist(),
        }

    def model_figures(self, model: Any, part: Text | Tail) -> dict[str, Any]:
        whole = tail(part)
        part = whole.text.part(max(whole.start - PROMPT, 0), whole.start)
        prompt = part.decode(part.codes)
        texts = self.task.samples(model, prompt, SAMPLE, TEMPERATURES, seed=0)
        samples = [
            {"temperature": temperature, "text": readable(text)}
            for temperature, text in zip(TEMPERATURES, texts, strict=True)
        ]
        return {"prompt": readable(prompt), "samples": samples}

    def sections(self, figures: Mapping[str, Any], subject: str) -> list[Section]:
        return [sample_section(figures, subject)]

    def example(self, model: Any, part: Text | Tail) -> Example:
        whole = tail(part)
        text = whole.text.codes[whole.start : whole.start + EXAMPLE_SYMBOLS]
        codes = self.task.pairs.encode(text)
        x = torch.from_numpy(codes)[:, None]
        return Example(
            Batch(x, None, x),
            f"The first {len(codes)} symbols of the test part, from an empty state.",
            symbols=tuple(self.task.vocabulary[code] for code in codes),
        )


def readable(text: str | bytes) -> str:
    """Return a text for people: bytes that are not UTF-8 become replacement characters."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
