"""Pages that stand elsewhere in the project, made pages of the site.

Text and tables stay as they are committed. Links between such pages become links of the
site, other files of the project become downloads, and a picture that has a version for
dark pages is shown in both.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "docs" / "generated"

# File of the project -> page of the site, under generated/.
INCLUDED = {
    "experiments/rerope/README.md": "study_rerope",
    "experiments/rerope/smaller/README.md": "study_rerope_smaller",
    "experiments/stories/README.md": "study_stories",
    "experiments/stories/finetuned/README.md": "study_stories_finetuned",
    "experiments/smollm2/README.md": "study_smollm2",
    "experiments/posgen/README.md": "study_posgen",
    "experiments/wavelengths/README.md": "study_wavelengths",
    "benchmarks/results/attention.md": "measured_attention",
    "benchmarks/results/decoding.md": "measured_decoding",
    "benchmarks/results/training.md": "measured_training",
    "benchmarks/results/crossover.md": "measured_crossover",
    "benchmarks/results/ring.md": "measured_ring",
    "benchmarks/results/weak_scaling.md": "measured_weak_scaling",
    "benchmarks/results/kept_memory.md": "measured_kept_memory",
    "benchmarks/results/export_logits.md": "measured_export_logits",
    "benchmarks/faults.md": "measured_faults",
    "benchmarks/checkpoints.md": "measured_checkpoints",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "ROADMAP.md": "roadmap",
}
_TAG = re.compile(r'<picture>.*?<img src="([^"]+)" alt="([^"]*)"></picture>')
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def write_included() -> None:
    """Writes every page of `INCLUDED`; raises FileNotFoundError for one that is not."""
    for source, page in INCLUDED.items():
        path = ROOT / source
        text = _TAG.sub(r"![\2](\1)", path.read_text(encoding="utf-8"))
        text = _LINK.sub(lambda match, path=path: _link(path, *match.groups()), text)
        (GENERATED / f"{page}.md").write_text(text, encoding="utf-8")


def _link(source: Path, picture: str, text: str, target: str, anchor: str | None):
    """One link of a page, as the site writes it."""
    anchor = anchor or ""
    if ":" in target:  # another site
        return f"{picture}[{text}]({target}{anchor})"
    file = (source.parent / target).resolve()
    name = file.relative_to(ROOT).as_posix()
    here = os.path.relpath(file, GENERATED)
    if picture:
        return _picture(text, file, here)
    if name in INCLUDED:
        return f"[{text}]({INCLUDED[name]}.md{anchor})"
    if name == "README.md":
        return f"[{text}](../index.md)"
    if file.is_dir():
        return f"{text} (`{name}/`)"
    if not file.is_file():
        raise FileNotFoundError(f"{source}: links to {target}, which is not there")
    return f"[{text}]({here})"


def _picture(text: str, file: Path, here: str) -> str:
    """A picture, once for light and once for dark pages where it has both."""
    dark = file.with_name(f"{file.stem}-dark{file.suffix}")
    if not dark.is_file():
        return f"![{text}]({here})"
    other = os.path.relpath(dark, GENERATED)
    return f"![{text}]({here}){{.only-light}}\n![{text}]({other}){{.only-dark}}"
