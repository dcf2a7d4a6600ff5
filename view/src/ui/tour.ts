/**
 * The guided tour: ten short steps, from the event to the gradient that does not vanish.
 *
 * Each step has something to do on the page and an answer that is checked, with the numbers of the
 * model that is open. What a cell does not have is explained, and asked about, in words.
 */

import { element, fill, shortNumber } from "./dom.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";

/** Check what was done or answered: null if it is right, else a hint. */
type Check = (session: Session, answer: string) => string | null;

interface Step {
  title: string;
  text: (session: Session) => string[];
  task: (session: Session) => string;
  /** The panel in which it is done. */
  panel: string;
  /** Choices to pick from, or null where a number is typed, or undefined where something is done. */
  choices?: (session: Session) => string[] | null;
  check: Check;
  done: (session: Session) => string;
  view: (session: Session) => Partial<State>;
}

function close(answer: string, right: number, tolerance: number): string | null {
  const value = Number(answer.trim().replace("−", "-").replace(",", "."));
  if (answer.trim() === "" || !Number.isFinite(value)) return "Type a number, such as 0.25.";
  if (Math.abs(value - right) <= tolerance) return null;
  return Math.abs(value - right) < 10 * tolerance
    ? "Close, but not quite."
    : "Not yet. Compute it again from the text above.";
}

function choose(right: number, hint: string, choices: readonly string[]): Check {
  return (_, answer) => (answer === choices[right] ? null : answer === "" ? "Pick one." : hint);
}

const PEEPHOLE = ["The forget gate", "The input gate", "The output gate"] as const;
const GRU = ["It is replaced by the candidate", "It stays as it was", "It becomes 0"] as const;

/** The value of the looked-at layer under a role's name, or its letter in words. */
function letter(session: Session, role: "keep" | "show" | "memory"): string {
  return session.roles[role] ?? "";
}

const STEPS: readonly Step[] = [
  {
    panel: "tracks",
    title: "An event arrives at every step",
    text: (s) => [
      "A recurrent network reads a sequence one event at a time. " +
        (s.isText
          ? "Here an event is a character."
          : "Here an event is a row of numbers, one for each channel.") +
        " The marked column in all pictures is one step, and everything on the page belongs to it.",
    ],
    task: () => "Move the cursor to a later step: click into a picture, or press the → key.",
    check: (s) => (s.state.time > 0 ? null : "The cursor is still at the first step."),
    done: () => "Every picture followed, because they share one cursor.",
    view: (s) => ({ zoom: "model", time: 0, name: s.full("output") }),
  },
  {
    panel: "zoom",
    title: "Two memories, or only one",
    text: (s) =>
      s.roles.memory !== null && s.roles.memory !== s.roles.output
        ? [
            `The layer remembers two rows of numbers. The short-term memory ${letterOf(s, "output")} is also the answer of the step. ` +
              `The long-term memory ${letter(s, "memory")} runs along the thick straight line of the diagram: only gates touch it.`,
          ]
        : [
            `This cell, ${s.layer.cell}, has one memory, ${letterOf(s, "output")}, which is also its answer. An LSTM has two: ` +
              "a short-term memory h, its answer, and a long-term memory c that only gates touch.",
          ],
    task: () => "Which of an LSTM's memories does the next layer read?",
    choices: () => ["The short-term memory h", "The long-term memory c"],
    check: (s, answer) =>
      choose(0, "The long-term memory stays inside of the cell.", [
        "The short-term memory h",
        "The long-term memory c",
      ])(s, answer),
    done: () =>
      "The short-term memory is what a cell shows to others; the long-term memory is its own.",
    view: () => ({ zoom: "layer" }),
  },
  {
    panel: "tracks",
    title: "The learn gate: how much of the new is taken in",
    text: (s) =>
      s.has("learn")
        ? [
            "From the event and the short-term memory the cell makes a candidate g between −1 and 1, and a factor i between 0 and 1. " +
              "The learn gate lets learn = i · g through: i near 0 means that the event is ignored.",
          ]
        : [
            `An LSTM makes a candidate g between −1 and 1 and a factor i between 0 and 1; its learn gate lets learn = i · g through. ` +
              `${s.layer.cell} has no gate of that name.`,
          ],
    task: (s) =>
      s.has("learn")
        ? `Put the cursor on the step at which unit ${s.state.unit} learns most: where its row is deepest in the track “learn”.`
        : "If i = 0.5 and g = −0.8, what is learnt?",
    choices: (s) => (s.has("learn") ? undefined! : null),
    check: (s, answer) => {
      if (!s.has("learn")) return close(answer, -0.4, 0.01);
      const best = s.largestStep(s.full("learn"), s.state.unit);
      const here = Math.abs(s.at(s.full("learn"), s.state.time, s.state.unit));
      const most = Math.abs(s.at(s.full("learn"), best, s.state.unit));
      return here >= 0.95 * most
        ? null
        : `Here it learns ${shortNumber(here)}; somewhere it learns ${shortNumber(most)}.`;
    },
    done: (s) => (s.has("learn") ? `That is step ${s.state.time}.` : "0.5 · −0.8 = −0.4."),
    view: (s) => ({
      zoom: "cell",
      name: s.has("learn") ? s.full("learn") : s.full("output"),
      lines: false,
    }),
  },
  {
    panel: "hold",
    title: "The forget gate: how much of the old is left",
    text: (s) => [
      s.roles.keep !== null
        ? `At each step the long-term memory is multiplied by a factor between 0 and 1, here ${letter(s, "keep")}${s.keepIsShut ? " (as 1 minus it)" : ""}. ` +
          "1 keeps everything, 0 wipes it out. Units with a factor near 1 remember for long."
        : `${s.layer.cell} has no forget gate: its memory is rewritten at each step. In an LSTM the long-term memory is multiplied by a factor f between 0 and 1.`,
    ],
    task: (s) =>
      s.roles.keep !== null
        ? `Wipe the memory: hold ${letter(s, "keep")} of all units at ${s.keepIsShut ? 1 : 0} with “Hold a value” and watch the track of ${letterOf(s, "memory")} and the prediction.`
        : "If f = 0.9 at each step, what share of the memory is left after two steps?",
    choices: (s) => (s.roles.keep !== null ? undefined! : null),
    check: (s, answer) => {
      if (s.roles.keep === null) return close(answer, 0.81, 0.005);
      const wiped = s.keepIsShut ? 1 : 0;
      const held = s.state.holds.some(
        (hold) => hold.name === s.full("keep") && hold.value === wiped,
      );
      return held ? null : `Choose ${letter(s, "keep")}, the value ${wiped}, and press Hold.`;
    },
    done: (s) =>
      s.roles.keep !== null
        ? "What came before the held steps no longer reaches the prediction. Release the hold to get it back."
        : "0.9 · 0.9 = 0.81.",
    view: (s) => ({
      zoom: "cell",
      name: s.roles.keep !== null ? s.full("keep") : s.full("output"),
      holds: [],
    }),
  },
  {
    panel: "zoom",
    title: "The remember gate: the new long-term memory",
    text: (s) => {
      if (!s.has("learn") || !s.has("forget") || !s.has("remember")) {
        return [
          "In an LSTM the remember gate adds what was learnt to what is left of the old: remember = learn + forget. If learn = 0.3 and forget = −0.1, add them.",
        ];
      }
      const learn = s.at(s.full("learn"), s.state.time, s.state.unit);
      const forget = s.at(s.full("forget"), s.state.time, s.state.unit);
      return [
        "The remember gate adds what was learnt to what is left of the old: remember = learn + forget. " +
          `At this step, in unit ${s.state.unit}, learn is ${learn.toFixed(3)} and forget is ${forget.toFixed(3)}.`,
      ];
    },
    task: () => "What is the new long-term memory?",
    choices: () => null,
    check: (s, answer) =>
      s.has("learn") && s.has("forget") && s.has("remember")
        ? close(answer, s.at(s.full("remember"), s.state.time, s.state.unit), 0.006)
        : close(answer, 0.2, 0.006),
    done: () => "An addition, not a product: this is what the gradient will travel along.",
    view: (s) => ({
      zoom: "formula",
      holds: [],
      name: s.has("remember") ? s.full("remember") : s.full("memory"),
    }),
  },
  {
    panel: "hold",
    title: "The use gate: the new short-term memory",
    text: (s) => [
      s.has("use")
        ? "The use gate shows a part of the long-term memory: use = o · tanh(remember), with a factor o between 0 and 1. It is the answer of the step and the next step's short-term memory."
        : `In an LSTM the use gate shows a part of the long-term memory: use = o · tanh(remember). ${s.layer.cell} shows its memory as it is.`,
    ],
    task: (s) =>
      s.roles.show !== null
        ? `Close it: hold ${letter(s, "show")} of all units at 0. What does the network still say?`
        : "If o = 0, what does an LSTM show of its memory?",
    choices: (s) => (s.roles.show !== null ? undefined! : null),
    check: (s, answer) => {
      if (s.roles.show === null) return close(answer, 0, 0.001);
      return s.state.holds.some((hold) => hold.name === s.full("show") && hold.value === 0)
        ? null
        : `Choose ${letter(s, "show")}, the value 0, and press Hold.`;
    },
    done: (s) =>
      s.roles.show !== null
        ? "Nothing is shown, so the answer is the same whatever came in. The memory itself is still there."
        : "Nothing: 0 · tanh(remember) = 0.",
    view: (s) => ({
      zoom: "cell",
      holds: [],
      name: s.has("use") ? s.full("use") : s.full("output"),
    }),
  },
  {
    panel: "zoom",
    title: "Peepholes: gates that see the long-term memory",
    text: (s) => [
      "The gates of an LSTM decide from the event and the short-term memory. With peepholes they also see the long-term memory: the forget and the input gate the old one, since the new one is not there yet. " +
        (s.hasPeephole
          ? "In the diagram they are the dashed lines."
          : `The cell of this model, ${s.layer.cell}, has none; gatewright look peephole_lstm shows them.`),
    ],
    task: () => "Which gate can see the new long-term memory?",
    choices: () => [...PEEPHOLE],
    check: choose(2, "This gate decides before the new memory is complete.", PEEPHOLE),
    done: () => "The output gate comes last, so it sees what was remembered in the same step.",
    view: () => ({ zoom: "cell", holds: [] }),
  },
  {
    panel: "zoom",
    title: "The GRU: two gates on one memory",
    text: () => [
      "A gated recurrent unit has one memory h, and one factor z that does both at once: h' = (1 − z) · n + z · h, with a candidate n. What is not kept is replaced.",
    ],
    task: () => "With z = 1, what happens to the memory?",
    choices: () => [...GRU],
    check: choose(1, "Put z = 1 into the equation.", GRU),
    done: () => "z is the forget factor of a GRU, and 1 − z its input factor.",
    view: () => ({ zoom: "formula", holds: [] }),
  },
  {
    panel: "influence",
    title: "Why a plain RNN forgets after 8 to 10 steps",
    text: () => [
      "Learning follows the influence of an input on a later answer, step by step backwards. In a plain RNN each step multiplies it by the same matrix and by a slope of at most 1. " +
        "The panel “Influence” shows it: the bars are the share of each input in the answer.",
    ],
    task: () => "If a step leaves a share of 0.7, what share is left after 10 steps?",
    choices: () => null,
    check: (_, answer) => close(answer, 0.7 ** 10, 0.003),
    done: () => "0.7¹⁰ = 0.028: too little to learn from. A share above 1 would explode instead.",
    view: (s) => ({ zoom: "layer", holds: [], time: Math.max(0, s.steps - 1) }),
  },
  {
    panel: "influence",
    title: "Why the gradient of an LSTM does not vanish",
    text: (s) => [
      "Along the long-term memory a step multiplies the influence only by the forget factor, and the gate can learn to be near 1. " +
        (s.roles.keep !== null
          ? `Hold ${letter(s, "keep")} at ${s.keepIsShut ? 0 : 1} and look at the influence of early steps.`
          : "An RNN has no such factor."),
    ],
    task: () => "With a forget factor of 0.99, what share is left after 100 steps?",
    choices: () => null,
    check: (_, answer) => close(answer, 0.99 ** 100, 0.01),
    done: () =>
      "0.99¹⁰⁰ = 0.37, where 0.7¹⁰⁰ is 3 · 10⁻¹⁶. The gate decides how long to remember, and it learns that from data.",
    view: (s) => ({
      zoom: "cell",
      holds: [],
      name: s.roles.keep !== null ? s.full("keep") : s.full("output"),
      time: Math.max(0, s.steps - 1),
    }),
  },
];

/** How many steps the tour has. */
export const TOUR_STEPS = STEPS.length;

function letterOf(session: Session, role: "memory" | "output"): string {
  return session.roles[role] ?? session.roles.output ?? "h";
}

/** The panel of the tour; it draws itself again when the state changes. */
export class Tour {
  readonly node = element("section", { class: "panel tour wide", "aria-label": "Guided tour" });
  private drawnStep = 0;
  private answer = "";
  private passed = false;
  private asked = false;

  constructor(
    private readonly session: Session,
    private readonly go: (patch: Partial<State>) => void,
  ) {}

  /** Enter a step of the tour, or leave it with 0. */
  enter(step: number): void {
    const entered = STEPS[step - 1];
    this.go({
      tour: entered === undefined ? 0 : step,
      ...(entered === undefined ? {} : entered.view(this.session)),
    });
  }

  draw(): void {
    const { tour } = this.session.state;
    const step = STEPS[tour - 1];
    this.node.hidden = step === undefined;
    if (step === undefined) {
      this.drawnStep = 0;
      return;
    }
    if (this.drawnStep !== tour) {
      this.drawnStep = tour;
      this.answer = "";
      this.passed = false;
      this.asked = false;
    }
    const choices = step.choices?.(this.session);
    // What is done on the page is noticed at once; an answer is checked when it is given.
    if (choices === undefined && !this.passed) this.passed = step.check(this.session, "") === null;
    const active = document.activeElement;
    const typing = active instanceof HTMLInputElement && this.node.contains(active);
    if (typing && !this.asked) return;
    const hint = this.passed || !this.asked ? null : step.check(this.session, this.answer);
    fill(
      this.node,
      element(
        "header",
        {},
        element("h2", {}, `${tour} of ${STEPS.length}: ${step.title}`),
        element(
          "button",
          { type: "button", class: "plain", onclick: () => this.go({ tour: 0 }) },
          "End the tour",
        ),
      ),
      ...step.text(this.session).map((text) => element("p", {}, text)),
      element("p", { class: "task" }, step.task(this.session)),
      choices === undefined ? null : this.answering(step, choices),
      element(
        "div",
        { role: "status" },
        this.passed ? element("p", { class: "done" }, `✓ ${step.done(this.session)}`) : null,
        hint === null ? null : element("p", { class: "missed" }, hint),
      ),
      element(
        "div",
        { class: "row" },
        element(
          "button",
          {
            type: "button",
            class: "chip",
            disabled: tour === 1,
            onclick: () => this.enter(tour - 1),
          },
          "Back",
        ),
        element(
          "button",
          {
            type: "button",
            class: "chip",
            onclick: () => document.getElementById(step.panel)?.scrollIntoView({ block: "center" }),
          },
          "Show the place",
        ),
        element(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": this.passed ? "true" : "false",
            onclick: () => this.enter(tour + 1),
          },
          tour === STEPS.length ? "Finish" : "Next",
        ),
      ),
    );
    this.asked = false;
  }

  private answering(step: Step, choices: string[] | null): HTMLElement {
    const ask = (answer: string): void => {
      this.answer = answer;
      this.asked = true;
      this.passed = step.check(this.session, answer) === null;
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      this.draw();
    };
    if (choices !== null) {
      const buttons = choices.map((choice) =>
        element(
          "button",
          {
            type: "button",
            class: "chip",
            "aria-pressed": this.answer === choice ? "true" : "false",
            onclick: () => ask(choice),
          },
          choice,
        ),
      );
      return element("div", { class: "row" }, ...buttons);
    }
    const input = element("input", {
      type: "text",
      inputmode: "decimal",
      "aria-label": "Your answer",
      value: this.answer,
      size: "8",
    });
    return element(
      "form",
      {
        class: "row",
        onsubmit: (event: Event) => {
          event.preventDefault();
          ask(input.value);
        },
      },
      input,
      element("button", { type: "submit", class: "chip" }, "Check"),
    );
  }
}
