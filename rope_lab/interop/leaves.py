"""Which tensors of a checkpoint make which leaf of the parameters, and back.

Parameters of all layers are one leaf with a leading layer axis, and matrices are
[in, out]; a checkpoint has a tensor per layer, and matrices [out, in].
"""

from __future__ import annotations

import dataclasses

from rope_lab.model import ModelConfig, model_structure
from rope_lab.model.trees import Names, named_leaves

_LAYER = "model.layers.{}."
_TENSORS: dict[Names, str] = {
    ("embed", "embedding"): "model.embed_tokens.weight",
    ("unembed", "kernel"): "lm_head.weight",
    ("norm", "scale"): "model.norm.weight",
    ("attention_norm", "scale"): "input_layernorm.weight",
    ("feed_forward_norm", "scale"): "post_attention_layernorm.weight",
    ("attention", "query_norm", "scale"): "self_attn.q_norm.weight",
    ("attention", "key_norm", "scale"): "self_attn.k_norm.weight",
}
_PROJECTIONS: dict[Names, str] = {
    ("attention", "query"): "self_attn.q_proj",
    ("attention", "key"): "self_attn.k_proj",
    ("attention", "value"): "self_attn.v_proj",
    ("attention", "out"): "self_attn.o_proj",
    ("feed_forward", "gate"): "mlp.gate_proj",
    ("feed_forward", "up"): "mlp.up_proj",
    ("feed_forward", "down"): "mlp.down_proj",
}
EMBEDDING, SCORES = _TENSORS["embed", "embedding"], _TENSORS["unembed", "kernel"]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One leaf of the parameters.

    Attributes:
      names: its place in the parameters.
      shape: with the layer axis, if it is stacked.
      tensors: the names it is made of, one per layer, or one.
      stacked: whether it has a layer axis.
      transposed: whether each tensor is turned round.
    """

    names: Names
    shape: tuple[int, ...]
    tensors: tuple[str, ...]
    stacked: bool
    transposed: bool

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of each of its tensors."""
        shape = self.shape[1:] if self.stacked else self.shape
        return shape[::-1] if self.transposed else shape


def leaves_of(model: ModelConfig) -> list[Leaf]:
    """All leaves of a model, in the order of its parameters.

    Raises:
      ValueError: a model that no checkpoint of other programs describes.
    """
    if model.block != "llama" or model.qk_norm not in ("none", "rms"):
        raise ValueError(
            "other programs know Llama's layers, with RMSNorm on queries and keys or "
            f"without; this model has block {model.block!r}, qk_norm {model.qk_norm!r}"
        )
    shapes = named_leaves(model_structure(model)[1])
    return [_leaf(names, leaf.shape, model) for names, leaf in shapes.items()]


def _leaf(names: Names, shape: tuple[int, ...], model: ModelConfig) -> Leaf:
    stacked = names[0] == "layers"
    own = names[1:] if stacked else names
    if own[:-1] in _PROJECTIONS:
        suffix = {"kernel": "weight", "bias": "bias"}[own[-1]]
        tensor = f"{_PROJECTIONS[own[:-1]]}.{suffix}"
    else:
        tensor = _TENSORS[own]
    layers = range(model.num_layers) if stacked else ()
    tensors = tuple(_LAYER.format(layer) + tensor for layer in layers) or (tensor,)
    return Leaf(names, tuple(shape), tensors, stacked, own[-1] == "kernel")
