"""Generated text is what repeated full passes would give, for every kind of logic.

Letters: B batch, T tokens of the padded prompt, N new tokens, V vocabulary. All texts
end at 128 tokens, so that most tests of this file share their programs.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import rope_lab
from rope_lab import generate, position_logic
from rope_lab.model import Decoder, ModelConfig, apply_model, stream
from rope_lab.model.requests import rounded
from rope_lab.model.sampling import make_sampling

B, T, N, V, D = 2, 5, 123, 17, 8
LENGTHS = [5, 3]
TRAINED = 8  # tokens, as far as windows are concerned: texts end at 16 times of it
PROMPT = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
SIZES = {"vocab_size": V, "num_layers": 2, "width": 12, "ff_width": 20}
SIZES |= {"num_heads": 4, "num_kv_heads": 2, "head_dim": D}
SIZES |= {"tied_embeddings": False, "qk_norm": "rms"}


@functools.cache
def model(**changes):
    """(graphdef, params), random and large enough that texts do not repeat at once."""
    config = ModelConfig(
        **(SIZES | {"tied_embeddings": False, "qk_norm": "rms"} | changes)
    )
    empty = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(empty)
    rng = np.random.default_rng(4)
    return graphdef, jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes
    )


def logic_of(name="rope", **options):
    return position_logic(name, head_dim=D, **options)


def dynamic(length):
    return logic_of("dynamic_ntk", train_length=TRAINED, length=length)


def callable_rerope(q, k, query_positions, key_positions):
    return logic_of("rerope", window=4)(q, k, query_positions, key_positions)


LOGICS = {
    "rope": logic_of(),
    "rerope": logic_of("rerope", window=4),
    "leaky_rerope": logic_of("leaky_rerope", window=4, step=31),
    "self_extend": logic_of("self_extend", window=4, group=4),
    "dual_chunk": logic_of("dual_chunk", chunk_length=6, local_window=2),
    "a window below, all above": [
        logic_of(sliding_window=4),
        logic_of("nope", log_n="test", train_length=TRAINED),
    ],
    "alibi": logic_of("alibi", num_heads=4),
    "nope": logic_of("nope"),
    "yarn": logic_of("yarn", scale=16.0, train_length=TRAINED),
    "dynamic_ntk for the length": dynamic,
    "plain callable": callable_rerope,
}


@functools.partial(jax.jit, static_argnums=0, static_argnames="logic")
def full_pass_of_callable(graphdef, params, tokens, logic):
    return apply_model(graphdef, params, tokens, logic)


full_pass = jax.jit(apply_model, static_argnums=0)


def most_likely(tokens_BT, logic):
    """int32[B, T]: the next token of every beginning, by one pass over the whole."""
    if logic is callable_rerope:
        logits = full_pass_of_callable(*model(), tokens_BT, logic=logic)
    else:
        logits = full_pass(*model(), tokens_BT, logic)
    return np.argmax(logits, axis=-1)


def texts(new_BN):
    """int32[B, T + N]: prompts without their padding, new tokens, zeros."""
    rows = [np.r_[PROMPT[b, :n], new_BN[b]] for b, n in enumerate(LENGTHS)]
    return np.array([np.pad(row, (0, T + N - len(row))) for row in rows])


@functools.cache
def greedy(name):
    return generate(*model(), PROMPT, LOGICS[name], N, prompt_lengths=LENGTHS)


@pytest.mark.parametrize("name", LOGICS)
def test_greedy_text_is_the_argmax_of_full_passes_to_16_times_the_training_length(name):
    """One pass over the finished text is all of them: later tokens change nothing."""
    found = greedy(name)
    logic = LOGICS[name](T + N) if LOGICS[name] is dynamic else LOGICS[name]
    text = texts(found.tokens)
    expected = most_likely(text, logic)
    for b, length in enumerate(LENGTHS):
        made = slice(length, length + N)
        np.testing.assert_array_equal(text[b, made], expected[b, length - 1 :][:N])
        assert len(set(text[b, made])) > 3, "a text that could be right by chance"
    assert found.tokens.dtype == np.int32 and found.lengths.tolist() == [N] * B


@pytest.mark.parametrize("name", ["rerope", "plain callable"])
def test_prompts_read_in_chunks_give_the_same_text(name):
    found = generate(
        *model(), PROMPT, LOGICS[name], N, prompt_lengths=LENGTHS, prefill_chunk=2
    )
    np.testing.assert_array_equal(found.tokens, greedy(name).tokens)


def test_equally_long_prompts_give_the_text_of_each_alone():
    together = generate(*model(), PROMPT[:, :3], LOGICS["rerope"], N)
    np.testing.assert_array_equal(together.tokens[1], greedy("rerope").tokens[1])


def test_a_text_continued_from_all_of_it_goes_on_as_if_it_had_never_stopped():
    """A fresh prefill, under a logic that was built for the length of the whole."""
    first = generate(*model(), PROMPT, LOGICS["rerope"], 60, prompt_lengths=LENGTHS)
    longer = texts(first.tokens)
    lengths = [n + 60 for n in LENGTHS]
    rest = generate(*model(), longer, LOGICS["rerope"], 63, prompt_lengths=lengths)
    joined = np.concatenate([first.tokens, rest.tokens], axis=1)
    np.testing.assert_array_equal(joined, greedy("rerope").tokens)


def test_bfloat16_models_generate_from_a_bfloat16_cache():
    graphdef, params = model(dtype="bfloat16")
    found = generate(graphdef, params, PROMPT, LOGICS["rerope"], 20)
    assert np.all((found.tokens >= 0) & (found.tokens < V))
    # Scores are rounded, so texts part ways, but not at once.
    exact = generate(*model(), PROMPT, LOGICS["rerope"], 20)
    assert np.mean(found.tokens[:, 0] == exact.tokens[:, 0]) >= 0.5


# Streaming and stopping.


def test_a_stream_yields_the_same_tokens_one_step_at_a_time():
    steps = stream(*model(), PROMPT, LOGICS["rerope"], N, prompt_lengths=LENGTHS)
    for number, tokens_B in enumerate(itertools.islice(steps, 10)):
        assert tokens_B.shape == (B,) and tokens_B.dtype == np.int32
        np.testing.assert_array_equal(tokens_B, greedy("rerope").tokens[:, number])


def test_each_text_ends_with_its_first_stop_token():
    free = greedy("rerope").tokens
    stop = [int(free[0, 4]), int(free[1, 9])]
    found = generate(
        *model(),
        PROMPT,
        LOGICS["rerope"],
        N,
        prompt_lengths=LENGTHS,
        stop_tokens=stop,
    )
    for b in range(B):
        end = int(np.argmax(np.isin(free[b], stop))) + 1
        assert found.lengths[b] == end
        np.testing.assert_array_equal(found.tokens[b, :end], free[b, :end])
        assert np.all(found.tokens[b, end:] == -1)
    assert found.tokens.shape == (B, N)


def test_a_stream_ends_when_every_text_has():
    free = greedy("rerope").tokens
    steps = list(
        stream(
            *model(),
            PROMPT,
            LOGICS["rerope"],
            N,
            prompt_lengths=LENGTHS,
            stop_tokens=free[:, 0].tolist(),
        )
    )
    assert len(steps) == 1


# Programs.


@pytest.fixture
def compiled():
    """A list that grows with every program XLA compiles."""
    programs, active = [], [True]

    def listen(event, duration, **_):
        if active and event == "/jax/core/compile/backend_compile_duration":
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield programs
    active.clear()


def test_nothing_is_compiled_twice_however_long_prompt_and_text(compiled):
    greedy("rerope")
    generate(*model(), PROMPT, LOGICS["rerope"], N, prompt_lengths=[5, 4])
    programs = len(compiled)
    longer = np.tile(PROMPT, (1, 6))
    generate(*model(), longer, logic_of("rerope", window=4), 98, prompt_lengths=[30, 4])
    assert len(compiled) == programs
    generate(*model(), longer, logic_of("rerope", window=5), 2, prompt_lengths=[30, 4])
    assert len(compiled) > programs, "the listener hears nothing"


def test_frequencies_are_data(compiled):
    greedy("yarn")
    greedy("dynamic_ntk for the length")
    programs = len(compiled)
    other = logic_of("yarn", scale=4.0, train_length=TRAINED, resonance=True)
    generate(*model(), PROMPT, other, N, prompt_lengths=LENGTHS)
    generate(*model(), PROMPT, dynamic, N - 20, prompt_lengths=LENGTHS)
    assert len(compiled) == programs


def test_sizes_are_rounded_up_to_a_few():
    sizes = {rounded(n) for n in range(1, 32769)}
    assert len(sizes) < 64 and 32768 in sizes
    for n in range(1, 32769, 7):
        assert n <= rounded(n) <= max(n + 63, n * 9 / 8)


# Sampling.


def sampled(**options):
    return generate(
        *model(), PROMPT, LOGICS["rope"], N, prompt_lengths=LENGTHS, **options
    )


def test_the_narrowest_draws_are_greedy():
    expected = greedy("rope").tokens
    for options in ({"temperature": 0}, {"top_k": 1}, {"top_p": 1e-6}):
        np.testing.assert_array_equal(sampled(**options).tokens, expected)


def test_a_seed_is_a_text():
    first, same, other = (sampled(top_p=0.99, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.tokens, same.tokens)
    assert np.mean(first.tokens == other.tokens) < 0.9


DRAWS = 20_000
LOGITS = np.log([0.4, 0.05, 0.25, 0.2, 0.1]).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, [0.4, 0.05, 0.25, 0.2, 0.1]),
        ({"temperature": 0.5}, [0.16, 0.0025, 0.0625, 0.04, 0.01]),
        ({"top_k": 3}, [0.4, 0, 0.25, 0.2, 0]),
        ({"top_k": 99}, [0.4, 0.05, 0.25, 0.2, 0.1]),
        ({"top_p": 0.6}, [0.4, 0, 0.25, 0, 0]),
        ({"top_p": 0.7}, [0.4, 0, 0.25, 0.2, 0]),
        # Of the three kept tokens, 0.4 / 0.85 is short of a half, 0.65 / 0.85 is not.
        ({"top_k": 3, "top_p": 0.5}, [0.4, 0, 0.25, 0, 0]),
        ({"temperature": 2.0, "top_k": 2}, [0.4**0.5, 0, 0.25**0.5, 0, 0]),
    ],
)
def test_draws_follow_the_softmax_of_the_tokens_kept(options, expected):
    options = {"temperature": None, "top_k": None, "top_p": None} | options
    logits = jnp.tile(LOGITS, (DRAWS, 1))
    found = make_sampling(**options).choose(logits, jax.random.key(0))
    shares = np.bincount(found, minlength=5) / DRAWS
    expected = np.array(expected) / np.sum(expected)
    bound = 5 * np.sqrt(expected * (1 - expected) / DRAWS)
    assert np.all(np.abs(shares - expected) <= bound)


def test_a_row_draws_the_same_in_every_batch():
    choose, key = make_sampling(1.0, None, None).choose, jax.random.key(1)
    logits = jnp.tile(LOGITS, (8, 1))
    np.testing.assert_array_equal(choose(logits, key)[:3], choose(logits[:3], key))


# Mistakes, each refused before anything is computed.


def test_randomized_text_stands_at_evenly_spread_positions():
    logic = logic_of("randomized", draw_from=400, at_test="even")
    found = generate(*model(), PROMPT[:, :3], logic, 8).tokens
    text = np.concatenate([PROMPT[:, :3], found], axis=1)
    positions = 400 // 11 * np.arange(11, dtype=np.int32)
    logits = full_pass(*model(), text, logic, positions)
    np.testing.assert_array_equal(np.argmax(logits, -1)[:, 2:-1], found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": PROMPT[:, :0]}, "at least one"),
        ({"prompt_tokens": PROMPT[0]}, r"\[batch, tokens\]"),
        ({"prompt_tokens": PROMPT * 1.0}, "integers"),
        ({"prompt_tokens": PROMPT + 12}, "token 17 is outside the vocabulary"),
        ({"prompt_tokens": PROMPT - 2}, "token -1 is outside"),
        ({"prompt_lengths": [5]}, "2 integers"),
        ({"prompt_lengths": [5, 0]}, "1 .. 5"),
        ({"prompt_lengths": [6, 1]}, "1 .. 5"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 2.5}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"stop_tokens": [V]}, "stop_tokens"),
        ({"prefill_chunk": 0}, "prefill_chunk"),
        ({"cache_dtype": jnp.float16}, "cache_dtype"),
        ({"logic": [logic_of()] * 3}, "2 layers"),
        ({"logic": "rope"}, "PositionLogic"),
        ({"logic": position_logic("rope", head_dim=6)}, "head_dim"),
        ({"logic": logic_of("alibi", num_heads=3)}, "heads"),
        ({"logic": logic_of("randomized", draw_from=500)}, "at_test='even'"),
        (
            {"logic": logic_of("randomized", draw_from=100, at_test="even")},
            "draw_from=128",
        ),
        ({"logic": dynamic(20)}, "built for length 20"),
        ({"logic": lambda length: dynamic(length - 1)}, "built for length"),
    ],
)
@pytest.mark.parametrize("function", [generate, stream])
def test_what_makes_no_sense_is_refused(function, changes, message, compiled):
    arguments = {"prompt_tokens": PROMPT, "logic": logic_of(), "max_new_tokens": N}
    trained = model()
    compiled.clear()  # of what made the model
    with pytest.raises(ValueError, match=message):
        function(*trained, **(arguments | changes))
    assert not compiled


def test_generate_is_public():
    assert rope_lab.generate is generate
