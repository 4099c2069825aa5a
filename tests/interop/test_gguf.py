"""GGUF of the Llama architecture, written with its own package."""

import numpy as np
import pytest
from tiny_checkpoint import HEAD_DIM, logits, tiny_model
from tiny_gguf import PIECES, SIZES, byte_level, write

from rope_lab import position_logic
from rope_lab.interop import load_pretrained
from rope_lab.interop.gguf_tokenizer import PRE_TOKENIZERS

gguf = pytest.importorskip("gguf")


def reference(graphdef, params, name="rope", **options):
    logic = position_logic(name, head_dim=HEAD_DIM, layout="interleaved", **options)
    return logits(graphdef, params, logic, 24, vocab_size=200)


def found(path):
    loaded = load_pretrained(path)
    logic = loaded.logic(24)
    return logits(loaded.graphdef, loaded.params, logic, 24, vocab_size=200)


@pytest.mark.parametrize(
    "changes", [{}, {"tied_embeddings": False, "biases": "attention"}]
)
def test_logits_are_those_of_its_interleaved_planes(tmp_path, changes):
    config, graphdef, params = tiny_model(**SIZES, **changes)
    path = write(tmp_path / "x.gguf", config, params)
    loaded = load_pretrained(path)
    assert loaded.model.biases == config.biases
    assert loaded.train_length == 64 and loaded.logic().layout == "half"
    np.testing.assert_allclose(found(path), reference(graphdef, params), atol=1e-4)


def test_quantized_weights_are_dequantized(tmp_path):
    config, graphdef, params = tiny_model(**SIZES)
    path = write(tmp_path / "x.gguf", config, params, quantize=True)
    whole, exact = found(path), reference(graphdef, params)
    assert 1e-3 < np.abs(whole - exact).max() < 0.3
    assert np.corrcoef(whole.ravel(), exact.ravel())[0, 1] > 0.999


def scaling(kind, **values):
    def change(writer):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_freq_base(500.0)
        for name, value in values.items():
            getattr(writer, f"add_rope_scaling_{name}")(value)

    return change


@pytest.mark.parametrize(
    ("change", "name", "options"),
    [
        (scaling("linear", factor=4.0), "interpolated", {"scale": 4}),
        (
            scaling("yarn", factor=4.0, orig_ctx_len=16),
            "yarn",
            {"scale": 4, "train_length": 16},
        ),
        (
            scaling("yarn", factor=4.0, orig_ctx_len=16, attn_factors=0.5),
            "yarn",
            {
                "scale": 4,
                "train_length": 16,
                "logit_scale": (0.5 * (0.1 * np.log(4) + 1)) ** 2,
            },
        ),
    ],
)
def test_rope_scaling_is_applied(tmp_path, change, name, options):
    config, graphdef, params = tiny_model(**SIZES)
    path = write(tmp_path / "x.gguf", config, params, change)
    expected = reference(graphdef, params, name, base=500.0, **options)
    np.testing.assert_allclose(found(path), expected, atol=1e-4)


def test_factors_of_frequencies_divide_them(tmp_path):
    config, graphdef, params = tiny_model(**SIZES)
    factors = np.linspace(1, 8, HEAD_DIM // 2)
    path = write(tmp_path / "x.gguf", config, params, **{"rope_freqs.weight": factors})
    lists = {"short_factors": factors, "long_factors": factors, "logit_scale": 1.0}
    lengths = {"scale": 1.0, "train_length": 64, "length": 64}
    expected = reference(graphdef, params, "longrope", **lists, **lengths)
    np.testing.assert_allclose(found(path), expected, atol=1e-4)
    assert not np.allclose(expected, reference(graphdef, params), atol=1e-2)


PRE = {
    # Words with the blank before them; digits by three, one by one, or in runs.
    "llama-bpe": ["Ġa", "ab", "12", "3", "4"],
    "smollm": ["Ġa", "ab", "1", "2", "3", "4"],
    "default": ["Ġa", "ab", "12", "3", "4"],
}


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_text_is_split_as_the_pre_tokenizer_says(tmp_path, pre):
    config, _, params = tiny_model(**SIZES)
    path = write(
        tmp_path / "x.gguf", config, params, tokenizer=lambda w: byte_level(w, pre)
    )
    tokenizer = load_pretrained(path).tokenizer
    assert tokenizer.bos_id == 0
    ids = tokenizer.encode(" aab1234")
    spelt = "".join(PIECES[number] for number in ids)
    assert spelt == "Ġaab1234" and tokenizer.decode(ids) == " aab1234"
    # The whole is one word of letters, so "Ġa" and "ab" are merged inside it.
    assert [PIECES[number] for number in ids] == PRE[pre]
    text = "<|start|> é\n\n\t x's"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert 0 not in tokenizer.encode(text)  # text that spells a special token is text


def test_a_tokenizer_without_a_bos_is_not_given_one_the_model_never_saw(tmp_path):
    def nameless(writer):
        writer.add_bos_token_id = lambda number: None
        byte_level(writer)

    config, _, params = tiny_model(**SIZES)
    path = write(tmp_path / "x.gguf", config, params, tokenizer=nameless)
    tokenizer = load_pretrained(path).tokenizer
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (None, len(PIECES))
    assert tokenizer.decode(tokenizer.encode("ab12")) == "ab12"


def sentencepiece(writer):
    writer.add_tokenizer_model("llama")
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{n:02X}>" for n in range(256))]
    pieces += ["▁", "a", "b", "ab", "▁a"]
    writer.add_token_list(pieces)
    writer.add_token_scores([-float(number) for number in range(len(pieces))])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * 5])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def test_a_tokenizer_of_pieces_and_scores_is_sentencepiece(tmp_path):
    config, _, params = tiny_model(**SIZES | {"vocab_size": 264})
    path = write(tmp_path / "x.gguf", config, params, tokenizer=sentencepiece)
    tokenizer = load_pretrained(path).tokenizer
    assert tokenizer.encode("ab a\n").tolist() == [259, 262, 263, 13]
    assert tokenizer.decode(tokenizer.encode("ab a\n")) == "ab a\n"
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (1, 264)
    assert tokenizer.eos_ids == (2,)


def test_merges_beside_the_scores_of_pieces_say_nothing_new(tmp_path):
    def merging(writer):
        sentencepiece(writer)
        writer.add_token_merges(["a b"])

    config, _, params = tiny_model(**SIZES | {"vocab_size": 264})
    path = write(tmp_path / "x.gguf", config, params, tokenizer=merging)
    assert load_pretrained(path).tokenizer.encode("ab a\n").tolist()[0] == 259


def test_its_ends_and_its_chat_template_come_along(tmp_path):
    def ending(writer):
        byte_level(writer)
        writer.add_eos_token_id(7)
        writer.add_eot_token_id(9)
        writer.add_chat_template("{{ messages }}")

    config, _, params = tiny_model(**SIZES)
    path = write(tmp_path / "x.gguf", config, params, tokenizer=ending)
    tokenizer = load_pretrained(path).tokenizer
    assert tokenizer.eos_ids == (7, 9)
    assert tokenizer.chat_template == "{{ messages }}"


REFUSED = {
    "unknown tokenizer.ggml.pre 'qwen2'; known here: default": {
        "tokenizer": lambda w: byte_level(w, "qwen2")
    },
    "unknown llama.rope.scaling.type 'longrope'": {"change": scaling("longrope")},
    "llama.expert_count=4 is not supported": {
        "change": lambda w: w.add_expert_count(4)
    },
    "llama.rope.dimension_count=8 is not supported": {"rotated": 8},
    "nothing here reads 'llama.attention.sliding_window'": {
        "change": lambda w: w.add_sliding_window(8)
    },
    "nothing in this model reads the tensors: blk.0.attn_sinks": {
        "blk.0.attn_sinks": np.ones(4)
    },
    "holds 3 factors beside": {"rope_freqs.weight": np.ones(3)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_read_is_refused_by_name(tmp_path, message):
    config, _, params = tiny_model(**SIZES)
    path = write(tmp_path / "x.gguf", config, params, **REFUSED[message])
    with pytest.raises(ValueError, match=message):
        load_pretrained(path)


def test_another_architecture_and_a_damaged_file_are_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "gemma")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="general.architecture='gemma'"):
        load_pretrained(tmp_path / "x.gguf")
    config, _, params = tiny_model(**SIZES)
    path = write(tmp_path / "y.gguf", config, params)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        load_pretrained(path)
