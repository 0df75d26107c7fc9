/** Shift and drag: a stretch of time chosen with the pointer. */

import { element } from "./dom.js";

/** Calls `chosen(from, to)` with µs; `candles()` are those on screen, `armed()` says that no Shift is needed. */
export function listenToDrags(container, chart, candles, armed, chosen) {
  const shade = element("div", { className: "stretch", hidden: true });
  container.after(shade);
  let from = null;
  const x = (event) => event.clientX - container.getBoundingClientRect().left;
  container.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !(event.shiftKey || armed())) return;
    from = x(event);
    shade.hidden = false;
    place(shade, from, from);
    container.setPointerCapture(event.pointerId);
    event.stopPropagation();
    event.preventDefault();
  }, { capture: true });
  for (const kind of ["mousedown", "touchstart"]) {
    container.addEventListener(kind, (event) => { if (from !== null) event.stopPropagation(); }, { capture: true });
  }
  container.addEventListener("pointermove", (event) => { if (from !== null) place(shade, from, x(event)); }, { capture: true });
  container.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const ends = [from, x(event)].sort((one, other) => one - other);
    from = null;
    shade.hidden = true;
    const { times } = candles();
    const at = (pixel, round) => Math.min(times.length - 1, Math.max(0, round(chart.time.coordinateToLogical(pixel) ?? 0)));
    if (ends[1] - ends[0] > 3 && times.length) chosen(times[at(ends[0], Math.round)], times[at(ends[1], Math.round)] + 1);
  }, { capture: true });
}

function place(shade, from, to) {
  shade.style.left = `${Math.min(from, to)}px`;
  shade.style.width = `${Math.abs(to - from)}px`;
}
