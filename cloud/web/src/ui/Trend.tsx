// A point's trend: range, zoom, history at the chart's own resolution, live values behind it. The chart
// itself (TrendChart.ts with uPlot) loads when it is first needed.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { acts } from "../api/acts";
import { api, ApiError } from "../api/client";
import type { HistoryResponse, PointView, TwinView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { link, now, values } from "../state/plant";
import { append, EMPTY, fromHistory, held, longest, shades, shares, summary, type Series, type Shade } from "../state/series";
import type { Chart } from "./TrendChart";

const PRESETS = [300_000, 900_000, 3_600_000, 8 * 3_600_000, 24 * 3_600_000, 7 * 24 * 3_600_000] as const;
const LEAST_MS = 2_000;
/** Gaps told in words; the chart shades them all. */
const GAPS_TOLD = 3;

/** What is looked at: the last so many ms, or a fixed window. */
type Window = { span: number; to: number | null };

interface Props {
  twin: TwinView;
  point: PointView;
  slot: number;
  setpoint: PointView | undefined;
  setpointSlot: number;
}

export function Trend({ twin, point, slot, setpoint, setpointSlot }: Props): JSX.Element {
  const x = tl.value.trend;
  const view = useSignal<Window>({ span: 900_000, to: null });
  const preset = useSignal<number>(900_000);
  const resolution = useSignal<{ kind: HistoryResponse["resolution"]; rows: number } | null>(null);
  const error = useSignal("");
  const told = useSignal("");
  const readout = useSignal("");
  const loadedOnce = useSignal(false);
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const main = useRef<Series>(EMPTY);
  const target = useRef<Series>(EMPTY);
  const reload = useSignal(0);
  const gaps = useSignal<Shade[]>([]);
  const divided = useSignal<ReturnType<typeof shares>>([]);
  const isState = point.type === "bool" || point.type === "text" || (point.labels?.length ?? 0) > 0;

  const window_ = (): [number, number] => {
    const { span, to } = view.peek();
    const end = to ?? now.peek();
    return [end - span, end];
  };
  const draw = (): void => {
    const [from, to] = window_();
    const until = view.peek().to === null && values.mark(slot, to) !== "stale" ? to / 1000 : 0;
    chart.current?.draw(held(main.current, until), setpoint ? held(target.current, until) : null, from / 1000, to / 1000, gaps.peek());
    const s = summary(main.current, from / 1000, to / 1000);
    const text = (n: number): string => format.withUnit(point, n);
    told.value = s ? x.summary(text(s.min), text(s.max), text(s.last)) : loadedOnce.peek() ? x.empty : "";
  };

  // The chart's chunk.
  useEffect(() => {
    let gone = false;
    void import("./TrendChart").then(({ makeChart }) => {
      if (gone || !host.current) return;
      // What is written holds until the next write.
      const stepped = point.type !== "f64" || point.access !== "read" || (point.labels?.length ?? 0) > 0;
      chart.current = makeChart(host.current, {
        stepped,
        text: (v) => format.number(point, v),
        onZoom: (from, to) => zoomTo(from * 1000, to * 1000),
        onReset: reset,
        onCursor: (text) => { readout.value = text; },
        unit: format.unit(point.unit),
        cause: (g) => tl.value.trend.gap[g.cause],
      });
      draw();
    }, (e: unknown) => { error.value = String(e); });
    return () => {
      gone = true;
      chart.current?.destroy();
      chart.current = null;
    };
  }, []);

  // History for the window; again as a live window runs on.
  useSignalEffect(() => {
    const { span, to } = view.value;
    reload.value;
    if (link.value === "connecting" || (link.value === "lost" && loadedOnce.peek())) return;
    const stop = new AbortController();
    void read(span, to, stop.signal);
    if (to !== null) return () => stop.abort();
    const every = setInterval(() => void read(span, null, stop.signal), Math.max(15_000, span / 40));
    return () => {
      clearInterval(every);
      stop.abort();
    };
  });

  async function read(span: number, fixed: number | null, signal: AbortSignal): Promise<void> {
    const to = fixed ?? now.peek();
    const width = host.current?.clientWidth ?? 400;
    const range = { from_us: (to - span) * 1000, to_us: to * 1000, max_points: Math.max(100, Math.min(2000, Math.round(width))) };
    try {
      const [own, wanted] = await Promise.all([
        (isState ? acts.timed : api.history)(twin.id, point.name, range, signal),
        setpoint ? api.history(twin.id, setpoint.name, range, signal) : null,
      ]);
      if (signal.aborted) return;
      main.current = fromHistory(own);
      target.current = wanted ? fromHistory(wanted) : EMPTY;
      gaps.value = shades(own);
      divided.value = shares(own.times);
      resolution.value = { kind: own.resolution, rows: own.points.length };
      error.value = "";
      loadedOnce.value = true;
      takeLive();
      draw();
    } catch (e) {
      if (!signal.aborted) error.value = x.failed(e instanceof ApiError ? tl.value.code[e.code] : String(e));
    }
  }

  const takeLive = (): void => {
    if (view.peek().to !== null || !loadedOnce.peek()) return;
    append(main.current, values.sourceMs[slot]!, values.number[slot]!, (values.quality[slot]! & 0x80) !== 0);
    if (setpointSlot >= 0) {
      append(target.current, Math.max(values.sourceMs[setpointSlot]!, values.sourceMs[slot]!), values.number[setpointSlot]!, (values.quality[setpointSlot]! & 0x80) !== 0);
    }
  };
  useSignalEffect(() => {
    values.version(slot).value;
    takeLive();
  });
  // Once a second is enough for a moving window; a lost link freezes it.
  useSignalEffect(() => {
    now.value;
    if (link.value === "live" && view.value.to === null) draw();
  });
  useSignalEffect(() => {
    view.value;
    if (loadedOnce.peek()) draw();
  });

  function zoomTo(from: number, to: number): void {
    preset.value = 0;
    view.value = { span: Math.max(LEAST_MS, to - from), to };
  }
  function reset(): void {
    preset.value = preset.value || PRESETS[1];
    view.value = { span: preset.value, to: null };
  }
  const scale = (by: number): void => {
    const [from, to] = window_();
    const middle = (from + to) / 2;
    const half = Math.max(LEAST_MS, (to - from) * by) / 2;
    zoomTo(middle - half, middle + half);
  };
  const move = (by: number): void => {
    const [from, to] = window_();
    zoomTo(from + (to - from) * by, to + (to - from) * by);
  };
  const onKey = (e: KeyboardEvent): void => {
    const act = { "+": () => scale(0.5), "-": () => scale(2), ArrowLeft: () => move(-0.25), ArrowRight: () => move(0.25), "0": reset }[e.key];
    if (!act || (e.target as HTMLElement).matches("button")) return;
    act();
    e.preventDefault();
  };

  const { span, to } = view.value;
  const r = resolution.value;
  const ages = t.value.age;
  const missing = longest(gaps.value, (to ?? now.peek()) / 1000 - span / 1000, (to ?? now.peek()) / 1000, GAPS_TOLD);
  return (
    <section class="trend" aria-labelledby="trend-title">
      <div class="bar">
        <h3 id="trend-title">{x.title}</h3>
        <div class="presets" role="group" aria-label={x.presets}>
          {PRESETS.map((ms) => (
            <button key={ms} type="button" aria-pressed={preset.value === ms} onClick={() => { preset.value = ms; view.value = { span: ms, to: null }; }}>
              {format.span(ms, ages)}
            </button>
          ))}
        </div>
        <div class="zoom" role="group" aria-label={x.zoomIn}>
          <button type="button" aria-label={x.earlier} title={x.earlier} onClick={() => move(-0.25)}>◂</button>
          <button type="button" aria-label={x.zoomOut} title={x.zoomOut} onClick={() => scale(2)}>−</button>
          <button type="button" aria-label={x.zoomIn} title={x.zoomIn} onClick={() => scale(0.5)}>+</button>
          <button type="button" aria-label={x.later} title={x.later} onClick={() => move(0.25)}>▸</button>
          <button type="button" class="reset" aria-pressed={to === null} aria-label={to === null ? x.live : x.reset} onClick={reset}>{x.live}</button>
        </div>
      </div>
      <div
        class="chart"
        ref={host}
        tabIndex={0}
        role="img"
        aria-label={`${x.chart(point.name, format.span(span, ages))}. ${told.value}. ${x.keys}`}
        title={x.keys}
        onKeyDown={onKey}
      />
      <p class="under">
        <span class="legend">
          <span class="key value" />{x.value}
          {setpoint && <><span class="key setpoint" />{x.setpoint}</>}
          {r?.kind.kind === "rollup" && <><span class="key band" />{x.band}</>}
        </span>
        <span class="readout">{readout.value || told.value}</span>
      </p>
      <p class="hint resolution">
        {r && (r.kind.kind === "raw" ? x.raw(r.rows) : x.rollup(format.span(r.kind.bucket_us / 1000, ages), r.rows))}
      </p>
      {divided.value.length > 0 && (
        <p class="hint states">
          {`${x.states}: `}
          {divided.value
            .map(({ of, part }) => `${"none" in of ? x.part[of.none] : format.value(point, of.value)} ${format.fixed(part * 100, 1)} %`)
            .join(" · ")}
        </p>
      )}
      {missing.some.length > 0 && (
        <ul class="hint gaps">
          {missing.some.map((g) => (
            <li key={`${g.from}${g.cause}`}>
              <span class="key gap" />
              {`${format.stamp(g.from * 1000)} (${format.span((g.to - g.from) * 1000, ages)}): ${x.gap[g.cause]}`}
            </li>
          ))}
          {missing.more > 0 && <li>{x.moreGaps(missing.more)}</li>}
        </ul>
      )}
      <p class="error" role="alert">
        {error.value}{" "}
        {error.value && <button type="button" onClick={() => reload.value++}>{t.value.app.again}</button>}
      </p>
    </section>
  );
}
