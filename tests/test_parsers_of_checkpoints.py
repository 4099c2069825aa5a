"""The same for checkpoints and tokenizers of other programs.

While these run, a process gets no more than 4 GiB beyond what it has: sizes have to be
checked before anything is made of them.
"""

import contextlib
import json
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from fuzzing import many

from rope_lab.data.tokenizers import HuggingFaceTokenizer, SentencePieceTokenizer
from rope_lab.interop.families import FAMILIES, read_config
from rope_lab.interop.gguf_file import open_gguf
from rope_lab.interop.llama2c import open_llama2c
from rope_lab.interop.safetensors import read_header
from rope_lab.interop.sentencepiece import model_content
from rope_lab.interop.sources import INDEX, SafetensorsFolder


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**32, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


TENSORS = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
    "c": {"dtype": "F16", "shape": [0, 7], "data_offsets": [32, 32]},
}


def safetensors(header, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    return length.to_bytes(8, "little") + text + bytes(range(32))


def refused_or_sound(path):
    with contextlib.suppress(ValueError):
        found = read_header(path)
        assert sum(tensor.bytes for tensor in found.values()) < path.stat().st_size
        for tensor in found.values():
            assert tensor.mapped().nbytes == tensor.bytes


@many
def test_safetensors_are_sound_or_refused(tmp_path_factory, choices):
    path = tmp_path_factory.getbasetemp() / "x.safetensors"
    header = choices.spoilt(TENSORS) if choices.below(8) else choices.plain()
    content = safetensors(header)
    path.write_bytes(content if choices.below(3) else choices.changed(content))
    refused_or_sound(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [2**60], "data_offsets": [0, 2**62]}, "its header says of 'a'"),
        ({"shape": [2**30, 2**30]}, "has the shape"),
        ({"shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}, "has the shape"),
        ({"shape": [-2, -3]}, "its header says of 'a'"),
        ({"shape": [2.0, 3]}, "its header says of 'a'"),
        ({"data_offsets": [24, 0]}, "lies at 24 to 0"),
        ({"data_offsets": [8, 32]}, "'a' lies at 8 to 32"),
        ({"data_offsets": [2**40, 2**40 + 24]}, "'b' lies at 24 to 32"),
        ({"dtype": ["F32"]}, "has dtype"),
    ],
)
def test_a_tensor_that_cannot_be_there_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(TENSORS | {"a": TENSORS["a"] | change}))
    with pytest.raises(ValueError, match=message):
        read_header(path)


def test_headers_that_are_too_long_twice_the_same_or_too_deep_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    for header, length, message in (
        (TENSORS, 2**63, "header of 9223372036854775808"),
        (b'{"a": {}, "a": {}}', None, "the key 'a' stands there twice"),
        (b"[" * 200_000, None, "is not JSON"),
    ):
        path.write_bytes(safetensors(header, length))
        with pytest.raises(ValueError, match=message):
            read_header(path)


@many
def test_an_index_of_shards_is_right_or_refused(tmp_path_factory, choices):
    folder = tmp_path_factory.getbasetemp() / "shards"
    folder.mkdir(exist_ok=True)
    if not (folder / "1.safetensors").exists():
        (folder / "1.safetensors").write_bytes(safetensors(TENSORS))
    shard = choices.of(["1.safetensors", "../1.safetensors", "/dev/zero", "2", ""])
    index = {"metadata": {}, "weight_map": dict.fromkeys("abc", shard)}
    (folder / INDEX).write_text(json.dumps(choices.spoilt(index)))
    with contextlib.suppress(ValueError):
        assert set(SafetensorsFolder(folder).shapes) in (set("abc"), set())


CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 257,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
}
SCALINGS = [
    {"rope_type": "default", "rope_theta": 500.0},
    {"rope_type": "linear", "factor": 4.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 16,
    },
    {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    {"rope_type": "proportional", "factor": 2.0, "partial_rotary_factor": 0.5},
]


@many
def test_a_config_describes_a_model_or_is_refused(tmp_path_factory, choices):
    path = tmp_path_factory.getbasetemp() / "config.json"
    name = choices.of(list(FAMILIES))
    given = CONFIG | {"model_type": name, "rope_parameters": choices.of(SCALINGS)}
    given["architectures"] = [FAMILIES[name].architecture]
    text = json.dumps(choices.spoilt(given)).encode()
    path.write_bytes(text if choices.below(6) else choices.changed(text))
    with contextlib.suppress(ValueError):
        found = read_config(path)
        assert found.model.num_layers >= 1 and found.train_length >= 1
        assert found.bos_id is None or found.bos_id >= 0


@pytest.mark.parametrize("key", ["head_dim", "num_hidden_layers"])
def test_sizes_that_no_model_has_are_refused(tmp_path, key):
    config = CONFIG | {"rope_parameters": SCALINGS[-1], key: 2**40}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="at most 10000 and 65536 are read"):
        read_config(tmp_path / "config.json")


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """A file of one layer and seven tokens, and where it lies."""
    gguf = pytest.importorskip("gguf")
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(16)
    writer.add_embedding_length(4)
    writer.add_block_count(1)
    writer.add_feed_forward_length(4)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(2.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<s>", "a", "b", "ab", "c", "d", "e"])
    writer.add_token_types([3, 1, 1, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_tensor("token_embd.weight", np.ones((7, 4), np.float32))
    writer.add_tensor("blk.0.attn_q.weight", np.ones((4, 4), np.float16))
    quantized = gguf.quants.quantize(np.ones((2, 32), np.float32), 8)
    writer.add_tensor("other", quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, path.read_bytes()


@many
def test_a_gguf_file_is_sound_or_refused(gguf_file, choices):
    path, content = gguf_file
    path.write_bytes(choices.changed(content))
    with contextlib.suppress(ValueError):
        _, source, tokenizer = open_gguf(path)
        for name, shape in source.shapes.items():
            assert source.tensor(name).shape == shape
        assert tokenizer.vocab_size >= 1


def text(value):
    return struct.pack("<Q", len(value)) + value


def field(key, kind, content):
    return text(key) + struct.pack("<I", kind) + content


def tensor(name, *dims, offset=0, kind=0):
    axes = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + axes + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("counts", "rest", "message"),
    [
        ((0, 2**60), b"", "asks for 4 bytes at 32"),
        ((2**60, 0), b"", "asks for 4 bytes at 32"),
        ((0, 1), field(b"k", 8, struct.pack("<Q", 2**63)), "asks for 9223372036854"),
        ((0, 1), field(b"k", 9, struct.pack("<IQ", 0, 2**60)), "more than 16777216"),
        ((0, 1), field(b"k", 9, struct.pack("<IQ", 8, 2**20)), "asks for 8 bytes"),
        ((0, 1), field(b"k", 9, struct.pack("<IQ", 9, 1)), "entries of type 9"),
        ((0, 1), field(b"k", 77, b""), "no value of type 77"),
        ((0, 1), field(b"\xff", 0, b"1"), "not UTF-8"),
        ((0, 2), field(b"k", 0, b"1") * 2, "the key 'k' is there twice"),
        ((1, 0), tensor(b"t", 2**60), "lies at 64 to 4611686018427387968"),
        ((1, 0), tensor(b"t", 2**60, 2**60), "lies at 96 to"),
        ((1, 0), tensor(b"t", 2**63, 2), "lies at 96 to"),
        ((1, 0), tensor(b"t", 1, offset=2**63), "lies at 9223372036854775872"),
        ((1, 0), tensor(b"t", *[1] * 9), "has 9 axes"),
        ((1, 0), tensor(b"t", 0), "has the shape"),
        ((1, 0), tensor(b"t", 33, kind=8), "no blocks of 32"),
        ((1, 0), tensor(b"t", 1, kind=99), "does not dequantize .*99"),
        ((1, 0), tensor(b"t", 1, kind=9), "does not dequantize .*Q8_1"),
        ((2, 0), tensor(b"t", 4) + tensor(b"u", 4, offset=8), "'u' lies at 104"),
        ((2, 0), tensor(b"t", 4) + tensor(b"t", 4, offset=32), "'t' is there twice"),
    ],
)
def test_what_a_gguf_header_cannot_mean_is_refused(tmp_path, counts, rest, message):
    pytest.importorskip("gguf")
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, *counts) + rest + bytes(8))
    if message.startswith(("lies at", "'u' lies", "'t' is")):
        path.write_bytes(path.read_bytes() + bytes(200))
    with pytest.raises(ValueError, match=message):
        open_gguf(path)


LLAMA2C = (4, 4, 1, 2, 2, 262, 4)  # width, ff, layers, heads, key heads, tokens, length


@pytest.fixture(scope="module")
def llama2c_file(tmp_path_factory):
    """A .bin, its content, and that of its tokenizer.bin."""
    path = tmp_path_factory.mktemp("llama2c") / "x.bin"
    turns = np.arange(4)[:, None].astype(np.float32)
    weights = np.ones(262 * 4 + 4 * 4 * 7 + 2 * 4 + 4, np.float32)
    parts = [weights, np.cos(turns), np.sin(turns)]
    content = struct.pack("<7i", *LLAMA2C) + b"".join(p.tobytes() for p in parts)
    pieces = [b"<unk>", b"<s>", b"</s>", *(bytes([n]) for n in range(256)), b" ", b"a"]
    rows = [struct.pack("<fi", -n, len(p)) + p for n, p in enumerate([*pieces, b"b"])]
    vocabulary = struct.pack("<i", 9) + b"".join(rows)
    path.write_bytes(content)
    path.with_name("tokenizer.bin").write_bytes(vocabulary)
    open_llama2c(path)  # as it is, it is read
    return path, content, vocabulary


@many
def test_a_llama2c_file_is_sound_or_refused(llama2c_file, choices):
    path, content, vocabulary = llama2c_file
    if choices.below(2):
        head = choices.changed(content[:28])
        path.write_bytes(head + content[28:])
        path.with_name("tokenizer.bin").write_bytes(vocabulary)
    else:
        path.write_bytes(content)
        path.with_name("tokenizer.bin").write_bytes(choices.changed(vocabulary))
    with contextlib.suppress(ValueError):
        _, source, tokenizer = open_llama2c(path)
        for name, shape in source.shapes.items():
            assert source.tensor(name).shape == shape
        assert tokenizer.vocab_size == 262


@pytest.mark.parametrize("place", range(7))
def test_a_llama2c_header_of_other_sizes_is_refused(llama2c_file, place):
    path, content, vocabulary = llama2c_file
    sizes = list(LLAMA2C)
    sizes[place] = 2**31 - 4
    path.write_bytes(struct.pack("<7i", *sizes) + content[28:])
    path.with_name("tokenizer.bin").write_bytes(vocabulary)
    with pytest.raises(ValueError, match="header|multiple|tells of"):
        open_llama2c(path)


@pytest.mark.parametrize("length", [-8, -(2**31), 2**31 - 1])
def test_a_piece_of_impossible_length_is_refused(llama2c_file, length):
    path, content, vocabulary = llama2c_file
    path.write_bytes(content)
    spoilt = vocabulary[:8] + struct.pack("<i", length) + vocabulary[12:]
    path.with_name("tokenizer.bin").write_bytes(spoilt)
    with pytest.raises(ValueError, match=f"piece 0 has a length of {length} bytes"):
        open_llama2c(path)


BPE = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": 4,
            "content": "<s>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
    ],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    },
    "post_processor": None,
    "decoder": {"type": "ByteLevel"},
    "model": {
        "type": "BPE",
        "unk_token": None,
        "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3},
        "merges": [["a", "b"]],
    },
}


@many
def test_a_tokenizer_json_is_read_or_refused(choices):
    content = json.dumps(choices.spoilt(BPE)).encode()
    content = content if choices.below(3) else choices.changed(content)
    with contextlib.suppress(ValueError):
        tokenizer = HuggingFaceTokenizer(Path("x.json"), content=content)
        assert tokenizer.vocab_size >= 1
        assert tokenizer.encode("ab c").dtype == np.int32


PIECES = ["<unk>", "<s>", "</s>", "\u2581", "a", "b", "ab"]
MODEL = model_content(PIECES, [-1.0 * n for n in range(7)], [2, 3, 3, 1, 1, 1, 1], 1, 2)


@many
def test_a_sentencepiece_model_is_read_or_refused(choices):
    with contextlib.suppress(ValueError):
        tokenizer = SentencePieceTokenizer(Path("x"), content=choices.changed(MODEL))
        assert tokenizer.vocab_size >= 1
        assert tokenizer.encode("ab c").dtype == np.int32
