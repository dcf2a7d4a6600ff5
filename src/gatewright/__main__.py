"""`python -m gatewright` is `gatewright`."""

from gatewright.cli import main

main()
