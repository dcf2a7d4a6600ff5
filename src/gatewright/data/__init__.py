"""Data sets: what is bundled, and the few shapes that all of them take. Needs no torch."""

from gatewright.data.catalogue import BUNDLED, load
from gatewright.data.reading import read
from gatewright.data.recordings import Recordings, Split
from gatewright.data.request import Reading
from gatewright.data.series import Series
from gatewright.data.splitting import stratified_split
from gatewright.data.tagged import Tagged
from gatewright.data.text import Text
from gatewright.data.vowels import load_vowels

__all__ = [
    "BUNDLED",
    "Reading",
    "Recordings",
    "Series",
    "Split",
    "Tagged",
    "Text",
    "load",
    "load_vowels",
    "read",
    "stratified_split",
]
