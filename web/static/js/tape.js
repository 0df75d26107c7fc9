/** Time and sales of the chosen feeds, liquidations among them. */

import { button, element } from "./dom.js";
import { clock, price, size } from "./format.js";
import { Prints } from "./prints.js";
import { isSum } from "./picker.js";
import { beep } from "./sound.js";

const ROWS_MAX = 160;
const LOOK_MS = 120;
const FEEDS_MAX = 20;
const LATE_US = 60e6;
const SIZES = [0, 1e3, 1e4, 5e4, 1e5, 5e5, 1e6];

/** What fills a gap comes late, and is no news. */
const isNow = (event) => event.received - event.timestamp < LATE_US;

export class Tape {
  #ends = [];
  #tick = 0.01;
  #rows = element("div", { className: "prints", role: "log", "aria-label": "Prints", "aria-live": "off", tabIndex: 0 });
  #bar = element("i");
  #feeds = element("div", { className: "menu", id: "menu-feeds", popover: "auto" });

  constructor(container, socket, settings, instruments) {
    Object.assign(this, { container, socket, settings, instruments });
    this.prints = new Prints(settings.get("tapeSize"));
    const opener = element("button", { type: "button", title: "Exchanges to show", popovertarget: "menu-feeds" }, "Feeds ▾");
    this.#feeds.addEventListener("beforetoggle", () => this.#menu(opener));
    this.sizes = element("select", { "aria-label": "Least value of a print", title: "Least value of a print, in quote units", onchange: () => settings.set({ tapeSize: Number(this.sizes.value) }) },
      ...SIZES.map((least) => element("option", { value: least }, least ? `≥ ${size(least)}` : "all sizes")));
    this.sound = button("♪", "Sound for large prints and liquidations", () => settings.set({ tapeSound: !settings.get("tapeSound") }), { "aria-label": "Sound" });
    container.append(
      element("header", {}, element("h2", {}, "Time & sales"), opener, this.#feeds, this.sizes, this.sound),
      element("div", { className: "pressure", title: "Bought and sold in the last minute, by value" }, this.#bar), this.#rows);
    settings.listen((changed) => this.#settings(changed));
    this.#refresh();
    setInterval(() => this.#look(), LOOK_MS);
  }

  /** Follows the chosen instrument, or the feeds chosen beside it. */
  select(tick) {
    this.#tick = tick || this.#tick;
    for (const end of this.#ends) end();
    this.#ends = [];
    this.prints = new Prints(this.settings.get("tapeSize"));
    this.#rows.replaceChildren();
    if (!this.settings.get("tape")) return;
    for (const feed of this.feeds) {
      const [exchange, symbol] = feed.split(":");
      const follow = (kind, take) => this.#ends.push(this.socket.subscribe(`md.${kind}.${exchange}.${symbol}`, take));
      follow("trade", (event) => isNow(event) && this.prints.trade(feed, event));
      follow("liquidation", (event) => isNow(event) && this.prints.liquidation(feed, event));
    }
  }

  /** Feeds of the chosen base that are switched on; the chosen instrument where none is. */
  get feeds() {
    const { exchange, symbol } = this.settings.values;
    const base = symbol.split("-")[0];
    const chosen = this.settings.get("tapeOf").filter((feed) => feed.split(":")[1]?.split("-")[0] === base);
    if (chosen.length) return chosen;
    if (!isSum(exchange)) return [`${exchange}:${symbol}`];
    const isSpot = (feed) => !/-(PERP|\d{8})$/.test(feed);
    return this.#offered().filter((feed) => isSpot(feed) === isSpot(symbol)).slice(0, FEEDS_MAX);
  }

  setTick(tick) {
    this.#tick = tick;
  }

  #offered() {
    const base = this.settings.get("symbol").split("-")[0];
    const offered = this.instruments().filter((each) => each.live && !isSum(each.exchange) && each.symbol.split("-")[0] === base);
    return offered.map((each) => `${each.exchange}:${each.symbol}`);
  }

  #menu(opener) {
    const on = this.feeds;
    this.#feeds.replaceChildren(...this.#offered().map((feed) => {
      const box = element("input", { type: "checkbox", value: feed, onchange: () => this.#choose() });
      box.checked = on.includes(feed);
      const [exchange, symbol] = feed.split(":");
      return element("label", {}, box, `${exchange} ${symbol}`);
    }));
    const { right, bottom } = opener.getBoundingClientRect();
    this.#feeds.style.left = `${Math.max(8, right - 240)}px`;
    this.#feeds.style.top = `${Math.min(bottom + 4, innerHeight - 260)}px`;
  }

  #choose() {
    const base = this.settings.get("symbol").split("-")[0];
    const others = this.settings.get("tapeOf").filter((feed) => feed.split(":")[1]?.split("-")[0] !== base);
    const chosen = [...this.#feeds.querySelectorAll("input:checked")].map((box) => box.value);
    this.settings.set({ tapeOf: [...others, ...chosen] });
  }

  #settings(changed) {
    if (changed.has("tapeOf") || changed.has("tape")) this.select();
    if (changed.has("tapeSize")) this.prints.least = this.settings.get("tapeSize");
    this.#refresh();
  }

  #refresh() {
    this.sizes.value = String(this.settings.get("tapeSize"));
    this.sound.setAttribute("aria-pressed", String(this.settings.get("tapeSound")));
  }

  #look() {
    const prints = this.prints.take();
    if (!prints.length) return;
    const many = this.feeds.length > 1;
    const rows = prints.slice(-ROWS_MAX).reverse().map((print) => this.#row(print, many));
    while (this.#rows.children.length + rows.length > ROWS_MAX && this.#rows.lastChild) this.#rows.lastChild.remove();
    this.#rows.prepend(...rows);
    const bought = this.prints.bought;
    this.#bar.style.width = `${(100 * bought).toFixed(1)}%`;
    if (this.settings.get("tapeSound")) {
      const loudest = prints.reduce((held, print) => (print.liquidation || print.large > held.large ? print : held));
      if (loudest.liquidation || loudest.large >= 2) beep(loudest.side === "buy", Boolean(loudest.liquidation));
    }
  }

  #row(print, many) {
    const [exchange] = print.feed.split(":");
    const row = element("div", { className: `print ${print.side}`, "data-large": print.large, title: print.count > 1 ? `${print.count} fills` : "" },
      element("span", { className: "when" }, clock(print.timestamp)),
      element("span", {}, price(print.price, this.#tick)),
      element("span", {}, size(print.quantity)),
      element("span", { className: "worth" }, `${print.coverage === "sampled" ? "≥" : ""}${size(print.value)}`));
    if (print.liquidation) {
      row.dataset.liquidation = print.liquidation;
      row.append(element("em", {}, `${print.liquidation} liquidated${many ? ` · ${exchange}` : ""}`));
    } else if (many) row.append(element("em", {}, exchange));
    return row;
  }

  get count() {
    return this.#rows.children.length;
  }
}

