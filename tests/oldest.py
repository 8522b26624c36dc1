"""Print the lowest versions that setup.cfg allows, as constraints for pip: ``name==version``, one a line."""

import configparser
import re
from pathlib import Path

from packaging.requirements import Requirement

SETUP = Path(__file__).parent.parent / "setup.cfg"


def requirements():
    """All requirements in setup.cfg, those of the extras included.

    Returns
    -------
    list of Requirement
        Without the package itself, whose extra [test] refers to other extras.
    """
    config = configparser.RawConfigParser()
    config.read(SETUP, encoding="utf-8")
    lists = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    found = [Requirement(line) for lines in lists for line in lines.strip().splitlines()]
    return [requirement for requirement in found if requirement.name != config["metadata"]["name"]]


def constraint(requirement):
    """Pin a requirement to its lowest version.

    Parameters
    ----------
    requirement : Requirement
        Such as ``numpy >= 1.24``.

    Returns
    -------
    str
        Such as ``numpy==1.24``.
    """
    lowest = re.fullmatch(r">=([\w.]+)", str(requirement.specifier))
    if lowest is None:
        raise ValueError(f"setup.cfg gives no lowest version of {requirement.name}.")
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={lowest[1]}{marker}"


if __name__ == "__main__":
    # Extras may have a requirement in common.
    print(*dict.fromkeys(map(constraint, requirements())), sep="\n")
