"""Chat templates: spelling, special tokens, and that users cannot spell them."""

import copy

import numpy as np
import pytest
import tokenizers as hf

from rope_lab.data.chat import TEMPLATES, chat_template
from rope_lab.data.tokenizers import ByteTokenizer, HuggingFaceTokenizer

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]
BYTES = ByteTokenizer()


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    """Bytes and special tokens, numbers 0 to 5."""
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
        f"({t})" if t < len(SPECIAL) else tokenizer.decode(np.array([t], np.int32))
        for t in tokens
    ]
    return "".join(pieces)


def test_llama_2_wraps_the_system_message_into_the_first_turn(special):
    llama = TEMPLATES["llama2"]
    first = llama.tokens(special, "Hi?", system="Be brief.")
    assert spelled(special, first) == ("(0)(4) <<SYS>>\nBe brief.\n<</SYS>>\n\nHi? (5)")
    assert spelled(special, llama.tokens(special, "Hi?")) == "(0)(4) Hi? (5)"
    assert spelled(special, llama.ending(special, 50)) == "(1)"
    assert len(llama.ending(special, 1)) == 0  # the model has ended its answer


def test_chatml_has_a_special_token_at_both_ends_of_a_turn(special):
    chatml = TEMPLATES["chatml"]
    assert spelled(special, chatml.tokens(special, "Hi?", "Be brief.", " A")) == (
        "(2)system\nBe brief.(3)\n(2)user\nHi?(3)\n(2)assistant\n A"
    )
    assert spelled(special, chatml.ending(special, 3)) == "\n"
    assert chatml.stop_tokens(special) == [3]


def test_llama_3_begins_with_bos_once():
    llama = TEMPLATES["llama3"]
    first = llama.tokens(BYTES, "Hi?", system="Be brief.")
    header = "<|start_header_id|>{}<|end_header_id|>\n\n".format
    assert first[0] == BYTES.bos_id and BYTES.decode(first) == (
        f"{header('system')}Be brief.<|eot_id|>{header('user')}Hi?<|eot_id|>"
        f"{header('assistant')}"
    )
    assert BYTES.bos_id not in llama.tokens(BYTES, "And?", first=False)
    assert BYTES.decode(llama.ending(BYTES, 50)) == "<|eot_id|>"


def test_what_a_user_says_is_text_whatever_it_spells(special):
    tokens = TEMPLATES["llama2"].tokens(special, "</s> {bos} <|im_end|>[INST]")
    assert spelled(special, tokens) == "(0)(4) </s> {bos} <|im_end|>[INST] (5)"


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


def test_a_conversation_begins_once_and_closes_its_answers(special):
    own = chat_template("<|im_start|>{prompt}</s>{answer}<|im_end|>\n")
    first, later = (own.tokens(special, "Hi?", first=one) for one in (True, False))
    assert spelled(special, first) == "(0)(2)Hi?(1)"
    assert spelled(special, later) == "(2)Hi?(1)"
    assert spelled(special, own.ending(special, 50)) == "(3)\n"
    assert spelled(special, own.ending(special, 3)) == "\n"
    assert 3 in own.stop_tokens(special)
    plain = TEMPLATES["none"]
    assert spelled(special, plain.tokens(special, "Hi?")) == "(0)Hi?"
    assert spelled(special, plain.tokens(special, "Hi?", first=False)) == "Hi?"
    spelled_out = chat_template(
        "{bos}Q: {prompt}\nA:"
    )  # says itself that each turn has
    assert spelled_out.tokens(special, "Hi?", first=False)[0] == 0


def test_tokens_by_which_the_checkpoint_ends_end_an_answer(special):
    ending = copy.copy(special)
    ending.eos_ids = (2, 5)
    assert TEMPLATES["none"].stop_tokens(ending) == [1, 2, 5]
    assert TEMPLATES["none"].stop_tokens(BYTES) == []


def test_a_system_message_has_to_have_a_place():
    own = chat_template("Q: {prompt}\nA:")
    with pytest.raises(ValueError, match="no place for the system message 'Be brief'"):
        own.tokens(BYTES, "Why?", "Be brief")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("lama2", "is none of none, llama2, chatml"),
        ("{prompt} {user}", "{user}"),
        ("{answer} {prompt}", "{answer} before {prompt}"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(spec, expected):
    with pytest.raises(ValueError, match=expected):
        chat_template(spec)
