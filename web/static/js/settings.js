/** What is shown and how. The shareable part lives in the URL, everything in local storage. */

const KEY = "flowtape";
const DEFAULTS = {
  view: "chart", exchange: "", symbol: "", interval: "1m", mode: "cells", row: 0, range: "session",
  theme: "", panes: ["statistics", "cvd"], layers: ["profile", "stacks", "liquidations", "trades"],
  tape: true, tapeOf: [], tapeSize: 0, tapeSound: false,
};
const SHARED = ["view", "exchange", "symbol", "interval", "mode", "row", "range"];
export const MODES = { cells: "Sells × buys", delta: "Delta", volume: "Volume" };
export const ROWS = [0, 1, 2, 4, 8, 16, 32];
export const RANGES = {
  session: "Session", previous: "Previous", "rolling-4h": "4 hours", "rolling-24h": "24 hours", week: "Week",
  visible: "Visible", fixed: "Fixed (drag)", off: "Off",
};

/** Settings with listeners; `set` tells them which names changed. */
export class Settings {
  #listeners = [];

  constructor(storage, location, history) {
    this.storage = storage;
    this.location = location;
    this.history = history;
    this.values = { ...DEFAULTS, ...this.#stored(), ...this.#linked() };
  }

  get(name) {
    return this.values[name];
  }

  set(changes) {
    const changed = Object.keys(changes).filter((name) => !same(this.values[name], changes[name]));
    if (!changed.length) return;
    this.values = { ...this.values, ...changes };
    this.#save();
    for (const listener of this.#listeners) listener(new Set(changed));
  }

  /** Puts in or takes out one word of a list. */
  toggle(name, word) {
    const now = this.values[name];
    this.set({ [name]: now.includes(word) ? now.filter((each) => each !== word) : [...now, word] });
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  #stored() {
    try {
      return usable(JSON.parse(this.storage.getItem(KEY) ?? "{}"));
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof DOMException) return {}; // none, or none allowed
      throw error;
    }
  }

  #linked() {
    const found = Object.fromEntries(new URLSearchParams(this.location.search));
    if ("row" in found) found.row = Number(found.row);
    return usable(Object.fromEntries(SHARED.filter((name) => name in found).map((name) => [name, found[name]])));
  }

  #save() {
    const query = new URLSearchParams(SHARED.filter((name) => this.values[name] !== DEFAULTS[name] || name === "symbol")
      .map((name) => [name, String(this.values[name])]));
    this.history.replaceState(null, "", `?${query}`);
    try {
      this.storage.setItem(KEY, JSON.stringify(this.values));
    } catch (error) {
      if (!(error instanceof DOMException)) throw error; // private windows refuse: the URL still holds the view
    }
  }
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Only what has a known name, the right type and a value there is: links and old storage come from anywhere. */
function usable(found) {
  const chosen = { mode: MODES, range: RANGES, view: { chart: 1, operations: 1 } };
  return Object.fromEntries(Object.entries(found ?? {}).filter(([name, value]) =>
    name in DEFAULTS && typeof value === typeof DEFAULTS[name] && Array.isArray(value) === Array.isArray(DEFAULTS[name])
    && (!(name in chosen) || Object.hasOwn(chosen[name], value)) && (name !== "row" || ROWS.includes(value))
    && (name !== "interval" || /^\d+[smhdw]$/.test(value))));
}
