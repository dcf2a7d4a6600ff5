"""Networks around a cell: how a sequence is prepared, read and summed up. Any cell fits in."""

from gatewright.designs.design import DESIGNS, Design, find_design
from gatewright.designs.leave_one_out import ridge_readout
from gatewright.designs.network import SequenceNetwork
from gatewright.designs.untrained import start_untrained_

__all__ = [
    "DESIGNS",
    "Design",
    "SequenceNetwork",
    "find_design",
    "ridge_readout",
    "start_untrained_",
]
