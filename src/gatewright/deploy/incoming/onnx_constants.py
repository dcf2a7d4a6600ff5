"""The constants of an ONNX graph: stored tensors, and what nodes compute from them alone.

Exporters write a layer's weights as they are, or as nodes that slice, join and transpose stored
tensors. Only nodes that move numbers, or combine a few, are computed here, within a budget of
memory: a file may come from a stranger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import ModelError
from gatewright.files import regular_file

Array = NDArray[Any]

#: Operators that only move numbers: their result has those of the first operand, or of all of a
#: Concat.
MOVED = frozenset(
    {
        *("Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze"),
        *("Transpose", "Unsqueeze"),
    }
)
ELEMENTWISE = frozenset({"Add", "Mul", "Neg", "Sub"})
#: Operators that are computed. Not Gather, whose result may be far larger than its operands.
COMPUTED = MOVED - {"Gather"} | ELEMENTWISE | {"Constant", "DequantizeLinear"}
#: Operators that repeat their first operand: of a start of states, once for each row of a batch.
REPEATED = frozenset({"Expand", "Tile"})
#: The longest chain of nodes that is followed.
MAX_DEPTH = 64
#: Computed tensors may take as many bytes as the larger of these: a number, and a multiple of the
#: stored ones that they are computed from. A chain of ten operators copies its operand ten times.
MAX_COMPUTED_BYTES, MAX_COMPUTED_RATIO = 1 << 26, 50
#: Bytes of a number where operands of several types are combined.
WIDEST = 16


@dataclass
class ByteBudget:
    """The bytes that computed tensors, and those of other files, may still take.

    A file has one budget for all of its graphs, however many.
    """

    left: int = MAX_COMPUTED_BYTES
    files: set[Path] = field(default_factory=set)

    def add(self, stored: int) -> None:
        """Allow what may be computed from so many stored bytes."""
        self.left += MAX_COMPUTED_RATIO * stored

    def add_file(self, path: Path, size: int) -> None:
        """Allow what may be read and computed from a file, of which tensors may share bytes."""
        if path not in self.files:
            self.files.add(path)
            self.add(size)

    def spend(self, needed: int) -> None:
        """Take bytes before they are allocated.

        Raises:
            MemoryError: if as many are not left.
        """
        self.left -= needed
        if self.left < 0:
            raise MemoryError("its constants take too much memory")


class OnnxConstants:
    """The values of a graph that depend on no input.

    Args:
        graph: A GraphProto.
        file: The file's path, for messages and for tensors in files next to it.
        opset: The version of ONNX's operators.
        outer: The graph that this one is an attribute of, whose values it can read too.
    """

    def __init__(
        self, graph: Any, file: Path, opset: int, outer: OnnxConstants | None = None
    ) -> None:
        self.file, self.opset, self.outer = file, opset, outer
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.inputs = {value.name for value in graph.input}
        self.budget: ByteBudget = ByteBudget() if outer is None else outer.budget
        self._values: dict[tuple[str, bool], Array | None] = {}
        self._zeros: dict[str, bool] = {}

    def value(self, name: str, *, repeated: bool = False, depth: int = 0) -> Array | None:
        """The numbers of a value, or None if they depend on an input, or are not computed here.

        Args:
            repeated: Whether what repeats a tensor is passed over: a start of states is then
                `(D, 1, H)`, however many rows a batch has.

        Raises:
            ModelError: if a stored tensor is damaged, or a node cannot be computed.
        """
        key = name, repeated
        if key not in self._values:
            self._values[key] = None  # a graph that reads its own result stops here
            self._values[key] = self._computed(name, repeated, depth)
        return self._values[key]

    def is_zero(self, name: str, depth: int = 0) -> bool:
        """Tell if a value consists of zeros, of whatever shape."""
        if name not in self._zeros:
            self._zeros[name] = False
            self._zeros[name] = self._is_zero(name, depth)
        return self._zeros[name]

    def _is_zero(self, name: str, depth: int) -> bool:
        stored = self.value(name)
        if stored is not None:
            return not stored.any()
        node = self.producers.get(name)
        if node is None:
            outer = None if name in self.inputs else self.outer
            return outer is not None and outer.is_zero(name, depth)
        if depth > MAX_DEPTH:
            return False
        if node.op_type == "ConstantOfShape":
            value = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            return not value or not self._array(value[0], name).any()
        sources = node.input if node.op_type == "Concat" else node.input[:1]
        return node.op_type in MOVED | REPEATED and all(self.is_zero(s, depth + 1) for s in sources)

    def _computed(self, name: str, repeated: bool, depth: int) -> Array | None:
        if name in self.stored:
            return self._array(self.stored[name], name)
        node = self.producers.get(name)
        if node is None:
            outer = None if name in self.inputs else self.outer
            return None if outer is None else outer.value(name, repeated=repeated, depth=depth)
        if node.domain not in ("", "ai.onnx") or depth > MAX_DEPTH:
            return None
        if repeated and node.op_type in REPEATED:
            return self.value(node.input[0], repeated=True, depth=depth + 1)
        if node.op_type not in COMPUTED:
            return None
        if node.op_type == "Constant":
            return self._constant(node, name)
        operands: dict[str, Array] = {}
        for operand in filter(None, node.input):
            value = self.value(operand, repeated=repeated, depth=depth + 1)
            if value is None:
                return None
            operands[operand] = value
        return self._run(node, operands, name)

    def _constant(self, node: Any, name: str) -> Array | None:
        """The numbers of a Constant; None if it has texts, or a sparse tensor."""
        for attribute in node.attribute:
            if attribute.name == "value":
                return self._array(attribute.t, name)
            if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
                return self._run(node, {}, name)
        return None

    def _array(self, tensor: Any, name: str) -> Array:
        """The numbers of a stored tensor."""
        from onnx import TensorProto, numpy_helper

        try:
            if tensor.data_type == TensorProto.STRING:  # NumPy pads all texts to the longest
                raise ModelError(f"{self.file}: the tensor {name} has texts; expected numbers")
            is_outside = tensor.data_location == TensorProto.EXTERNAL
            if is_outside:
                tensor = self._from_outside(tensor)
            array: Array = numpy_helper.to_array(tensor)
        except ModelError:
            raise
        except Exception as error:  # whatever onnx raises for wrong types and shapes
            raise ModelError(f"{self.file} is damaged: the tensor {name}: {error}") from error
        if not is_outside:
            self.budget.add(array.nbytes)
        return array

    def _from_outside(self, tensor: Any) -> Any:
        """A tensor with its numbers, which are in a file of the model's folder."""
        from onnx import TensorProto, helper

        entries = {entry.key: entry.value for entry in tensor.external_data}
        folder = self.file.resolve().parent
        path = (folder / entries["location"]).resolve()
        if not path.is_relative_to(folder):
            raise ModelError(
                f"{self.file}: the numbers of {tensor.name} are in {entries['location']}, outside "
                "of the model's folder, and are not read; copy that file into the folder, and "
                "save the model again"
            )
        size = math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        start = int(entries.get("offset", 0))
        length = int(entries.get("length", size))
        try:
            with regular_file(path) as (file, total):
                if length != size or min(start, size) < 0 or start + size > total:
                    raise ModelError(
                        f"{self.file} is damaged: {tensor.name} has {size} bytes, and {path.name} "
                        f"has {total}, of which {length} from {start} on belong to it"
                    )
                self.budget.add_file(path, total)
                self.budget.spend(size)
                file.seek(start)
                content = file.read(size)
        except OSError as error:
            raise ModelError(
                f"{self.file}: the numbers of {tensor.name} cannot be read: {error}"
            ) from error
        return TensorProto(
            name=tensor.name, dims=tensor.dims, data_type=tensor.data_type, raw_data=content
        )

    def _run(self, node: Any, operands: Mapping[str, Array], name: str) -> Array:
        """Compute one node by onnx's own reference of its operator."""
        from onnx import TypeProto, helper
        from onnx.reference import ReferenceEvaluator

        try:
            inputs = [operands[operand] for operand in node.input if operand]
            read = sum(array.nbytes for array in inputs)
            self.budget.spend(max(read, _result_bytes(node, inputs)))
            sources = [
                helper.make_tensor_value_info(
                    operand, helper.np_dtype_to_tensor_dtype(array.dtype), None
                )
                for operand, array in operands.items()
            ]
            graph = helper.make_graph(
                [node],
                "constant",
                sources,
                [helper.make_value_info(output, TypeProto()) for output in node.output if output],
            )
            # The reference has this operator from version 19 on, which computes the same.
            opset = max(self.opset, 19) if node.op_type == "DequantizeLinear" else self.opset
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
            results: Any = ReferenceEvaluator(model).run([name], dict(operands))
        except Exception as error:  # whatever the operator raises
            raise ModelError(
                f"{self.file}: the node {node.name or name} ({node.op_type}), of which weights are "
                f"computed, cannot be: {error}"
            ) from error
        return np.asarray(results[0])


def _result_bytes(node: Any, inputs: Sequence[Array]) -> int:
    """The most bytes that the result of a node takes.

    Raises:
        ValueError, IndexError: if the operands do not fit each other.
    """
    from onnx import helper

    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if not inputs:
        return 0  # of a Constant, whose numbers are in the file
    first = inputs[0]
    same = all(array.dtype == first.dtype for array in inputs)
    width = first.dtype.itemsize if same else WIDEST
    if node.op_type in ELEMENTWISE:
        return width * math.prod(np.broadcast_shapes(*(array.shape for array in inputs)))
    if node.op_type == "Concat":
        return width * sum(array.size for array in inputs)
    if node.op_type == "Cast":
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(attributes["to"]))
        if kind.kind not in "biufcV":  # V: the small floats of machine learning
            raise ValueError(f"it casts to {kind.name}; expected numbers")
        return kind.itemsize * first.size
    if node.op_type == "DequantizeLinear":
        return WIDEST * _dequantised_size(first, inputs[1:], attributes)
    return first.nbytes  # it only moves numbers of the first operand


def _dequantised_size(x: Array, scales: Sequence[Array], attributes: Mapping[str, int]) -> int:
    """The most numbers of an array that DequantizeLinear works on.

    Args:
        scales: The scale and the zero point: a number, one for each place of an axis, or one for
            each block along it.
    """
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    sizes, shapes = [], [x.shape]
    for scale in scales:
        if scale.size != 1 and block:
            sizes.append(scale.size * block)
        elif scale.size != 1:
            shape = [1] * x.ndim
            shape[axis] = scale.size
            shapes.append(tuple(shape))
    return max(math.prod(np.broadcast_shapes(*shapes)), *sizes, 0)
