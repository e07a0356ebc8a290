"""Adam in the very operations of `torch.optim.Adam`, as a rule that steps in place."""

from __future__ import annotations

from lowdim.optim.rules import Adam, Hyper, Params, State


class TorchAdam(Adam):
    """Adam to the last bit as `torch.optim.Adam(foreach=False)` computes it, for one replica.

    Hyperparameters are numbers, every tensor leads with an axis of length one, and `steps` in the
    state counts the steps of each parameter by itself. Parameters and moments are changed where
    they are, which other rules leave alone: fresh memory for each costs as much as Adam itself.
    """

    def moments(self, params: Params, grads: Params, state: State, hyper: Hyper) -> State:
        beta1, beta2, decay = hyper["beta1"], hyper["beta2"], hyper["weight_decay"]
        for name, p in params.items():
            g = grads[name].add(p, alpha=decay) if decay else grads[name]  # type: ignore[arg-type]
            state["mean"][name].lerp_(g, 1 - beta1)
            state["square"][name].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        steps = {name: state["steps"][name] + 1 for name in params}
        return {
            "step": state["step"] + 1,
            "steps": steps,
            "mean": state["mean"],
            "square": state["square"],
        }

    def stepped(self, params: Params, state: State, hyper: Hyper) -> Params:
        for name, p in params.items():
            step = state["steps"][name]
            size = hyper["learning_rate"] / (1 - hyper["beta1"] ** step)
            spread = (1 - hyper["beta2"] ** step) ** 0.5
            scale = state["square"][name].sqrt().div_(spread).add_(hyper["epsilon"])
            p.addcdiv_(state["mean"][name], scale, value=-size)
        return params
