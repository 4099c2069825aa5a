"""Retrieval: samples, exact lengths, scores, and a reader of known reach."""

import re

import numpy as np
import pytest
import tokenizers as hf

from rope_lab import position_logic
from rope_lab.data.chat import TEMPLATES
from rope_lab.data.tokenizers import ByteTokenizer, HuggingFaceTokenizer
from rope_lab.evaluation import Row, answers, retrieval
from rope_lab.evaluation.haystack import filler, hide
from rope_lab.evaluation.retrieval import build_prompt, measure_retrieval
from rope_lab.evaluation.retrieval_tasks import TASKS
from rope_lab.evaluation.subject import Subject
from rope_lab.model import Generated, ModelConfig, init_model
from rope_lab.plots.heatmap import score_grid

every_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
PLAIN = TEMPLATES["none"]


def rope_row():
    return Row("RoPE", lambda length: position_logic("rope", head_dim=8))


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    """A tokenizer of a few merges, trained on the filler."""
    model = hf.Tokenizer(hf.models.BPE())
    model.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator([filler().text], trainer)
    path = tmp_path_factory.mktemp("bpe") / "tokenizer.json"
    model.save(str(path))
    return HuggingFaceTokenizer(path)


@every_task
def test_a_sample_is_a_function_of_seed_and_number(task):
    samples = [task.sample(7, index) for index in range(50)]
    assert samples == [task.sample(7, index) for index in range(50)]
    assert len({sample.answers for sample in samples}) == 50
    assert task.sample(8, 0) != samples[0]
    for sample in samples:
        assert len(sample.sentences) == len(sample.depths)
        assert list(sample.depths) == sorted(sample.depths)
        assert all(0 <= depth <= 1 for depth in sample.depths)
        hidden = " ".join(sample.sentences)
        assert all(answer in hidden for answer in sample.answers)


@every_task
def test_sentences_stand_in_the_text_in_their_order(task):
    for index in range(20):
        sample = task.sample(0, index)
        text = hide(filler().take(4000), sample.sentences, sample.depths).text
        places = [text.index(sentence) for sentence in sample.sentences]
        assert places == sorted(places)


def test_needles_go_through_every_depth():
    depths = [TASKS["needle"].sample(0, index).depth for index in range(22)]
    assert depths == [n / 10 for n in range(11)] * 2


def test_keys_and_variables_of_a_sample_differ():
    for index in range(30):
        keyed = TASKS["multi_key"].sample(0, index)
        assert len(set(keyed.sentences)) == 4
        name = keyed.question.removeprefix("What is the magic number of ")[:-1]
        asked = [sentence for sentence in keyed.sentences if name in sentence]
        assert len(asked) == 1 and keyed.answers[0] in asked[0]
        chain = TASKS["variable_tracking"].sample(0, index)
        assert len(set(chain.answers)) == 5
        assert list(chain.depths) == sorted(chain.depths)
        for before, sentence in zip(chain.answers, chain.sentences[1:], strict=False):
            assert sentence.endswith(f"= VAR {before}.")


def test_things_are_hidden_where_a_sentence_ends_nearest_to_the_depth():
    text = "One two. Three four five. Six seven. Eight."
    assert hide(text, ["X.", "Y."], [0.0, 1.0]) == (f"X. {text} Y.", (0.0, 1.0))
    found = hide(text, ["X."], [0.6])
    assert found.text.startswith("One two. Three four five. X. Six")
    assert found.depths == (25 / 43,)
    assert hide("", ["X.", "Y."], [0.4, 0.5]).text == "X. Y."


@pytest.mark.parametrize("words", [["no", "end"], ["no,", "end"], ["sen.tence", "3.4"]])
def test_without_an_end_of_a_sentence_near_the_depth_a_word_has_to_do(words):
    text = " ".join(words * 50)
    found = hide(text, ["X.", "Y."], [0.31, 0.9])
    np.testing.assert_allclose(found.depths, [0.31, 0.9], atol=0.01)
    before, rest = found.text.split(" X. ")
    middle, after = rest.split(" Y. ")
    assert f"{before} {middle} {after}" == text
    assert before.split()[-1] in words and middle.split()[-1] in words


@pytest.mark.parametrize(
    "text",
    [
        '"I said so," he said, "and it is so." ' * 50,
        "(It is so.) *Is it so?* [It is so!] »It is so.« " * 50,
        "这是一个很长的文档。他说：“没有空格！”" * 200,
    ],
)
def test_a_stop_may_stand_before_a_quote_and_need_no_blank(text):
    text = filler("own", [text]).text
    for depth in [n / 10 for n in range(11)]:
        found = hide(text, ["X."], [depth])
        assert found.depths[0] == pytest.approx(depth, abs=0.02)
        before = found.text.partition("X.")[0].strip()
        assert not before or before[-1] in '")*]«。”'


def test_the_text_around_is_cut_between_words_where_there_are_words():
    words = filler("own", ["one two  three\nfour"])
    assert words.text == "one two three four"
    assert [words.take(n) for n in (0, 2, 3, 6, 7, 12)] == [
        "", "", "one", "one", "one two", "one two",
    ]  # fmt: skip
    assert words.take(27) == "one two three four one two"
    single = filler("own", ["很" * 40])
    assert single.take(30) == "很" * 30 and len(single.take(100)) == 100


@pytest.mark.parametrize("length", [512, 2048])
def test_text_without_blanks_fills_a_prompt_too(length):
    subject = Subject(None, None, ByteTokenizer(), "", 64)
    task, chinese = TASKS["passkey"], filler("cn", ["这是一个很长的中文文档" * 400])
    built = build_prompt(subject, task, chinese, PLAIN, task.sample(0, 0), length)
    assert length - 8 <= len(built.tokens) + task.new_tokens <= length


def test_text_that_the_tokenizer_does_not_know_is_refused():
    class Blind(ByteTokenizer):
        """Makes one token of all that it does not know, as some do."""

        def encode(self, text):
            return super().encode(re.sub("很+", "?", text))

    subject, task = Subject(None, None, Blind(), "", 64), TASKS["passkey"]
    unknown = filler("cn", ["很" * 100_000])
    with pytest.raises(ValueError, match="does not know the characters"):
        build_prompt(subject, task, unknown, PLAIN, task.sample(0, 0), 512)


@every_task
@pytest.mark.parametrize("name", ["bytes", "bpe"])
@pytest.mark.parametrize("template", ["none", "llama2"])
def test_prompts_have_the_length_asked_for_to_a_few_tokens(task, name, template, bpe):
    tokenizer = ByteTokenizer() if name == "bytes" else bpe
    subject = Subject(None, None, tokenizer, "", 64)
    for length in (700, 1111, 4096):
        for index in (0, 5):
            sample = task.sample(1, index)
            tokens = build_prompt(
                subject, task, filler(), TEMPLATES[template], sample, length
            ).tokens
            assert length - 8 <= len(tokens) + task.new_tokens <= length
            assert tokens[0] == tokenizer.bos_id
            text = tokenizer.decode(tokens)
            assert all(sentence in text for sentence in sample.sentences)
            assert text.endswith(sample.answer_start)


@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
def test_a_needle_stands_at_its_depth_in_tokens(depth):
    task = TASKS["needle"]
    subject = Subject(None, None, ByteTokenizer(), "", 64)
    sample = task.sample(0, round(10 * depth))
    built = build_prompt(subject, task, filler(), PLAIN, sample, 8000)
    place = subject.tokenizer.decode(built.tokens).index(sample.sentences[0])
    assert place / len(built.tokens) == pytest.approx(depth, abs=0.03)
    assert built.notes["real_depth"] == pytest.approx(depth, abs=0.01)


@every_task
def test_a_score_is_the_share_of_answers_in_the_output(task):
    answers_ = TASKS["variable_tracking"].sample(0, 0).answers
    assert task.score(" 12345, of course", ("12345",)) == 1
    assert task.score(" 1234", ("12345",)) == 0
    assert task.score("", ("12345",)) == 0
    assert task.score(", ".join(answers_[:2]).lower(), answers_) == 2 / 5


class Reader:
    """Answers from the last `reach` bytes of the prompt, as a model of that reach."""

    def __init__(self, reach):
        self.reach, self.calls = reach, []

    def __call__(
        self, graphdef, params, tokens_BT, logic, new, *, prompt_lengths, stop_tokens
    ):
        self.calls.append((tokens_BT.shape, logic))
        rows = np.full((len(tokens_BT), new), -1, np.int32)
        for row, (tokens, length) in enumerate(
            zip(tokens_BT, prompt_lengths, strict=True)
        ):
            text = ByteTokenizer().decode(tokens[:length])
            (name,) = re.findall(r"The magic number of the (\w+ \w+) is$", text)
            seen = text[-self.reach :]
            found = re.search(rf"of the {name} is (\d+)\.", seen)
            out = f" {found[1]}" if found else " 0"
            rows[row, : len(out)] = ByteTokenizer().encode(out)
        return Generated(rows, (rows >= 0).sum(-1))


def test_the_heat_map_shows_the_reach_of_the_reader(monkeypatch, tmp_path):
    reader = Reader(reach=1200)
    monkeypatch.setattr(answers, "generate", reader)
    subject = Subject(None, None, ByteTokenizer(), "reader", 64)

    record = measure_retrieval(
        subject, Row("reader", lambda n: position_logic(
            "dynamic_ntk", head_dim=8, train_length=64, length=n)),
        TASKS["needle"], [1000, 4000], 22, tmp_path,
    )  # fmt: skip
    lengths, depths, grid_DL = score_grid(record)
    assert lengths == [1000, 4000] and depths == [n / 10 for n in range(11)]
    for cell in record["results"]:
        np.testing.assert_allclose(cell["real_depths"], cell["depths"], atol=0.05)
    np.testing.assert_array_equal(grid_DL[:, 0], 1)
    # Of 4,000 tokens the last 1,200 begin at a depth of about 0.7.
    np.testing.assert_array_equal(grid_DL[:, 1], [0] * 7 + [grid_DL[7, 1]] + [1] * 3)
    assert record["results"][0]["score"] == 1
    assert record["results"][1]["score_interval"][0] < 0.4
    # Each length ran under the logic that was built for prompt and answer.
    for shape, logic in reader.calls:
        length = 1000 if shape[1] < 1000 else 4000
        assert logic.record.value.options["length"] == length
        assert length - 8 <= shape[1] + TASKS["needle"].new_tokens <= length


def test_answers_are_kept_and_asked_once(monkeypatch, tmp_path):
    reader = Reader(reach=10**6)
    monkeypatch.setattr(answers, "generate", reader)
    monkeypatch.setattr(retrieval, "batch_for", lambda length: 4)
    subject = Subject(None, None, ByteTokenizer(), "reader", 64)
    arguments = subject, rope_row(), TASKS["multi_key"], [900], 10, tmp_path

    def interrupt(state):
        if len(reader.calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_retrieval(*arguments, progress=interrupt)
    record = measure_retrieval(*arguments)
    assert len(reader.calls) == 3  # of four, four and two
    assert measure_retrieval(*arguments) == record
    assert len(reader.calls) == 3
    assert record["results"][0]["score"] == 1 and record["count"] == 10
    assert measure_retrieval(*arguments, seed=1)["data"] == record["data"]
    assert len(reader.calls) == 6


def test_a_length_without_room_is_refused_before_anything_is_asked(tmp_path):
    subject = Subject(None, None, ByteTokenizer(), "reader", 64)
    with pytest.raises(ValueError, match="variable_tracking at length 300: the prompt"):
        measure_retrieval(
            subject, rope_row(), TASKS["variable_tracking"], [4000, 300], 2, tmp_path
        )
    assert not list(tmp_path.iterdir())


def test_no_samples_are_refused(tmp_path):
    subject = Subject(None, None, ByteTokenizer(), "reader", 64)
    with pytest.raises(ValueError, match="0 samples per length are asked for"):
        measure_retrieval(subject, rope_row(), TASKS["needle"], [900], 0, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_real_model_is_asked_from_its_cache(tmp_path):
    config = ModelConfig(
        vocab_size=257, num_layers=1, width=16, ff_width=24, num_heads=2,
        num_kv_heads=1, head_dim=8,
    )  # fmt: skip
    graphdef, params = init_model(config)
    subject = Subject(graphdef, params, ByteTokenizer(), "tiny", 64)
    record = measure_retrieval(
        subject, rope_row(), TASKS["passkey"], [300], 3, tmp_path
    )
    (cell,) = record["results"]
    assert cell["scores"] == [0, 0, 0] and len(cell["prompt_tokens"]) == 3
    assert record["encoding"]["300"]["name"] == "rope"
