"""What the catalogue says of an encoding."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

from rope_lab.logic.bands import Band, Parts
from rope_lab.logic.biases import Bias


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row of the catalogue: the function, and what lists and pages say of it.

    The function returns bands; or a bias, which then stands beside one unrotated band;
    or `Parts`.

    In formulas i is a query's position, j a key's, n either; theta_k = base**(-2k/D)
    the frequency of plane k of D/2, in radians per token; s the scale, L the training
    length and N the length the logic is built for, in tokens; h a head.
    """

    build: Callable[..., tuple[Band, ...] | Bias | Parts]
    summary: str
    needs_training: str = "none"  # "none", "fine-tuning helps", "from the start"
    rotates: bool = True  # whether resonance, layout and base mean anything
    formula: str = ""  # plain text, one line
    tex: str = ""  # the same for pages
    cost: str = ""  # beside RoPE
    source: str = ""  # where it was published, separated by commas

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The function's own keyword options by name."""
        parameters = inspect.signature(self.build).parameters
        return {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
