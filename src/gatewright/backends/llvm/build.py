"""Building: from LLVM's language to functions in memory, for the machine that this is."""

from __future__ import annotations

import ctypes
from functools import cache

import llvmlite.binding as llvm
from llvmlite import ir

from gatewright.backends.llvm.vector import Numbers

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()


def machine() -> llvm.TargetMachine:
    """The host, with all that its processor can. An engine takes the one it is given with it."""
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=3, reloc="pic", codemodel="small"
    )


@cache
def vector_bits() -> int:
    """The width of the host's vectors."""
    has = llvm.get_host_cpu_features()
    if has.get("avx512f"):
        return 512
    return 256 if has.get("avx2") and has.get("fma") else 128


@cache
def registers() -> int:
    """How many of them it has."""
    x86 = llvm.get_process_triple().startswith(("x86", "i386", "i686"))
    return 16 if x86 and vector_bits() < 512 else 32


def numbers(bits: int) -> Numbers:
    """The host's vectors of numbers of so many bits."""
    return Numbers(bits, vector_bits() // bits)


def object_code(module: ir.Module) -> bytes:
    """A module as object code for the host."""
    module.triple = llvm.get_process_triple()
    host = machine()
    module.data_layout = str(host.target_data)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    # The kernels are vectors already, and unrolled as far as they should be.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(host, options)
    passes.getModulePassManager().run(parsed, passes)
    return bytes(host.emit_object(parsed))


class Library:
    """Object code in memory; it must live as long as its functions are used."""

    def __init__(self, code: bytes) -> None:
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine())
        self.code = code
        parsed = llvm.ObjectFileRef.from_data(code)
        self.engine.add_object_file(parsed)
        parsed.detach()  # the engine owns it now; freed twice, it corrupts the memory
        self.engine.finalize_object()

    def function(self, name: str) -> int:
        """The address of a function."""
        return int(self.engine.get_function_address(name))


KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
SHARED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
