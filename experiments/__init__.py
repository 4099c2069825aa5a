"""Mains of a few lines over rope_lab.cli; the same as `rope-lab NAME`."""
