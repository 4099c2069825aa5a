"""A GGUF file of a tiny model, written with the format's own package."""

import numpy as np
from tiny_checkpoint import HEAD_DIM

from rope_lab.model.trees import named_leaves

NAMES = {
    ("attention_norm", "scale"): "attn_norm",
    ("attention", "query"): "attn_q",
    ("attention", "key"): "attn_k",
    ("attention", "value"): "attn_v",
    ("attention", "out"): "attn_output",
    ("feed_forward_norm", "scale"): "ffn_norm",
    ("feed_forward", "gate"): "ffn_gate",
    ("feed_forward", "down"): "ffn_down",
    ("feed_forward", "up"): "ffn_up",
}
ALPHABET = [chr(n) for n in (*range(33, 127), *range(161, 173), *range(174, 256))]
ALPHABET += [chr(256 + n) for n in range(68)]
PIECES = ["<|start|>", *ALPHABET, "ab", "Ġa", "12"]
SIZES = {"vocab_size": len(PIECES), "width": 64, "ff_width": 64}


def tensors_of(params):
    """name -> array, as the format has them."""
    found = {}
    for names, leaf in named_leaves(params).items():
        leaf = np.asarray(leaf)
        if names[0] != "layers":
            top = {"embed": "token_embd", "unembed": "output", "norm": "output_norm"}
            name, leaf = (
                f"{top[names[0]]}.weight",
                leaf.T if names[-1] == "kernel" else leaf,
            )
            found[name] = leaf
            continue
        own = NAMES.get(names[1:]) or NAMES[names[1:-1]]
        kind = "bias" if names[-1] == "bias" else "weight"
        for layer, one in enumerate(leaf):
            found[f"blk.{layer}.{own}.{kind}"] = one.T if names[-1] == "kernel" else one
    return found


def byte_level(writer, pre="llama-bpe"):
    """A tokenizer of single characters and three merges."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(PIECES)
    writer.add_token_types([3] + [1] * (len(PIECES) - 1))
    writer.add_token_merges(["a b", "Ġ a", "1 2"])
    writer.add_bos_token_id(0)


def write(
    path, config, params, change=None, tokenizer=byte_level, quantize=False, **add
):
    """A file of the Llama architecture; keywords of `add` are tensors by name."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.ff_width)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_epsilon)
    writer.add_rope_dimension_count(add.pop("rotated", HEAD_DIM))
    writer.add_vocab_size(config.vocab_size)
    tokenizer(writer)
    if change:
        change(writer)
    for name, tensor in (tensors_of(params) | add).items():
        tensor = np.ascontiguousarray(tensor, np.float32)
        kind = None
        if quantize and tensor.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            tensor = gguf.quants.quantize(tensor, kind)
        writer.add_tensor(name, tensor, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
