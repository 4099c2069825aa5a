"""Patterns over the layers: sliding windows below, full attention where it counts.

Each function returns one logic per layer. In configs they stand where the name of an
encoding does: {"name": "hwfa", "window": 16, "train_length": 512}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rope_lab.logic.bands import PositionLogic
from rope_lab.logic.catalogue import position_logic
from rope_lab.logic.options import require_whole

Pattern = tuple[PositionLogic, ...]


def hwfa(
    num_layers: int,
    *,
    head_dim: int,
    window: int,
    train_length: int,
    **window_options: Any,
) -> Pattern:
    """HWFA (kexue.fm 9603): windows with RoPE, the last layer without positions.

    The last layer sees every key, with log n scaling in training and test alike. The
    model is trained under this, and nothing changes at test. Choose the window by
    `largest_window`. Whether the published window layers had the log n factor too is
    not known; here they have not.

    Args:
      num_layers: L, at least 2.
      head_dim: D.
      window: keys that a lower layer sees, the query's own included.
      train_length: tokens, of log n.
      **window_options: of `position_logic`, for the window layers: base, resonance...
    """
    _require_layers("hwfa", num_layers, 2)
    if "log_n" in window_options:
        raise ValueError(
            "hwfa scales the last layer by log n, and no other: leave log_n out"
        )
    below = _windowed("hwfa", head_dim, window, window_options)
    above = position_logic(
        "nope", head_dim=head_dim, log_n="train", train_length=train_length
    )
    return (below,) * (num_layers - 1) + (above,)


def hwfa2(
    num_layers: int,
    *,
    head_dim: int,
    window: int,
    full_layers: int = 1,
    rerope_window: int | None = None,
    log_n: str = "off",
    train_length: int | None = None,
    **rotary_options: Any,
) -> Pattern:
    """HWFA2 (kexue.fm 9731): RoPE everywhere, a window in all but one or two layers.

    Trained as it is; at test the same with rerope_window, by which the full layers see
    far keys at that distance (ReRoPE). The full layer is number L // 2, or L // 3 and
    2 L // 3, counted from 0.

    Args:
      num_layers: L, above full_layers.
      head_dim: D.
      window: keys that a window layer sees, the query's own included.
      full_layers: 1 or 2.
      rerope_window: tokens; None: RoPE, for training.
      log_n, train_length: of the full layers, as in `position_logic`.
      **rotary_options: of `position_logic`, for all layers: base, resonance...
    """
    if full_layers not in (1, 2):
        raise ValueError(f"hwfa2 has 1 or 2 full layers, got full_layers={full_layers}")
    _require_layers("hwfa2", num_layers, full_layers + 1)
    below = _windowed("hwfa2", head_dim, window, rotary_options)
    full: dict[str, Any] = {
        "head_dim": head_dim,
        "log_n": log_n,
        "train_length": train_length,
    }
    full |= rotary_options
    if rerope_window is None:
        whole = position_logic("rope", **full)
    else:
        whole = position_logic("rerope", window=rerope_window, **full)
    places = {n * num_layers // (full_layers + 1) for n in range(1, full_layers + 1)}
    return tuple(whole if n in places else below for n in range(num_layers))


def receptive_field(num_layers: int, window: int) -> int:
    """(w - 1)(L - 1) + 1: tokens that reach the last layer of `hwfa` through windows.

    >>> receptive_field(num_layers=24, window=16)
    346
    """
    return (window - 1) * (num_layers - 1) + 1


def largest_window(num_layers: int, train_length: int, share: float = 0.75) -> int:
    """The largest window whose `receptive_field` is at most a share of train_length.

    kexue.fm 9603 asks for 3/4 and took 16 of 24 layers and 512 tokens; 17 is allowed.

    >>> largest_window(num_layers=24, train_length=512)
    17
    """
    _require_layers("hwfa", num_layers, 2)
    window = int(share * train_length - 1) // (num_layers - 1) + 1
    if window < 2:
        raise ValueError(
            f"through {num_layers - 1} layers even a window of 2 tokens reaches "
            f"{receptive_field(num_layers, 2)}, more than {share} of train_length "
            f"{train_length}: take fewer layers or longer sequences"
        )
    return window


def _windowed(name: str, head_dim: int, window: int, options: dict) -> PositionLogic:
    window = require_whole(name, "window", window)
    if "sliding_window" in options:
        raise ValueError(f"{name} has a window: leave sliding_window out")
    return position_logic("rope", head_dim=head_dim, sliding_window=window, **options)


def _require_layers(name: str, num_layers: int, least: int) -> None:
    if num_layers < least:
        raise ValueError(f"{name} needs at least {least} layers, got {num_layers}")


PATTERNS: dict[str, Callable[..., Pattern]] = {"hwfa": hwfa, "hwfa2": hwfa2}
