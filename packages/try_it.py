"""Try an installed Gatewright, as a user of one extra does: `python try_it.py NAME` in any folder.

NAME is `base` or an extra. `install.py` runs this file in the environment that it made; it imports
nothing of the repository. An exception, or a command that fails, is the failure of the trial.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import gatewright as gw

#: The script `gatewright` is only in the environment of `base`; the others have its packages.
PROGRAM = (sys.executable, "-m", "gatewright")


def command(*arguments: str) -> str:
    """Run the command of this environment; return what it printed."""
    command = [*PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"gatewright {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def write_series(path: Path) -> None:
    """Write 120 monthly values with a trend and a season."""
    rows = (
        f"{2010 + n // 12}-{n % 12 + 1:02d}-01,{100 + n + 20 * math.sin(n * math.pi / 6):.3f}"
        for n in range(120)
    )
    path.write_text("month,sold\n" + "\n".join(rows) + "\n", encoding="utf-8")


def base() -> None:
    """Examine the installation, train a layer, train a model of a file and predict with it."""
    script = Path(sys.executable).with_name("gatewright")
    assert subprocess.check_output([script, "--version"], text=True).startswith("gatewright ")
    report = json.loads(command("doctor", "--json"))
    assert report["healthy"] and "reason" not in report["kernels"], report
    layer = gw.GRU(3, 8)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    x = torch.randn(12, 4, 3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (layer(x)[0] - 0.5).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2, losses
    assert "llvm" in layer.explain(x)
    gw.check_cell(gw.CELLS["peephole_lstm"]())
    gw.save(layer, "layer")
    assert torch.equal(gw.load("layer")(x)[0], layer(x)[0])
    gw.export(layer, "layer.c")
    train_and_predict("series.csv")


def train_and_predict(name: str) -> None:
    """Train on the file of a series, and predict the months after it."""
    if name.endswith(".csv"):
        write_series(Path(name))
    command("train", name, "--out", "model", "--budget", "quick", "--epochs", "2", "--no-progress")
    command("predict", "model", name, "--out", "next.csv")
    assert len(Path("next.csv").read_text(encoding="utf-8").splitlines()) > 8


def parquet() -> None:
    """Train on a Parquet file."""
    import pyarrow.csv
    import pyarrow.parquet

    write_series(Path("series.csv"))
    pyarrow.parquet.write_table(pyarrow.csv.read_csv("series.csv"), "series.parquet")
    train_and_predict("series.parquet")


def sklearn() -> None:
    """Fit the estimator for sequences."""
    from gatewright.estimators import SequenceClassifier

    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    x = generator.normal(size=(40, 10, 1)) + 3 * labels[:, None, None]
    fitted = SequenceClassifier(epochs=5).fit(x, labels)
    assert fitted.score(x, labels) > 0.8


def peers() -> None:
    """Compare forecasts with those of the peers."""
    write_series(Path("series.csv"))
    command("compare", "series.csv", "--out", "compared", "--cells", "gru", "--seeds", "1",
            "--epochs", "2", "--no-progress")  # fmt: skip
    assert "AutoETS" in Path("compared/report.html").read_text(encoding="utf-8")


def onnx() -> None:
    """Export a layer, and convert its file back."""
    layer = gw.LSTM(3, 5).eval()
    gw.export(layer, "layer.onnx")
    (converted,) = gw.convert("layer.onnx").values()
    x = torch.randn(6, 2, 3)
    torch.testing.assert_close(converted(x)[0], layer(x)[0], rtol=1e-4, atol=1e-5)
    gw.export(torch.nn.Sequential(torch.nn.Linear(4, 3), gw.GRU(3, 5)), "module.onnx",
              example=torch.randn(6, 2, 4))  # fmt: skip


def keras() -> None:
    """Convert a Keras file, which is written by hand: the extra does not bring Keras."""
    import h5py

    layer = {
        "class_name": "SimpleRNN",
        "module": "keras.layers",
        "registered_name": None,
        "config": {
            "name": "rnn",
            "units": 2,
            "activation": "tanh",
            "use_bias": True,
            "return_sequences": True,
        },
    }
    start = {
        "class_name": "InputLayer",
        "module": "keras.layers",
        "registered_name": None,
        "config": {"name": "x", "batch_shape": [None, None, 3]},
    }
    config = {"class_name": "Sequential", "module": "keras", "registered_name": None,
              "config": {"name": "model", "layers": [start, layer]}}  # fmt: skip
    with h5py.File("weights.h5", "w") as file:
        values = file.create_group("layers/simple_rnn/cell/vars")
        for place, shape in enumerate([(3, 2), (2, 2), (2,)]):
            values[str(place)] = np.random.default_rng(place).normal(size=shape).astype("float32")
    with zipfile.ZipFile("model.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.write("weights.h5", "model.weights.h5")
    (converted,) = gw.convert("model.keras").values()
    assert converted(torch.randn(6, 2, 3))[0].shape == (6, 2, 2)


def serve() -> None:
    """Answer one request for a prediction."""
    write_series(Path("series.csv"))
    train_and_predict("series.csv")
    server = subprocess.Popen(
        [*PROGRAM, "serve", "model", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        url = json.loads(server.stdout.readline())["url"]
        request = urllib.request.Request(
            f"{url}/predict", Path("series.csv").read_bytes(), {"Content-Type": "text/csv"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            assert json.load(response)["columns"]
    finally:
        server.terminate()
        server.wait(timeout=30)


def tune() -> None:
    """Search for settings in two trials."""
    write_series(Path("series.csv"))
    command("tune", "series.csv", "--out", "study", "--trials", "2", "--epochs", "1")
    assert Path("study").is_dir()


def tensorboard() -> None:
    """Log a training for TensorBoard."""
    write_series(Path("series.csv"))
    command("train", "series.csv", "--out", "model", "--epochs", "2", "--log", "tensorboard")
    assert list(Path("model").rglob("events.out.tfevents*"))


def rl() -> None:
    """Train a recurrent policy for some steps."""
    import gymnasium
    from sb3_contrib import RecurrentPPO

    agent = RecurrentPPO(gw.rl.MlpPolicy, gymnasium.make("CartPole-v1"), n_steps=64, n_epochs=2)
    agent.learn(128)


#: The trials by extra.
TRIALS: dict[str, Callable[[], None]] = {
    "base": base,
    "parquet": parquet,
    "sklearn": sklearn,
    "onnx": onnx,
    "keras": keras,
    "serve": serve,
    "tune": tune,
    "rl": rl,
    "tensorboard": tensorboard,
    "peers": peers,
}


if __name__ == "__main__":
    TRIALS[sys.argv[1]]()
