"""Text from a trained decoder: one prefill, then one token a step, from a cache.

    tokens_BN, lengths_B = generate(graphdef, params, prompt_BT, logic, 100)
    for tokens_B in stream(graphdef, params, prompt_BT, logic, 100): ...

Two programs are compiled: the prefill, for each rounded length of prompt, and the step,
for each rounded length of text. How long the text has grown is data.

Legend: B batch, T tokens of the prompt, N new tokens, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rope_lab.logic.arguments import join_logic, split_logic
from rope_lab.model.decoder import init_caches, model_and_logic, unstacked
from rope_lab.model.learned import with_learned, without_learned
from rope_lab.model.requests import Request, make_request
from rope_lab.model.sampling import Sampling, make_sampling

NO_TOKEN = -1  # of a sequence that has ended


class Generated(NamedTuple):
    """New tokens int32[B, N], -1 behind the end, and how many there are, int32[B]."""

    tokens: np.ndarray
    lengths: np.ndarray


def generate(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompt_tokens: Any,
    logic: Any,
    max_new_tokens: int,
    *,
    prompt_lengths: Sequence[int] | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_tokens: Sequence[int] = (),
    prefill_chunk: int | None = None,
    cache_dtype: Any = None,
) -> Generated:
    """Continues prompts by up to `max_new_tokens` tokens; greedy unless told otherwise.

    The cache holds prompt and new tokens under one logic, whose frequencies never
    change inside a sequence. To continue a text further, call again with all of it as
    the prompt: that costs one prefill of all tokens so far, and builds a logic given as
    a function for the new length.

    Args:
      graphdef, params: from `init_model`. The layers' parameters are copied once.
      prompt_tokens: int32[B, T] in 0 .. V-1.
      logic: a PositionLogic, a plain callable of its signature, a sequence with one per
        layer, or a function ``total_length -> logic``, which is called with the tokens
        of the longest prompt plus max_new_tokens (dynamic_ntk, longrope).
      max_new_tokens: N.
      prompt_lengths: int[B], for prompts padded on the right; default T.
      temperature: divides the scores; 0 is greedy. Default: greedy, or 1 where top_k or
        top_p is given.
      top_k: draw among so many of the most likely tokens.
      top_p: draw among the most likely tokens that reach this probability together,
        after temperature and top_k.
      seed: of the draws; the same seed gives the same text.
      stop_tokens: a sequence ends with the first of these, which is counted.
      prefill_chunk: tokens of the prompt that are read at once; default all. Less
        memory, and prompts of every length share one program.
      cache_dtype: float32 or bfloat16; default that of the model's activations. On a
        CPU bfloat16 is slower.

    Returns:
      `Generated`: tokens int32[B, N], -1 behind the end, and lengths int32[B].

    Raises:
      ValueError: before anything is computed, for arguments that do not fit, and for a
        logic built for fewer tokens in all than asked for.
    """
    arguments = dict(locals())
    tokens_BN = None
    for number, tokens_B in enumerate(stream(**arguments)):
        if tokens_BN is None:
            tokens_BN = np.full((len(tokens_B), max_new_tokens), NO_TOKEN, np.int32)
        tokens_BN[:, number] = tokens_B
    return Generated(tokens_BN, (tokens_BN != NO_TOKEN).sum(-1).astype(np.int32))


def stream(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    prompt_tokens: Any,
    logic: Any,
    max_new_tokens: int,
    *,
    prompt_lengths: Sequence[int] | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    stop_tokens: Sequence[int] = (),
    prefill_chunk: int | None = None,
    cache_dtype: Any = None,
) -> Iterator[np.ndarray]:
    """`generate`, token by token: yields int32[B], -1 for sequences that have ended.

    Ends when all have. Arguments are checked at the call, not at the first token.
    """
    sampling = make_sampling(temperature, top_k, top_p)
    config = nnx.merge(graphdef, without_learned(params)).config
    request = make_request(
        config,
        prompt_tokens,
        prompt_lengths,
        logic,
        max_new_tokens,
        stop_tokens,
        prefill_chunk,
        cache_dtype or config.compute_dtype,
    )
    with_learned(request.logic, params, config.num_layers)  # refuses at once, or never
    return _tokens(graphdef, params, request, sampling, jax.random.key(seed))


def _tokens(graphdef, params, request: Request, sampling: Sampling, key):
    arrays, structure = split_logic(request.logic)
    layers = layer_list(params["layers"])
    fixed = graphdef, structure, params, layers, arrays
    logits_BV = caches = None
    for number, (chunk_BT, counts_R) in enumerate(request.chunks()):
        if number == 0:
            size = (request.capacity, request.dtype, request.ragged)
            logits_BV, caches = _read_first(*fixed, chunk_BT, counts_R, size)
        else:
            logits_BV, caches = read_more(*fixed, chunk_BT, counts_R, logits_BV, caches)
    alive_B = np.ones(len(request.tokens_BT), bool)
    drawing = sampling, key, request.stop_tokens
    tokens_B, alive_B = first_token(logits_BV, alive_B, *drawing)
    for number in range(1, request.max_new_tokens + 1):
        shown_B, goes_on_B = tokens_B, alive_B
        if number < request.max_new_tokens:
            # On its way while the caller looks at the token before it.
            tokens_B, alive_B, caches = step(
                *fixed, tokens_B, alive_B, caches, *drawing, np.int32(number)
            )
        yield np.asarray(shown_B)
        if not np.asarray(goes_on_B).any():
            return


@jax.jit
def layer_list(stacked):
    """Parameters of each layer, copied once, as the steps below take them."""
    return unstacked(stacked)


_static = functools.partial(jax.jit, static_argnames=("graphdef", "structure"))


@functools.partial(jax.jit, static_argnames=("graphdef", "structure", "size"))
def _read_first(graphdef, structure, params, layers, arrays, tokens_BT, counts_R, size):
    """Scores after the first tokens of the prompts, and caches that hold them."""
    capacity, dtype, ragged = size
    model, logic = model_and_logic(graphdef, params, join_logic(arrays, structure))
    batch = tokens_BT.shape[0]
    caches = init_caches(model.config, logic, batch, capacity, dtype, ragged)
    return model.extend(tokens_BT, logic, caches, counts_R, fresh=True, layers=layers)


@functools.partial(_static, donate_argnames=("logits_BV", "caches"))
def read_more(
    graphdef, structure, params, layers, arrays, tokens_BT, counts_R, logits_BV, caches
):
    """The same after further tokens; a prompt that has none keeps its scores."""
    model, logic = model_and_logic(graphdef, params, join_logic(arrays, structure))
    found_BV, caches = model.extend(tokens_BT, logic, caches, counts_R, layers=layers)
    return jnp.where(counts_R[:, None] > 0, found_BV, logits_BV), caches


@functools.partial(_static, donate_argnames="caches")
def step(
    graphdef,
    structure,
    params,
    layers,
    arrays,
    tokens_B,
    alive_B,
    caches,
    sampling,
    key,
    stop_tokens,
    number,
):
    """The token after tokens_B, which of the sequences go on behind it, and caches."""
    model, logic = model_and_logic(graphdef, params, join_logic(arrays, structure))
    given_B1 = jnp.maximum(tokens_B, 0)[:, None]  # an ended sequence reads anything
    logits_BV, caches = model.extend(given_B1, logic, caches, layers=layers)
    key = jax.random.fold_in(key, number)
    return *_chosen(logits_BV, alive_B, sampling, key, stop_tokens), caches


@jax.jit
def first_token(logits_BV, alive_B, sampling, key, stop_tokens):
    """The token after a prompt, and which of the sequences go on behind it."""
    return _chosen(logits_BV, alive_B, sampling, key, stop_tokens)


def _chosen(logits_BV, alive_B, sampling, key, stop_tokens):
    tokens_B = jnp.where(alive_B, sampling.choose(logits_BV, key), NO_TOKEN)
    stopped_B = (tokens_B[:, None] == stop_tokens[None]).any(-1)
    return tokens_B, alive_B & ~stopped_B
