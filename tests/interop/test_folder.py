"""A Hugging Face folder: what it must hold, key by key and file by file."""

import json
import shutil

import jax
import numpy as np
import pytest
import tokenizers as hf
from tiny_checkpoint import HEAD_DIM, logits, tiny_model, write_folder

from rope_lab import position_logic, rotary
from rope_lab.interop import assemble, load_pretrained
from rope_lab.interop.families import FAMILIES, read_config
from rope_lab.interop.safetensors import read_header, write

ROPE = position_logic("rope", head_dim=HEAD_DIM)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "model"
    write_folder(folder)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")


def change(path, **values):
    """Keys of a JSON file; None removes one."""
    held = json.loads(path.read_text()) | values
    path.write_text(json.dumps({k: v for k, v in held.items() if v is not None}))


def rewrite(folder, change):
    """The tensors, changed: a dict of arrays by name."""
    path = folder / "model.safetensors"
    tensors = {n: np.array(t.mapped()) for n, t in read_header(path).items()}
    change(tensors)
    write(path, [(n, t.shape, lambda t=t: t) for n, t in tensors.items()], np.float32)


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an array was made")

    monkeypatch.setattr(assemble.jax, "make_array_from_callback", refuse)


@pytest.mark.parametrize("sharded", [False, True])
def test_a_folder_gives_the_model_it_was_written_from(tmp_path, sharded):
    options = {"shard_bytes": 30_000} if sharded else {}
    config, graphdef, params = write_folder(tmp_path / "x", **options)
    assert len(list((tmp_path / "x").glob("*.safetensors"))) > 1 or not sharded
    loaded = load_pretrained(tmp_path / "x")
    assert loaded.model == config and loaded.train_length == 64
    np.testing.assert_array_equal(
        logits(loaded.graphdef, loaded.params, loaded.logic()),
        logits(graphdef, params, ROPE),
    )
    assert loaded.tokenizer.encode("é").tolist() == [195, 169]
    assert loaded.tokenizer.bos_id == 256


def test_weights_of_half_precision_become_the_dtype_that_is_asked_for(tmp_path):
    _, _, params = write_folder(tmp_path / "x", dtype="bfloat16")
    for dtype in ("float32", "bfloat16"):
        loaded = load_pretrained(tmp_path / "x", dtype=dtype)
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(loaded.params)} == {dtype}
        for found, leaf in zip(
            jax.tree.leaves(loaded.params), jax.tree.leaves(params), strict=True
        ):
            rounded = leaf.astype("bfloat16").astype("float32")
            np.testing.assert_array_equal(found.astype("float32"), rounded)


def test_the_encoding_changes_in_one_argument_and_keeps_the_base(tmp_path):
    trained = position_logic(
        "llama3", head_dim=HEAD_DIM, base=5e5, scale=4, train_length=32
    )
    write_folder(tmp_path / "x", trained, length=128)
    yarn = {"name": "yarn", "scale": 2, "train_length": 64}
    found = load_pretrained(tmp_path / "x", logic=yarn).logic()
    assert (found.name, found.record.value.base) == ("yarn", 5e5)
    far = load_pretrained(tmp_path / "x", logic={"name": "rerope", "window": 8}).logic()
    np.testing.assert_array_equal(
        far.bands[1].frequencies.angular, trained.bands[0].frequencies.angular
    )
    plain = load_pretrained(tmp_path / "x", logic={"name": "rope"}).logic()
    np.testing.assert_array_equal(
        plain.bands[0].frequencies.angular, rotary.rope(HEAD_DIM, 5e5).angular
    )


def test_frequencies_of_a_length_ask_for_it(tmp_path):
    dynamic = position_logic(
        "dynamic_ntk", head_dim=HEAD_DIM, train_length=32, length=32
    )
    write_folder(tmp_path / "x", dynamic)
    loaded = load_pretrained(tmp_path / "x")
    assert loaded.logic(80).record.value.options["length"] == 80
    with pytest.raises(ValueError, match="dynamic_ntk needs the option 'length'"):
        loaded.logic()


DAMAGE = {
    "there is no config.json": lambda f: (f / "config.json").unlink(),
    "config.json is not JSON": lambda f: (f / "config.json").write_text("{"),
    "nothing here reads 'quantization_config'": lambda f: change(
        f / "config.json", quantization_config={"bits": 4}
    ),
    "nothing here reads 'auto_map'": lambda f: change(
        f / "config.json", auto_map={"AutoModel": "code.Model"}
    ),
    "unknown model_type 'gemma3'; known here: llama": lambda f: change(
        f / "config.json", model_type="gemma3"
    ),
    "hidden_act='gelu' is not supported": lambda f: change(
        f / "config.json", hidden_act="gelu"
    ),
    "architectures=.*only language models": lambda f: change(
        f / "config.json", architectures=["LlamaForSequenceClassification"]
    ),
    "sliding_window=8 is not supported: Llama's code ignores it": lambda f: change(
        f / "config.json", sliding_window=8
    ),
    "attention_dropout=0.1 is not supported": lambda f: change(
        f / "config.json", attention_dropout=0.1
    ),
    "unknown rope type 'su'": lambda f: change(
        f / "config.json", rope_scaling={"type": "su"}, rope_parameters=None
    ),
    "the tokenizer has 257 tokens, the model 200": lambda f: change(
        f / "config.json", vocab_size=200
    ),
    "has 257 tokens, so that its first one cannot be 300": lambda f: change(
        f / "config.json", bos_token_id=300
    ),
    "neither model.safetensors nor .*pickled": lambda f: (
        f / "model.safetensors"
    ).rename(f / "pytorch_model.bin"),
    "damaged or incomplete": lambda f: (f / "model.safetensors").write_bytes(
        (f / "model.safetensors").read_bytes()[:-8]
    ),
    "there is none of tokenizer.json": lambda f: (f / "tokenizer.json").unlink(),
    "tensors .* are missing: model.layers.2.* and 4 more": lambda f: change(
        f / "config.json", num_hidden_layers=3
    ),
    "q_proj.weight is .64, 32. and should be .128, 32.": lambda f: change(
        f / "config.json", num_attention_heads=8
    ),
    "nothing in this model reads the tensors: model.extra": lambda f: rewrite(
        f, lambda t: t.update({"model.extra": t["model.norm.weight"]})
    ),
    "tie_word_embeddings is true, but another matrix": lambda f: rewrite(
        f, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1})
    ),
    "inv_freq holds other frequencies than base 10000": lambda f: rewrite(
        f,
        lambda t: t.update(
            {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
        ),
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(
    folder, message, nothing_is_loaded
):
    DAMAGE[message](folder)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_missing_shards_are_named(tmp_path, nothing_is_loaded):
    write_folder(tmp_path / "x", shard_bytes=30_000)
    last = sorted((tmp_path / "x").glob("*.safetensors"))[-1]
    last.unlink()
    with pytest.raises(ValueError, match=f"1 of . shards are missing.*{last.name}"):
        load_pretrained(tmp_path / "x")


def test_an_index_that_its_shards_contradict_is_refused(tmp_path, nothing_is_loaded):
    write_folder(tmp_path / "x", shard_bytes=30_000)
    index = tmp_path / "x" / "model.safetensors.index.json"
    held = json.loads(index.read_text())
    held["weight_map"].pop("model.norm.weight")
    index.write_text(json.dumps(held))
    with pytest.raises(ValueError, match="disagree, first about 'model.norm.weight'"):
        load_pretrained(tmp_path / "x")


def test_a_shard_outside_the_folder_is_refused(tmp_path, nothing_is_loaded):
    write_folder(tmp_path / "x", shard_bytes=30_000)
    index = tmp_path / "x" / "model.safetensors.index.json"
    held = json.loads(index.read_text())
    held["weight_map"]["model.norm.weight"] = "../y.safetensors"
    index.write_text(json.dumps(held))
    (tmp_path / "y.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="shards are missing.*y.safetensors"):
        load_pretrained(tmp_path / "x")


def test_copies_that_change_nothing_are_read(folder):
    def add(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        for layer in range(2):
            name = f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"
            tensors[name] = np.float16(rotary.rope(HEAD_DIM).angular)

    before = jax.tree.leaves(load_pretrained(folder).params)
    rewrite(folder, add)
    after = jax.tree.leaves(load_pretrained(folder).params)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_tokenizer_whose_first_token_has_no_usual_name_is_told_it(folder):
    words = hf.Tokenizer(hf.models.WordLevel({"a": 0, "b": 1, "start": 2}, "a"))
    words.save(str(folder / "tokenizer.json"))
    change(folder / "config.json", bos_token_id=2)
    tokenizer = load_pretrained(folder).tokenizer
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (2, 3)


@pytest.mark.parametrize("model_has", [257, 300])
def test_a_tokenizer_without_a_bos_is_not_given_one_the_model_never_saw(
    tmp_path, model_has
):
    write_folder(tmp_path / "x", vocab_size=model_has)
    pieces = {f"w{number}": number for number in range(257)}
    words = hf.Tokenizer(hf.models.WordLevel(pieces, "w0"))
    words.save(str(tmp_path / "x" / "tokenizer.json"))
    config = tmp_path / "x" / "config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"bos_token_id": None})
    )
    tokenizer = load_pretrained(tmp_path / "x").tokenizer
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (None, 257)
    assert tokenizer.decode(tokenizer.encode("w256")) == "w256"


SIZES = {
    "vocab_size": 9,
    "hidden_size": 32,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 32,
}


def described(tmp_path, family, **values):
    values = {"model_type": family, **SIZES, **values}
    (tmp_path / "config.json").write_text(json.dumps(values))
    return read_config(tmp_path / "config.json")


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_are_left_out_are_those_of_transformers(tmp_path, family):
    own = {} if family == "qwen3" else {"head_dim": 8}
    found = described(tmp_path, family, **own)
    kv_heads = {"mistral": 8}.get(family, 32)
    assert found.model.head_dim == (128 if family == "qwen3" else 8)
    assert found.model.num_kv_heads == kv_heads
    assert found.model.biases == ("qkv" if family == "qwen2" else False)
    assert found.model.qk_norm == ("rms" if family == "qwen3" else "none")
    lengths = {"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768}
    assert found.train_length == lengths[family]
    expected = 4096 if family == "mistral" else None
    assert found.encoding.get("sliding_window") == expected


@pytest.mark.parametrize(
    ("family", "values", "windows"),
    [
        ("mistral", {"sliding_window": 7}, 7),
        ("qwen2", {"sliding_window": 7}, None),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 7}, None),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 0},
            7,
        ),
        (
            "qwen3",
            {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 2},
            [None, None, 7],
        ),
        (
            "qwen3",
            {
                "use_sliding_window": True,
                "sliding_window": 7,
                "layer_types": ["sliding_attention", "full_attention"] * 1
                + ["sliding_attention"],
            },
            [7, None, 7],
        ),
    ],
)
def test_sliding_windows_are_those_of_the_family(tmp_path, family, values, windows):
    encoding = described(tmp_path, family, head_dim=8, **values).encoding
    if isinstance(encoding, list):
        assert [spec.get("sliding_window") for spec in encoding] == windows
    else:
        assert encoding.get("sliding_window") == windows


def test_parameters_reach_the_devices_that_are_asked_for(folder):
    where = {}

    def sharding(names):
        where[names] = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        return where[names]

    loaded = load_pretrained(folder, sharding=sharding)
    assert ("layers", "attention", "query", "kernel") in where
    like = jax.tree.map(lambda leaf: leaf.sharding, loaded.params)
    again = load_pretrained(folder, sharding=like)
    assert all(
        leaf.sharding == given
        for leaf, given in zip(
            jax.tree.leaves(again.params), where.values(), strict=True
        )
    )


def test_the_model_of_a_folder_has_the_biases_that_it_names(tmp_path):
    for biases in (False, "qkv", "attention", "feed_forward", True):
        write_folder(tmp_path / str(biases), biases=biases)
        assert load_pretrained(tmp_path / str(biases)).model.biases == biases
    assert tiny_model(biases="qkv")[0].has_bias("qkv")


def settings_of(folder):
    loaded = load_pretrained(folder)
    return loaded.tokenizer.eos_ids, loaded.tokenizer.chat_template


def test_what_ends_a_text_and_how_chats_are_spelled_come_along(folder):
    assert settings_of(folder) == ((), None)
    change(folder / "config.json", eos_token_id=3)
    assert settings_of(folder) == ((3,), None)
    generation = {"eos_token_id": [5, 3, 999], "temperature": 0.6}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    change(folder / "tokenizer_config.json", chat_template="{{ messages }}")
    assert settings_of(folder) == ((3, 5), "{{ messages }}")  # 999 is no token
    named = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    change(folder / "tokenizer_config.json", chat_template=named)
    assert settings_of(folder)[1] == "d"
    (folder / "chat_template.jinja").write_text("é")
    assert settings_of(folder)[1] == "é"
    (folder / "generation_config.json").write_text('{"eos_token_id": "<s>"}')
    with pytest.raises(ValueError, match="eos_token_id must be the number of a token"):
        load_pretrained(folder)


def with_added(folder, special):
    """A token more than the model has."""
    path = folder / "tokenizer.json"
    tokenizer = hf.Tokenizer.from_file(str(path))
    added = hf.AddedToken("<pad>", special=special)
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([added])
    tokenizer.save(str(path))


def test_a_token_for_padding_that_the_model_lacks_is_left_out(folder):
    with_added(folder, special=True)
    tokenizer = load_pretrained(folder).tokenizer
    assert tokenizer.vocab_size == 257 and tokenizer.bos_id == 256
    assert tokenizer.decode(tokenizer.encode("<pad>é")) == "<pad>é"
    assert tokenizer.encode("<pad>").max() < 256


def test_a_token_of_text_that_the_model_lacks_is_refused(folder):
    with_added(folder, special=False)
    with pytest.raises(ValueError, match="the tokenizer has 258 tokens, the model 257"):
        load_pretrained(folder)


PUBLISHED = {  # keys that carry nothing, of checkpoints as they are published
    "Qwen2.5": ("qwen2", {"use_mrope": False}),
    "SmolLM2": ("llama", {"is_llama_config": True, "rope_interleaved": False}),
    "first Llama": ("llama", {"architectures": ["LLaMAForCausalLM"],
                              "max_sequence_length": 2048, "pad_token_id": -1}),
    "YaRN": ("llama", {"max_position_embeddings": 256, "rope_scaling": {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64,
        "finetuned": True}}),
    "unsloth": ("llama", {"unsloth_fixed": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_of_published_configs_are_known(tmp_path, name):
    kind, values = PUBLISHED[name]
    sizes = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 48}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "rms_norm_eps": 1e-6}
    sizes |= {"num_key_value_heads": 2}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": kind, **sizes, **values}))
    assert read_config(path).model.width == 32
    for key in ("use_mrope", "rope_interleaved"):
        if key in values:
            path.write_text(json.dumps({"model_type": kind, **sizes, key: True}))
            with pytest.raises(ValueError, match=f"{key}=True is not supported"):
                read_config(path)
