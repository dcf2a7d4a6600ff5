"""Networks that discretise a differential equation whose solutions remember."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class AntisymmetricRNN(Cell):
    """A differential equation whose memory neither fades nor explodes, in Euler steps.

    The eigenvalues of an antisymmetric matrix are imaginary: it rotates the state without
    changing its length. Only the diffusion makes it shorter.

    Source: Chang, Chen, Haber and Chi 2019, "AntisymmetricRNN: a dynamical system view on
    recurrent neural networks", section 3 (the step with its diffusion, and the gated one).

    Attributes:
        gated: Add a gate, with the same matrix, for how far each unit moves.
        epsilon: Length of a step of the differential equation.
        gamma: Diffusion, which is subtracted from the diagonal of the matrix for stability.
    """

    gated: bool = False
    epsilon: float = 0.1
    gamma: float = 0.1

    def step(self, x: Any, h: Any) -> Update:
        turn = linear(h, bias=False, antisymmetric=True) - self.gamma * h
        move = tanh(turn + linear(x))
        if self.gated:
            gate = sigmoid(turn + linear(x))
            move = gate * move
        h = h + self.epsilon * move
        return state(h=h)


class CoRNN(Cell):
    """Damped, driven oscillators that are coupled: y is their position, z their velocity.

    Source: Rusch and Mishra 2021, "Coupled oscillatory recurrent neural network (coRNN)",
    eq. 3, damping the velocity before the step. The defaults are the constants that the
    authors used for images read pixel by pixel.

    Attributes:
        dt: Length of a step of the differential equation.
        gamma: Stiffness of each oscillator, the square of its frequency.
        epsilon: Damping.
    """

    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7

    def step(self, x: Any, y: Any, z: Any) -> Update:
        force = tanh(linear(x, y, z))
        z = z + self.dt * (force - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return state(y=y, z=z)


class LEM(Cell):
    """Two memories that follow each other; gates set the pace of each unit at each step.

    Source: Rusch, Mishra, Erichson and Mahoney 2022, "Long expressive memory for sequence
    modeling", eq. 3.

    Attributes:
        dt: The longest step that a unit can make.
    """

    dt: float = 1.0

    def step(self, x: Any, y: Any, z: Any) -> Update:
        pace_z = self.dt * sigmoid(linear(x, y))
        pace_y = self.dt * sigmoid(linear(x, y))
        new_z = tanh(linear(x, y))
        z = (1 - pace_z) * z + pace_z * new_z
        new_y = tanh(linear(x, z))
        y = (1 - pace_y) * y + pace_y * new_y
        return state(y=y, z=z)
