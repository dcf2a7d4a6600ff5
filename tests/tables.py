"""Small files of each task, with something to learn in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_tables(folder: Path) -> None:
    """Write hours.csv (forecast), classes.csv, tags.csv and fox.txt (next symbol)."""
    generator = np.random.default_rng(1)
    hours = np.arange("2024-01-01", "2024-01-09", dtype="datetime64[h]")
    wave = np.sin(np.arange(len(hours)) * 2 * np.pi / 24)
    lines = ["when,load,price"]
    lines += [
        f"{str(hour).replace('T', ' ')}:00,{10 + 3 * y + generator.normal(0, 0.3):.3f},{y:.3f}"
        for hour, y in zip(hours, wave, strict=True)
    ]
    (folder / "hours.csv").write_text("\n".join(lines) + "\n")
    for name, label in (
        ("classes", lambda s, t: "abc"[s % 3]),
        ("tags", lambda s, t: "abc"[t % 3]),
    ):
        rows = ["id,a,b,label"]
        for s in range(30):
            rows += [
                f"s{s},{np.sin((t + 1) * (s % 3 + 1)):.3f},{generator.normal():.3f},{label(s, t)}"
                for t in range(9)
            ]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (folder / "fox.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
