"""``python -m stylecore``."""

import sys

from stylecore.cli import main

sys.exit(main())
