"""`lowdim bench` and `lowdim tape` print what they measured and what runs."""

from typer.testing import CliRunner

from lowdim.bench import CASES, engine_run, plain_run
from lowdim.cli.app import app


def test_cases_train_by_every_engine_and_by_a_plain_loop():
    for name in ("lowrank_diag", "lrg_adam"):
        case = CASES[name]
        steps = plain_run(case, epochs=1)()
        assert steps == 40
        for engine in ("torch", "fused"):
            assert engine_run(case, engine, 2)() == 2 * steps


def test_a_tape_is_printed_record_by_record():
    shown = CliRunner().invoke(app, ["tape", "structured_weights", "kronecker"])
    assert shown.exit_code == 0
    assert "gemm" in shown.output
    assert "adam" in shown.output
    assert "workspace" in shown.output
