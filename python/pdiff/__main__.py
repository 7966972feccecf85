"""`python -m pdiff`, the same as the command `pdiff`."""

from pdiff.cli import main

if __name__ == "__main__":
    main()
