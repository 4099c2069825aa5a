"""The platform that a program is for, which need not be that of this process."""

from __future__ import annotations

import jax


def target_platform() -> str:
    """The name of the platform of the mesh that is set, else of JAX's own devices.

    A mesh may be of devices that are not here: `rope-lab plan` compiles for those. JAX
    keys its caches by the mesh, so no program of one platform is taken for another.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform
