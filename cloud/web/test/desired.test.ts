// The pane of a desired value: what it asks the cloud for, and what it shows of the answer.
import { h, render } from "preact";
import { afterEach, expect, test, vi } from "vitest";
import { place } from "./dom";
import type { DesiredView, TwinView } from "../src/api/types";
import { link, me, twins } from "../src/state/plant";
import { tl } from "../src/i18n/later";
import { DesiredPane } from "../src/ui/DesiredPane";

const root = place();
const wish: DesiredView = {
  value: 150, state: "diverged", version: 3, set_us: 1, expires_us: 2, requester: { name: "ann", origin: "cloud" },
  reason: "night", code: "changed_since",
};
const twin = (desired_version: number, desired?: DesiredView): TwinView => ({
  id: "t1", asset: "plant/coating/oven", name: "oven", gateway: "g1", device: "plc", online: true, desired_version,
  points: [{
    name: "sp", type: "f64", access: "read_write", unit: "Cel", write_min: 0, write_max: 300, stale_ms: 0, quality: "good",
    source_us: 0, received_us: 0, value: 120, ...(desired ? { desired } : {}),
  }],
});

interface Call { path: string; method: string; headers: Record<string, string>; body: unknown }
const calls: Call[] = [];

/** What the cloud answers, one after the other. */
function answers(...all: { status: number; json: unknown }[]): void {
  calls.length = 0;
  vi.stubGlobal("fetch", (path: string, o: RequestInit) => {
    calls.push({ path, method: o.method ?? "GET", headers: o.headers as Record<string, string>, body: o.body && JSON.parse(String(o.body)) });
    const { status, json } = all.shift()!;
    return Promise.resolve(new Response(JSON.stringify(json), { status }));
  });
}

const show = (of: TwinView): void => {
  twins.value = [of];
  render(h(DesiredPane, { twin: of, point: of.points[0]! }), root as unknown as Element);
};
const shown = (): string => root.textContent;
const alert = (): string => root.all("div").find((d) => d.getAttribute("role") === "alert")!.textContent;
const settled = (): Promise<void> => vi.waitFor(() => expect(root.button(tl.value.desired.withdraw)["disabled"]).not.toBe(true));

me.value = { user: "ann", grants: [{ path: "plant", role: "operator" }] };
link.value = "live";
afterEach(() => {
  render(null, root as unknown as Element);
  vi.unstubAllGlobals();
});

test("what is wanted, by whom, and why it is not so", () => {
  show(twin(3, wish));
  for (const text of ["150", "ann", "night", tl.value.code.changed_since]) expect(shown()).toContain(text);
});

test("withdrawing names the version that the person saw, and shows what is left", async () => {
  show(twin(3, wish));
  answers({ status: 200, json: twin(4) });
  root.button(tl.value.desired.withdraw).send("click");
  await vi.waitFor(() => expect(twins.value[0]!.desired_version).toBe(4));
  expect(calls).toMatchObject([
    { path: "/api/v1/twins/t1/desired", method: "PATCH", body: { sp: null }, headers: { "if-match": '"3"', "content-type": "application/merge-patch+json" } },
  ]);
});

test("somebody else's change is told and looked up, and nothing is sent a second time", async () => {
  show(twin(3, wish));
  answers({ status: 412, json: { code: "precondition_failed", detail: "d" } }, { status: 200, json: twin(7, { ...wish, version: 7 }) });
  root.button(tl.value.desired.withdraw).send("click");
  await vi.waitFor(() => expect(twins.value[0]!.desired_version).toBe(7));
  await vi.waitFor(() => expect(alert()).toContain(tl.value.desired.changed));
  expect(calls.map((c) => c.method)).toEqual(["PATCH", "GET"]);
});

test("a refusal is told with its detail; the wish stays", async () => {
  show(twin(3, wish));
  answers({ status: 403, json: { code: "forbidden", detail: "this needs the role operator" } });
  root.button(tl.value.desired.withdraw).send("click");
  await vi.waitFor(() => expect(alert()).toContain("this needs the role operator"));
  await settled();
  expect(twins.value[0]!.points[0]!.desired).toEqual(wish);
});

test("a value is reviewed before it is sent, and sent once", async () => {
  const of = twin(3, wish);
  show(of);
  const input = root.all("input").find((i) => i.getAttribute("name") === "value" || i["name"] === "value")!;
  input["value"] = "160";
  input.send("input");
  vi.stubGlobal("FormData", class { get(name: string): string { return name === "ms" ? "900000" : " colder "; } });
  answers({ status: 200, json: twin(4, { ...wish, state: "pending", version: 4, value: 160 }) });
  root.all("form")[0]!.send("submit");
  await vi.waitFor(() => expect(root.button(tl.value.desired.confirm)).toBeTruthy());
  expect(calls, "nothing goes without a confirmation").toEqual([]);
  root.button(tl.value.desired.confirm).send("click");
  await vi.waitFor(() => expect(twins.value[0]!.desired_version).toBe(4));
  expect(calls).toMatchObject([{ body: { sp: { value: 160, ttl_ms: 900_000, reason: "colder" } } }]);
});
