"""`python -m jobhall.cli` is the `jobhall` command."""

import sys

from jobhall.cli import main

sys.exit(main())
