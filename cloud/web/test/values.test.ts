// The value store: epochs, texts, lists against live values, marks, and its speed at 10,000 rows.
import { effect } from "@preact/signals";
import { expect, test } from "vitest";
import { QUALITIES, type PointView, type TwinView } from "../src/api/types";
import { decodeFrame } from "../src/live/decode";
import { qualityName, Values } from "../src/state/values";
import { BASE_US, frameBytes } from "./frames";

const frame = (area: number, epoch: number, value: number, row = 0, quality = 0, sourceUs = BASE_US) =>
  decodeFrame(frameBytes(area, epoch, 1, BASE_US, [{ row, value, sourceUs, quality }]))!;

const twin = (points: Partial<PointView>[]): TwinView => ({
  id: "t", asset: "p/a/t", name: "t", online: true, desired_version: 0,
  points: points.map((p) => ({
    name: "x", type: "f64", access: "read", stale_ms: 1000, quality: "good", source_us: 0, received_us: 0, ...p,
  })),
});

test("a frame lands in the rows of its area's schema", () => {
  const v = new Values();
  v.schema(0, 1, [["a", "x"], ["a", "y"]]);
  v.schema(1, 5, [["b", "x"]]);
  expect(v.apply(frame(0, 1, 7, 1))).toBe(true);
  expect(v.apply(frame(1, 5, 8))).toBe(true);
  expect(v.number[v.slot("a", "y")]).toBe(7);
  expect(v.number[v.slot("b", "x")]).toBe(8);
  expect(v.sourceMs[v.slot("b", "x")]).toBe(BASE_US / 1000);
});

test("frames and texts of another epoch or area change nothing and are counted", () => {
  const v = new Values();
  v.schema(0, 2, [["a", "x"]]);
  expect(v.apply(frame(0, 1, 7))).toBe(false);
  expect(v.apply(frame(0, 3, 7))).toBe(false);
  expect(v.apply(frame(9, 2, 7))).toBe(false);
  expect(v.applyTexts(0, 1, [{ row: 0, value: "no", quality: "good", source_us: 1 }])).toBe(false);
  expect(v.number[v.slot("a", "x")]).toBeNaN();
  expect(v.ignored).toBe(4);
});

test("a new epoch renumbers rows and keeps values; a lost link forgets rows", () => {
  const v = new Values();
  v.schema(0, 1, [["a", "x"], ["a", "y"]]);
  v.apply(frame(0, 1, 1, 0));
  v.schema(0, 2, [["a", "y"], ["a", "x"]]);
  expect(v.apply(frame(0, 1, 9, 0))).toBe(false);
  v.apply(frame(0, 2, 2, 0));
  expect(v.number[v.slot("a", "x")]).toBe(1);
  expect(v.number[v.slot("a", "y")]).toBe(2);
  v.disconnect();
  expect(v.apply(frame(0, 2, 3, 0))).toBe(false);
});

test("a row beyond the schema is left out, the rest lands", () => {
  const v = new Values();
  v.schema(0, 1, [["a", "x"]]);
  const two = decodeFrame(frameBytes(0, 1, 1, BASE_US, [
    { row: 4_000_000, value: 1, sourceUs: BASE_US, quality: 0 },
    { row: 0, value: 2, sourceUs: BASE_US, quality: 0 },
  ]))!;
  expect(v.apply(two)).toBe(true);
  expect(v.number[v.slot("a", "x")]).toBe(2);
});

test("texts are kept beside numbers and withdrawn", () => {
  const v = new Values();
  v.schema(0, 1, [["a", "recipe"]]);
  v.applyTexts(0, 1, [{ row: 0, value: "NMC", quality: "good", source_us: BASE_US }]);
  expect(v.text(v.slot("a", "recipe"))).toBe("NMC");
  v.applyTexts(0, 1, [{ row: 0, value: null, quality: "bad_timeout", source_us: BASE_US }]);
  expect(v.text(v.slot("a", "recipe"))).toBeUndefined();
  expect(v.quality[v.slot("a", "recipe")]).toBe(0x82);
});

test("an older list does not undo a live value", () => {
  const v = new Values();
  v.schema(0, 1, [["t", "x"]]);
  v.apply(frame(0, 1, 5));
  v.seed([twin([{ value: 1, source_us: BASE_US - 1000 }])]);
  expect(v.number[v.slot("t", "x")]).toBe(5);
  v.seed([twin([{ value: 6, source_us: BASE_US + 1000 }])]);
  expect(v.number[v.slot("t", "x")]).toBe(6);
});

test("a list with a value of bad quality and no time still tells the quality", () => {
  const v = new Values();
  v.seed([twin([{ quality: "bad_not_connected" }])]);
  expect(v.quality[v.slot("t", "x")]).toBe(0x81);
});

test("marks: bad, uncertain, stale by age, stale by quality", () => {
  const v = new Values();
  v.seed([twin([{ value: 1, source_us: BASE_US }])]);
  const slot = v.slot("t", "x");
  const at = BASE_US / 1000;
  expect(v.mark(slot, at + 1000)).toBe("good");
  expect(v.mark(slot, at + 1001)).toBe("stale");
  v.quality[slot] = 0x41;
  expect(v.mark(slot, at)).toBe("uncertain");
  v.quality[slot] = 0x82;
  expect(v.mark(slot, at + 9999)).toBe("bad");
  v.quality[slot] = 0x87;
  expect(v.mark(slot, at)).toBe("stale");
  v.quality[slot] = 0;
  v.staleMs[slot] = 0;
  expect(v.mark(slot, at + 1e9)).toBe("good");
});

test("every byte of quality has the name of its class", () => {
  for (let byte = 0; byte < 256; byte++) {
    const cls = ["good", "uncertain", "bad", "bad"][byte >> 6]!;
    expect(qualityName(byte).startsWith(cls)).toBe(true);
  }
  for (const [byte, name] of Object.entries(QUALITIES)) expect(qualityName(Number(byte))).toBe(name);
});

test("who looks is told once per flush", () => {
  const v = new Values();
  v.schema(0, 1, [["a", "x"], ["a", "y"]]);
  let seen = 0;
  const version = v.version(v.slot("a", "x"));
  effect(() => {
    version.value;
    seen++;
  });
  v.apply(frame(0, 1, 1));
  v.apply(frame(0, 1, 2));
  expect(v.pending).toBe(true);
  v.flush();
  expect(seen).toBe(2);
  v.apply(frame(0, 1, 3, 1));
  expect(v.pending).toBe(false);
});

test("every one of 10,000 rows is applied, time after time", () => {
  const v = new Values();
  const n = 10_000;
  v.schema(0, 1, Array.from({ length: n }, (_, i) => [`t${Math.floor(i / 5)}`, `p${i % 5}`] as [string, string]));
  for (let i = 0; i < 100; i++) v.version(i);
  const bytes = frameBytes(0, 1, 1, BASE_US, Array.from({ length: n }, (_, row) => ({ row, value: row, sourceUs: BASE_US, quality: 0 })));
  const times: number[] = [];
  for (let i = 0; i < 300; i++) {
    const start = performance.now();
    v.apply(decodeFrame(bytes)!);
    v.flush();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  expect(v.number[v.slot("t1999", "p4")]).toBe(n - 1);
  // A figure to look at, not a verdict: the machine may be busy with other things.
  console.info(`decode and apply of ${n} rows: median ${times[150]!.toFixed(3)} ms`);
});
