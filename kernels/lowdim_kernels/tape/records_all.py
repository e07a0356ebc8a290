"""All operations in the order of their numbers."""

from __future__ import annotations

from .records import Operation
from .records_matrix import (
    COMBINE,
    COPY,
    DOT,
    FILL,
    GEMM,
    MULTIPLY,
    RELU,
    RELU_BACKWARD,
    ROW_PRODUCTS,
    SILU,
    SILU_BACKWARD,
    TANH,
    TANH_BACKWARD,
    TRANSPOSE,
)
from .records_structured import PERMUTE, PHI, PHI_BACKWARD, SAMPLED_PRODUCT, SPARSE_PRODUCT
from .records_training import (
    ADAM,
    CROSS_ENTROPY,
    GATHER,
    GRADIENT_STATISTICS,
    INNER_LOSS,
    LABELS,
    SGD,
    SQUARED_ERROR,
)
from .records_truncation import CHOLESKY, LEADING_ROWS, TRIANGULAR_INVERSE

OPERATIONS: tuple[Operation, ...] = (
    *(GEMM, DOT, ROW_PRODUCTS, TRANSPOSE, RELU, TANH, SILU),
    *(RELU_BACKWARD, TANH_BACKWARD, SILU_BACKWARD, MULTIPLY, COMBINE, FILL, COPY),
    *(PERMUTE, SPARSE_PRODUCT, SAMPLED_PRODUCT, *PHI.values(), *PHI_BACKWARD.values()),
    *(GATHER, LABELS, CROSS_ENTROPY, SQUARED_ERROR, INNER_LOSS),
    *(GRADIENT_STATISTICS, ADAM, SGD),
    *(CHOLESKY, TRIANGULAR_INVERSE, LEADING_ROWS),
)
NUMBERS = {operation.name: number for number, operation in enumerate(OPERATIONS)}
