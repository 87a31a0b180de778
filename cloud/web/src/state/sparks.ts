// The last minutes of every point for sparklines: one ring of floats for all slots. Seeded from history
// for rows that are looked at. Not here: drawing.
import { signal } from "@preact/signals";
import type { HistoryResponse } from "../api/types";
import { asNumber, type Values } from "./values";

/** Samples in a sparkline. */
export const LENGTH = 100;
/** Time between two of them. */
export const STEP_MS = 3000;

export class Sparks {
  /** Changes with every sample taken. */
  readonly tick = signal(0);
  private ring = new Float32Array(0);
  private head = 0;
  private seeded = new Set<number>();

  constructor(private readonly values: Values) {}

  private fit(): void {
    const need = this.values.count * LENGTH;
    if (this.ring.length >= need) return;
    const next = new Float32Array(Math.max(need, this.ring.length * 2)).fill(NaN);
    next.set(this.ring);
    this.ring = next;
  }

  /** Takes one sample of every point; `nowMs` decides what is stale. */
  sample(nowMs: number): void {
    this.fit();
    this.head = (this.head + 1) % LENGTH;
    const { count, number } = this.values;
    for (let slot = 0; slot < count; slot++) {
      const mark = this.values.mark(slot, nowMs);
      this.ring[slot * LENGTH + this.head] = mark === "bad" || mark === "stale" ? NaN : number[slot]!;
    }
    this.tick.value++;
  }

  /** Whether the slot's past has not been asked for yet; asking marks it. */
  wantsSeed(slot: number): boolean {
    if (this.seeded.has(slot)) return false;
    this.seeded.add(slot);
    return true;
  }

  /** Forget what was asked for: after an outage the gaps are filled again. */
  reset(): void {
    this.seeded.clear();
  }

  /** Fills what the ring does not have from a history that ends at `nowMs`. */
  seed(slot: number, history: HistoryResponse, nowMs: number): void {
    this.fit();
    let at = 0;
    let last = NaN;
    for (let back = LENGTH - 1; back >= 0; back--) {
      const until = (nowMs - back * STEP_MS) * 1000;
      for (let p = history.points[at]; p && p.t_us <= until; p = history.points[++at]) {
        last = p.good > 0 ? (p.mean ?? asNumber(p.value)) : NaN;
      }
      const i = slot * LENGTH + ((this.head - back + LENGTH) % LENGTH);
      if (Number.isNaN(this.ring[i])) this.ring[i] = last;
    }
    this.tick.value++;
  }

  /** SVG path in a box of 100 by 20, empty without data. Its scale is at least `least`, so that noise on a
   * steady value stays flat. */
  path(slot: number, least: number): string {
    const base = slot * LENGTH;
    if (base + LENGTH > this.ring.length) return "";
    let min = Infinity;
    let max = -Infinity;
    for (let i = 0; i < LENGTH; i++) {
      const v = this.ring[base + i]!;
      if (v < min) min = v;
      if (v > max) max = v;
    }
    if (min > max) return "";
    const span = Math.max(max - min, least, Math.abs(max) * 1e-3, 1e-9);
    const low = (min + max - span) / 2;
    let d = "";
    let pen = false;
    for (let i = 0; i < LENGTH; i++) {
      const v = this.ring[base + ((this.head + 1 + i) % LENGTH)]!;
      if (Number.isNaN(v)) {
        pen = false;
        continue;
      }
      d += `${pen ? "L" : "M"}${((i * 100) / (LENGTH - 1)).toFixed(1)} ${(18 - ((v - low) / span) * 16).toFixed(1)}`;
      pen = true;
    }
    return d;
  }
}
