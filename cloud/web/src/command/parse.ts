// What a person typed as a point's value, with the reason where it is none. Pure.
import type { PointView, Value } from "../api/types";

export type Parsed = { value: Value } | { error: "empty" | "number" | "whole" | "beyond" };

/** Whether the point's values are chosen from a list. */
export function isChoice(p: PointView): boolean {
  return p.type === "bool" || (p.labels?.length ?? 0) > 0;
}

/** Reads typed or chosen text as a value that the point takes. The gateway checks again. */
export function parseValue(p: PointView, typed: string): Parsed {
  const text = typed.trim().replace("−", "-");
  if (text === "") return { error: "empty" };
  if (p.type === "bool") return { value: text === "1" };
  if (p.type === "text") return { value: typed };
  // A lone decimal comma is what many keyboards offer.
  const n = /^[-+]?(\d+([.,]\d*)?|[.,]\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text.replace(",", ".")) : NaN;
  if (!Number.isFinite(n)) return { error: "number" };
  if (p.type !== "f64" && !Number.isSafeInteger(n)) return { error: "whole" };
  if (n < (p.write_min ?? -Infinity) || n > (p.write_max ?? Infinity)) return { error: "beyond" };
  return { value: n };
}
