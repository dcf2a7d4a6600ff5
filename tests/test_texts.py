"""Texts: a network mixed with counts and copies, pieces of several symbols, and compressors."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Text, read
from gatewright.designs import Design, SequenceNetwork
from gatewright.errors import ModelError
from gatewright.tasks.registry import presentation_of
from gatewright.tasks.task import Batch, run_all
from gatewright.tasks.text.baselines import text_baselines
from gatewright.tasks.text.copies import LENGTHS, Copies
from gatewright.tasks.text.mixture import REACH, past_of
from gatewright.tasks.text.ngram import Counts, histories
from gatewright.tasks.text.pairs import Pairs
from gatewright.tasks.text.task import NextSymbol, Tail
from gatewright.training.ensemble import Ensemble
from gatewright.training.job import build_model
from gatewright.training.networks import NETWORKS
from gatewright.training.recipe import Recipe
from gatewright.training.train import train
from in_process import training_here

GENERATOR = np.random.default_rng(4)
WORDS = ["the", "fox", "jumps", "over", "a", "lazy", "dog", "and", "bites", "it"]


def sentences(count: int) -> str:
    return "".join(f"{GENERATOR.choice(WORDS)} " for _ in range(count))


TEXT = sentences(2000)


def text_of(unit: str = "characters") -> Text:
    return replace(Text.from_string(TEXT), unit=unit)


def trained(unit: str = "characters", seed: int = 0):
    """An untrained network with counts: (task, model, validation part)."""
    text = text_of(unit)
    task = NextSymbol.of(text)
    _, validation = task.parts(text, 0.1, 0)
    torch.manual_seed(seed)
    model = build_model(task, "gru", NETWORKS["gru"], 6, Recipe()).eval()
    return task, model, validation


def test_pruned_counts_are_a_distribution_that_bits_agree_with() -> None:
    codes = text_of().codes.astype(np.int64)
    size = len(text_of().alphabet)
    every = Counts.of(codes[:6000], size, 5)
    pruned = Counts.of(codes[:6000], size, 5, most=300)
    assert len(pruned) == 300 < len(every)
    past = histories(torch.from_numpy(codes)[None], 4)[0]
    for model in (every, pruned, Counts(size, 5)):
        probabilities, lengths = model(past[6000:6400])
        torch.testing.assert_close(probabilities.sum(1), torch.ones(400, dtype=torch.float64))
        assert (probabilities > 0).all() and lengths.max() <= 5
        own = probabilities[np.arange(400), codes[6000:6400]]
        np.testing.assert_allclose(model.bits(codes[:6400], 6000), -own.log2().numpy())
    assert set(lengths.tolist()) == {0}  # without counts each symbol is as likely
    longest = [int(every(past[:4])[1][position]) for position in range(4)]
    assert longest == [1, 2, 3, 4]  # at the start of a text there is less to read


def test_the_counts_of_a_text_of_one_repeated_word_are_finite() -> None:
    for codes in ([0], [0, 1], [0] * 9, [0, 1] * 9):
        bits = Counts.of(np.array(codes), 3, 4).bits(np.array([0, 1, 2, 0, 0, 0, 0, 0]), 1)
        assert np.isfinite(bits).all()


def test_a_history_reaches_into_the_batch_before() -> None:
    x = torch.arange(12).view(6, 2)
    whole = past_of(x, None, 3)
    parts = [past_of(x[:4], None, 3), past_of(x[4:], x[:4], 3)]
    assert torch.equal(torch.cat(parts), whole)
    assert whole[4, 1].tolist() == [5, 7, 9] and whole[0, 0].tolist() == [-1, -1, 0]
    assert past_of(x[4:], x[3:4], 3)[0, 0].tolist() == [-1, 6, 8]


@pytest.mark.parametrize("unit", ["characters", "pairs"])
def test_counts_are_mixed_in_with_shares_that_lower_the_bits(unit: str) -> None:
    task, model, validation = trained(unit)
    before = task.predictions(run_all(model, task.batches(validation)), model)
    task.calibrate(model, validation)
    mixed = task.predictions(run_all(model, task.batches(validation)), model)
    streams = task.batches(validation)
    counts = model.completion.counts
    alone = counts.bits(streams.codes, streams.start).sum() / len(mixed)
    assert len(before) == len(mixed) == len(validation.text) - validation.start
    assert mixed.mean() < 1.01 * alone < before.mean()
    # The untrained network knows nothing, and here the last word says nothing about the next.
    shares = model.completion.shares
    assert shares[6:10, 0].max() < 0.2 and shares[:10, 2].max() == 0.0
    torch.testing.assert_close(shares.sum(1), torch.ones(14))
    size = len(counts)
    task.refit(model, validation)
    assert len(model.completion.counts) > size


def test_a_mixture_is_computed_in_pieces_as_in_one(tmp_path: Path) -> None:
    """Batches carry the symbols before them; a saved model has the same counts."""
    task, model, validation = trained()
    task.calibrate(model, validation)
    text = TEXT[:60]
    bits = model.predict(text)
    state, earlier, own = None, None, []
    codes = torch.from_numpy(task.encode(text).astype(np.int64))
    for code in codes[:-1]:
        past = None if earlier is None else earlier[-REACH:, None]
        outputs, state = model(Batch(code.view(1, 1), None, code, further=past), state)
        own.append(outputs[0, 0].log_softmax(-1))
        earlier = code[None] if earlier is None else torch.cat([earlier, code[None]])
    expected = -torch.stack(own).gather(1, codes[1:, None])[:, 0] / np.log(2.0)
    np.testing.assert_allclose(bits, expected.detach(), rtol=1e-4)
    gw.save(model, tmp_path / "model")
    np.testing.assert_array_equal(gw.load(tmp_path / "model").predict(text), bits)


def test_an_ensemble_has_one_set_of_counts_and_comes_back(tmp_path: Path) -> None:
    task, first, validation = trained()
    _, second, _ = trained(seed=1)
    for model in (first, second):
        task.calibrate(model, validation)
    ensemble = Ensemble([first, second]).eval()
    task.calibrate(ensemble, validation)
    assert [len(member.completion.counts) for member in ensemble.members] == [0, 0]
    assert len(ensemble.completion.counts) == len(first.completion.counts) > 0
    gw.save(ensemble, tmp_path / "out")
    bits = ensemble.predict(TEXT[:300])
    assert bits.mean() < 1.01 * min(
        first.predict(TEXT[:300]).mean(), second.predict(TEXT[:300]).mean()
    )
    loaded = gw.load(tmp_path / "out")
    np.testing.assert_array_equal(loaded.predict(TEXT[:300]), bits)
    assert loaded.sample("the ", symbols=30, seed=3) == ensemble.sample("the ", symbols=30, seed=3)


def test_a_damaged_piece_is_refused() -> None:
    task, *_ = trained("pairs")
    config = task.to_config()
    size = len(task.alphabet)
    assert NextSymbol.from_config(config) == task
    with pytest.raises(ModelError, match=f"the piece {size} is joined from"):
        NextSymbol.from_config({**config, "joined": [[0, size]]})


def test_pieces_spell_the_text_and_do_not_cross_a_space() -> None:
    text = text_of("pairs")
    task = NextSymbol.of(text)
    pairs = task.pairs
    pieces = pairs.encode(text.codes)
    assert len(pieces) < 0.6 * len(text)
    np.testing.assert_array_equal(pairs.decode(pieces), text.codes)
    assert all(" " not in piece[1:] for piece in task.vocabulary)
    assert max(map(len, task.vocabulary)) >= 3
    # With dictionaries: the first piece is the most frequent pair inside a word.
    inside = [a + b for a, b in itertools.pairwise(TEXT) if b != " "]
    first = "".join(task.alphabet[code] for code in pairs.joined[0])
    assert inside.count(first) == max(inside.count(pair) for pair in set(inside))


@pytest.mark.parametrize("codes", [[], [0], [0, 0, 0], [1] * 7, [2, 2, 0, 0, 0, 2]])
def test_pieces_of_short_and_of_repeating_texts(codes: list[int]) -> None:
    pairs = Pairs.learn(np.array([0, 0, 0, 0, 1, 1, 2, 0, 0, 1]), 3, frozenset({2}), 4)
    np.testing.assert_array_equal(pairs.decode(pairs.encode(np.array(codes, dtype=int))), codes)


def test_a_model_of_pieces_predicts_each_symbol_and_samples_symbols() -> None:
    task, model, validation = trained("pairs")
    task.calibrate(model, validation)
    bits = model.predict(TEXT[:500])
    assert len(bits) == 499
    written = model.sample("the ", symbols=41, seed=1)
    assert len(written) == 41 and set(written) <= set(task.alphabet)
    temperatures = (0.0, 0.5, 1.0)
    together = task.samples(model, "the ", 41, temperatures, 1)
    assert len({*together}) == 3 and together[2] == written
    for text, temperature in zip(together, temperatures, strict=True):
        assert text == model.sample("the ", symbols=41, temperature=temperature, seed=1)
    example = presentation_of(task).example(model, validation)
    assert "".join(example.symbols) == TEXT[validation.start : validation.start + 60]


def test_pairs_are_read_from_a_file_and_bundled(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(TEXT)
    assert read(tmp_path / "words.txt", text="pairs").data.unit == "pairs"
    prose = read("prose", text="pairs").data
    assert (prose.unit, len(prose), prose.symbols) == ("pairs", 464_970, "characters")


@pytest.mark.parametrize("unit", ["characters", "bytes"])
def test_compressors_cost_what_the_part_adds(unit: str) -> None:
    content = TEXT.encode()
    text = Text.from_bytes(content) if unit == "bytes" else Text.from_string(TEXT)
    training, test = NextSymbol.split(text)
    by_name = {baseline.name: baseline for baseline in text_baselines(NextSymbol.of(training))}
    bits = by_name["zlib"].fit(training, None).predict(test)
    added = len(zlib.compress(content, 9)) - len(zlib.compress(content[: test.start], 9))
    assert bits.sum() == pytest.approx(8 * added) and len(bits) == len(text) - test.start
    assert 0 < by_name["xz"].fit(training, None).predict(test).mean() < 8


def test_locked_dropout_drops_the_same_features_at_every_step() -> None:
    network = SequenceNetwork("gru", 40, 4, Design(input_dropout=0.5))
    x = torch.ones(6, 3, 40)
    events, _ = network.train().events(x)
    assert set(events.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(events, events[:1].expand_as(events)) and not torch.equal(
        events[0, 0], events[0, 1]
    )
    assert torch.equal(network.eval().events(x)[0], x)


def test_training_mixes_counts_and_compares_with_counts_of_its_size(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(TEXT)
    with training_here():
        comparison = train(
            tmp_path / "words.txt",
            text="pairs",
            seeds=2,
            epochs=1,
            hidden_size=16,
            out=tmp_path / "out",
            progress=False,
        )
    entries = {entry.name: entry for entry in comparison.entries}
    small = entries["kneser_ney_same_size"]
    assert small.parameters <= comparison.best.parameters
    model = gw.load(tmp_path / "out")
    assert isinstance(model, Ensemble) and len(model.completion.counts) > 0
    # What is reported is what the saved model does.
    whole = read(tmp_path / "words.txt", text="pairs").data
    _, test = model.task.split(whole)
    bits = model.task.predictions(run_all(model, model.task.batches(test)), model)
    assert comparison.ensemble.test["bits"] == pytest.approx(bits.mean())
    assert comparison.ensemble.test["bits"] < entries["unigram"].trials[0].test["bits"]


def test_pieces_tie_their_readout_to_their_embedding(tmp_path: Path) -> None:
    task, model, _ = trained("pairs")
    shape = (len(task.pairs), task.inputs)
    assert [parameter.shape for parameter in model.parameters()].count(shape) == 1
    features = torch.randn(3, 2, 6)
    weight = model.embedding.weight
    expected = model.readout.projection(features) @ weight.T + model.readout.bias
    torch.testing.assert_close(model.readout(features), expected)
    codes = torch.arange(len(task.pairs))[:, None]
    embedded = model.encode(codes)
    torch.testing.assert_close(embedded[:, 0], weight * task.inputs**0.5)
    assert 0.8 < embedded.std() < 1.2
    gw.save(model, tmp_path / "model")
    loaded = gw.load(tmp_path / "model")
    assert loaded.readout.shared[0] is loaded.embedding
    np.testing.assert_array_equal(loaded.predict(TEXT[:90]), model.predict(TEXT[:90]))


def test_batches_of_a_text_end_elsewhere_in_each_epoch() -> None:
    streams = NextSymbol.of(text_of()).batches(text_of())
    generator = torch.Generator().manual_seed(0)
    epochs = [[len(batch.x) for batch in streams.shuffled(2, generator)] for _ in range(3)]
    assert len({tuple(lengths) for lengths in epochs}) == 3
    for lengths in epochs:
        assert len(lengths) == streams.steps(2) and sum(lengths) == len(streams) // 2
        assert 60 <= min(lengths) <= max(lengths) <= 196


def test_a_copy_follows_the_latest_of_the_longest_passages() -> None:
    codes = GENERATOR.integers(0, 50, 200)
    text = np.concatenate([codes, codes[60:80], [7], codes[100:140]])
    copies = Copies()
    copies.fill(text)
    past = histories(torch.from_numpy(np.concatenate([text, [0]]))[None], REACH)[0]
    short, long, start = (
        torch.tensor([-1] * REACH),
        torch.from_numpy(codes[110:142]),
        torch.from_numpy(codes[:12]),
    )
    short[-12:] = torch.from_numpy(codes[68:80])
    first = torch.cat([torch.full((REACH - 12,), -1), start])
    symbols, ranks = copies(torch.stack([short, long, first, past[3]]))
    # 12 symbols, followed by 7 the last time; 32 symbols, which only the first occurrence has.
    assert symbols.tolist() == [7, codes[142], codes[12], 0]
    assert [0, *LENGTHS].index(12) == 1 and ranks.tolist() == [1, 4, 1, 0]


def test_a_passage_that_is_repeated_costs_little() -> None:
    letters = "".join(GENERATOR.choice(list("abcdefgh"), 3000))
    repeated = letters + letters[500:1500]
    text = Text.from_string(repeated)
    task = NextSymbol.of(text)
    torch.manual_seed(0)
    model = build_model(task, "gru", NETWORKS["gru"], 6, Recipe()).eval()
    part = Tail(text, 3000)
    task.calibrate(model, part)
    bits = task.predictions(run_all(model, task.batches(part)), model)
    assert bits[40:].mean() < 0.3 < 3.0 < bits[:8].mean() + 1.0
