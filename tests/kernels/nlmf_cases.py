"""Cases of nlmf_weight."""

from kernels.cases import Case
from lowdim_kernels.nlmf import ElementwiseNetwork, nlmf_weight, nlmf_weight_reference


def nlmf_case(out, inner, rank, units, activation="silu"):
    """Return the case of nlmf_weight for these sizes."""

    def operators(inputs, constants):
        from lowdim_kernels.nlmf import _gradients, _product

        stacked = [t.unsqueeze(0) for t in inputs]
        g = nlmf_weight_reference(inputs[0], inputs[1], inputs[2:], activation=activation)
        return [
            (_product.graph_op, (activation, *stacked)),
            (_gradients.graph_op, (activation, g.detach().unsqueeze(0), *stacked)),
        ]

    return Case(
        name=f"{activation} {units} units on {out}x{inner} of rank {rank}",
        function=lambda u, v, *phi: nlmf_weight(
            u, v, ElementwiseNetwork(*phi), activation=activation
        ),
        reference=lambda u, v, *phi: nlmf_weight_reference(
            u, v, ElementwiseNetwork(*phi), activation=activation
        ),
        shapes=((out, rank), (inner, rank), (units,), (units,), (units,), ()),
        operators=operators,
    )


NLMF_CASES = [
    nlmf_case(3, 4, 2, 3),
    nlmf_case(100, 40, 4, 16),
    nlmf_case(10, 100, 4, 16, "tanh"),
    nlmf_case(35, 33, 1, 7, "relu"),
]
NLMF_EDGES = [
    nlmf_case(0, 4, 2, 3),
    nlmf_case(4, 0, 2, 3),
    nlmf_case(1, 1, 1, 1),
    nlmf_case(3, 4, 0, 2),
    nlmf_case(3, 4, 2, 0),
]
