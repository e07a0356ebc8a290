"""Programs of products are right on every kind of vector, and compile for machines not at hand."""

from pathlib import Path

import pytest
import torch
from llvmlite import binding

from kernels.tolerances import assert_agrees
from lowdim_kernels import kron_matmul_reference, kronecker_geometry
from lowdim_kernels.kronecker_geometry import Factor, Kronecker
from lowdim_kernels.kronecker_program import gradients_program, product_program
from lowdim_kernels.loops.workspace import space
from lowdim_kernels.products import library
from lowdim_kernels.tape.library import compile_object
from lowdim_kernels.tape.library_target import Target, choose_target, host_target

FEATURES = {"AVX2": "+sse2,+avx,+avx2,+fma", "plain": "+sse2"}
FACTORS = [(10, 5), (3, 8), (21, 17)]


@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("element", ["float32", "float64"])
def test_products_are_right_with_narrower_vectors(
    features: str, element: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not binding.get_process_triple().startswith("x86_64"):
        pytest.skip("the narrower vectors are those of x86")
    if features == "AVX2" and not host_target().has("avx2"):
        pytest.skip("this CPU has no AVX2")
    monkeypatch.setenv("LOWDIM_CACHE", str(tmp_path))
    for module in (library, kronecker_geometry):
        monkeypatch.setattr(module, "host_target", lambda element: x86(element, FEATURES[features]))
    library.load_library.cache_clear()
    x = torch.randn(70, 5 * 8 * 17, dtype=getattr(torch, element))
    a = [torch.randn(shape, dtype=x.dtype) for shape in FACTORS]
    g = torch.randn(70, 10 * 3 * 21, dtype=x.dtype)
    wide = [t.double().requires_grad_() for t in (x, *a)]
    expected = kron_matmul_reference(wide[0], wide[1:])
    layout = tuple(Factor(out, inner, 0, inner, 1) for out, inner in FACTORS)
    geometry = Kronecker(element, layout, 0, 1, len(x), len(x))
    y, results = torch.empty_like(g), [torch.empty_like(t) for t in (x, *a)]
    factors = [t.data_ptr() for t in a]
    program, needed = product_program(geometry)
    program.run(x.data_ptr(), y.data_ptr(), space(needed), *factors)
    assert_agrees(y, expected)
    program, needed = gradients_program(geometry, x_needed=True)
    places = [t.data_ptr() for t in results]
    program.run(g.data_ptr(), x.data_ptr(), space(needed), *places, *factors)
    for result, wanted in zip(results, torch.autograd.grad(expected, wide, g.double())):
        assert_agrees(result, wanted)
    library.load_library.cache_clear()


def test_the_library_compiles_for_arm() -> None:
    target = choose_target(
        "float32", triple="aarch64-unknown-linux-gnu", cpu="generic", features="+neon"
    )
    assert compile_object(target, library.module_text)


def x86(element: str, features: str) -> Target:
    triple = binding.get_process_triple()
    return choose_target(element, triple=triple, cpu="x86-64", features=features)
