"""What the ReRoPE article published, to set beside what is measured here.

Source: Su Jianlin, kexue.fm 9708 and, for YaRN, 9859: token accuracies, in percent, of
one GAU model of 100 million parameters trained on 512 tokens, without fine-tuning, at 8
times that length. "Repeated" is a test set that *contains* samples made of one text
repeated to 4096 tokens; the share is not published. One run per row, no intervals.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rope_lab.evaluation.results import Results, truncated_row

TRAIN_LENGTH, LENGTH = 512, 4096  # tokens
ORDER = ("PI", "RoPE", "NTK", "ReRoPE")  # worst to best
SOURCES = ("https://kexue.fm/archives/9708", "https://kexue.fm/archives/9859")


@dataclass(frozen=True)
class PublishedRow:
    """Accuracies in percent, and which encoding of the catalogue the row measures."""

    label: str
    in_length: float  # at 512 tokens, the training length
    repeated: float  # at 4096
    natural: float  # at 4096
    name: str  # in the catalogue
    group: str | None = None  # its place in ORDER
    window: Fraction | None = (
        None  # of ReRoPE and Leaky, as a share of the train length
    )
    step: float | None = None  # of Leaky
    note: str = ""


# Loss of Llama-2 13B on the last 4,096 targets of long texts, of the article's code.
LLAMA2_LENGTHS = (4096, 8192, 16384)  # tokens
LLAMA2_13B = {
    "RoPE": (1.4967, 8.8615, None),
    "NTK-mixed, exponent 0.75, scale 12, †": (1.6081, 1.5417, 1.5163),
    "ReRoPE w=1024 †": (1.4996, 1.4267, 1.4001),
}
LLAMA2_TOLD = (
    "The article's loss of Llama-2 13B, trained at 4,096 tokens and not fine-tuned "
    "([kexue 9708](https://kexue.fm/archives/9708)). There every length scores the "
    "same last 4,096 tokens, so that a longer text is more context for them; above, "
    "every length scores all of its tokens."
)

HALF, QUARTER = Fraction(1, 2), Fraction(1, 4)
PLAIN_ROWS = (
    PublishedRow("PI", 49.41, 15.04, 13.54, "interpolated", "PI"),
    PublishedRow("RoPE", 49.41, 24.17, 23.16, "rope", "RoPE"),
    PublishedRow("NTK-old", 49.41, 51.28, 39.27, "ntk_old", "NTK"),
    PublishedRow("NTK-fixed", 49.41, 51.86, 39.61, "ntk_fixed", "NTK"),
    PublishedRow("NTK-mixed", 49.41, 53.09, 40.12, "ntk_mixed", "NTK"),
    PublishedRow("YaRN", 49.41, 80.10, 47.45, "yarn", note="from article 9859"),
    PublishedRow("ReRoPE w=L/4", 49.41, 76.11, 47.82, "rerope", "ReRoPE", QUARTER),
    PublishedRow("ReRoPE w=L/2", 49.41, 77.90, 48.48, "rerope", "ReRoPE", HALF),
    PublishedRow(
        "Leaky ReRoPE w=L/4, step 16", 49.40, 85.15, 49.10, "leaky_rerope",
        window=QUARTER, step=16, note="trained with log n, which the others were not",
    ),
)  # fmt: skip
LOG_N_ROWS = (  # of the article's model that was trained with log n scaling
    PublishedRow("PI", 49.40, 14.99, 16.51, "interpolated", "PI"),
    PublishedRow("RoPE", 49.40, 24.60, 24.02, "rope", "RoPE"),
    PublishedRow("NTK-old", 49.40, 61.71, 43.75, "ntk_old", "NTK"),
    PublishedRow("NTK-fixed", 49.40, 62.85, 44.14, "ntk_fixed", "NTK"),
    PublishedRow("NTK-mixed", 49.40, 68.91, 45.41, "ntk_mixed", "NTK"),
    PublishedRow("YaRN", 49.40, 82.57, 46.52, "yarn", note="from article 9859"),
    PublishedRow("ReRoPE w=L/4", 49.40, 85.47, 48.87, "rerope", "ReRoPE", QUARTER),
    PublishedRow("ReRoPE w=L/2", 49.40, 85.12, 49.07, "rerope", "ReRoPE", HALF),
    PublishedRow(
        "Leaky ReRoPE w=L/4, step 16", 49.40, 85.15, 49.10, "leaky_rerope",
        window=QUARTER, step=16,
    ),
)  # fmt: skip


def comparable_rows(results: Results) -> tuple[PublishedRow, ...]:
    """The article's rows of a model trained like this one, with log n or without."""
    return LOG_N_ROWS if trained_log_n(results) else PLAIN_ROWS


def trained_log_n(results: Results) -> bool:
    """Whether the measured model was trained with log n scaling."""
    reference = truncated_row(results)
    if reference is None:
        return False
    logic = _longest(results, reference)
    return isinstance(logic, dict) and logic["options"].get("log_n") == "train"


def measured_row(results: Results, published: PublishedRow) -> dict[str, Any] | None:
    """The row that measures the same encoding without fine-tuning, or None."""
    log_n = "train" if trained_log_n(results) else "off"
    for row in results["rows"]:
        if not row["truncated"] and row["model"] == "pretrained":
            logic = _longest(results, row)
            if _same(logic, published, results["train_length"], log_n):
                return row
    return None


def _longest(results: Results, row: dict[str, Any]) -> Any:
    """The logic of a row at the longest length, as plain data."""
    kinds = row["cells"][str(max(results["lengths"]))]
    return next(iter(kinds.values()))["logic"]


def _same(logic: Any, published: PublishedRow, train_length: int, log_n: str) -> bool:
    if not isinstance(logic, dict) or logic.get("name") != published.name:
        return False
    options = logic["options"]
    if options.get("resonance") or options.get("log_n", "off") != log_n:
        return False
    if published.step is not None and options.get("step") != published.step:
        return False
    if published.window is None:
        return True
    return options.get("window") == published.window * train_length
