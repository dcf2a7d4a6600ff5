"""The documentation as a site: `./dev site` builds it from this repository, without a network.

pages      the sections, their pages, and the place of each file on the site
links      a page with its links led to places on the site
sources    pages that show the source files that are linked
notebooks  the lesson's pages, run, with their output
api        the reference of the Python package, from its docstrings
commands   the reference of the command line, from the program
measured   tables from the raw results in benchmarks/results
versions   the folders of the versions, and the switch between them
build      write all pages, and let Sphinx make the site of them
"""
