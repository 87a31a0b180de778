// Live frames as bytes, by the layout that `common::api::live` documents: written here by hand, so that the
// decoder is not checked against itself.
export interface Row { row: number; value: number; sourceUs: number; quality: number }

export function frameBytes(area: number, epoch: number, tick: number, baseUs: number, rows: Row[]): ArrayBuffer {
  const n = rows.length;
  const bytes = new ArrayBuffer(Math.ceil((32 + 17 * n) / 8) * 8);
  const d = new DataView(bytes);
  d.setUint8(0, "T".charCodeAt(0));
  d.setUint8(1, "W".charCodeAt(0));
  d.setUint8(2, 1);
  d.setUint16(4, area, true);
  d.setUint32(8, epoch, true);
  d.setUint32(12, tick, true);
  d.setBigInt64(16, BigInt(baseUs), true);
  d.setUint32(24, n, true);
  rows.forEach((r, i) => {
    d.setFloat64(32 + 8 * i, r.value, true);
    d.setInt32(32 + 8 * n + 4 * i, Math.floor((r.sourceUs - baseUs) / 1000), true);
    d.setUint32(32 + 12 * n + 4 * i, r.row, true);
    d.setUint8(32 + 16 * n + i, r.quality);
  });
  return bytes;
}

export const BASE_US = 1_795_000_000_123_000;
