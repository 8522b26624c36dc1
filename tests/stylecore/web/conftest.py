import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the page needs Starlette and uvicorn")

# pytest's importlib mode does not look for modules beside the tests.
sys.path.insert(0, str(Path(__file__).parent))

from pages import client_of, opened


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with client_of(tmp_path_factory.mktemp("page")) as client:
        yield client


@pytest.fixture
def page(server):
    """A page with a new session."""
    server.cookies.clear()
    return opened(server)
