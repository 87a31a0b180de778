// Alarms as a list: what rings, the order, the counts.
import { expect, test } from "vitest";
import type { AlarmView } from "../src/api/types";
import { counts, isRinging, ordered } from "../src/state/alarms";

const alarm = (id: string, more: Partial<AlarmView>): AlarmView => ({
  id, twin: "t", asset: "p/a/x", point: "v", name: "hi", kind: "hi", priority: "medium", state: "active",
  change: "raised", at_us: 1, quality: "good", actor: "system", ...more,
});

test("what rings comes first, the most urgent first, the shelf and what is switched off last", () => {
  const list = ordered([
    alarm("off", { state: "out_of_service", priority: "urgent" }),
    alarm("shelved", { priority: "urgent", shelved_until_us: 9 }),
    alarm("low", { priority: "low" }),
    alarm("acknowledged", { priority: "high", state: "acknowledged" }),
    alarm("older", { priority: "high", at_us: 1 }),
    alarm("newer", { priority: "high", at_us: 2 }),
    alarm("normal", { state: "normal", priority: "urgent" }),
    alarm("returned", { state: "returned", priority: "urgent" }),
  ]);
  expect(list.map((a) => a.id)).toEqual(["returned", "newer", "older", "acknowledged", "low", "shelved", "off"]);
  expect(counts(list)).toEqual({ urgent: 1, high: 3, medium: 0, low: 1 });
});

test("a shelved or normal alarm rings nowhere", () => {
  expect(isRinging(alarm("a", { shelved_until_us: 5 }))).toBe(false);
  expect(isRinging(alarm("a", { state: "normal" }))).toBe(false);
  expect(isRinging(alarm("a", { state: "returned" }))).toBe(true);
});
