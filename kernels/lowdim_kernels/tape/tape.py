"""The tape: a training step written as records, to be interpreted by the tile library.

    tape = Tape(batch=100)
    x = tape.samples(40)
    hidden = tape.buffer(100, activation="relu")
    products.linear(tape, hidden, tape.parameter("0.weight", (100, 40)), x, bias)
    ...
    tape.cross_entropy(output)
    tape.backward()
    tape.adam()
    program = tape.finish()

A layer records its forward pass and hands `on_backward` a function that records its gradients.
README.md in this folder shows one.
"""

from __future__ import annotations

from . import records_matrix as r
from . import records_training as s
from .recorder import bits_of
from .recorder_matrix import Operand
from .recorder_structured import StructuredRecorder
from .records import Operation
from .views import Buffer, View, view_of


class Tape(StructuredRecorder):
    """Append the operations of one training step; see the module's example.

    Operands are views, buffers or parameters. Sizes are checked when a record is appended.
    """

    # elements

    def combine(
        self, out: View, left: Operand, left_factor: float, right: Operand, right_factor: float
    ) -> None:
        """Record out = left_factor left + right_factor right, all contiguous."""
        left, right = view_of(left), view_of(right)
        vectors = self._equal_vectors(out, left, right)
        self.add(
            r.COMBINE,
            vectors=vectors,
            out=out,
            left=left,
            right=right,
            left_factor=bits_of(left_factor),
            right_factor=bits_of(right_factor),
        )

    def multiply(self, out: View, left: Operand, right: Operand) -> None:
        """Record out = left right, element by element."""
        left, right = view_of(left), view_of(right)
        vectors = self._equal_vectors(out, left, right)
        self.add(r.MULTIPLY, vectors=vectors, out=out, left=left, right=right)

    def activate(self, buffer: Buffer) -> None:
        """Record a buffer's activation, where no product did it with `finish`."""
        if buffer.activation == "relu":
            vectors = self._whole_vectors(buffer.values)
            self.add(r.RELU, vectors=vectors, out=buffer.values, left=buffer.product)
        self._activated(buffer.product, buffer)

    def differentiate(self, buffer: Buffer) -> None:
        """Record the derivative of a buffer's activation on its gradient, where no product did."""
        gradient = self.gradient_of(buffer)
        if buffer.activation == "relu":
            vectors = self._whole_vectors(gradient)
            self.add(
                r.RELU_BACKWARD, vectors=vectors, out=gradient, left=gradient, right=buffer.values
            )
        self._differentiated(gradient, buffer)

    def fill(self, out: View, value: float = 0.0) -> None:
        """Record out = value everywhere."""
        self.add(r.FILL, vectors=self._whole_vectors(out), out=out, value=bits_of(value))

    def copy(self, out: Operand, source: Operand) -> None:
        """Record out = source, whatever their strides."""
        out, source = view_of(out), view_of(source)
        if (out.rows, out.columns, out.groups) != (source.rows, source.columns, 1):
            raise ValueError(f"copy: {source} does not fit {out}")
        self.add(
            r.COPY,
            rows=out.rows,
            columns=out.columns,
            source=source,
            source_row=self.bytes(source.row_stride),
            source_column=self.bytes(source.column_stride),
            out=out,
            out_row=self.bytes(out.row_stride),
            out_column=self.bytes(out.column_stride),
        )

    # losses

    def cross_entropy(self, logits: Buffer) -> None:
        """Record softmax and cross-entropy against the labels; the logits become their gradient."""
        self._last(logits)
        labels = self.labels()
        self.add(
            s.CROSS_ENTROPY,
            classes=logits.features,
            vectors=self.columns // self.lanes,
            logits=logits.values,
            logits_row=self.bytes(logits.values.row_stride),
            labels=labels,
        )

    def squared_error(self, predictions: Buffer) -> None:
        """Record the mean over all entries of (prediction - target)^2, in place as above."""
        self._last(predictions)
        targets, valid = self.real_targets(predictions.features), self.labels(as_weights=True)
        self.add(
            s.SQUARED_ERROR,
            rows=predictions.features,
            vectors=self.columns // self.lanes,
            predictions=predictions.values,
            predictions_row=self.bytes(predictions.values.row_stride),
            targets=targets,
            targets_row=self.bytes(targets.row_stride),
            valid=valid,
            factor=bits_of(1.0 / predictions.features),
        )

    def map_error(self, predictions: Buffer) -> None:
        """Record the mean squared error of a linear map A over samples of given second moments.

        The samples must be the unit vectors, as many as the batch, so that `predictions` are A.
        The states hold `map.target` A* (outputs, columns) and `map.moments` S (columns, columns),
        zero past the batch: the loss is scale / outputs * sum (A - A*) S (A - A*)^T's diagonal,
        scale the schedule's, and the gradient takes scale = 1 / batch.
        """
        self._last(predictions)
        values, outputs = predictions.values, predictions.features
        target = self.keep("map.target", outputs, self.columns)
        moments = self.keep("map.moments", self.columns, self.columns)
        error = self.matrix(outputs, self.columns)
        self.combine(error, values, 1.0, target, -1.0)
        self.gemm(values, error, moments)
        self.inner_loss(error, values, 1.0 / outputs)
        self.combine(values, values, 2.0 / (outputs * self.batch), values, 0.0)

    def inner_loss(self, left: View, right: View, factor: float) -> None:
        """Record the loss factor * sum of left right, as sufficient statistics give it."""
        vectors = self._equal_vectors(left, right)
        self.add(s.INNER_LOSS, vectors=vectors, left=left, right=right, factor=bits_of(factor))

    def _last(self, buffer: Buffer) -> None:
        if buffer.activation is not None:
            raise ValueError(f"a loss needs an output without activation, got {buffer.activation}")
        buffer.gradient = buffer.values

    # the end of a step

    def gradient_statistics(self) -> None:
        """Record the gradient's square and its product with the previous step's gradient."""
        size = self._sizes["parameters"]
        self.add(
            s.GRADIENT_STATISTICS,
            vectors=size // self.lanes,
            gradient=View("gradients", 0, 1, 1, size, 0, size),
            previous=self.allocate("previous", 1, size),
        )

    def adam(self, *, group: int = 0) -> None:
        """Record Adam or AdamW on all parameters; the schedule says which."""
        self._update(s.ADAM, group, ("first", "second"))

    def sgd(self, *, group: int = 0) -> None:
        """Record SGD with momentum on all parameters."""
        self._update(s.SGD, group, ("first",))

    def _update(self, operation: Operation, group: int, moments: tuple[str, ...]) -> None:
        self._groups = max(self._groups, group + 1)
        size = self._sizes["parameters"]
        places = [self.allocate(name, 1, size) for name in moments]
        parts = operation.fields[2 : 2 + len(moments)]
        self.add(
            operation,
            vectors=size // self.lanes,
            parameters=View("parameters", 0, 1, 1, size, 0, size),
            gradient=View("gradients", 0, 1, 1, size, 0, size),
            group=group,
            **dict(zip(parts, places, strict=True)),
        )

    # places that depend on the above

    def gradient_of(self, buffer: Buffer) -> View:
        """Return a buffer's gradient; raise ValueError where it has none."""
        if buffer.gradient is None:
            raise ValueError("samples have no gradient")
        return buffer.gradient

    def _equal_vectors(self, *views: View) -> int:
        if len({view.size for view in views}) != 1:
            raise ValueError(f"views differ in size: {views}")
        return min(self._whole_vectors(view) for view in views)
