"""What `generate` was asked for, checked before anything is computed.

Legend: B batch, T tokens of the padded prompt, V vocabulary, R rows of lengths (1 where
all prompts are equally long, else B).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rope_lab.logic import CATALOGUE, PositionLogic
from rope_lab.logic.draws import draw_of, spread
from rope_lab.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Request:
    """Prompts, the logic of their length, and the size of the cache.

    Attributes:
      tokens_BT: int32, padded on the right.
      lengths_R: int32, tokens of the prompts.
      logic: PositionLogic or callable, or a tuple of one per layer.
      capacity: tokens a sequence may have, rounded up.
      chunk: tokens of the prompt that are read at once.
    """

    tokens_BT: np.ndarray
    lengths_R: np.ndarray
    logic: Any
    max_new_tokens: int
    stop_tokens: np.ndarray
    capacity: int
    chunk: int
    dtype: Any

    @property
    def ragged(self) -> bool:
        """Whether prompts differ in length."""
        return len(self.lengths_R) > 1

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces int32[B, chunk] of the prompts, and their real tokens int32[R]."""
        width = -(-self.tokens_BT.shape[1] // self.chunk) * self.chunk
        padding = ((0, 0), (0, width - self.tokens_BT.shape[1]))
        tokens_BT = np.pad(self.tokens_BT, padding)
        for start in range(0, width, self.chunk):
            counts_R = np.clip(self.lengths_R - start, 0, self.chunk)
            yield tokens_BT[:, start : start + self.chunk], counts_R.astype(np.int32)


def rounded(tokens: int) -> int:
    """At least as many tokens, one of a few sizes: at most an eighth above 512.

    Texts whose rounded lengths are equal share their programs.
    """
    unit = max(64, 2 ** ((tokens - 1).bit_length() - 4))
    return -(-tokens // unit) * unit


def make_request(
    config: ModelConfig,
    prompt_tokens: Any,
    prompt_lengths: Sequence[int] | None,
    logic: Any,
    max_new_tokens: int,
    stop_tokens: Sequence[int],
    prefill_chunk: int | None,
    dtype: Any,
) -> Request:
    """Checked and in one form. Raises ValueError that says what to change."""
    tokens_BT, lengths_B = _prompts(prompt_tokens, prompt_lengths, config.vocab_size)
    _whole("max_new_tokens", max_new_tokens)
    longest = int(lengths_B.max())
    total = longest + max_new_tokens
    chunk = rounded(longest)
    if prefill_chunk is not None:
        chunk = _whole("prefill_chunk", prefill_chunk)
    stop = checked_stop(stop_tokens, config.vocab_size)
    if jnp.dtype(dtype) not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"cache_dtype must be float32 or bfloat16, got {dtype!r}")
    return Request(
        tokens_BT=tokens_BT[:, :longest],
        lengths_R=lengths_B[:1] if np.ptp(lengths_B) == 0 else lengths_B,
        logic=_logic_for(logic, total, config),
        max_new_tokens=max_new_tokens,
        stop_tokens=stop,
        capacity=rounded(total),
        chunk=chunk,
        dtype=jnp.dtype(dtype),
    )


def require_known(what: str, tokens: np.ndarray, vocab_size: int) -> None:
    """Raises ValueError for a token that the model has no embedding for."""
    wrong = tokens[(tokens < 0) | (tokens >= vocab_size)]
    if wrong.size:
        raise ValueError(
            f"{what} {wrong[0]} is outside the vocabulary, 0 .. {vocab_size - 1}"
        )


def checked_stop(stop_tokens: Sequence[int], vocab_size: int) -> np.ndarray:
    """int32[any]; raises ValueError for one outside the vocabulary."""
    stop = np.asarray(list(stop_tokens), np.int64)
    if np.any((stop < 0) | (stop >= vocab_size)):
        raise ValueError(
            f"stop_tokens {stop.tolist()} must be in 0 .. {vocab_size - 1}"
        )
    return stop.astype(np.int32)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def _prompts(tokens: Any, lengths: Any, vocab_size: int):
    """(tokens int32[B, T], lengths int32[B])."""
    tokens_BT = np.asarray(tokens)
    if tokens_BT.ndim != 2 or 0 in tokens_BT.shape:
        raise ValueError(
            "prompt_tokens must be [batch, tokens] with at least one of each, got "
            f"shape {tokens_BT.shape}"
        )
    if not np.issubdtype(tokens_BT.dtype, np.integer):
        raise ValueError(f"prompt_tokens must be integers, got {tokens_BT.dtype}")
    batch, width = tokens_BT.shape
    lengths_B = np.full(batch, width) if lengths is None else np.asarray(lengths)
    if lengths_B.shape != (batch,) or not np.issubdtype(lengths_B.dtype, np.integer):
        raise ValueError(
            f"prompt_lengths must be {batch} integers, one per prompt, got {lengths!r}"
        )
    if np.any((lengths_B < 1) | (lengths_B > width)):
        raise ValueError(
            f"prompt_lengths must be in 1 .. {width}, got {lengths_B.tolist()}: an "
            "empty prompt needs at least a first token"
        )
    real_BT = np.arange(width) < lengths_B[:, None]
    require_known("prompt token", tokens_BT[real_BT], vocab_size)
    return np.where(real_BT, tokens_BT, 0).astype(np.int32), lengths_B.astype(np.int32)


def _logic_for(logic: Any, total: int, config: ModelConfig) -> Any:
    """The logic for texts of `total` tokens, as one value or a tuple of them."""
    if _is_function_of_length(logic):
        logic = logic(total)
    if isinstance(logic, (tuple, list)):
        if len(logic) != config.num_layers:
            raise ValueError(
                f"{len(logic)} position logics for {config.num_layers} layers: pass "
                "one for all, or one per layer"
            )
        logic = tuple(logic)
    for one in logic if isinstance(logic, tuple) else (logic,):
        if isinstance(one, PositionLogic):
            one.check_heads(config.num_heads, config.head_dim)
            _check_length(one, total)
        elif not callable(one):
            raise ValueError(
                "logic must be a PositionLogic, a callable of its signature, one of "
                f"them per layer, or a function of the total length, got {one!r}"
            )
    return _evenly(logic, total)


def _evenly(logic: Any, total: int) -> Any:
    """A randomized logic at evenly spread positions; any other as it is."""
    draw = draw_of(logic)
    if draw is None:
        return logic
    if draw.at_test != "even":
        raise ValueError(
            "generate counts positions, which a randomized logic can only spread "
            "evenly: build it with at_test='even'"
        )
    if isinstance(logic, tuple):
        return tuple(spread(one, total) for one in logic)
    return spread(logic, total)


def _check_length(logic: PositionLogic, total: int) -> None:
    """Refuse a text longer than the length that the frequencies were made for."""
    entry = CATALOGUE.get(logic.name)
    option = entry.options.get("length") if entry else None
    if option is None or option.default is not inspect.Parameter.empty:
        return  # its frequencies do not depend on the length of the text
    built_for = logic.record.value.options.get("length")
    if built_for is not None and total > built_for:
        raise ValueError(
            f"this {logic.name} logic was built for length {built_for}, but prompt and "
            f"new tokens are {total}: pass a function, logic=lambda length: "
            f"position_logic({logic.name!r}, length=length, ...), and the frequencies "
            "are made for the text; a longer text needs a prefill of its own"
        )


def _is_function_of_length(logic: Any) -> bool:
    """A callable of one argument; a logic takes four."""
    if isinstance(logic, (PositionLogic, tuple, list)) or not callable(logic):
        return False
    signature = inspect.signature(logic)
    return not _takes(signature, 4) and _takes(signature, 1)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True
