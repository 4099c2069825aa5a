"""Names of the leaves of a pytree, and trees as plain nested dicts of those names.

A checkpoint is written under names, not under Python types, so that it stays readable
when the classes that held the arrays change.
"""

from typing import Any

import jax

Names = tuple[str, ...]

# Flax wraps each array in a Variable, whose only child has one of these names. The
# wrapper is no part of the parameter's name.
_WRAPPER_NAMES = ("value", "raw_value")


def names_of(path: tuple[Any, ...]) -> Names:
    """The strings along a key path of `jax.tree_util`, without Flax's wrappers."""
    names = tuple(_name(key) for key in path)
    while len(names) > 1 and names[-1] in _WRAPPER_NAMES:
        names = names[:-1]
    return names


def _name(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    raise ValueError(f"a leaf lies under a key without a name: {key!r}")


def named_leaves(tree: Any) -> dict[Names, Any]:
    """Names -> leaf, in the order of `jax.tree.leaves`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {names_of(path): leaf for path, leaf in leaves}


def to_nested(tree: Any) -> dict[str, Any]:
    """The same leaves in plain nested dicts with string keys."""
    nested: dict[str, Any] = {}
    for names, leaf in named_leaves(tree).items():
        inner = nested
        for name in names[:-1]:
            inner = inner.setdefault(name, {})
        inner[names[-1]] = leaf
    return nested


def from_nested(like: Any, nested: dict[str, Any]) -> Any:
    """Puts the leaves of `nested` into the structure of `like`.

    Raises:
      ValueError: names or shapes differ; says which.
    """
    wanted, found = named_leaves(like), named_leaves(nested)
    lines = shape_differences(found, wanted)
    if lines:
        raise ValueError("parameters of another architecture:\n  " + "\n  ".join(lines))
    return jax.tree.unflatten(jax.tree.structure(like), [found[n] for n in wanted])


def shape_differences(
    found: dict[Names, Any], wanted: dict[Names, Any], limit: int = 8
) -> list[str]:
    """One line per leaf that is missing, not asked for, or of another shape."""
    lines = []
    for names in {**wanted, **found}:
        has = tuple(found[names].shape) if names in found else "nothing"
        asks = tuple(wanted[names].shape) if names in wanted else "nothing"
        if has != asks:
            name = ".".join(names)
            lines.append(f"{name}: checkpoint has {has}, this run asks for {asks}")
    if len(lines) > limit:
        lines = [*lines[:limit], f"and {len(lines) - limit} more"]
    return lines
