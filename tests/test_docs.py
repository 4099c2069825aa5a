"""What the pages of docs/ and the docstrings show runs, and what they name is there."""

import dataclasses
import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest

from rope_lab import position_logic
from rope_lab.logic import CATALOGUE
from rope_lab.logic.catalogue import Entry

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path for path in sorted((ROOT / "docs").glob("*.md"))}
SHOWN = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in (ROOT / "rope_lab").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.fixture
def docs_module(monkeypatch):
    """Imports a module of docs/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield importlib.import_module
    for name in ("encodings_page", "config_page", "check_links", "included"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("module", SHOWN)
def test_what_docstrings_show_is_what_comes_out(module):
    results = doctest.testmod(importlib.import_module(module.removesuffix(".__init__")))
    assert results.attempted and not results.failed


@pytest.mark.parametrize("page", ["adding", "first_hour"])
def test_the_snippets_of_a_page_run(page):
    text = PAGES[page].read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found
    shared = {"__name__": page}
    for source in found:
        exec(compile(source, f"{page}.md", "exec"), shared)


@pytest.mark.parametrize("page", PAGES)
def test_files_and_modules_a_page_names_exist(page):
    text = PAGES[page].read_text(encoding="utf-8")
    named = r"(?:rope_lab|tests|configs|experiments|benchmarks)"
    paths = re.findall(rf"`({named}/[\w/.]+)`", text)
    paths += re.findall(r"--config=([\w/.]+)", text)
    for module in re.findall(r"python -m ((?:experiments|benchmarks)[\w.]+)", text):
        paths.append(f"{module.replace('.', '/')}.py")
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_page_of_encodings_follows_the_registry(docs_module, monkeypatch, tmp_path):
    mine = Entry(
        lambda setting, *, window, step=2: (),
        "a new one",
        tex="x^2",
        cost="much",
        source="arXiv 2403.00071",
    )
    monkeypatch.setitem(CATALOGUE, "mine", mine)
    docs_module("encodings_page").write_encodings(tmp_path)
    text = (tmp_path / "encodings.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `(\w+)`$", text, re.MULTILINE) == list(CATALOGUE)
    section = text.split("## `mine`")[1]
    for shown in ("a new one.", "x^2", ":Costs: much", "**`window`**, `step=2`"):
        assert shown in section
    assert "(https://arxiv.org/abs/2403.00071)" in section


def test_the_page_of_config_keys_holds_every_key_with_its_comment(
    docs_module, tmp_path
):
    page = docs_module("config_page")
    page.write_config(tmp_path)
    text = (tmp_path / "config.md").read_text(encoding="utf-8")
    for cls in page.classes():
        section = text.split(f"## {cls.__name__}\n")[1].split("\n## ")[0]
        keys = re.findall(r"^\| \**`(\w+)`", section, re.MULTILINE)
        assert keys == [field.name for field in dataclasses.fields(cls)]
    for shown in (
        "| **`num_steps`** | `int` |  | optimizer updates in the whole run |",
        "| `width` | `int` | `128` | E, of the residual stream |",  # as ModelConfig's
        "| **`data`** | [`DataConfig`](#dataconfig) |  |  |",
        "Keys of `ModelConfig`: dtype and remat as wanted here",  # a comment above
        "[`list[PerplexitySection]`](#perplexitysection)",
    ):
        assert shown in text


def test_a_link_that_leads_nowhere_is_found(docs_module, tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there">1</a><a href="b.html#not">2</a><img src="c.png">'
        '<a href="https://example.org/x">3</a>'
    )
    (tmp_path / "b.html").write_text('<p id="there">')
    broken = docs_module("check_links").broken_links(tmp_path)
    assert broken == ["a.html: b.html#not, no such place", "a.html: c.png"]


def test_links_of_an_included_page_lead_where_they_led(docs_module):
    included = docs_module("included")
    source = ROOT / "experiments" / "posgen" / "README.md"
    link = included._link
    assert link(source, "", "it", "https://x.org", None) == "[it](https://x.org)"
    assert link(source, "", "it", "../rerope/README.md", "#how") == (
        "[it](study_rerope.md#how)"
    )
    assert link(source, "", "it", "small.json", None) == (
        "[it](../../experiments/posgen/small.json)"
    )
    assert link(source, "!", "p", "small-accuracy.png", None).count(".only-") == 2
    with pytest.raises(FileNotFoundError, match="no-such"):
        link(source, "", "it", "no-such.json", None)


def test_names_of_encodings_on_the_pages_are_names():
    text = PAGES["coming_from"].read_text(encoding="utf-8")
    names = set(re.findall(r'`"([a-z0-9_]+)"`', text)) - {"interleaved"}
    assert len(names) > 8 and names <= set(CATALOGUE)
    assert position_logic("ntk_mixed", head_dim=8, scale=12, exponent=0.75)
