// Where the page stands, kept in the address's fragment so that back, reload and links work.
import { signal } from "@preact/signals";

export const VIEWS = ["points", "alarms", "commands", "events", "gateways"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  /** Path of the asset whose points are listed; empty for all. */
  at: string;
  /** Twin id and point that stand open. */
  open: { twin: string; point: string } | null;
}

export function parseRoute(hash: string): Route {
  const [view, query] = hash.replace(/^#\/?/, "").split("?", 2);
  const q = new URLSearchParams(query ?? "");
  const twin = q.get("twin");
  const point = q.get("point");
  return {
    view: VIEWS.find((v) => v === view) ?? "points",
    at: q.get("at") ?? "",
    open: twin && point ? { twin, point } : null,
  };
}

export function formatRoute(r: Route): string {
  const q = new URLSearchParams();
  if (r.at) q.set("at", r.at);
  if (r.open) {
    q.set("twin", r.open.twin);
    q.set("point", r.open.point);
  }
  const query = q.toString().replaceAll("%2F", "/");
  return `#/${r.view}${query && `?${query}`}`;
}

export const route = signal<Route>(parseRoute(globalThis.location?.hash ?? ""));

/** Goes elsewhere; what is not named stays. */
export function go(to: Partial<Route>): void {
  const next = { ...route.value, ...to };
  const hash = formatRoute(next);
  route.value = next;
  if (hash !== location.hash) history.pushState(null, "", hash);
}

/** Follows the browser's back and forward. */
export function followHistory(): void {
  const read = (): void => {
    route.value = parseRoute(location.hash);
  };
  addEventListener("popstate", read);
  addEventListener("hashchange", read);
}
