"""A conversation in a cache says what reading it all at once says."""

import jax
import numpy as np
import pytest

from rope_lab import generate, position_logic
from rope_lab.model import ModelConfig, apply_model, init_model, session
from rope_lab.model.session import Session

CONFIG = ModelConfig(
    vocab_size=31, num_layers=1, width=16, ff_width=24, num_heads=2, num_kv_heads=1,
    head_dim=8,
)  # fmt: skip
GRAPHDEF, PARAMS = init_model(CONFIG, seed=4)
RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.integers(0, 31, n).astype(np.int32).tolist() for n in (11, 6))


def rerope(length):
    return position_logic("rerope", head_dim=8, window=5)


def dynamic(length):
    return position_logic("dynamic_ntk", head_dim=8, train_length=8, length=length)


full_pass = jax.jit(apply_model, static_argnums=0)


def likely(tokens, logic):
    """The most likely next token, from one pass over the whole text."""
    text_BT = np.zeros((1, 40), np.int32)  # what stands behind is seen by no token
    text_BT[0, : len(tokens)] = tokens
    logits_BTV = np.asarray(full_pass(GRAPHDEF, PARAMS, text_BT, logic))
    return int(np.argmax(logits_BTV[0, len(tokens) - 1]))


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(session, "CHUNK", 4)


@pytest.mark.parametrize("logic_for", [rerope, dynamic], ids=["rerope", "dynamic"])
def test_every_turn_continues_all_that_was_read_and_written(logic_for):
    talk = Session(GRAPHDEF, PARAMS, logic_for, length=40)
    expected, logic = [], logic_for(40)
    for turn, count in ((FIRST, 4), (SECOND, 3)):
        talk.read(turn)
        expected += turn
        for token in talk.write(count):
            assert token == likely(expected, logic)
            expected.append(token)
        assert talk.tokens == expected
    assert talk.room == 40 - len(expected)


def test_one_turn_is_what_generate_writes():
    talk = Session(GRAPHDEF, PARAMS, rerope, length=len(FIRST) + 9)
    talk.read(FIRST)
    prompt = np.asarray(FIRST, np.int32)[None]
    expected, _ = generate(GRAPHDEF, PARAMS, prompt, rerope, 9)
    assert list(talk.write(9)) == expected[0].tolist()


def test_an_answer_ends_with_a_stop_token_or_with_the_room():
    talk = Session(GRAPHDEF, PARAMS, rerope, length=20)
    talk.read(FIRST)
    first = next(iter(talk.write(5)))
    again = Session(GRAPHDEF, PARAMS, rerope, length=20)
    again.read(FIRST)
    assert list(again.write(5, stop_tokens=[first])) == [first]
    again.read(SECOND)
    assert len(list(again.write(100))) == 20 - 11 - 1 - 6
    assert again.room == 0


def test_sampling_differs_from_turn_to_turn_and_follows_the_seed():
    def written(seed):
        talk = Session(GRAPHDEF, PARAMS, rerope, 60, temperature=5.0, seed=seed)
        talk.read(FIRST)
        before = list(talk.write(12))
        talk.read(FIRST)
        return before, list(talk.write(12))

    zero = written(0)
    assert zero == written(0) != written(1)
    assert zero[0] != zero[1]


@pytest.mark.parametrize("temperature", [None, 5.0], ids=["greedy", "drawn"])
def test_a_second_answer_goes_on_behind_the_first(temperature):
    def talk():
        opened = Session(GRAPHDEF, PARAMS, rerope, 40, temperature=temperature)
        opened.read(FIRST)
        return opened

    halves, whole = talk(), talk()
    written = [token for _ in range(2) for token in halves.write(4)]
    assert written == list(whole.write(8))
    assert halves.tokens == whole.tokens == FIRST + written


def test_an_answer_that_was_interrupted_goes_on_behind_what_was_read_since():
    talk = Session(GRAPHDEF, PARAMS, rerope, length=20)
    talk.read(FIRST)
    answer, other = talk.write(9), talk.write(9)
    text = [*FIRST, next(answer)]
    talk.read(SECOND)
    text += SECOND
    for each in (answer, other):
        token = next(each)
        assert token == likely(text, rerope(20))
        text.append(token)
    assert talk.tokens == text and talk.room == 0
    assert list(answer) == []


@pytest.mark.parametrize("tokens", [[31], [3, -1], [1.5], ["a"]])
def test_what_is_no_token_of_the_model_is_refused(tokens):
    talk = Session(GRAPHDEF, PARAMS, rerope, length=8)
    with pytest.raises(ValueError, match="token"):
        talk.read(tokens)
    assert talk.tokens == []
    talk.read([0, 30])
    with pytest.raises(ValueError, match=r"stop_tokens \[31\] must be in 0 .. 30"):
        talk.write(2, stop_tokens=[31])


def test_more_than_there_is_room_for_is_refused():
    talk = Session(GRAPHDEF, PARAMS, rerope, length=8)
    with pytest.raises(ValueError, match="has room for 8"):
        talk.read(FIRST)
    with pytest.raises(ValueError, match="the session is empty"):
        next(talk.write(1))
    fixed = dynamic(8)
    with pytest.raises(ValueError, match="built for length 8"):
        Session(GRAPHDEF, PARAMS, fixed, length=9)
