"""How much context a model uses: the same targets, with less and less before them.

Loss by position compares different tokens at different positions, whose difficulty
scatters more than a doubling of the context gains. Here every context is measured on
the same targets, so the gains are paired.
"""

from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from rope_lab.evaluation.positions import Progress, targets_checksum
from rope_lab.evaluation.summaries import difference, level
from rope_lab.evaluation.truncated import truncated

SHORTEST = 4  # tokens


def context_use(
    graphdef: Any,
    params: Any,
    tokens: Int[np.ndarray, "N L+1"],
    document_ids: Shaped[np.ndarray, " N"],
    logic: Any,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Loss of the second half of each window as its context doubles up to L tokens.

    Windows should start inside documents: openings are formulaic and need no context.

    Args:
      graphdef: the model's definition.
      params: its parameters.
      tokens: windows of the training length L, at least 8.
      document_ids: the document of each window.
      logic: the logic the model was trained with.
      progress: called after each context with (contexts done, contexts in all).

    Returns:
      ``steps``, from short to long: ``context`` [least, most] tokens before a target,
      ``loss`` and ``accuracy`` with intervals, and ``gain``, the paired fall of the
      loss against the step before; ``used``, the longest context up to which every
      gain's interval lies above zero; tokens and checksum of the targets.
    """
    ids = np.asarray(document_ids)
    targets = np.asarray(tokens)[:, 1:]
    length = targets.shape[1]
    first = length // 2
    steps: list[dict[str, Any]] = []
    before = None
    contexts = doublings(length)
    for context in contexts:
        loss, hit = truncated(graphdef, params, tokens, logic, context)
        loss, hit = loss[:, first:], hit[:, first:]
        step: dict[str, Any] = {"context": [context - context // 2 + 1, context]}
        step |= level(loss.mean(1, np.float64), hit.mean(1, np.float64), ids, loss.size)
        step["gain"] = None if before is None else difference(before, loss.mean(1), ids)
        before = loss.mean(1)
        steps.append(step)
        if progress is not None:
            progress(len(steps), len(contexts))
    return {
        "steps": steps,
        "used": used(steps),
        "tokens": targets[:, first:].size,
        "targets_checksum": targets_checksum(targets[:, first:]),
    }


def used(steps: list[dict[str, Any]]) -> int:
    """Tokens up to which each doubling lowered the loss beyond doubt."""
    longest = steps[0]["context"][1]
    for step in steps[1:]:
        interval = step["gain"]["interval"]
        if interval is None or interval[0] <= 0:
            break
        longest = step["context"][1]
    return longest


def doublings(length: int) -> list[int]:
    """length, and its halvings down to ``SHORTEST``, from short to long."""
    contexts = [length]
    while contexts[-1] // 2 >= SHORTEST:
        contexts.append(contexts[-1] // 2)
    return contexts[::-1]
