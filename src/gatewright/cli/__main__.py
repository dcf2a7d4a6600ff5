"""`python -m gatewright.cli` is `gatewright`."""

from gatewright.cli import main

main()
