"""What every structured layer keeps to, kind by kind."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import linear

from lowdim.layers import LAYERS, StructuredLinear, build_layer, layer_options

DTYPES = [torch.float32, torch.float64]


def make(case, seed=0, dtype=torch.float64, inputs=12, outputs=8, bias=True):
    kind, options = case
    generator = torch.Generator().manual_seed(seed)
    return build_layer(
        kind, inputs, outputs, bias=bias, options=options, dtype=dtype, generator=generator
    )


def gradients(loss, layer):
    return torch.autograd.grad(loss, list(layer.parameters()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (0,)])
def test_output_is_that_of_the_materialised_weight(case, dtype, leading, agree):
    layer = make(case, dtype=dtype)
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(*leading, 12, dtype=dtype)
    agree(layer(x), linear(x, layer.materialize(), layer.bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_those_of_the_materialised_weight(case, dtype, agree):
    layer = make(case, dtype=dtype)
    x = torch.randn(5, 12, dtype=dtype)
    target = torch.randn(5, 8, dtype=dtype)
    dense = linear(x, layer.materialize(), layer.bias)
    ours = gradients((layer(x) - target).square().sum(), layer)
    for mine, theirs in zip(ours, gradients((dense - target).square().sum(), layer)):
        agree(mine, theirs)


def test_parameters_are_counted_with_the_bias(case):
    layer, bare = make(case), make(case, bias=False)
    stored = sum(parameter.numel() for parameter in bare.parameters())
    assert bare.effective_parameters == stored
    assert layer.effective_parameters == stored + 8
    assert bare.bias is None


def test_biases_start_at_zero(case):
    assert not make(case).bias.any()


def test_one_seed_gives_one_layer_and_leaves_the_global_generator_alone(case):
    before = torch.get_rng_state()
    first, again, other = make(case, seed=3), make(case, seed=3), make(case, seed=4)
    assert torch.equal(first.materialize(), again.materialize())
    assert not torch.equal(first.materialize(), other.materialize())
    assert torch.equal(before, torch.get_rng_state())


def test_reset_draws_the_weight_anew(case, generator):
    layer = make(case, seed=1)
    before = layer.materialize().detach().clone()
    with torch.no_grad():
        layer.bias.fill_(1)
    layer.reset_parameters(generator)
    assert not torch.equal(layer.materialize(), before)
    assert not layer.bias.any()


def test_replicas_stack_each_with_its_own_weights_and_mask(case, agree):
    replicas = [make(case, seed=seed) for seed in range(3)]
    params, buffers = stack_module_state(replicas)
    x = torch.randn(3, 5, 12, dtype=torch.float64)

    def loss(params, buffers, x):
        return functional_call(replicas[0], (params, buffers), x).square().sum()

    outputs = vmap(lambda p, b, x: functional_call(replicas[0], (p, b), x))(params, buffers, x)
    slopes = vmap(torch.func.grad(loss))(params, buffers, x)
    for r, layer in enumerate(replicas):
        agree(outputs[r], layer(x[r]))
        own = gradients(layer(x[r]).square().sum(), layer)
        for (name, _), slope in zip(layer.named_parameters(), own):
            agree(slopes[name][r], slope)


def test_replicas_stack_on_a_base_without_memory(case, agree):
    replicas = [make(case, seed=seed) for seed in range(2)]
    params, buffers = stack_module_state(replicas)
    base = copy.deepcopy(replicas[0]).to("meta")
    x = torch.randn(5, 12, dtype=torch.float64)
    outputs = vmap(lambda p, b: functional_call(base, (p, b), x))(params, buffers)
    agree(outputs[1], replicas[1](x))


def test_replicas_materialise_under_vmap(case, agree):
    replicas = [make(case, seed=seed) for seed in range(2)]
    params, buffers = stack_module_state(replicas)

    class Weight(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self):
            return self.layer.materialize()

    params = {f"layer.{name}": value for name, value in params.items()}
    buffers = {f"layer.{name}": value for name, value in buffers.items()}
    weights = vmap(lambda p, b: functional_call(Weight(replicas[0]), (p, b), ()))(params, buffers)
    agree(weights[1], replicas[1].materialize())


def test_replicas_may_share_their_buffers(case, agree):
    first = make(case, seed=0)
    other = copy.deepcopy(first)
    other.reset_parameters(torch.Generator().manual_seed(5))
    params, buffers = stack_module_state([first, other])
    shared = {name: tensor[0] for name, tensor in buffers.items()}
    x = torch.randn(5, 12, dtype=torch.float64)
    outputs = vmap(lambda p: functional_call(first, (p, shared), x))(params)
    agree(outputs[1], other(x))


def test_layers_compile_as_one_graph(case, agree):
    layer = make(case)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = torch.randn(5, 12, dtype=torch.float64)
    agree(compiled(x), layer(x))
    ours = gradients(compiled(x).square().sum(), layer)
    for mine, plain in zip(ours, gradients(layer(x).square().sum(), layer)):
        agree(mine, plain)


def test_layers_run_under_autocast(case):
    layer = make(case, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(5, 12))
    y.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_a_copy_shares_nothing(case):
    layer = make(case)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin.materialize(), layer.materialize())
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert not layer.materialize().any()
    assert twin.materialize().any()


def test_a_state_dict_carries_the_whole_layer(case, tmp_path):
    layer, other = make(case, seed=1), make(case, seed=2)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    x = torch.randn(4, 12, dtype=torch.float64)
    assert torch.equal(other.materialize(), layer.materialize())
    assert torch.equal(other(x), layer(x))


def test_layers_change_dtype(case, agree):
    layer = make(case)
    narrow = copy.deepcopy(layer).to(torch.float32)
    x = torch.randn(4, 12)
    assert narrow(x).dtype == torch.float32
    agree(narrow(x), layer(x.double()).float())


def test_layers_can_be_built_without_memory(case):
    kind, options = case
    layer = build_layer(kind, 12, 8, options=options, device="meta")
    assert all(parameter.is_meta for parameter in layer.parameters())
    assert layer.effective_parameters == make(case).effective_parameters


def test_a_default_device_is_kept_to(case):
    kind, options = case
    with torch.device("meta"):
        layer = build_layer(kind, 12, 8, options=options)
    tensors = [*layer.parameters(), *layer.buffers()]
    assert all(tensor.is_meta for tensor in tensors)


def test_representation_names_the_sizes(case):
    assert "in_features=12, out_features=8, bias=True" in repr(make(case))


def test_training_lowers_the_loss(case):
    layer = make(case)
    x = torch.randn(64, 12, dtype=torch.float64)
    y = linear(x, make(case, seed=9).materialize().detach())
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (layer(x) - y).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_wrong_width_names_both_sizes(case):
    with pytest.raises(ValueError, match=r"12.*\(4, 11\)"):
        make(case)(torch.randn(4, 11, dtype=torch.float64))


def test_dense_is_drawn_as_torch_draws_it():
    torch.manual_seed(5)
    theirs = nn.Linear(12, 8)
    torch.manual_seed(5)
    plain = build_layer("dense", 12, 8)
    seeded = build_layer("dense", 12, 8, generator=torch.Generator().manual_seed(5))
    for ours in (plain, seeded):
        assert type(ours) is nn.Linear
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


def test_every_kind_of_the_registry_builds_by_default():
    for kind in LAYERS:
        layer = build_layer(kind, 12, 8)
        assert layer(torch.randn(2, 12)).shape == (2, 8)
        assert kind == "dense" or isinstance(layer, StructuredLinear)


def test_options_are_listed_by_kind():
    assert layer_options("masked") == ("density", "gain")
    assert layer_options("dense") == ()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("butterfly", {}, "one of .*kronecker.*got 'butterfly'"),
        ("masked", {"rank": 2}, "options of layer 'masked' may be .*density.*got 'rank'"),
        ("dense", {"gain": 2.0}, "none, got 'gain'"),
        ("kronecker", {"factors": [(2, 3), (4, 3)]}, r"\(8, 12\), got .*\(8, 9\)"),
        ("kronecker", {"factors": []}, r"factors must be pairs .* got \[\]"),
        ("kronecker", {"factors": [(2, 3, 1), (4, 4)]}, "factors must be pairs"),
        ("kronecker", {"factors": 0}, "number of factors must be at least 1, got 0"),
        ("lowrank", {"rank": 0}, "rank must be .* at least 1, got 0"),
        ("lowrank_diag", {"rank": 1.5}, "rank must be a whole number .* got 1.5"),
        ("lowrank_diag", {"diagonal_share": 1.0}, r"diagonal_share must be in \[0, 1\), got 1.0"),
        ("lowrank_diag", {"diagonal": False, "diagonal_share": 0.1}, "0 without a diagonal"),
        ("masked", {"density": 0.0}, r"density must be in \(0, 1\], got 0.0"),
        ("masked", {"density": 1.1}, r"density must be in \(0, 1\], got 1.1"),
        ("masked", {"density": float("nan")}, r"density must be in \(0, 1\], got nan"),
        ("masked", {"density": 0.001}, "density must keep at least one of 8 x 12"),
        ("lowrank", {"gain": 0.0}, "gain must be positive and finite, got 0.0"),
        ("nlmf", {"rank": 0}, "rank must be .* at least 1, got 0"),
        ("nlmf", {"units": 0}, "units must be a whole number of at least 1, got 0"),
        ("nlmf", {"activation": "gelu"}, "activation must be one of .*silu.*got 'gelu'"),
        ("nlmf", {"start": "zero"}, "start must be one of .*centred.*got 'zero'"),
    ],
)
def test_bad_options_name_argument_value_and_what_was_expected(kind, options, message):
    with pytest.raises(ValueError, match=message):
        build_layer(kind, 12, 8, options=options)


def test_bad_sizes_are_refused(case):
    with pytest.raises(ValueError, match="in_features must be at least 1, got 0"):
        make(case, inputs=0)
