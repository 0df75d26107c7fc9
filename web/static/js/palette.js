/** The colours of the canvas, read from the style sheet; shades are made once per theme. */

const SHADES = 10;

/** Colours by name, and lists of shades from faint to full. */
export function readPalette(root) {
  const style = getComputedStyle(root);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["background", "panel", "line", "text", "muted", "faint", "buy", "sell", "accent", "poc", "warn",
    "long", "short", "grid", "up", "down"];
  const palette = Object.fromEntries(names.map((name) => [name, colour(name)]));
  const strength = Number(colour("shade"));
  for (const name of ["buy", "sell", "muted"]) {
    palette[`${name}Shades`] = Array.from({ length: SHADES }, (_, n) => faded(palette[name], strength * (0.12 + 0.88 * (n + 1) / SHADES)));
  }
  for (const name of ["buy", "sell"]) {
    palette[`${name}Faint`] = Array.from({ length: SHADES }, (_, n) => faded(palette[name], strength * (0.07 + (0.3 * (n + 1)) / SHADES)));
  }
  Object.assign(palette, {
    gap: faded(palette.warn, 0.13), area: faded(palette.text, 0.45), unfinished: colour("unfinished"),
    buyText: colour("buy-text"), sellText: colour("sell-text"),
  });
  palette.heat = { long: shades(palette.long), short: shades(palette.short) };
  return palette;
}

const shades = (colour) => Array.from({ length: SHADES }, (_, n) => faded(colour, 0.04 + (0.3 * (n + 1)) / SHADES));

/** The colour `#rrggbb`, see-through. */
export function faded(hex, alpha) {
  const number = parseInt(hex.slice(1), 16);
  return `rgba(${number >> 16}, ${(number >> 8) & 255}, ${number & 255}, ${alpha.toFixed(3)})`;
}

/** Which of the shades stands for `share` of the most, 0 to 1. */
export const shade = (share) => Math.min(SHADES - 1, Math.floor(Math.sqrt(Math.max(0, share)) * SHADES));
