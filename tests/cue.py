"""An environment that only a memory solves: the first observation says which last action pays."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Cue(gymnasium.Env[Any, Any]):
    """The reward is 1 if the last of 8 actions is the cue, which only the first step shows."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)
    steps = 8

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number, self.cue = 0, int(self.np_random.integers(2))
        return self.observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        last = self.step_number == self.steps - 1
        self.step_number += 1
        return self.observation(), float(last and action == self.cue), last, False, {}

    def observation(self) -> Any:
        cue = 2.0 * self.cue - 1.0 if self.step_number == 0 else 0.0
        return np.array([cue, self.step_number == self.steps - 1], np.float32)
