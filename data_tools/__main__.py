import sys

from data_tools.cli import main

if __name__ == "__main__":  # not in the workers of a pack, which import this file again
    sys.exit(main())
