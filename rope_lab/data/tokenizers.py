"""Tokenizers: bytes, Hugging Face `tokenizers` files, SentencePiece models."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import tokenizers as hf

from rope_lab.data.chat_files import read_beside
from rope_lab.data.corpora import Corpus
from rope_lab.data.storage import built, data_root

# What files call the token that begins a document, in the order of preference.
BOS_NAMES = (
    "<|bos|>",
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|endoftext|>",
    "[BOS]",
    "[CLS]",
)
NO_BOS = "?bos=None"  # behind a file whose checkpoint has no such token


class Tokenizer(Protocol):
    """Text to token ids and back.

    `bos_id` begins every packed document. A file that has no such token gets one more
    id at its end, as bytes do. Text that spells a special token is encoded as text.

    Attributes:
      vocab_size: ids are 0..vocab_size-1.
      bos_id: the id of the token that begins a document.
      checksum: sha256 of the file, or of the definition.

    Those of a checkpoint have eos_ids, too, the tokens that end a text or an answer of
    its model, and chat_template, in Jinja or None, for other programs: both as the
    files beside theirs say.
    """

    vocab_size: int
    bos_id: int
    checksum: str

    def encode(self, text: str) -> np.ndarray:
        """int32[tokens], without a BOS."""

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of `ids`, which may hold BOS; broken UTF-8 becomes U+FFFD."""

    def token_id(self, piece: str) -> int | None:
        """The id of a special token such as "</s>", None where there is none."""


class ByteTokenizer:
    """The 256 bytes of UTF-8, and BOS = 256."""

    vocab_size = 257
    bos_id = 256
    checksum = hashlib.sha256(b"rope_lab: UTF-8 bytes, BOS 256").hexdigest()

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids)
        return ids[ids < 256].astype(np.uint8).tobytes().decode(errors="replace")

    def token_id(self, piece: str) -> int | None:
        return None


class HuggingFaceTokenizer:
    """A tokenizer.json of the Hugging Face `tokenizers` library, or its content."""

    eos_ids: tuple[int, ...] = ()
    chat_template: str | None = None

    def __init__(
        self, path: Path, bos_id: int | None = None, content: bytes | None = None
    ):
        self._path = path
        self.content = content = _read(path) if content is None else content
        try:
            self._model = hf.Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises nothing narrower
            raise _not_a_tokenizer(path, "Hugging Face tokenizers", error) from None
        self._model.encode_special_tokens = True
        self._model.no_padding()
        self._model.no_truncation()
        vocabulary = self._model.get_vocab()
        size = max(vocabulary.values(), default=-1) + 1
        names = [name for name in BOS_NAMES if name in vocabulary]
        own = vocabulary[names[0]] if names else None
        self.bos_id, self.vocab_size, self.checksum = _with_bos(
            path, content, size, own, bos_id
        )
        self.added_bos = self.bos_id == size  # the file has none

    def encode(self, text: str) -> np.ndarray:
        # The fast call leaves out character offsets; it exists for batches alone.
        try:
            (encoding,) = self._model.encode_batch_fast(
                [text], add_special_tokens=False
            )
        except Exception as error:  # the library raises nothing narrower
            raise ValueError(
                f"tokenizer {self._path} cannot encode {text[:40]!r}...: {error}"
            ) from None
        return np.asarray(encoding.ids, np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids)
        return self._model.decode(ids[ids != self.bos_id].tolist())

    def token_id(self, piece: str) -> int | None:
        return self._model.token_to_id(piece)

    def within(self, vocab_size: int) -> "HuggingFaceTokenizer":
        """The same without special tokens from `vocab_size` on, which no text has.

        Programs that pad add one behind those of the model. What else lies there stays.
        """
        values = json.loads(self.content)
        added = values.get("added_tokens") or []
        beyond = [
            one for one in added if one.get("special") and one["id"] >= vocab_size
        ]
        if not beyond or self.bos_id in [one["id"] for one in beyond]:
            return self
        values["added_tokens"] = [one for one in added if one not in beyond]
        vocabulary = values["model"].get("vocab")
        if isinstance(vocabulary, dict):
            for one in beyond:
                vocabulary.pop(one["content"], None)
        bos_id = None if self.added_bos else self.bos_id
        tokenizer = HuggingFaceTokenizer(Path(), bos_id, json.dumps(values).encode())
        tokenizer.eos_ids, tokenizer.chat_template = self.eos_ids, self.chat_template
        return tokenizer


class SentencePieceTokenizer:
    """A .model file of SentencePiece, or its content; needs the extra `hf`."""

    eos_ids: tuple[int, ...] = ()
    chat_template: str | None = None

    def __init__(
        self, path: Path, bos_id: int | None = None, content: bytes | None = None
    ):
        try:
            import sentencepiece
        except ImportError:
            raise ValueError(
                f"tokenizer {path} needs the Python package sentencepiece, which is "
                "not installed; install the extra: pip install 'rope-lab[hf]'"
            ) from None
        self.content = content = _read(path) if content is None else content
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(content)
            size = self._model.GetPieceSize()
        except RuntimeError as error:
            raise _not_a_tokenizer(path, "SentencePiece", error) from None
        bos = self._model.bos_id()
        self.bos_id, self.vocab_size, self.checksum = _with_bos(
            path, content, size, bos if bos >= 0 else None, bos_id
        )
        self.added_bos = self.bos_id == size  # the file has none

    def encode(self, text: str) -> np.ndarray:
        return np.asarray(self._model.EncodeAsIds(text), np.int32)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        ids = np.asarray(ids)
        return self._model.DecodeIds(ids[ids != self.bos_id].tolist())

    def token_id(self, piece: str) -> int | None:
        number = self._model.PieceToId(piece)  # that of an unknown one, if it is
        return number if self._model.IdToPiece(number) == piece else None


def eos_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens that end a text of its checkpoint's model; () where none is known."""
    return getattr(tokenizer, "eos_ids", ())


def chat_template_of(tokenizer: Tokenizer | None) -> str | None:
    """Its checkpoint's chat template in Jinja, None where there is none."""
    return getattr(tokenizer, "chat_template", None)


def load_tokenizer(
    spec: str | os.PathLike,
    corpus: Corpus | None = None,
    data_dir: str | os.PathLike | None = None,
) -> Tokenizer:
    """Loads the tokenizer that `spec` names.

    Args:
      spec: "bytes"; "bpe:N", a byte-level BPE of at most N tokens, trained once on the
        train split of `corpus` (fewer where the text has no more pairs to merge); or
        the path of a tokenizer.json or a SentencePiece .model file, with "?bos=N"
        behind it where token N begins a document and the file does not say so. An
        imported checkpoint without any such token has "?bos=None" there.
      corpus: what "bpe:N" is trained on.
      data_dir: where "bpe:N" is stored; None means beside the corpus.

    Raises:
      ValueError: unknown spec, missing file, not a tokenizer, N below 257; or
        "?bos=None", since documents begin with a BOS; or files beside it are damaged.
    """
    spec = os.fspath(spec)
    if spec == "bytes":
        return ByteTokenizer()
    if spec.startswith("bpe:"):
        return HuggingFaceTokenizer(_trained_bpe(spec, corpus, data_dir))
    name, marked, number = spec.partition("?bos=")
    if spec.endswith(NO_BOS):
        raise ValueError(
            f"the checkpoint of tokenizer {name} has no BOS, with which documents "
            "begin here: measure it by `rope-lab evaluate` or `perplexity` with "
            "--config.bos=False"
        )
    if marked and not number.isdecimal():
        raise ValueError(f"tokenizer {spec!r}: expected a token number behind ?bos=")
    path, bos_id = Path(name).expanduser(), int(number) if marked else None
    kinds: dict[str, type[HuggingFaceTokenizer] | type[SentencePieceTokenizer]]
    kinds = {".json": HuggingFaceTokenizer, ".model": SentencePieceTokenizer}
    if path.suffix not in kinds:
        raise ValueError(
            f'unknown tokenizer {spec!r}; expected "bytes", "bpe:N" (such as '
            '"bpe:1024"), or the path of a .json (Hugging Face) or .model '
            "(SentencePiece) file"
        )
    tokenizer = kinds[path.suffix](path, bos_id)
    ids, tokenizer.chat_template = read_beside(path.parent)
    tokenizer.eos_ids = tuple(one for one in ids if one < tokenizer.vocab_size)
    return tokenizer


def _trained_bpe(
    spec: str, corpus: Corpus | None, data_dir: str | os.PathLike | None
) -> Path:
    size = spec.removeprefix("bpe:")
    if not size.isdecimal() or int(size) < 257:
        raise ValueError(
            f"tokenizer {spec!r}: expected bpe:N with a whole number N of at least "
            "257, 256 bytes and BOS"
        )
    if corpus is None:
        raise ValueError(f"tokenizer {spec!r} is trained on a corpus; give `corpus`")
    root = data_root(data_dir) if data_dir else corpus.root
    checksum = corpus.split_checksum("train")

    def write(scratch: Path) -> None:
        _train_bpe(int(size), corpus).save(str(scratch / "tokenizer.json"))

    folder = built(root / "tokenizers" / f"bpe-{size}-{checksum[:16]}", write)
    return folder / "tokenizer.json"


def _train_bpe(size: int, corpus: Corpus) -> hf.Tokenizer:
    model = hf.Tokenizer(hf.models.BPE())
    model.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[BOS_NAMES[0]],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(iter(corpus.documents("train")), trainer)
    return model


def _with_bos(
    path: Path, content: bytes, size: int, own: int | None, given: int | None
) -> tuple[int, int, str]:
    """(bos_id, vocab_size, checksum) of a file whose own BOS is `own`, if it has one.

    Another one that a checkpoint names makes another tokenizer, and so a checksum.
    """
    checksum = hashlib.sha256(content)
    if given is not None and given != (size if own is None else own):
        if not 0 <= given < size:
            raise ValueError(
                f"{path} has {size} tokens, so that its first one cannot be {given}: "
                "tokenizer and configuration are not of one checkpoint"
            )
        checksum.update(f"bos {given}".encode())
        own = given
    if own is None:
        return size, size + 1, checksum.hexdigest()
    return own, size, checksum.hexdigest()


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"tokenizer file {path} does not exist; give another path")
    return path.read_bytes()


def _not_a_tokenizer(path: Path, library: str, error: Exception) -> ValueError:
    reason = (str(error).splitlines() or ["unreadable"])[0]
    return ValueError(f"{path} is not a tokenizer of {library}: {reason}")
