"""Compare `gatewright train` with other methods on public data: classes of recordings, forecasts.

    pip install 'gatewright[public,peers]'
    python benchmarks/public.py                    # all data, into benchmarks/results/
    python benchmarks/public.py --seeds 5

Nothing is downloaded or copied into this repository: the data are inside the packages. The two
parts run alone too, on some of the data: `public_classification.py` and `public_forecasts.py`.
"""

from __future__ import annotations

import argparse

import public_classification
import public_forecasts


def main() -> None:
    """Run both parts with their default settings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method (3)")
    seeds = ["--seeds", str(parser.parse_args().seeds)]
    public_classification.main(seeds)
    public_forecasts.main(seeds)


if __name__ == "__main__":
    main()
