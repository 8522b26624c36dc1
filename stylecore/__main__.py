"""``python -m stylecore``."""

import sys

from stylecore.cli.commands import main

sys.exit(main())
