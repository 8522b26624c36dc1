import math

import pytest

from stylecore.errors import ParameterError
from stylecore.extras import optional


def test_a_module_is_imported():
    assert optional("math", "python", "sums") is math


def test_a_missing_package_is_named():
    with pytest.raises(
        ParameterError, match=r"films need no-such-package; install it with: pip install no-such-package\."
    ):
        optional("no_such_module", "no-such-package", "films")
