"""Chat templates: spelling, special tokens, and that users cannot spell them."""

import numpy as np
import pytest
import tokenizers as hf

from rope_lab.data.chat import TEMPLATES, chat_template
from rope_lab.data.tokenizers import ByteTokenizer, HuggingFaceTokenizer

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
BYTES = ByteTokenizer()


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    """Bytes and four special tokens, numbers 0 to 3."""
    alphabet = sorted(hf.pre_tokenizers.ByteLevel.alphabet())
    model = hf.Tokenizer(hf.models.BPE(
        {token: n for n, token in enumerate([*SPECIAL, *alphabet])}, []
    ))  # fmt: skip
    model.add_special_tokens(SPECIAL)
    model.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = hf.decoders.ByteLevel()
    path = tmp_path_factory.mktemp("special") / "tokenizer.json"
    model.save(str(path))
    return HuggingFaceTokenizer(path)


def spelled(tokenizer, tokens):
    """Text with special tokens as (number)."""
    pieces = [
        f"({t})" if t < 4 else tokenizer.decode(np.array([t], np.int32)) for t in tokens
    ]
    return "".join(pieces)


def test_llama_2_wraps_the_system_message_into_the_first_turn(special):
    llama = TEMPLATES["llama2"]
    first = llama.tokens(special, "Hi?", system="Be brief.")
    assert spelled(special, first) == (
        "(0)[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi? [/INST]"
    )
    assert spelled(special, llama.tokens(special, "Hi?")) == "(0)[INST] Hi? [/INST]"
    assert spelled(special, llama.ending(special, 50)) == "(1)"
    assert len(llama.ending(special, 1)) == 0  # the model has ended its answer


def test_chatml_has_a_special_token_at_both_ends_of_a_turn(special):
    chatml = TEMPLATES["chatml"]
    assert spelled(special, chatml.tokens(special, "Hi?", "Be brief.", " A")) == (
        "(2)system\nBe brief.(3)\n(2)user\nHi?(3)\n(2)assistant\n A"
    )
    assert spelled(special, chatml.ending(special, 3)) == "\n"
    assert chatml.stop_tokens(special) == [3]


def test_what_a_user_says_is_text_whatever_it_spells(special):
    tokens = TEMPLATES["llama2"].tokens(special, "</s> {bos} <|im_end|>")
    assert spelled(special, tokens) == "(0)[INST] </s> {bos} <|im_end|> [/INST]"


def test_pieces_the_tokenizer_lacks_are_text():
    tokens = TEMPLATES["chatml"].tokens(BYTES, "Hi?")
    expected = "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    assert BYTES.decode(tokens) == expected
    assert TEMPLATES["chatml"].stop_tokens(BYTES) == []
    assert TEMPLATES["chatml"].cut("Yes.<|im_end|>\nmore") == "Yes."


def test_a_text_with_a_prompt_is_a_template():
    own = chat_template("Q: {prompt}\nA:")
    tokens = own.tokens(BYTES, "Why?")
    assert tokens[0] == BYTES.bos_id and BYTES.decode(tokens) == "Q: Why?\nA:"
    with_system = chat_template("{system}\nQ: {prompt}\nA:")
    assert BYTES.decode(with_system.tokens(BYTES, "Why?", "Hm.")) == "Hm.\nQ: Why?\nA:"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("lama2", "is none of none, llama2, chatml"), ("{prompt} {user}", "{user}")],
)
def test_a_template_that_cannot_be_filled_in_is_refused(spec, expected):
    with pytest.raises(ValueError, match=expected):
        chat_template(spec)
