/** Chooses an instrument: type a few letters, arrow keys, Enter. */

import { element } from "./dom.js";

const SHOWN_MAX = 200;

/** Whether it stands for all exchanges summed, real or simulated ones. */
export const isSum = (exchange) => exchange === "all" || exchange === "sim_all";

export class Picker {
  #instruments = [];
  #found = [];
  #at = 0;

  constructor(dialog, chosen) {
    this.dialog = dialog;
    this.chosen = chosen;
    this.input = element("input", { type: "search", placeholder: "Symbol or exchange, e.g. btc kraken", "aria-label": "Search", spellcheck: false, autocomplete: "off", oninput: () => this.#search(), onkeydown: (event) => this.#key(event) });
    this.list = element("div", { className: "choices", role: "listbox", "aria-label": "Instruments" });
    this.count = element("p", { className: "hint" });
    dialog.append(this.input, this.list, this.count);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  /** `{exchange, symbol, live, instrument}` each; sums of all exchanges first, then those with a footprint. */
  learn(instruments) {
    const rank = (each) => (isSum(each.exchange) ? 0 : each.live ? 1 : 2);
    this.#instruments = [...instruments].sort((one, other) => rank(one) - rank(other)
      || one.symbol.localeCompare(other.symbol) || one.exchange.localeCompare(other.exchange));
    if (this.dialog.open) this.#search();
  }

  get instruments() {
    return this.#instruments;
  }

  open(exchange, symbol) {
    this.current = `${exchange}:${symbol}`;
    this.input.value = "";
    this.#search();
    this.dialog.showModal();
    this.input.focus();
  }

  #search() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#found = this.#instruments.filter(({ exchange, symbol, instrument }) => {
      const text = `${symbol} ${symbol.replaceAll("-", "")} ${exchange} ${instrument?.exchange_symbol ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word));
    }).slice(0, SHOWN_MAX);
    this.#at = Math.max(0, words.length ? 0 : this.#found.findIndex((each) => `${each.exchange}:${each.symbol}` === this.current));
    this.list.replaceChildren(...this.#found.map((each, n) => this.#row(each, n)));
    this.count.textContent = this.#found.length ? `${this.#found.length} of ${this.#instruments.length}` : "Nothing by that name.";
    this.#mark();
  }

  #row({ exchange, symbol, live }, n) {
    return element("button", { type: "button", role: "option", tabIndex: -1, "data-symbol": `${exchange}:${symbol}`, onclick: () => this.#choose(n) },
      element("b", {}, symbol),
      element("span", {}, isSum(exchange) ? `${exchange} · all exchanges summed` : exchange),
      element("small", {}, live ? "" : "no footprint yet"));
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) {
      this.#at = Math.min(this.#found.length - 1, Math.max(0, this.#at + step));
      this.#mark();
      event.preventDefault();
    } else if (event.key === "Enter") {
      this.#choose(this.#at);
      event.preventDefault();
    }
  }

  #mark() {
    [...this.list.children].forEach((row, n) => row.setAttribute("aria-selected", String(n === this.#at)));
    this.list.children[this.#at]?.scrollIntoView({ block: "nearest" });
  }

  #choose(n) {
    const found = this.#found[n];
    if (!found) return;
    this.dialog.close();
    this.chosen({ exchange: found.exchange, symbol: found.symbol, view: "chart" });
  }
}
