"""python -m convnet."""

import sys

from convnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
