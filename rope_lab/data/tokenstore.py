"""All tokens of a corpus in one memory-mapped array, encoded once."""

import dataclasses
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rich.progress

from rope_lab.data.corpora import Corpus, Documents
from rope_lab.data.storage import built, data_root
from rope_lab.data.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """Document d is tokens[offsets[d]:offsets[d + 1]] and begins with BOS.

    Documents are numbered as in `Corpus.everything`, so one store serves every split.
    A document that a tokenizer turns into nothing takes no place, not even a BOS.
    """

    tokens: np.ndarray  # uint16[all tokens], or uint32 for a large vocabulary
    offsets: np.ndarray  # int64[documents + 1], the packing index


def token_store(
    corpus: Corpus, tokenizer: Tokenizer, data_dir: str | os.PathLike | None = None
) -> TokenStore:
    """Opens the tokens of a corpus, after encoding them if that was never done."""
    root = data_root(data_dir) if data_dir else corpus.root
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    names = f"{corpus.checksum[:16]}-{tokenizer.checksum[:16]}"

    def write(scratch: Path) -> None:
        ends = [0]
        with (scratch / "tokens.bin").open("wb") as file:
            for document in _progress(corpus.everything):
                tokens = tokenizer.encode(document)
                if len(tokens):
                    tokens = np.concatenate([[tokenizer.bos_id], tokens])
                file.write(tokens.astype(dtype).tobytes())
                ends.append(ends[-1] + len(tokens))
        np.save(scratch / "offsets.npy", np.asarray(ends, np.int64))

    folder = built(root / "tokens" / names, write)
    tokens = np.memmap(folder / "tokens.bin", dtype, mode="r")
    offsets = np.load(folder / "offsets.npy")
    if len(tokens) != offsets[-1]:
        raise ValueError(f"{folder} is damaged; remove it, and it is prepared anew")
    return TokenStore(np.asarray(tokens), offsets)  # a plain view slices faster


def _progress(documents: Documents) -> Iterable[str]:
    """A bar that is gone when the work is done, and never written into a file."""
    quiet = not sys.stdout.isatty()
    return rich.progress.track(
        documents, "encoding the corpus", transient=True, disable=quiet
    )
