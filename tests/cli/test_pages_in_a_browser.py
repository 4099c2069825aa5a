"""compare.html and report.html in headless Chromium, as readers use them."""

import csv
import io

import browser
import pytest
import run_folders
import synthetic_results

from rope_lab import plots
from rope_lab.cli.compare import compare
from rope_lab.cli.report import write_report

pytestmark = pytest.mark.browser
FIRST = "#table tbody tr:first-child th"


@pytest.fixture(scope="module")
def chromium():
    with browser.started() as started:
        yield started


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Two runs that share windows, one that does not, and one that is unfinished."""
    folder = tmp_path_factory.mktemp("runs")
    run_folders.measured(folder / "base")
    run_folders.measured(folder / "long", seed=1)
    run_folders.measured(folder / "few", windows=8)
    run_folders.trained(folder / "killed", wanted=90)
    runs = [folder / name for name in ("base", "long", "few", "killed")]
    assert compare(runs, folder / "compare.html") == 0
    return folder / "compare.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = synthetic_results.make_results()
    picture = plots.context_use(results, folder / "context_use.png")
    return write_report(folder / "report.html", results, {"context_use": picture})


def rows(page) -> int:
    return page.locator("#table tbody tr").count()


def test_a_comparison_draws_its_table_charts_and_matrices(chromium, comparison):
    with browser.opened(chromium, comparison) as page:
        assert rows(page) == 3 * len(run_folders.LABELS)
        for name, lines in (("by-length", 6), ("by-position", 6), ("wavelengths", 3)):
            assert page.locator(f"#{name} path.curve").count() == lines
        assert page.locator("#training path.curve").count() == 2
        assert page.locator("figure.matrix:visible").count() == 3
        assert "killed: unfinished: step 40 of 90" in page.inner_text("#problems")
        unpaired = page.locator("#table tr", has_text="few").first
        assert "not paired" in unpaired.inner_text()
        assert "measured on other text" in page.inner_text("#pairing")


def test_filters_narrow_table_charts_matrices_and_export_alike(chromium, comparison):
    with browser.opened(chromium, comparison) as page:
        page.fill("#search", "pi, rerope")
        page.uncheck("#runs input[value='2']")
        page.uncheck("#lengths input[value='64']")
        assert rows(page) == 4  # two encodings of two runs
        assert page.locator("#by-length path.curve").count() == 4
        assert page.locator("figure.matrix:visible").count() == 2
        page.select_option("#reference", label="PI, long")
        table = list(csv.reader(io.StringIO(page.input_value("#csv"))))
        assert table[0][:5] == ["encoding", "run", "32 tokens", "32 tokens, low",
                                "32 tokens, high"]  # fmt: skip
        assert [line[0] for line in table[1:]] == page.locator(
            "#table tbody th"
        ).evaluate_all("all => all.map((th) => th.childNodes[1].textContent)")
        assert "256: minus PI" in table[0]
        latex = page.input_value("#latex")
        assert latex.count(r"\\") == 5 and r"\toprule" in latex
        page.select_option("#measure", label="accuracy, natural text")
        assert "percent" in page.inner_text("#status")


def test_a_difference_is_that_of_the_two_values_beside_it(chromium, comparison):
    with browser.opened(chromium, comparison) as page:
        page.select_option("#reference", label="RoPE, base")
        lines = list(csv.DictReader(io.StringIO(page.input_value("#csv"))))
        value = {(line["encoding"], line["run"]): line for line in lines}
        ours, theirs = value["PI", "long"], value["RoPE", "base"]
        apart = float(ours["256 tokens"]) - float(theirs["256 tokens"])
        assert float(ours["256: minus RoPE"]) == pytest.approx(apart, abs=1e-3)
        low, high = (float(ours[f"256: minus RoPE, {x}"]) for x in ("low", "high"))
        assert low < apart < high
        assert theirs["256: minus RoPE"] == ""


def test_a_comparison_is_worked_with_the_keyboard_alone(chromium, comparison):
    with browser.opened(chromium, comparison) as page:
        reached = []
        for _ in range(16):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert [x for x in reached if x] == ["measure", "reference", "search"]
        page.focus("#measure")
        page.keyboard.press("ArrowDown")
        assert page.input_value("#measure") == "accuracy, natural text"
        page.focus("#search")
        page.keyboard.type("yarn")
        assert rows(page) == 3
        page.focus("#runs input[value='0']")
        page.keyboard.press("Space")
        assert rows(page) == 2
        page.focus("#search")
        page.keyboard.press("Control+A")
        page.keyboard.press("Delete")
        page.focus("th[data-key='label'] button")
        page.keyboard.press("Enter")
        assert page.inner_text(FIRST).startswith("PI")
        page.keyboard.press("Enter")  # the focus is still there, and turns the order
        assert page.inner_text(FIRST).startswith("YaRN")
        page.focus("summary:has-text('CSV')")
        page.keyboard.press("Enter")
        assert page.locator("#csv").is_visible()


def ink_and_ground(page):
    """Sum of the red, green and blue of the text, and of the page behind it."""
    style = "(({color, backgroundColor}) => [color, backgroundColor])"
    found = page.evaluate(f"{style}(getComputedStyle(document.body))")
    return [sum(map(int, color.strip("rgb()").split(","))) for color in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["comparison", "report"])
def test_a_phone_needs_no_sideways_scrolling_in_light_or_dark(
    chromium, request, name, scheme
):
    path = request.getfixturevalue(name)
    with browser.opened(chromium, path, browser.PHONE, scheme) as page:
        page.locator("details").evaluate_all("all => all.forEach((d) => d.open = true)")
        assert browser.fits(page)
        ink, ground = ink_and_ground(page)
        assert (ink > ground) == (scheme == "dark")
        curves = page.locator(".chart:visible svg[role=img]").all()
        assert all(curve.bounding_box()["width"] <= 390 for curve in curves)


def test_a_report_draws_its_pictures_of_the_theme_and_opens_by_keyboard(
    chromium, report
):
    shown = []
    for scheme in ("light", "dark"):
        with browser.opened(chromium, report, scheme=scheme) as page:
            assert browser.fits(page)
            (image,) = page.locator("figure img").all()
            assert image.evaluate("(image) => image.naturalWidth") > 600
            shown.append(image.evaluate("(image) => image.currentSrc"))
            closed = page.locator("details:not([open])").first
            closed.locator("summary").focus()
            opened = page.locator("details[open]").count()
            page.keyboard.press("Enter")
            assert page.locator("details[open]").count() == opened + 1
    assert shown[0] != shown[1]
