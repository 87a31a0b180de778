// The page's frame: login or header, tree, view, open point and event bar; shortcut keys; live regions.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { clock } from "../format";
import { assertive, polite } from "../state/announce";
import { gatewayById, link, linkSince, loadError, loaded, me, twins } from "../state/plant";
import { go, route, type View } from "../state/route";
import { asked } from "../state/session";
import { EventBar } from "./EventBar";
import { Header } from "./Header";
import { lazy, loadAll } from "./lazy";
import { WarnMark } from "./marks";
import { Points } from "./Points";
import { Tree } from "./Tree";

const Login = lazy(async () => (await import("./Login")).Login);
const Alarms = lazy(async () => (await import("./Alarms")).Alarms);
const CommandList = lazy(async () => (await import("./Commands")).CommandList);
const Events = lazy(async () => (await import("./Events")).Events);
const Gateways = lazy(async () => (await import("./Gateways")).Gateways);
const Detail = lazy(async () => (await import("./Detail")).Detail);
const LoadFailed = lazy(async () => (await import("./LoadFailed")).LoadFailed);
const Help = lazy(async () => (await import("./Help")).Help);

const KEYS: Record<string, View> = { p: "points", a: "alarms", c: "commands", e: "events", g: "gateways" };

/** Focuses what is there, or will be after the next render. */
function focusSoon(selector: string): void {
  const there = document.querySelector<HTMLElement>(selector);
  if (there) there.focus();
  else requestAnimationFrame(() => document.querySelector<HTMLElement>(selector)?.focus());
}

function useShortcuts(showHelp: (on: boolean) => void): void {
  useEffect(() => {
    const onKey = (e: KeyboardEvent): void => {
      const target = e.target as HTMLElement;
      if (e.ctrlKey || e.metaKey || e.altKey || !me.value || document.querySelector("dialog[open]")) return;
      if (target.matches("input:not([type=checkbox]), select, textarea")) {
        if (e.key === "Escape") target.blur();
        return;
      }
      const view = KEYS[e.key];
      if (e.key === "/") {
        go({ view: "points" });
        focusSoon("#filter");
      } else if (e.key === "?") showHelp(true);
      else if (e.key === "t") focusSoon("[role=tree] [tabindex='0']");
      else if (e.key === "Escape" && route.value.open) {
        go({ open: null });
        focusSoon("tr .open[tabindex='0']");
      } else if (view) {
        go({ view });
        focusSoon("#view");
      } else return;
      e.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function Banners(): JSX.Element {
  const x = t.value;
  const down = [...gatewayById.value.values()].filter((g) => !g.connected && g.twins > 0).map((g) => g.id);
  return (
    <section class="banners" aria-label={x.app.notices}>
      {link.value === "lost" && (
        <p class="banner lost">
          <WarnMark text={x.link.frozen(clock(linkSince.value))} />
        </p>
      )}
      {link.value === "live" && down.length > 0 && (
        <p class="banner">
          <WarnMark text={x.link.gatewayDown(down.join(", "))} />
        </p>
      )}
      {loadError.value && link.value !== "lost" && <LoadFailed code={loadError.value} />}
    </section>
  );
}

function CurrentView(): JSX.Element {
  switch (route.value.view) {
    case "points":
      return <Points />;
    case "alarms":
      return <Alarms />;
    case "commands":
      return <CommandList />;
    case "events":
      return <Events />;
    case "gateways":
      return <Gateways />;
  }
}

export function App(): JSX.Element {
  const help = useSignal(false);
  useShortcuts((on) => {
    help.value = on;
  });
  const ready = loaded.value;
  useEffect(() => {
    if (ready) void loadAll();
  }, [ready]);
  const { view, open } = route.value;
  const x = t.value;
  let body: JSX.Element;
  if (!me.value) {
    body = asked.value ? <Login /> : <p class="loading">{x.app.loading}</p>;
  } else {
    const twin = open && view === "points" ? twins.value.find((one) => one.id === open.twin) : undefined;
    const point = twin?.points.find((p) => p.name === open?.point);
    body = (
      <div class={`shell${link.value === "live" ? "" : " frozen"}${view === "points" ? " with-tree" : ""}${point ? " with-detail" : ""}`}>
        <a class="skip" href="#view" onClick={(e) => { e.preventDefault(); focusSoon("#view"); }}>
          {x.app.skip}
        </a>
        <Header onHelp={() => { help.value = true; }} />
        <Banners />
        {view === "points" && <Tree />}
        <main id="view" tabIndex={-1}>
          {loaded.value ? <CurrentView /> : <p class="loading">{x.app.loading}</p>}
        </main>
        {twin && point && <Detail key={`${twin.id}/${point.name}`} twin={twin} point={point} />}
        <EventBar />
        {help.value && <Help open={help} />}
      </div>
    );
  }
  return (
    <>
      {body}
      <div class="unseen" role="status" aria-live="polite">{polite}</div>
      <div class="unseen" role="alert" aria-live="assertive">{assertive}</div>
    </>
  );
}
