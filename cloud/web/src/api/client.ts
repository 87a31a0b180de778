// Calls of the HTTP API with the page's cookie. A failure is an `ApiError` with the problem document, or
// with code `network` when no answer came. Not here: retries (callers
// decide) and calls that act on the plant (acts.ts).
import type {
  AlarmView, AssetNode, Code, CommandView, GatewayView, HistoryResponse, LogEntry, Page, Problem, TwinView, WhoAmI,
} from "./types";

export type ErrorCode = Code | "network";

export class ApiError extends Error {
  constructor(readonly code: ErrorCode, readonly status: number, readonly detail: string) {
    super(`${code}: ${detail}`);
  }
}

let onUnauthenticated = (): void => {};
let skewMs = 0;

/** Called when an answer says that the session has ended. */
export function whenSignedOut(then: () => void): void {
  onUnauthenticated = then;
}

/** The server's wall clock, ms: a panel PC with a wrong clock must not show fresh values as old. */
export function serverNow(): number {
  return Date.now() + skewMs;
}

function learnClock(date: string | null, sent: number): void {
  const at = date ? Date.parse(date) : NaN;
  if (Number.isNaN(at)) return;
  // The header has whole seconds: believe our own clock within that, theirs beyond.
  const off = at + 500 - (sent + Date.now()) / 2;
  skewMs = Math.abs(off) < 2000 ? 0 : off;
}

interface Options {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** A 401 here is an answer, not the end of a session. */
  anonymous?: boolean;
}

async function call(path: string, o: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...o.headers };
  if (o.body !== undefined) headers["content-type"] ??= "application/json";
  const sent = Date.now();
  let answer: Response;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method: o.method ?? "GET",
      headers,
      credentials: "same-origin",
      cache: "no-store",
      ...(o.body === undefined ? {} : { body: JSON.stringify(o.body) }),
      ...(o.signal ? { signal: o.signal } : {}),
    });
  } catch (e) {
    if (o.signal?.aborted) throw e;
    throw new ApiError("network", 0, String(e));
  }
  learnClock(answer.headers.get("date"), sent);
  if (answer.ok) return answer;
  const problem = (await answer.json().catch(() => ({}))) as Partial<Problem>;
  if (answer.status === 401 && !o.anonymous) onUnauthenticated();
  throw new ApiError(problem.code ?? "internal", answer.status, problem.detail ?? answer.statusText);
}

export async function json<T>(path: string, o?: Options): Promise<T> {
  const answer = await call(path, o);
  try {
    return (await answer.json()) as T;
  } catch (e) {
    throw new ApiError("network", answer.status, String(e));
  }
}

/** Every item of a paged list. */
async function all<T>(path: string): Promise<T[]> {
  const items: T[] = [];
  for (let cursor = ""; ; ) {
    const page = await json<Page<T>>(`${path}?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    items.push(...page.items);
    if (!page.next_cursor) return items;
    cursor = page.next_cursor;
  }
}

const page = <T>(path: string, limit: number, cursor?: string): Promise<Page<T>> =>
  json(`${path}?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);

export interface HistoryRange { from_us: number; to_us: number; max_points: number }

export const api = {
  whoAmI: (): Promise<WhoAmI> => json("/session", { anonymous: true }),
  signIn: (user: string, password: string): Promise<WhoAmI> =>
    json("/session", { method: "POST", body: { user, password }, anonymous: true }),
  signOut: async (): Promise<void> => void (await call("/session", { method: "DELETE", anonymous: true })),
  assets: (): Promise<AssetNode[]> => all("/assets"),
  twins: (): Promise<TwinView[]> => all("/twins"),
  gateways: (): Promise<GatewayView[]> => all("/gateways"),
  /** Those that are open: not normal, or on the shelf. */
  alarms: (): Promise<AlarmView[]> => all("/alarms"),
  commands: (limit: number, cursor?: string) => page<CommandView>("/commands", limit, cursor),
  audit: (limit: number, cursor?: string) => page<LogEntry>("/audit", limit, cursor),
  history: (twin: string, point: string, r: HistoryRange, signal?: AbortSignal): Promise<HistoryResponse> =>
    json(
      `/twins/${twin}/points/${encodeURIComponent(point)}/history` +
        `?from=${Math.floor(r.from_us)}&to=${Math.ceil(r.to_us)}&max_points=${r.max_points}`,
      signal ? { signal } : {},
    ),
  /** Whether the cloud answers at all, within `ms`. */
  probe: async (ms: number): Promise<boolean> => {
    try {
      await call("/session", { signal: AbortSignal.timeout(ms) });
      return true;
    } catch (e) {
      return e instanceof ApiError && e.code !== "network" && e.status < 500;
    }
  },
};
