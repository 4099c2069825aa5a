"""A model and its encoding as the config.json of transformers 5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rope_lab.data.chat_files import one_or_all
from rope_lab.interop.families import FAMILIES
from rope_lab.interop.rope_export import rope_parameters
from rope_lab.logic import PositionLogic
from rope_lab.model import ModelConfig


def config_json(
    model: ModelConfig,
    logic: PositionLogic | Sequence[PositionLogic],
    length: int,
    bos_id: int | None,
    eos_ids: Sequence[int],
    dtype: str,
) -> dict[str, Any]:
    """The whole config, of the first family that has what the model has.

    Raises:
      ValueError: no family does, or the encoding cannot be expressed; says why.
    """
    logics: Any = [logic] if isinstance(logic, PositionLogic) else logic
    if not isinstance(logics, list | tuple):
        logics = [logics]  # a function, which is refused by name
    parameters, max_length = _shared_parameters(logics, length)
    windows = [one.record.value.options.get("sliding_window") for one in logics]
    windows *= model.num_layers if len(windows) == 1 else 1
    family = _family(model, windows)
    return {
        "architectures": [FAMILIES[family].architecture],
        "model_type": family,
        "vocab_size": model.vocab_size,
        "hidden_size": model.width,
        "intermediate_size": model.ff_width,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.num_kv_heads,
        "head_dim": model.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon,
        "tie_word_embeddings": model.tied_embeddings,
        "max_position_embeddings": max_length,
        "rope_parameters": parameters,
        "bos_token_id": bos_id,
        "eos_token_id": one_or_all(eos_ids),
        "dtype": dtype,
        **_biases(family, model),
        **_windows(family, windows),
    }


def _shared_parameters(logics: Sequence[Any], length: int) -> tuple[dict, int]:
    different = {id(one): one for one in logics}.values()
    found = [rope_parameters(one, length) for one in different]
    if any(one != found[0] for one in found):
        raise ValueError(
            "layers turn by different frequencies, and transformers has one table for "
            "all layers of these families"
        )
    return found[0]


def _family(model: ModelConfig, windows: Sequence[int | None]) -> str:
    biases, some = model.biases, any(windows)
    same = len(set(windows)) == 1
    if len(set(windows) - {None}) > 1:
        raise ValueError(f"transformers has one sliding window, got {set(windows)}")
    if model.qk_norm == "rms" and biases in (False, "attention"):
        return "qwen3"
    if model.qk_norm == "none" and biases == "qkv":
        return "qwen2"
    if model.qk_norm == "none" and same:
        # Llama's class refuses heads that do not divide the width; Mistral's does not.
        if not biases and (some or model.width % model.num_heads):
            return "mistral"
        if not some and not model.width % model.num_heads:
            return "llama"
    raise ValueError(
        f"no family of {', '.join(FAMILIES)} has biases {biases!r}, qk_norm "
        f"{model.qk_norm!r}, sliding windows {list(windows)} and "
        f"{model.num_heads} heads in width {model.width} together"
    )


def _biases(family: str, model: ModelConfig) -> dict[str, Any]:
    groups = {"attention_bias": "qkv", "mlp_bias": "feed_forward"}
    keys = FAMILIES[family].bias_keys
    return {key: model.has_bias(groups[key]) for key in keys}


def _windows(family: str, windows: Sequence[int | None]) -> dict[str, Any]:
    window = next((one for one in windows if one is not None), None)
    kind = FAMILIES[family].windows
    if kind == "none":
        return {}
    if kind == "all":
        return {"sliding_window": window}
    names = {True: "sliding_attention", False: "full_attention"}
    return {
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "layer_types": [names[one is not None] for one in windows],
    }
