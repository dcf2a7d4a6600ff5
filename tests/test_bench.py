"""The benchmark's tools: peers compute the same, pairs are timed fairly, results are stored."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.backends.weights import collect
from gatewright.bench import building, growing, memory, stream, worker
from gatewright.bench.cases import QUICK, make_case, state_list
from gatewright.bench.contender import ours, verify
from gatewright.bench.jax_peer import in_jax
from gatewright.bench.layers import bench_layers
from gatewright.bench.machine import in_process
from gatewright.bench.peers import PEERS, RECURRENT, absent
from gatewright.bench.results import Results, parse_sizes, store
from gatewright.bench.run import bench
from gatewright.bench.timing import FEWEST, in_turns, mean_ratio, ratio
from gatewright.bench.torch_loop import TorchLoop
from gatewright.exports.onnx import layer_model, why_no_node
from gatewright.exports.source import write_loop
from odd_cells import CELLS, make, random_states, run, sequences
from test_cli import gatewright
from tolerances import close

SIZE = (3, 6, 4, 5)


def case_of(name: str, *, training: bool):
    torch.manual_seed(0)
    # The reference needs no time to build kernels, and does not depend on them.
    return make_case(name, gw.CELLS[name](), SIZE, training=training, backend="reference")


# The written loop.
LSTM_BY_HAND = """\
def before(w, x):
    from_x = linear(x, w[0], w[1])
    return (from_x,), ()
def step(w, fixed, h, c, from_x):
    from_h = linear(h, w[2])
    g_sum, i_sum, f_sum, o_sum = split(from_x + from_h, (5, 5, 5, 5))
    g = tanh(g_sum)
    i = sigmoid(i_sum)
    f = sigmoid(f_sum)
    o = sigmoid(o_sum)
    learn = i * g
    forget = f * c
    c2 = learn + forget
    v = tanh(c2)
    h2 = o * v
    return h2, (h2, c2)
"""


def test_an_lstm_is_written_as_one_writes_it_by_hand():
    source = write_loop(gw.CELLS["lstm"]().graph, {"input": 3, "hidden": 5})
    assert source.text == LSTM_BY_HAND
    assert source.weights[2] == tuple(f"{gate}.h.weight" for gate in "gifo")


def test_a_gru_reads_its_memory_once():
    source = write_loop(gw.CELLS["gru"]().graph, {"input": 3, "hidden": 5})
    assert source.text.count("linear(h,") == 1
    # r and z have their bias at the event; n has one here too.
    assert (5, 5, "n.h.bias") in source.weights


@pytest.mark.parametrize("careful", [True, False], ids=["careful", "plain"])
@pytest.mark.parametrize("name", CELLS)
def test_every_cells_loop_computes_what_the_layer_does(name: str, careful: bool):
    layer = make(name, backend="reference")
    inputs = sequences(layer, 5, 2)
    for x in inputs.values():
        x.requires_grad_()
    states = random_states(layer, 2)
    expected, expected_last = run(layer, inputs, states)
    weights = collect(layer.graph, layer.pairs(0, False))
    loop = TorchLoop(write_loop(layer.graph, layer.sizes(0), careful=careful), weights)
    output, last = loop(list(inputs.values()), [state[0] for state in state_list(states)])
    close(output, expected)
    for state, expected_state in zip(last, state_list(expected_last), strict=True):
        close(state, expected_state[0])
    upstream = torch.randn_like(output)
    gradients, expected_gradients = (
        torch.autograd.grad(value, list(inputs.values()), upstream, allow_unused=True)
        for value in (output, expected)
    )
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (expected_gradient is None)
        if gradient is not None:
            close(gradient, expected_gradient)


# The peers.
def installed(name: str) -> None:
    if absent(PEERS[name]):
        pytest.skip(f"{name} is not installed")


PAIRS = [
    *((peer, "lstm") for peer in ("torch", "loop", "plain", "onnxruntime", "jax", "retyped")),
    *((peer, "gru") for peer in ("torch", "onnxruntime")),
    *((peer, "elman_rnn") for peer in ("torch", "onnxruntime")),
    *((peer, "peephole_lstm") for peer in ("loop", "onnxruntime")),
    *(("torchrecurrent", name) for name in RECURRENT),
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_a_peer_computes_the_same_or_is_refused(peer, name, training):
    installed(peer)
    case = case_of(name, training=training)
    if PEERS[peer].why_not(case):
        assert training and peer == "onnxruntime"
        return
    layer, contender = ours(case), PEERS[peer].make(case)
    verify(case, layer, contender, peer)
    assert set(contender.values()) == set(layer.values())
    with torch.no_grad():
        next(case.layer.parameters())[0] += 0.05
    with pytest.raises(gw.BackendError, match=f"{peer} computes something else than {name}"):
        verify(case, layer, contender, peer)


@pytest.mark.parametrize("name", ["heads", "timed"])
def test_odd_cells_run_in_jax(name: str):
    installed("jax")
    cell, _, hidden = CELLS[name]
    case = make_case("odd", cell, (2, 4, 3, hidden), training=True, backend="reference")
    verify(case, ours(case), in_jax(case), "jax")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("lstm", gw.CELLS["lstm"]()),
        ("gru", gw.CELLS["gru"]()),
        ("before", gw.CELLS["gru"](reset="before")),
        ("elman_rnn", gw.CELLS["elman_rnn"]()),
        ("peephole_lstm", gw.CELLS["peephole_lstm"]()),
    ],
)
def test_the_onnx_model_is_the_cell(name: str, cell: gw.Cell):
    from onnx.checker import check_model
    from onnx.reference import ReferenceEvaluator

    case = make_case(name, cell, SIZE, training=False, backend="reference")
    model = layer_model(case.layer)
    check_model(model, full_check=True)
    states = {f"{key}_in": x for key, x in case.states.items()}
    feeds = {key: x.numpy() for key, x in {**case.inputs, **states}.items()}
    output, *_ = ReferenceEvaluator(model).run(None, feeds)
    expected = ours(case).values()["output"]
    assert np.abs(output - expected).max() < 1e-5


def test_a_cell_without_a_node_in_onnx_has_a_reason():
    for cell in (gw.CELLS["lesson_lstm"](), gw.CELLS["lstm"](projection=2)):
        assert "no node of these equations" in (why_no_node(gw.Recurrent(cell, 3, 4).graph) or "")
    for cell in (gw.CELLS["peephole_lstm"](), gw.CELLS["peephole_lstm"](gates=("f",))):
        assert why_no_node(gw.Recurrent(cell, 3, 4).graph) is None


@pytest.mark.parametrize("name", ["jax", "onnxruntime", "torchrecurrent"])
def test_an_absent_peer_is_reported_and_the_rest_is_measured(name: str, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    reason = absent(PEERS[name])
    assert reason is not None and name in reason and "gatewright[bench]" in reason
    lines: list[dict] = []
    monkeypatch.setattr(worker, "answer", lambda **line: lines.append(line))
    ceiling = worker.Roof(1, 1e9, [(1, 1e9)], [(1, 1e9)])
    missing = {name: reason, "loop": None}
    worker.measure(case_of("lstm", training=False), 1, missing, 0.0, ceiling)
    assert lines[0]["left_out"]["reason"] == reason
    assert lines[1]["row"]["peer"] == "loop" and len(lines[1]["row"]["seconds"]) == FEWEST


def test_a_pair_that_computes_something_else_is_not_timed(monkeypatch):
    lines: list[dict] = []
    monkeypatch.setattr(worker, "answer", lambda **line: lines.append(line))
    monkeypatch.setattr(worker, "in_turns", lambda *_: pytest.fail("it was timed"))
    case = case_of("lstm", training=False)
    case = replace(case, weights={**case.weights, "f.x.bias": torch.ones(5)})
    ceiling = worker.Roof(1, 1e9, [(1, 1e9)], [(1, 1e9)])
    worker.measure(case, 1, {"loop": None}, 0.0, ceiling)
    assert [list(line) for line in lines] == [["wrong"]]
    assert "output is" in lines[0]["wrong"]["reason"]


# Timing.
def test_pairs_are_taken_in_turns():
    calls: list[str] = []
    pairs = in_turns(lambda: calls.append("ours"), lambda: calls.append("peer"), 0.0)
    # Short runs are run twice, and the second one is timed.
    assert calls == ["ours", "ours", "peer", "peer"] * FEWEST
    assert len(pairs) == FEWEST and all(seconds > 0 for pair in pairs for seconds in pair)


def test_the_ratio_is_the_median_of_the_pairs():
    pairs = [(1.0, 2.0), (2.0, 6.0), (1.0, 100.0), (4.0, 4.0), (1.0, 3.0)]
    estimate = ratio(pairs)
    assert estimate.value == pytest.approx(3.0)
    assert 0.99 < estimate.low < 3.0 < estimate.high < 100.1


def test_the_interval_narrows_with_more_pairs_and_holds_the_truth():
    draw = np.random.default_rng(3)
    pairs = [(1.0, float(peer)) for peer in 1.5 * np.exp(0.1 * draw.standard_normal(400))]
    few, many = ratio(pairs[:10]), ratio(pairs)
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert many.low < 1.5 < many.high


def test_the_mean_is_geometric():
    mean = mean_ratio([[(1.0, 2.0)] * 5, [(1.0, 8.0)] * 5])
    assert mean.value == pytest.approx(4.0) and mean.low == pytest.approx(mean.high)


# The command and its stored results.
@pytest.mark.slow(instead="test_an_absent_peer_is_reported_and_the_rest_is_measured")
def test_the_command_measures_prints_and_stores(tmp_path):
    options = "--cells lstm --sizes 1x2x3x4 --threads 1 --seconds 0 --peers torch,plain --json"
    done = gatewright("bench", *options.split(), "--out", tmp_path)  # which starts a process
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text()) == results
    assert results["format"] == 2 and results["wrong"] == []
    assert {"cpu", "cores", "load", "system", "python", "versions", "date"} == set(
        results["machine"]
    )
    assert results["machine"]["versions"]["torch"] == torch.__version__
    assert [row["peer"] for row in results["rows"]] == ["torch", "plain"] * 2
    for row in results["rows"]:
        assert row["size"] == [1, 2, 3, 4] and row["threads"] == 1
        assert len(row["seconds"]) == FEWEST and row["least"] > 0
    runs = [row["run"] for row in results["rows"]]
    assert runs == ["training"] * 2 + ["inference"] * 2
    # One product of the event and one of the memory, by four gates: forwards, and three times.
    products = 2 * 2 * 4 * 4 * (3 + 4)
    assert results["rows"][-1]["operations"] == products + 2 * 4 * (4 + 13)
    assert len(results["means"]) == 4 and all(row["points"] == 1 for row in results["means"])
    assert results["roofs"][0]["operations"] > 1e8


def test_no_file_is_overwritten(tmp_path, monkeypatch):
    store({"a": 1}, tmp_path, "layers")
    (path,) = tmp_path.iterdir()
    monkeypatch.setattr("gatewright.bench.results.datetime", Frozen(path.stem[-15:]))
    with pytest.raises(gw.ArgumentError, match="cannot write"):
        store({"a": 2}, tmp_path, "layers")
    assert json.loads(path.read_text()) == {"a": 1}


class Frozen:
    """A clock that does not move."""

    def __init__(self, text: str) -> None:
        self.text = text

    def now(self) -> Frozen:
        return self

    def __format__(self, _: str) -> str:
        return self.text


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        ("speed", {}, "--what speed; give one of layers, build, memory, curves, stream"),
        ("layer", {}, "--what layer; did you mean layers? give one of"),
        ("layers", {"cells": "lstm,nope"}, "there is no cell 'nope'; the cells are"),
        ("layers", {"cells": " "}, "no cell was given; the cells are elman_rnn"),
        (
            "layers",
            {"peers": "torhc"},
            "there is no peer 'torhc'; did you mean torch? the peers are torch",
        ),
        ("layers", {"sizes": "32x100"}, "'32x100' is not a size; give batch, time"),
        ("layers", {"sizes": "0x1x1x1"}, "'0x1x1x1' is not a size"),
        ("layers", {"threads": "1,two"}, "--threads 1,two; give whole numbers"),
        ("layers", {"backend": "cuda"}, "backend='cuda' is not known"),
        ("build", {"peers": "torch"}, "--peers is for --what layers, not build"),
        ("memory", {"cells": "peephole_lstm"}, "the cells are lstm, gru, elman_rnn"),
        ("stream", {"cells": "lstn"}, "there is no cell 'lstn'; did you mean lstm? the cells are"),
    ],
)
def test_unknown_names_are_refused(what, options, words):
    with pytest.raises(gw.ArgumentError) as caught:
        bench(what, progress=False, **options)
    assert words in str(caught.value)


def test_sizes_are_read():
    assert parse_sizes("32x100x64x65, 1x2x3x4") == [(32, 100, 64, 65), (1, 2, 3, 4)]


def test_a_process_that_dies_says_why():
    with pytest.raises(gw.BackendError, match=r"(?s)ended with 1: .*No module named"):
        list(in_process("gatewright.bench.nothing", {"threads": 1}))


def test_the_tables_name_every_pair():
    from rich.console import Console

    about = {"cell": "gru", "size": [1, 2, 3, 4], "threads": 2, "run": "training"}
    pairs = [(0.001, 0.002)] * 5
    results = Results({})
    results.add("row", {**about, "peer": "torch", "seconds": pairs, "least": 0.0005})
    results.add("left_out", {**about, "peer": "jax", "reason": "jax is not installed"})
    results.add("wrong", {**about, "peer": "loop", "reason": "loop computes something else"})
    printed = StringIO()
    Console(width=150, file=printed).print(results.to_rich())
    text = printed.getvalue()
    assert "2.00 (2.00 to 2.00)" in text and "50 %" in text
    assert "not against jax: gru: jax is not installed" in text
    assert "WRONG, not timed: loop computes something else" in text


# Growth, memory, building.
def test_an_exponent_is_a_slope():
    assert growing.exponent([(1, 5.0), (10, 500.0), (100, 50_000.0)]) == pytest.approx(2.0)


@pytest.mark.parametrize(("power", "verdict"), [(1.0, "as it should be"), (1.5, "MORE THAN")])
def test_growth_is_judged_by_the_larger_half(power: float, verdict: str, monkeypatch):
    def lines(module, task):
        for name, sweep in growing.SWEEPS.items():
            for value in sweep.values:
                for kind in ("training", "inference"):
                    # The fixed cost of a call hides the power where the values are small.
                    seconds = (value / sweep.values[-1]) ** power + 1e-9 * (value < 20)
                    yield {"with": name, "value": value, "run": kind, "seconds": seconds}

    monkeypatch.setattr(growing, "in_process", lines)
    curves = growing.bench_growing()
    assert len(curves.rows) == 2 * sum(len(sweep.values) for sweep in growing.SWEEPS.values())
    [note] = [n for n in curves.notes if n.startswith("T, training")]
    assert f"exponent {power:.2f}" in note and verdict in note
    assert curves.page.count("<svg") == len(growing.SWEEPS) and verdict in curves.page


@pytest.mark.parametrize("gates", [1, 3])
def test_the_gated_cell_has_as_many_gates(gates: int):
    weights = growing.Gated(gates=gates).graph.weights
    assert len([w for w in weights.values() if w.role == "weight"]) == 2 * gates


def is_of_saved_values(peak: int) -> bool:
    """Tell if a peak is that of an LSTM's step at (32, 100, 64, 64).

    The four factors, tanh(c), h and c in float32, at least; not ten times that.
    """
    saved = 4 * 7 * 32 * 100 * 64
    return saved < peak < 10 * saved


reports_peak = pytest.mark.skipif(not memory.RESET.exists(), reason="only Linux reports the peak")


@pytest.mark.slow(instead="test_the_peak_of_our_step_is_the_saved_values_and_little_more")
@reports_peak
def test_the_peak_of_a_step_is_the_saved_values_and_little_more():
    (row,) = memory.bench_memory(["lstm"], [(32, 100, 64, 64)]).rows
    assert is_of_saved_values(row["ours"])
    assert row["share"] == row["ours"] / row["torch"]


@pytest.mark.quick
@reports_peak
def test_the_peak_of_our_step_is_the_saved_values_and_little_more():
    """Without the process that measures torch."""
    task = {"cell": "lstm", "size": (32, 100, 64, 64), "layer": "ours", "threads": 1}
    (line,) = memory.in_process("gatewright.bench.memory", task)
    assert is_of_saved_values(line["bytes"])


def test_building_is_the_time_of_the_first_call_beyond_later_ones(monkeypatch):
    clock = iter([0.0, 5.0, 5.0, 6.0, 6.0, 7.0, 7.0, 8.0, 8.0, 9.0, 9.0, 10.0])
    monkeypatch.setattr(building.time, "perf_counter", lambda: next(clock))
    assert building.beyond(lambda: None) == 4.0


def test_building_reads_the_second_time_from_the_cache(monkeypatch):
    caches: list[str] = []

    def lines(module, task, environment):
        caches.append(environment["GATEWRIGHT_CACHE"])
        warm = caches.count(environment["GATEWRIGHT_CACHE"]) > 1
        yield {"cell": "gru", "inference": 0.01 if warm else 0.3, "training": 0.02}

    monkeypatch.setattr(building, "in_process", lines)
    monkeypatch.setattr(building, "_imports", lambda: [1.0, 0.1, 0.05])
    rows = building.bench_building(["gru"]).rows
    kinds = {row["from"]: row["inference"] for row in rows if row["cell"] == "gru"}
    assert kinds == {"scratch": 0.3, "cache": 0.01}
    assert rows[-2] == {"cell": "import of gatewright", "from": "", "seconds": 0.1}


def test_a_users_own_cell_is_measured_by_its_equations(monkeypatch, tmp_path):
    tasks: list[dict] = []

    def lines(module, task, environment):
        tasks.append(task)
        return iter(())

    monkeypatch.setattr("gatewright.bench.layers.in_process", lines)
    cell = CELLS["readout"][0]
    bench_layers({"mine": cell}, threads=[1], peers=["loop"])
    assert tasks[0]["cells"] == {"mine": cell.equations.to_json()}
    path = tmp_path / "my.py"
    path.write_text(
        "import gatewright as gw\n\nclass Mine(gw.Cell):\n"
        "    def step(self, x, h):\n        return gw.state(h=gw.tanh(gw.linear(x, h, name='h')))\n"
    )
    bench_layers([f"{path}:Mine", "gru"], threads=[1], peers=["loop"])
    assert list(tasks[1]["cells"]) == [f"{path}:Mine", "gru"]
    assert tasks[1]["cells"]["gru"] is None
    assert tasks[1]["cells"][f"{path}:Mine"]["name"] == "Mine"


@pytest.mark.parametrize("kind", ["onnx_step", "bound_onnx_step", "torch_step"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_streams_carry_their_states_as_ours_does(name: str, kind: str):
    layer = make_case(name, gw.CELLS[name](), (1, 2, 5, 5), training=False).layer
    if kind == "torch_step":
        peer = stream.torch_step(layer, name)
    else:
        installed("onnxruntime")
        peer = getattr(stream, kind)(stream.onnx_session(layer_model(layer)), layer)
    assert stream.apart(layer.stepper().step, peer, 5) < 1e-5
    # One of them is a step ahead now, so they are no longer the same.
    step = layer.stepper().step
    step(np.ones(5, np.float32))
    assert stream.apart(step, peer, 5, steps=1) > 1e-3


def test_quick_gives_way_to_explicit_options(monkeypatch):
    calls: list[dict] = []
    monkeypatch.setattr(
        "gatewright.bench.run.bench_layers", lambda **options: calls.append(options)
    )
    bench("layers", progress=False, quick=True)
    bench("layers", progress=False, quick=True, sizes="1x2x3x4", seconds=0.0)
    assert (calls[0]["sizes"], calls[0]["seconds"]) == (QUICK, 0.5)
    assert (calls[1]["sizes"], calls[1]["seconds"]) == ([(1, 2, 3, 4)], 0.0)
