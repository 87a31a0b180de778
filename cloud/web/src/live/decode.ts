// Binary live frames (`common::api::LiveFrame`): little-endian columns, read in place without copying.
// Not here: which twin a row is (state/values.ts) and text messages.
//
// Typed arrays use the byte order of the machine. Every engine that runs this page is little-endian, and
// a big-endian one refuses all frames rather than show wrong values.

export const HEADER_BYTES = 32;
const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

export interface LiveFrame {
  area: number;
  epoch: number;
  tick: number;
  /** UTC us that `timesMs` are relative to. */
  baseUs: number;
  count: number;
  /** NaN where there is none or where it is not a number. */
  values: Float64Array;
  timesMs: Int32Array;
  rows: Uint32Array;
  qualities: Uint8Array;
}

/** Reads a frame; null if the bytes are not one. */
export function decodeFrame(bytes: ArrayBuffer): LiveFrame | null {
  if (!LITTLE_ENDIAN || bytes.byteLength < HEADER_BYTES) return null;
  const head = new DataView(bytes, 0, HEADER_BYTES);
  // "TW", version 1, no flags.
  if (head.getUint32(0, false) !== 0x54570100) return null;
  const n = head.getUint32(24, true);
  const length = HEADER_BYTES + n * 17;
  if (bytes.byteLength !== Math.ceil(length / 8) * 8) return null;
  const times = HEADER_BYTES + 8 * n;
  return {
    area: head.getUint16(4, true),
    epoch: head.getUint32(8, true),
    tick: head.getUint32(12, true),
    // Microseconds since 1970 stay exact in a double until the year 2255.
    baseUs: head.getInt32(20, true) * 2 ** 32 + head.getUint32(16, true),
    count: n,
    values: new Float64Array(bytes, HEADER_BYTES, n),
    timesMs: new Int32Array(bytes, times, n),
    rows: new Uint32Array(bytes, times + 4 * n, n),
    qualities: new Uint8Array(bytes, times + 8 * n, n),
  };
}
