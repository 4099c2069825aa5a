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
from rope_lab.model.requests import make_request
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
          ValueError: nothing to read, or more than there is room for.
        """
        if not 1 <= len(tokens) <= self.room:
            raise ValueError(
                f"{len(tokens)} tokens are to be read, but this session of "
                f"{self.length} has room for {self.room}; give at least one, or start "
                "a session of more tokens"
            )
        self.tokens += [int(token) for token in tokens]
        waiting = np.asarray([*self._unread, *tokens], np.int32)
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
        stop in between and go on with `read`.
        """
        if not self.tokens:
            raise ValueError("the session is empty: read at least one token first")
        stop = np.asarray(list(stop_tokens), np.int32)
        alive_B = np.ones(1, bool)
        for number in range(min(max_new_tokens, self.room)):
            key = jax.random.fold_in(self._key, len(self.tokens))
            drawing = self._sampling, key, stop
            if number == 0:
                found_B, alive_B = first_token(self._logits_BV, alive_B, *drawing)
            else:
                given_B = np.array([self._unread.pop()], np.int32)
                found_B, alive_B, self._caches = step(
                    *self._fixed, given_B, alive_B, self._caches, *drawing, np.int32(0)
                )
            token = int(found_B[0])
            self.tokens.append(token)
            self._unread = [token]
            yield token
            if not bool(alive_B[0]):
                return
