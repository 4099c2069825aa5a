"""What compare.html adds to the style sheet of report.html."""

from __future__ import annotations

from rope_lab.plots.matrix_image import scale_colors
from rope_lab.plots.style import DARK, LIGHT, NUM_COLORS, UNTRAINED

_CONTROLS = """
main { max-width:1080px; }
.tall { max-height:80vh; overflow:auto; }
.tall thead th { position:sticky; top:0; z-index:1; background:var(--card); }
.tall thead th:first-child { z-index:2; }
form { background:var(--card); border:1px solid var(--line); border-radius:10px;
  padding:12px 16px; margin:1em 0; display:grid; gap:12px 20px;
  grid-template-columns:repeat(auto-fit,minmax(min(260px,100%),1fr)); }
form label, legend { font-size:.9rem; color:var(--soft); }
form select, form input[type=search] { display:block; width:100%; margin-top:3px;
  font:inherit; padding:6px 8px; color:var(--ink); background:var(--page);
  border:1px solid var(--line); border-radius:6px; }
fieldset { border:0; margin:0; padding:0; min-width:0; }
fieldset label { display:inline-flex; gap:.35em; align-items:center; color:var(--ink);
  margin:4px 14px 0 0; }
:focus-visible { outline:3px solid var(--accent); outline-offset:2px; }
thead button { font:inherit; color:inherit; background:none; border:0; padding:2px;
  cursor:pointer; text-align:inherit; }
th[aria-sort=ascending] button::after { content:" \\25B2"; }
th[aria-sort=descending] button::after { content:" \\25BC"; }
.run { display:block; color:var(--soft); font-size:.8rem; overflow-wrap:anywhere; }
.warn { border-left-color:var(--bad); }
.chart svg { display:block; width:100%; max-width:none; overflow:visible; }
.chart text { fill:var(--soft); font-size:12px; }
.chart .grid { stroke:var(--line); } .chart .mark { stroke:var(--soft); }
.legend { list-style:none; display:flex; flex-wrap:wrap; gap:2px 16px; padding:4px 6px;
  margin:0; font-size:.86rem; }
.legend svg, tbody th svg { display:inline; width:30px; height:12px; margin-right:6px;
  vertical-align:middle; max-width:none; }
textarea { width:100%; height:9em; font-family:ui-monospace,Menlo,Consolas,monospace;
  font-size:.8rem; color:var(--ink); background:var(--page);
  border:1px solid var(--line); border-radius:6px; white-space:pre; }
a { color:var(--accent); }
.matrices { display:grid; gap:12px;
  grid-template-columns:repeat(auto-fill,minmax(150px,1fr)); }
.matrix { margin:0; } .matrix img { width:100%; image-rendering:pixelated; }
.matrix figcaption { font-size:.8rem; }
.scale, .untrained { display:inline-block; height:.8em; border-radius:2px; }
[hidden] { display:none !important; }
"""


def style() -> str:
    """The style sheet, with the colours of the pictures of papers and reports."""
    dark = f"@media (prefers-color-scheme: dark) {{ :root {{ {_series(DARK)} }} }}\n"
    scale = ", ".join(scale_colors())
    return (
        f":root {{ {_series(LIGHT)} }}\n{dark}{_CONTROLS}"
        f".scale {{ width:90px; background:linear-gradient(90deg,{scale}); }}\n"
        f".untrained {{ width:.8em; background:{UNTRAINED}; }}\n"
    )


def _series(theme: dict) -> str:
    colors = theme["axes.prop_cycle"].by_key()["color"][:NUM_COLORS]
    return " ".join(f"--s{n}:{color};" for n, color in enumerate(colors))
