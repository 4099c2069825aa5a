"""Checkpoints of other programs, in and out."""

from rope_lab.interop.export import export_pretrained
from rope_lab.interop.pretrained import Pretrained, load_pretrained

__all__ = ["Pretrained", "export_pretrained", "load_pretrained"]
