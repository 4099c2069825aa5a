"""The notebooks: like their plain text, without outputs, and run top to bottom."""

import io
import re

import nbformat
import pytest
from matplotlib.image import imread

from colab import execute
from colab.execute import SOURCES, paired

README = (execute.HERE.parent / "README.md").read_text(encoding="utf-8")

every_notebook = pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.stem)


def test_there_are_four_and_the_readme_links_to_each():
    assert [source.stem[0] for source in SOURCES] == list("1234")
    for source in SOURCES:
        assert f"(colab/{source.stem}.ipynb)" in README


@every_notebook
def test_a_notebook_is_its_plain_text_without_outputs(source):
    stored = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(stored)
    for cell in stored.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    assert stored == paired(source), "make it anew: python -m colab.execute"


@every_notebook
def test_it_opens_with_the_cell_that_installs(source):
    first = paired(SOURCES[0]).cells[1].source
    assert "REPOSITORY" in first
    assert paired(source).cells[1].source == first


@pytest.fixture
def installing(monkeypatch, tmp_path):
    """Runs the install cell as if rope_lab were missing; returns what pip is given."""

    def run(place, repository=""):
        asked = []
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setattr(
            "subprocess.run", lambda command, check: asked.append(command)
        )
        monkeypatch.setattr("sys.path", [])
        monkeypatch.chdir(place)
        cell = paired(SOURCES[0]).cells[1].source
        exec(cell.replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}"), {})
        return asked[0][5:]

    return run


def test_missing_it_is_installed_from_the_clone_or_from_the_address(
    installing, tmp_path
):
    colab = tmp_path / "clone" / "colab"
    colab.mkdir(parents=True)
    address = "https://example.org/rope_lab"
    wanted = f"rope-lab[colab] @ git+{address}"
    assert installing(colab, address) == [wanted]
    with pytest.raises(ValueError, match="set REPOSITORY"):
        installing(colab)
    (tmp_path / "clone" / "rope_lab").mkdir()
    assert installing(colab) == ["-e", f"{tmp_path / 'clone'}[colab]"]


@pytest.mark.slow
@every_notebook
def test_it_runs_top_to_bottom_and_every_picture_has_a_title_and_a_line(source):
    notebook = execute.execute(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    drawn = execute.pictures(notebook)
    text = source.read_text(encoding="utf-8")
    shown = re.findall(r"^plots\.(?:show|sliders)\(", text, re.MULTILINE)
    assert len(drawn) == len(shown) == len(re.findall(r"\btitle=", text)) > 0
    for picture in drawn:
        assert imread(io.BytesIO(picture)).std() > 0.01, "blank"
