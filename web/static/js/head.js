/** The bar at the top: instrument, interval, what the cells show, panes and layers. */

import { button, element, write } from "./dom.js";
import { price } from "./format.js";
import { MODES, RANGES, ROWS } from "./settings.js";
import { PANES } from "./chart.js";

export const LAYERS = {
  profile: "Volume profile", stacks: "Stacked imbalances", liquidations: "Liquidations", trades: "Large trades",
  indicators: "Indicators",
};

const USUAL = ["10s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"];

export class Head {
  #pressed = []; // [button, () => whether]
  #selects = [];
  #intervals = element("div", { className: "group", role: "group", "aria-label": "Interval" });
  #before = 0;
  intervals = [];

  constructor(container, settings, actions) {
    this.settings = settings;
    this.name = element("span");
    this.where = element("small");
    this.instrument = element("button", { type: "button", className: "instrument", title: "Choose the instrument (/)", onclick: actions.pick }, this.name, this.where);
    this.last = element("span", { className: "price", id: "last", title: "Last price" }, "–");
    this.state = element("span", { className: "state", id: "state", role: "status", "data-state": "waiting" }, "connecting");
    this.gaps = element("button", { type: "button", className: "badge", id: "gaps", hidden: true, title: "Open gaps in this feed: show them", onclick: () => settings.set({ view: "operations" }) });
    container.append(
      this.instrument, this.last, this.state, this.gaps, rule(), this.#intervals, rule(),
      this.#choice("mode", MODES, "Cells"),
      this.#choice("row", Object.fromEntries(ROWS.map((n) => [n, n ? `Row × ${n}` : "Row auto"])), "Row height"),
      this.#choice("range", Object.fromEntries(Object.entries(RANGES).map(([name, text]) => [name, `Profile: ${text.toLowerCase()}`])), "Profile"), rule(),
      this.#menu(), element("span", { className: "space" }),
      this.#toggle("Tape", "Time and sales (T)", () => settings.get("tape"), () => settings.set({ tape: !settings.get("tape") })),
      this.#toggle("Ops", "Operations: streams, lag, gaps (O)", () => settings.get("view") === "operations", actions.operations),
      button("◐", "Dark or light (D)", actions.theme, { id: "theme", "aria-label": "Dark or light" }),
      button("?", "Help and shortcuts (?)", actions.help, { id: "helpButton", "aria-label": "Help" }),
    );
    settings.listen(() => this.refresh());
    this.setIntervals(USUAL);
  }

  /** The intervals there are. */
  setIntervals(names) {
    if (String(names) === String(this.intervals)) return;
    this.intervals = names;
    this.#intervals.replaceChildren(...names.map((name) =>
      this.#toggle(name, `${name} candles`, () => this.settings.get("interval") === name, () => this.settings.set({ interval: name }))));
    this.refresh();
  }

  refresh() {
    write(this.name, this.settings.get("symbol") || "Choose");
    write(this.where, this.settings.get("exchange"));
    this.#pressed = this.#pressed.filter(([node]) => node.isConnected);
    for (const [node, pressed] of this.#pressed) node.setAttribute("aria-pressed", String(pressed()));
    for (const [node, name] of this.#selects) node.value = String(this.settings.get(name));
  }

  /** The newest price; coloured by the way it went. */
  showPrice(candle) {
    write(this.last, candle ? price(candle.close, candle.tick) : "–");
    if (candle && candle.close !== this.#before) this.last.dataset.side = candle.close > this.#before ? "up" : "down";
    this.#before = candle?.close ?? 0;
  }

  showState({ state, text, why = "", gaps }) {
    this.state.dataset.state = state;
    write(this.state, text);
    this.state.title = why;
    this.gaps.hidden = !gaps;
    write(this.gaps, gaps === 1 ? "1 gap" : `${gaps} gaps`);
  }

  #toggle(text, title, pressed, onclick) {
    const made = button(text, title, onclick, { "aria-pressed": String(pressed()) });
    this.#pressed.push([made, pressed]);
    return made;
  }

  #choice(name, options, label) {
    const select = element("select", { "data-setting": name, "aria-label": label, onchange: () => {
      this.settings.set({ [name]: name === "row" ? Number(select.value) : select.value });
    } }, ...Object.entries(options).map(([value, text]) => element("option", { value }, text)));
    this.#selects.push([select, name]);
    return select;
  }

  /** A button that opens a list of things to show or hide. */
  #menu() {
    const opener = element("button", { type: "button", title: "Panes and layers to show", popovertarget: "menu-view", id: "viewButton" }, "View ▾");
    const list = element("div", { className: "menu", id: "menu-view", popover: "auto" },
      element("h3", {}, "Panes"), ...this.#boxes("panes", Object.entries(PANES).map(([name, { title }]) => [name, title])),
      element("h3", {}, "Layers"), ...this.#boxes("layers", Object.entries(LAYERS)));
    list.addEventListener("beforetoggle", () => {
      const { left, bottom } = opener.getBoundingClientRect();
      list.style.left = `${Math.max(8, Math.min(left, innerWidth - 220))}px`;
      list.style.top = `${bottom + 4}px`;
    });
    return element("div", { className: "group" }, opener, list);
  }

  #boxes(name, options) {
    return options.map(([word, title]) => {
      const box = element("input", { type: "checkbox", value: word, onchange: () => this.settings.toggle(name, word) });
      const show = () => { box.checked = this.settings.get(name).includes(word); };
      this.settings.listen(show);
      show();
      return element("label", {}, box, title);
    });
  }
}

const rule = () => element("span", { className: "rule" });
