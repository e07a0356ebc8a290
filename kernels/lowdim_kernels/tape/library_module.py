"""The whole library as one LLVM module: every operation, and the loop that interprets a tape."""

from __future__ import annotations

from llvmlite import ir

from . import library_elementwise as elementwise
from . import library_losses as losses
from . import library_samples as samples
from . import library_sparse as sparse
from . import library_truncation as truncation
from . import library_updates as updates
from .library_arrays import ENTRY
from .library_control import INDEX, INT32, index
from .library_emitter import Emitter
from .library_functions import tanh
from .library_matrix import DotTiles, GemmTiles, row_products
from .library_target import Target
from .library_transpose import transpose
from .records import RECORD_FIELDS
from .records_all import OPERATIONS
from .records_structured import PHI_ACTIVATIONS

# flush results and operands that are denormal
_MXCSR_FLUSH = 0x8040
_FPCR_FLUSH = 1 << 24


def build_module(target: Target) -> ir.Module:
    """Return the IR of the library for one target."""
    e = Emitter(target)
    bodies = _bodies(e)
    functions = []
    for operation in OPERATIONS:
        body = bodies[operation.name]
        functions.append(e.operation(operation, body))
    _driver(e, functions)
    return e.module


def _bodies(e: Emitter) -> dict:
    """Return the body of each operation by name."""
    gemm, dot = GemmTiles(e), DotTiles(e)
    plain = {
        "row_products": row_products,
        "transpose": transpose,
        "relu": elementwise.mapped(elementwise.relu, 1),
        "tanh": elementwise.mapped(tanh, 1),
        "silu": elementwise.mapped(elementwise.silu, 1),
        "relu_backward": elementwise.mapped(elementwise.relu_backward, 2),
        "tanh_backward": elementwise.mapped(elementwise.tanh_backward, 2),
        "silu_backward": elementwise.mapped(elementwise.silu_backward, 2),
        "multiply": elementwise.mapped(elementwise.multiply, 2),
        "combine": elementwise.combine,
        "fill": elementwise.fill,
        "copy": elementwise.copy,
        "permute": sparse.permute,
        "sparse_product": sparse.sparse_product,
        "sampled_product": sparse.sampled_product,
        "gather": samples.gather,
        "labels": samples.labels,
        "cross_entropy": losses.cross_entropy,
        "squared_error": losses.squared_error,
        "inner_loss": losses.inner_loss,
        "gradient_statistics": updates.gradient_statistics,
        "adam": updates.adam,
        "sgd": updates.sgd,
        "cholesky": truncation.cholesky,
        "triangular_inverse": truncation.triangular_inverse,
        "leading_rows": truncation.leading_rows,
    }
    for activation in PHI_ACTIVATIONS:
        phi = elementwise.Phi(activation)
        plain[f"phi_{activation}"] = phi.forward
        plain[f"phi_{activation}_backward"] = phi.backward

    def bound(body):
        return lambda fields, run: body(e, fields, run)

    return {"gemm": gemm.body, "dot": dot.body} | {
        name: bound(body) for name, body in plain.items()
    }


def _driver(e: Emitter, functions: list[ir.Function]) -> None:
    """Emit run_tape(workspace, records, count, context, steps) -> steps that were finished.

    A step that reports a status other than 0 is not finished and ends the call.
    """
    function = e.function(
        ENTRY, 5, lambda *arguments: _steps(e, functions, *arguments), returns=True
    )
    function.linkage = "external"


def _steps(e: Emitter, functions, workspace, records, count, context, steps) -> ir.Value:
    b = e.builder
    restore = _flush_denormals(e)
    end = b.append_basic_block("finished")
    before, step_block = b.block, b.append_basic_block("step")
    b.branch(step_block)
    b.position_at_end(step_block)
    step = b.phi(INDEX)
    step.add_incoming(index(0), before)
    record_block = b.append_basic_block("record")
    b.branch(record_block)
    b.position_at_end(record_block)
    number = b.phi(INDEX)
    number.add_incoming(index(0), step_block)
    record = e.step_by(records, number, 8 * RECORD_FIELDS)
    joined = b.append_basic_block("joined")
    switch = b.switch(e.load(record, INDEX), joined)
    statuses = [(index(0), record_block)]
    for value, function in enumerate(functions):
        block = b.append_basic_block()
        switch.add_case(index(value), block)
        b.position_at_end(block)
        statuses.append((b.call(function, [workspace, record, context, step]), block))
        b.branch(joined)
    b.position_at_end(joined)
    status = b.phi(INDEX)
    for value, block in statuses:
        status.add_incoming(value, block)
    going = b.append_basic_block("going")
    b.cbranch(b.icmp_signed("!=", status, index(0)), end, going)
    b.position_at_end(going)
    following = b.add(number, index(1))
    number.add_incoming(following, going)
    stepped = b.append_basic_block("stepped")
    b.cbranch(b.icmp_signed("<", following, count), record_block, stepped)
    b.position_at_end(stepped)
    next_step = b.add(step, index(1))
    step.add_incoming(next_step, stepped)
    b.cbranch(b.icmp_signed("<", next_step, steps), step_block, end)
    b.position_at_end(end)
    finished = b.phi(INDEX)
    finished.add_incoming(step, joined)
    finished.add_incoming(next_step, stepped)
    restore()
    return finished


def _flush_denormals(e: Emitter):
    """Set the CPU to flush denormals, and return what emits the restoring of its old state.

    Moments of units that died decay into denormals, and each step would then be slow.
    """
    b = e.builder
    if e.target.is_x86:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer])
        save = ir.Function(e.module, kind, "llvm.x86.sse.stmxcsr")
        load = ir.Function(e.module, kind, "llvm.x86.sse.ldmxcsr")
        old, new = b.alloca(INT32), b.alloca(INT32)
        b.call(save, [b.bitcast(old, pointer)])
        b.store(b.or_(b.load(old), ir.Constant(INT32, _MXCSR_FLUSH)), new)
        b.call(load, [b.bitcast(new, pointer)])
        return lambda: b.call(load, [b.bitcast(old, pointer)])
    if e.target.is_arm:
        read = ir.Function(e.module, ir.FunctionType(INDEX, []), "llvm.aarch64.get.fpcr")
        write = ir.Function(
            e.module, ir.FunctionType(ir.VoidType(), [INDEX]), "llvm.aarch64.set.fpcr"
        )
        old_state = b.call(read, [])
        b.call(write, [b.or_(old_state, index(_FPCR_FLUSH))])
        return lambda: b.call(write, [old_state])
    return lambda: None


def module_text(target: Target) -> str:
    """Return the IR as text, as LLVM parses it."""
    return str(build_module(target))


__all__ = ["ENTRY", "build_module", "module_text"]
