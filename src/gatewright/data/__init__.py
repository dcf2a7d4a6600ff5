"""Reading data sets, the bundled ones, and the types that all of them have. Needs no torch."""

from gatewright.data.catalogue import BUNDLED, load
from gatewright.data.containers.recordings import Recordings, Split
from gatewright.data.containers.series import Series
from gatewright.data.containers.splitting import stratified_split
from gatewright.data.containers.tagged import Tagged
from gatewright.data.containers.text import Text
from gatewright.data.reading import read
from gatewright.data.source.request import Reading
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
