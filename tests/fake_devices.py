"""Several devices on one CPU, for processes that tests start."""

import os


def xla_flags(devices: int) -> str:
    """XLA_FLAGS of a process with so many devices, behind those set for the tests."""
    count = f"--xla_force_host_platform_device_count={devices}"
    return f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
