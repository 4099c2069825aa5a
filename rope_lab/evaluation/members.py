"""Loss and accuracy by position of every member of a sweep, in one program.

Letters: M members, N windows, B windows a call, T positions.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from rope_lab.evaluation.positions import SCORE_ENTRIES, batch_size_for, check_windows
from rope_lab.logic import PositionLogic
from rope_lab.logic.draws import evaluation_positions
from rope_lab.model import apply_model


class Scores(NamedTuple):
    """Means over windows, at each position of each member."""

    loss: Float[np.ndarray, "M T"]  # nats
    accuracy: Float[np.ndarray, "M T"]  # in [0, 1]


def score_members(
    graphdef: Any,
    params: Any,
    tokens: Int[np.ndarray, "N T+1"],
    logic: PositionLogic,
) -> Scores:
    """Measures all members on the same windows, teacher-forced.

    Args:
      graphdef: of the one architecture, from `init_model`.
      params: parameters with a leading member axis.
      tokens: windows of T + 1 tokens; position t reads tokens 0 .. t, predicts t + 1.
      logic: from `stack_logics`, one per member.

    Raises:
      ValueError: tokens is not a table of at least one window of two tokens.
    """
    tokens = check_windows(tokens)
    count, length = tokens.shape[0], tokens.shape[1] - 1
    members = jax.tree.leaves(params)[0].shape[0]
    entries = SCORE_ENTRIES * (2 if jax.default_backend() == "cpu" else 128)
    size = min(count, max(1, batch_size_for(length, entries) // members))
    total: Any = 0.0
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        batch_BS = tokens[np.minimum(rows, count - 1)]  # always full: one program
        real_B = (rows < count).astype(np.float32)
        numbers_B = rows.astype(np.int32)
        sums = _sums(graphdef, params, batch_BS, real_B, numbers_B, logic)
        total = total + np.asarray(jax.device_get(sums), np.float64)
    return Scores(*(total / count))


@functools.partial(jax.jit, static_argnames="graphdef")
def _sums(graphdef, params, tokens_BS, real_B, numbers_B, logic):
    """float32[2, M, T]: losses and hits, summed over the windows that are real."""

    def member(params, logic):
        inputs_BT, targets_BT = tokens_BS[:, :-1], tokens_BS[:, 1:]
        positions = evaluation_positions(logic, numbers_B, inputs_BT.shape[1])
        logits_BTV = apply_model(graphdef, params, inputs_BT, logic, positions)
        log_p_BTV = jax.nn.log_softmax(logits_BTV.astype(jnp.float32))
        loss_BT = -jnp.take_along_axis(log_p_BTV, targets_BT[..., None], -1)[..., 0]
        hit_BT = jnp.argmax(logits_BTV, axis=-1) == targets_BT
        return real_B @ loss_BT, real_B @ hit_BT.astype(jnp.float32)

    return jnp.stack(jax.vmap(member)(params, logic))
