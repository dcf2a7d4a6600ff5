"""The counted work of a run against numbers computed by hand, and the machine's roof."""

from __future__ import annotations

import pytest
import torch

import gatewright as gw
from gatewright.backends.llvm import build, roof
from gatewright.schedule.work import Phase, count
from odd_cells import CELLS

T, B, I, H, WIDTH = 7, 2, 3, 5, 4
N = T * B
SIZES = {"input": I, "hidden": H}


def phases(cell: gw.Cell, **options) -> dict[str, Phase]:
    counted = count(cell.graph, SIZES, steps=T, rows=N, width=WIDTH, **options)
    return {phase.name: phase for phase in counted}


def test_an_lstm_forwards():
    work = phases(gw.CELLS["lstm"]())
    assert work == {
        # Four gates: a matrix from the event, a bias. Reads x, the matrix and the bias.
        "inputs": Phase(
            "inputs", 2 * N * 4 * H * I, 4 * N * H, WIDTH * (N * I + N * 4 * H + 4 * H * (I + 1))
        ),
        # Four additions, four squashings, learn, forget, remember, tanh, use.
        "loop": Phase(
            "loop", 2 * N * 4 * H * H, 13 * N * H, WIDTH * N * (4 * H + H), WIDTH * 4 * H * H, T
        ),
    }


def test_an_lstm_and_its_gradients():
    work = phases(gw.CELLS["lstm"](), training=True)
    assert list(work) == ["inputs", "loop", "loop back", "inputs back", "weights"]
    # Saved: four factors, tanh(c), h, c.
    assert work["loop"].streamed == WIDTH * N * (4 * H + 7 * H)
    # Reads the factors, tanh(c), c before and the output's gradient; writes four gradients.
    back = work["loop back"]
    assert back.products == 2 * N * 4 * H * H
    assert back.streamed == WIDTH * N * (5 + 1 + 1 + 4) * H
    assert (back.walked, back.steps) == (WIDTH * 4 * H * H, T)
    early = work["inputs back"]
    assert early.products == 2 * N * 4 * H * I
    assert early.pointwise == 3 * N * I  # the four gates' shares are added up
    assert early.streamed == WIDTH * (N * (4 * H + I) + 4 * H * I)
    last = work["weights"]
    assert last.products == 2 * N * 4 * H * (I + H)
    assert last.pointwise == N * 4 * H  # the biases' gradients are sums over all rows
    assert last.streamed == WIDTH * (N * (4 * H + I + H) + 4 * H * (I + H + 1))


def test_a_gru_has_three_products_and_one_state():
    work = phases(gw.CELLS["gru"](), training=True)
    assert work["inputs"].products == 2 * N * 3 * H * I
    # r and z: an addition and a squashing. n: a bias, times r, plus the event's part, tanh.
    # The new h: 1 - z, times n, z times h, their sum.
    assert work["loop"].products == 2 * N * 3 * H * H
    assert work["loop"].pointwise == (2 + 2 + 4 + 4) * N * H
    # Reads three, and n's bias; saves r, z, n, h and the product that r multiplies.
    assert work["loop"].streamed == WIDTH * (N * (3 + 5) * H + H)
    # Writes four gradients: that of n's recurrent product is r times n's, so it is a value too.
    assert work["loop back"].streamed == WIDTH * N * (4 + 1 + 1 + 4) * H
    assert work["weights"].products == 2 * N * 3 * H * (I + H)


def test_without_the_gradient_of_the_input_its_product_is_not_counted():
    cell = gw.CELLS["lstm"]()
    work = phases(cell, training=True, input_gradient=False)
    assert "inputs back" not in work
    assert work["weights"] == phases(cell, training=True)["weights"]


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_three_times_its_products_in_a_training_step(name: str):
    cell, *sizes = CELLS[name]
    numbers = dict(zip(("input", "hidden"), sizes, strict=True))
    products = {}
    for training in (False, True):
        options = {"steps": T, "rows": N, "width": WIDTH, "training": training}
        work = count(cell.graph, numbers, **options)
        products[training] = sum(phase.products for phase in work)
        assert all(phase.operations >= 0 and phase.bytes > 0 for phase in work)
    assert products[True] == 3 * products[False]


def test_explain_reports_the_work_and_measures_only_when_asked():
    layer = gw.LSTM(3, 5)
    x = torch.randn(4, 2, 3, requires_grad=True)
    text = layer.explain(x)
    assert "a training step: 0.0 MFLOP in products" in text
    assert "    loop back: " in text
    assert "% of the roof" not in text
    with pytest.raises(gw.BackendError, match=r"tensors are torch\.bfloat16 on cpu"):
        layer.to(torch.bfloat16).explain(x.to(torch.bfloat16), measure=True)


ROOF = roof.Roof(1, 100.0, [(10, 50.0), (1000, 5.0)], [(10, 40.0), (1000, 4.0)])


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        (Phase("computes", 150, 50, 10), 2.0),
        (Phase("streams", 1, 0, 1000), 250.0),
        (Phase("walks", 1, 0, 0, 10, 30), 6.0),
        (Phase("walks far", 1, 0, 0, 100_000, 1), 20_000.0),
    ],
)
def test_a_phase_takes_what_its_slowest_part_takes(phase: Phase, seconds: float):
    assert ROOF.of(phase) == pytest.approx(seconds)
    assert ROOF.seconds([phase, phase]) == pytest.approx(2 * seconds)


def test_between_two_sizes_the_speed_is_between():
    assert roof.speed(ROOF.read, 100) == pytest.approx((50 * 5) ** 0.5)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_roofs_kernels_do_what_they_count(bits: int):
    numbers = build.numbers(bits)
    library = build.Library(build.object_code(roof._module(numbers)))
    copy = roof._Sweep(library, "copy", numbers, 8192)
    copy.arrays[0].copy_(torch.arange(len(copy.arrays[0])))
    copy(1)
    assert torch.equal(copy.arrays[0], copy.arrays[1])
    assert copy.bytes == 8192
    read = roof._Sweep(library, "read", numbers, 8192)
    read(3)
    # Three turns over ones, summed up in the lanes.
    assert read.arrays[-1][: numbers.lanes].sum().item() == 3 * 8192 // numbers.bytes
    compute = build.KERNEL(library.function("compute"))
    operand = torch.full((256,), 0.5, dtype=read.arrays[0].dtype)
    compute(operand.data_ptr(), 0, 2)  # twice x / 2 + 1 / 2, from 1 / 2
    expected = roof._accumulators() * 0.875
    assert operand[numbers.lanes : 2 * numbers.lanes].tolist() == [expected] * numbers.lanes
