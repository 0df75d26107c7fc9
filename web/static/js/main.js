/** Puts the page together: settings, socket, chart, and what changes with the chosen instrument. */

import { Chart } from "./chart.js";
import { Feed } from "./feed.js";
import { Freshness } from "./freshness.js";
import { Head } from "./head.js";
import { Layers } from "./layers.js";
import { Legend } from "./legend.js";
import { SAMPLED, Sampled } from "./sampled.js";
import { Settings } from "./settings.js";
import { Socket } from "./socket.js";
import { byId, write } from "./dom.js";
import { get } from "./api.js";
import { moment } from "./format.js";
import { listenToDrags } from "./drag.js";
import { readPalette } from "./palette.js";
import { openHelp } from "./help.js";
import { Operations } from "./operations.js";
import { Picker, isSum } from "./picker.js";
import { listenToKeys } from "./keyboard.js";
import { Tape } from "./tape.js";
import { Foot } from "./foot.js";

const LEFT_BARS = 30; // older candles are loaded when fewer than this are left of the view
const WATCH_MS = 250;
const INSTRUMENTS_RETRY_MS = 2000;

class Page {
  constructor() {
    this.settings = new Settings(localStorage, location, history);
    this.applyTheme();
    this.socket = new Socket(new URL("ws", document.baseURI.replace(/^http/, "ws")).href);
    this.picker = new Picker(byId("picker"), (chosen) => this.settings.set(chosen));
    this.head = new Head(byId("bar"), this.settings, {
      pick: () => this.picker.open(this.settings.get("exchange"), this.settings.get("symbol")),
      operations: () => this.toggleView(), theme: () => this.toggleTheme(), help: () => this.help(),
    });
    this.legend = new Legend(byId("legend"));
    this.foot = new Foot(byId("foot"));
    this.freshness = new Freshness(() => Date.now());
    this.chart = new Chart(byId("chart"), this.palette);
    this.layers = new Layers(this.chart, this.socket, this.palette, byId("legend"));
    this.tape = new Tape(byId("tape"), this.socket, this.settings, () => this.picker.instruments);
    this.operations = new Operations(byId("operations"));
    this.sampled = [];
    this.feed = null;
    this.hovered = undefined;
    this.painted = 0;
    this.dirty = false;
  }

  start() {
    const { settings, chart } = this;
    chart.setMode(settings.get("mode"), settings.get("row"));
    chart.setPanes(settings.get("panes"), []);
    chart.time.subscribeVisibleLogicalRangeChange((range) => this.onRange(range));
    chart.chart.subscribeCrosshairMove((event) => this.onHover(event));
    this.layers.show(settings.get("layers"));
    listenToDrags(byId("chart"), chart, () => this.feed?.candles ?? { times: [] }, () => settings.get("range") === "fixed" && !this.layers.fixed,
      (from, to) => this.fix(from, to));
    settings.listen((changed) => this.onSettings(changed));
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.applyTheme());
    this.socket.listen(() => this.watch());
    this.socket.open();
    setInterval(() => this.watch(), WATCH_MS);
    listenToKeys(this);
    this.applyView();
    this.learn();
  }

  /** Reads which instruments there are; again until there are some. */
  async learn() {
    try {
      const { instruments, intervals } = await get("instruments");
      this.picker.learn(instruments);
      this.head.setIntervals(intervals);
      const live = instruments.filter((each) => each.live);
      const { exchange, symbol } = this.settings.values;
      if (!(exchange && symbol) && live.length) {
        const single = live.filter((each) => !isSum(each.exchange));
        const first = single.find((each) => each.symbol.startsWith("BTC-")) ?? live[0];
        this.settings.set({ exchange: first.exchange, symbol: first.symbol });
      } else if (this.settings.get("symbol") && !this.feed) this.select();
      if (live.length) return;
      this.notice("Waiting for the first trades…");
    } catch (error) {
      this.notice(`Cannot read the instruments: ${error.message}`);
    }
    setTimeout(() => this.learn(), INSTRUMENTS_RETRY_MS);
  }

  /** Shows the chosen instrument and interval. */
  select() {
    this.feed?.end();
    this.members = null;
    this.hovered = undefined;
    this.head.showPrice(null);
    this.head.refresh();
    this.legend.show(null);
    this.chart.setCandles([]);
    this.described = 0;
    const { exchange, symbol, interval } = this.settings.values;
    this.layers.select(this.settings.values);
    this.follow(isSum(exchange) ? [] : [`${exchange}:${symbol}`]);
    this.sample();
    document.title = `${symbol} ${interval} · flowtape`;
    this.notice("");
    this.feed = new Feed(this.socket, { exchange, symbol, interval }, {
      loaded: (candles, first) => this.onLoaded(candles, first),
      updated: (candle, older) => this.onUpdated(candle, older),
      failed: (error) => this.notice(error.message),
    });
  }

  /** Follows the feeds that the candles are made of; a sum's are known with its first candle. */
  follow(members) {
    if (String(members) === String(this.members ?? "none yet")) return;
    this.members = members;
    this.freshness.follow(this.socket, members);
    this.layers.follow(members);
    this.tape.select(members);
    this.watch();
  }

  onLoaded(candles, first) {
    if (candles.size) this.describe(candles.last);
    this.chart.setCandles(candles);
    for (const each of this.sampled) each.see(candles);
    this.layers.see(candles, this.chart.time.getVisibleLogicalRange(), true);
    if (first) this.chart.toNow();
    this.notice(candles.size ? "" : "No candles yet: the first one comes with the first trade.");
    this.show();
  }

  onUpdated(candle, older) {
    this.describe(candle);
    this.notice("");
    this.chart.update(candle, older);
    this.layers.see(this.feed.candles, this.chart.time.getVisibleLogicalRange(), older);
    this.show();
  }

  describe(candle) {
    if (candle.members && candle === this.feed.candles.last) this.follow([...candle.members, ...candle.stale].sort());
    if (this.described === candle.tick) return;
    this.described = candle.tick;
    this.chart.describe(candle.tick);
    this.tape.setTick(candle.tick);
  }

  /** Legend and price, once per painted frame. */
  show() {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => {
      this.dirty = false;
      const candles = this.feed?.candles;
      if (!candles?.size) return;
      const { last } = candles;
      this.legend.show((this.hovered && candles.at(this.hovered)) ?? last);
      this.legend.cover(this.layers.liquidations.coverage);
      this.head.showPrice(last);
      this.chart.lastColour(last.close >= last.open);
      this.painted = last.sequence;
      this.foot.show(last, candles, this.socket);
    });
  }

  onHover(event) {
    const data = event.seriesData.get(this.chart.footprint);
    this.hovered = data?.candle?.timestamp;
    this.show();
  }

  onRange(range) {
    if (!range || !this.feed) return;
    this.layers.see(this.feed.candles, range, false);
    if (range.from < LEFT_BARS) this.feed.older();
  }

  /** The profile of a dragged stretch of time. */
  fix(from, to) {
    this.settings.set({ range: "fixed" });
    this.layers.setFixed(from, to, this.feed.candles);
  }

  onSettings(changed) {
    const has = (...names) => names.some((name) => changed.has(name));
    const { settings, chart } = this;
    if (has("exchange", "symbol", "interval")) this.select();
    if (has("mode", "row")) chart.setMode(settings.get("mode"), settings.get("row"));
    if (has("panes")) {
      chart.setPanes(settings.get("panes"), this.feed?.candles ?? []);
      this.sample();
      if (this.feed) for (const each of this.sampled) each.see(this.feed.candles);
    }
    if (has("layers")) this.layers.show(settings.get("layers"));
    if (has("range") && this.feed) {
      this.layers.setRange(settings.get("range"));
      this.layers.see(this.feed.candles, chart.time.getVisibleLogicalRange(), true);
    }
    if (has("theme")) this.applyTheme();
    if (has("view", "tape")) this.applyView();
  }

  /** Follows open interest and funding where their panes are shown. */
  sample() {
    for (const each of this.sampled) each.end();
    const names = this.settings.get("panes").filter((name) => name in SAMPLED);
    this.sampled = names.map((name) => new Sampled(name, this.chart, this.socket, this.settings.values));
  }

  /** Tells whether what is seen is now. */
  watch() {
    const judged = this.freshness.judge(this.socket);
    this.head.showState(judged);
    byId("stage").toggleAttribute("data-stale", judged.state === "stale" || judged.state === "lost"); // partly is no reason to dim
  }

  notice(text) {
    byId("notice").hidden = !text;
    write(byId("notice"), text);
  }

  applyTheme() {
    const chosen = this.settings.get("theme") || (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
    document.documentElement.dataset.theme = chosen;
    this.palette = readPalette(document.documentElement);
    this.layers?.setPalette(this.palette);
    this.chart?.setPalette(this.palette);
  }

  toggleTheme() {
    this.settings.set({ theme: document.documentElement.dataset.theme === "dark" ? "light" : "dark" });
  }

  help() {
    openHelp(byId("help"));
  }

  toggleView() {
    this.settings.set({ view: this.settings.get("view") === "chart" ? "operations" : "chart" });
  }

  applyView() {
    const operations = this.settings.get("view") === "operations";
    byId("main").hidden = operations;
    byId("operations").hidden = !operations;
    this.operations.show(operations);
    byId("tape").hidden = !this.settings.get("tape");
  }
}

const page = new Page();
page.start();
/** For tests and for the curious, in the browser's console. */
globalThis.flowtape = { page, moment };
