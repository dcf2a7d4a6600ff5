"""The page as a file and on its server: its size, its policy, its texts, and damaged documents."""

from __future__ import annotations

import copy
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Recordings, Text, load_vowels
from gatewright.deploy.page import document_of, lesson_layer, look_at, page_of
from gatewright.designs.design import PLAIN
from gatewright.errors import ArgumentError
from gatewright.page.document import task_part
from gatewright.page.html import DOCUMENT_ID, asset, digest, write_page
from gatewright.page.server import PageServer
from gatewright.tasks.classify import Classify
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from page_answers import (
    CHROMIUM,
    VIEW,
    ask,
    build,
    build_engine,
    document,
    evaluate,
    needs_builder,
    needs_chromium,
)
from test_round_trip import exit_code

#: Texts that would be markup or end their element, and one that no terminal should print.
HOSTILE = (
    "</script><img src=x onerror=window.harmed=1>",
    '"><svg onload=window.harmed=1>',
    "<!--<script>",
    "a\u2028\x1b[31m&amp;",
)


class Elements(HTMLParser):
    """The elements of a page, with their attributes and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        self.is_open = True

    def handle_endtag(self, tag: str) -> None:
        self.is_open = False

    def handle_data(self, data: str) -> None:
        if self.is_open:
            self.elements[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(texts) for name, _, texts in self.elements if name == tag]


def elements(html: str) -> Elements:
    parser = Elements()
    parser.feed(html)
    return parser


@pytest.fixture(scope="module")
def hostile_model() -> Model:
    """A classifier whose classes and channels have hostile names."""
    sequences = tuple(np.full((5, 2), k, np.float32) for k in range(4))
    data = Recordings(sequences, np.arange(4), HOSTILE, channel_names=HOSTILE[:2], ids=HOSTILE)
    torch.manual_seed(0)
    task = Classify.of(data)
    model = Model(task, "lstm", NETWORKS["lstm"].build(task, 4, PLAIN)).eval()
    model.fit_scaling(data)
    model.data = data
    return model


def test_a_page_runs_nothing_but_its_own_script(hostile_model: Model) -> None:
    page = page_of({HOSTILE[0]: hostile_model}, hostile_model.data)
    parsed = elements(page.html)
    names = [name for name, _, _ in parsed.elements]
    expected = "html head meta meta meta meta link title style body noscript script script"
    assert " ".join(names) == expected
    written, script = parsed.texts("script")
    assert json.loads(written)["task"]["labels"] == [*HOSTILE]
    (style,) = parsed.texts("style")
    policies = [own["content"] for name, own, _ in parsed.elements if "http-equiv" in own]
    assert policies == [page.policy]
    assert f"script-src '{digest(script)}'" in page.policy
    assert f"style-src '{digest(style)}'" in page.policy
    assert page.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in page.policy and "http" not in page.policy
    assert [own["id"] for name, own, _ in parsed.elements if "id" in own] == [DOCUMENT_ID]


def test_a_diagram_has_the_attributes_that_values_are_written_by() -> None:
    (model,) = document_of({"lstm": lesson_layer("lstm")}, curves=False)["models"]
    (layer,) = model["layers"]
    drawing = model["cell"]["diagrams"]["lesson"]
    assert "<style" not in drawing and "style=" not in drawing
    groups = re.findall(
        r'data-name="(\w+)"(?: data-names="[\w ]+")?[^>]*? data-node="(\d+)"', drawing
    )
    named = {name: layer["nodes"][int(node)] for name, node in groups if name in layer["named"]}
    assert {"forget", "learn", "remember", "use"} <= set(named)
    before = {name: layer["states"][name]["term"] for name in layer["states"]}
    assert all(term in (layer["named"][name], before.get(name)) for name, term in named.items())
    formula = next(own for own in model["cell"]["formulas"]["lesson"] if own["name"] == "forget")
    parts = [(part["text"], part["node"] is not None) for part in formula["parts"]]
    assert parts == [("f", True), (" * ", False), ("LTM", True)]


def test_export_writes_the_page(tmp_path: Path) -> None:
    layer = gw.GRU(2, 4, batch_first=True)
    x = torch.randn(3, 7, 2)
    (path,) = gw.export(layer, tmp_path / "gru.html", data=x)
    written = json.loads(elements(path.read_text(encoding="utf-8")).texts("script")[0])
    assert [example["steps"] for example in written["data"]] == [7, 7, 7]
    assert [curve["layer"] for curve in written["memory"]] == ["l0"]
    with pytest.raises(ArgumentError, match="exists; name another file"):
        gw.export(layer, tmp_path / "gru.html")
    with pytest.raises(ArgumentError, match=r"data \(--data\) is for .html files"):
        gw.export(layer, tmp_path / "gru.js", data=x)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["vowels"], "vowels is data; name the directory of a trained model first"),
        (["lstm", "gru", "rnn"], "names 3 models"),
        (["lstm", "data.csv", "gru"], "no file and no bundled data set data.csv; expected MODEL"),
        (["vowels", "lstm"], "put the data last: gatewright look lstm vowels"),
        (["lstm", "vowels", "prose"], "names 1 models and 2 data sets"),
        (["lstn"], r"there is no directory and no cell lstn; did you mean lstm"),
        (["lstm", "voweln"], r"no bundled data set voweln; did you mean vowels\?"),
        (["lstm", "vowels"], "data is 'vowels', and LSTM is a layer by itself, whose inputs"),
        (["my.py:X"], "there is no file my.py; expected the name of a cell, or file.py"),
        (["tests"], "tests is no model: it has no config.json; give a directory that"),
        (["lstm", "cfc"], "cannot be shown side by side: lstm reads 2 values a step"),
        (["tests/stored/classes"], "network window has no recurrent layers to look into"),
        (
            ["tests/stored/fox", "vowels"],
            "the task next symbol does not go with the bundled data set",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused(
    names: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(VIEW.parent)
    with pytest.raises(gw.GatewrightError, match=message):
        look_at(names)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Path("a.csv"), "data is 'a.csv', and GRU is a layer by itself"),
        ([], "data has no sequences; expected at least one"),
        ({}, "data has no sequences"),
        (3, "data has the type int; expected sequences"),
        ({"a": 3}, r"the sequence a has shape \(\)"),
        ([[["x", "y", "z"]]], r"the sequence 0 is no array of numbers \(could not convert"),
        ([[[1.0, 2.0, 3.0], [4.0]]], "the sequence 0 is no array of numbers"),
        ([[[10**400, 0, 0]]], "the sequence 0 is no array of numbers"),
        ([[[1e300, 0.0, 0.0]]], "the sequence 0 has inf in step 0; expected finite"),
        ([np.zeros((2, 3)), [[0, 0, 0], [0, np.nan, 0]]], "the sequence 1 has nan in step 1"),
        (np.zeros((1, 2, 3), complex), "the sequence 0 has complex numbers"),
    ],
    ids=str,
)
def test_data_that_a_layer_cannot_read_are_refused(data: Any, message: str) -> None:
    with pytest.raises((ArgumentError, gw.DataError), match=message):
        document_of({"gru": gw.GRU(3, 4)}, data)


def test_names_and_tensors_of_sequences_are_taken() -> None:
    rows = torch.ones(4, 3, requires_grad=True)
    named = document_of({"gru": gw.GRU(3, 4)}, {7: rows, "b": rows})
    assert [example["id"] for example in named["data"]] == ["7", "b"]


@pytest.mark.parametrize("name", ["tags", "hours", "fox"])
def test_a_model_without_data_gets_made_up_ones(name: str) -> None:
    model = gw.load(VIEW.parent / "tests" / "stored" / name)
    written = document_of({name: model})
    steps = {example["steps"] for example in written["data"]}
    assert steps and (name != "hours" or steps == {model.task.window})
    assert written["memory"][0]["left"][0] == pytest.approx(1.0)


def test_a_training_writes_the_page_with_right_and_wrong_answers(tmp_path: Path) -> None:
    """The examples are of the test part, class by class, the first right and the first wrong."""
    from gatewright.cli.training import _write_page

    vowels = load_vowels()
    torch.manual_seed(0)
    task = Classify.of(vowels.train)
    model = Model(task, "gru", NETWORKS["gru"].build(task, 6, PLAIN)).eval()
    model.fit_scaling(vowels.train)
    gw.save(model, tmp_path / "model")
    _write_page(tmp_path / "model", "vowels")
    page = (tmp_path / "model" / "look.html").read_text()
    written = json.loads(elements(page).texts("script")[0])
    assert written["title"] == "model"
    judged = vowels.test
    answers = model.predict(judged).argmax(-1)
    firsts = [
        int(own[0])
        for right in (True, False)
        for label in range(9)
        if len(own := np.flatnonzero((judged.labels == label) & ((answers == label) == right)))
    ]
    truths = [example["truth"] for example in written["data"]]
    count = min(len(firsts), 12)
    assert truths[:count] == [int(judged.labels[k]) for k in firsts[:count]]
    assert [example["steps"] for example in written["data"]][:count] == [
        len(judged.sequences[k]) for k in firsts[:count]
    ]
    assert isinstance(gw.load(tmp_path / "model"), Model)  # the page is no part of the model


# The server.


@pytest.fixture
def server() -> Iterator[PageServer]:
    page = write_page(document_of({"lstm": lesson_layer("lstm")}, curves=False))
    with PageServer(page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def request(server: PageServer, method: str, path: str, host: str | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    own = f"127.0.0.1:{server.server_port}"
    connection.putrequest(method, path, skip_host=True)
    if host != "":
        connection.putheader("Host", own if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_server_gives_the_page_and_nothing_else(server: PageServer) -> None:
    answer, body = request(server, "GET", "/")
    assert answer.status == 200 and body == server.content
    assert answer.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert server.server_address[0] == "127.0.0.1"
    head, empty = request(server, "HEAD", "/")
    assert (head.status, empty) == (200, b"")
    for path in ("/index.html", "/../pyproject.toml", "/?x", "http://other/", "/%2e%2e/"):
        assert request(server, "GET", path)[0].status == 404, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        assert request(server, method, "/")[0].status == 405, method


def test_the_server_answers_to_its_own_name_only(server: PageServer) -> None:
    port = server.server_port
    assert request(server, "GET", "/", f"localhost:{port}")[0].status == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert request(server, "GET", "/", host)[0].status == 421, host


def test_a_port_that_is_taken_is_refused(server: PageServer) -> None:
    page = write_page(document_of({"rnn": lesson_layer("rnn")}, curves=False))
    with pytest.raises(ArgumentError, match=f"port {server.server_port} cannot be used"):
        PageServer(page, server.server_port)
    with pytest.raises(ArgumentError, match="port is 70000; expected a number from 0 to 65535"):
        PageServer(page, 70000)


@pytest.mark.slow(instead="test_the_server_gives_the_page_and_nothing_else")
@pytest.mark.usefixtures("forked_python")
def test_the_command_serves_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "gatewright", "look", "rnn", "--no-browser"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # The tests may run with SIGINT ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            process.stderr.readline()  # it listens
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # nobody waits for a server that does not end
    assert process.returncode == 0
    assert errors == "stopped: the page is no longer served\n"


def test_the_command_prints_its_address_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(server: PageServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    command = ["gatewright", "look", "rnn", "--no-browser", "--json"]
    assert exit_code(command, monkeypatch) == 0
    [url] = json.loads(capsys.readouterr().out).values()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)


# The document in the browser.


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_engine(tmp_path_factory.mktemp("engine"))


def damaged() -> Iterator[tuple[str, Any]]:
    """Pairs of a message and a document that gives it."""
    whole = document_of({"lstm": lesson_layer("lstm")}, np.zeros((4, 2)), curves=False)

    def changed(message: str, *path: Any, value: Any) -> tuple[str, Any]:
        copied = copy.deepcopy(whole)
        inner = copied
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return message, copied

    model: Any = whole["models"][0]
    layer = model["layers"][0]
    terms = layer["terms"]
    product = next(k for k, term in enumerate(terms) if term["op"] == "product")
    in_layer = ("models", 0, "layers", 0)
    yield "its document is no object", [1]
    yield changed('has the format "x"; expected gatewright-page', "format", value="x")
    yield changed("has version 2, and this page reads version 1", "version", value=2)
    yield changed('task.kind is "dance"', "task", "kind", value="dance")
    yield changed("models is empty", "models", value=[])
    yield changed(
        "models[0].weights is cut off", "models", 0, "weights", value=model["weights"][:-8]
    )
    yield changed("no base64", "data", 0, "values", value="?")
    yield changed(
        "data[0].values has 8 numbers; expected 1000000", "data", 0, "steps", value=5 * 10**5
    )
    yield changed("data[0].steps is 10000000000", "data", 0, "steps", value=10**10)
    yield changed("data[0].steps is 1.5", "data", 0, "steps", value=1.5)
    start = layer["states"]["c"]["start"]
    yield changed(
        f"tensors.{start}.shape is 1e+30", "models", 0, "tensors", start, "shape", value=[1e30]
    )
    yield changed("terms[0].size is -1", *in_layer, "terms", 0, "size", value=-1)
    yield changed(
        f"terms[{product}].operands is {product}",
        *in_layer, "terms", product, "operands", value=[product, product],
    )  # fmt: skip
    yield changed("expected (7, 2)", *in_layer, "terms", product, "size", value=7)
    yield changed("states.c.update is 999", *in_layer, "states", "c", "update", value=999)
    yield changed("states.c has size 9", *in_layer, "states", "c", "size", value=9)
    yield changed("event has size 2; expected 3", *in_layer, "input_size", value=3)
    yield changed("stages[1].reads is 1", "models", 0, "stages", 1, "reads", value=[1])
    yield changed("stages[1].layer is 5", "models", 0, "stages", 1, "layer", value=5)
    linear = {"op": "linear", "reads": [1], "weight": "l0.start.c", "bias": None}
    stages = [*model["stages"], linear]
    yield changed(
        "weight of the stage linear has the size (8)", "models", 0, "stages", value=stages
    )
    join = [*model["stages"], {"op": "attend", "reads": [1]}]
    yield changed("reads of the stage attend has the size (1)", "models", 0, "stages", value=join)
    first, second = model["stages"]
    wider = [first, {"op": "differences", "reads": [0]}, {**second, "reads": [1]}]
    fact = "l0 reads 2 values of a step, and the stage before it has 4"
    yield changed(fact, "models", 0, "stages", value=wider)
    yield changed("it has no stage magic", "models", 0, "stages", 1, "op", value="magic")
    yield changed("l0 has the unknown operation magic", *in_layer, "terms", -1, "op", value="magic")


@needs_builder
def test_a_damaged_document_gets_a_message(engine: Path, tmp_path: Path) -> None:
    pairs = list(damaged())
    jobs = [{"document": json.dumps(value), "questions": []} for _, value in pairs]
    answers = ask(engine, jobs, tmp_path)
    for (message, _), answer in zip(pairs, answers, strict=True):
        assert isinstance(answer, dict) and message in answer["error"], (message, answer)
    (answer,) = ask(engine, [{"document": "{", "questions": []}], tmp_path)
    assert "is damaged: it is no JSON" in answer["error"]


@needs_builder
def test_the_bundle_is_what_the_sources_build_to(tmp_path: Path) -> None:
    build(tmp_path)
    for name in ("bundle.js", "bundle.css"):
        assert (tmp_path / name).read_text() == asset(name), f"{name}: npm run build --prefix view"


@needs_builder
def test_analysis(engine: Path, tmp_path: Path) -> None:
    layer = lesson_layer("lstm")
    x = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0))
    (tmp_path / "page.json").write_text(document({"lstm": layer}, x))
    page = f"readDocument(fs.readFileSync({json.dumps(str(tmp_path / 'page.json'))}, 'utf8'))"
    answer = evaluate(
        engine,
        f"""(() => {{
          const page = {page};
          const model = engine.loadModel(page, 0);
          const runs = page.data.map((own) => engine.run(model, engine.exampleSequence(page, own)));
          const span = {{ example: 0, from: 8, to: 14 }};
          const query = {{ name: "l0.h", span, threshold: 0.05 }};
          return {{
            constants: analysis.timeConstants(runs, "l0", "c"),
            saturation: analysis.saturation(runs, "l0.f"),
            order: analysis.orderBy([1, 3, NaN, 3, 2]),
            similar: analysis.orderBySimilarity(runs, "l0.c"),
            search: analysis.searchSpans(runs, query),
            gates: analysis.gateNames(runs[0]),
            h: runs.map((run) => run.value("l0.h").data),
          }};
        }})()""",
    )
    events = x.transpose(0, 1)
    expected = gw.probes.time_constants(layer, events)["c"]
    np.testing.assert_allclose(answer["constants"], expected, rtol=1e-4)
    gate = layer.trace(events)["f"].flatten(0, 1)
    np.testing.assert_allclose(answer["saturation"]["mean"], gate.mean(0).detach(), rtol=1e-4)
    assert answer["order"] == [1, 3, 4, 0, 2]
    assert sorted(answer["similar"]) == list(range(8))
    assert answer["gates"] == ["l0.i", "l0.f", "l0.o"]
    h = np.array(answer["h"]).reshape(2, 30, 8) >= 0.05
    on = [unit for unit in range(8) if h[0, 8:14, unit].all()]
    edged = [unit for unit in on if not h[0, 7, unit] and not h[0, 14, unit]]
    search = answer["search"]
    assert on and search["on"] == on and search["units"] == (edged or on)
    assert search["matches"]
    for match in search["matches"]:
        inside = h[match["example"], match["from"] : match["to"]][:, search["units"]]
        assert match["share"] == pytest.approx(inside.mean())
        assert (inside.mean(1) >= 0.5).all()
    ranks = [match["rank"] for match in search["matches"]]
    assert ranks == sorted(ranks, reverse=True)


@needs_builder
def test_long_runs_leave_the_page_time_and_can_be_stopped(engine: Path, tmp_path: Path) -> None:
    """The slices give the same numbers; a run that is stopped ends with the reason."""
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    (tmp_path / "page.json").write_text(document({"gru": lesson_layer("gru")}, x))
    page = f"readDocument(fs.readFileSync({json.dumps(str(tmp_path / 'page.json'))}, 'utf8'))"
    answer = evaluate(
        engine,
        f"""(async () => {{
          const page = {page};
          const model = engine.loadModel(page, 0);
          const sequence = engine.exampleSequence(page, page.data[0]);
          const whole = engine.run(model, sequence);
          const sliced = await engine.runAsync(model, sequence);
          const gradient = await engine.gradientAsync(model, whole, {{ output: 1 }});
          const at_once = engine.gradient(model, whole, {{ output: 1 }}).influence;
          const stop = new AbortController();
          const long = {{ ...sequence, steps: 400000, values: new Float64Array(800000) }};
          const stopped = engine.runAsync(model, long, {{}}, stop.signal);
          setTimeout(() => stop.abort("enough"), 5);
          return {{
            same: whole.outputs.data.every((value, k) => value === sliced.outputs.data[k]),
            gradient: gradient.influence.every((value, t) => value === at_once[t]),
            stopped: await stopped.then(() => "done", (reason) => reason),
          }};
        }})()""",
    )
    assert answer == {"same": True, "gradient": True, "stopped": "enough"}


@needs_builder
def test_a_text_is_encoded_as_in_python(engine: Path) -> None:
    content = "the cat  sat\n\non the  matter, aaaa aaa the hat " * 40
    written = "the aaaaa  hat\n on the mat "
    for unit in ("characters", "pairs", "bytes"):
        if unit == "bytes":
            text, sample = Text.from_bytes(content.encode()), "né the"
        else:
            text, sample = replace(Text.from_string(content), unit=unit), written
        task = NextSymbol.of(text)
        model = Model(task, "rnn", NETWORKS["rnn"].build(task, 3, PLAIN))
        part = json.dumps(task_part(model))
        own = task.encode(sample.encode() if unit == "bytes" else sample)
        codes = evaluate(engine, f"encodeText({part}, {json.dumps(sample)})")
        assert codes == task.pairs.encode(own).tolist()
        assert unit != "pairs" or max(codes) >= len(task.alphabet)


# A real browser.


@needs_chromium
def test_a_browser_runs_no_text_and_asks_for_nothing(hostile_model: Model, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "page.html"
    file.write_text(page_of({HOSTILE[0]: hostile_model}, hostile_model.data).html)
    troubles: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda asked: requests.append(asked.url))
        page.goto(file.as_uri())
        page.wait_for_timeout(300)
        harmed, shown = page.evaluate("[window.harmed, document.body.innerText.trim()]")
        browser.close()
    assert troubles == [] and harmed is None and shown
    assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
