"""What else trains many small networks at once: stacked matrix products, JAX, torch.compile."""

from __future__ import annotations

import os

# one thread for JAX too; read when it is first imported
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import torch
from torch import nn

from lowdim.bench import RATE, STEPS, Case, Run


def compiled_run(case: Case) -> Run:
    """Return the plain loop with the loss under torch.compile and the fused optimiser."""
    data = case.task().train
    x, y = data.inputs[0], data.targets[0]
    module = case.build()
    start = {name: value.clone() for name, value in module.state_dict().items()}
    loss_of = torch.compile(lambda a, b: nn.functional.cross_entropy(module(a), b))

    def run() -> int:
        module.load_state_dict(start)
        optimiser = torch.optim.Adam(module.parameters(), lr=RATE, fused=True)
        for rows in torch.randperm(len(x)).split(case.batch):
            optimiser.zero_grad()
            loss_of(x[rows], y[rows]).backward()
            optimiser.step()
        return STEPS

    return run


def stacked_run(case: Case, replicas: int) -> Run:
    """Return dense networks as stacked batched products under one Adam, a rate for all."""
    data = case.task().train
    x, y = data.inputs[0], data.targets[0]
    modules = [case.build() for _ in range(replicas)]
    start = [
        torch.stack(list(same)) for same in zip(*(m.parameters() for m in modules), strict=True)
    ]

    def run() -> int:
        w1, b1, w2, b2 = parameters = [p.detach().clone().requires_grad_() for p in start]
        optimiser = torch.optim.Adam(parameters, lr=RATE, fused=True)
        orders = torch.stack([torch.randperm(len(x)) for _ in range(replicas)])
        for rows in orders.split(case.batch, dim=1):
            optimiser.zero_grad()
            hidden = torch.baddbmm(b1[:, None], x[rows], w1.mT).relu()
            logits = torch.baddbmm(b2[:, None], hidden, w2.mT)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), y[rows].flatten())
            (loss * replicas).backward()
            optimiser.step()
        return replicas * STEPS

    return run


def jax_run(case: Case, kind: str, replicas: int) -> Run:
    """Return jit(vmap(scan of Adam steps)), a seed and a rate for each replica."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    data = case.task().train
    x, y = jnp.asarray(data.inputs[0].numpy()), jnp.asarray(data.targets[0].numpy())
    forward = _jax_kronecker if kind == "kronecker" else _jax_dense
    starts = [_jax_start(case, kind, jnp) for _ in range(replicas)]
    start = jax.tree.map(lambda *parts: jnp.stack(parts), *starts)
    rates = RATE * (1 + jnp.arange(replicas, dtype=jnp.float32))

    def loss(weights, rows):
        logits = forward(weights, x[rows], jax, jnp)
        chosen = jnp.take_along_axis(logits, y[rows][:, None], 1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=1) - chosen).mean()

    def train(weights, rate, order):
        zeros = jax.tree.map(jnp.zeros_like, weights)

        def step(carried, at):
            weights, mean, square, count = carried
            gradient = jax.grad(loss)(weights, at)
            count = count + 1
            mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
            square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
            size, spread = rate / (1 - 0.9**count), 1 - 0.999**count
            weights = jax.tree.map(
                lambda w, m, s: w - size * m / (jnp.sqrt(s / spread) + 1e-8), weights, mean, square
            )
            return (weights, mean, square, count), 0.0

        return jax.lax.scan(step, (weights, zeros, zeros, 0.0), order)[0][0]

    program = jax.jit(jax.vmap(train))
    rng = np.random.default_rng(0)

    def run() -> int:
        orders = np.stack([rng.permutation(len(x)) for _ in range(replicas)])
        order = jnp.asarray(orders.reshape(replicas, STEPS, case.batch))
        jax.block_until_ready(program(start, rates, order))
        return replicas * STEPS

    return run


def _jax_start(case: Case, kind: str, jnp):
    """Return the parameters as a list; of dense layers pairs of weight and bias."""
    values = [jnp.asarray(p.detach().numpy()) for p in case.build().parameters()]
    return values if kind == "kronecker" else list(zip(values[::2], values[1::2], strict=True))


def _jax_dense(weights, x, jax, jnp):
    for place, (w, b) in enumerate(weights):
        x = x @ w.T + b
        if place + 1 < len(weights):
            x = jax.nn.relu(x)
    return x


def _jax_kronecker(weights, x, jax, jnp):
    biases = [w for w in weights if w.ndim == 1]
    factors = [w for w in weights if w.ndim == 2]
    for place, bias in enumerate(biases):
        a, b = factors[2 * place : 2 * place + 2]
        folded = x.reshape(len(x), a.shape[1], b.shape[1])
        x = jnp.einsum("oi,nij,pj->nop", a, folded, b).reshape(len(x), -1) + bias
        if place + 1 < len(biases):
            x = jax.nn.relu(x)
    return x
