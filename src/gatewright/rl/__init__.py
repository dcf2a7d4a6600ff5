"""Reinforcement learning: policies and modules with any cell as their memory.

    gw.rl.MlpPolicy, CnnPolicy, MultiInputPolicy   policies for `RecurrentPPO` of sb3-contrib
    gw.rl.RecurrentModule                          a layer as a module of TorchRL

The policies need `pip install 'gatewright[rl]'`, the module `pip install torchrl`: each library is
imported when a name that needs it is first used. Both call `layer(x, starts=...)` on whole
rollouts, where the layers of the libraries loop in Python over the steps, or split the rollouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewright.errors import ArgumentError

if TYPE_CHECKING:
    from gatewright.rl.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
    from gatewright.rl.recurrent_module import RecurrentModule

__all__ = ["CnnPolicy", "MlpPolicy", "MultiInputPolicy", "RecurrentModule"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"gatewright.rl has no attribute {name!r}")
    module: Any
    try:
        if name == "RecurrentModule":
            import gatewright.rl.recurrent_module as module
        else:
            import gatewright.rl.policies as module
    except ImportError as error:
        package = str(error.name).partition(".")[0]
        install = "torchrl" if name == "RecurrentModule" else "'gatewright[rl]'"
        raise ArgumentError(
            f"gatewright.rl.{name} needs the package {package}: pip install {install}"
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
