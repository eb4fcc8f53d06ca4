"""`python -m movinet` is the `movinet` command; torchrun starts it so."""

from movinet.cli import main

main()
