"""results.json: read, written whole or not at all, and looked into.

A results dictionary holds ``schema_version``, ``train_length``, ``lengths``,
``targets`` (per length and kind of text: checksum, tokens, documents), ``windows`` (a
checksum of each window's targets, in the same way; missing in older files), ``planned``
(labels of all rows asked for) and ``rows``, a list in that order of those measured by
now. A row holds ``cells[str(length)][kind]``.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
# Kinds of text: one passage repeated, within the training length or beyond it.
NATURAL, REPEATED, FAR_REPEATED = "natural", "repeated", "far repeated"

Results = dict[str, Any]
_NUMBERS = re.compile(r"\[\n[-+.,\deE\s]+\]")  # a list of them takes one line


def save_results(path: str | os.PathLike, results: Results) -> None:
    """Writes JSON beside the file and renames it: a kill leaves old or new, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    text = json.dumps(results, indent=1, allow_nan=False)
    text = _NUMBERS.sub(lambda found: " ".join(found[0].split()), text)
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_results(path: str | os.PathLike) -> Results:
    """Reads results.json.

    Raises:
      ValueError: if the file is not JSON, or of a schema this version does not read.
    """
    try:
        results = json.loads(Path(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a results file ({error}); move it away to measure anew"
        ) from error
    version = results.get("schema_version") if isinstance(results, dict) else None
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {version!r}; this version reads "
            f"{SCHEMA_VERSION}. Move it away to measure anew"
        )
    return results


def cell(row: dict[str, Any], length: int, kind: str = NATURAL) -> dict[str, Any]:
    """What a row measured at one length on one kind of text.

    Raises:
      ValueError: if the row was not measured there.
    """
    try:
        return row["cells"][str(length)][kind]
    except KeyError:
        known = {n: sorted(kinds) for n, kinds in row["cells"].items()}
        raise ValueError(
            f"row {row['label']!r} has no length {length} with {kind!r} text; "
            f"it has {known}"
        ) from None


def truncated_row(results: Results) -> dict[str, Any] | None:
    """The row measured with truncated context, or None."""
    return next((row for row in results["rows"] if row["truncated"]), None)


def document_ids(results: Results, length: int, kind: str) -> list[int]:
    """The document of each window."""
    return results["targets"][str(length)][kind]["document_ids"]
