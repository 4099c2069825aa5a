"""The decoder, and the pure functions by which everything else uses it.

    graphdef, params = init_model(config, seed=0)
    logits_BTV = apply_model(graphdef, params, tokens_BT, logic)

The logic is an argument, not a part of the model: trained parameters run under another
one by passing another one, and its frequencies are data to the compiled program.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from rope_lab.attention.cache import Cache, init_cache
from rope_lab.logic import PATTERNS, PositionLogic, position_logic
from rope_lab.model.block import Block
from rope_lab.model.config import ModelConfig
from rope_lab.model.gau import GatedAttentionUnit
from rope_lab.model.layers import apply_layers
from rope_lab.model.learned import with_fresh, with_learned, without_learned
from rope_lab.model.parts import embed_init, norm
from rope_lab.model.sharding import constrain
from rope_lab.rotary.exact import is_traced

Logic = PositionLogic | Callable[..., jax.Array]
_BLOCKS = {"llama": Block, "gau": GatedAttentionUnit}


class Decoder(nnx.Module):
    """Tokens to logits: embedding, stacked layers, vocabulary scores.

    Layers of Llama's kind want a norm behind them; gated attention units end with one,
    and want one before them, without gains (GAU-alpha's embedding norm).
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embed = nnx.Embed(
            config.vocab_size,
            config.width,
            embedding_init=embed_init(config),
            dtype=config.compute_dtype,
            param_dtype=jnp.float32,
            rngs=rngs,
        )
        self.layers = _stacked_blocks(config, rngs)
        self.norm = norm(config.width, config, rngs, gains=config.block == "llama")
        if not config.tied_embeddings:
            self.unembed = nnx.Linear(
                config.width,
                config.vocab_size,
                use_bias=False,
                kernel_init=embed_init(config),
                dtype=config.compute_dtype,
                param_dtype=jnp.float32,
                rngs=rngs,
            )

    def __call__(
        self,
        tokens_BT: jax.Array,
        logic: Logic | Sequence[Logic],
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """Next-token logits float32[B, T, V].

        Args:
          tokens_BT: int32 in 0 .. V-1.
          logic: for all layers, or a sequence with one per layer.
          positions: int32 [B, T] or [T]; default 0 .. T-1.
          segment_ids: int32 [B, T]; tokens see their own segment only, 0 is padding.
        """
        x_BTE = self.states(tokens_BT, logic, positions, segment_ids)
        return constrain(self.scores(x_BTE), "batch", "tokens", "vocab")

    def states(
        self,
        tokens_BT: jax.Array,
        logic: Logic | Sequence[Logic],
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
    ) -> jax.Array:
        """[B, T, E] behind the last layer, which `scores` turns into logits."""
        logics = _per_layer(logic, self.config)
        graphdef, stacked = nnx.split(self.layers)

        def layer(parameters, logic, x_BTE):
            block = nnx.merge(graphdef, parameters)
            x_BTE = block(x_BTE, logic, positions, segment_ids)
            return constrain(x_BTE, "batch", "tokens", None)

        x_BTE = constrain(self._embedded(tokens_BT), "batch", "tokens", None)
        return apply_layers(layer, stacked, x_BTE, logics, self.config.remat)

    def extend(
        self,
        tokens_BT: jax.Array,
        logic: Logic | Sequence[Logic],
        caches: Sequence[Cache],
        counts: jax.Array | None = None,
        *,
        fresh: bool = False,
        layers: Sequence[Any] | None = None,
    ) -> tuple[jax.Array, tuple[Cache, ...]]:
        """Logits float32[B, V] after the last real token, and the longer caches.

        Layers are unrolled here: a scan would copy every cache once a token, which at
        32,768 tokens costs six times what the attention does.

        Args:
          tokens_BT: int32, behind the tokens that the caches hold.
          logic: as for a call.
          caches: one per layer, from `init_caches`.
          counts, fresh: as `rope_lab.attention.cache.extend` takes them.
          layers: `unstacked` parameters, which spares a copy of them at each call.
        """
        logics = _per_layer(logic, self.config)
        graphdef, stacked = nnx.split(self.layers)
        layers = layers or unstacked(stacked)
        x_BTE, longer = self._embedded(tokens_BT), []
        for parameters, logic, cache in zip(layers, logics, caches, strict=True):
            block: Any = nnx.merge(graphdef, parameters)
            x_BTE, cache = block.extend(x_BTE, logic, cache, counts, fresh)
            longer.append(cache)
        if counts is None:
            last_BE = x_BTE[:, -1]
        else:
            last_B1 = jnp.broadcast_to(jnp.maximum(counts - 1, 0), x_BTE.shape[:1])
            last_BE = jnp.take_along_axis(x_BTE, last_B1[:, None, None], axis=1)[:, 0]
        return self.scores(last_BE), tuple(longer)

    def _embedded(self, tokens_BT: jax.Array) -> jax.Array:
        # Every device has the rows that it looks up whole, and looks up its own tokens.
        table_VE = constrain(self.embed.embedding[...], "vocab", None)
        table_VE = table_VE.astype(self.config.compute_dtype)
        x_BTE = jnp.take(table_VE, tokens_BT, axis=0)
        return self.norm(x_BTE) if self.config.block == "gau" else x_BTE

    def scores(self, x_BTE: jax.Array) -> jax.Array:
        """float32[..., V] vocabulary scores of states [..., E]."""
        if self.config.block == "llama":
            x_BTE = self.norm(x_BTE)
        if self.config.tied_embeddings:
            kernel_EV = self.embed.embedding[...].T
        else:
            kernel_EV = self.unembed.kernel[...]
        # In bfloat16 the factors are rounded, but never the sum: logits are float32.
        return jnp.matmul(
            x_BTE,
            kernel_EV.astype(x_BTE.dtype),
            preferred_element_type=jnp.float32,
        )


def init_model(
    config: ModelConfig, seed: int = 0, logic: Logic | Sequence[Logic] | None = None
) -> tuple[nnx.GraphDef, nnx.State]:
    """A fresh decoder as (graphdef, params); params is a pytree of float32 arrays.

    logic: what the model will run under, where that learns a bias (KERPLE, T5, FIRE):
      its parameters are then among params. Others leave them as they are without.
    """
    graphdef, key = model_structure(config)[0], jax.random.key(seed)
    params, own = _create(config, key), jax.random.fold_in(key, 2**31)
    return graphdef, with_fresh(params, logic, config.num_layers, own)


def model_structure(
    config: ModelConfig, logic: Logic | Sequence[Logic] | None = None
) -> tuple[nnx.GraphDef, nnx.State]:
    """The same with shapes and dtypes in place of parameters; computes nothing."""
    graphdef, shapes = _structure(config)
    key = jax.random.key(0)
    return graphdef, jax.eval_shape(
        lambda shapes: with_fresh(shapes, logic, config.num_layers, key), shapes
    )


@functools.cache
def _structure(config: ModelConfig) -> tuple[nnx.GraphDef, nnx.State]:
    model = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    return nnx.split(model, nnx.Param, ...)[:2]


@functools.partial(jax.jit, static_argnums=0)
def _create(config: ModelConfig, key: jax.Array) -> nnx.State:
    return nnx.split(Decoder(config, rngs=nnx.Rngs(key)), nnx.Param, ...)[1]


def apply_model(
    graphdef: nnx.GraphDef,
    params: nnx.State,
    tokens_BT: jax.Array,
    logic: Logic | Sequence[Logic],
    positions: jax.Array | None = None,
    segment_ids: jax.Array | None = None,
) -> jax.Array:
    """float32[B, T, V] next-token logits; pure, to be jitted by the caller."""
    model, logic = model_and_logic(graphdef, params, logic)
    return model(tokens_BT, logic, positions, segment_ids)


def model_and_logic(
    graphdef: nnx.GraphDef, params: nnx.State, logic: Logic | Sequence[Logic]
) -> tuple[Decoder, Logic | Sequence[Logic]]:
    """The decoder, and the logic with the biases that params hold for each layer."""
    model = nnx.merge(graphdef, without_learned(params))
    return model, with_learned(logic, params, model.config.num_layers)


def unstacked(stacked: Any) -> list[Any]:
    """Parameters of each layer, from those with a leading layer axis."""
    count = jax.tree.leaves(stacked)[0].shape[0]
    return [jax.tree.map(lambda x, i=i: x[i], stacked) for i in range(count)]


def init_caches(
    config: ModelConfig,
    logic: Logic | Sequence[Logic],
    batch: int,
    capacity: int,
    dtype: Any = None,
    ragged: bool = False,
) -> tuple[Cache, ...]:
    """Empty caches, one per layer; arguments as `rope_lab.attention.cache.init_cache`.

    dtype: by default that of the model's activations.
    """
    return tuple(
        init_cache(
            one,
            batch,
            capacity,
            config.num_kv_heads,
            config.head_dim,
            config.value_dim,
            dtype=dtype or config.compute_dtype,
            ragged=ragged,
        )
        for one in _per_layer(logic, config)
    )


def build_logic(
    spec: dict[str, Any] | Sequence[dict[str, Any]], config: ModelConfig
) -> PositionLogic | tuple[PositionLogic, ...]:
    """`{"name": ..., **options}`, or a list of them cycled over the layers.

    The name is one of the catalogue, or a pattern over all layers: "hwfa", "hwfa2". A
    list must divide or equal the number of layers; equal specs share one logic.

    Raises:
      ValueError: an unknown name or option, a pattern that does not fit the layers, or
        biases for another number of heads than the model's.
    """
    if isinstance(spec, dict):
        return _built(spec, config)
    if not spec or config.num_layers % len(spec):
        raise ValueError(
            f"a pattern of {len(spec)} logics does not divide {config.num_layers} "
            "layers: give one per layer, or a pattern that repeats"
        )
    built: list[tuple[dict, PositionLogic]] = []
    for one in spec:
        known = [logic for seen, logic in built if _equal(seen, one)]
        built.append((one, known[0] if known else _built(one, config)))
    pattern = [logic for _, logic in built]
    if any(isinstance(logic, tuple) for logic in pattern):
        raise ValueError(
            f"{sorted(PATTERNS)} are patterns over all layers: give one alone, not in "
            f"a list of {len(spec)}"
        )
    return tuple(pattern * (config.num_layers // len(pattern)))


def _equal(some: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two specs say the same, arrays and frequencies in them too."""
    structures: list[Any] = [jax.tree.structure(spec) for spec in (some, other)]
    if structures[0] != structures[1]:
        return False
    pairs = zip(jax.tree.leaves(some), jax.tree.leaves(other), strict=True)
    return all(x is y or not is_traced(x, y) and np.array_equal(x, y) for x, y in pairs)


def _built(spec: dict[str, Any], config: ModelConfig):
    if "name" not in spec:
        raise ValueError(f"a position logic needs a name: {spec}")
    options = {key: value for key, value in spec.items() if key != "name"}
    if spec["name"] not in PATTERNS:
        logic = position_logic(spec["name"], head_dim=config.head_dim, **options)
        logic.check_heads(config.num_heads, config.head_dim)
        return logic
    pattern = PATTERNS[spec["name"]]
    try:
        inspect.signature(pattern).bind(config.num_layers, head_dim=0, **options)
    except TypeError as error:
        raise ValueError(f"{spec['name']}: {error}; given: {options}") from None
    return pattern(config.num_layers, head_dim=config.head_dim, **options)


def count_parameters(params: nnx.State) -> int:
    """Numbers in a parameter tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _per_layer(logic, config: ModelConfig) -> Sequence[Logic]:
    """One logic per layer, its softmax scale decided."""
    if not isinstance(logic, (tuple, list)):
        return (_scaled(logic, config),) * config.num_layers
    if len(logic) != config.num_layers:
        raise ValueError(
            f"{len(logic)} position logics for {config.num_layers} layers: pass one "
            "for all, or one per layer"
        )
    # One result for one logic: layers that share a logic go on sharing it.
    scaled = {id(one): _scaled(one, config) for one in logic}
    return [scaled[id(one)] for one in logic]


def _scaled(logic: Logic, config: ModelConfig) -> Logic:
    """The softmax scale of normalised vectors where a logic leaves it open."""
    if config.qk_norm in ("none", "rms") or not isinstance(logic, PositionLogic):
        return logic
    if logic.temperature.softmax_scale is not None:
        return logic
    if config.qk_norm == "cosine":
        raise ValueError(
            "cosine attention has logits of at most 1 without a softmax_scale: give "
            "the position logic one, such as 4 log(training length)"
        )
    temperature = dataclasses.replace(logic.temperature, softmax_scale=1.0)
    return dataclasses.replace(logic, temperature=temperature)


def _stacked_blocks(config: ModelConfig, rngs: nnx.Rngs) -> nnx.Module:
    """All layers as one block whose parameters have a leading layer axis."""

    @nnx.split_rngs(splits=config.num_layers)
    @nnx.vmap(in_axes=0, out_axes=0)
    def create(rngs: nnx.Rngs) -> nnx.Module:
        return _BLOCKS[config.block](config, rngs=rngs)

    return create(rngs)
