/** Search: where else the units are on that are on over the selected span (after LSTMVis). */

import { palette } from "./colours.ts";
import { element, fill } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame } from "./panels.ts";
import type { Session } from "./session.ts";
import type { State } from "./state.ts";
import { paintHeat } from "./tracks.ts";

/** Matches that are listed. */
const LISTED = 8;
/** Steps before and after a match that are drawn with it. */
const AROUND = 6;

/** The panel of the search. */
export function searchPanel(session: Session, go: (patch: Partial<State>) => void): Panel {
  const { node, body } = frame("Search: where else are these units on?", "search");
  const controls = element("div", { class: "row" });
  const results = element("div", { class: "found" });
  const about = element("p", { class: "quiet", role: "status" });
  body.append(controls, about, results);
  let done = "";
  const draw = (): void => {
    const { state } = session;
    if (!(
      document.activeElement instanceof HTMLInputElement &&
      controls.contains(document.activeElement)
    )) {
      const range = session.limit(state.name) ?? 1;
      const isFactor = session.limit(state.name) === null;
      const slider = element("input", {
        type: "range",
        min: isFactor ? 0 : -range,
        max: range,
        step: range / 50,
        value: state.threshold,
        "aria-label": "Threshold",
        oninput: () => go({ threshold: Number(slider.value) }),
      });
      const names = element(
        "select",
        { "aria-label": "Value to search in", onchange: () => go({ name: names.value }) },
        ...session
          .names()
          .map((name) =>
            element("option", { value: name, selected: name === state.name }, session.label(name)),
          ),
      );
      fill(
        controls,
        element("label", {}, "Units on in", names),
        element("label", {}, `above ${Number(state.threshold.toPrecision(3))}`, slider),
      );
    } else {
      const label = controls.querySelectorAll("label")[1]?.firstChild;
      if (label) label.textContent = `above ${Number(state.threshold.toPrecision(3))}`;
    }
    if (state.span === null) {
      done = "";
      about.textContent = "Drag over some steps in the tracks to select a span.";
      fill(results);
      return;
    }
    const key = `${session.version} ${state.name} ${state.span.join()} ${state.threshold} ${session.theme} ${session.exampleCount}`;
    if (key === done) return;
    done = key;
    const { units, matches } = session.search();
    if (units.length === 0) {
      about.textContent = `No unit of ${session.label(state.name)} is above ${state.threshold} at all steps from ${state.span[0]} to ${state.span[1]}. Lower the threshold, or select a shorter span.`;
      fill(results);
      return;
    }
    about.textContent =
      `${units.length} unit${units.length === 1 ? " is" : "s are"} on from step ${state.span[0]} to ${state.span[1]}: ${units.slice(0, 12).join(", ")}${units.length > 12 ? " and others" : ""}. ` +
      (matches.length === 0
        ? `Nowhere else in the ${session.exampleCount} examples are they on together.`
        : `Where they are on together in ${session.exampleCount} example${session.exampleCount === 1 ? "" : "s"}, the best ${Math.min(LISTED, matches.length)} of ${matches.length}, aligned at their first step:`);
    fill(
      results,
      ...matches.slice(0, LISTED).map((match) => {
        const piece = session.around(match, AROUND);
        const canvas = element("canvas", {
          role: "img",
          "aria-label": "The same units over these steps",
        });
        paintHeat(canvas, piece, units.slice(0, 24), palette());
        return element(
          "button",
          { type: "button", onclick: () => go(session.goTo(match)) },
          element("strong", {}, session.exampleTitle(match.example)),
          ` steps ${match.from} to ${match.to - 1}, ${Math.round(match.share * 100)} % of the units`,
          piece.text === null
            ? null
            : element(
                "span",
                { class: "tokens" },
                piece.text.before,
                element("mark", {}, piece.text.inside),
                piece.text.after,
              ),
          canvas,
        );
      }),
    );
  };
  return { node, draw };
}
