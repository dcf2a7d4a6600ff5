"""Building: from LLVM's language to functions in memory."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import llvmlite.binding as llvm
from llvmlite import ir

from gatewright.backends.checked_build import checked
from gatewright.backends.llvm.ir import Numbers
from gatewright.backends.llvm.target import Target, target

#: Functions that LLVM itself calls, such as memset, are called through the table of addresses, as
#: those with the attribute `nonlazybind` are. The single mapping of `lies_together` has no room for
#: the stubs of other calls to the outside. llvmlite numbers the metadata of a module from 0 on.
OUTSIDE_BY_TABLE = """!llvm.module.flags = !{!1000000}
!1000000 = !{i32 1, !"RtLibUseGOT", i32 1}
"""


def registers() -> int:
    """The number of vector registers of the processor that is built for."""
    return target().registers


def numbers(bits: int, *, pairs: bool = False) -> Numbers:
    """The vectors of that processor, for the checked build if that is asked for."""
    return replace(target().numbers(bits, pairs=pairs), checked=checked())


def object_code(module: ir.Module) -> bytes:
    """Compile a module to object code for this machine."""
    return bytes(target().machine().emit_object(optimised(module, target())))


def optimised(module: ir.Module, goal: Target) -> llvm.ModuleRef:
    """Verify a module and run LLVM's own passes on it, for any machine."""
    module.triple = goal.triple
    machine = goal.machine()
    module.data_layout = str(machine.target_data)
    parsed = llvm.parse_assembly(f"{module}\n{OUTSIDE_BY_TABLE}")
    parsed.verify()
    if goal.optimised:
        _simplify(parsed, machine)
    return parsed


def _simplify(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """Run the passes that kernels gain from.

    LLVM's whole pipeline of level 1 took twice as long, 0.29 s instead of 0.16 for the training
    kernels of the LSTM, and left the same instructions in every loop along K, and 7,577 in all
    instead of 7,535. Level 2 took longer again.
    """
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    # The kernels consist of vectors already, and are unrolled as far as they should be.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, options)
    between = llvm.create_new_module_pass_manager()
    between.add_always_inliner_pass()  # nests, which one function calls
    between.add_dead_arg_elimination_pass()  # of epilogues, whose callers prepare the arguments
    between.run(module, passes)
    each = passes.getFunctionPassManager()
    for function in module.functions:
        if not function.is_declaration:
            each.run(function, passes)
    # An epilogue's last call is a jump, if LLVM knows that it keeps no address of the stack.
    last = llvm.create_new_module_pass_manager()
    last.add_post_order_function_attributes_pass()
    last.add_tail_call_elimination_pass()
    last.run(module, passes)


def lies_together(triple: str) -> bool | None:
    """True where the sections of object code have to be put next to each other.

    LLVM's own memory manager takes a mapping for each section. Where large libraries are mapped,
    such as those of torch for CUDA, two may lie more than 2 GB apart, which is more than the
    relative addresses of the code model `small` can hold: LLVM aborts the process. llvmlite's
    manager takes a single mapping. It is for Linux on x86-64; elsewhere llvmlite decides (None).
    """
    return True if triple.startswith("x86_64") and "linux" in triple else None


class Library:
    """Object code in memory. It must live as long as its functions are used."""

    def __init__(self, code: bytes) -> None:
        machine = target().machine()
        self.engine = llvm.create_mcjit_compiler(
            llvm.parse_assembly(""), machine, use_lmm=lies_together(target().triple)
        )
        self.code = code
        parsed = llvm.ObjectFileRef.from_data(code)
        self.engine.add_object_file(parsed)
        parsed.detach()  # the engine owns it now; freed twice, it corrupts the memory
        self.engine.finalize_object()

    def function(self, name: str) -> int:
        """The address of a function."""
        return int(self.engine.get_function_address(name))


#: The types of a kernel, (table, first, end), and of one that is shared among threads, (table,
#: rows, grain, threads).
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
SHARED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
