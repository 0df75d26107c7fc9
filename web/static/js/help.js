/** What the marks mean, and the keys. */

import { button, element } from "./dom.js";
import { KEYS } from "./keyboard.js";

const NAMES = { ArrowLeft: "←", ArrowRight: "→" };
const MARKS = [
  ["Left and right of a cell", "volume sold and bought at that price by the aggressor; the stronger the colour, the larger"],
  ["Full colour, bold", "diagonal imbalance: more than 300 % of the opposite side one row off"],
  ["Yellow frame", "point of control: the row with the most volume"],
  ["Line beside the cells", "value area: 70 % of the volume"],
  ["Violet dashes", "unfinished auction: both sides traded at the extreme"],
  ["Bands to the right", "stacked imbalances, three rows or more, until price has gone through them"],
  ["Amber column", "a gap in the trades overlaps the candle; it clears when the gap is filled"],
];

/** Opens the dialog; its content is made once. */
export function openHelp(dialog) {
  if (dialog.open) return dialog.close();
  if (!dialog.children.length) dialog.append(...content(dialog));
  return dialog.showModal();
}

function content(dialog) {
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  const keys = Object.entries(KEYS).map(([key, [words]]) =>
    element("div", {}, element("kbd", {}, NAMES[key] ?? key), element("span", {}, words)));
  const marks = MARKS.flatMap(([name, words]) => [element("dt", {}, name), element("dd", {}, words)]);
  return [
    element("header", {}, element("h2", {}, "Keys and marks"), button("✕", "Close (Esc)", () => dialog.close(), { "aria-label": "Close" })),
    element("div", { className: "keys" }, ...keys),
    element("p", { className: "hint" }, "Shift and drag on the chart: profile of that stretch of time. Drag an axis to stretch it, double-click to fit. The address of this page is the view: share it."),
    element("dl", {}, ...marks),
    element("p", { className: "hint" }, "TradingView Lightweight Charts™. Copyright © 2026 TradingView, Inc. ",
      element("a", { href: "https://www.tradingview.com/", target: "_blank", rel: "noopener" }, "https://www.tradingview.com/"),
      " Licensed under the Apache License, Version 2.0."),
  ];
}
