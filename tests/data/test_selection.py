"""Which documents are chosen, and that their order and number are as asked."""

import numpy as np
import pytest

from rope_lab.data.selection import select_documents
from rope_lab.data.tokenizers import ByteTokenizer

BYTES = ByteTokenizer()
SIZES = [5, 12, 30, 3, 12, 40, 9, 25, 11, 10]
TEXTS = [chr(97 + number) * size for number, size in enumerate(SIZES)]


def chosen(count, minimum, **options):
    return select_documents("letters", TEXTS, BYTES, count, minimum, **options)


def test_the_first_documents_of_at_least_the_length_are_taken_in_order():
    found = chosen(4, 10)
    assert found.numbers == (1, 2, 4, 5)
    assert [len(tokens) for tokens in found.tokens] == [12, 30, 12, 40]


def test_random_documents_are_a_function_of_the_seed_and_long_enough():
    draws = [chosen(4, 10, how="random", seed=seed) for seed in range(40)]
    assert chosen(4, 10, how="random", seed=3).numbers == draws[3].numbers
    seen = {number for draw in draws for number in draw.numbers}
    assert seen == {1, 2, 4, 5, 7, 8, 9}
    assert len({draw.numbers for draw in draws}) > 30


def test_long_documents_are_cut_from_the_right():
    found = chosen(2, 10, maximum_tokens=11)
    np.testing.assert_array_equal(found.tokens[1], BYTES.encode("c" * 11))


def test_the_checksum_is_of_the_chosen_texts():
    assert chosen(2, 10).checksum == chosen(2, 11).checksum != chosen(3, 10).checksum


@pytest.mark.parametrize(
    ("count", "minimum", "options", "expected"),
    [
        (8, 10, {}, "has 7 among 10"),
        (0, 10, {}, "at least 1 document"),
        (1, 10, {"how": "last"}, "expected one of first, random"),
        (1, 10, {"maximum_tokens": 9}, "at least 10 tokens are asked for, cut to 9"),
        (1, 10, {"maximum_tokens": -100}, "cut to -100"),
    ],
)
def test_what_cannot_be_chosen_is_refused(count, minimum, options, expected):
    with pytest.raises(ValueError, match=expected):
        chosen(count, minimum, **options)
