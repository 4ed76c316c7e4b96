"""`python -m layersearch` is the `layersearch` command."""

import sys

from layersearch.cli import main

if __name__ == "__main__":
    sys.exit(main())
