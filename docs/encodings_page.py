"""The page of encodings, from the registry itself, so that it cannot drift."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from rope_lab.logic import CATALOGUE
from rope_lab.logic.catalogue import Entry
from rope_lab.logic.options import SHARED_DEFAULTS

HEAD = """# The encodings

{count} encodings, each a row of `rope_lab.logic.CATALOGUE`, from which this page is
written. `position_logic(name, head_dim=..., **options)` builds one. *Needs* says what a
model trained with plain RoPE needs before it runs under the encoding: nothing,
fine-tuning to get the best of it, or training from the start. Required options are
**bold**; where `scale` is listed, `train_length` and `length` together say the same.

Every name also takes {shared}; see [`position_logic`](api_rope_lab.md).

In the equations $i$ is the position of a query and $j$ of a key,
$\\theta_k = b^{{-2k/D}}$ the frequency of plane $k$ of $D/2$ with base $b$, $s$ the
scale, $L$ the training length, $N$ the length the logic is built for, $w$ a window,
$\\tau$ the factor of all logits, $h$ one of $H$ heads.

"""


def write_encodings(folder: Path) -> None:
    """Writes encodings.md: one table, then a section for each row."""
    shared = ", ".join(f"`{name}`" for name in SHARED_DEFAULTS)
    parts = [HEAD.format(count=len(CATALOGUE), shared=shared), _table()]
    parts += [_section(name, entry) for name, entry in CATALOGUE.items()]
    (folder / "encodings.md").write_text("\n".join(parts), encoding="utf-8")


def with_links(text: str) -> str:
    """Numbers of arXiv and of kexue.fm, as links."""
    text = re.sub(
        r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text
    )
    return re.sub(
        r"kexue(?:\.fm)? (\d{4})", r"[kexue \1](https://kexue.fm/archives/\1)", text
    )


def options(entry: Entry) -> str:
    """Own options; required ones in bold, others with their defaults."""
    shown = []
    for name, parameter in entry.options.items():
        if parameter.default is inspect.Parameter.empty:
            shown.append(f"**`{name}`**")
        elif parameter.default is None:
            shown.append(f"`{name}`")
        else:
            shown.append(f"`{name}={parameter.default!r}`")
    return ", ".join(shown) or "none"


def _table() -> str:
    rows = ["| name | what it is | needs |", "| --- | --- | --- |"]
    rows += [
        f"| [`{name}`](#{name.replace('_', '-')}) | {entry.summary} "
        f"| {entry.needs_training} |"
        for name, entry in CATALOGUE.items()
    ]
    return "\n".join([*rows, ""])


def _section(name: str, entry: Entry) -> str:
    what = [
        ("Needs", entry.needs_training),
        ("Costs", entry.cost),
        ("Options of its own", options(entry)),
        ("Source", with_links(entry.source)),
    ]
    lines = [f"({name.replace('_', '-')})=", f"## `{name}`", ""]
    lines += [f"{entry.summary}.", "", "$$", entry.tex, "$$", ""]
    lines += [f":{title}: {text}" for title, text in what] + [""]
    return "\n".join(lines)
