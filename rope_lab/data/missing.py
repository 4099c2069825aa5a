"""What is asked for rightly, and is not here."""


class MissingData(ValueError):
    """Data that nothing is wrong with but that it is not here; says how to get it."""
