// What the account may do where: roles by subtree, as the cloud judges them. The cloud judges again; this
// only says beforehand why something cannot be done.
import type { GatewayView, Grant, Role, TwinView } from "../api/types";
import type { LinkState } from "../live/socket";

const ROLES: readonly Role[] = ["viewer", "operator", "engineer", "admin"];

/** Whether `path` is `prefix` or below it, by whole parts. */
export function isUnder(path: string, prefix: string): boolean {
  return prefix === "" || path === prefix || path.startsWith(`${prefix}/`);
}

/** The highest role on an asset; null if none. */
export function roleAt(grants: readonly Grant[], asset: string): Role | null {
  let best = -1;
  for (const g of grants) if (isUnder(asset, g.path)) best = Math.max(best, ROLES.indexOf(g.role));
  return ROLES[best] ?? null;
}

export type Refusal = { why: "link" | "offline" | "local" } | { why: "role"; has: Role };

/** Why commands to the twin are impossible now; null if they are possible. */
export function refusal(
  twin: TwinView,
  grants: readonly Grant[],
  link: LinkState,
  gateway: GatewayView | undefined,
): Refusal | null {
  const role = roleAt(grants, twin.asset) ?? "viewer";
  if (role === "viewer") return { why: "role", has: role };
  if (link !== "live") return { why: "link" };
  if (!twin.online) return { why: "offline" };
  if (gateway?.health?.switch === "local") return { why: "local" };
  return null;
}
