// Numbers, units, ages and values as text.
import { expect, test } from "vitest";
import * as format from "../src/format";
import { en } from "../src/i18n/en";

const f = { type: "f64", range_min: 0, range_max: 200 } as const;

test("digits follow the point's range, not the value", () => {
  expect(format.number(f, 85.25)).toBe("85.3");
  expect(format.number(f, 0.04)).toBe("0.0");
  expect(format.number({ type: "f64", range_min: 0, range_max: 6 }, 2.3)).toBe("2.300");
  expect(format.number({ type: "f64", range_min: 0, range_max: 12_000 }, 5230.4)).toBe("5230");
  expect(format.number({ type: "i64" }, 42)).toBe("42");
});

test("negative zero, infinities and no number", () => {
  expect(format.fixed(-0.001, 1)).toBe("0.0");
  expect(format.fixed(-1.25, 2)).toBe("−1.25");
  expect(format.fixed(Infinity, 1)).toBe("∞");
  expect(format.fixed(NaN, 1)).toBe(format.NONE);
  expect(format.fixed(1_234_567.891, 2)).toBe("1\u202f234\u202f567.89");
});

test("labels, booleans, texts and bytes", () => {
  const mode = { type: "u64", labels: [{ value: 2, text: "Run" }] } as const;
  expect(format.number({ ...mode, labels: [...mode.labels] }, 2)).toBe("Run");
  expect(format.number({ ...mode, labels: [...mode.labels] }, 3)).toBe("3");
  expect(format.value({ type: "bool" }, true)).toBe("1");
  expect(format.value({ type: "text" }, "NMC")).toBe("NMC");
  expect(format.value({ type: "bytes" }, { bytes: "3q0=" })).toBe("0xdead");
  expect(format.value(f, { f64: "-Infinity" })).toBe("−∞");
  expect(format.value(f, undefined)).toBe(format.NONE);
});

test("units are written as people do, and never beside nothing", () => {
  expect(format.withUnit({ ...f, unit: "degC" }, 20)).toBe("20.0 °C");
  expect(format.withUnit({ ...f, unit: "degC" }, null)).toBe(format.NONE);
  expect(format.unit("furlong")).toBe("furlong");
});

test("ages take the largest unit that fits, and never go below zero", () => {
  expect(format.age(900, en.age)).toBe("0 s");
  expect(format.age(-5000, en.age)).toBe("0 s");
  expect(format.age(119_999, en.age)).toBe("119 s");
  expect(format.age(120_000, en.age)).toBe("2 min");
  expect(format.age(7_200_000, en.age)).toBe("2 h");
  expect(format.age(200_000_000, en.age)).toBe("2 d");
  expect(format.age(NaN, en.age)).toBe(format.NONE);
});

test("spans are as people set them", () => {
  expect([500, 10_000, 90_000, 3_600_000, 604_800_000].map((ms) => format.span(ms, en.age))).toEqual([
    "500 ms", "10 s", "1.5 min", "1 h", "7 d",
  ]);
});

test("bytes have binary prefixes", () => {
  expect([0, 1023, 1024, 48e6, 2 ** 45].map(format.bytes)).toEqual(["0 B", "1023 B", "1.0 KiB", "45.8 MiB", "32.0 TiB"]);
});
