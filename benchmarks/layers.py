"""How fast the layers are beside `torch.nn` and beside a Python loop over the time steps.

    ./dev bench [--quick] [--threads 1 2] [--cells lstm gru] [--backend reference]

Correctness is verified before anything is timed. Each pair is measured in turns in one run,
and the figure is the median of the ratios of neighbouring measurements, with the quartiles:
above 1, Gatewright is faster. Raw times go to `benchmarks/results/`, with machine and versions.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import gatewright as gw

#: (batch, time, input, hidden)
GRID = (
    (1, 100, 64, 64),
    (32, 100, 64, 64),
    (32, 128, 128, 128),
    (64, 128, 256, 256),
    (64, 64, 512, 512),
    (8, 512, 32, 64),
    (1, 256, 512, 512),
)
QUICK = GRID[:2]
RESULTS = Path(__file__).parent / "results"


class PeepholeLoop(nn.Module):
    """The peephole LSTM as everybody writes it: one Python loop, one matrix for all gates."""

    def __init__(self, layer: gw.PeepholeLSTM) -> None:
        super().__init__()
        gates = [layer.weights(name) for name in "ifgo"]
        self.w = nn.Parameter(torch.cat([gate["x"][0] for gate in gates]))
        self.u = nn.Parameter(torch.cat([gate["h"][0] for gate in gates]))
        self.b = nn.Parameter(torch.cat([gate["x"][1] for gate in gates]))
        self.p = nn.Parameter(torch.stack([layer.weights(name)["c*"][0] for name in "ifo"]))

    def forward(self, x: Tensor, hx: Any) -> tuple[Tensor, Any]:
        h, c = hx[0][0], hx[1][0]
        outputs = []
        for event in nn.functional.linear(x, self.w, self.b):
            i, f, g, o = (event + nn.functional.linear(h, self.u)).chunk(4, 1)
            i, f = torch.sigmoid(i + self.p[0] * c), torch.sigmoid(f + self.p[1] * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + self.p[2] * c) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h, c)


def pair(cell: str, i: int, h: int, backend: str) -> tuple[nn.Module, nn.Module, str]:
    """Ours, the peer with the same weights, and the peer's name."""
    if cell == "peephole_lstm":
        ours = gw.PeepholeLSTM(i, h, backend=backend)
        return ours, PeepholeLoop(ours), "Python loop"
    ours, peer = {
        "lstm": (gw.LSTM, nn.LSTM),
        "gru": (gw.GRU, nn.GRU),
        "rnn": (gw.RNN, nn.RNN),
    }[cell]
    mine, other = ours(i, h, backend=backend), peer(i, h)
    other.load_state_dict(mine.state_dict())
    return mine, other, f"torch.nn.{peer.__name__}"


def verify(ours: nn.Module, peer: nn.Module, x: Tensor, hx: Any) -> None:
    """Stop where the two do not compute the same, or not the same gradient of the input."""
    found = []
    for model in (ours, peer):
        output = model(x, hx)[0]
        found.append((output, torch.autograd.grad(output.square().sum(), x)[0]))
    for one, other in zip(*found, strict=True):
        error = ((one - other).norm() / other.norm()).item()
        if not error < 1e-4:
            raise SystemExit(f"{ours} and {peer} differ by {error}; nothing is timed")


def training(model: nn.Module, x: Tensor, hx: Any) -> Callable[[], None]:
    """One training step, the gradients of the input and of the initial states included."""
    states = hx if isinstance(hx, tuple) else (hx,)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        for one in (x, *states):
            one.grad = None
        model(x, hx)[0].sum().backward()

    return step


def inference(model: nn.Module, x: Tensor, hx: Any) -> Callable[[], None]:
    """One run without gradients."""

    def step() -> None:
        with torch.no_grad():
            model(x, hx)

    return step


def in_turns(ours: Callable[[], None], peer: Callable[[], None], budget: float) -> list[Any]:
    """Pairs of seconds (ours, peer), the two run one after the other."""
    ours(), peer()
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + budget
    while len(pairs) < 5 or (time.perf_counter() < end and len(pairs) < 100):
        times = []
        for run in (ours, peer):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        pairs.append((times[0], times[1]))
    return pairs


def main() -> None:
    """Verify, measure, print the table, keep the raw times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="the two smallest sizes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn", "peephole_lstm"])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each pair")
    given = parser.parse_args()
    rows = []
    work = [
        (cell, size, threads, kind)
        for cell in given.cells
        for size in (QUICK if given.quick else GRID)
        for threads in given.threads
        for kind in (training, inference)
    ]
    for cell, (b, t, i, h), threads, kind in track(work, "measuring"):
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        ours, peer, name = pair(cell, i, h, given.backend)
        x = torch.randn(t, b, i, requires_grad=True)
        states = tuple(torch.randn(1, b, h, requires_grad=True) for _ in ours.graph.states)
        hx = states if len(states) > 1 else states[0]
        verify(ours, peer, x, hx)
        pairs = in_turns(kind(ours, x, hx), kind(peer, x, hx), given.seconds)
        row = {"cell": cell, "peer": name, "size": [b, t, i, h], "threads": threads}
        rows.append({**row, "kind": kind.__name__, "seconds": pairs})
    show(rows, given.backend)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"layers-{date.today()}.json"
    kept = {"machine": machine(), "backend": given.backend, "rows": rows}
    path.write_text(json.dumps(kept) + "\n")
    print(f"raw times: {path}")


def show(rows: list[dict[str, Any]], backend: str) -> None:
    """One table for people, and the geometric mean of each group of rows."""
    table = Table(title=f'Gatewright (backend "{backend}"): the peer\'s time divided by ours')
    for title in ("cell", "peer", "(B, T, I, H)", "threads", "run", "ours, ms", "peer, ms"):
        table.add_column(title)
    table.add_column("ratio (quartiles)")
    for row in rows:
        ratios = [peer / ours for ours, peer in row["seconds"]]
        low, middle, high = statistics.quantiles(ratios, n=4)
        ours, peer = (1e3 * statistics.median(one) for one in zip(*row["seconds"], strict=True))
        size = str(tuple(row["size"]))
        table.add_row(
            *(row["cell"], row["peer"], size, str(row["threads"]), row["kind"]),
            *(f"{ours:.2f}", f"{peer:.2f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"),
        )
    groups: dict[str, list[float]] = {}
    for row in rows:
        middle = statistics.median(peer / ours for ours, peer in row["seconds"])
        key = f"{row['cell']} against {row['peer']}, {row['kind']}, {row['threads']} thread(s)"
        groups.setdefault(key, []).append(middle)
    Console(width=130).print(table)
    for key, ratios in groups.items():
        print(f"{key}: geometric mean {statistics.geometric_mean(ratios):.2f}")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((one.split(":")[1].strip() for one in lines if "model name" in one), model)
    return {
        "cpu": model,
        "cores": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gatewright": gw.__version__,
        "date": str(date.today()),
    }


if __name__ == "__main__":
    main()
