// Roles by subtree, routes, backoff, series of a trend and sparklines.
import { expect, test } from "vitest";
import type { GatewayView, HistoryPoint, HistoryResponse, TwinView } from "../src/api/types";
import { backoffMs } from "../src/live/socket";
import { isUnder, refusal, roleAt } from "../src/state/access";
import { formatRoute, parseRoute, type Route } from "../src/state/route";
import { append, fromHistory, held, longest, shades, shares, summary } from "../src/state/series";
import { LENGTH, Sparks, STEP_MS } from "../src/state/sparks";
import { Values } from "../src/state/values";

test("grants hold by whole parts of a path, the highest counts", () => {
  expect(isUnder("plant/coating", "plant/coat")).toBe(false);
  expect(isUnder("plant/coating", "")).toBe(true);
  const grants = [{ path: "", role: "viewer" }, { path: "plant/coating", role: "operator" }] as const;
  expect(roleAt(grants, "plant/coating/line1/oven")).toBe("operator");
  expect(roleAt(grants, "plant/other/x")).toBe("viewer");
  expect(roleAt([], "plant")).toBeNull();
});

test("a disabled command says why, the lasting reason first", () => {
  const twin = { asset: "p/a/x", online: true } as TwinView;
  const operator = [{ path: "", role: "operator" }] as const;
  const local = { health: { switch: "local" } } as GatewayView;
  expect(refusal(twin, operator, "live", undefined)).toBeNull();
  expect(refusal(twin, [], "lost", local)).toEqual({ why: "role", has: "viewer" });
  expect(refusal(twin, operator, "lost", undefined)).toEqual({ why: "link" });
  expect(refusal({ ...twin, online: false }, operator, "live", local)).toEqual({ why: "offline" });
  expect(refusal(twin, operator, "live", local)).toEqual({ why: "local" });
});

test("a route is read back from its address, and nonsense is the table", () => {
  const r: Route = { view: "points", at: "plant/coating", open: { twin: "t", point: "zone 1/°" } };
  expect(parseRoute(formatRoute(r))).toEqual(r);
  expect(parseRoute("#/nothing?point=x")).toEqual({ view: "points", at: "", open: null });
});

test("backoff grows to its limit and is never without chance", () => {
  expect(backoffMs(0, 0)).toBe(250);
  expect(backoffMs(0, 1)).toBe(500);
  expect(backoffMs(50, 1)).toBe(10_000);
  expect(backoffMs(50, 0)).toBe(5_000);
});

const history = (points: Partial<HistoryPoint>[], bucket_us?: number): HistoryResponse => ({
  twin: "t", point: "x", unit: "", from_us: 0, to_us: 1,
  resolution: bucket_us ? { kind: "rollup", bucket_us } : { kind: "raw" },
  points: points.map((p) => ({ t_us: 0, quality: "good", count: 1, good: 1, ...p })),
  gaps: [],
});

test("a bad sample is a gap, a bucket stands at its middle with its band", () => {
  const raw = fromHistory(history([{ t_us: 1e6, value: 1 }, { t_us: 2e6, quality: "bad_timeout", good: 0 }]));
  expect(raw.y).toEqual([1, null]);
  const rolled = fromHistory(history([{ t_us: 0, mean: 2, min: 1, max: 4 }, { t_us: 10e6, quality: "bad", good: 0 }], 10e6));
  expect(rolled).toMatchObject({ x: [5, 15], y: [2, null], min: [1, null], max: [4, null], rolled: true });
});

test("a span without data breaks the line, one of bad samples is broken by them", () => {
  const gap = { from_us: 3e6, to_us: 8e6, cause: "gateway_down" } as const;
  const h = { ...history([{ t_us: 1e6, value: 1 }, { t_us: 9e6, value: 2 }]), gaps: [gap] };
  expect(fromHistory(h)).toMatchObject({ x: [1, 3, 9], y: [1, null, 2] });
  expect(fromHistory({ ...h, gaps: [{ ...gap, cause: "bad_quality" }] }).x).toEqual([1, 9]);
  expect(shades(h)).toEqual([{ from: 3, to: 8, cause: "gateway_down" }]);
  const many = [1, 5, 2].map((n) => ({ from: 0, to: n, cause: "quota" as const }));
  expect(longest(many, 0, 9, 2)).toEqual({ some: [many[1], many[2]], more: 1 });
  expect(longest(many, 6, 9, 2)).toEqual({ some: [], more: 0 });
});

test("time divides by state, and what is in none is told beside", () => {
  expect(shares(undefined)).toEqual([]);
  expect(shares({ good_us: 5, uncertain_us: 0, bad_us: 0, nothing_us: 0 })).toEqual([]);
  const times = { good_us: 70, uncertain_us: 10, bad_us: 5, nothing_us: 15, states: [{ value: true, us: 60 }, { value: false, us: 18 }], other_us: 2 };
  expect(shares(times)).toEqual([
    { of: { value: true }, part: 0.6 },
    { of: { value: false }, part: 0.18 },
    { of: { none: "other" }, part: 0.02 },
    { of: { none: "bad" }, part: 0.05 },
    { of: { none: "nothing" }, part: 0.15 },
  ]);
});

test("live values go behind the history and never before it", () => {
  const s = fromHistory(history([{ t_us: 5e6, value: 1 }]));
  expect(append(s, 5000, 9, false)).toBe(false);
  expect(append(s, 6000, 2, false)).toBe(true);
  expect(append(s, 7000, 3, true)).toBe(true);
  expect(s.y).toEqual([1, 2, null]);
  expect(summary(s, 0, 10)).toEqual({ min: 1, max: 2, last: 2 });
  expect(summary(s, 8, 10)).toBeNull();
});

test("the last value is held until now, a bad one is not", () => {
  const s = fromHistory(history([{ t_us: 5e6, value: 1 }]));
  expect(held(s, 9)).toMatchObject({ x: [5, 9], y: [1, 1] });
  expect(held(s, 5)).toBe(s);
  append(s, 6000, 0, true);
  expect(held(s, 9)).toBe(s);
  expect(held(fromHistory(history([])), 9).x).toEqual([]);
});

test("a sparkline has its past from history, gaps where values were bad, and grows with new slots", () => {
  const v = new Values();
  const sparks = new Sparks(v);
  v.schema(0, 1, [["a", "x"]]);
  const now = LENGTH * STEP_MS;
  sparks.seed(0, history([{ t_us: 0, value: 1 }, { t_us: (now / 2) * 1000, quality: "bad", good: 0 }, { t_us: (now - STEP_MS) * 1000, value: 2 }]), now);
  expect(sparks.path(0, 0).match(/M/g)).toHaveLength(2);
  expect(sparks.wantsSeed(0)).toBe(true);
  expect(sparks.wantsSeed(0)).toBe(false);
  for (let i = 0; i < 400; i++) v.slot(`t${i}`, "x");
  sparks.sample(now);
  expect(sparks.path(0, 0)).not.toBe("");
  expect(sparks.path(300, 0)).toBe("");
});
