"""The pieces of HTML that report.html and compare.html are made of."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rope_lab.cli.report_style import STYLE


def document(title: str, body: str, style: str = "") -> str:
    """A whole page that needs no other file; the title is text, the body HTML."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences, which are text and not HTML."""
    return f"<ul>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>"


def table(head: Sequence[str], lines: Iterable[tuple[str, Sequence[str], bool]]) -> str:
    """A table in a box of its own that scrolls; cells are HTML, labels are not."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    rows = []
    for label, values, marked in lines:
        tag = '<tr class="mark">' if marked else "<tr>"
        cells = "".join(f"<td>{value}</td>" for value in values)
        rows.append(f'{tag}<th scope="row">{escape(label)}</th>{cells}</tr>')
    table = f"<thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody>"
    box = f'class="scroll" tabindex="0" role="region" aria-label="{escape(head[0])}"'
    return f"<div {box}><table>{table}</table></div>"


def definition(value: Any) -> str:
    """Nested settings as definition lists; other values as they print."""
    if isinstance(value, Mapping):
        items = []
        for key, inner in value.items():
            nested = isinstance(inner, Mapping) and inner
            tag = '<dt class="group">' if nested else "<dt>"
            shown = definition(inner) if nested else f"<dd>{plain(inner)}</dd>"
            items.append(f"{tag}{escape(str(key))}</dt>{shown}")
        return f"<dl>{''.join(items)}</dl>"
    if isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        return "".join(definition(inner) for inner in value)
    return f"<p>{plain(value)}</p>"


def plain(value: Any) -> str:
    """A value as escaped text: short numbers, lists with commas."""
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(inner) for inner in value)
    return escape(f"{value:g}" if isinstance(value, float) else str(value))


def inlined(path: Path) -> str:
    """A PNG as an address that holds it, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its first chunk."""
    header = path.read_bytes()[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
