"""The processor that kernels are built for: this one, or one that it is told to be.

The environment variable `GATEWRIGHT_CPU` limits what kernels may use of this processor, to
compare or to test: `native` (all of it, which is the default), `avx512`, `avx2` or `sse2`. It
is read once, when the first kernel is built.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from gatewright.backends.llvm.checked import checked
from gatewright.backends.llvm.ir import Numbers
from gatewright.errors import BackendError

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


@dataclass(frozen=True)
class Target:
    """A processor, as LLVM names it, and its vectors.

    Attributes:
        triple: Architecture, vendor and system, such as "x86_64-unknown-linux-gnu".
        cpu, features: Its model and what that has beyond, or lacks, such as "+neon".
        bits: The width of its vectors.
        registers: How many of them it has.
        fused: Whether it multiplies and adds in one operation.
    """

    triple: str
    cpu: str
    features: str
    bits: int
    registers: int
    fused: bool = True

    def machine(self) -> llvm.TargetMachine:
        """What writes code for it. An engine takes the one it is given with it."""
        if self.triple != llvm.get_process_triple():
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        found = llvm.Target.from_triple(self.triple)
        return found.create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=0 if checked() else 3,
            reloc="pic",
            codemodel="small",
        )

    def numbers(self, bits: int) -> Numbers:
        """Its vectors of numbers of so many bits."""
        return Numbers(bits, self.bits // bits, self.fused)


def levels(triple: str) -> dict[str, Target]:
    """What `GATEWRIGHT_CPU` can name on x86-64: the models of its psABI."""
    return {
        "avx512": Target(triple, "x86-64-v4", "", 512, 32),
        "avx2": Target(triple, "x86-64-v3", "", 256, 16),
        "sse2": Target(triple, "x86-64", "", 128, 16, fused=False),
    }


def native() -> Target:
    """This processor, with all that it can."""
    triple, has = llvm.get_process_triple(), llvm.get_host_cpu_features()
    x86 = is_x86(triple)
    fused = bool(has.get("fma")) or not x86
    bits = 128
    if has.get("avx512f"):
        bits = 512
    elif has.get("avx2") and fused:
        bits = 256
    registers = 16 if x86 and bits < 512 else 32
    return Target(triple, llvm.get_host_cpu_name(), has.flatten(), bits, registers, fused)


def is_x86(triple: str) -> bool:
    """Whether a triple is one of Intel's and AMD's architecture."""
    return triple.startswith(("x86", "i386", "i686"))


@cache
def target() -> Target:
    """What kernels are built for and run on in this process.

    Raises:
        BackendError: if `GATEWRIGHT_CPU` names what there is not, or what this processor lacks.
    """
    name = os.environ.get("GATEWRIGHT_CPU") or "native"
    this = native()
    if name == "native":
        return this
    known = levels(this.triple) if this.triple.startswith("x86_64") else {}
    if name not in known:
        raise BackendError(
            f"GATEWRIGHT_CPU={name} is not known on {this.triple}; "
            f"give one of {', '.join(['native', *known])}"
        )
    if known[name].bits > this.bits:
        raise BackendError(
            f"GATEWRIGHT_CPU={name} needs vectors of {known[name].bits} bits, and {this.cpu} has "
            f"{this.bits}; leave it out, or give a smaller one"
        )
    return known[name]
