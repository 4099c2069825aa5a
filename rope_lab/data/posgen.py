"""PosGen: sequences whose next token is a function of j far and k near tokens.

    x_l = h(far tokens, near tokens)    for l >= j + k

    recursive        far and near are the last j + k tokens
    cot              far are tokens 0 .. j-1, near the last k
    semi_recursive   far are tokens p .. p+j-1, near the last k; p = (l - (j + k)) // 2
                     moves once in two tokens

The function h stays the same at every position, so what a model fails at beyond the
training length is telling where to look (arXiv:2403.00071, section 5). The paper prints
another pointer for semi_recursive, which contradicts its own example; this one
reproduces it. All here are pure functions.

Letters: N sequences, P = j + k tokens of a prefix, T tokens.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from rope_lab.data.shuffling import Purpose, draws

SUBTASKS = ("recursive", "cot", "semi_recursive")
PREFIXES = ("disjoint", "released")
SPLITS = ("train", "validation", "test")

Rule = Callable[[Int[np.ndarray, "N P"], int], Int[np.ndarray, " N"]]


def modular_addition(states_NP: Int[np.ndarray, "N P"], modulus: int) -> np.ndarray:
    """h of the paper: the sum of the state, modulo `modulus`; int[N]."""
    return states_NP.sum(axis=1) % modulus


@dataclasses.dataclass(frozen=True)
class PosGenTask:
    """What decides the next token.

    Raises:
      ValueError: unknown sub-task, or a number that is too small.
    """

    subtask: str  # one of SUBTASKS
    modulus: int = 17  # m: tokens are 0 .. m-1
    far: int = 1  # j, tokens read where the sub-task points
    near: int = 3  # k, tokens read just before
    rule: Rule = modular_addition  # h(int64[N, j+k] oldest first, m) -> int[N]

    def __post_init__(self):
        if self.subtask not in SUBTASKS:
            raise ValueError(
                f"subtask is {self.subtask!r}; expected one of {', '.join(SUBTASKS)}"
            )
        for name, least in (("modulus", 2), ("far", 0), ("near", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it must be at least {least}"
                )
        if self.prefix < 1:
            raise ValueError("far and near are both 0; a state needs a token to read")

    @property
    def prefix(self) -> int:
        """P = j + k, how many tokens are given."""
        return self.far + self.near


def state_places(task: PosGenTask, place: int) -> list[int]:
    """Which tokens decide token `place`, oldest first."""
    if place < task.prefix:
        raise ValueError(
            f"token {place} is given: the first {task.prefix} tokens have no state"
        )
    first = {
        "recursive": place - task.prefix,
        "cot": 0,
        "semi_recursive": (place - task.prefix) // 2,
    }[task.subtask]
    return [*range(first, first + task.far), *range(place - task.near, place)]


def sequences(
    task: PosGenTask, prefixes_NP: Int[np.ndarray, "N P"], length: int
) -> Int[np.ndarray, "N T"]:
    """The one sequence of `length` tokens behind each prefix, int32.

    >>> seeds = np.array([[2, 0, 3, 1]])
    >>> sequences(PosGenTask("cot", modulus=7), seeds, 8).tolist()
    [[2, 0, 3, 1, 6, 5, 0, 6]]

    Raises:
      ValueError: prefixes of another length or outside 0 .. m-1, no room for them, or
        a rule that leaves 0 .. m-1.
    """
    prefixes = np.asarray(prefixes_NP, np.int64)
    if prefixes.ndim != 2 or prefixes.shape[1] != task.prefix or length < task.prefix:
        raise ValueError(
            f"prefixes have shape {prefixes.shape} for sequences of {length} tokens; "
            f"expected [N, {task.prefix}] (far + near) and at least as many tokens"
        )
    _check_tokens("the prefixes hold", prefixes, task)
    tokens = np.empty((len(prefixes), length), np.int64)
    tokens[:, : task.prefix] = prefixes
    for place in range(task.prefix, length):
        following = task.rule(tokens[:, state_places(task, place)], task.modulus)
        _check_tokens("the rule gave", following, task)
        tokens[:, place] = following
    return tokens.astype(np.int32)


def _check_tokens(what: str, tokens: np.ndarray, task: PosGenTask) -> None:
    outside = (tokens < 0) | (tokens >= task.modulus)
    if np.any(outside):
        raise ValueError(
            f"{what} {tokens[outside][0]}; tokens are 0 to {task.modulus - 1}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosGenConfig:
    """The data of one sub-task; the defaults are the paper's (arXiv:2403.00071, C.1).

    Raises:
      ValueError: unknown sub-task or prefixes, sizes that cannot be, or fewer prefixes
        than sequences that may not share one.
    """

    subtask: str = "recursive"  # one of SUBTASKS
    modulus: int = 17  # m
    far: int = 1  # j
    near: int = 3  # k
    train_length: int = 64  # tokens, without the start token
    test_length: int = 256  # tokens of validation and test sequences
    num_train: int = 10_000  # sequences
    num_validation: int = 1_000
    num_test: int = 1_000
    prefixes: str = "disjoint"  # "released": those of the authors' code, shared
    seed: int = 0  # of the prefixes drawn

    def __post_init__(self):
        task = self.task()
        if self.prefixes not in PREFIXES:
            raise ValueError(
                f"prefixes is {self.prefixes!r}; expected one of {', '.join(PREFIXES)}"
            )
        if not task.prefix < self.train_length <= self.test_length:
            raise ValueError(
                f"train_length is {self.train_length} and test_length "
                f"{self.test_length}; expected far + near = {task.prefix} < "
                "train_length <= test_length"
            )
        if min(self.num_train, self.num_validation, self.num_test) < 1:
            raise ValueError(f"every split needs at least one sequence: {self}")
        if self.prefixes == "disjoint":
            _check_enough(task, self.num_train + self.num_validation + self.num_test)

    def task(self, rule: Rule = modular_addition) -> PosGenTask:
        """The sub-task alone, under any rule h."""
        return PosGenTask(self.subtask, self.modulus, self.far, self.near, rule)


def generate_splits(
    config: PosGenConfig, rule: Rule = modular_addition
) -> dict[str, Int[np.ndarray, "N T"]]:
    """All sequences: "train" of train_length; "validation", "test" of test_length.

    With prefixes="disjoint" no prefix is in two sequences of any split. "released"
    enumerates as the authors' code does: increasing prefixes in lexicographic order,
    over and over, of which the first num_train are trained on, the first num_validation
    validate and the next num_test test, so that both are among the training sequences.

    Raises:
      ValueError: a rule that leaves 0 .. m-1, or a modulus too small to enumerate.
    """
    task = config.task(rule)
    train, validation = config.num_train, config.num_validation
    if config.prefixes == "released":
        rows = released_prefixes(task, max(train, validation + config.num_test))
        parts = {"train": rows[:train], "validation": rows[:validation]}
        parts["test"] = rows[validation:][: config.num_test]
    else:
        count = train + validation + config.num_test
        rows = distinct_prefixes(task, count, config.seed)
        parts = dict(
            zip(SPLITS, np.split(rows, [train, train + validation]), strict=True)
        )
    lengths = {split: config.test_length for split in SPLITS}
    lengths["train"] = config.train_length
    return {split: sequences(task, parts[split], lengths[split]) for split in SPLITS}


def distinct_prefixes(task: PosGenTask, count: int, seed: int) -> np.ndarray:
    """int32[count, P]: random prefixes, none twice."""
    _check_enough(task, count)
    found, block = np.empty((0, task.prefix), np.int32), 0
    while len(found) < count:
        raw = draws(2 * count * task.prefix, Purpose.PREFIXES, seed, block)
        drawn = (raw % np.uint64(task.modulus)).astype(np.int32)
        together = np.concatenate([found, drawn.reshape(-1, task.prefix)])
        _, first = np.unique(together, axis=0, return_index=True)
        found, block = together[np.sort(first)], block + 1
    return found[:count]


def _check_enough(task: PosGenTask, count: int) -> None:
    possible = task.modulus**task.prefix
    if count > possible:
        raise ValueError(
            f"modulus {task.modulus} has {possible} prefixes of {task.prefix} tokens, "
            f"fewer than the {count} sequences of all splits, which may not share one: "
            "lower num_train, num_validation or num_test, or raise the modulus"
        )


def released_prefixes(task: PosGenTask, count: int) -> np.ndarray:
    """int32[count, P]: the combinations of 0 .. m-1 in order, begun anew at the end."""
    if task.modulus < task.prefix:
        raise ValueError(
            f"the released enumeration needs {task.prefix} different tokens, modulus "
            f"{task.modulus} has fewer: raise it, or use prefixes='disjoint'"
        )
    every = itertools.combinations(range(task.modulus), task.prefix)
    rows = np.array(list(every), np.int32)
    return rows[np.arange(count) % len(rows)]


def overlap(config: PosGenConfig, splits: dict[str, np.ndarray]) -> dict[str, float]:
    """Shares in [0, 1] of what is tested that training has seen.

    Returns:
      `prefixes`: test sequences whose first j + k tokens begin a training sequence,
      which then agrees with it up to the training length; `states_within` and
      `states_beyond`: targets up to and beyond the training length whose state (the
      values that h reads) stands before some token of training.
    """
    task, length = config.task(), config.train_length
    train, test = splits["train"], splits["test"]
    known = set(_states(task, train, task.prefix))
    begun = {row.tobytes() for row in train[:, : task.prefix]}
    shared = [row.tobytes() in begun for row in test[:, : task.prefix]]
    within = [s in known for s in _states(task, test[:, :length], task.prefix)]
    beyond = [s in known for s in _states(task, test, length)]
    shares = {"prefixes": shared, "states_within": within, "states_beyond": beyond}
    return {name: float(np.mean(x)) if x else 0.0 for name, x in shares.items()}


def _states(task: PosGenTask, tokens_NT: np.ndarray, start: int) -> list[bytes]:
    """The state before every token from `start` on."""
    places = range(start, tokens_NT.shape[1])
    states = [tokens_NT[:, state_places(task, place)] for place in places]
    return [row.tobytes() for state_NP in states for row in state_NP]


def checksum(splits: dict[str, np.ndarray]) -> str:
    """sha256 of all tokens with their shapes."""
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"{split}{splits[split].shape}".encode())
        digest.update(np.ascontiguousarray(splits[split], "<i4").tobytes())
    return digest.hexdigest()
