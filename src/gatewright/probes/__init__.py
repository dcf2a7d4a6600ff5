"""Probes: measurements of a network without training it.

gw.probes.gradient_horizon   how far back the state depends on the past, and by which path
gw.probes.input_horizon      how far back any model's losses depend on its inputs
gw.probes.time_constants     how many steps each unit keeps its value
gw.probes.saturation         how often each gate is shut, open, or in between
gw.probes.useful_lag         how far back a linear model can use the data
gw.probes.memory_warning     a warning if that is farther than a network can learn
gw.probes.spectrum           the eigenvalues of the step's Jacobian
"""

from gatewright.probes.gates import Saturation, factors, saturation
from gatewright.probes.horizon import GradientHorizon, Path, gradient_horizon
from gatewright.probes.inputs import InputHorizon, input_horizon
from gatewright.probes.lags import steps_until
from gatewright.probes.spectrum import spectrum, step_jacobians
from gatewright.probes.time_constants import time_constants
from gatewright.probes.useful_lag import UsefulLag, useful_lag
from gatewright.probes.warning import memory_warning

__all__ = [
    "GradientHorizon",
    "InputHorizon",
    "Path",
    "Saturation",
    "UsefulLag",
    "factors",
    "gradient_horizon",
    "input_horizon",
    "memory_warning",
    "saturation",
    "spectrum",
    "step_jacobians",
    "steps_until",
    "time_constants",
    "useful_lag",
]
