// Values of all points by column: a slot for each (twin, point), filled from the lists and from live
// frames, and a signal for each slot that somebody looks at. Frames mark slots; `flush` tells once per
// paint. Not here: sockets, points' schemas, drawing.
import { batch, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { QUALITIES, type Quality, type TextValue, type TwinView, type Value } from "../api/types";
import type { LiveFrame } from "../live/decode";

export type Mark = "good" | "uncertain" | "bad" | "stale";

const NAMES: Record<number, Quality> = QUALITIES;
const BYTES = new Map(Object.entries(QUALITIES).map(([byte, name]) => [name, Number(byte)]));
const NO_DATA = 0x88;

/** Name of a quality's byte; an unknown reason has the name of its class, class 11 is bad. */
export function qualityName(byte: number): Quality {
  return NAMES[byte] ?? (byte & 0x80 ? "bad" : byte & 0x40 ? "uncertain" : "good");
}

/** A number for a value, as `Value::as_f64`. */
export function asNumber(value: Value | null | undefined): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value && typeof value === "object" && "f64" in value) return Number(value.f64);
  return NaN;
}

interface Area { epoch: number; slots: Uint32Array }

export class Values {
  /** How many slots there are. */
  count = 0;
  number = new Float64Array(256);
  sourceMs = new Float64Array(256);
  quality = new Uint8Array(256);
  /** Age from which a value is stale; 0: never. */
  staleMs = new Float64Array(256);
  /** Frames of an epoch that is not known (any more). */
  ignored = 0;
  private texts = new Map<number, Value>();
  private index = new Map<string, number>();
  private areas = new Map<number, Area>();
  private signals: (Signal<number> | undefined)[] = [];
  private dirty = new Uint8Array(256);
  private dirtyList: number[] = [];

  /** The slot of a point. */
  slot(twin: string, point: string): number {
    const key = `${twin}/${point}`;
    const known = this.index.get(key);
    if (known !== undefined) return known;
    const slot = this.count++;
    if (slot === this.number.length) this.grow();
    this.index.set(key, slot);
    this.number[slot] = NaN;
    this.quality[slot] = NO_DATA;
    return slot;
  }

  private grow(): void {
    const wider = <A extends Float64Array | Uint8Array>(old: A): A => {
      const next = new (old.constructor as new (n: number) => A)(old.length * 2);
      next.set(old);
      return next;
    };
    this.number = wider(this.number);
    this.sourceMs = wider(this.sourceMs);
    this.quality = wider(this.quality);
    this.staleMs = wider(this.staleMs);
    this.dirty = wider(this.dirty);
  }

  /** Rows of an area from now on. Frames of other epochs are ignored. */
  schema(area: number, epoch: number, rows: readonly (readonly [string, string])[]): void {
    this.areas.set(area, { epoch, slots: Uint32Array.from(rows, ([twin, point]) => this.slot(twin, point)) });
  }

  /** Forgets which rows areas have: a new connection numbers anew. */
  disconnect(): void {
    this.areas.clear();
  }

  /** Takes a frame; false if its epoch is not the area's. */
  apply(frame: LiveFrame): boolean {
    const area = this.areas.get(frame.area);
    if (area?.epoch !== frame.epoch) {
      this.ignored++;
      return false;
    }
    const { slots } = area;
    const { values, timesMs, rows, qualities, count } = frame;
    const { number, sourceMs, quality, signals } = this;
    const baseMs = frame.baseUs / 1000;
    for (let i = 0; i < count; i++) {
      const slot = slots[rows[i]!];
      if (slot === undefined) continue;
      number[slot] = values[i]!;
      sourceMs[slot] = baseMs + timesMs[i]!;
      quality[slot] = qualities[i]!;
      if (signals[slot] !== undefined) this.touch(slot);
    }
    return true;
  }

  /** Takes values that are no numbers. */
  applyTexts(area: number, epoch: number, values: readonly TextValue[]): boolean {
    const known = this.areas.get(area);
    if (known?.epoch !== epoch) {
      this.ignored++;
      return false;
    }
    for (const v of values) {
      const slot = known.slots[v.row];
      if (slot !== undefined) this.set(slot, v.value, v.quality, v.source_us);
    }
    return true;
  }

  /** Takes a list of twins; a value already known from later stays. */
  seed(twins: readonly TwinView[]): void {
    for (const twin of twins) {
      for (const p of twin.points) {
        const slot = this.slot(twin.id, p.name);
        this.staleMs[slot] = p.stale_ms;
        const first = this.sourceMs[slot] === 0;
        if (first || p.source_us / 1000 > this.sourceMs[slot]!) this.set(slot, p.value, p.quality, p.source_us);
      }
    }
  }

  private set(slot: number, value: Value | null | undefined, quality: Quality, sourceUs: number): void {
    this.number[slot] = asNumber(value);
    this.quality[slot] = BYTES.get(quality) ?? 0x80;
    this.sourceMs[slot] = sourceUs / 1000;
    if (typeof value === "string" || (typeof value === "object" && value && "bytes" in value)) this.texts.set(slot, value);
    else this.texts.delete(slot);
    this.touch(slot);
  }

  private touch(slot: number): void {
    if (this.dirty[slot]) return;
    this.dirty[slot] = 1;
    this.dirtyList.push(slot);
  }

  /** Changes whenever the slot's value, time or quality did, at the next flush. */
  version(slot: number): ReadonlySignal<number> {
    return (this.signals[slot] ??= signal(0));
  }

  /** Whether `flush` has something to tell. */
  get pending(): boolean {
    return this.dirtyList.length > 0;
  }

  /** Tells those who look. */
  flush(): void {
    if (this.dirtyList.length === 0) return;
    batch(() => {
      for (const slot of this.dirtyList) {
        this.dirty[slot] = 0;
        const s = this.signals[slot];
        if (s) s.value++;
      }
    });
    this.dirtyList.length = 0;
  }

  /** Text or bytes, if the slot has such. */
  text(slot: number): Value | undefined {
    return this.texts.get(slot);
  }

  /** How far the value may be trusted now. Stale is found here as well: a silent link sends no quality. */
  mark(slot: number, nowMs: number): Mark {
    const byte = this.quality[slot] ?? NO_DATA;
    if (byte === 0x87) return "stale";
    if (byte & 0x80) return "bad";
    const stale = this.staleMs[slot] ?? 0;
    if (stale > 0 && nowMs - this.sourceMs[slot]! > stale) return "stale";
    return byte & 0x40 ? "uncertain" : "good";
  }
}
