"""The cells that ship, by name. One family a file, equations only."""

from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, LessonLSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.language.cell import Cell

#: Name to class; `gatewright.Recurrent` takes these names, and every cell here is in all tests.
CELLS: dict[str, type[Cell]] = {
    "elman_rnn": ElmanRNN,
    "lstm": LSTM,
    "lesson_lstm": LessonLSTM,
    "peephole_lstm": PeepholeLSTM,
    "gru": GRU,
}
