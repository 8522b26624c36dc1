import sys
from pathlib import Path

# pytest's importlib mode does not look for modules beside the tests.
sys.path.insert(0, str(Path(__file__).parent))
