"""How L-Eval scores an output: the rules of its Evaluation/auto_eval.py and em.py.

The rules are lenient in places and blunt in others: the first capital A to D of an
output is its choice, also that of "Answer"; an output without any counts as a guess of
A; a subset of the right letters gets a quarter of a point. They are kept, so that
scores can be compared with published ones. Scores are shares of a point; SFiction gives
two for a question, of which each counts as one.
"""

from __future__ import annotations

import re
import string

LETTERS = "ABCD"
GUESS = "A"
PART = 0.25  # of a point, for some of the right letters and no wrong one
ERROR = "<error>"


def score(stem: str, output: str, answer: str) -> tuple[float, ...]:
    """The points of one question: one of them, for "sci_fi" two.

    Args:
      stem: of the task's file.
      output: what the model wrote; for "sci_fi" both, as "output [fact: output]".
      answer: the published one.

    Raises:
      ValueError: an unknown task.
    """
    if stem not in _SCORERS:
        raise ValueError(
            f"L-Eval has no closed-ended task {stem!r}; known: {', '.join(_SCORERS)}"
        )
    return _SCORERS[stem](output, answer)


def one_letter(output: str) -> str:
    """The choice in an output of a task with one right option."""
    if output in LETTERS:  # also "" and "BC", which are parts of "ABCD"
        return output
    return next((char for char in output if char in LETTERS), GUESS)


def some_letters(output: str) -> str:
    """The choices in an output of Coursera, sorted.

    Letters at the very beginning, if there are two at least; else that one and every
    capital that a blank, a full stop or a bracket follows, up to the word "Question".
    """
    if output in LETTERS:
        return output
    leading = re.match(f"[{LETTERS}]*", output)[0]
    if len(leading) > 1:
        return "".join(sorted(set(leading)))
    rest = output[len(leading) :].split("Question")[0]
    found = set(leading) | set(re.findall(r"[A-Z](?=[\s.)])", rest))
    return "".join(sorted(found & set(LETTERS))) or GUESS


def whole_number(output: str) -> str:
    """The digits before the point of what follows "The answer is", or of a last word.

    Without that phrase it is the last word with a digit, words being parted by blanks,
    before the first empty line. Signs, commas and units are dropped.
    """
    match = re.search(r"The answer is (\S+)", output)
    if match:
        word = match[1]
    else:
        words = output.split("\n\n")[0].split(" ")
        with_digit = [word for word in words if any(c.isdigit() for c in word)]
        word = with_digit[-1] if with_digit else ""
    return "".join(char for char in word.split(".")[0] if char.isdigit())


def code_answer(text: str) -> str:
    """Arrays and numbers without what programs may print or not."""
    text = re.sub(r"\s+", " ", text)
    for old, new in (
        (",", ""), ("'", ""), ("\\", ""), (".0", ""),
        ("] [", "]["), ("[ [", "[["), ("] ]", "]]"),
    ):  # fmt: skip
        text = text.replace(old, new)
    return text


def code_output(output: str, answer: str) -> str:
    """The words behind "the final output", or the last: three more than expected."""
    output = code_answer(output)
    for phrase in (
        "will be", "of the code", "is", "would be", "the value of", "the result of",
        "printed",
    ):  # fmt: skip
        output = output.replace(phrase, "")
    words = len(answer.split()) + 3
    if "the final output" in output:
        return " ".join(re.split(r"\s+", output.split("the final output")[-1])[:words])
    return " ".join(re.split(r"\s+", output)[-words:])


def truths(output: str) -> tuple[str, str]:
    """What is said of the document and of the world: "true", "false" or `ERROR`."""
    story, *rest = output.lower().split("[fact:")
    return _truth(story), _truth(rest[0][:-1] if rest else "")


def exact_match(prediction: str, answer: str) -> float:
    """1 where they are equal; `PART` for a subset of letters; answers may be contained.

    Where the answer is letters, both are compared without punctuation. Elsewhere both
    are compared as numbers or, where one is none, the answer has to stand in the first
    line that is longer than a character.
    """
    expected = _normalised(answer)
    if all(char in LETTERS for char in expected):
        given = _normalised(prediction)
        if given == expected:
            return 1.0
        return PART if set(given) <= set(expected) else 0.0
    try:
        return float(float(prediction) == float(answer))
    except ValueError:
        lines = [line for line in prediction.split("\n") if len(line) > 1]
        first = lines[0] if lines else prediction
        return float(_packed(answer) in _packed(first))


def _normalised(text: str) -> str:
    """Without punctuation, articles and blanks around."""
    text = "".join(char for char in text if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _packed(text: str) -> str:
    return text.lower().replace(" ", "")


def _truth(text: str) -> str:
    for word in text.split():
        if "true" in word:
            return "true"
        if "false" in word:
            return "false"
    return ERROR


def _right_letters(answer: str) -> str:
    """Of the first word of a published answer."""
    first = (answer.split() or [""])[0]
    return "".join(char for char in first if char in LETTERS) or GUESS


def _score_one(output: str, answer: str) -> tuple[float, ...]:
    return (exact_match(one_letter(output), _right_letters(answer)),)


def _score_some(output: str, answer: str) -> tuple[float, ...]:
    return (exact_match(some_letters(output), _right_letters(answer)),)


def _score_math(output: str, answer: str) -> tuple[float, ...]:
    return (exact_match(whole_number(output), whole_number(answer)),)


def _score_code(output: str, answer: str) -> tuple[float, ...]:
    return (exact_match(code_output(output, answer), code_answer(answer)),)


def _score_fiction(output: str, answer: str) -> tuple[float, ...]:
    # The published answer is compared as it is, not word by word.
    story, _, world = answer.lower().partition("[fact:")
    right = story.strip(), world[:-1].strip()
    pairs = zip(truths(output), right, strict=True)
    return tuple(exact_match(found, expected) for found, expected in pairs)


_SCORERS = {
    "tpo": _score_one,
    "quality": _score_one,
    "coursera": _score_some,
    "sci_fi": _score_fiction,
    "gsm100": _score_math,
    "codeU": _score_code,
}
