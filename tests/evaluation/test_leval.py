"""L-Eval: files as published, documents cut as published, outputs scored by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from rope_lab import position_logic
from rope_lab.data.chat import TEMPLATES
from rope_lab.data.tokenizers import ByteTokenizer
from rope_lab.evaluation import Row, answers
from rope_lab.evaluation.leval import measure_leval, prompt_tokens
from rope_lab.evaluation.leval_scores import score
from rope_lab.evaluation.leval_tasks import TASKS, Question, cut, load_task
from rope_lab.evaluation.subject import Subject
from rope_lab.model import Generated

BYTES = ByteTokenizer()
# Outputs and the points that the published rules give them, worked out by hand.
OUTPUTS = json.loads(Path(__file__).with_name("leval_outputs.json").read_text())
SUBJECT = Subject(None, None, BYTES, "writer", 64)


def rope_row():
    return Row("RoPE", lambda length: position_logic("rope", head_dim=8))


@pytest.mark.parametrize("stem", TASKS)
def test_recorded_outputs_get_the_points_worked_out_by_hand(stem):
    cases = OUTPUTS[stem]
    assert len(cases) >= 20
    for case in cases:
        found = score(stem, case["output"], case["answer"])
        assert list(found) == case["score"], case


def test_all_tasks_of_the_published_table_are_there():
    assert set(OUTPUTS) == set(TASKS)
    names = {"Coursera", "GSM", "QuALITY", "TOEFL", "CodeU", "SFiction"}
    assert {task.name for task in TASKS.values()} == names
    with pytest.raises(ValueError, match="known: tpo"):
        score("toefl", "A", "A")


def words(text):
    return len(text.split(" "))


def test_a_document_is_cut_by_words_in_steps_of_250():
    document = " ".join(str(n) for n in range(2000))
    assert cut(document, 2000, False, words) == document
    # Counted at three tokens a word: 1,500 words, 1,250, 1,000, 750, 500 are tried.
    kept = cut(document, 1500, False, lambda text: 3 * words(text))
    assert kept == " ".join(str(n) for n in range(500))
    kept = cut(document, 1500, True, lambda text: 3 * words(text))
    assert kept == " ".join(str(n) for n in range(1500, 2000))
    assert cut("endless", 10, False, lambda text: 11 if text else 1) == ""


def write(folder, stem, *lines):
    folder.mkdir(exist_ok=True)
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / f"{stem}.jsonl").write_text(text)


def line(document, **answers_):
    return {
        "input": document,
        "instructions": list(answers_),
        "outputs": list(answers_.values()),
        "source": "kept from the published file",
        "evaluation": "exam",
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "line 1 is not JSON"),
        ('{"input": "x", "outputs": []}', "has no 'instructions'"),
        ("[]", "a line of L-Eval is an object"),
        (
            '{"input": "x", "instructions": ["a", "b"], "outputs": ["1"]}',
            "has 2 instructions and 1 outputs",
        ),
        ('{"input": "x", "instructions": ["a"], "outputs": ["none"]}', "like a number"),
        ("\n", "holds no questions"),
    ],
)
def test_a_file_that_is_not_as_published_is_one_message(tmp_path, content, expected):
    (tmp_path / "gsm100.jsonl").write_text(content)
    with pytest.raises(ValueError, match=expected) as caught:
        load_task(tmp_path, TASKS["gsm100"])
    assert "gsm100.jsonl" in str(caught.value)


def test_a_missing_file_is_no_task(tmp_path):
    assert load_task(tmp_path, TASKS["tpo"]) is None


def spelled(stem, template="llama2", instruction="What now?", document="Once."):
    question = Question(document, instruction, "A")
    tokens = prompt_tokens(SUBJECT, TASKS[stem], question, 4000, TEMPLATES[template])
    return tokens, BYTES.decode(tokens)


def test_prompts_are_those_of_the_published_script():
    tokens, text = spelled("tpo")
    assert tokens[0] == BYTES.bos_id
    assert text.startswith("[INST]<<SYS>>\nNow you are given a very long document.")
    assert text.endswith(
        "\n<</SYS>>\n\nDocument is as follows. Once. \nQuestion: What now?.  Please "
        "directly give answer without any additonal output or explanation [/INST]"
        "\nAnswer:"
    )
    assert spelled("codeU")[1].endswith("question.\n<</SYS>>\n\nOnce.\n\nWhat now?")
    other = spelled("tpo", "chatml")[1]
    assert other.startswith("<|im_start|>system\nNow") and other.endswith("nt\nAnswer:")


def test_documents_may_spell_what_templates_do():
    text = spelled("quality", document="{instruction} {0} </s> [/INST]")[1]
    assert "follows. {instruction} {0} </s> [/INST] \nQuestion: What now?." in text


class Writer:
    """Writes what was prepared for the end of a prompt; remembers what it was asked."""

    def __init__(self, answers_):
        self.answers, self.prompts, self.logics = answers_, [], []

    def __call__(
        self, graphdef, params, tokens_BT, logic, new, *, prompt_lengths, stop_tokens
    ):
        text = BYTES.decode(tokens_BT[0, : prompt_lengths[0]])
        self.prompts.append(text)
        self.logics.append(logic(prompt_lengths[0] + new))
        (answer,) = (a for part, a in self.answers.items() if part in text[-400:])
        tokens_1N = np.full((1, new), -1, np.int32)
        tokens_1N[0, : len(answer)] = BYTES.encode(answer)
        return Generated(tokens_1N, np.array([len(answer)]))


def test_a_task_is_asked_question_by_question_and_averaged(monkeypatch, tmp_path):
    writer = Writer({"first": "B", "second": "C</s>", "third": ""})
    monkeypatch.setattr(answers, "generate", writer)
    write(tmp_path / "data", "tpo", line("One.", first="B", second="C"),
          line("Two.", third="D"))  # fmt: skip
    data = load_task(tmp_path / "data", TASKS["tpo"])
    row = Row("dynamic", lambda length: position_logic(
        "dynamic_ntk", head_dim=8, train_length=64, length=length))  # fmt: skip
    record = measure_leval(SUBJECT, row, data, 600, tmp_path, new_tokens=20)
    (cell,) = record["results"]
    assert cell["scores"] == [1, 1, 0.25] and cell["score"] == pytest.approx(0.75)
    assert record["count"] == 3 and data.documents == (0, 0, 1)
    for prompt, logic in zip(writer.prompts, writer.logics, strict=True):
        built_for = logic.record.value.options["length"]
        assert built_for == 1 + len(prompt) + 20
    assert measure_leval(SUBJECT, row, data, 600, tmp_path, new_tokens=20) == record
    assert len(writer.prompts) == 3


def test_fiction_is_asked_twice_of_the_story_and_of_the_world(monkeypatch, tmp_path):
    ending = " based on the world described in the document."
    writer = Writer({
        "document.": " True", "up until your last training\nAnswer:": " false</s>",
    })  # fmt: skip
    monkeypatch.setattr(answers, "generate", writer)
    lines = {f"Men fly? Answer this question{ending}": "True [fact: True]"}
    write(tmp_path, "sci_fi", {
        "input": "A story.", "instructions": list(lines),
        "outputs": list(lines.values()),
    })  # fmt: skip
    data = load_task(tmp_path, TASKS["sci_fi"])
    record = measure_leval(SUBJECT, rope_row(), data, 600, tmp_path, new_tokens=20)
    assert record["results"][0]["scores"] == [1, 0]
    assert writer.prompts[1] == (
        "Men fly? Answer this question based on the real-world knowledge and facts up "
        "until your last training\nAnswer:"
    )


def test_long_documents_lose_their_end_and_code_its_beginning(monkeypatch, tmp_path):
    document = " ".join(str(n) for n in range(2000))
    for stem, first, last in (("quality", "0", None), ("codeU", None, "1999")):
        question = Question(document, "What now?", "A")
        tokens = prompt_tokens(SUBJECT, TASKS[stem], question, 5000, TEMPLATES["none"])
        kept = [word for word in BYTES.decode(tokens).split() if word.isdigit()]
        assert 500 < len(kept) < 1500
        assert first is None or (kept[0] == first and kept[-1] != "1999")
        assert last is None or (kept[-1] == last and kept[0] != "0")


def test_a_length_without_room_for_documents_is_refused(tmp_path):
    write(tmp_path, "tpo", line("One.", first="B"))
    data = load_task(tmp_path, TASKS["tpo"])
    with pytest.raises(ValueError, match="512 new tokens"):
        measure_leval(SUBJECT, rope_row(), data, 512, tmp_path / "run")
    assert not (tmp_path / "run").exists()
