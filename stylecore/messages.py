"""Pieces of error messages that several modules share."""

from difflib import get_close_matches


def near_matches(word, known):
    """Continue a sentence about an unknown name: ``; near it are relu4_1, relu4_2`` or ``; there are ...``.

    Parameters
    ----------
    word : str
        What was asked for.
    known : sequence of str
        What there is.

    Returns
    -------
    str
        Without the full stop.
    """
    near = get_close_matches(str(word), known, n=3)
    if near:
        return "; near it are " + ", ".join(near)
    return "; there are " + ", ".join(known)
