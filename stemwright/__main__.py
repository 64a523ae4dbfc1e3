"""``python -m stemwright``: the command line."""

from stemwright.datagen.cli.app import main

if __name__ == "__main__":
    main()
