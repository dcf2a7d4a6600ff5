"""Formulas as MathML, which browsers show by themselves."""

from __future__ import annotations

from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml


def visit_inline(writer: Any, node: Any) -> None:
    """Write a formula within a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise SkipNode


def visit_block(writer: Any, node: Any) -> None:
    """Write a formula as a block, which scrolls where it is too wide."""
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div class="formula">{formula}</div>')
    raise SkipNode


def depart_math(writer: Any, node: Any) -> None:
    """Write nothing: the visits skip what follows."""
