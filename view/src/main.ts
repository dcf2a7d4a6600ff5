/** The entry of the page: read its document, and build the panels around one state. */

import { DocumentError, readDocument } from "./document.ts";
import { element, fill, toggle } from "./ui/dom.ts";
import { holdPanel } from "./ui/holds.ts";
import { influencePanel } from "./ui/influence.ts";
import { inputPanel } from "./ui/input.ts";
import { onKeys } from "./ui/keys.ts";
import type { Panel } from "./ui/panels.ts";
import { predictionPanel } from "./ui/prediction.ts";
import { memoryPanel } from "./ui/remembered.ts";
import { searchPanel } from "./ui/search.ts";
import { Session } from "./ui/session.ts";
import { fromAddress, toAddress, type State } from "./ui/state.ts";
import { Tour } from "./ui/tour.ts";
import { trackPanel } from "./ui/trackpanel.ts";
import { unitsPanel } from "./ui/units.ts";
import { zoomPanel } from "./ui/zoom.ts";

/** Fields of the state whose change is a place to come back to. */
const PLACES: readonly (keyof State)[] = ["example", "zoom", "tour", "model", "pair"];

const dark = window.matchMedia("(prefers-color-scheme: dark)");

async function start(): Promise<void> {
  const source = document.getElementById("gatewright-document")?.textContent ?? "";
  // Something to read at once: a large document is read, and a large network runs, for seconds.
  document.documentElement.dataset["theme"] = dark.matches ? "dark" : "light";
  document.body.append(
    element(
      "header",
      { class: "top", role: "status" },
      element("h1", {}, document.title),
      element("p", { class: "quiet" }, "The network is running over its first example …"),
    ),
  );
  await new Promise((resolve) => window.setTimeout(resolve));
  const session = new Session(readDocument(source), fromAddress(location.hash));
  document.title = `${session.document.title} · Gatewright`;
  await session.start();

  const panels: Panel[] = [];
  const keys = new Map<Panel, string>();
  const quick = new Set<Panel>();
  let drawing = 0;
  let resting = 0;
  const drawPanels = (areQuick: boolean): void => {
    for (const panel of panels) {
      if (quick.has(panel) !== areQuick) continue;
      const key = panel.key === undefined ? undefined : `${panel.key()} ${session.theme}`;
      if (key !== undefined && keys.get(panel) === key) continue;
      if (key !== undefined) keys.set(panel, key);
      panel.draw();
    }
  };
  // The cursor, the input and the tracks follow at once, what takes longer when they rest: moving
  // the cursor over 256 units and 2,000 steps took 26 ms a frame with everything in it.
  const draw = (): void => {
    drawing = 0;
    drawPanels(true);
    window.clearTimeout(resting);
    resting = window.setTimeout(() => {
      resting = 0;
      head();
      drawPanels(false);
      tour.draw();
      showWork();
    }, RESTS);
  };
  // Whoever drives the page from outside reads here that nothing will change by itself any more.
  const showWork = (): void => {
    const isWorking = session.isWorking || drawing !== 0 || resting !== 0;
    document.documentElement.dataset["working"] = String(isWorking);
  };
  const drawSoon = (): void => {
    if (drawing === 0) drawing = requestAnimationFrame(draw);
    showWork();
  };

  const go = (patch: Partial<State>): void => {
    const before = session.state;
    session.change(patch);
    const address = toAddress(session.state);
    if (address !== location.hash.replace(/^#/, "")) {
      const isPlace = PLACES.some((field) => before[field] !== session.state[field]);
      history[isPlace ? "pushState" : "replaceState"](
        null,
        "",
        address === "" ? location.pathname + location.search : `#${address}`,
      );
    }
    drawSoon();
  };
  const follow = (): void => {
    session.replace(fromAddress(location.hash));
    drawSoon();
  };
  window.addEventListener("popstate", follow);
  window.addEventListener("hashchange", follow);
  window.addEventListener("resize", drawSoon);

  const tour = new Tour(session, go);
  let theme: "light" | "dark" | null = null;
  const paint = (): void => {
    session.theme = theme ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset["theme"] = session.theme;
    drawSoon();
  };
  dark.addEventListener("change", paint);

  const top = element("header", { class: "top" });
  let playing = 0;
  const play = (): void => {
    if (playing !== 0) {
      window.clearInterval(playing);
      playing = 0;
    } else {
      playing = window.setInterval(
        () => go({ time: session.state.time + 1 >= session.steps ? 0 : session.state.time + 1 }),
        350,
      );
    }
    drawSoon();
  };
  const head = (): void => {
    const { state } = session;
    const slider = element("input", {
      type: "range",
      min: 0,
      max: Math.max(0, session.steps - 1),
      value: state.time,
      "aria-label": "Step",
      oninput: () => go({ time: Number(slider.value) }),
    });
    const unit = element("input", {
      type: "number",
      min: 0,
      max: session.hiddenSize - 1,
      value: state.unit,
      "aria-label": "Unit",
      onchange: () => go({ unit: Number(unit.value) }),
    });
    const active = document.activeElement;
    if (active instanceof HTMLInputElement && top.contains(active)) {
      // The field that is being used stays, and so does the focus; only its neighbours follow.
      for (const output of top.querySelectorAll("output"))
        output.textContent = `${state.time} of ${session.steps - 1}`;
      return;
    }
    const models = session.document.models;
    fill(
      top,
      element(
        "div",
        { class: "grow" },
        element("h1", {}, session.document.title),
        element("p", { class: "quiet" }, session.subtitle),
      ),
      models.length > 1
        ? element(
            "div",
            { class: "row", role: "group", "aria-label": "Models" },
            ...models.map((model, k) =>
              toggle(model.name, !state.pair && state.model === k, () =>
                go({ model: k, pair: false, name: "" }),
              ),
            ),
            toggle("Side by side", state.pair, () => go({ pair: !state.pair })),
          )
        : null,
      element(
        "div",
        { class: "row" },
        element(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": playing !== 0 ? "true" : "false",
            onclick: play,
            title: "Key: space",
          },
          playing !== 0 ? "Pause" : "Play",
        ),
        element(
          "label",
          {},
          "Step",
          slider,
          element("output", {}, `${state.time} of ${session.steps - 1}`),
        ),
        element("label", {}, "Unit", unit),
        element(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": state.tour > 0 ? "true" : "false",
            onclick: () => tour.enter(state.tour > 0 ? 0 : 1),
          },
          "Tour",
        ),
        element(
          "button",
          {
            type: "button",
            class: "chip",
            onclick: () => {
              theme = session.theme === "dark" ? "light" : "dark";
              paint();
            },
          },
          session.theme === "dark" ? "Light" : "Dark",
        ),
      ),
    );
  };

  const atOnce = [inputPanel(session, go), trackPanel(session, go)];
  for (const panel of atOnce) quick.add(panel);
  panels.push(
    ...atOnce,
    predictionPanel(session),
    holdPanel(session, go),
    zoomPanel(session, go),
    influencePanel(session, go),
    unitsPanel(session, go),
    searchPanel(session, go),
  );
  const memory = memoryPanel(session);
  if (memory !== null) panels.push(memory);
  const [input, tracks, prediction, hold, zoom, influence, units, search] = panels.map(
    (panel) => panel.node,
  );
  document.body.replaceChildren(
    element(
      "a",
      {
        class: "skip",
        href: "#tracks",
        onclick: (event: Event) => {
          event.preventDefault();
          tracks!.querySelector<HTMLElement>(".scroller")?.focus();
        },
      },
      "Skip to the tracks",
    ),
    top,
    element(
      "main",
      {},
      tour.node,
      element("div", { class: "column" }, input!, tracks!, influence!, search!),
      element(
        "div",
        { class: "column" },
        prediction!,
        zoom!,
        hold!,
        units!,
        memory?.node ?? keysHelp(),
        memory === null ? "" : keysHelp(),
      ),
    ),
  );
  onKeys(session, go, play);
  session.onReady = drawSoon;
  paint();
  draw();
}

/** Milliseconds after which a cursor rests: two frames. */
const RESTS = 33;

function keysHelp(): HTMLElement {
  const row = (keys: string[], text: string): HTMLElement =>
    element("li", {}, ...keys.flatMap((key) => [element("kbd", {}, key), " "]), text);
  return element(
    "details",
    { class: "panel" },
    element("summary", {}, "Keys"),
    element(
      "ul",
      {},
      row(["←", "→"], "one step back or on; with Shift, ten"),
      row(["↑", "↓"], "the unit above or below in the tracks"),
      row(["[", "]"], "the value before or after"),
      row(["1", "2", "3", "4"], "zoom: model, layer, cell, formula"),
      row(["space"], "play"),
      row(["Esc"], "clear the selection"),
    ),
  );
}

start().catch((error: unknown) => {
  const isDamaged = error instanceof DocumentError;
  document.body.replaceChildren(
    element(
      "main",
      { class: "message", role: "alert" },
      element(
        "h1",
        {},
        isDamaged ? "This page cannot be shown" : "Something went wrong in this page",
      ),
      element("p", {}, error instanceof Error ? error.message : String(error)),
    ),
  );
  if (!isDamaged) console.error(error);
});
