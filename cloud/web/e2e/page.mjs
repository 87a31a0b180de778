// Drives the real page in a real browser against a running cloud: signs in, watches values change, walks
// the tree by keyboard, opens and zooms a trend, sends a command and sees its result, acknowledges and shelves an
// alarm, visits every view, switches language, checks each view with axe, and keeps screenshots. At least one alarm
// must be ringing and not acknowledged.
//
//   TWINWAY_URL=http://127.0.0.1:8080 TWINWAY_USER=admin TWINWAY_PASSWORD=... npm run e2e
//
// Optional: TWINWAY_SCREENSHOTS (folder, default target/screenshots at the root), CHROMIUM (browser).
// Prints one JSON line with what was measured; exits 1 at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

function need(name) {
  const value = process.env[name];
  if (!value) {
    console.error(`set ${name}`);
    process.exit(64);
  }
  return value;
}

const url = need("TWINWAY_URL");
const user = need("TWINWAY_USER");
const password = need("TWINWAY_PASSWORD");
const shots = resolve(process.env.TWINWAY_SCREENSHOTS ?? join(here, "../../../target/screenshots"));
const LIMIT = 15_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const context = await browser.newContext({
  viewport: { width: 1600, height: 900 }, colorScheme: "dark", locale: "en-GB", bypassCSP: false,
});
const page = await context.newPage();
page.setDefaultTimeout(LIMIT);
const complaints = [];
page.on("pageerror", (e) => complaints.push(`page error: ${e.message}`));
page.on("console", (m) => {
  // The browser itself logs requests that were refused or had no network; the page handles those.
  if (m.type() === "error" && !/^(Failed to load resource|WebSocket connection to)/.test(m.text())) complaints.push(`console: ${m.text()}`);
});

const measured = {};
let at = "start";
const step = (name) => {
  at = name;
};
const shot = (name) => page.screenshot({ path: join(shots, `${name}.png`) });

async function axe(view) {
  // Evaluated by the debugger, so the page's own content policy stays as it is.
  const found = await page.evaluate(
    `${axeSource}; axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target.join(" ")).join(", ")))`,
  );
  assert.deepEqual(found, [], `axe on ${view}`);
}

/** Waits until `read` gives something else than `before`. */
async function changes(read, before) {
  const end = Date.now() + LIMIT;
  for (;;) {
    const now = await read();
    if (now !== before) return now;
    assert.ok(Date.now() < end, `still ${before}`);
    await page.evaluate(() => new Promise((next) => requestAnimationFrame(next)));
  }
}

const api = (path) => page.evaluate(async (p) => (await fetch(`/api/v1${p}`)).json(), path);
const heading = (name) => page.getByRole("heading", { name, exact: true });

try {
  mkdirSync(shots, { recursive: true });

  step("sign in");
  await page.goto(url);
  await page.getByLabel("User").fill(user);
  await axe("login");
  await shot("login");
  await page.getByLabel("Password").fill(`${password}-wrong`);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("User or password is wrong").waitFor();
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".link.live").waitFor();
  await page.locator("tr.point").first().waitFor();

  step("live values");
  const { items: twins } = await api("/twins?limit=1000");
  const points = twins.flatMap((twin) => twin.points.map((point) => ({ twin, point })));
  const cells = page.locator("td.c-value");
  const allValues = async () => (await cells.allTextContents()).join("|");
  await changes(allValues, await allValues());
  await axe("points");
  await shot("points");

  step("tree by keyboard");
  await page.keyboard.press("t");
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("title") ?? "");
  await page.waitForFunction(() => document.activeElement?.getAttribute("role") === "treeitem");
  const target =
    points.find(({ twin, point }) => point.name === "zone1_temp" && twin.online) ??
    points.find(({ point }) => point.setpoint && point.type === "f64") ??
    points[0];
  for (let i = 0; !(await focused()).endsWith(`: ${target.twin.asset}`); i++) {
    assert.ok(i < 200, `no tree item for ${target.twin.asset}`);
    await page.keyboard.press("ArrowDown");
  }
  await page.keyboard.press("Enter");
  await page.waitForFunction((n) => document.querySelectorAll("tr.point").length === n, target.twin.points.length);

  step("filter");
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement?.id === "filter");
  await page.keyboard.type(target.point.name);
  await page.waitForFunction((n) => document.querySelectorAll("tr.point").length < n, Math.max(2, target.twin.points.length));
  await page.locator("#filter").fill("");

  step("trend");
  await page.locator("tr.point", { has: page.getByRole("button", { name: target.point.name, exact: true }) }).click();
  const chart = page.locator(".chart");
  await chart.locator("canvas").waitFor();
  await page.locator(".resolution", { hasText: /every sample|roll-ups/ }).waitFor();
  await page.locator(".readout", { hasText: /min .* max/ }).waitFor();
  await shot("trend");
  const before = await chart.getAttribute("aria-label");
  const box = await chart.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width * 0.7, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.9, box.y + box.height / 2, { steps: 8 });
  await page.mouse.up();
  const span = (label) => label?.split(".")[0];
  await changes(async () => span(await chart.getAttribute("aria-label")), span(before));
  await page.getByRole("button", { name: "Back to live" }).click();
  for (const preset of ["1 d", "15 min"]) {
    await Promise.all([
      page.waitForResponse((r) => r.url().includes("/history?") && r.ok()),
      page.getByRole("button", { name: preset, exact: true }).click(),
    ]);
    // A plant that has just started has fewer samples in a day than the chart has columns.
    await page.locator(".resolution", { hasText: /every sample|roll-ups/ }).waitFor();
  }
  await axe("trend");

  step("command");
  const writable = (name) => target.twin.points.find((p) => p.name === name && p.access !== "read" && p.type === "f64");
  const command =
    (target.point.setpoint && writable(target.point.setpoint) && { twin: target.twin, point: writable(target.point.setpoint) }) ||
    points.find(({ twin, point }) => twin.online && point.access !== "read" && point.type === "f64" && !point.labels);
  assert.ok(command, "no writable point to command");
  await page.locator("[role=treeitem]").first().click();
  await page.locator("#filter").fill(`${command.twin.name} ${command.point.name}`);
  await page.locator("tr.point", { has: page.getByRole("button", { name: command.point.name, exact: true }) }).first().click();
  const pane = page.locator("section.command");
  const { write_min: low, write_max: high } = command.point;
  const { points: fresh } = await api(`/twins/${command.twin.id}`);
  const present = Number(fresh.find((p) => p.name === command.point.name).value);
  const move = (high - low) / 100;
  const wanted = Number((present + move > high ? present - move : present + move).toFixed(1));
  await pane.getByLabel("New value").fill(String(high + 1));
  await pane.getByRole("button", { name: "Review…" }).click();
  await pane.getByText("Must be").waitFor();
  await pane.getByLabel("New value").fill(String(wanted));
  await pane.getByLabel("Reason").fill("browser test");
  await pane.getByRole("button", { name: "Review…" }).click();
  await pane.getByText("Write this to the plant?").waitFor();
  await shot("command-review");
  await axe("command review");
  const sent = Date.now();
  await pane.getByRole("button", { name: "Confirm and send" }).click();
  await pane.locator(".outcome.succeeded").waitFor();
  measured.command_result_ms = Date.now() - sent;
  const readBack = await pane.locator(".outcome").textContent();
  assert.match(readBack, /Read back/);
  await page.locator('[role="status"]', { hasText: "Succeeded" }).waitFor({ state: "attached" });
  await shot("command-result");
  await axe("command result");
  await page.locator("#filter").fill("");

  step("commands");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.keyboard.press("c");
  await heading("Commands").waitFor();
  await page.getByText("browser test").first().waitFor();
  await axe("commands");
  await shot("commands");

  step("events");
  await page.keyboard.press("e");
  await heading("Events").waitFor();
  await page.getByText("command.succeeded").first().waitFor();
  await axe("events");
  await shot("events");

  step("alarms");
  await page.keyboard.press("a");
  await heading("Alarms").waitFor();
  const alarmRow = page.locator("tr.ringing", { has: page.getByRole("button", { name: /^Acknowledge: / }) }).first();
  await alarmRow.waitFor();
  await page.getByRole("group", { name: "Alarms that ring" }).waitFor();
  await axe("alarms");
  await shot("alarms");
  const alarm = (await alarmRow.getByRole("button", { name: /^Acknowledge: / }).getAttribute("aria-label")).replace(/^Acknowledge: /, "");
  const alarmForm = page.locator("form.alarm-form");
  const press = (act) => page.getByRole("button", { name: `${act}: ${alarm}`, exact: true }).click();
  await press("Acknowledge");
  await alarmForm.getByRole("heading", { name: `Acknowledge: ${alarm}` }).waitFor();
  await page.waitForFunction(() => document.activeElement?.id === "alarm-comment");
  await axe("acknowledge an alarm");
  await page.keyboard.press("Escape");
  await alarmForm.waitFor({ state: "detached" });
  await page.waitForFunction(() => document.activeElement?.id === "alarm-list");
  await press("Acknowledge");
  await alarmForm.getByLabel("Comment").fill("seen in the browser");
  await alarmForm.getByRole("button", { name: "Acknowledge", exact: true }).click();
  await alarmForm.waitFor({ state: "detached" });
  const own = page.locator("tbody tr", { hasText: "seen in the browser" });
  await own.getByText("Active, acknowledged").waitFor();
  await press("Shelve");
  await alarmForm.getByLabel("For").selectOption({ index: 1 });
  await alarmForm.getByLabel("Comment").fill("known until the shift ends");
  await axe("shelve an alarm");
  await shot("alarm-shelve");
  await alarmForm.getByRole("button", { name: "Shelve", exact: true }).click();
  await page.locator("tbody tr", { hasText: "known until the shift ends" }).getByText("shelved until").waitFor();
  await axe("shelved alarm");
  await press("Unshelve");
  await alarmForm.getByLabel("Comment").fill("back again");
  await alarmForm.getByRole("button", { name: "Unshelve", exact: true }).click();
  await page.locator("tbody tr", { hasText: "back again" }).getByText("shelved until").waitFor({ state: "detached" });
  await page.getByRole("button", { name: `Shelve: ${alarm}`, exact: true }).waitFor();

  step("gateways");
  await page.keyboard.press("g");
  await heading("Gateways").waitFor();
  await page.locator(".card dd").first().waitFor();
  await axe("gateways");
  await shot("gateways");

  step("help");
  await page.keyboard.press("?");
  await page.getByRole("dialog").waitFor();
  await axe("help");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });

  step("Chinese");
  await page.getByLabel("Language").selectOption("zh-CN");
  await page.getByRole("link", { name: "点位" }).click();
  await page.locator("tr.point").first().waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
  await page.locator("tr.point").first().click();
  await page.locator(".chart canvas").waitFor();
  await axe("Chinese");
  await shot("points-zh");
  await page.getByLabel("语言").selectOption("en");

  step("light and large");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "reduce" });
  await axe("light theme");
  await shot("points-light");
  await page.setViewportSize({ width: 800, height: 450 });
  await axe("200 % zoom");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "sideways scroll at 200 %");
  await shot("points-zoomed");
  await page.setViewportSize({ width: 1600, height: 900 });
  await page.emulateMedia({ colorScheme: "dark" });

  step("lost link");
  await page.keyboard.press("Escape");
  await page.locator("#filter").fill(`${command.twin.name} ${command.point.name}`);
  await page.locator("tr.point").first().click();
  await context.setOffline(true);
  await page.locator(".banner.lost").waitFor();
  await page.getByText("Commands are disabled").first().waitFor();
  assert.ok(await pane.getByRole("button", { name: "Review…" }).isDisabled());
  await axe("lost link");
  await shot("link-lost");
  await context.setOffline(false);
  await page.locator(".link.live").waitFor();
  await page.locator(".banner.lost").waitFor({ state: "detached" });
  await page.locator("#filter").fill("");
  await changes(allValues, await allValues());

  step("sign out");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  assert.equal(await page.evaluate(async () => (await fetch("/api/v1/session")).status), 401);

  assert.deepEqual(complaints, []);
  console.log(JSON.stringify({ ok: true, points: points.length, screenshots: shots, ...measured }));
} catch (e) {
  await shot("failed").catch(() => {});
  console.error(`at "${at}": ${e instanceof Error ? e.stack : e}`);
  for (const c of complaints) console.error(c);
  process.exitCode = 1;
} finally {
  await browser.close();
}
