"""Loops, alternatives and switches in LLVM IR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

INDEX = ir.IntType(64)
INT32 = ir.IntType(32)


def index(value: int) -> ir.Constant:
    """Return a 64-bit integer constant."""
    return ir.Constant(INDEX, value)


class Control:
    """Emit control flow at the position of `builder`."""

    builder: ir.IRBuilder

    def loop(
        self,
        end: ir.Value,
        carried: Sequence[ir.Value],
        body: Callable,
        *,
        step: ir.Value | int = 1,
        start: ir.Value | int = 0,
    ) -> list[ir.Value]:
        """Emit `for i in range(start, end, step): carried = body(i, carried)`, at least once."""
        builder = self.builder
        step = index(step) if isinstance(step, int) else step
        start = index(start) if isinstance(start, int) else start
        before, head = builder.block, builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        counter = builder.phi(INDEX)
        counter.add_incoming(start, before)
        phis = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            phis.append(phi)
        results = list(body(counter, phis) or [])
        following = builder.add(counter, step)
        counter.add_incoming(following, builder.block)
        for phi, value in zip(phis, results, strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, end), head, after)
        builder.position_at_end(after)
        return results

    def loop_or_none(
        self, end: ir.Value, carried: Sequence[ir.Value], body: Callable, **range_options
    ) -> list[ir.Value]:
        """Emit the same loop, run not at all when the range is empty."""
        start = range_options.get("start", index(0))
        some = self.builder.icmp_signed("<", start, end)
        return self.instead(some, carried, lambda: self.loop(end, carried, body, **range_options))

    def instead(
        self, condition: ir.Value, values: Sequence[ir.Value], alternative: Callable
    ) -> list[ir.Value]:
        """Return `values`, or what `alternative()` returns where the condition holds."""
        before = self.builder.block
        with self.builder.if_then(condition):
            others = list(alternative() or [])
            then = self.builder.block
        merged = []
        for value, other in zip(values, others, strict=True):
            phi = self.builder.phi(value.type)
            phi.add_incoming(value, before)
            phi.add_incoming(other, then)
            merged.append(phi)
        return merged

    def dispatch(self, key: ir.Value, calls: dict[int, Callable]) -> None:
        """Emit a switch: calls[key](), nothing for any other key."""
        builder = self.builder
        end = builder.append_basic_block("end")
        switch = builder.switch(key, end)
        for value, call in calls.items():
            block = builder.append_basic_block()
            switch.add_case(index(value), block)
            builder.position_at_end(block)
            call()
            builder.branch(end)
        builder.position_at_end(end)
