/** Measured memory curves: the share of an input's influence that is left after some steps. */

import { drawn, element, fill } from "./dom.ts";
import type { Panel } from "./panels.ts";
import { frame, numbersTable } from "./panels.ts";
import type { Session } from "./session.ts";

/** The panel of the memory curves, or null where none were measured. */
export function memoryPanel(session: Session): Panel | null {
  const curves = session.document.memory;
  if (curves.length === 0) return null;
  const { node, body } = frame("Memory: what is left after some steps", "memory");
  const draw = (): void => {
    const lags = Math.max(...curves.map((curve) => curve.left.length));
    const width = 480;
    const height = 180;
    const lines = curves.map((curve, k) =>
      drawn("path", {
        class: `line n${k % 8}`,
        d: curve.left
          .map(
            (share, lag) =>
              `${lag === 0 ? "M" : "L"}${36 + (lag / Math.max(1, lags - 1)) * width},${8 + (1 - Math.max(0, Math.min(1, share))) * height}`,
          )
          .join(""),
      }),
    );
    fill(
      body,
      drawn(
        "svg",
        {
          class: "chart",
          viewBox: `0 0 ${width + 52} ${height + 34}`,
          role: "img",
          "aria-label": "Memory curves; the numbers are in the table below",
        },
        ...[0, 0.5, 1].flatMap((share) => [
          drawn("path", { class: "grid", d: `M36,${8 + (1 - share) * height}h${width}` }),
          drawn(
            "text",
            { x: 30, y: 12 + (1 - share) * height, "text-anchor": "end" },
            `${share * 100}`,
          ),
        ]),
        drawn("text", { x: 36, y: height + 28 }, "0"),
        drawn("text", { x: 36 + width, y: height + 28, "text-anchor": "end" }, `${lags - 1} steps`),
        ...lines,
      ),
      element(
        "ul",
        { class: "legend" },
        ...curves.map((curve, k) =>
          element(
            "li",
            { class: `n${k % 8}`, title: curve.about },
            element("i", { class: "swatch" }),
            curve.layer === "" ? curve.name : `${curve.name}, ${curve.layer}`,
          ),
        ),
      ),
      element(
        "p",
        { class: "quiet" },
        "Percent of the influence that is left after so many steps. ",
        curves[0]!.about,
      ),
      numbersTable(
        "memory",
        "The curves as numbers",
        ["steps", ...curves.map((curve) => curve.name)],
        () =>
          Array.from({ length: lags }, (_, lag) => [
            String(lag),
            ...curves.map((curve) => curve.left[lag] ?? ""),
          ]),
      ),
    );
  };
  return { node, draw, key: () => "" };
}
