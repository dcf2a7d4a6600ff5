"""The processor that kernels are built for: this one, or a smaller one that it includes.

The environment variable `GATEWRIGHT_CPU` limits what kernels may use of this processor, to
compare or to test: `native` (all of it, the default), `avx512`, `avx2` or `sse2`. It is read
once, when the first kernel is built, like `GATEWRIGHT_OPTIMISE`.

`GATEWRIGHT_OPTIMISE=0` leaves kernels as they are emitted, without prefetches, a third of their
instructions: they are built in a quarter of the time and take 3 to 7 times as long to run, with
the same results. Tests that build many kernels and run each of them once use it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache

import llvmlite.binding as llvm

from gatewright.backends.checked_build import checked
from gatewright.backends.llvm.ir import Numbers
from gatewright.errors import BackendError

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


@dataclass(frozen=True)
class Target:
    """A processor, as LLVM names it, and its vectors.

    Attributes:
        triple: Architecture, vendor and system, such as "x86_64-unknown-linux-gnu".
        cpu, features: Its model, and what it has in addition or lacks, such as "+neon".
        bits: The width of its vector registers.
        registers: The number of them.
        fused: Whether it has a fused multiply-add.
        byte_products: Whether it adds four products of bytes at once (VNNI).
        pair_products: Whether it adds two products of bfloat16 numbers at once.
        optimised: Whether LLVM's passes and its optimising code generator run.
    """

    triple: str
    cpu: str
    features: str
    bits: int
    registers: int
    fused: bool = True
    byte_products: bool = False
    pair_products: bool = False
    optimised: bool = True

    def machine(self) -> llvm.TargetMachine:
        """Create the LLVM object that writes code for it; an engine takes possession of its own."""
        if self.triple != llvm.get_process_triple():
            llvm.initialize_all_targets()
            llvm.initialize_all_asmprinters()
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=3 if self.optimised else 0,
            reloc="pic",
            codemodel="small",
        )

    def numbers(self, bits: int, *, pairs: bool = False) -> Numbers:
        """Its vectors of 32-bit or 64-bit numbers; `pairs` for products of bfloat16 numbers."""
        return Numbers(
            bits,
            self.bits // bits,
            self.fused,
            byte_products=self.byte_products,
            prefetches=self.optimised,
            pairs=pairs,
            pair_products=self.pair_products,
        )


def levels(triple: str) -> dict[str, Target]:
    """The processors that `GATEWRIGHT_CPU` can name on x86-64: the levels of its psABI."""
    return {
        "avx512": Target(triple, "x86-64-v4", "", 512, 32),
        "avx2": Target(triple, "x86-64-v3", "", 256, 16),
        "sse2": Target(triple, "x86-64", "", 128, 16, fused=False),
    }


def native() -> Target:
    """This processor, with all of its features."""
    triple, has = llvm.get_process_triple(), llvm.get_host_cpu_features()
    x86 = is_x86(triple)
    fused = bool(has.get("fma")) or not x86
    bits = 128  # SSE2 on x86-64, NEON on AArch64: the least that 64-bit processors have
    if has.get("avx512f"):
        bits = 512
    elif has.get("avx2") and fused:
        bits = 256
    # AVX-512 doubled x86-64's 16 vector registers; AArch64 and POWER have 32 at any width.
    registers = 16 if x86 and bits < 512 else 32
    vnni = bool(has.get("avx512vnni" if bits == 512 else "avxvnni")) and bits > 128
    bf16 = bits == 512 and bool(has.get("avx512bf16"))
    name, features = llvm.get_host_cpu_name(), has.flatten()
    return Target(triple, name, features, bits, registers, fused, vnni, bf16)


def is_x86(triple: str) -> bool:
    """Tell if a triple is of the x86 architecture."""
    return triple.startswith(("x86", "i386", "i686"))


@cache
def target() -> Target:
    """The processor that kernels of this process are built for.

    Raises:
        BackendError: if `GATEWRIGHT_CPU` is not a known name, or needs what this processor lacks.
    """
    # The checked build is for tests as well.
    optimised = os.environ.get("GATEWRIGHT_OPTIMISE") != "0" and not checked()
    return replace(_named_processor(os.environ.get("GATEWRIGHT_CPU")), optimised=optimised)


def _named_processor(name: str | None) -> Target:
    this = native()
    if name in (None, "", "native"):
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
