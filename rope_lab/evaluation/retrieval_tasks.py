"""What is hidden in a long text, how it is asked for, and how an answer is scored.

Passkey is the task of Mohtashami and Jaggi (2305.16300), needle in a haystack that of
Kamradt; several keys and variable tracking are made in the manner of RULER (2404.06654)
with its counts and its way of scoring. Wordings are ours: compare with published
figures of these names as of one kind, not as of one test.

A sample is a pure function of the task, the seed and its number, the same at every
length and for every tokenizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from rope_lab.data.shuffling import Purpose, draws

# 1: several keys at depths that did not ascend; 2: depths counted in words, and wrong
# where sentences do not end in a bare stop, and answers went on beyond the tokens by
# which the checkpoint ends.
VERSION = 3
_ADJECTIVES = (
    "amber", "bold", "calm", "dark", "eager", "fair", "gentle", "happy", "iron",
    "jolly", "keen", "loyal", "mild", "noble", "old", "plain", "quick", "round",
    "silent", "tall",
)  # fmt: skip
_NOUNS = (
    "anchor", "bridge", "candle", "desert", "engine", "forest", "garden", "harbor",
    "island", "jacket", "kettle", "lantern", "mirror", "needle", "orchard", "pillow",
    "quarry", "ribbon", "saddle", "temple",
)  # fmt: skip
_DEPTHS = 11  # of the heat map: 0, 0.1, ... 1
_KEYS = 4
_HOPS = 4


@dataclasses.dataclass(frozen=True)
class Sample:
    """Sentences to hide and the question about them.

    Attributes:
      sentences: in the order in which they have to stand.
      depths: ascending, one for each: 0 at the beginning of the text, 1 at its end.
      question: what is asked behind the text.
      answer_start: the beginning of the answer, which the model continues.
      answers: what the answer has to contain, in any order.
      depth: of the sentence that is asked for.
    """

    sentences: tuple[str, ...]
    depths: tuple[float, ...]
    question: str
    answer_start: str
    answers: tuple[str, ...]
    depth: float


@dataclasses.dataclass(frozen=True)
class RetrievalTask:
    """A sampler, and what surrounds its samples.

    Attributes:
      introduction: before the text.
      new_tokens: room for the answer, in tokens.
      draw: uint64[64] random numbers, number of the sample -> sample.
      stream: keeps the random numbers of tasks apart.
    """

    name: str
    introduction: str
    new_tokens: int
    draw: Callable[[np.ndarray, int], Sample]
    stream: int

    def sample(self, seed: int, index: int) -> Sample:
        """Sample number `index`."""
        return self.draw(draws(64, Purpose.RETRIEVAL, seed, self.stream, index), index)

    @staticmethod
    def score(output: str, answers: tuple[str, ...]) -> float:
        """The share of the answers that the output contains, whatever the case."""
        found = sum(answer.lower() in output.lower() for answer in answers)
        return found / len(answers)


def _passkey(random: np.ndarray, index: int) -> Sample:
    key = _number(random[0], 5)
    depth = _share(random[1])
    return Sample(
        (f"The pass key is {key}. Remember it. {key} is the pass key.",),
        (depth,),
        "What is the pass key?",
        "The pass key is",
        (key,),
        depth,
    )


def _needle(random: np.ndarray, index: int) -> Sample:
    depth = index % _DEPTHS / (_DEPTHS - 1)
    return _keyed(random, 1, (depth,))


def _several_keys(random: np.ndarray, index: int) -> Sample:
    return _keyed(random, _KEYS, tuple(sorted(_share(r) for r in random[-_KEYS:])))


def _keyed(random: np.ndarray, count: int, depths: tuple[float, ...]) -> Sample:
    """Numbers under names, of which one is asked for."""
    chosen = np.argsort(random[: len(_ADJECTIVES)])[:count]
    names = [
        f"{_ADJECTIVES[n]} {_NOUNS[int(random[20 + k] % len(_NOUNS))]}"
        for k, n in enumerate(chosen)
    ]
    values = [_number(random[40 + k], 7) for k in range(count)]
    asked = int(random[50] % count)
    return Sample(
        tuple(
            f"The magic number of the {name} is {value}."
            for name, value in zip(names, values, strict=True)
        ),
        depths,
        f"What is the magic number of the {names[asked]}?",
        f"The magic number of the {names[asked]} is",
        (values[asked],),
        depths[asked],
    )


def _variables(random: np.ndarray, index: int) -> Sample:
    value = _number(random[0], 5)
    letters = np.argsort(random[1:27])
    names = [_name(letters[4 * n : 4 * n + 4]) for n in range(_HOPS + 1)]
    sources = [value, *(f"VAR {name}" for name in names)]
    depths = tuple(sorted(_share(r) for r in random[27 : 28 + _HOPS]))
    return Sample(
        tuple(
            f"VAR {name} = {source}."
            for name, source in zip(names, sources, strict=False)
        ),
        depths,
        f"Which variables have the value {value}, directly or through others?",
        f"The {_HOPS + 1} variables with the value {value} are",
        tuple(names),
        depths[0],
    )


def _number(random: np.uint64, digits: int) -> str:
    least = 10 ** (digits - 1)
    return str(least + int(random) % (9 * least))


def _share(random: np.uint64) -> float:
    """In [0, 1), from the upper bits."""
    return (int(random) >> 11) / 2**53


def _name(letters: np.ndarray) -> str:
    return "".join(chr(65 + int(letter)) for letter in letters)


TASKS = {
    task.name: task
    for task in (
        RetrievalTask(
            "passkey",
            "There is a pass key in the text below. Find it and keep it in mind.",
            8,
            _passkey,
            0,
        ),
        RetrievalTask(
            "needle",
            "There is a magic number in the text below. Keep it in mind.",
            12,
            _needle,
            1,
        ),
        RetrievalTask(
            "multi_key",
            f"There are {_KEYS} magic numbers in the text below. Keep them in mind.",
            12,
            _several_keys,
            2,
        ),
        RetrievalTask(
            "variable_tracking",
            "The text below assigns values to variables. Keep track of them.",
            40,
            _variables,
            3,
        ),
    )
}
