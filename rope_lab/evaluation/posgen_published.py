"""PosGen as published, to set beside what is measured here.

Source: arXiv:2403.00071, table 1, section 6.1 and appendix C.1, and the released code
where the paper does not say. Token accuracy beyond the training length, in percent: the
mean and what the caption calls the variance, over 5 runs.
"""

from typing import Any, NamedTuple

SUBTASKS = ("recursive", "cot", "semi_recursive")
WITHIN_LEARNED = 0.95  # accuracy within the training length from which a row counts


class Published(NamedTuple):
    """Percent; the unit of the variance is not given."""

    mean: float
    variance: float


# (name of the encoding in the catalogue, Resonance) -> a value per sub-task
TABLE = {
    ("rope", False): ((65.29, 0.43), (69.56, 0.33), (17.96, 0.03)),
    ("rope", True): ((62.64, 0.15), (75.25, 0.10), (29.78, 0.07)),
    ("yarn", False): ((95.93, 0.04), (98.71, 0.00), (33.70, 0.04)),
    ("yarn", True): ((98.30, 0.00), (99.58, 0.00), (48.46, 0.03)),
}

# What a run may differ in, as `departures` names it: the path in a cell's settings.
SETTINGS = {
    ("data", "modulus"): 17,
    ("data", "far"): 1,
    ("data", "near"): 3,
    ("data", "train_length"): 64,
    ("data", "test_length"): 256,
    ("data", "num_train"): 10_000,
    ("data", "num_validation"): 1_000,
    ("data", "num_test"): 1_000,
    ("model", "num_layers"): 2,
    ("model", "width"): 512,
    ("model", "ff_width"): 2048,
    ("model", "num_heads"): 8,
    ("model", "head_dim"): 64,
    ("training", "num_steps"): 11_850,
    ("training", "learning_rate"): 2e-4,
    ("training", "weight_decay"): 0.01,
    ("training", "b2"): 0.999,
    ("training", "clip_norm"): None,
    ("batch_size",): 128,
}
SEEDS = 5


def published(name: str, resonance: bool, subtask: str) -> Published | None:
    """The table's entry, or None for an encoding that it does not have."""
    row = TABLE.get((name, resonance))
    return None if row is None else Published(*row[SUBTASKS.index(subtask)])


def departures(settings: dict[str, Any]) -> list[str]:
    """Every one of `SETTINGS` that a cell changes, as `name value (published)`.

    A width of the gated feed-forward block with a third fewer units has the parameters
    of the published plain one, and is no departure in size.
    """
    lines = []
    for path, expected in SETTINGS.items():
        value: Any = settings
        for key in path:
            value = value[key]
        same = value == expected
        if path == ("model", "ff_width"):
            expected = round(expected * 2 / 3)
            same = abs(value - expected) <= 8
        if not same:
            name = path[-1].replace("_", " ")
            lines.append(f"{name} {_shown(value)} ({_shown(expected)})")
    if len(settings["seeds"]) != SEEDS:
        count = len(settings["seeds"])
        lines.append(f"{count} seed{'s' * (count != 1)} ({SEEDS})")
    return lines


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:,}"
