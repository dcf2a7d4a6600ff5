"""`python -m gatewright` is the same as `gatewright`."""

from gatewright.cli import main

main()
