"""The bundled vowels equal the published ones, and a validation split is fair."""

from __future__ import annotations

import hashlib
import importlib.resources
import pickle

import numpy as np
import pytest

from gatewright.data import BUNDLED, Recordings, load, load_vowels, stratified_split
from gatewright.data import bundled as bundled_module
from gatewright.data.vowels import SHA256
from gatewright.errors import ArgumentError, DataError, GatewrightError


@pytest.fixture(scope="module")
def vowels():
    return load_vowels()


def small(labels: list[int], classes: int = 2) -> Recordings:
    """Return one recording per label, of different lengths, filled with its position."""
    return Recordings(
        sequences=tuple(np.full((n + 1, 3), n, np.float32) for n in range(len(labels))),
        labels=np.array(labels),
        classes=tuple("abcdef"[:classes]),
        name="small",
    )


def test_the_counts_are_those_that_uci_states(vowels):
    assert vowels.train.counts.tolist() == [30] * 9
    assert vowels.test.counts.tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert vowels.train.classes == vowels.test.classes == tuple("123456789")
    assert vowels.train.channels == vowels.test.channels == 12


def test_the_lengths_are_not_changed(vowels):
    lengths = np.concatenate([vowels.train.lengths, vowels.test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)
    assert len(np.unique(lengths)) > 10  # not stretched to one length
    assert int(lengths.sum()) == 9961


def test_the_values_are_those_that_were_published(vowels):
    """Compare the first frames of the first recording with those in the source."""
    first = vowels.train.sequences[0]
    assert first.shape == (20, 12)
    assert [f"{v:.6f}" for v in first[:3, 0]] == ["1.860936", "1.891651", "1.939205"]
    assert [f"{v:.6f}" for v in first[:3, 1]] == ["-0.207383", "-0.193249", "-0.239664"]


def test_the_arrays_have_the_documented_types(vowels):
    for part in (vowels.train, vowels.test):
        assert part.labels.dtype == np.int64
        for sequence in part.sequences:
            assert sequence.dtype == np.float32 and sequence.shape[1] == 12
            assert np.isfinite(sequence).all()


def test_no_recording_is_in_both_parts(vowels):
    def seen(part: Recordings) -> set[bytes]:
        return {hashlib.sha256(sequence.tobytes()).digest() for sequence in part.sequences}

    assert len(seen(vowels.train) | seen(vowels.test)) == 640


def test_the_licence_comes_with_the_data(vowels):
    assert "CC BY 4.0" in vowels.train.licence and "10.24432/C5NS47" in vowels.train.licence
    folder = importlib.resources.files("gatewright.data") / "files"
    terms = (folder / "vowels.LICENCE.md").read_text(encoding="utf-8")
    for word in ("CC BY 4.0", "10.24432/C5NS47", "Kudo", "Toyama", "Shimbo", "What was changed"):
        assert word in terms


def test_names():
    assert list(BUNDLED) == ["vowels", "weather", "prose"]
    with pytest.raises(
        DataError,
        match=r"called 'vowel'; did you mean vowels\? expected one of: prose, vowels, weather",
    ):
        load("vowel")
    with pytest.raises(DataError, match="the task forecast; expected labelled recordings"):
        load("weather")


@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_file_is_named_before_a_number_is_used(damage, tmp_path, monkeypatch):
    original = importlib.resources.files("gatewright.data") / "files" / "vowels.safetensors"
    content = bytearray(original.read_bytes())
    (tmp_path / "files").mkdir()
    if damage == "cut":
        del content[-1]
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage != "missing":
        (tmp_path / "files" / "vowels.safetensors").write_bytes(content)
    monkeypatch.setattr(bundled_module, "files", lambda _: tmp_path)
    with pytest.raises(DataError, match=r"vowels .*install gatewright again"):
        load_vowels()


def test_the_checksum_is_the_files():
    file = importlib.resources.files("gatewright.data") / "files" / "vowels.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256


def test_a_split_is_fair_whole_and_repeatable(vowels):
    rest, part = stratified_split(vowels.train, fraction=0.2, seed=3)
    assert part.counts.tolist() == [6] * 9 and rest.counts.tolist() == [24] * 9
    joined = {id(s) for s in (*rest.sequences, *part.sequences)}
    assert joined == {id(s) for s in vowels.train.sequences}
    again = stratified_split(vowels.train, fraction=0.2, seed=3)[1]
    assert [id(s) for s in again.sequences] == [id(s) for s in part.sequences]
    other = stratified_split(vowels.train, fraction=0.2, seed=4)[1]
    assert [id(s) for s in other.sequences] != [id(s) for s in part.sequences]


def test_a_split_is_the_same_on_every_machine():
    """Compare with stored values: a change would change the recordings behind every result."""
    _, part = stratified_split(small([0, 1] * 6), fraction=0.5, seed=0)
    assert [int(s[0, 0]) for s in part.sequences] == [1, 2, 4, 5, 6, 11]


def test_labels_stay_with_their_sequences():
    recordings = small([0, 1, 1, 0, 1, 0, 0, 1])
    for side in stratified_split(recordings, fraction=0.3, seed=1):
        for sequence, label in zip(side.sequences, side.labels, strict=True):
            assert recordings.labels[int(sequence[0, 0])] == label


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_both_sides_keep_every_class(fraction):
    for side in stratified_split(small([0, 0, 1, 1, 1]), fraction=fraction, seed=0):
        assert (side.counts > 0).all()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.2, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(ArgumentError, match="expected a number between 0 and 1"):
        stratified_split(small([0, 0, 1, 1]), fraction=fraction, seed=0)


def test_a_class_that_cannot_be_split_is_refused():
    with pytest.raises(DataError, match="class b of data set small has 1 sequence"):
        stratified_split(small([0, 0, 1]), fraction=0.5, seed=0)


def test_recordings_that_do_not_fit_are_refused():
    frames = np.zeros((4, 3), np.float32)
    with pytest.raises(DataError, match="no sequence"):
        Recordings(sequences=(), labels=np.array([], np.int64), classes=("a",))
    with pytest.raises(DataError, match="one label per sequence"):
        Recordings(sequences=(frames,), labels=np.array([0, 0]), classes=("a",))
    with pytest.raises(DataError, match="expected 0 to 0"):
        Recordings(sequences=(frames,), labels=np.array([1]), classes=("a",))
    with pytest.raises(DataError, match=r"sequence 1 .* shape \(4, 2\); expected \(time, 3\)"):
        Recordings(sequences=(frames, frames[:, :2]), labels=np.array([0, 0]), classes=("a",))


def test_data_errors_are_ours_and_travel_between_processes():
    error = pickle.loads(pickle.dumps(DataError("damaged")))
    assert isinstance(error, GatewrightError) and isinstance(error, ValueError)
    assert str(error) == "damaged"
