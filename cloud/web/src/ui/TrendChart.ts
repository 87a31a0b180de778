// The chart of a trend: uPlot with the page's colours. A chunk of its own; nothing else imports uPlot.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock, stamp } from "../format";
import type { Series, Shade } from "../state/series";

export interface ChartOptions {
  /** Values hold until the next one. */
  stepped: boolean;
  unit: string;
  text: (value: number) => string;
  /** A range was dragged; seconds. */
  onZoom: (from: number, to: number) => void;
  onReset: () => void;
  /** What stands under the pointer; empty when it leaves. */
  onCursor: (text: string) => void;
  /** Why there is nothing, in words. */
  cause: (gap: Shade) => string;
}

export interface Chart {
  draw(main: Series, target: Series | null, from: number, to: number, gaps: Shade[]): void;
  destroy(): void;
}

/** At the usual font size of 13 px. */
const HEIGHT = 240;

function colours(host: Element): (name: string) => string {
  const style = getComputedStyle(host);
  return (name) => style.getPropertyValue(`--${name}`).trim();
}

/** A range around the values with air, wide enough that noise does not look like a swing. */
function yRange(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || min === undefined || max === undefined) return [0, 1];
  const least = Math.max(Math.abs(max), Math.abs(min)) * 2e-3 || 1;
  const span = Math.max(max - min, least);
  const middle = (min + max) / 2;
  return [middle - span * 0.58, middle + span * 0.58];
}

export function makeChart(host: HTMLElement, o: ChartOptions): Chart {
  let window_: [number, number] = [0, 1];
  let width = 0;
  let plot: uPlot | null = null;
  let last: Parameters<Chart["draw"]> | null = null;

  function build(): uPlot {
    const colour = colours(host);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const font = `${Math.round(rem * 0.85)}px ${getComputedStyle(host).fontFamily}`;
    const axis = { stroke: colour("dim"), font, grid: { stroke: colour("line-soft"), width: 1 }, ticks: { show: false } };
    const paths = o.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {};
    const held = uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {};
    const none = { stroke: "transparent", width: 0, points: { show: false } };
    return new uPlot(
      {
        width: Math.max(120, host.clientWidth),
        height: Math.round((HEIGHT * rem) / 13),
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, y: false },
        scales: {
          x: { time: true, range: () => window_ },
          y: { range: (_u, min, max) => yRange(min, max) },
        },
        axes: [
          { ...axis, size: Math.round(rem * 2), values: (_u, ticks) => ticks.map((s) => label(s, window_[1] - window_[0])) },
          { ...axis, size: Math.round(rem * 4.2), values: (_u, ticks, _i, _s, step) => ticks.map((v) => yLabel(v, step)) },
        ],
        series: [
          {},
          { ...none },
          { ...none },
          { stroke: colour("trend-setpoint"), width: 1.25, dash: [5, 3], points: { show: false }, ...held },
          { stroke: colour("trend"), width: 1.5, points: { show: false }, ...paths },
        ],
        bands: [{ series: [2, 1], fill: colour("trend-band") }],
        hooks: {
          drawClear: [(u) => shade(u, colour("trend-gap"))],
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              const from = u.posToVal(u.select.left, "x");
              const to = u.posToVal(u.select.left + u.select.width, "x");
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              o.onZoom(from, to);
            },
          ],
          setCursor: [(u) => o.onCursor(readout(u))],
        },
      },
      [[], [], [], [], []],
      host,
    );
  }

  function yLabel(v: number, step: number): string {
    return o.stepped ? o.text(v) : v.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step) + 1e-9)))).replace("-", "−");
  }

  /** Behind the lines: where there is nothing to go by, at least a pixel wide. */
  function shade(u: uPlot, fill: string): void {
    const { left, top, width: across, height } = u.bbox;
    u.ctx.fillStyle = fill;
    for (const g of last?.[4] ?? []) {
      const from = Math.max(left, u.valToPos(g.from, "x", true));
      const to = Math.min(left + across, u.valToPos(g.to, "x", true));
      if (to >= left && from <= left + across) u.ctx.fillRect(from, top, Math.max(devicePixelRatio, to - from), height);
    }
  }

  function readout(u: uPlot): string {
    const at = u.cursor.left === undefined || u.cursor.left < 0 ? NaN : u.posToVal(u.cursor.left, "x");
    const gap = last?.[4].find((g) => g.from <= at && at < g.to);
    if (gap) return `${stamp(at * 1000)}  ${o.cause(gap)}`;
    const i = u.cursor.idx;
    if (i === null || i === undefined) return "";
    const [x, min, max, , y] = u.data;
    if (!x || y?.[i] === null || y?.[i] === undefined) return "";
    const low = min?.[i];
    const high = max?.[i];
    const band = low !== high && typeof low === "number" && typeof high === "number" ? ` (${o.text(low)} … ${o.text(high)})` : "";
    return `${stamp(x[i]! * 1000)}  ${o.text(y[i]!)} ${o.unit}${band}`;
  }

  const redo = (): void => {
    plot?.destroy();
    plot = build();
    if (last) draw(...last);
  };

  function draw(main: Series, target: Series | null, from: number, to: number, gaps: Shade[]): void {
    last = [main, target, from, to, gaps];
    if (!plot) return;
    window_ = [from, to];
    const own: uPlot.AlignedData = [main.x, main.rolled ? main.min : main.x.map(() => null), main.rolled ? main.max : main.x.map(() => null), main.y];
    if (!target) {
      plot.setData([own[0], own[1]!, own[2]!, main.x.map(() => null), own[3]!]);
      return;
    }
    const [x, min, max, y, wanted] = uPlot.join([own, [target.x, target.y]]);
    plot.setData([x!, min!, max!, wanted!, y!] as uPlot.AlignedData);
  }

  plot = build();
  width = host.clientWidth;
  const resized = new ResizeObserver(() => {
    if (host.clientWidth === width || !plot) return;
    width = host.clientWidth;
    plot.setSize({ width: Math.max(120, width), height: plot.height });
  });
  resized.observe(host);
  const theme = matchMedia("(prefers-color-scheme: dark)");
  theme.addEventListener("change", redo);
  host.addEventListener("dblclick", o.onReset);

  return {
    draw,
    destroy(): void {
      resized.disconnect();
      theme.removeEventListener("change", redo);
      host.removeEventListener("dblclick", o.onReset);
      plot?.destroy();
      plot = null;
    },
  };
}

/** Time of a tick: with date over days, with seconds over minutes. */
function label(s: number, span: number): string {
  const text = span > 86_400 ? stamp(s * 1000).slice(5, 16) : clock(s * 1000);
  return span > 86_400 ? text : span > 600 ? text.slice(0, 5) : text;
}
