/** The keyboard: time, unit, value, zoom and play, wherever nothing is typed. */

import type { Session } from "./session.ts";
import type { State, Zoom } from "./state.ts";

const ZOOMS: Record<string, Zoom> = { "1": "model", "2": "layer", "3": "cell", "4": "formula" };

/** Listen to the keys of the page. */
export function onKeys(
  session: Session,
  go: (patch: Partial<State>) => void,
  play: () => void,
): void {
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target.closest("input, textarea, select")) return;
    const { state } = session;
    const move = (steps: number): void =>
      go({ time: Math.max(0, Math.min(session.steps - 1, state.time + steps)) });
    const next = <T>(items: readonly T[], present: T, by: number): T =>
      items[Math.max(0, Math.min(items.length - 1, items.indexOf(present) + by))] ?? present;
    const zoom = ZOOMS[event.key];
    if (zoom !== undefined) go({ zoom });
    else if (event.key === "ArrowLeft") move(event.shiftKey ? -10 : -1);
    else if (event.key === "ArrowRight") move(event.shiftKey ? 10 : 1);
    else if (event.key === "Home") go({ time: 0 });
    else if (event.key === "End") go({ time: session.steps - 1 });
    else if (event.key === "ArrowUp") go({ unit: next(session.order(state.name), state.unit, -1) });
    else if (event.key === "ArrowDown")
      go({ unit: next(session.order(state.name), state.unit, 1) });
    else if (event.key === "[") go({ name: next(session.names(), state.name, -1) });
    else if (event.key === "]") go({ name: next(session.names(), state.name, 1) });
    else if (event.key === "Escape") go({ span: null });
    else if (event.key === " " && target.closest("button, summary") === null) play();
    else return;
    event.preventDefault();
  });
}
