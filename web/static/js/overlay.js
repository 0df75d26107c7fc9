/** Drawings over or under the price pane, as primitives of the footprint series. */

import { seconds } from "./chart.js";

/** `draw(context, geometry)` in device pixels; `order` is bottom, normal or top. */
export class Overlay {
  #host = null;
  #views;

  constructor(order, draw) {
    const renderer = { draw: (target) => target.useBitmapCoordinateSpace((scope) => {
      if (this.#host) draw(scope.context, new Geometry(this.#host, scope));
    }) };
    this.#views = [{ zOrder: () => order, renderer: () => renderer }];
  }

  attached(host) {
    this.#host = host;
  }

  detached() {
    this.#host = null;
  }

  paneViews() {
    return this.#views;
  }

  /** Draws again. */
  redraw() {
    this.#host?.requestUpdate();
  }
}

/** Where prices and times lie in the pane, in device pixels. */
class Geometry {
  constructor({ chart, series }, { bitmapSize, horizontalPixelRatio, verticalPixelRatio }) {
    this.series = series;
    this.time = chart.timeScale();
    this.width = bitmapSize.width;
    this.height = bitmapSize.height;
    this.rx = horizontalPixelRatio;
    this.ry = verticalPixelRatio;
  }

  /** Centre of the candle that begins at `micros`; null where it is not known. */
  x(micros) {
    const found = this.time.timeToCoordinate(seconds(micros));
    return found === null ? null : found * this.rx;
  }

  y(price) {
    return (this.series.priceToCoordinate(price) ?? -1e6) * this.ry;
  }

  /** Width of a candle's place. */
  get spacing() {
    return this.time.options().barSpacing * this.rx;
  }

  /** Device pixels of a price difference. */
  pixels(low, high) {
    return Math.abs(this.y(low) - this.y(high));
  }
}
