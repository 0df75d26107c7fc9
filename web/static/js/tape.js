/** Time and sales of the chosen feeds, liquidations among them. */

import { get } from "./api.js";
import { button, element } from "./dom.js";
import { clock, price, size } from "./format.js";
import { Prints } from "./prints.js";
import { isSum } from "./picker.js";
import { beep } from "./sound.js";

const ROWS_MAX = 160;
const LOOK_MS = 120;
const FEEDS_MAX = 20;
const SEED_MS = 1500; // by then the tables hold what came before the first live print
const SEED_ROWS = 600;
const LATE_US = 60e6;
const SIZES = [0, 1e3, 1e4, 5e4, 1e5, 5e5, 1e6];

const identity = (event) => `${event.exchange}:${event.symbol}:${event.trade_id ?? event.liquidation_id}`;

/** What fills a gap comes late, and is no news. */
const isNow = (event) => event.received - event.timestamp < LATE_US;

export class Tape {
  #ends = [];
  #members = [];
  #shown = new Set(); // ids of live trades until the earlier ones are there
  #seed = 0;
  #tick = 0.01;
  #ticks = new Map(); // by feed
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

  /** Follows the feeds of what is on the chart, or those chosen beside it. */
  select(members = this.#members) {
    this.#members = members;
    for (const end of this.#ends) end();
    this.#ends = [];
    this.#shown = new Set();
    this.prints = new Prints(this.settings.get("tapeSize"));
    this.#rows.replaceChildren();
    clearTimeout(this.#seed);
    if (!this.settings.get("tape") || !this.feeds.length) return;
    this.#ticks = new Map(this.instruments().map((each) => [`${each.exchange}:${each.symbol}`, each.instrument?.tick_size]));
    const { prints } = this;
    for (const feed of this.feeds) {
      const [exchange, symbol] = feed.split(":");
      const follow = (kind, take) => this.#ends.push(this.socket.subscribe(`md.${kind}.${exchange}.${symbol}`, (event) => {
        if (!isNow(event)) return;
        this.#shown?.add(identity(event));
        take(event);
      }));
      follow("trade", (event) => prints.trade(feed, event));
      follow("liquidation", (event) => prints.liquidation(feed, event));
    }
    this.#seed = setTimeout(() => this.#earlier(prints, this.feeds), SEED_MS);
  }

  /** Puts what was traded before the first live print under it. */
  async #earlier(prints, feeds) {
    const limit = Math.ceil(SEED_ROWS / feeds.length);
    const ask = async (feed, kind) => {
      const [exchange, symbol] = feed.split(":");
      const answer = await get(kind, { exchange, symbol, limit }).catch(() => ({ [kind]: [] })); // then it begins empty
      return answer[kind].map((event) => ({ feed, kind, event }));
    };
    const answers = await Promise.all(feeds.flatMap((feed) => [ask(feed, "trades"), ask(feed, "liquidations")]));
    if (prints !== this.prints) return; // another instrument by now
    const shown = this.#shown;
    this.#shown = null;
    const whole = Math.max(...answers.map((rows) => (rows.length >= limit ? rows[0].event.timestamp : 0)));
    const before = new Prints(prints.least);
    answers.flat().filter(({ event }) => event.timestamp >= whole && isNow(event) && !shown.has(identity(event)))
      .sort((one, other) => one.event.timestamp - other.event.timestamp)
      .forEach(({ feed, kind, event }) => (kind === "trades" ? before.trade(feed, event) : before.liquidation(feed, event)));
    const rows = before.take().reverse().slice(0, Math.max(0, ROWS_MAX - this.count));
    this.#rows.append(...rows.map((print) => this.#row(print, feeds.length > 1)));
    prints.after(before);
    this.#press();
  }

  /** Feeds of the chosen base that are switched on; those of the chart where none is. */
  get feeds() {
    const base = this.settings.get("symbol").split("-")[0];
    const chosen = this.settings.get("tapeOf").filter((feed) => feed.split(":")[1]?.split("-")[0] === base);
    return (chosen.length ? chosen : this.#members).slice(0, FEEDS_MAX);
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
    this.#press();
    if (this.settings.get("tapeSound")) {
      const loudest = prints.reduce((held, print) => (print.liquidation || print.large > held.large ? print : held));
      if (loudest.liquidation || loudest.large >= 2) beep(loudest.side === "buy", Boolean(loudest.liquidation));
    }
  }

  #press() {
    this.#bar.style.width = `${(100 * this.prints.bought).toFixed(1)}%`;
  }

  #row(print, many) {
    const [exchange] = print.feed.split(":");
    const row = element("div", { className: `print ${print.side}${many ? " of" : ""}`, "data-large": print.large, title: `${print.feed.replace(":", " ")}${print.count > 1 ? ` · ${print.count} fills` : ""}` },
      element("span", { className: "when" }, clock(print.timestamp)),
      ...(many ? [element("span", { className: "where" }, exchange.replace("sim_", ""))] : []),
      element("span", {}, price(print.price, this.#ticks.get(print.feed) ?? this.#tick)),
      element("span", {}, size(print.quantity)),
      element("span", { className: "worth" }, `${print.coverage === "sampled" ? "≥" : ""}${size(print.value)}`));
    if (print.liquidation) {
      row.dataset.liquidation = print.liquidation;
      row.append(element("em", {}, `${print.liquidation} liquidated`));
    }
    return row;
  }

  get count() {
    return this.#rows.children.length;
  }
}

