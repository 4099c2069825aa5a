"""config.json of the families that are read: Llama, Mistral, Qwen2, Qwen3.

Defaults are those of the config classes of transformers 5: a key that a file leaves out
has the value that transformers gives it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rope_lab.data.chat_files import token_ids
from rope_lab.data.json_text import parse_json
from rope_lab.interop.described import Described, checked_sizes
from rope_lab.interop.keys import Keys
from rope_lab.interop.rope_types import Spec, read_rope
from rope_lab.model import ModelConfig


@dataclasses.dataclass(frozen=True)
class Family:
    """What distinguishes a family.

    Attributes:
      architecture: name of the class that transformers builds.
      max_length, kv_heads, head_dim: defaults; None is heads, and width / heads.
      windows: "none"; "all", every layer has sliding_window keys; "some", layer_types
        or max_window_layers say which.
      qkv_biases: always there, without a key.
    """

    architecture: str
    max_length: int
    kv_heads: int | None = None
    head_dim: int | None = None
    windows: str = "none"
    qkv_biases: bool = False
    bias_keys: tuple[str, ...] = ()
    qk_norm: str = "none"


FAMILIES = {
    "llama": Family("LlamaForCausalLM", 2048, bias_keys=("attention_bias", "mlp_bias")),
    "mistral": Family("MistralForCausalLM", 131_072, kv_heads=8, windows="all"),
    "qwen2": Family(
        "Qwen2ForCausalLM", 32_768, kv_heads=32, windows="some", qkv_biases=True
    ),
    "qwen3": Family(
        "Qwen3ForCausalLM",
        32_768,
        kv_heads=32,
        head_dim=128,
        windows="some",
        bias_keys=("attention_bias",),
        qk_norm="rms",
    ),
}
# Of training, of generating, of bookkeeping: none changes the model's logits.
_HARMLESS = """
    _name_or_path name_or_path transformers_version torch_dtype dtype use_cache
    initializer_range pad_token_id pretraining_tp return_dict output_scores
    output_attentions output_hidden_states _attn_implementation attn_implementation
    _attn_implementation_autoset return_dict_in_generate id2label label2id num_labels
    problem_type finetuning_task task_specific_params tokenizer_class prefix do_sample
    temperature top_k top_p typical_p max_length min_length max_new_tokens num_beams
    num_beam_groups num_return_sequences length_penalty diversity_penalty early_stopping
    repetition_penalty encoder_no_repeat_ngram_size no_repeat_ngram_size bad_words_ids
    forced_bos_token_id forced_eos_token_id suppress_tokens begin_suppress_tokens
    remove_invalid_values exponential_decay_length_penalty chunk_size_feed_forward
    decoder_start_token_id sep_token_id is_llama_config max_sequence_length
    unsloth_fixed
"""
# What older programs called the class.
_FORMER = {"LlamaForCausalLM": ("LLaMAForCausalLM",)}


def read_config(path: Path) -> Described:
    """What a config.json describes.

    Raises:
      ValueError: not one; another family; a key that nothing reads, or a value that
        this decoder has not.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise ValueError(
            f"there is no {path.name} in {path.parent}: give a folder that holds one"
        ) from None
    keys = Keys(parse_json(content, str(path)), str(path))
    kind = keys.text("model_type")
    if kind not in FAMILIES:
        raise ValueError(
            f"{path}: unknown model_type {kind!r}; known here: {', '.join(FAMILIES)}"
        )
    family = FAMILIES[kind]
    _refuse_other_kinds(keys, family)
    model = _model(keys, family)
    checked_sizes(str(path), model.num_layers, model.head_dim)
    train_length = keys.whole("max_position_embeddings", family.max_length)
    rope = read_rope(keys, model.head_dim, train_length)
    encoding = _windowed(keys, family, model.num_layers, rope)
    bos_id = keys.token("bos_token_id")
    eos_ids = token_ids(keys.take("eos_token_id", None), f"{path}: eos_token_id")
    keys.ignore(_HARMLESS.split())
    keys.finish()
    return Described(model, encoding, train_length, bos_id, eos_ids)


def _refuse_other_kinds(keys: Keys, family: Family) -> None:
    names = (family.architecture, *_FORMER.get(family.architecture, ()))
    known = tuple([name] for name in names)
    keys.require("architectures", known, "only language models are read")
    keys.require("hidden_act", ("silu",), "the feed-forward gates with silu")
    keys.require("attention_dropout", (0.0,), "layers have no dropout here")
    for key in ("is_decoder", "is_encoder_decoder", "add_cross_attention"):
        keys.require(key, (False, key == "is_decoder"), "decoders alone are read")
    for key in ("tie_encoder_decoder", "torchscript", "use_bfloat16", "use_mrope"):
        keys.require(key, (False,), "it is another kind of model")
    keys.require("rope_interleaved", (False,), "transformers' Llama pairs halves")


def _model(keys: Keys, family: Family) -> ModelConfig:
    width, heads = keys.whole("hidden_size"), keys.whole("num_attention_heads")
    head_dim = keys.whole("head_dim", family.head_dim)
    if head_dim is None and width % heads:
        raise ValueError(
            f"{keys.place}: hidden_size {width} is no multiple of num_attention_heads "
            f"{heads}, and there is no head_dim"
        )
    kv_heads = keys.nullable("num_key_value_heads", family.kv_heads)
    return ModelConfig(
        vocab_size=keys.whole("vocab_size"),
        num_layers=keys.whole("num_hidden_layers"),
        width=width,
        ff_width=keys.whole("intermediate_size"),
        num_heads=heads,
        num_kv_heads=heads if kv_heads is None else kv_heads,
        head_dim=width // heads if head_dim is None else head_dim,
        tied_embeddings=keys.flag("tie_word_embeddings", False),
        qk_norm=family.qk_norm,
        biases=_biases(keys, family),
        norm_epsilon=keys.number("rms_norm_eps", 1e-6),
    )


def _biases(keys: Keys, family: Family) -> bool | str:
    flags = []
    for key in ("attention_bias", "mlp_bias"):
        flags.append(keys.flag(key, False))
        if flags[-1] and key not in family.bias_keys:
            raise ValueError(f"{keys.place}: {key} is true, which this family ignores")
    attention, feed_forward = flags
    if family.qkv_biases:
        return "qkv"
    if attention and feed_forward:
        return True
    return "attention" if attention else "feed_forward" if feed_forward else False


def _windowed(keys: Keys, family: Family, layers: int, rope: Spec) -> Any:
    """The spec with the family's sliding windows; one per layer where they differ."""
    window = _window(keys, family)
    if family.windows == "all":
        return rope if window is None else rope | {"sliding_window": window}
    first = keys.take("max_window_layers", 28) if family.windows == "some" else 0
    if type(first) is not int:
        raise ValueError(
            f"{keys.place}: max_window_layers must be a number of layers, got {first!r}"
        )
    types = keys.row("layer_types", str, None)
    if types is None:
        slides = [window is not None and layer >= first for layer in range(layers)]
    else:
        slides = _slides(keys, types, layers, window)
    specs = [rope | {"sliding_window": window} if one else rope for one in slides]
    return specs if any(slides) and not all(slides) else specs[0]


def _window(keys: Keys, family: Family) -> int | None:
    """sliding_window, where the family applies it."""
    if family.windows == "none":
        keys.require("sliding_window", (None,), "Llama's code ignores it")
        return None
    if family.windows == "all":
        return keys.nullable("sliding_window", 4096)
    used = keys.flag("use_sliding_window", False)
    window = keys.nullable("sliding_window", 4096)
    return window if used else None


def _slides(keys: Keys, types: Any, layers: int, window: int | None) -> list[bool]:
    known = {"full_attention": False, "sliding_attention": True}
    if len(types) != layers or set(types) - set(known):
        raise ValueError(
            f"{keys.place}: layer_types must be {layers} of {sorted(known)}, one per "
            f"layer, got {types!r}"
        )
    slides = [known[kind] for kind in types]
    if any(slides) and window is None:
        raise ValueError(
            f"{keys.place}: layer_types names sliding layers, but use_sliding_window "
            "is false or sliding_window is not given"
        )
    return slides
