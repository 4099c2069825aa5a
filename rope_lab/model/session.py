"""A conversation in a cache: text is read once, however many turns follow.

    session = Session(graphdef, params, logic, length=4096)
    session.read(tokens)
    for token in session.write(100): ...

A session holds as many tokens as its logic was built for. To go on beyond, start
another one with a logic for more and read all tokens again: frequencies never change
inside a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rope_lab.logic.arguments import split_logic
from rope_lab.model.decoder import init_caches
from rope_lab.model.generate import first_token, layer_list, read_more, step
from rope_lab.model.learned import with_learned, without_learned
from rope_lab.model.requests import checked_stop, make_request, require_known
from rope_lab.model.sampling import make_sampling

CHUNK = 256  # tokens read at once; one program for texts of every length


class Session:
    """One sequence of at most `length` tokens under one logic.

    Attributes:
      length: tokens in all, which the logic was built for.
      tokens: all that was read and written.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        params: nnx.State,
        logic: Any,
        length: int,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        cache_dtype: Any = None,
    ):
        """Arguments are those of `generate`; a logic may be a function of the length.

        Raises:
          ValueError: as `generate`, before anything is computed.
        """
        if length < 2:
            raise ValueError(f"a session of {length} tokens holds no answer; give 2")
        config = nnx.merge(graphdef, without_learned(params)).config
        dtype = cache_dtype or config.compute_dtype
        prompt = np.zeros((1, 1), np.int32)
        request = make_request(config, prompt, None, logic, length - 1, (), None, dtype)
        logic = with_learned(request.logic, params, config.num_layers)
        self.length = length
        self._vocab_size = config.vocab_size
        self.tokens: list[int] = []
        self._sampling = make_sampling(temperature, top_k, top_p)
        self._key = jax.random.key(seed)
        arrays, structure = split_logic(request.logic)
        layers = layer_list(params["layers"])
        self._fixed = graphdef, structure, params, layers, arrays
        self._caches = init_caches(config, logic, 1, request.capacity, request.dtype)
        self._logits_BV = jnp.zeros((1, config.vocab_size), jnp.float32)
        self._unread: list[int] = []

    @property
    def room(self) -> int:
        """Tokens that can still be read or written."""
        return self.length - len(self.tokens)

    def read(self, tokens: Sequence[int]) -> None:
        """Adds text, at least one token.

        Raises:
          ValueError: nothing to read, more than there is room for, or what is no token
            of the model.
        """
        if not 1 <= len(tokens) <= self.room:
            raise ValueError(
                f"{len(tokens)} tokens are to be read, but this session of "
                f"{self.length} has room for {self.room}; give at least one, or start "
                "a session of more tokens"
            )
        given = np.asarray(tokens)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"tokens must be a list of integers, got {tokens!r}")
        require_known("token", given, self._vocab_size)
        self.tokens += given.tolist()
        waiting = np.asarray([*self._unread, *given], np.int32)
        self._unread = []
        for start in range(0, len(waiting), CHUNK):
            piece = waiting[start : start + CHUNK]
            chunk_BT = np.pad(piece, (0, CHUNK - len(piece)))[None]
            counts_R = np.array([len(piece)], np.int32)
            self._logits_BV, self._caches = read_more(
                *self._fixed, chunk_BT, counts_R, self._logits_BV, self._caches
            )

    def write(
        self, max_new_tokens: int, stop_tokens: Sequence[int] = ()
    ) -> Iterator[int]:
        """Continues the text, token by token, up to one of `stop_tokens`, included.

        A token belongs to the session as soon as it is yielded, so that a caller may
        stop in between and go on with `read` or another `write`. Each token continues
        all that is in the session by then, whoever read or wrote it.

        Raises:
          ValueError: at the call: nothing was read yet, or a stop token is none of the
            model.
        """
        if not self.tokens:
            raise ValueError("the session is empty: read at least one token first")
        stop = checked_stop(stop_tokens, self._vocab_size)
        return self._written(max_new_tokens, stop)

    def _written(self, max_new_tokens: int, stop: np.ndarray) -> Iterator[int]:
        alive_B = np.ones(1, bool)
        for _ in range(max_new_tokens):
            if not self.room:
                return
            key = jax.random.fold_in(self._key, len(self.tokens))
            drawing = self._sampling, key, stop
            if not self._unread:  # the scores are those after the last token
                found_B, goes_on_B = first_token(self._logits_BV, alive_B, *drawing)
            else:
                given_B = np.array(self._unread, np.int32)
                found_B, goes_on_B, self._caches = step(
                    *self._fixed, given_B, alive_B, self._caches, *drawing, np.int32(0)
                )
            token = int(found_B[0])
            self.tokens.append(token)
            self._unread = [token]
            yield token
            if not bool(goes_on_B[0]):
                return
