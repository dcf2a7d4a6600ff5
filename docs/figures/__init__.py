"""The figures of the documentation, made from the raw results: none of them is typed.

blocks     the marks between which a page has a figure
raw        the raw results in benchmarks/results, and tables of them
speed      figures of docs/speed.md and of the README
results    figures of docs/results.md
int8       the tables of docs/int8.md
recompute  the tables of docs/recompute.md
rl         the tables of docs/reinforcement-learning.md
page       the tables of docs/serve.md and docs/look.md

A module has a table FIGURES, from the name of a figure to the function that makes it. For a new
figure, add it there, put its marks on a page, and run `python docs/make_figures.py`.
"""
