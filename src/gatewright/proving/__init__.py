"""The proof of the kernels for GPUs on the GPU at hand: `gatewright doctor --gpu`.

    >>> from gatewright.proving import prove
    >>> prove(["mgu", "janet"])  # doctest: +SKIP

| file | holds |
| --- | --- |
| `runs.py` | the runs on which kernels are compared, on random numbers |
| `exactness.py` | all results and gradients of a run, and their errors |
| `times.py` | the times next to those of the backend that "auto" would choose |
| `worker.py` | the process that runs kernels, which may crash |
| `crew.py` | several such processes, and what happened to them |
| `prove.py` | the cells, the time limit, and the record |
"""

from gatewright.proving.prove import CellProof, Proofs, prove

__all__ = ["CellProof", "Proofs", "prove"]
