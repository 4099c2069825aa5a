"""Keeps what Orbax leaves behind after a failed read from being reported at length.

It reads arrays side by side. When one fails the others go on, fail at a later time of
their own, and Python reports each, with pages of text, as an exception that nobody can
catch. Their cause has been raised by then.
"""

import sys

_MARK = "drops_abandoned_reads"


def silence_abandoned_reads() -> None:
    """From now on drops these reports, and hands every other one on as before."""
    report = sys.unraisablehook
    if getattr(report, _MARK, False):
        return

    def filtered(unraisable: "sys.UnraisableHookArgs") -> None:
        if not _is_abandoned_read(unraisable):
            report(unraisable)

    setattr(filtered, _MARK, True)
    sys.unraisablehook = filtered


def _is_abandoned_read(unraisable: "sys.UnraisableHookArgs") -> bool:
    if str(unraisable.exc_value) == "Event loop is closed":
        return True
    code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
    return code is not None and "orbax" in code.co_filename
