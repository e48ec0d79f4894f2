"""A notes application that finds related notes: simsearch inside a program, without a server.

    python examples/embedded_app/run.py [--out DIR] [--encoder NAME]

The notes go to DIR/notes, by default in a fresh temporary directory that is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from notebook import Notebook

import simsearch

NOTES = {
    "sourdough": "Feed the sourdough starter every morning with rye flour and lukewarm water.",
    "gutter": "Call somebody about the leaking gutter before the autumn rain.",
    "tomatoes": "The tomatoes on the balcony want water each evening and a stick to climb.",
    "dentist": "Dentist on Tuesday at nine, bring the insurance card.",
    "bike": "The bicycle chain jumps in third gear; buy a new cassette.",
    "lisbon": "Lisbon in May: night train to Madrid, then the bus; book a room in Alfama.",
    "roof": "Water drips through the attic roof when the wind comes from the west.",
}
