"""State and batches on a mesh: which part of each array lies on which device.

A parameter is recognised by the last two names of its path, and what the optimizer
keeps of it by the same names.

Letters: B batch, T tokens.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rope_lab.model.sharding import current_mesh, fitting, spec
from rope_lab.model.trees import Names, names_of

# Logical axes of every matrix; what is not here (gains, biases, what position logics
# learn, counters) is small and lies whole on every device.
_MATRICES: dict[Names, tuple[str | None, ...]] = {
    ("embed", "embedding"): ("vocab", "width"),
    ("unembed", "kernel"): ("width", "vocab"),
    ("query", "kernel"): ("width", "heads"),
    ("key", "kernel"): ("width", "heads"),
    ("value", "kernel"): ("width", "heads"),
    ("out", "kernel"): ("heads", "width"),
    ("gate", "kernel"): ("width", "ff"),
    ("up", "kernel"): ("width", "ff"),
    ("down", "kernel"): ("ff", "width"),
    ("inputs", "kernel"): ("width", None),  # of a gated attention unit, which is whole
}


def specs_of(tree: Any, mesh: Any) -> Any:
    """A PartitionSpec for each leaf of parameters or of a whole state.

    tree: of arrays or their shapes; stacked layers have one more axis in front.
    """

    def one(path, leaf) -> PartitionSpec:
        names = _MATRICES.get(names_of(path)[-2:])
        if names is None:
            return PartitionSpec()
        names = (None,) * (leaf.ndim - len(names)) + names
        return fitting(mesh, leaf.shape, names)

    return jax.tree_util.tree_map_with_path(one, tree)


def shardings_of(tree: Any, mesh: Mesh) -> Any:
    """The same as a NamedSharding for each leaf."""
    specs = specs_of(tree, mesh)
    return jax.tree.map(lambda one: NamedSharding(mesh, one), specs)


def constrain_tree(tree: Any) -> Any:
    """The tree, laid out by the rules where a mesh is set; inside jit."""
    mesh = current_mesh()
    if mesh is None:
        return tree
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, specs_of(tree, mesh))


def created(make: Callable[..., Any], mesh: Mesh, *arguments: Any) -> Any:
    """`make(*arguments)`, every device computing and holding its own part alone."""
    shapes = jax.eval_shape(make, *arguments)
    return jax.jit(make, out_shardings=shardings_of(shapes, mesh))(*arguments)


def placed(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every process has whole, each device taking its own part."""

    def one(leaf, sharding):
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(one, tree, shardings_of(tree, mesh))


def own_rows(mesh: Mesh, batch_size: int) -> list[int]:
    """Rows of a global batch that devices of this process hold, in order.

    Where the other axes reach over several processes, these hold the same rows.
    """
    sharding = NamedSharding(mesh, spec("batch"))
    held = sharding.addressable_devices_indices_map((batch_size,)).values()
    return sorted({row for (part,) in held for row in range(*part.indices(batch_size))})


def global_batch(
    rows: dict[str, np.ndarray], mesh: Mesh, batch_size: int
) -> dict[str, jax.Array]:
    """Arrays over all processes from each one's `own_rows`: [B, T], or [B, 1]."""

    def one(x: np.ndarray) -> jax.Array:
        tokens = "tokens" if x.shape[1] > 1 else None
        return jax.make_array_from_process_local_data(
            NamedSharding(mesh, spec("batch", tokens)), x, (batch_size, *x.shape[1:])
        )

    return {name: one(x) for name, x in rows.items()}
