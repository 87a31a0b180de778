// The live decoder against bytes built by the documented layout.
import { expect, test } from "vitest";
import { decodeFrame } from "../src/live/decode";
import { BASE_US, frameBytes } from "./frames";

const rows = (n: number) =>
  Array.from({ length: n }, (_, i) => ({ row: i * 3, value: i + 0.5, sourceUs: BASE_US - i * 1000, quality: 0x40 }));

test("every column of a frame is read, whatever the number of rows", () => {
  for (let n = 0; n < 9; n++) {
    const frame = decodeFrame(frameBytes(2, 7, 9, BASE_US, rows(n)));
    expect(frame).toMatchObject({ area: 2, epoch: 7, tick: 9, baseUs: BASE_US, count: n });
    expect([...frame!.values]).toEqual(rows(n).map((r) => r.value));
    expect([...frame!.rows]).toEqual(rows(n).map((r) => r.row));
    expect([...frame!.timesMs]).toEqual(rows(n).map((_, i) => 0 - i));
    expect([...frame!.qualities]).toEqual(rows(n).map(() => 0x40));
  }
});

test("a frame cut anywhere, or with bytes too many, is refused", () => {
  const whole = frameBytes(0, 1, 1, BASE_US, rows(5));
  for (let cut = 0; cut < whole.byteLength; cut++) expect(decodeFrame(whole.slice(0, cut))).toBeNull();
  const longer = new Uint8Array(whole.byteLength + 8);
  longer.set(new Uint8Array(whole));
  expect(decodeFrame(longer.buffer)).toBeNull();
});

test("another magic, version or flag is refused", () => {
  for (let at = 0; at < 4; at++) {
    const bytes = frameBytes(0, 1, 1, BASE_US, rows(1));
    new Uint8Array(bytes)[at]! ^= 0xff;
    expect(decodeFrame(bytes)).toBeNull();
  }
});

test("a row count that cannot be is refused and allocates nothing", () => {
  const bytes = frameBytes(0, 1, 1, BASE_US, rows(1));
  new DataView(bytes).setUint32(24, 0xffff_ffff, true);
  expect(decodeFrame(bytes)).toBeNull();
});

test("times before 1970 and values without a number come through", () => {
  const frame = decodeFrame(frameBytes(0, 1, 1, -5_000_000, [{ row: 0, value: NaN, sourceUs: -5_000_000, quality: 0x88 }]))!;
  expect(frame.baseUs).toBe(-5_000_000);
  expect(frame.values[0]).toBeNaN();
});
