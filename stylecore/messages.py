"""Parts of error messages that several modules share."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near_matches(word: object, known: Iterable[str]) -> str:
    """End of a sentence about an unknown name: `` (did you mean relu4_1 or relu4_2?)`` or ``; choose from a, b``.

    Parameters
    ----------
    word : str
        The unknown name.
    known : iterable of str
        The valid names.

    Returns
    -------
    str
        Without the full stop.
    """
    known = list(known)
    near = get_close_matches(str(word), known, n=3)
    if near:
        return f" (did you mean {' or '.join(filter(None, (', '.join(near[:-1]), near[-1])))}?)"
    return "; choose from " + ", ".join(known)
