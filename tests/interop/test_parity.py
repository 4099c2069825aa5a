"""The same logits as transformers, in and out, and where it disagrees with itself.

Needs the extra `parity`; elsewhere these tests are skipped.
"""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_checkpoint import HEAD_DIM, logits, tiny_model, tokens
from tiny_gguf import SIZES
from tiny_gguf import write as write_gguf

from benchmarks.export_logits import in_float32
from rope_lab import position_logic
from rope_lab.data.tokenizers import ByteTokenizer, load_tokenizer
from rope_lab.interop import export_pretrained, load_pretrained
from rope_lab.interop.tokenizer_files import tokenizer_files
from rope_lab.model import init_model
from rope_lab.model.decoder import init_caches, model_and_logic

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.parity

torch.set_num_threads(1)  # beside other workers of the tests, and JAX's own threads
FAMILIES = ["llama", "mistral", "qwen2", "qwen3"]
ORIGINAL, LONGEST = 32, 96  # tokens
SCALED = {"factor": 4.0, "original_max_position_embeddings": ORIGINAL}
SHORT, LONG = [1.0 + i / 8 for i in range(8)], [1.0 + i / 2 for i in range(8)]
TYPES = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": SCALED,
    "yarn mscale": {**SCALED, "mscale": 0.7, "mscale_all_dim": 1.3},
    "yarn not truncated": {**SCALED, "truncate": False, "attention_factor": 1.2},
    "llama3": {**SCALED, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "longrope": {**SCALED, "short_factor": SHORT, "long_factor": LONG},
    "proportional": {"partial_rotary_factor": 0.5},
    "proportional scaled": {"partial_rotary_factor": 0.5, "factor": 2.0},
}


def config_of(family, seed=0, **values):
    """config.json of transformers itself."""
    sizes = {"vocab_size": 257, "hidden_size": 32, "intermediate_size": 48}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": HEAD_DIM}
    sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 4 * ORIGINAL}
    values = sizes | {"bos_token_id": 256, "eos_token_id": None} | values
    return transformers.AutoConfig.for_model(family, **values)


def write(folder, config, seed=0):
    """A random model that transformers makes and saves, with a tokenizer."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            deviation = weight.shape[-1] ** -0.5 if weight.ndim > 1 else 0.2
            mean = 1.0 if "norm" in name else 0.0
            weight.normal_(mean, deviation)
    model.save_pretrained(folder)
    for name, content in tokenizer_files(ByteTokenizer(), 64).items():
        (folder / name).write_bytes(content)


def their_model(folder):
    """Fresh: what an earlier pass left in a dynamic table is not there."""
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32
    ).eval()


def theirs(folder, length, of=LONGEST, **options):
    """Logits of the first `length` tokens of a text of `of`."""
    given = np.asarray(tokens(max(of, length), **options))[:, :length]
    with torch.no_grad():
        return their_model(folder)(torch.tensor(given)).logits.numpy()


def ours(folder, length, of=LONGEST):
    """The same under the logic for `length`. One program: later tokens are not seen."""
    loaded = load_pretrained(folder)
    found = logits(loaded.graphdef, loaded.params, loaded.logic(length), of)
    return found[:, :length]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """family -> folder, made once."""
    made = {}

    def folder(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp("weights") / family
            write(made[family], config_of(family))
        return made[family]

    return folder


def with_rope(source, target, kind):
    """The same weights under another rope type."""
    shutil.copytree(source, target)
    path = target / "config.json"
    config = json.loads(path.read_text())
    rope = {"rope_type": kind.split()[0], "rope_theta": 10_000.0, **TYPES[kind]}
    config["rope_parameters"] = rope
    if kind == "dynamic":
        config["max_position_embeddings"] = ORIGINAL
    path.write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(weights, tmp_path, family, kind):
    folder = with_rope(weights(family), tmp_path / "x", kind)
    for length in (ORIGINAL // 2, ORIGINAL, LONGEST):
        expected = theirs(folder, length)
        assert expected.std() > 0.3
        np.testing.assert_allclose(ours(folder, length), expected, atol=1e-4)


def test_these_models_tell_rope_types_apart(weights, tmp_path):
    # Else the tests above would pass with any encoding.
    folders = [with_rope(weights("llama"), tmp_path / kind, kind) for kind in TYPES]
    found = [ours(folder, LONGEST)[:, -1] for folder in folders]
    for place, one in enumerate(found):
        for other in found[:place]:
            assert np.abs(one - other).max() > 1e-2


def drawn(seed):
    """A configuration of transformers at random: (family, values)."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    heads = int(rng.choice([2, 4, 6]))
    head_dim = int(rng.choice([4, 8, 16]))
    # Llama's class asks for it; the others take heads of any width.
    width = heads * int(rng.choice([4, 8])) if family == "llama" else 40
    original = int(rng.choice([16, 24, 48]))
    scale = float(rng.choice([1.0, 1.5, 2.0, 4.0]))
    values = {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": int(rng.choice([1, heads // 2, heads])),
        "head_dim": head_dim,
        "intermediate_size": int(rng.integers(8, 64)),
        "num_hidden_layers": int(rng.integers(1, 4)),
        "rms_norm_eps": float(rng.choice([1e-6, 1e-5])),
        "tie_word_embeddings": bool(rng.integers(2)),
        "max_position_embeddings": int(original * scale),
        "rope_parameters": drawn_rope(rng, head_dim, original, scale),
    }
    if values["rope_parameters"]["rope_type"] == "dynamic":
        values["max_position_embeddings"] = original
    if values["rope_parameters"]["rope_type"] == "llama3":
        values["max_position_embeddings"] = 8 * original
    if family in ("llama", "qwen3"):
        values["attention_bias"] = bool(rng.integers(2))
    if family == "llama":
        values["mlp_bias"] = bool(rng.integers(2))
    if family == "mistral":
        values["sliding_window"] = [None, 5, 30][rng.integers(3)]
    if family.startswith("qwen"):
        values |= {"use_sliding_window": bool(rng.integers(2)), "sliding_window": 9}
        values["max_window_layers"] = int(rng.integers(0, 3))
    return family, values, original


def drawn_rope(rng, head_dim, original, scale):
    kinds = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"]
    kind = str(rng.choice([*kinds, "proportional"]))
    rope = {"rope_type": kind, "rope_theta": float(rng.choice([100.0, 1e4, 5e5]))}
    if kind == "proportional":
        rope["partial_rotary_factor"] = float(rng.choice([0.25, 0.3, 0.5, 1.0]))
    elif kind != "default":
        rope["factor"] = scale
    if kind in ("yarn", "llama3", "longrope"):
        rope["original_max_position_embeddings"] = original
    if kind == "yarn":
        rope |= {
            "beta_fast": float(rng.choice([4, 32])),
            "truncate": bool(rng.choice(2)),
        }
    if kind == "llama3":
        rope |= {"low_freq_factor": 1.0, "high_freq_factor": float(rng.choice([2, 4]))}
    if kind == "longrope":
        for name in ("short_factor", "long_factor"):
            rope[name] = rng.uniform(1, 8, head_dim // 2).tolist()
    return rope


@pytest.mark.parametrize("seed", range(12))
def test_logits_of_configurations_at_random_are_those_of_transformers(tmp_path, seed):
    family, values, original = drawn(seed)
    write(tmp_path / "x", config_of(family, **values), seed)
    for length in (original, LONGEST):
        np.testing.assert_allclose(
            ours(tmp_path / "x", length),
            theirs(tmp_path / "x", length),
            atol=1e-4,
            err_msg=f"{family}: {values}",
        )


def decoded(folder, length):
    """Our logits [T, V], token by token, with the logic built for that length."""
    loaded = load_pretrained(folder)
    model, logic = model_and_logic(loaded.graphdef, loaded.params, loaded.logic(length))
    caches = init_caches(loaded.model, logic, 1, length)
    step = jax.jit(lambda token, caches: model.extend(token, logic, caches))
    rows = []
    for token in tokens(length, batch=1)[0]:
        row, caches = step(token[None, None], caches)
        rows.append(row[0])
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_cached_decoding_is_one_pass_of_a_fresh_model(weights, tmp_path, kind):
    folder, length = with_rope(weights("llama"), tmp_path / "x", kind), 2 * ORIGINAL
    expected = theirs(folder, length, length, batch=1)[0]
    np.testing.assert_allclose(decoded(folder, length), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_transformers_own_cached_decoding_differs_from_its_one_pass(
    weights, tmp_path, kind
):
    # Keys in its cache keep the frequencies of the length at which they came.
    folder, length = with_rope(weights("llama"), tmp_path / "x", kind), 2 * ORIGINAL
    expected, model = (
        theirs(folder, length, length, batch=1)[0, -1],
        their_model(folder),
    )
    cache, given = None, torch.tensor(np.asarray(tokens(length, batch=1)))
    with torch.no_grad():
        for place in range(length):
            out = model(given[:, place : place + 1], past_key_values=cache)
            cache = out.past_key_values
    assert np.abs(out.logits[0, -1].numpy() - expected).max() > 1e-2


YARN = {"scale": 4, "train_length": 64}
EXPORTED = [
    ("rope", {"base": 5e5}),
    ("rope", {"sliding_window": 5}),
    ("interpolated", {"scale": 4}),
    ("dynamic_ntk", {"train_length": 16, "length": 48}),
    ("yarn", {**YARN, "beta_fast": 8.0}),
    ("yarn", {**YARN, "resonance": True}),
    ("llama3", YARN),
    ("ntk_mixed", {"scale": 4}),
    ("p_rope", {"fraction": 0.3}),
    ("p_rope", {"train_length": 64}),
    ("p_rope", {"fraction": 0.5, "resonance": True}),
    ("nope", {}),
    ("rope", {"softmax_scale": 0.5, "layout": "interleaved"}),
]


@pytest.mark.parametrize(("name", "options"), EXPORTED)
def test_transformers_computes_the_logits_of_an_exported_model(tmp_path, name, options):
    config, graphdef, params = tiny_model()
    logic = position_logic(name, head_dim=HEAD_DIM, **options)
    folder = export_pretrained(
        tmp_path / "x", config, params, logic, ByteTokenizer(), length=256
    )
    np.testing.assert_allclose(
        theirs(folder, 48, 48), logits(graphdef, params, logic, 48), atol=1e-4
    )
    text = "Ein Stück Text.\n"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.encode(text) == ByteTokenizer().encode(text).tolist()
    assert tokenizer.bos_token_id == 256


def test_an_exported_resonance_yarn_is_off_by_its_float32_angles_alone(tmp_path):
    config = tiny_model(num_heads=2, num_kv_heads=1)[0]
    graphdef, params = init_model(config)
    logic = position_logic(
        "yarn", head_dim=HEAD_DIM, scale=16, train_length=256, resonance=True
    )
    folder = export_pretrained(
        tmp_path / "x", config, params, logic, ByteTokenizer(), length=4096
    )
    expected = theirs(folder, 4096, batch=1)[0]
    exact = logits(graphdef, params, logic, 4096, batch=1)[0]
    single = logits(graphdef, params, in_float32(logic), 4096, batch=1)[0]
    # With its angles, ours are its logits; without, they are off by what that predicts.
    np.testing.assert_allclose(expected, single, atol=3e-5)
    off, predicted = (np.abs(exact - other) for other in (expected, single))
    assert np.all(off < predicted + 3e-5)
    # Root mean square over the vocabulary, at each position.
    at_T = np.sqrt(np.square(off).mean(axis=-1))
    assert at_T[:1024].max() < 1e-4 < at_T[1024:].max()


def test_transformers_ends_and_chats_as_the_checkpoint_did(tmp_path):
    config, _, params = tiny_model()
    folder = tmp_path / "x"
    (tmp_path / "tokenizer.json").write_bytes(
        tokenizer_files(ByteTokenizer(), 64)["tokenizer.json"]
    )
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [65, 66]}')
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    logic = position_logic("rope", head_dim=HEAD_DIM)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    export_pretrained(folder, config, params, logic, tokenizer, length=64)
    found = transformers.AutoTokenizer.from_pretrained(folder)
    assert found.eos_token == "A"
    chat = [{"role": "user", "content": "Hi"}]
    assert found.apply_chat_template(chat, tokenize=False) == "Hi!"
    model = their_model(folder)
    assert model.generation_config.eos_token_id == [65, 66]
    assert model.config.eos_token_id == [65, 66]


def test_a_gguf_file_gives_the_logits_that_transformers_reads_from_it(tmp_path):
    pytest.importorskip("accelerate")
    pytest.importorskip("gguf")
    config, _, params = tiny_model(**SIZES)
    path = write_gguf(tmp_path / "x.gguf", config, params, quantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, dtype=torch.float32
    ).eval()
    given = tokens(24, vocab_size=200)
    with torch.no_grad():
        expected = model(torch.tensor(np.asarray(given))).logits.numpy()
    loaded = load_pretrained(path)
    found = logits(loaded.graphdef, loaded.params, loaded.logic(), 24, vocab_size=200)
    np.testing.assert_allclose(found, expected, atol=1e-4)
