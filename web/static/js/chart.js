/** The chart: panes and series of one instrument, fed with candles; knows nothing of sockets. */

import { ColorType, CrosshairMode, LineSeries, LineStyle, createChart } from "../vendor/lightweight-charts.mjs";
import { FootprintView } from "./footprint.js";
import { STATISTICS_HEIGHT, StatisticsView } from "./statistics.js";
import { decimals, size } from "./format.js";

const NARROW = 560; // css pixels
const AXIS_PIXELS = 26;
const [SPACING_LEAST, SPACING_MOST] = [1.2, 400]; // css pixels a candle
/** Candles are wide enough for cells with text at first, and the profile has room at the right. */
const LARGE = { barSpacing: 78, rightOffsetPixels: 150 };
const SMALL = { barSpacing: 62, rightOffsetPixels: 44 };
export const seconds = (micros) => Math.floor(micros / 1e6);

export class Chart {
  #panes = new Map(); // name → {series, pane}
  #palette = null;
  #container;
  #asked = {}; // spacing and position that the next frame will show

  constructor(container, palette) {
    this.#palette = palette;
    this.#container = container;
    new ResizeObserver(() => this.#heights()).observe(container);
    this.chart = createChart(container, { autoSize: true, ...look(palette),
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { minBarSpacing: SPACING_LEAST, maxBarSpacing: SPACING_MOST,
        ...(container.clientWidth < NARROW ? SMALL : LARGE),
        timeVisible: true, secondsVisible: true, borderVisible: false, shiftVisibleRangeOnNewBar: true },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.11, bottom: 0.06 }, minimumWidth: container.clientWidth < NARROW ? 56 : 74 },
      handleScale: { axisPressedMouseMove: { time: true, price: true } },
    });
    this.view = new FootprintView();
    this.view.show({ palette });
    this.footprint = this.chart.addCustomSeries(this.view, { priceLineStyle: LineStyle.Dotted });
    this.time = this.chart.timeScale();
  }

  /** Everything anew. */
  setCandles(candles) {
    const items = Array.from(candles, item);
    this.footprint.setData(items);
    for (const { series, value } of this.#panes.values()) {
      if (value) series.setData(value === "candle" ? items : items.map((each) => ({ time: each.time, value: value(each.candle) })));
    }
  }

  /** One candle: the newest, or an older one in place. */
  update(candle, older) {
    const made = item(candle);
    this.footprint.update(made, older);
    for (const { series, value } of this.#panes.values()) {
      if (value) series.update(value === "candle" ? made : { time: made.time, value: value(candle) }, older);
    }
  }

  /** Prices as this instrument writes them, and colours that follow the last candle. */
  describe(tick) {
    this.footprint.applyOptions({ priceFormat: { type: "price", precision: decimals(tick), minMove: tick } });
  }

  setMode(mode, row) {
    this.view.show({ mode, row });
    this.footprint.applyOptions({});
  }

  setPalette(palette) {
    this.#palette = palette;
    this.chart.applyOptions(look(palette));
    this.view.show({ palette });
    this.footprint.applyOptions({});
    for (const { series, colour, view } of this.#panes.values()) {
      view?.show({ palette });
      series.applyOptions(colour(palette));
    }
  }

  lastColour(up) {
    this.footprint.applyOptions({ color: up ? this.#palette.up : this.#palette.down });
  }

  /** Shows exactly the panes named, in the order of PANES. */
  setPanes(names, candles) {
    for (const [name, { series }] of [...this.#panes]) {
      if (names.includes(name)) continue;
      this.chart.removeSeries(series);
      this.#panes.delete(name);
    }
    for (const name of Object.keys(PANES)) {
      if (!names.includes(name) || this.#panes.has(name)) continue;
      this.#add(name, PANES[name], 1 + Object.keys(PANES).filter((each) => this.#panes.has(each) && order(each) < order(name)).length);
    }
    this.setCandles(candles);
    this.#heights();
  }

  #add(name, declared, at) {
    const colour = (palette) => declared.options(palette);
    const view = declared.view?.();
    view?.show({ palette: this.#palette });
    const series = view
      ? this.chart.addCustomSeries(view, colour(this.#palette), at)
      : this.chart.addSeries(LineSeries, { lineWidth: 1, priceLineVisible: false, ...colour(this.#palette) }, at);
    if (declared.value === "candle") series.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
    this.#panes.set(name, { series, value: declared.value, colour, view });
  }

  /** Panes keep their heights in pixels, the price gets what is left. */
  #heights() {
    const panes = this.chart.panes();
    const room = this.#container.clientHeight - AXIS_PIXELS - panes.length;
    const scale = Math.min(1, (room * 0.45) / [...this.#panes.keys()].reduce((sum, name) => sum + PANES[name].height, 1));
    let left = room;
    for (const [name, { series }] of this.#panes) {
      const height = PANES[name].height * scale;
      series.getPane().setStretchFactor(height);
      left -= height;
    }
    panes[0].setStretchFactor(Math.max(1, left));
  }

  /** The series of a pane that is fed from elsewhere than candles; undefined where it is not shown. */
  series(name) {
    return this.#panes.get(name)?.series;
  }

  /** Lets the newest candle be seen again, with room for the profile beside it. */
  toNow() {
    const { rightOffsetPixels, barSpacing } = this.time.options();
    this.time.scrollToPosition(rightOffsetPixels / barSpacing, false);
  }

  /** Wider (more than 1) or narrower candles. */
  zoom(factor) {
    const now = this.#asked.spacing ?? this.time.options().barSpacing;
    const spacing = Math.min(SPACING_MOST, Math.max(SPACING_LEAST, now * factor));
    this.time.applyOptions({ barSpacing: spacing });
    this.#ask({ spacing });
  }

  scroll(bars) {
    const position = (this.#asked.position ?? this.time.scrollPosition()) + bars;
    this.time.scrollToPosition(position, false);
    this.#ask({ position });
  }

  /** The library tells the old values until it has drawn: without this, of two keys in one frame one would be lost. */
  #ask(asked) {
    if (!Object.keys(this.#asked).length) requestAnimationFrame(() => { this.#asked = {}; });
    Object.assign(this.#asked, asked);
  }

  resetPrice() {
    this.footprint.priceScale().applyOptions({ autoScale: true });
  }
}

const item = (candle) => ({ time: seconds(candle.timestamp), candle });
const order = (name) => Object.keys(PANES).indexOf(name);
const compact = { type: "custom", minMove: 1e-8, formatter: size };

/** Panes below the price: what feeds them, how high they are (css pixels), how they look. */
export const PANES = {
  statistics: {
    title: "Volume and delta", value: "candle", view: () => new StatisticsView(), height: STATISTICS_HEIGHT,
    options: () => ({ priceFormat: { type: "custom", minMove: 1, formatter: () => "" } }),
  },
  cvd: {
    title: "CVD", value: (candle) => candle.cvd, height: 90,
    options: (palette) => ({ color: palette.accent, priceFormat: compact, title: "CVD" }),
  },
  open_interest: {
    title: "Open interest", value: null, height: 80,
    options: (palette) => ({ color: palette.poc, priceFormat: compact, title: "OI" }),
  },
  funding: {
    title: "Funding", value: null, height: 70,
    options: (palette) => ({ color: palette.long, title: "Funding", priceFormat: { type: "custom", minMove: 1e-8, formatter: (rate) => `${(rate * 100).toFixed(4)}%` } }),
  },
};

function look(palette) {
  return {
    layout: {
      background: { type: ColorType.Solid, color: palette.background }, textColor: palette.muted, fontSize: 11,
      fontFamily: "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", attributionLogo: false,
      panes: { separatorColor: palette.line, separatorHoverColor: palette.line, enableResize: true },
    },
    grid: { vertLines: { color: palette.grid }, horzLines: { color: palette.grid } },
    crosshair: {
      vertLine: { color: palette.muted, labelBackgroundColor: palette.panel, width: 1, style: LineStyle.Dashed },
      horzLine: { color: palette.muted, labelBackgroundColor: palette.panel, width: 1, style: LineStyle.Dashed },
    },
  };
}
