"""Print the samples of `docs/kernels.md`: the kernels of two cells, for a fixed processor.

python docs/make_kernels.py

The prose of the page is written by hand; the samples are between its markers.
`tests/test_docs.py` fails where they are not what the emitters write.
"""

from __future__ import annotations

from pathlib import Path

from figures.blocks import between

import gatewright as gw
from gatewright.backends.llvm.listing import kernel_text as llvm_text
from gatewright.backends.llvm.target import levels
from gatewright.backends.triton.listing import kernel_text as triton_text

PAGE = Path(__file__).resolve().parent / "kernels.md"
#: A fixed processor, so that the sample is the same on every machine.
PROCESSOR = levels("x86_64-unknown-linux-gnu")["avx2"]
#: The functions of the LLVM sample, from the outermost, and an explanation of each.
FUNCTIONS = {
    "loop_inference_team": (
        "The loop over the steps. It reads how many rows run at this step, takes a chunk of them "
        "that fits the second cache through all nests, and waits at a barrier where several "
        "threads share the units."
    ),
    "loop_inference_0": (
        "The nest: the loops over blocks of units and over rows. The widest tiles that fit come "
        "first, and smaller ones take the rest; a single row takes eight blocks at once, so that "
        "enough sums are in progress to hide the latency of a multiply-add."
    ),
    "loop_inference_0_1x1": (
        "The smallest tile: one row, one block of eight units. It prefetches the operands of the "
        "terms. `loop` is the K-loop along the row of `h`, four numbers in each iteration: load a "
        "vector of the packed matrix, broadcast one number of `h`, multiply and add. `loop.1` "
        "takes the rest. Larger tiles have more sums in the same loop."
    ),
    "loop_inference_0_terms": (
        "The pointwise terms, on the sums while they are in registers: add what is known of the "
        "input, and tanh as a quotient of two polynomials. The result is stored as the new state "
        "and as the output."
    ),
}


def main() -> None:
    """Write the samples into the page."""
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")


def pages() -> dict[Path, str]:
    """The page, with fresh samples between its markers."""
    text = PAGE.read_text(encoding="utf-8")
    sizes = {"input": 64, "hidden": 64}
    triton = code("python", triton_text(gw.CELLS["lstm"]().graph, sizes))
    text = between(text, "llvm", "make_kernels", llvm_sample())
    return {PAGE: between(text, "triton", "make_kernels", triton)}


def code(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.strip()}\n```\n"


def llvm_sample() -> str:
    """The header and some functions of the simple RNN's kernel."""
    header, *sections = llvm_text(gw.CELLS["elman_rnn"]().graph, processor=PROCESSOR).split("\n\n")
    parts = [code("llvm", header)]
    for name, about in FUNCTIONS.items():
        [section] = [part for part in sections if f'"{name}"(' in definition(part)]
        parts.append(f"{about}\n\n{code('llvm', section)}")
    return "\n".join(parts)


def definition(section: str) -> str:
    """The line that defines the function of a section, or nothing."""
    return next((line for line in section.splitlines() if line.startswith("define")), "")


if __name__ == "__main__":
    main()
