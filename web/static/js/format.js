/** Numbers and times as people read them. Times are microseconds, UTC. */

const SUFFIXES = [[1e9, "B"], [1e6, "M"], [1e3, "k"]];

/** A size in at most five characters: 0.0123, 4.56, 78.9, 1.23k. Zero is "0". */
export function size(value) {
  const large = Math.abs(value);
  if (large === 0) return "0";
  for (const [unit, suffix] of SUFFIXES) {
    if (large >= unit) return short(value / unit) + suffix;
  }
  return large >= 1 ? short(value) : large >= 0.0005 ? value.toFixed(3).replace(/^(-?)0/, "$1") : "·";
}

function short(value) {
  const large = Math.abs(value);
  return value.toFixed(large >= 100 ? 0 : large >= 10 ? 1 : 2);
}

/** How many: 7, 832, 1.66k. */
export const tally = (count) => (count < 1000 ? String(count) : size(count));

/** With its sign, always. */
export const signed = (value) => (value > 0 ? "+" : "") + size(value);

/** How many decimals a price of this tick has. */
export function decimals(tick) {
  if (!(tick > 0) || tick >= 1) return 0;
  return Math.min(10, Math.max(0, Math.ceil(-Math.log10(tick) - 1e-9)));
}

/** A price with the decimals of its tick. */
export const price = (value, tick) => value.toFixed(decimals(tick));

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  timeZone: "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
const DAY = new Intl.DateTimeFormat("en-CA", { timeZone: "UTC", year: "numeric", month: "2-digit", day: "2-digit" });

/** `13:05:09` */
export const clock = (micros) => CLOCK.format(micros / 1000);

/** `2026-11-22 13:05:09` */
export const moment = (micros) => `${DAY.format(micros / 1000)} ${CLOCK.format(micros / 1000)}`;

/** An age in seconds: 0.4 s, 12 s, 3 min, 2 h, 5 d. */
export function age(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

/** 1.2 kB, 3.4 MB, 5.6 GB. */
export function bytes(count) {
  for (const [unit, suffix] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
    if (count >= unit) return `${(count / unit).toFixed(1)} ${suffix}`;
  }
  return `${count} B`;
}

/** 12,345 */
export const whole = (count) => Math.round(count).toLocaleString("en-US");

const UNITS = { s: 1e6, m: 60e6, h: 3600e6, d: 86400e6, w: 604800e6 };

/** Microseconds of `10s`, `1m`, `4h`, `1d`. */
export const micros = (interval) => Number(interval.slice(0, -1)) * UNITS[interval.slice(-1)];
