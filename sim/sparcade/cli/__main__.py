"""`python -m sparcade.cli`."""

import sys

from sparcade.cli import main

sys.exit(main())
