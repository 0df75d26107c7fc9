/** Keys for everything that is done often. */

import { MODES, ROWS } from "./settings.js";

const SCROLL_BARS = 3;
const next = (list, held, step = 1) => list[(list.indexOf(held) + step + list.length) % list.length];

/** Key → [what it does in words, how]. */
export const KEYS = {
  "/": ["choose an instrument", (page) => page.head.instrument.click()],
  "1 … 8": ["interval", null],
  m: ["cells: sells × buys, delta, volume", ({ settings }) => settings.set({ mode: next(Object.keys(MODES), settings.get("mode")) })],
  "[": ["lower rows", ({ settings }) => settings.set({ row: next(ROWS, settings.get("row"), -1) })],
  "]": ["higher rows", ({ settings }) => settings.set({ row: next(ROWS, settings.get("row")) })],
  "+": ["wider candles", ({ chart }) => chart.zoom(1.25)],
  "-": ["narrower candles", ({ chart }) => chart.zoom(0.8)],
  ArrowLeft: ["back in time", ({ chart }) => chart.scroll(-SCROLL_BARS)],
  ArrowRight: ["forward", ({ chart }) => chart.scroll(SCROLL_BARS)],
  End: ["to the newest candle", ({ chart }) => chart.toNow()],
  r: ["fit the price scale", ({ chart }) => chart.resetPrice()],
  p: ["volume profile", ({ settings }) => settings.toggle("layers", "profile")],
  t: ["time and sales", ({ settings }) => settings.set({ tape: !settings.get("tape") })],
  o: ["operations", (page) => page.toggleView()],
  d: ["dark or light", (page) => page.toggleTheme()],
  "?": ["this help", (page) => page.help()],
};

export function listenToKeys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, dialog[open]")) return;
    const digit = Number(event.key);
    if (digit >= 1) {
      const chosen = page.head.intervals[digit - 1];
      if (chosen) page.settings.set({ interval: chosen });
      return;
    }
    const action = KEYS[event.key === "=" ? "+" : event.key.length === 1 ? event.key.toLowerCase() : event.key]?.[1];
    if (!action || document.querySelector("dialog[open]")) return;
    action(page);
    event.preventDefault();
  });
}
