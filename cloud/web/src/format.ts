// Numbers, units, ages and times as text, by language where it differs. Pure. Not here: translations.
import type { PointView, Value } from "./api/types";

export const NONE = "–";

const UNITS: Record<string, string> = {
  degC: "°C", Cel: "°C", degF: "°F", "[degF]": "°F", um: "µm", us: "µs", Ohm: "Ω", "m3/h": "m³/h", m3: "m³", m2: "m²",
  "kg/m2": "kg/m²", "g/m2": "g/m²", "g/cm3": "g/cm³", "1/min": "min⁻¹", "Pa.s": "Pa·s", "mPa.s": "mPa·s", "N.m": "N·m",
};

/** A unit as people write it. */
export function unit(text: string | undefined): string {
  return text ? (UNITS[text] ?? text) : "";
}

/** Digits after the point: four digits over the point's range, so that 0-200 degC shows 85.3. */
export function decimals(p: Pick<PointView, "type" | "range_min" | "range_max">, value: number): number {
  if (p.type !== "f64") return 0;
  const span = (p.range_max ?? NaN) - (p.range_min ?? NaN);
  const of = span > 0 ? span : Math.abs(value);
  if (!(of > 0) || !Number.isFinite(of)) return 2;
  return Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(of) + 1e-9)));
}

/** A number with so many digits after the point. */
export function fixed(value: number, digits: number): string {
  if (Number.isNaN(value)) return NONE;
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value) >= 1e12 ? value.toExponential(4) : value.toFixed(digits);
  const signed = Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  return Math.abs(value) >= 1e5 ? signed.replace(/\B(?=(\d{3})+(?!\d))(?<!\..*)/g, "\u202f") : signed;
}

type Shown = Pick<PointView, "type" | "range_min" | "range_max" | "labels">;

/** A point's numeric value as text: its label, on or off, or the number without unit. */
export function number(p: Shown, value: number): string {
  if (Number.isNaN(value)) return NONE;
  const label = p.labels?.find((l) => l.value === value);
  if (label) return label.text;
  if (p.type === "bool") return value ? "1" : "0";
  return fixed(value, decimals(p, value));
}

/** Any value of a point as text without unit. */
export function value(p: Shown, v: Value | null | undefined): string {
  if (v === null || v === undefined) return NONE;
  if (typeof v === "number") return number(p, v);
  if (typeof v === "boolean") return number(p, v ? 1 : 0);
  if (typeof v === "string") return v;
  if ("f64" in v) return v.f64 === "NaN" ? "NaN" : fixed(Number(v.f64), 0);
  return `0x${Array.from(atob(v.bytes), (c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("")}`;
}

/** The same with its unit. */
export function withUnit(p: Shown & Pick<PointView, "unit">, v: Value | null | undefined): string {
  const text = value(p, v);
  const u = unit(p.unit);
  return text === NONE || !u || typeof v === "string" ? text : `${text} ${u}`;
}

export interface AgeUnits { ms: string; s: string; min: string; h: string; d: string }

/** A time span in its largest fitting unit: `3 s`, `12 min`, `5 h`. */
export function age(ms: number, u: AgeUnits): string {
  if (!Number.isFinite(ms)) return NONE;
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 120) return `${s} ${u.s}`;
  if (s < 7200) return `${Math.floor(s / 60)} ${u.min}`;
  if (s < 172_800) return `${Math.floor(s / 3600)} ${u.h}`;
  return `${Math.floor(s / 86_400)} ${u.d}`;
}

/** A time span as people set it: `500 ms`, `10 s`, `1 min`, `8 h`. */
export function span(ms: number, u: AgeUnits): string {
  if (ms < 1000) return `${ms} ${u.ms}`;
  if (ms < 60_000) return `${+(ms / 1000).toFixed(1)} ${u.s}`;
  if (ms < 3_600_000) return `${+(ms / 60_000).toFixed(1)} ${u.min}`;
  if (ms < 86_400_000) return `${+(ms / 3_600_000).toFixed(1)} ${u.h}`;
  return `${+(ms / 86_400_000).toFixed(1)} ${u.d}`;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** Local time of day with seconds. */
export function clock(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Local date and time, ISO order, in every language. */
export function stamp(ms: number): string {
  if (!(ms > 0)) return NONE;
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}`;
}

/** Bytes with a binary prefix. */
export function bytes(n: number): string {
  const prefixes = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = n < 1 ? 0 : Math.min(prefixes.length - 1, Math.floor(Math.log2(n) / 10));
  const scaled = n / 2 ** (10 * at);
  return `${scaled.toFixed(at === 0 || scaled >= 100 ? 0 : 1)} ${prefixes[at]!}`;
}
