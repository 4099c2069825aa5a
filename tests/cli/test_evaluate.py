"""rope-lab evaluate, perplexity and generate on a model of seconds, from end to end."""

import io
import json

import pytest
import tiny_checkpoint

from rope_lab import position_logic
from rope_lab.cli.config import GenerateConfig
from rope_lab.cli.generate import generate
from rope_lab.cli.main import run_experiment
from rope_lab.cli.scorecard import make_scorecard, print_scorecard
from rope_lab.evaluation import records
from rope_lab.evaluation.leval_tasks import TASKS as LEVAL_TASKS

REROPE = {"name": "rerope", "window": "trained/2"}
NTK = {"name": "ntk_aware", "scale": "measured/trained"}  # shares RoPE's programs


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """Workdir of six steps, and the folder of its data."""
    from ml_collections import ConfigDict

    from rope_lab.cli import config as schema
    from rope_lab.cli.pretrain import pretrain

    place = tmp_path_factory.mktemp("trained")
    values = {
        "model": {
            "num_layers": 1, "width": 16, "ff_width": 32, "num_heads": 2,
            "num_kv_heads": 1, "head_dim": 8, "logic": {"name": "rope"},
        },
        "data": {
            "corpus": str(corpus), "tokenizer": "bytes", "length": 32,
            "batch_size": 2, "data_dir": str(place / "data"),
        },
        "training": {
            "num_steps": 2, "learning_rate": 0.01, "log_every": 1,
            "checkpoint_every": 2, "tensorboard": False,
        },
        "validation": {"every": 100, "num_windows": 1},
    }  # fmt: skip
    pretrain(schema.read(schema.PretrainConfig, ConfigDict(values)), place / "run")
    return place / "run", place / "data"


@pytest.fixture
def command(trained, tmp_path):
    """Runs a command on the checkpoint; returns the scorecard."""
    run, data = trained

    def call(name, *arguments):
        argv = [name, str(run), f"--workdir={tmp_path / name}"]
        run_experiment(name, [*argv, f"--config.data_dir={str(data)!r}", *arguments])
        return json.loads((tmp_path / name / "scorecard.json").read_text())

    return call


def line(scorecard, evaluation, label="own"):
    (found,) = (
        one
        for one in scorecard["lines"]
        if (one["evaluation"], one["label"]) == (evaluation, label)
    )
    return found


def test_one_command_measures_everything_there_is(
    command, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "leval"
    folder.mkdir()
    question = {"input": "Once.", "instructions": ["Who?"], "outputs": ["A"]}
    (folder / "tpo.jsonl").write_text(json.dumps(question))
    arguments = [
        "--lengths=[64,320]",
        f"--encodings=[{NTK!r}]",
        "--config.perplexity=[{'convention': 'last'}]",
        "--config.retrieval.tasks=['needle']",
        "--config.retrieval.count=2",
        f"--config.leval.folder={str(folder)!r}",
        "--config.leval.new_tokens=4",
    ]
    scorecard = command("evaluate", *arguments)
    ntk = "ntk_aware scale=measured/trained"
    for label in ("own", ntk):
        cells = line(scorecard, "perplexity/last/held_out", label)["cells"]
        assert set(cells) == {"64", "320"}
        assert all(1 < cell["value"] < 2000 for cell in cells.values())
        assert list(line(scorecard, "l-eval/tpo", label)["cells"]) == ["320"]
        assert list(line(scorecard, "retrieval/needle", label)["cells"]) == ["320"]
    reasons = {one["evaluation"]: one["reason"] for one in scorecard["not_run"]}
    assert "needle at length 64" in reasons["retrieval/needle"]
    assert "holds no codeU.jsonl" in reasons["l-eval/codeU"]
    assert reasons["l-eval/average"].startswith(ntk)
    printed = capsys.readouterr().out
    assert "not run: l-eval/quality" in printed and "perplexity/last" in printed
    workdir = tmp_path / "evaluate"
    assert {p.name for p in workdir.glob("*.png")} >= {
        "needle-own.png",
        "needle-ntk-aware-scale-measured-trained.png",
    }
    kept = [records.load(path) for path in (workdir / "records").iterdir()]
    assert len(kept) == len(scorecard["lines"])
    for record in kept:
        assert record["checkpoint"].startswith("step 2, sha256 ")
        assert record["data"]["checksum"] and record["encoding"] and record["count"]
    first, second = [r for r in kept if r["evaluation"] == "retrieval/needle"]
    assert records.differences(first, second) == []
    assert first["encoding"] != second["encoding"]
    other = next(r for r in kept if r["evaluation"] == "l-eval/tpo")
    assert "prompt_template" in records.differences(first, other)

    def refuse(*args, **options):
        raise AssertionError("measured again")

    monkeypatch.setattr("rope_lab.evaluation.answers.generate", refuse)
    monkeypatch.setattr("rope_lab.evaluation.perplexity._score", refuse)
    assert command("evaluate", *arguments) == scorecard


def test_perplexity_alone_takes_its_protocol_from_the_command(command, corpus):
    scorecard = command(
        "perplexity", "--convention=sliding", "--stride=16", "--lengths=[32,64]",
        "--config.count=3", f"--documents={str(corpus)!r}",
        "--config.maximum_tokens=100", "--weights=windows",
    )  # fmt: skip
    (only,) = scorecard["lines"]
    assert (
        only["evaluation"] == f"perplexity/sliding/{corpus.name}" and only["count"] == 3
    )
    assert set(only["cells"]) == {"32", "64"}


def test_what_is_not_here_is_named_and_the_rest_is_run(command):
    sections = [{"documents": "govreport"}, {"count": 2}, {"count": 500}]
    scorecard = command(
        "evaluate", "--lengths=[32]", f"--config.perplexity={sections!r}",
        "--config.retrieval.haystack=proof_pile",
    )  # fmt: skip
    assert line(scorecard, "perplexity/last/held_out")["count"] == 2
    reasons = [(r["evaluation"], r["reason"]) for r in scorecard["not_run"]]
    (name, reason), (short, few) = reasons[:2]
    assert name == "perplexity/last/govreport" and "load_dataset" in reason
    assert short == "perplexity/last/held_out" and "500 documents of" in few
    names = {name for name, reason in reasons if "load_dataset" in reason}
    assert names >= {"retrieval/passkey", "retrieval/variable_tracking"}


def test_the_text_of_a_run_that_is_gone_is_missing_and_no_wrong_config(
    command, monkeypatch
):
    def gone(*args, **options):
        raise ValueError("unknown corpus 'texts'")

    monkeypatch.setattr("rope_lab.cli.subject.load_corpus", gone)
    found = command("evaluate", "--lengths=[32]", "--config.retrieval.tasks=[]")
    assert found["not_run"][0]["reason"] == "unknown corpus 'texts'"


def test_heat_maps_of_labels_that_differ_in_signs_are_all_kept(command, tmp_path):
    rows = [{"label": label, **NTK} for label in ("a b", "a-b", "A b", "c")]
    command(
        "evaluate", "--lengths=[320]", "--config.perplexity=[]", "--config.own=False",
        "--config.retrieval.tasks=['needle']", "--config.retrieval.count=1",
        f"--encodings={rows!r}",
    )  # fmt: skip
    names = {path.stem for path in (tmp_path / "evaluate").glob("needle-*.png")}
    names = {name for name in names if not name.endswith("-dark")}
    assert len(names) == 4 and "needle-c" in names
    assert all(name.startswith("needle-a-b-") for name in names - {"needle-c"})


def test_documents_of_two_folders_of_one_name_are_not_paired(command, tmp_path):
    sections = []
    for number, parent in enumerate("ab"):
        folder = tmp_path / parent / "text"
        folder.mkdir(parents=True)
        for copy in range(2):
            (folder / f"{copy}.txt").write_text(f"{number} {copy} and more " * 20)
        sections.append({"documents": str(folder), "count": 2})
    scorecard = command(
        "evaluate", "--lengths=[32]", "--config.retrieval.tasks=[]",
        f"--config.perplexity={sections!r}", f"--encodings=[{NTK!r}]",
    )  # fmt: skip
    for name in ("perplexity/last/a/text", "perplexity/last/b/text"):
        assert "minus_first" not in line(scorecard, name)["cells"]["32"]
        ntk = line(scorecard, name, "ntk_aware scale=measured/trained")
        assert abs(ntk["cells"]["32"]["minus_first"]["value"]) < 1e-3  # scale 1


def test_protocols_of_one_source_are_told_apart_by_name_and_not_paired():
    def record(losses, label="own", weights="tokens", documents="f" * 64):
        result = {
            "length": 64, "perplexity": 9.0, "perplexity_interval": None,
            "per_document_loss": losses,
        }  # fmt: skip
        return {
            "evaluation": "perplexity/last/text", "label": label, "seed": None,
            "settings": {"weights": weights, "targets": 8}, "count": len(losses),
            "data": {"name": "text", "checksum": documents}, "results": [result],
        }  # fmt: skip

    def lines(*records):
        return make_scorecard(records, [])["lines"]

    weighed = lines(
        record([1.0, 2.0]),
        record([2.0, 3.0], weights="windows"),
        record([2.5, 3.5], "PI", weights="windows"),
    )
    assert [one["evaluation"].partition(" ")[2] for one in weighed] == [
        "weights=tokens", "weights=windows", "weights=windows",
    ]  # fmt: skip
    cells = [one["cells"]["64"] for one in weighed]
    assert "minus_first" not in cells[0] and "minus_first" not in cells[1]
    assert cells[2]["minus_first"]["value"] == pytest.approx(0.5)
    # Of another number of documents, which once ended the run when all was measured.
    counts = lines(record([1.0, 2.0]), record([1.0, 2.0, 3.0, 4.0]))
    assert [one["evaluation"][-8:] for one in counts] == [" count=2", " count=4"]
    others = lines(record([1.0, 2.0]), record([1.0, 2.0], documents="0" * 64))
    assert others[1]["evaluation"] == "perplexity/last/text checksum=00000000"
    (single,) = lines(record([1.0]))
    assert single["evaluation"] == "perplexity/last/text"


def test_whole_documents_shorter_than_a_length_are_named_in_its_cell(command, capsys):
    arguments = ["--convention=first", "--lengths=[64,4000]", "--config.count=2"]
    scorecard = command("perplexity", *arguments, "--config.minimum_tokens=2")
    (only,) = scorecard["lines"]
    assert "longest_read" not in only["cells"]["64"]
    far = only["cells"]["4000"]
    assert far["shorter_documents"] == 2 and 64 < far["longest_read"] < 4000
    printed = capsys.readouterr().out
    assert f"2 shorter, longest {far['longest_read']}" in printed


def test_documents_cut_to_a_length_fill_its_window(command):
    cut = ["--config.count=2", "--config.maximum_tokens=64"]
    (only,) = command("perplexity", "--lengths=[32,64]", *cut)["lines"]
    assert set(only["cells"]) == {"32", "64"}
    assert "longest_read" not in only["cells"]["64"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--prompt=12", "--max_new_tokens", "5"], {"prompt": "12", "length": None}),
        (["--chat", "--length=90"], {"chat": True, "length": 90, "prompt": None}),
        (["--length=90", "--chat"], {"chat": True, "length": 90, "prompt": None}),
        (["--system", "Be kind.", "--top_p=0.5"], {"system": "Be kind.", "top_p": 0.5}),
        (["--encoding", repr(REROPE)], {"encoding": REROPE}),
    ],
)
def test_generate_is_told_on_the_command_line(monkeypatch, arguments, expected):
    seen = []
    monkeypatch.setattr("rope_lab.cli.generate.generate", lambda *a: seen.append(a))
    run_experiment("generate", ["generate", "runs/base", *arguments])
    ((config, workdir),) = seen
    assert workdir is None and config.checkpoint == "runs/base"
    assert {key: getattr(config, key) for key in expected} == expected


def test_a_chat_that_outgrows_its_logic_says_what_it_costs(trained, capsys):
    run, data = trained
    config = GenerateConfig(
        checkpoint=str(run), data_dir=str(data), chat=True, template="llama2",
        system="Be kind.", length=90, max_new_tokens=6,
        encoding={"name": "dynamic_ntk", "train_length": 32, "length": "measured"},
    )  # fmt: skip
    out = io.StringIO()
    answers = generate(config, None, io.StringIO("Hello.\n\nWho are you?\nAh.\n"), out)
    assert len(answers) == 3 and out.getvalue() == "".join(a + "\n" for a in answers)
    said = capsys.readouterr().err
    assert "outgrows the logic for 90 tokens: a fresh one for 180 has read" in said
    assert said.count("outgrows") == 1
    again = generate(config, None, io.StringIO("Hello.\n"), io.StringIO())
    assert again == answers[:1]


def test_the_average_is_reported_with_all_six_tasks_alone():
    def record(stem, score):
        result = {"length": 16000, "score": score, "score_interval": [0.1, 0.9]}
        return {
            "evaluation": f"l-eval/{stem}", "label": "own", "count": 10,
            "results": [result],
        }  # fmt: skip

    scores = dict(zip(LEVAL_TASKS, (0.1, 0.2, 0.3, 0.4, 0.5, 0.9), strict=True))
    tasks = [record(stem, score) for stem, score in scores.items()]
    average = line(make_scorecard(tasks, []), "l-eval/average")
    assert average["cells"] == {"16000": {"value": 40.0, "interval": None}}
    fewer = make_scorecard(tasks[:-1], [])
    assert [one["evaluation"] for one in fewer["not_run"]] == ["l-eval/average"]
    assert "codeU.jsonl" in fewer["not_run"][0]["reason"]


def test_encodings_are_compared_document_by_document(capsys):
    def record(label, losses):
        result = {
            "length": 64, "perplexity": 9.0, "perplexity_interval": [2.0, 30.0],
            "per_document_loss": losses,
        }  # fmt: skip
        return {
            "evaluation": "perplexity/last/held_out", "label": label, "count": 4,
            "results": [result],
        }  # fmt: skip

    first, second = [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, 3.5, 4.6]
    scorecard = make_scorecard([record("own", first), record("PI", second)], [])
    assert "minus_first" not in scorecard["lines"][0]["cells"]["64"]
    found = scorecard["lines"][1]["cells"]["64"]["minus_first"]
    assert found["value"] == pytest.approx(0.525)
    # Documents differ by whole nats, but not in what the encoding does to them.
    assert 0.45 < found["interval"][0] < 0.525 < found["interval"][1] < 0.65
    print_scorecard(scorecard)
    assert "0.525 [" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "argument", "expected"),
    [
        ("evaluate", "--lengths=[64,1]", "at least one of 2 tokens"),
        ("evaluate", "--encodings=[{'name': 'rop'}]", "did you mean 'rope'"),
        ("evaluate", "--encodings=[{'name': 'fire', 'num_heads': 2}]", "hold nothing"),
        ("evaluate", "--encodings=['yarn']", "a dict with a label and a name"),
        ("evaluate", "--config.retrieval.tasks=['pass']", "expected some of passkey"),
        ("evaluate", "--config.leval.template=alpaca", "has no {prompt}"),
        ("evaluate", "--config.perplexty=[]", "did you mean 'perplexity'"),
        ("evaluate", "--config.own=False", "give at least one"),
        ("evaluate", "--config.retrieval.count=0", "retrieval.count is 0; expected at"),
        (
            "evaluate",
            "--config.perplexity=[{}, {'selection': 'shuffle'}]",
            "perplexity[1].selection is 'shuffle'; expected one of first, random",
        ),
        ("evaluate", "--config.perplexity=[{'count': -3}]", "count is -3; expected at"),
        (
            "evaluate",
            "--config.retrieval.haystack=nowhre",
            "unknown documents 'nowhre'",
        ),
        (
            "evaluate",
            "--config.perplexity=[{}, {'documents': 'nowhre'}]",
            "unknown documents 'nowhre'",
        ),
        (
            "evaluate",
            "--config.perplexity=[{}, {'documents': 'govreport', 'split': 'tset'}]",
            "has no split 'tset'",
        ),
        ("evaluate", "--config.leval.folder=nowhere", "is no folder"),
        ("evaluate", "--config.leval.folder=.", "no room for documents beside 512"),
        ("perplexity", "--convention=middle", "expected one of last, sliding, first"),
        ("perplexity", "--documents=govreport", "load_dataset"),
        ("perplexity", "--stride=99", "give 1 to 31"),
        (
            "perplexity",
            "--config.maximum_tokens=100",
            "maximum_tokens 100, which fill 101 tokens of a window of 'sliding', and "
            "the longest length is 128: give maximum_tokens of at least 127",
        ),
        ("perplexity", "--config.minimum_tokens=0", "minimum_tokens is 0; expected at"),
        (
            "perplexity",
            "--config.maximum_tokens=-100",
            "maximum_tokens is -100; exp",
        ),
        ("perplexity", "--config.maximum_tokens=1", "maximum_tokens is 1; expected at"),
        ("perplexity", "--config.tokenizer=none.json", "none.json does not exist"),
        ("generate", "--template=alpaca", "is none of none, llama2, chatml"),
        ("generate", "--length=1", "at least 2 tokens of context"),
    ],
)
def test_wrong_input_is_one_message_before_anything_is_measured(
    name, argument, expected, trained, tmp_path, capsys
):
    run, data = trained
    argv = [name, str(run), f"--workdir={tmp_path / 'out'}"]
    if name == "perplexity":
        argv += ["--convention=sliding"]
    with pytest.raises(SystemExit) as stop:
        run_experiment(name, [*argv, f"--config.data_dir={str(data)!r}", argument])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed and expected in printed
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_program_is_evaluated_where_it_lies(tmp_path, corpus):
    rope = position_logic("rope", head_dim=16, base=500.0)
    tiny_checkpoint.write_folder(tmp_path / "hf", rope)
    argv = [
        "perplexity", str(tmp_path / "hf"), f"--workdir={tmp_path / 'out'}",
        f"--documents={str(corpus)!r}", "--convention=first", "--lengths=[32]",
        "--config.count=2", "--encodings=[{'name': 'rerope', 'window': 8}]",
    ]  # fmt: skip
    run_experiment("perplexity", argv)
    kept = [records.load(p) for p in (tmp_path / "out" / "records").iterdir()]
    encodings = {record["label"]: record["encoding"]["32"] for record in kept}
    assert encodings["own"]["name"] == "rope"
    # What was asked for leaves the base open, so it is that of the checkpoint.
    assert encodings["rerope window=8"]["base"] == encodings["own"]["base"] == 500.0
