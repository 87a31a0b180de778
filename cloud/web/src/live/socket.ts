// The one WebSocket of the page: subscribes, reconnects with jittered backoff, and finds a link that is
// silent because it is dead. Not here: what messages mean (state/plant.ts).
import type { ServerMessage } from "../api/types";
import { decodeFrame, type LiveFrame } from "./decode";

const FIRST_MS = 500;
const LONGEST_MS = 10_000;
/** Silence after which the cloud is asked whether it is there. */
const SILENT_MS = 5_000;
const PROBE_MS = 3_000;

export type LinkState = "connecting" | "live" | "lost";

export interface LiveOptions {
  url: string;
  maxHz: number;
  onFrame: (frame: LiveFrame) => void;
  onMessage: (message: ServerMessage) => void;
  onState: (state: LinkState) => void;
  /** Whether the cloud answers over plain HTTP within so many ms. */
  probe: (ms: number) => Promise<boolean>;
}

/** Pause before try number `n` (from 0): doubling, half of it by chance. */
export function backoffMs(n: number, random: number): number {
  const full = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(n, 16));
  return full / 2 + (full / 2) * random;
}

/** A running live link. */
export class LiveLink {
  private socket: WebSocket | null = null;
  private tries = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private readonly watchdog: ReturnType<typeof setInterval>;
  private heardAt = 0;
  private probing = false;
  private closed = false;
  private readonly online = (): void => this.reopen();

  constructor(private readonly o: LiveOptions) {
    o.onState("connecting");
    this.open();
    this.watchdog = setInterval(() => void this.watch(), 1000);
    globalThis.addEventListener?.("online", this.online);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.retry);
    clearInterval(this.watchdog);
    globalThis.removeEventListener?.("online", this.online);
    this.drop();
  }

  private drop(): void {
    const old = this.socket;
    this.socket = null;
    if (!old) return;
    old.onopen = old.onclose = old.onmessage = null;
    old.close();
  }

  private open(): void {
    const socket = new WebSocket(this.o.url);
    this.socket = socket;
    this.heardAt = performance.now();
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      socket.send(JSON.stringify({ op: "subscribe", max_hz: this.o.maxHz }));
    };
    socket.onclose = () => this.lost();
    socket.onmessage = (e: MessageEvent<ArrayBuffer | string>) => {
      this.heardAt = performance.now();
      if (this.tries >= 0) {
        this.tries = -1;
        this.o.onState("live");
      }
      if (typeof e.data === "string") this.o.onMessage(JSON.parse(e.data) as ServerMessage);
      else {
        const frame = decodeFrame(e.data);
        if (frame) this.o.onFrame(frame);
      }
    };
  }

  private lost(): void {
    this.drop();
    if (this.closed) return;
    this.o.onState("lost");
    // A session that has ended shows on plain HTTP only: the browser hides why a WebSocket failed.
    void this.o.probe(PROBE_MS);
    this.tries = Math.max(this.tries, 0);
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.open(), backoffMs(this.tries++, Math.random()));
  }

  private reopen(): void {
    if (this.closed || this.socket) return;
    clearTimeout(this.retry);
    this.open();
  }

  private async watch(): Promise<void> {
    if (!this.socket || this.probing || performance.now() - this.heardAt < SILENT_MS) return;
    this.probing = true;
    const alive = await this.o.probe(PROBE_MS);
    this.probing = false;
    if (this.closed || !this.socket || performance.now() - this.heardAt < SILENT_MS) return;
    // An open but quiet link to a cloud that answers is quiet because nothing changes.
    if (alive && this.socket.readyState === WebSocket.OPEN) this.heardAt = performance.now();
    else this.lost();
  }
}
