"""`python -m acetasks`: the command line, without the console script."""

from acetasks.cli import main

if __name__ == "__main__":
    main()
