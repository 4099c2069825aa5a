"""The catalogue of encodings, as the registry has it.

    rope-lab list                  all of them
    rope-lab list rerope yarn      these

For each its name, formula, options, what a model trained with plain RoPE needs before
it runs under the encoding, what it costs beside RoPE, and the source. In formulas i is
a query's position, j a key's; theta_k = base**(-2k/D) the frequency of plane k of D/2;
s the scale, L the training length, N the length the logic is built for; h a head.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from rope_lab.logic import CATALOGUE
from rope_lab.logic.entry import Entry
from rope_lab.logic.options import hint

NEEDS = {
    "none": "nothing",
    "fine-tuning helps": "nothing; fine-tuning helps",
    "from the start": "training from the start",
}


def list_encodings(arguments: Sequence[str]) -> int:
    """Prints them; returns the status.

    Raises:
      ValueError: there is no such encoding, or an option.
    """
    for name in arguments:
        if name not in CATALOGUE:
            raise ValueError(f"there is no encoding {name!r}{hint(name, CATALOGUE)}")
    for name in arguments or CATALOGUE:
        print(described(name, CATALOGUE[name]))
    return 0


def described(name: str, entry: Entry) -> str:
    """A few lines on one row."""
    facts = {
        "formula": entry.formula,
        "needs": NEEDS[entry.needs_training],
        "options": ", ".join(map(_option, entry.options.values())),
        "cost": entry.cost,
        "source": entry.source,
    }
    lines = [f"  {key:<9}{value}" for key, value in facts.items() if value]
    return "\n".join([f"{name}: {entry.summary}", *lines, ""])


def _option(parameter: inspect.Parameter) -> str:
    required = parameter.default is inspect.Parameter.empty
    return f"{parameter.name} (required)" if required else parameter.name
