"""An arm's training step as a table of records."""

from __future__ import annotations

from lowdim.config import ArmConfig, RunConfig, Study, UserError


def tape_text(run: RunConfig, study: Study, name: str) -> str:
    """Return what the fused engine runs for an arm, or one line on why it does not."""
    import torch

    from lowdim.engine.seeds import built
    from lowdim.engine.tape_program import compiled
    from lowdim.engine.taping import UntapeableError
    from lowdim.studies.programs import final_program, plan_final
    from lowdim.studies.tasks import TaskShelf

    if name not in study.arms:
        raise UserError(f"study {study.name} has no arm {name!r}; it has {', '.join(study.arms)}")
    arm = study.arms[name]
    task = TaskShelf(run, study).task(arm.data)
    program = final_program(arm, task)
    replica = plan_final(name, arm, run, 0, _highest(arm), task).replica
    try:
        tapes = compiled(program, task, built(program.build, 0), replica, torch.float32)
    except UntapeableError as error:
        return f"{name} runs on the torch engine: {error}"
    training, evaluation = tapes.training, tapes.evaluation
    return "\n".join(
        [
            f"{study.name}, {name}: a training step",
            training.describe(),
            "",
            f"evaluation, {evaluation.batch} samples a step: {len(evaluation.records)} records, "
            f"{evaluation.predicted_microseconds():.2f} us",
            "times are predicted for one core of a 2.6 GHz AVX-512 server",
        ]
    )


def _highest(arm: ArmConfig) -> dict[str, float]:
    """Return the upper end of every tuned hyperparameter: of a rank, the dearest."""
    return {name: space.high for name, space in (arm.tuning.space if arm.tuning else {}).items()}
