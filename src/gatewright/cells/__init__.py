"""The cells of the library by name; each file has the equations of one family."""

from collections.abc import Container

from gatewright.cells.continuous import GRUD, CfC, LeakyRNN
from gatewright.cells.differential import LEM, AntisymmetricRNN, CoRNN
from gatewright.cells.greff import (
    CoupledLSTM,
    FullGateRecurrenceLSTM,
    NoForgetGateLSTM,
    NoInputActivationLSTM,
    NoInputGateLSTM,
    NoOutputActivationLSTM,
    NoOutputGateLSTM,
    NoPeepholesLSTM,
)
from gatewright.cells.gru import GRU
from gatewright.cells.highway import RecurrentHighway
from gatewright.cells.lstm import LSTM, LessonLSTM, PeepholeLSTM, ProjectedLSTM
from gatewright.cells.minimal import MinGRU, MinLSTM
from gatewright.cells.multiplicative import MultiplicativeLSTM
from gatewright.cells.mut import MUT1, MUT2, MUT3
from gatewright.cells.noisy import RecurrentDropoutLSTM, ZoneoutLSTM
from gatewright.cells.normalised import LayerNormLSTM
from gatewright.cells.one_gate import JANET, MGU, FastGRNN
from gatewright.cells.rnn import SCRN, ElmanRNN, IndRNN
from gatewright.cells.slstm import SLSTM
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.names import did_you_mean

#: Name to class, by family; `gatewright.Recurrent` takes these names.
CELLS: dict[str, type[Cell]] = {
    "elman_rnn": ElmanRNN,
    "ind_rnn": IndRNN,
    "scrn": SCRN,
    "lstm": LSTM,
    "lesson_lstm": LessonLSTM,
    "peephole_lstm": PeepholeLSTM,
    "projected_lstm": ProjectedLSTM,
    "lstm_nig": NoInputGateLSTM,
    "lstm_nfg": NoForgetGateLSTM,
    "lstm_nog": NoOutputGateLSTM,
    "lstm_niaf": NoInputActivationLSTM,
    "lstm_noaf": NoOutputActivationLSTM,
    "lstm_np": NoPeepholesLSTM,
    "lstm_cifg": CoupledLSTM,
    "lstm_fgr": FullGateRecurrenceLSTM,
    "layer_norm_lstm": LayerNormLSTM,
    "zoneout_lstm": ZoneoutLSTM,
    "recurrent_dropout_lstm": RecurrentDropoutLSTM,
    "multiplicative_lstm": MultiplicativeLSTM,
    "slstm": SLSTM,
    "gru": GRU,
    "mut1": MUT1,
    "mut2": MUT2,
    "mut3": MUT3,
    "mgu": MGU,
    "janet": JANET,
    "fast_grnn": FastGRNN,
    "antisymmetric_rnn": AntisymmetricRNN,
    "cornn": CoRNN,
    "lem": LEM,
    "recurrent_highway": RecurrentHighway,
    "min_gru": MinGRU,
    "min_lstm": MinLSTM,
    "leaky_rnn": LeakyRNN,
    "cfc": CfC,
    "gru_d": GRUD,
}


#: Other names of cells that ship, which are taken wherever a cell is named.
ALIASES = {"rnn": "elman_rnn"}


def known_name(name: str, known: Container[str]) -> str:
    """A cell's name as `known` has it: a name of `ALIASES` and its cell are the same.

    >>> known_name("rnn", CELLS), known_name("elman_rnn", {"window", "rnn"})
    ('elman_rnn', 'rnn')
    """
    if name in known:
        return name
    others = [ALIASES.get(name, name), *(alias for alias, of in ALIASES.items() if of == name)]
    return next((other for other in others if other in known), name)


def cell_class(name: str) -> type[Cell]:
    """The class of a cell of the library.

    Raises:
        ArgumentError: for an unknown name, with the nearest that are known.
    """
    canonical = known_name(name, CELLS)
    if canonical not in CELLS:
        nearest = did_you_mean(name, [*CELLS, *ALIASES])
        raise ArgumentError(f"there is no cell {name!r}; {nearest}`gatewright cells` lists them")
    return CELLS[canonical]
