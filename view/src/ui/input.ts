/** The input, to be changed: a text to type, or curves whose points are dragged or drawn. */

import { colour, isDeep, palette, shade } from "./colours.ts";
import { drawn, element, fill, shortNumber, toggle } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";
import type { Edit, State } from "./state.ts";
import { curve, overSteps, visible } from "./tracks.ts";

type Go = (patch: Partial<State>) => void;

/** The panel of the input. */
export function inputPanel(session: Session, go: Go): Panel {
  return session.isText ? textPanel(session, go) : curvesPanel(session, go);
}

function examples(session: Session, go: Go): HTMLElement {
  const select = element(
    "select",
    {
      "aria-label": "Example",
      onchange: () =>
        go({
          example: Number(select.value),
          text: null,
          edits: [],
          cuts: [],
          holds: [],
          span: null,
          time: 0,
        }),
    },
    ...session.document.data.map((_, k) =>
      element(
        "option",
        { value: k, selected: k === session.state.example },
        `${k + 1}. ${session.exampleTitle(k)}`,
      ),
    ),
  );
  return element("label", {}, "Example", select);
}

function restore(session: Session, go: Go): HTMLElement {
  return element(
    "button",
    {
      type: "button",
      class: "chip",
      disabled: !session.isEdited,
      onclick: () => go({ text: null, edits: [] }),
    },
    "Undo all changes",
  );
}

function textPanel(session: Session, go: Go): Panel {
  const { node, body, tools } = frame("Input: type a text", "input");
  const area = element("textarea", {
    "aria-label": "The text that the model reads",
    spellcheck: "false",
  });
  let waiting = 0;
  area.addEventListener("input", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(
      () => go({ text: area.value, time: Math.max(0, session.symbolsIn(area.value).length - 1) }),
      120,
    );
  });
  const note = element("p", { class: "quiet", role: "status" });
  const picture = element("div", {
    class: "tokens",
    tabindex: "0",
    role: "group",
    "aria-label": "The text, coloured by the chosen value",
  });
  const about = element("p", { class: "quiet" });
  let drawnFrom = "";
  body.append(area, note, picture, about);
  picture.addEventListener("click", (event) => {
    const step = (event.target as HTMLElement).dataset["step"];
    if (step !== undefined) go({ time: Number(step) });
  });
  const draw = (): void => {
    fill(tools, examples(session, go), restore(session, go));
    if (document.activeElement !== area) area.value = session.text;
    const unknown = session.unknownSymbols;
    note.textContent =
      unknown.length === 0
        ? ""
        : `The model has never seen ${unknown.map((symbol) => `“${visible(symbol)}”`).join(", ")}, which ${unknown.length === 1 ? "is" : "are"} left out.`;
    const track = session.track(session.state.name);
    const colours = palette();
    const table = track.limit === null ? colours.factor : colours.signed;
    const { unit, time, cuts } = session.state;
    const key = `${session.version} ${session.state.model} ${session.state.name} ${unit} ${session.theme}`;
    if (key !== drawnFrom) {
      drawnFrom = key;
      fill(
        picture,
        ...session.tokens!.map((token, step) => {
          const position = shade(
            track.values[step * track.units + Math.min(unit, track.units - 1)]!,
            track.limit,
          );
          return element(
            "span",
            {
              "data-step": step,
              class: cuts.includes(step) ? "cut" : undefined,
              style: {
                background: colour(table, position),
                color: isDeep(table, position) ? "#ffffff" : "#14171c",
              },
            },
            token === "\n" ? "⏎\n" : token,
          );
        }),
      );
    }
    picture.querySelector(".here")?.classList.remove("here");
    picture.children[time]?.classList.add("here");
    about.textContent = `One text, ${session.steps} characters, coloured by ${session.label(session.state.name)} of unit ${session.state.unit} after each.`;
  };
  return { node, draw };
}

function curvesPanel(session: Session, go: Go): Panel {
  const { node, body, tools } = frame("Input: drag the curve", "input");
  let drawing = false;
  const chart = element("div", { class: "timeline" });
  const cursor = element("div", { class: "over cursor" });
  chart.style.touchAction = "none";
  let drawnFrom = "";
  const bar = element("div", { class: "row" });
  const about = element("p", { class: "quiet" });
  const tableBox = element("div");
  body.append(bar, chart, about, tableBox);

  let held: Map<number, number> | null = null;
  const place = (event: PointerEvent): { step: number; value: number } => {
    const box = chart.getBoundingClientRect();
    const [low, high] = session.channelRange(session.state.channel);
    const step = Math.floor(((event.clientX - box.left) / box.width) * session.steps);
    const share = Math.max(0, Math.min(1, (event.clientY - box.top) / box.height));
    return {
      step: Math.max(0, Math.min(session.steps - 1, step)),
      value: high - share * (high - low),
    };
  };
  const apply = (): void => {
    if (held === null) return;
    const channel = session.state.channel;
    const edits: Edit[] = session.state.edits.filter(
      (edit) => edit.channel !== channel || !held!.has(edit.step),
    );
    for (const [step, value] of held)
      edits.push({ channel, step, value: Number(value.toPrecision(5)) });
    go({ edits });
  };
  let last = -1;
  chart.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const target = place(event);
    held = new Map();
    last = target.step;
    chart.setPointerCapture(event.pointerId);
    if (drawing) {
      held.set(target.step, target.value);
      apply();
    }
    go({ time: target.step });
  });
  chart.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const target = place(event);
    if (drawing) {
      // Every step between the last place and this one, so that a fast stroke has no holes.
      const before = held.get(last) ?? target.value;
      const distance = Math.abs(target.step - last);
      for (let k = 1; k <= distance; k++) {
        const step = last + Math.sign(target.step - last) * k;
        held.set(step, before + ((target.value - before) * k) / distance);
      }
      held.set(target.step, target.value);
      last = target.step;
    } else {
      held.set(last, target.value);
    }
    apply();
  });
  const release = (): void => {
    held = null;
  };
  chart.addEventListener("pointerup", release);
  chart.addEventListener("pointercancel", release);

  const draw = (): void => {
    const { channel } = session.state;
    const names = session.channels;
    fill(tools, examples(session, go), restore(session, go));
    const select = element(
      "select",
      { "aria-label": "Channel", onchange: () => go({ channel: Number(select.value) }) },
      ...names.map((name, k) => element("option", { value: k, selected: k === channel }, name)),
    );
    const value = session.inputAt(session.state.time, channel);
    const number = element("input", {
      type: "number",
      step: "any",
      value: Number(value.toPrecision(5)),
      "aria-label": `Value of ${names[channel]} at step ${session.state.time}`,
      onchange: () => {
        const typed = Number(number.value);
        if (number.value === "" || !Number.isFinite(typed)) return;
        const rest = session.state.edits.filter(
          (edit) => edit.channel !== channel || edit.step !== session.state.time,
        );
        go({ edits: [...rest, { channel, step: session.state.time, value: typed }] });
      },
    });
    fill(
      bar,
      names.length > 1 ? element("label", {}, "Channel", select) : null,
      toggle("Draw freely", drawing, () => {
        drawing = !drawing;
        draw();
      }),
      element("label", {}, `Step ${session.state.time}`, number),
    );
    const steps = session.steps;
    cursor.style.left = `${(session.state.time / steps) * 100}%`;
    cursor.style.width = `${100 / steps}%`;
    fill(
      tableBox,
      numbersTable(
        "input",
        `Input at step ${session.state.time} as numbers`,
        ["channel", "value"],
        () => names.map((name, k) => [name, session.inputAt(session.state.time, k)]),
      ),
    );
    const key = `${session.version} ${channel} ${session.isEdited}`;
    if (key === drawnFrom) return;
    drawnFrom = key;
    const [low, high] = session.channelRange(channel);
    const lines = names.map((_, k) => {
      const [lowest, highest] = session.channelRange(k);
      return drawn("path", {
        d: curve(session.input, k, names.length, steps, lowest, highest),
        class: k === channel ? "line n0" : "line faint n7",
      });
    });
    const original = drawn("path", {
      d: curve(session.original, channel, names.length, steps, low, high),
      class: "line before n7",
    });
    // The chosen channel is drawn last, on top of the others.
    fill(
      chart,
      overSteps(
        steps,
        150,
        ...lines.filter((_, k) => k !== channel),
        ...(session.isEdited ? [original] : []),
        lines[channel]!,
      ),
      cursor,
    );
    about.textContent =
      `One sequence, ${steps} steps of ${names.length} channel${names.length === 1 ? "" : "s"}. ${names[channel]} runs from ${shortNumber(low)} to ${shortNumber(high)}` +
      `${names.length > 1 ? "; the others are faint, each on its own scale" : ""}. ${session.isEdited ? "Dashed: as it was." : "Drag up or down at a step to change it."}`;
  };
  return { node, draw };
}
