// Rows of a history as the columns a chart draws, with live values behind them. Pure.
import type { GapReason, HistoryGap, HistoryResponse, HistoryTimes, Value } from "../api/types";
import { asNumber } from "./values";

export interface Series {
  /** Seconds since 1970. */
  x: number[];
  /** Value, or mean of a bucket; null where there is none to trust. */
  y: (number | null)[];
  min: (number | null)[];
  max: (number | null)[];
  rolled: boolean;
}

export const EMPTY: Series = { x: [], y: [], min: [], max: [], rolled: false };

const orNull = (n: number | undefined): number | null => (n === undefined || Number.isNaN(n) ? null : n);

export function fromHistory(h: HistoryResponse): Series {
  const rolled = h.resolution.kind === "rollup";
  const s: Series = { x: [], y: [], min: [], max: [], rolled };
  // A bucket's value stands for its whole width: draw it at the middle.
  const half = h.resolution.kind === "rollup" ? h.resolution.bucket_us / 2 : 0;
  for (const p of h.points) {
    const usable = rolled ? p.good > 0 : !p.quality.startsWith("bad");
    s.x.push((p.t_us + half) / 1e6);
    s.y.push(usable ? orNull(p.mean ?? asNumber(p.value)) : null);
    s.min.push(usable ? orNull(p.min) : null);
    s.max.push(usable ? orNull(p.max) : null);
  }
  for (const g of h.gaps) if (isUnknown(g)) breakAt(s, g.from_us / 1e6);
  return s;
}

/** Whether nobody knows what was: samples are missing, not bad. */
const isUnknown = (g: HistoryGap): boolean => g.cause !== "bad_quality" && g.cause !== "clock_unsynchronised";

/** Breaks the line: nothing is drawn from the last value before `x` to the next behind it. */
function breakAt(s: Series, x: number): void {
  const after = s.x.findIndex((at) => at > x);
  if (after <= 0) return;
  for (const column of [s.y, s.min, s.max]) column.splice(after, 0, null);
  s.x.splice(after, 0, x);
}

/** Gaps as the chart shades them. */
export interface Shade { from: number; to: number; cause: GapReason }

export const shades = (h: HistoryResponse): Shade[] =>
  h.gaps.map((g) => ({ from: g.from_us / 1e6, to: g.to_us / 1e6, cause: g.cause }));

/** The longest gaps of a range, longest first; and how many more there are. */
export function longest(all: Shade[], from: number, to: number, most: number): { some: Shade[]; more: number } {
  const within = all.filter((g) => g.from < to && g.to > from).sort((a, b) => b.to - b.from - (a.to - a.from));
  return { some: within.slice(0, most), more: Math.max(0, within.length - most) };
}

/** What time is spent in: a state, or none of them. */
export type Part = { value: Value } | { none: "other" | "bad" | "nothing" | "unsettled" };

/** How time divides by state, in parts of one, the longest states first; nothing where there are none. */
export function shares(times: HistoryTimes | undefined): { of: Part; part: number }[] {
  const states = times?.states ?? [];
  if (!times || states.length === 0) return [];
  const whole = times.good_us + times.uncertain_us + times.bad_us + times.nothing_us + (times.unsettled_us ?? 0);
  const all: [Part, number][] = [
    ...states.map((s): [Part, number] => [{ value: s.value }, s.us]),
    [{ none: "other" }, times.other_us ?? 0],
    [{ none: "bad" }, times.bad_us],
    [{ none: "nothing" }, times.nothing_us],
    [{ none: "unsettled" }, times.unsettled_us ?? 0],
  ];
  return all.filter(([, us]) => us > 0).map(([of, us]) => ({ of, part: us / whole }));
}

/** Adds one live value, if it is later than the last. */
export function append(s: Series, atMs: number, value: number, bad: boolean): boolean {
  const x = atMs / 1000;
  if (!(atMs > 0) || x <= (s.x[s.x.length - 1] ?? -Infinity)) return false;
  const y = bad || Number.isNaN(value) ? null : value;
  s.x.push(x);
  s.y.push(y);
  s.min.push(y);
  s.max.push(y);
  return true;
}

/** Smallest, largest and last value within a time range; null if there is none. */
export function summary(s: Series, from: number, to: number): { min: number; max: number; last: number } | null {
  let min = Infinity;
  let max = -Infinity;
  let last = NaN;
  s.x.forEach((x, i) => {
    const y = s.y[i];
    if (x < from || x > to || y === null || y === undefined) return;
    min = Math.min(min, s.min[i] ?? y);
    max = Math.max(max, s.max[i] ?? y);
    last = y;
  });
  return min > max ? null : { min, max, last };
}

/** The series with its last value held until `until`: points with a deadband are silent while nothing changes. */
export function held(s: Series, until: number): Series {
  const at = s.x.length - 1;
  const y = s.y[at];
  if (at < 0 || s.x[at]! >= until || y === null || y === undefined) return s;
  return { x: [...s.x, until], y: [...s.y, y], min: [...s.min, y], max: [...s.max, y], rolled: s.rolled };
}
