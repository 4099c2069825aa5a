"""The three tables of the ReRoPE article, whole, under the labels of a study's rows.

Sources: Su Jianlin, kexue.fm 9603, 9675, 9706, 9708, 9728 and 9859: token accuracies in
percent of a GAU model of 100 million parameters, trained on 512 tokens, at 512 and at
4096 tokens; one run per row. Its "repeated" set *contains* samples made of one text
repeated to 4096 tokens; the share is not published. See `published` for the few rows
that the demo compares with.

L is the training length. "†" is the article's dagger: log n scaling at test alone,
max(1, log n / log L). ", log n": trained with it. Dimensions in the article's labels,
w64 to w512, are L/8 to L here.
"""

from typing import NamedTuple

TRAIN_LENGTH, LENGTH = 512, 4096  # tokens
WINDOWS = {"L/8": 64, "L/4": 128, "L/2": 256, "3L/4": 384, "L": 512}  # of ReRoPE
STEPS = (8, 16, 32, 64)  # of Leaky ReRoPE
SUFFIXES = ("", " †", ", log n")


class Published(NamedTuple):
    """Accuracies in percent; None where the article gives none."""

    in_length: float | None
    repeated: float
    natural: float


def _grouped() -> dict[str, Published]:
    """Rows published without log n, with it at test, and with it in training."""
    pairs = {
        "RoPE": [(24.17, 23.16), None, (24.60, 24.02)],
        "PI": [(15.04, 13.54), None, (14.99, 16.51)],
        "NTK-old": [(51.28, 39.27), None, (61.71, 43.75)],
        "NTK-fixed": [(51.86, 39.61), (55.94, 41.11), (62.85, 44.14)],
        "NTK-mixed": [(53.09, 40.12), (59.11, 42.38), (68.91, 45.41)],
        "ReRoPE w=L/8": [(69.39, 45.19), (78.58, 47.42), (84.38, 48.14)],
        "ReRoPE w=L/4": [(76.11, 47.82), (82.28, 48.78), (85.47, 48.87)],
        "ReRoPE w=L/2": [(77.90, 48.48), (82.40, 48.85), (85.12, 49.07)],
        "ReRoPE w=3L/4": [(70.72, 48.15), (76.42, 48.31), (83.24, 48.62)],
        "ReRoPE w=L": [(7.09, 8.25), (7.08, 8.25), (15.84, 10.83)],
        "YaRN": [(80.10, 47.45), None, (82.57, 46.52)],
    }
    in_length = {"": 49.41, " †": 49.41, ", log n": 49.40}
    return {
        name + suffix: Published(in_length[suffix], *pair)
        for name, values in pairs.items()
        for suffix, pair in zip(SUFFIXES, values, strict=True)
        if pair is not None
    }


def _leaky() -> dict[str, Published]:
    """Of the model trained with log n."""
    quarter = [(80.00, 48.11), (85.15, 49.10), (85.31, 49.03), (85.29, 48.96)]
    half = [(69.80, 45.72), (83.59, 48.87), (84.30, 48.97), (84.60, 49.03)]
    return {
        f"Leaky ReRoPE w={window} k={step}, log n": Published(49.40, *pair)
        for window, pairs in (("L/4", quarter), ("L/2", half))
        for step, pair in zip(STEPS, pairs, strict=True)
    }


ARTICLE: dict[str, Published] = {
    **_grouped(),
    **_leaky(),
    "HWFA": Published(48.70, 80.84, 48.15),
    "Inverse Leaky, log n": Published(49.38, 82.25, 48.32),
    "Inverse Leaky, base 80000, log n": Published(49.62, 81.15, 48.85),
    "KeyNorm": Published(49.60, 61.08, 47.69),
    "KeyNorm, log n": Published(49.58, 63.17, 46.40),
    "QueryNorm": Published(49.55, 22.45, 22.18),
    "QueryNorm, log n": Published(49.42, 19.55, 18.74),
    "Cosine attention": Published(49.73, 58.90, 46.98),
    "Cosine attention, log n": Published(49.67, 64.74, 48.95),
}


def treatment(label: str) -> str:
    """Which of SUFFIXES a label has."""
    return next(s for s in reversed(SUFFIXES) if label.endswith(s))


def base_label(label: str) -> str:
    """The label without its treatment."""
    return label.removesuffix(treatment(label)) if treatment(label) else label
