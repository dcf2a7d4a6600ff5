"""Models out of Python, as programs and files for other runtimes; layers of other tools in."""
