"""The page: valid, whole in itself, and true to its numbers."""

import base64
import copy
from html.parser import HTMLParser

import numpy as np
import pytest
import synthetic_results

from rope_lab import plots
from rope_lab.cli import report_text
from rope_lab.cli.report import write_report
from rope_lab.evaluation import context, findings, published

RESULTS = synthetic_results.make_results()
VOID = {"meta", "img", "source", "br", "link"}


class Page(HTMLParser):
    """Collects tags, text and table rows; fails on tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.rows = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if "tr" in self.open and self.rows[-1]:
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "overview.png"
    return plots.loss_by_position(RESULTS, path, labels=["RoPE", "Truncated RoPE"])


@pytest.fixture(scope="module")
def page(tmp_path_factory, picture):
    results = RESULTS | {"run": {"command": "make demo", "config": {"steps": 7}}}
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert write_report(path, results, {"overview": picture}) == path
    return path.read_text(encoding="utf-8")


def write(tmp_path, results, figures=None):
    return write_report(tmp_path / "report.html", results, figures).read_text("utf-8")


def test_tags_match_and_pictures_are_inlined_for_both_themes(page, picture):
    parsed = Page(page)
    (image,), (source,) = parsed.all("img"), parsed.all("source")
    for data, file in ((image["src"], picture),
                       (source["srcset"], plots.dark_path(picture))):  # fmt: skip
        kind, content = data.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == file.read_bytes()
    assert image["alt"] and int(image["width"]) > int(image["height"]) > 0


def test_nothing_is_fetched_and_no_script_runs(page):
    parsed = Page(page)
    names = {name for name, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "base"}
    for _, attributes in parsed.tags:
        for key in ("src", "srcset", "href"):
            assert attributes.get(key, "data:").startswith(("data:", "#"))
    assert "url(" not in page and "@import" not in page


def test_it_is_made_for_phones_and_for_both_themes(page):
    parsed = Page(page)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in (
        parsed.all("meta")
    )
    assert "@media (prefers-color-scheme: dark)" in page
    tables = len(parsed.all("table"))
    boxes = [a for a in parsed.all("div") if a.get("class") == "scroll"]
    assert len(boxes) == tables > 5


def test_every_loss_and_accuracy_is_on_the_page_with_its_interval(page):
    rows = Page(page).rows
    for row in RESULTS["rows"]:
        mine = [cells for cells in rows if cells[0] == row["label"]]
        for kinds in row["cells"].values():
            for cell in kinds.values():
                low, high = cell["loss_interval"]
                loss = f"{cell['loss']:.3f}[{low:.3f}, {high:.3f}]"
                low, high = (100 * x for x in cell["accuracy_interval"])
                accuracy = f"{100 * cell['accuracy']:.2f}[{low:.2f}, {high:.2f}]"
                assert any(loss in cells and accuracy in cells for cells in mine)


def test_targets_published_numbers_and_the_command_are_on_the_page(page):
    for kinds in RESULTS["targets"].values():
        for targets in kinds.values():
            assert targets["checksum"] in page
    text = "".join(Page(page).text)
    for row in published.PLAIN_ROWS:
        assert f"{row.natural:.2f}" in text and f"{row.repeated:.2f}" in text
    assert "make demo" in text and "steps" in text


def test_labels_and_settings_are_escaped(tmp_path):
    results = copy.deepcopy(RESULTS)
    results["rows"][2]["label"] = "<script>alert('&')</script>"
    results["run"] = {"command": "a && b > c", "x<y": {"<b>": ["<i>"]}}
    html = write(tmp_path, results)
    parsed = Page(html)
    assert not {name for name, _ in parsed.tags} & {"script", "b", "i"}
    assert "<script>alert('&')</script>" in "".join(parsed.text)
    assert "a && b > c" in "".join(parsed.text)


def test_a_missing_picture_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path, RESULTS, {"overview": tmp_path / "none.png"})


def shifted(change):
    """Results in which the losses or accuracies of some rows are moved."""
    results = copy.deepcopy(RESULTS)
    for row in results["rows"]:
        for length, kinds in row["cells"].items():
            for kind, cell in kinds.items():
                change(row, int(length), kind, cell)
    return results


def test_the_verdict_on_the_order_follows_the_numbers():
    for kind in ("natural", "repeated"):
        verdicts = {
            (step.lower.label, step.upper.label): step.verdict
            for step in findings.order_steps(RESULTS, kind)
        }
        assert len(verdicts) == 10
        assert verdicts["PI", "RoPE"] == findings.AGREES

    def swap(row, length, kind, cell):
        if row["label"] in ("PI", "RoPE"):
            values = np.array(cell["per_window"]["whole_accuracy"])
            cell["per_window"]["whole_accuracy"] = (0.5 - values).tolist()

    turned = {
        (step.lower.label, step.upper.label): step.verdict
        for step in findings.order_steps(shifted(swap), "natural")
    }
    assert turned["PI", "RoPE"] == findings.REVERSED
    told = report_text.order_discussion(shifted(swap), "natural")
    assert any(sentence.startswith("Reversed: PI < RoPE.") for sentence in told)
    assert not any(
        "Reversed" in s for s in report_text.order_discussion(RESULTS, "natural")
    )

    def tie(row, length, kind, cell):
        noise = np.random.default_rng(len(row["label"])).normal(size=24)
        cell["per_window"]["whole_accuracy"] = (0.3 + 0.01 * noise).tolist()

    steps = findings.order_steps(shifted(tie), "natural")
    assert {step.verdict for step in steps} == {findings.OPEN}


def test_the_title_says_better_worse_or_neither_as_the_interval_does():
    assert "plain RoPE is 0.97 nats per token worse than" in report_text.title(RESULTS)
    for interval, words in (
        ([-0.2, -0.05], "0.10 nats per token better than"),
        ([-0.2, 0.01], "not measurably different from"),
        (None, "not measurably different from"),
    ):

        def change(row, length, kind, cell, interval=interval):
            if length > synthetic_results.TRAIN_LENGTH:
                cell["minus_truncated"]["beyond"] = {"mean": -0.1, "interval": interval}

        assert f"plain RoPE is {words}" in report_text.title(shifted(change))


def test_failing_outside_the_training_length_takes_more_than_the_threshold():
    def change(row, length, kind, cell):
        if length > synthetic_results.TRAIN_LENGTH:
            cell["beyond_minus_inside"] = {"mean": 0.2, "interval": [0.1, 0.3]}

    assert report_text.headline(RESULTS)[0].startswith("It fails outside")
    assert report_text.headline(shifted(change))[0].startswith("It gets worse outside")


def test_context_counts_as_used_up_to_the_first_doubling_that_gains_nothing():
    steps = [
        {"context": [3, 4], "gain": None},
        {"context": [5, 8], "gain": {"mean": 0.2, "interval": [0.1, 0.3]}},
        {"context": [9, 16], "gain": {"mean": 0.1, "interval": [-0.1, 0.3]}},
        {"context": [17, 32], "gain": {"mean": 0.2, "interval": [0.1, 0.3]}},
    ]
    assert context.used(steps) == 8
    assert context.used(steps[:1]) == 4
    use = RESULTS["context_use"]
    told = report_text.headline(RESULTS | {"context_use": use | {"used": 4}})[-1]
    assert told.startswith("Already the first doubling of the context, beyond 4 tokens")


def test_encodings_near_truncated_context_are_counted_from_their_means():
    sentence = report_text.headline(RESULTS)[2]
    assert sentence.startswith("Without any training, 3 of 7 changed encodings stay")

    def change(row, length, kind, cell):
        if length > synthetic_results.TRAIN_LENGTH and "ReRoPE" in row["label"]:
            cell["minus_truncated"]["beyond"] = {"mean": 0.06, "interval": [0.05, 0.07]}

    sentence = report_text.headline(shifted(change))[2]
    assert sentence.startswith("Without any training, 0 of 7 changed encodings stay")
    assert "None is better" in sentence


def test_a_page_can_be_written_from_little(tmp_path):
    """One row, one length inside the training length, one kind, one document."""
    results = copy.deepcopy(RESULTS)
    results["rows"] = results["rows"][:1]
    results["lengths"] = [synthetic_results.TRAIN_LENGTH]
    results["context_use"] = None
    del results["run"]
    for kinds in results["targets"].values():
        del kinds["repeated"]
    cells = results["rows"][0]["cells"]
    for kinds in cells.values():
        del kinds["repeated"]
        kinds["natural"]["loss_interval"] = None
        kinds["natural"]["minus_truncated"] = None
    assert "no interval" in "".join(Page(write(tmp_path, results)).text)


def test_a_model_trained_with_log_n_stands_beside_the_articles_log_n_rows():
    results = copy.deepcopy(RESULTS)
    assert published.comparable_rows(results) is published.PLAIN_ROWS
    for row in results["rows"]:
        for kinds in row["cells"].values():
            for cell in kinds.values():
                cell["logic"]["options"]["log_n"] = "train"
    rows = published.comparable_rows(results)
    assert rows is published.LOG_N_ROWS
    assert all(published.measured_row(results, row) for row in rows if row.group)
    assert findings.order_steps(results, "natural")
