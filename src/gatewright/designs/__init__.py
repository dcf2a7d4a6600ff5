"""Networks around a cell: how a sequence is prepared, read and summed up. Any cell fits in."""

from gatewright.designs.design import DESIGNS, Design, find_design
from gatewright.designs.network import SequenceNetwork

__all__ = ["DESIGNS", "Design", "SequenceNetwork", "find_design"]
