"""All tokens of a corpus in one memory-mapped array, encoded once."""

import dataclasses
import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rich.progress

from rope_lab.data.corpora import Corpus, Documents
from rope_lab.data.storage import built, damaged, data_root, load_array
from rope_lab.data.tokenizers import Tokenizer

BLOCK = 2**17  # tokens under one checksum, which takes 0.2 ms


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """Document d is tokens[offsets[d]:offsets[d + 1]] and begins with BOS.

    Documents are numbered as in `Corpus.everything`, so one store serves every split.
    A document that a tokenizer turns into nothing takes no place, not even a BOS.
    """

    tokens: np.ndarray  # uint16[all tokens], or uint32 for a large vocabulary
    offsets: np.ndarray  # int64[documents + 1], the packing index
    checks: np.ndarray  # uint32[blocks], the CRC-32 of BLOCK tokens each
    folder: Path
    seen: np.ndarray  # bool[blocks]: those that were compared with their checks

    def read(self, first: int, stop: int) -> np.ndarray:
        """tokens[first:stop], after comparing what was never read with its checksum.

        Raises:
          ValueError: the file has changed since it was written.
        """
        for block in range(first // BLOCK, -(-stop // BLOCK)):
            if not self.seen[block]:
                self._compare(block)
        return self.tokens[first:stop]

    def _compare(self, block: int) -> None:
        if _check_of(self.tokens, block) != self.checks[block]:
            start = block * BLOCK
            raise ValueError(
                f"{self.folder}/tokens.bin is damaged in tokens {start} to "
                f"{start + BLOCK - 1}; remove {self.folder}, and it is prepared anew"
            )
        self.seen[block] = True


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
        if not ends[-1]:
            raise ValueError(
                f"the tokenizer makes no token of any of {len(ends) - 1} documents: it "
                "does not know their characters, or normalizes all of them away"
            )
        np.save(scratch / "offsets.npy", np.asarray(ends, np.int64))
        _checks(scratch, np.memmap(scratch / "tokens.bin", dtype, mode="r"))

    folder = built(root / "tokens" / names, write)
    try:
        tokens = np.memmap(folder / "tokens.bin", dtype, mode="r")
        tokens = np.asarray(tokens)  # a plain view slices faster
        offsets = load_array(folder / "offsets.npy")
        checks = _checks(folder, tokens)
        fits = len(tokens) == offsets[-1] and len(checks) == _blocks(tokens)
        fits &= bool(np.all(np.diff(offsets) >= 0)) and offsets[0] == 0
    except (ValueError, OSError, IndexError, TypeError):
        fits = False
    if not fits:
        raise ValueError(damaged(folder))
    return TokenStore(tokens, offsets, checks, folder, np.zeros(len(checks), bool))


def _checks(folder: Path, tokens: np.ndarray) -> np.ndarray:
    """Those that were written; taken now where the store is older than they are."""
    path = folder / "checks.npy"
    if not path.exists():
        found = [_check_of(tokens, block) for block in range(_blocks(tokens))]
        scratch = folder / f"checks-{os.getpid()}.npy"
        np.save(scratch, np.asarray(found, np.uint32))
        os.replace(scratch, path)
    return load_array(path)


def _blocks(tokens: np.ndarray) -> int:
    return -(-len(tokens) // BLOCK)


def _check_of(tokens: np.ndarray, block: int) -> int:
    return zlib.crc32(tokens[block * BLOCK : (block + 1) * BLOCK].data)


def _progress(documents: Documents) -> Iterable[str]:
    """A bar that is gone when the work is done, and never written into a file."""
    quiet = not sys.stdout.isatty()
    return rich.progress.track(
        documents, "encoding the corpus", transient=True, disable=quiet
    )
