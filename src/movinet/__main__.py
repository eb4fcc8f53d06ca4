"""`python -m movinet` is the `movinet` command; torchrun starts it so."""

from movinet.cli import main

if __name__ == "__main__":
    main()
