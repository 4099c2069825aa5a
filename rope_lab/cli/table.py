"""The result table, in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(results: dict[str, Any]) -> None:
    """Loss per row and length, and the paired difference to truncated context."""
    trained, lengths = results["train_length"], results["lengths"]
    table = Table(title="Loss, nats per token, on held-out text that is not repeated")
    table.add_column("encoding")
    for length in lengths:
        table.add_column(f"{length} ({length / trained:g}L)", justify="right")
    table.add_column(f"minus truncated, beyond {trained}", justify="right")
    for row in results["rows"]:
        cells = [row["cells"][str(length)]["natural"] for length in lengths]
        losses = [f"{cell['loss']:.3f}" for cell in cells]
        table.add_row(row["label"], *losses, _difference(cells[-1]))
    Console(width=max(100, 40 + 14 * len(lengths))).print(table)


def _difference(cell: dict[str, Any]) -> str:
    difference = (cell.get("minus_truncated") or {}).get("beyond")
    if not difference:
        return ""
    if difference["interval"] is None:  # of a single document
        return f"{difference['mean']:+.3f}"
    low, high = difference["interval"]
    return f"{difference['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"
