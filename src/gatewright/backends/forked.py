"""The detection of forked processes, which lack the threads of torch's pool.

A child that asked for these threads would wait for ever. Only a hook that was set before the
fork can tell a child from its parent, so this module is imported with the layers, before any
kernel is built.
"""

from __future__ import annotations

import os

import torch


class _Process:
    forked = False


def _mark() -> None:
    _Process.forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark)


def forked() -> bool:
    """Tell if this process was forked from one that had imported this module."""
    return _Process.forked


def use_present_threads() -> None:
    """Keep torch's own operations on one thread in a forked process, where they would wait too.

    A call of a kernel has such operations before and after it, which make and convert tensors.
    """
    if _Process.forked and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
