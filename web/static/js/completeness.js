/** How complete each hour of each feed is, as a heat map of cells. */

import { element } from "./dom.js";
import { moment, whole } from "./format.js";

const HOURS_MAX = 24;

/** `slots` are rows of /api/completeness, ascending. */
export function completeness(slots) {
  const times = [...new Set(slots.map((slot) => slot.timestamp))].sort((one, other) => one - other).slice(-HOURS_MAX);
  const feeds = new Map();
  for (const slot of slots) {
    const name = `${slot.exchange} ${slot.symbol} ${slot.channel}`;
    if (!feeds.has(name)) feeds.set(name, new Map());
    feeds.get(name).set(slot.timestamp, slot);
  }
  const head = element("tr", {}, element("th", {}, "Feed"), ...times.map((time) => element("th", {}, moment(time).slice(11, 13))));
  const rows = [...feeds].sort(([one], [other]) => one.localeCompare(other)).map(([name, found]) =>
    element("tr", {}, element("td", {}, name), ...times.map((time) => cell(found.get(time)))));
  return element("table", { className: "heat" }, element("thead", {}, head), element("tbody", {}, ...rows));
}

const WORDS = { complete: "complete", quiet: "nothing traded", missing: "missing", surplus: "more than expected", unknown: "not known" };

function cell(slot) {
  if (!slot || slot.percent === null) return element("td", {}, element("i", { className: "none", title: slot ? "not known" : "not audited" }));
  const share = slot.percent / 100;
  const counted = slot.expected === null ? "" : `, ${whole(slot.missing ?? 0)} of ${whole(slot.expected)} missing`;
  const made = element("i", { title: `${moment(slot.timestamp)}: ${slot.percent.toFixed(3)} %, ${WORDS[slot.verdict] ?? slot.verdict}${counted} (${slot.evidence})` });
  made.className = share >= 1 ? "whole" : share > 0.999 ? "nearly" : share > 0.98 ? "less" : "poor";
  return element("td", {}, made);
}
