/** Large trades as discs at their price, the area by what they were worth. */

import { Overlay } from "./overlay.js";
import { faded } from "./palette.js";

const RADIUS_MOST = 22; // css pixels
const RADIUS_LEAST = 3;
const SHOWN_MAX = 500;

export class Bubbles {
  #items = [];

  constructor(palette) {
    this.palette = palette;
    this.shown = true;
    this.barMicros = 60e6;
    this.overlay = new Overlay("normal", (context, geometry) => this.#draw(context, geometry));
  }

  /** `{timestamp, side, price, value}` each: detections of large trades. */
  setItems(items) {
    this.#items = items.slice(-SHOWN_MAX);
    this.overlay.redraw();
  }

  get count() {
    return this.#items.length;
  }

  #draw(context, geometry) {
    if (!this.shown || !this.#items.length) return;
    const most = this.#items.reduce((held, { value }) => Math.max(held, value), 0) || 1;
    for (const { timestamp, side, price, value } of this.#items) {
      const begin = timestamp - (timestamp % this.barMicros);
      const centre = geometry.x(begin);
      if (centre === null) continue;
      const x = centre + ((timestamp - begin) / this.barMicros - 0.5) * geometry.spacing * 0.8;
      const y = geometry.y(price);
      if (x < -50 || x > geometry.width + 50 || y < -50 || y > geometry.height + 50) continue;
      const radius = Math.max(RADIUS_LEAST, RADIUS_MOST * Math.sqrt(value / most)) * geometry.rx;
      const colour = side === "buy" ? this.palette.buy : this.palette.sell;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = faded(colour, 0.22);
      context.fill();
      context.strokeStyle = faded(colour, 0.9);
      context.lineWidth = Math.max(1, geometry.rx);
      context.stroke();
    }
  }
}
