"""Equations as MathML, which browsers draw themselves: no script, no font, no network.

docutils has the converter; Sphinx only asks for something that writes its nodes.
"""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def _inline(translator, node):
    translator.body.append(_converted(node.astext(), node, display=False))
    raise nodes.SkipNode


def _block(translator, node):
    math = _converted(node.astext(), node, display=True)
    translator.body.append(f'<div class="math">{math}</div>\n')
    raise nodes.SkipNode


def _converted(tex: str, node, *, display: bool) -> str:
    """Raises ValueError for an equation that cannot be drawn, with where it stands."""
    try:
        return tex2mathml(tex, as_block=display)
    except Exception as error:
        raise ValueError(f"{node.source}:{node.line}: {tex!r}: {error}") from error


def setup(app):
    """Registers `html_math_renderer = "mathml"`."""
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_inline, None), block_renderers=(_block, None)
    )
