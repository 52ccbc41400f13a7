"""Fitting by a number of updates, not epochs: for texts of which no run sees all the windows.

Batch `step` is the same whoever asks, so a run that was killed goes on from its checkpoint as if it
had not been.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sentiment.checkpoints import read_checkpoint, training_state, write_checkpoint
from sentiment.fitting import adam, check_value, compile_for_any_shape

CHECKPOINT_SECONDS = 60
REPORTS = 20  # of a run

Batch = tuple[np.ndarray, np.ndarray | None]  # token ids int32 (batch, time); targets


@dataclass(frozen=True)
class StepReport:
    """What the updates since the last report gave.

    Attributes:
        step: updates so far.
        steps: updates of the whole run.
        loss: mean training loss since the last report.
        seconds: since the first of these updates in this process.
    """

    step: int
    steps: int
    loss: float
    seconds: float


def fit_steps(
    model: keras.Model,
    batch_at: Callable[[int], Batch],
    *,
    loss: Any,
    steps: int,
    learning_rate: float,
    warmup: float = 0.1,
    clip_norm: float = 1.0,
    ema: float | None = None,
    checkpoint: Path | None = None,
    identity: str = "",
    on_report: Callable[[StepReport], None] | None = None,
) -> None:
    """Fit a network in place.

    Args:
        model: a built network.
        batch_at: gives the batch of each step, from 0.
        loss: as in `keras.Model.compile`; `None` where the network's layers add theirs.
        steps: updates.
        learning_rate, warmup, clip_norm: as `fitting.fit_model`.
        ema: decay of the running average of the weights, which the network has at the end.
        checkpoint: keeps all state every minute; a run that finds its own there goes on from it.
            The caller removes it.
        identity: of the run, from `checkpoints.identity_of`.
        on_report: called twenty times, evenly over the run.

    Raises:
        ValueError: `checkpoint` is damaged or belongs to another run.
        FloatingPointError: the loss is no longer a number.
    """
    optimizer = adam(steps, learning_rate, warmup=warmup, clip_norm=clip_norm, ema=ema)
    model.compile(optimizer, loss)
    optimizer.build(model.trainable_variables)
    _, targets = batch_at(0)
    compile_for_any_shape(
        model,
        training_state(model, optimizer),
        lambda token_ids: model.train_on_batch(
            token_ids, None if targets is None else np.repeat(targets[:1], len(token_ids), axis=0)
        ),
    )
    first = 0
    if checkpoint is not None and checkpoint.exists():
        header, arrays = read_checkpoint(checkpoint, identity)
        for i, variable in enumerate(training_state(model, optimizer)):
            variable.assign(arrays[f"state_{i}"])
        first = header["step"]
    began = saved = time.perf_counter()
    total, counted = 0.0, 0
    for step in range(first, steps):
        value = float(model.train_on_batch(*batch_at(step)))
        model.reset_metrics()  # else the next value is a running mean
        check_value("training loss", value, f"step {step + 1}")
        total, counted = total + value, counted + 1
        now = time.perf_counter()
        if checkpoint is not None and now - saved > CHECKPOINT_SECONDS:
            state = training_state(model, optimizer)
            arrays = {f"state_{i}": np.asarray(variable) for i, variable in enumerate(state)}
            write_checkpoint(checkpoint, identity, {"step": step + 1}, arrays)
            saved = now
        if on_report is not None and (step + 1) * REPORTS // steps > step * REPORTS // steps:
            on_report(StepReport(step + 1, steps, total / counted, now - began))
            total, counted = 0.0, 0
    if ema is not None:
        optimizer.finalize_variable_values(model.trainable_variables)
