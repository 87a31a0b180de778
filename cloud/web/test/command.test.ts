// The life of a command in the page, and what a person may type as a value.
import { expect, test } from "vitest";
import type { CommandState, CommandView, PointView } from "../src/api/types";
import { isFinal, later, mayBecome, reduce, type Draft, type Step } from "../src/command/machine";
import { parseValue } from "../src/command/parse";

const draft: Draft = { point: "x", value: 5, ttl_ms: 10_000, reason: "why" };
const view = (state: CommandState, id = "c", steps = 1): CommandView => ({
  id, twin: "t", asset: "p/a/t", point: "x", value: 5, requester: { name: "me", origin: "cloud" }, reason: "why",
  state, created_us: 1, expires_us: 2, steps: Array.from({ length: steps }, () => ({ state, at_us: 1 })),
});
const run = (...events: Parameters<typeof reduce>[1][]): Step => events.reduce(reduce, { at: "edit" } as Step);
const review = { type: "review", draft, key: "k" } as const;
const confirm = { type: "confirm" } as const;

test("nothing is sent without review and confirm", () => {
  expect(run(confirm).at).toBe("edit");
  expect(run(review).at).toBe("review");
  expect(run(review, { type: "back" }).at).toBe("edit");
  expect(run(review, confirm)).toEqual({ at: "sending", draft, key: "k" });
});

test("a command goes through its states to its result", () => {
  const step = run(review, confirm, { type: "view", command: view("accepted") });
  expect(step.at).toBe("pending");
  const done = reduce(reduce(step, { type: "view", command: view("executing") }), { type: "view", command: view("succeeded") });
  expect(done).toMatchObject({ at: "done", command: { state: "succeeded" } });
});

test("states that come late or twice change nothing", () => {
  let step = run(review, confirm, { type: "view", command: view("executing") });
  step = reduce(step, { type: "view", command: view("sent") });
  expect(step).toMatchObject({ at: "pending", command: { state: "executing" } });
  step = reduce(step, { type: "view", command: view("rejected") });
  step = reduce(step, { type: "view", command: view("succeeded") });
  expect(step).toMatchObject({ at: "done", command: { state: "rejected" } });
});

test("a late result settles unknown and expired", () => {
  for (const early of ["unknown", "expired"] as const) {
    const step = run(review, confirm, { type: "view", command: view("sent") }, { type: "view", command: view(early) });
    expect(reduce(step, { type: "view", command: view("succeeded") })).toMatchObject({ command: { state: "succeeded" } });
  }
});

test("another command's view is not this one's", () => {
  const step = run(review, confirm, { type: "view", command: view("sent") });
  expect(reduce(step, { type: "view", command: view("failed", "other") })).toBe(step);
});

test("what is on its way cannot be taken back, and no second one starts", () => {
  const sending = run(review, confirm);
  expect(reduce(sending, { type: "back" })).toBe(sending);
  expect(reduce(sending, review)).toBe(sending);
  const pending = reduce(sending, { type: "view", command: view("sent") });
  expect(reduce(pending, { type: "back" })).toBe(pending);
});

test("no answer is not a refusal: asking again uses the same key", () => {
  const unsure = run(review, confirm, { type: "refuse", code: "network", detail: "" });
  expect(unsure).toEqual({ at: "unsure", draft, key: "k" });
  expect(reduce(unsure, { type: "again" })).toEqual({ at: "sending", draft, key: "k" });
  expect(run(review, confirm, { type: "refuse", code: "out_of_limits", detail: "d" })).toMatchObject({ at: "refused", code: "out_of_limits" });
});

test("no state goes back, success is the end, as in the cloud", () => {
  const all: CommandState[] = ["accepted", "sent", "executing", "succeeded", "rejected", "failed", "expired", "unknown"];
  for (const from of all) {
    expect(mayBecome(from, "accepted")).toBe(false);
    expect(mayBecome(from, from)).toBe(false);
    for (const to of all) if (isFinal(from) && mayBecome(from, to)) expect(isFinal(to)).toBe(true);
  }
  expect(later(view("sent", "c", 2), view("sent", "c", 1)).steps.length).toBe(2);
});

const point = (p: Partial<PointView>): PointView => ({
  name: "x", type: "f64", access: "read_write", write_min: 0, write_max: 100, stale_ms: 0, quality: "good", source_us: 0, received_us: 0, ...p,
});

test("typed values: limits, commas, whole numbers", () => {
  expect(parseValue(point({}), " 85,5 ")).toEqual({ value: 85.5 });
  expect(parseValue(point({ write_min: -9 }), "−5")).toEqual({ value: -5 });
  expect(parseValue(point({}), "100.1")).toEqual({ error: "beyond" });
  expect(parseValue(point({}), "-0.1")).toEqual({ error: "beyond" });
  for (const bad of ["1,000.5", "0x10", "Infinity", "NaN", "12a", "."]) expect(parseValue(point({}), bad)).toEqual({ error: "number" });
  expect(parseValue(point({}), "  ")).toEqual({ error: "empty" });
  expect(parseValue(point({ type: "i64" }), "1.5")).toEqual({ error: "whole" });
  expect(parseValue(point({ type: "bool", write_max: 1 }), "0")).toEqual({ value: false });
  expect(parseValue(point({ type: "u64" }), "2")).toEqual({ value: 2 });
});
