"""The three conventions on a model whose loss at each position is known.

The model gives the next token 0 the probability 2**-bits, where the bits depend on how
many tokens of context there are, BOS among them: 8 for one, 4 for two or three, 2 for
four to seven, 1 from eight on. Documents consist of token 0, so that every loss can be
written down: the expected values below are sums of these bits, done by hand.
"""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.data.selection import Selection
from rope_lab.evaluation import Row, per_token
from rope_lab.evaluation.perplexity import Protocol, measure_perplexity
from rope_lab.evaluation.subject import Subject
from rope_lab.model import ModelConfig, init_model, scoring

ROPE = position_logic("rope", head_dim=8)
ROW = Row("RoPE", lambda length: ROPE)
TOKENIZER = SimpleNamespace(bos_id=1, checksum="t" * 64)


class KnownModel:
    """Its state at a position is the number of tokens read so far."""

    config = SimpleNamespace(vocab_size=2)
    traced = []

    def states(self, tokens_BT, logic, positions=None):
        self.traced.append(tokens_BT.shape)
        context_T = 1.0 + jnp.arange(tokens_BT.shape[1])
        return jnp.broadcast_to(context_T, tokens_BT.shape)[..., None]

    def scores(self, x_BTE):
        bits = jnp.select([x_BTE < 2, x_BTE < 4, x_BTE < 8], [8.0, 4.0, 2.0], 1.0)
        return jnp.concatenate([-bits * jnp.log(2.0), jnp.log1p(-(2.0**-bits))], -1)


@pytest.fixture
def known(monkeypatch):
    """A subject with the known model; nothing compiled before is met again."""
    known = KnownModel()
    known.traced = []
    monkeypatch.setattr(scoring, "model_and_logic", lambda g, p, logic: (known, logic))
    subject = Subject(object(), {}, TOKENIZER, "known", train_length=4)
    return dataclasses.replace(subject), known


def zeros(*sizes):
    tokens = tuple(np.zeros(size, np.int32) for size in sizes)
    numbers = tuple(range(len(sizes)))
    return Selection("zeros", tokens, numbers, "c" * 64, 2, None, "first", 0)


def bits(record):
    """Mean loss at each length, in bits."""
    return [cell["loss"] / np.log(2) for cell in record["results"]]


def measure(subject, documents, lengths, workdir, **protocol):
    options = {"targets": 2, "stride": 2} | protocol
    return measure_perplexity(
        subject, ROW, documents, Protocol(**options), lengths, workdir
    )


def test_the_first_tokens_are_scored_once_with_all_before_them(known, tmp_path):
    record = measure(known[0], zeros(10), [4, 8], tmp_path, convention="first")
    # BOS and 3 tokens: 8 + 4 + 4. BOS and 7: four more of 2.
    assert bits(record) == pytest.approx([16 / 3, 24 / 7], abs=1e-5)
    assert [cell["tokens"] for cell in record["results"]] == [3, 7]
    assert record["results"][0]["perplexity"] == pytest.approx(2 ** (16 / 3), rel=1e-5)


def test_the_same_last_targets_gain_from_a_growing_context(known, tmp_path):
    record = measure(known[0], zeros(10), [4, 8], tmp_path, convention="last")
    # Of inputs 1 .. 4 the last two: 4 + 2. Of 1 .. 8: 2 + 1.
    assert bits(record) == pytest.approx([3, 1.5], abs=1e-5)
    short = measure(known[0], zeros(6), [8], tmp_path, convention="last")
    # Shorter than the window, so BOS and all of it: targets after 5 and 6 tokens.
    assert bits(short) == pytest.approx([2], abs=1e-5)


def test_sliding_windows_score_each_token_once(known, tmp_path):
    record = measure(known[0], zeros(10, 6), [4], tmp_path, convention="sliding")
    # Ten tokens: 8+4+4 | 4+4 | 4+4 | 4+4 | 4. Six tokens: 8+4+4 | 4+4 | 4.
    assert bits(record) == pytest.approx([(44 + 28) / 16], abs=1e-5)
    (cell,) = record["results"]
    assert (cell["tokens"], cell["windows"]) == (16, 8)
    expected = np.log(2) * np.array([44 / 10, 28 / 6])
    assert cell["per_document_loss"] == pytest.approx(expected, abs=1e-5)


def test_the_released_weighting_averages_windows_of_any_size(known, tmp_path):
    record = measure(
        known[0], zeros(10, 6), [4], tmp_path, convention="sliding", weights="windows"
    )
    # 16/3, 4, 4, 4, 4 and 16/3, 4, 4.
    assert bits(record) == pytest.approx([(2 * 16 / 3 + 6 * 4) / 8], abs=1e-5)


def test_without_bos_a_window_holds_one_token_more(known, tmp_path):
    tokenizer = SimpleNamespace(bos_id=None, checksum="t" * 64)
    subject = dataclasses.replace(known[0], tokenizer=tokenizer)
    first = measure(subject, zeros(10), [4], tmp_path, convention="first")
    # Four tokens, of which the first is predicted by nothing: 8 + 4 + 4.
    assert bits(first) == pytest.approx([16 / 3], abs=1e-5)
    slid = measure(subject, zeros(10), [4], tmp_path, convention="sliding")
    # Tokens 1 to 3: 8 + 4 + 4. Then 4, 5 | 6, 7 | 8, 9, each after two and three.
    assert bits(slid) == pytest.approx([(16 + 3 * 8) / 9], abs=1e-5)
    short = measure(subject, zeros(6), [8], tmp_path, convention="last")
    # Whole, without BOS: targets after 4 and 5 tokens.
    assert bits(short) == pytest.approx([2], abs=1e-5)
    assert slid["settings"]["bos"] is False


def test_loss_by_position_is_that_of_the_model(known, tmp_path):
    record = measure(known[0], zeros(40, 40), [16], tmp_path, convention="first")
    curve = record["results"][0]["by_position"]
    assert curve["edges"] == [0, 1, 2, 3, 4, 6, 8, 12, 16]
    assert curve["targets"] == [2, 2, 2, 2, 4, 4, 8, 6]
    # Target t is scored after t + 1 tokens; the last bin has position 12, 13 and 14.
    expected = [8, 4, 4, 2, 2, (2 + 1) / 2, 1, 1]
    assert np.array(curve["loss"]) / np.log(2) == pytest.approx(expected, abs=1e-5)


def test_every_length_compiles_once_whatever_the_documents(known, tmp_path):
    subject, model = known
    documents = zeros(10, 6, 33, 12, 5)
    for convention in ("sliding", "last", "first"):
        measure(subject, documents, [4, 8], tmp_path, convention=convention)
    assert [shape[1] for shape in model.traced] == [4, 8]


def test_an_interrupted_run_measures_what_is_missing(known, tmp_path):
    subject, _ = known
    documents = zeros(10, 6, 33, 12, 5)
    options = {"protocol": Protocol("sliding", stride=2), "lengths": [4, 8]}

    def run(workdir, stop_after=None):
        fractions = []

        def progress(state):
            fractions.append(state.fraction)
            if len(fractions) == stop_after:
                raise KeyboardInterrupt

        record = measure_perplexity(
            subject, ROW, documents, workdir=workdir, progress=progress,
            batch_size=lambda length: 3, **options,
        )  # fmt: skip
        return record, fractions

    whole, fractions = run(tmp_path / "whole")
    assert fractions[-1] == 1 and fractions == sorted(fractions)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", stop_after=4)
    (journal,) = (tmp_path / "cut" / "units").iterdir()
    finished = journal.read_text().count("\n")
    assert 0 < finished < 10
    journal.write_text(journal.read_text() + '["4/3", {"windo')  # killed while writing
    again, rest = run(tmp_path / "cut")
    assert len(rest) < len(fractions)
    assert again == whole
    assert run(tmp_path / "cut") == (whole, [])


def test_another_document_or_encoding_is_measured_anew(known, tmp_path):
    subject, _ = known
    measure(subject, zeros(10), [4], tmp_path, convention="first")
    other = dataclasses.replace(zeros(10), checksum="d" * 64)
    measure(subject, other, [4], tmp_path, convention="first")
    yarn = Row("RoPE", lambda n: position_logic("ntk_aware", head_dim=8, scale=2.0))
    measure_perplexity(subject, yarn, zeros(10), Protocol("first"), [4], tmp_path)
    assert len(list((tmp_path / "units").iterdir())) == 3
    names = [json.loads(p.read_text()) for p in (tmp_path / "records").iterdir()]
    assert {record["encoding"]["4"]["name"] for record in names} == {
        "rope",
        "ntk_aware",
    }


@pytest.mark.parametrize(
    ("options", "lengths", "expected"),
    [
        ({"convention": "middle"}, [4], "expected one of last, sliding, first"),
        ({"convention": "last", "targets": 9}, [4, 16], "shortest length, 4"),
        ({"convention": "sliding", "stride": 4}, [4], "give 1 to 3"),
        ({"convention": "first", "weights": "bytes"}, [4], "weights is 'bytes'"),
        ({"convention": "first"}, [], "at least 2 tokens"),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused(
    known, tmp_path, options, lengths, expected
):
    with pytest.raises(ValueError, match=expected):
        measure(known[0], zeros(10), lengths, tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("convention", "most"), [("last", 8), ("sliding", 7)])
def test_documents_cut_to_less_than_a_length_are_refused(
    known, tmp_path, convention, most
):
    whole = dataclasses.replace(zeros(most, most), maximum_tokens=most)
    (cell,) = measure(known[0], whole, [8], tmp_path / "a", convention=convention)[
        "results"
    ]
    assert (cell["longest_read"], cell["shorter_documents"]) == (8, 0)
    cut = dataclasses.replace(zeros(most - 1), maximum_tokens=most - 1)
    with pytest.raises(ValueError, match=f"maximum_tokens of at least {most}, or"):
        measure(known[0], cut, [4, 8], tmp_path / "b", convention=convention)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("convention", "longest"), [("first", 7), ("sliding", 7), ("last", 6)]
)
def test_a_length_says_how_much_of_it_short_documents_fill(
    known, tmp_path, convention, longest
):
    record = measure(known[0], zeros(6, 3, 5), [4, 8], tmp_path, convention=convention)
    told = [(r["longest_read"], r["shorter_documents"]) for r in record["results"]]
    # BOS and the tokens, and of "last" one of them is a target alone.
    assert told == [(4, 1 if convention == "last" else 0), (longest, 3)]


def test_a_real_model_is_scored_as_by_per_token(tmp_path):
    config = ModelConfig(
        vocab_size=13, num_layers=1, width=16, ff_width=24, num_heads=2,
        num_kv_heads=1, head_dim=8,
    )  # fmt: skip
    graphdef, params = init_model(config, seed=2)
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 13, size).astype(np.int32) for size in (11, 20, 20)]
    documents = dataclasses.replace(zeros(11, 20, 20), tokens=tuple(texts))
    subject = Subject(graphdef, params, TOKENIZER, "tiny", train_length=4)
    record = measure_perplexity(
        subject, ROW, documents, Protocol("first"), [8], tmp_path
    )
    windows = np.stack([np.concatenate([[1], text[:7]]) for text in texts])
    loss, hit = per_token(graphdef, params, windows, ROPE)
    (cell,) = record["results"]
    assert cell["loss"] == pytest.approx(loss.mean(), abs=1e-5)
    assert cell["accuracy"] == pytest.approx(hit.mean(), abs=1e-5)
    assert cell["loss_interval"][0] < cell["loss"] < cell["loss_interval"][1]


def test_a_loss_that_is_no_number_is_refused(known, tmp_path):
    subject, model = known
    model.scores = lambda x_BTE: jnp.concatenate([x_BTE * jnp.nan, x_BTE], -1)
    with pytest.raises(ValueError, match="document 0 at length 4 is not finite"):
        measure(subject, zeros(10), [4], tmp_path, convention="first")
