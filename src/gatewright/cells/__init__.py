"""The cells of the library by name; each file has the equations of one family."""

from difflib import get_close_matches

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


def cell_class(name: str) -> type[Cell]:
    """The class of a cell of the library.

    Raises:
        ArgumentError: if no cell has this name, with similar names.
    """
    if name not in CELLS:
        similar = get_close_matches(name, CELLS)
        question = f"did you mean {' or '.join(similar)}? " if similar else ""
        raise ArgumentError(f"there is no cell {name!r}; {question}`gatewright cells` lists them")
    return CELLS[name]
