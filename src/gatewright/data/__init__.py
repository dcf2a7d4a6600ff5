"""Data sets: what is bundled, and the one shape that all of them take. Needs no torch."""

from gatewright.data.catalogue import BUNDLED, load
from gatewright.data.recordings import Recordings, Split
from gatewright.data.splitting import stratified_split
from gatewright.data.vowels import load_vowels

__all__ = ["BUNDLED", "Recordings", "Split", "load", "load_vowels", "stratified_split"]
