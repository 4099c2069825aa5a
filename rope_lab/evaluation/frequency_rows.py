"""How rows of frequencies compare beyond the training length, with intervals.

Letters: M models, N sequences, B sequences a call, T positions.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from rope_lab.evaluation.intervals import paired_interval
from rope_lab.evaluation.positions import SCORE_ENTRIES, batch_size_for, check_windows
from rope_lab.model import apply_model


class SequenceScores(NamedTuple):
    """Means over positions, of each model on each sequence."""

    loss: Float[np.ndarray, "M N"]  # nats per token beyond the training length
    beyond: Float[np.ndarray, "M N"]  # accuracy there
    within: Float[np.ndarray, "M N"]  # accuracy up to there, of what is computed


def score_sequences(
    graphdef: Any,
    params: Any,
    tokens: Int[np.ndarray, "N T+1"],
    logic: Any,
    first: int,
    train_length: int,
) -> SequenceScores:
    """Measures models side by side on the same sequences, teacher-forced.

    Args:
      graphdef: of the one architecture.
      params: parameters with a leading axis of models.
      tokens: sequences of T + 1 tokens, the start token first.
      logic: stacked, one per model.
      first: the first target that is computed, not given.
      train_length: targets from here on are beyond.
    """
    tokens = check_windows(tokens)
    count, length = tokens.shape[0], tokens.shape[1] - 1
    models = jax.tree.leaves(params)[0].shape[0]
    size = min(count, max(1, batch_size_for(length, 2 * SCORE_ENTRIES) // models))
    parts = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)  # one program
        parts.append(np.asarray(_score(graphdef, params, tokens[rows], logic)))
    loss_MNT, hit_MNT = np.concatenate(parts, axis=2)[:, :, :count]
    return SequenceScores(
        loss=loss_MNT[..., train_length:].mean(-1),
        beyond=hit_MNT[..., train_length:].mean(-1),
        within=hit_MNT[..., first:train_length].mean(-1),
    )


@functools.partial(jax.jit, static_argnames="graphdef")
def _score(graphdef, params, tokens_BS, logic):
    """float32[2, M, B, T]: losses and hits."""

    def model(params, logic):
        inputs_BT, targets_BT = tokens_BS[:, :-1], tokens_BS[:, 1:]
        logits_BTV = apply_model(graphdef, params, inputs_BT, logic)
        log_p_BTV = jax.nn.log_softmax(logits_BTV.astype(jnp.float32))
        loss_BT = -jnp.take_along_axis(log_p_BTV, targets_BT[..., None], -1)[..., 0]
        hit_BT = (jnp.argmax(logits_BTV, axis=-1) == targets_BT).astype(jnp.float32)
        return jnp.stack([loss_BT, hit_BT])

    return jnp.swapaxes(jax.vmap(model)(params, logic), 0, 1)


def row_of(label: str, scores: SequenceScores, reference: SequenceScores | None):
    """A row of the results: a value per model, and the loss paired with a reference.

    The interval is over sequences, of the mean over models: it says how sure the
    difference is for these models. How far it depends on them, the differences of the
    single models say.
    """
    row: dict[str, Any] = {"label": label}
    for name, values_MN in scores._asdict().items():
        row[name] = [float(value) for value in values_MN.mean(axis=1)]
    if reference is not None:
        row["minus_reference"] = _difference(scores.loss, reference.loss)
    return row


def _difference(loss_MN: np.ndarray, reference_MN: np.ndarray) -> dict[str, Any]:
    sequences = np.arange(loss_MN.shape[1])
    found = paired_interval(loss_MN.mean(0), reference_MN.mean(0), sequences)
    return {
        "mean": float(found.mean),
        "interval": [float(found.low), float(found.high)],
        "models": [float(x) for x in (loss_MN - reference_MN).mean(axis=1)],
    }
