// The table of twins and points below the chosen asset, filtered; virtual beyond 200 rows.
import { computed, signal, useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { PointView, TwinView } from "../api/types";
import { t } from "../i18n";
import { isUnder } from "../state/access";
import { now, twins, values } from "../state/plant";
import { go, route } from "../state/route";
import { UpMark } from "./marks";
import { PointRow } from "./PointRow";

const VIRTUAL_FROM = 200;
const OVERSCAN = 8;
const COLUMNS = 8;

const filter = signal("");
const abnormalOnly = signal(false);

export type Item = { twin: TwinView; point: PointView | null };

/** Rows to show: each twin's head, then its points. */
const shown = computed<{ items: Item[]; points: number; all: number }>(() => {
  const at = route.value.at;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const items: Item[] = [];
  let points = 0;
  let all = 0;
  for (const twin of twins.value) {
    if (!isUnder(twin.asset, at)) continue;
    all += twin.points.length;
    const fitting = twin.points.filter((p) => {
      const text = words.length ? `${twin.asset} ${p.name} ${p.description ?? ""}`.toLowerCase() : "";
      if (!words.every((w) => text.includes(w))) return false;
      return !abnormalOnly.value || values.mark(values.slot(twin.id, p.name), now.value) !== "good";
    });
    if (fitting.length === 0) continue;
    points += fitting.length;
    items.push({ twin, point: null });
    for (const point of fitting) items.push({ twin, point });
  }
  return { items, points, all };
});

function TwinRow({ twin, index }: { twin: TwinView; index: number }): JSX.Element {
  const cut = twin.asset.lastIndexOf("/") + 1;
  return (
    <tr class="twin" aria-rowindex={index}>
      <th scope="rowgroup" colSpan={COLUMNS}>
        <span class="path">{twin.asset.slice(0, cut)}</span>
        <span class="name">{twin.name}</span>
        {twin.description && <span class="description">{twin.description}</span>}
        {!twin.online && <UpMark up={false} text={t.value.table.offline} />}
      </th>
    </tr>
  );
}

/** The window of rows that is in sight, by a scroll box of rows of one height. */
function useWindow(count: number): {
  box: { current: HTMLDivElement | null };
  from: number;
  to: number;
  height: number;
  reveal: (i: number) => void;
} {
  const box = useRef<HTMLDivElement>(null);
  const top = useSignal(0);
  const height = useSignal(26);
  const view = useSignal(800);
  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const measure = (): void => {
      view.value = el.clientHeight;
      const row = el.querySelector<HTMLElement>("tbody tr:not(.space)");
      if (row && row.offsetHeight > 0) height.value = row.offsetHeight;
    };
    const scrolled = (): void => {
      // Steps of whole rows: a scroll of a few pixels renders nothing.
      top.value = Math.floor(el.scrollTop / height.value) * height.value;
    };
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(el);
    el.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      watch.disconnect();
      el.removeEventListener("scroll", scrolled);
    };
  }, []);
  const all = count <= VIRTUAL_FROM;
  const first = Math.floor(top.value / height.value);
  return {
    box,
    from: all ? 0 : Math.max(0, Math.min(first, count) - OVERSCAN),
    to: all ? count : Math.min(count, first + Math.ceil(view.value / height.value) + OVERSCAN),
    height: height.value,
    reveal: (i) => {
      const el = box.current;
      if (!el || all) return;
      const y = i * height.value;
      if (y < el.scrollTop) el.scrollTop = y;
      else if (y + 3 * height.value > el.scrollTop + el.clientHeight) el.scrollTop = y + 3 * height.value - el.clientHeight;
    },
  };
}

export function Points(): JSX.Element {
  const x = t.value.table;
  const { items, points, all } = shown.value;
  const { box, from, to, height, reveal } = useWindow(items.length);
  const active = useSignal(0);
  const wantFocus = useRef(false);
  const open = route.value.open;

  const isPoint = (i: number): boolean => !!items[i]?.point;
  const nearest = (i: number, step: number): number => {
    let k = i;
    while (k >= 0 && k < items.length && !isPoint(k)) k += step;
    return isPoint(k) ? k : active.value;
  };
  const opened = open ? items.findIndex((it) => it.twin.id === open.twin && it.point?.name === open.point) : -1;
  const tabStop = isPoint(active.value) ? active.value : opened >= 0 ? opened : nearest(0, 1);

  useEffect(() => {
    if (opened >= 0) active.value = opened;
  }, [opened]);
  useSignalEffect(() => {
    const i = active.value;
    if (!wantFocus.current) return;
    reveal(i);
    requestAnimationFrame(() => {
      wantFocus.current = false;
      box.current?.querySelector<HTMLElement>(`[data-row="${i}"]`)?.focus();
    });
  });

  const onKey = (e: KeyboardEvent): void => {
    if (!(e.target as HTMLElement).matches(".open")) return;
    const now = Number((e.target as HTMLElement).dataset["row"]);
    const jump = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[e.key];
    if (jump === undefined) return;
    const to = Math.max(0, Math.min(items.length - 1, now + jump));
    wantFocus.current = true;
    active.value = nearest(to, jump > 0 && to < items.length - 1 ? 1 : to === 0 ? 1 : -1);
    e.preventDefault();
  };

  return (
    <section class="points" aria-label={x.caption(route.value.at || t.value.tree.all)}>
      <div class="bar">
        <h2>{route.value.at || t.value.tree.all}</h2>
        <label class="filter">
          <span class="unseen">{x.filter}</span>
          <input
            id="filter"
            type="search"
            placeholder={x.filterHint}
            value={filter.value}
            aria-keyshortcuts="/"
            onInput={(e) => {
              filter.value = e.currentTarget.value;
            }}
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={abnormalOnly.value}
            onChange={(e) => {
              abnormalOnly.value = e.currentTarget.checked;
            }}
          />
          {x.abnormalOnly}
        </label>
        <span class="count" role="status">{x.count(points, all)}</span>
      </div>
      <div class="scroll" ref={box} onKeyDown={onKey}>
        <table class="grid" aria-rowcount={items.length + 1}>
          <caption class="unseen">{x.caption(route.value.at || t.value.tree.all)}</caption>
          <thead>
            <tr aria-rowindex={1}>
              <th scope="col" class="c-point">{x.point}</th>
              <th scope="col" class="c-value">{x.value}</th>
              <th scope="col" class="c-unit">{x.unit}</th>
              <th scope="col" class="c-band">{x.band}</th>
              <th scope="col" class="c-setpoint">{x.setpoint}</th>
              <th scope="col" class="c-trend">{x.trend}</th>
              <th scope="col" class="c-quality">{x.quality}</th>
              <th scope="col" class="c-age">{x.age}</th>
            </tr>
          </thead>
          <tbody>
            {from > 0 && <tr class="space" aria-hidden="true" style={{ height: `${from * height}px` }} />}
            {items.slice(from, to).map(({ twin, point }, k) =>
              point ? (
                <PointRow
                  key={`${twin.id}/${point.name}`}
                  twin={twin}
                  point={point}
                  row={from + k}
                  tabStop={from + k === tabStop}
                  open={from + k === opened}
                  onOpen={() => go({ open: { twin: twin.id, point: point.name } })}
                />
              ) : (
                <TwinRow key={twin.id} twin={twin} index={from + k + 2} />
              ),
            )}
            {to < items.length && (
              <tr class="space" aria-hidden="true" style={{ height: `${(items.length - to) * height}px` }} />
            )}
          </tbody>
        </table>
        {items.length === 0 && <p class="none">{x.none}</p>}
      </div>
    </section>
  );
}
