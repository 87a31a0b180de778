// The asset tree: keys as in the ARIA tree pattern, one tab stop, a branch's abnormal points marked.
import { computed, signal } from "@preact/signals";
import type { JSX } from "preact";
import type { AssetNode, TwinView } from "../api/types";
import { t } from "../i18n";
import { isUnder } from "../state/access";
import { assets, now, slotsOf, twins, values } from "../state/plant";
import { go, route } from "../state/route";
import type { Mark } from "../state/values";
import { QualityShape } from "./marks";

const closed = signal<ReadonlySet<string>>(new Set());

interface Node { path: string; name: string; level: number; leaf: boolean; kind: AssetNode["kind"] }

/** Every node by path, the root left out: twins that stand at a node of another name are leaves below it. */
const nodes = computed<Node[]>(() => {
  const kinds = new Map(assets.value.map((a) => [a.path, a.kind]));
  const paths = new Set([...kinds.keys(), ...twins.value.map((twin) => twin.asset)]);
  paths.delete("");
  const sorted = [...paths].sort((a, b) => (a.replaceAll("/", "\0") < b.replaceAll("/", "\0") ? -1 : 1));
  return sorted.map((path, i) => ({
    path,
    name: path.slice(path.lastIndexOf("/") + 1),
    level: path.split("/").length,
    leaf: !sorted[i + 1]?.startsWith(`${path}/`),
    kind: kinds.get(path) ?? "cell",
  }));
});

const RANK: Record<Mark, number> = { good: 0, uncertain: 1, stale: 2, bad: 3 };

/** The worst mark of a twin's points. */
function worst(twin: TwinView): Mark {
  let mark: Mark = "good";
  for (const slot of slotsOf(twin)) {
    const m = values.mark(slot, now.value);
    if (RANK[m] > RANK[mark]) mark = m;
  }
  return mark;
}

let known = new Map<string, Mark>();

/** The worst mark at and below each path; the same map while nothing changed, so that nothing renders. */
const worstByPath = computed(() => {
  const marks = new Map<string, Mark>();
  for (const twin of twins.value) {
    const mark = worst(twin);
    if (mark === "good") continue;
    for (let path = twin.asset; path; path = path.slice(0, Math.max(0, path.lastIndexOf("/")))) {
      if (RANK[mark] > RANK[marks.get(path) ?? "good"]) marks.set(path, mark);
    }
  }
  const same = marks.size === known.size && [...marks].every(([path, mark]) => known.get(path) === mark);
  if (!same) known = marks;
  return known;
});

function setClosed(path: string, close: boolean): void {
  const next = new Set(closed.value);
  if (close) next.add(path);
  else next.delete(path);
  closed.value = next;
}

export function Tree(): JSX.Element {
  const x = t.value;
  const at = route.value.at;
  const visible = nodes.value.filter((n) => ![...closed.value].some((c) => n.path !== c && isUnder(n.path, c)));
  const all: Node = { path: "", name: x.tree.all, level: 1, leaf: false, kind: "enterprise" };
  const rows = [all, ...visible.map((n) => ({ ...n, level: n.level + 1 }))];
  const current = Math.max(0, rows.findIndex((n) => n.path === at));

  const onKey = (e: KeyboardEvent): void => {
    const items = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("[role=treeitem]")];
    const i = items.indexOf(document.activeElement as HTMLElement);
    const row = rows[i];
    if (!row) return;
    const parent = (): number => rows.findLastIndex((n, k) => k < i && n.level < row.level);
    const to = (k: number): void => items[Math.max(0, Math.min(items.length - 1, k))]?.focus();
    const isClosed = closed.value.has(row.path);
    switch (e.key) {
      case "ArrowDown": to(i + 1); break;
      case "ArrowUp": to(i - 1); break;
      case "Home": to(0); break;
      case "End": to(items.length - 1); break;
      case "ArrowRight":
        if (isClosed) setClosed(row.path, false);
        else if (!row.leaf) to(i + 1);
        break;
      case "ArrowLeft":
        if (!row.leaf && !isClosed && row.path) setClosed(row.path, true);
        else to(parent());
        break;
      case "Enter":
      case " ": go({ at: row.path }); break;
      default: return;
    }
    e.preventDefault();
  };

  return (
    <nav class="tree" aria-label={x.tree.title}>
      <ul role="tree" aria-label={x.tree.title} onKeyDown={onKey}>
        {rows.map((n, i) => {
          const isClosed = closed.value.has(n.path);
          const mark = worstByPath.value.get(n.path);
          return (
            <li
              key={n.path}
              role="treeitem"
              aria-level={n.level}
              aria-selected={i === current}
              aria-expanded={n.leaf ? undefined : !isClosed}
              tabIndex={i === current ? 0 : -1}
              class={`level-${Math.min(n.level, 8)}`}
              title={n.path ? `${x.kind[n.kind]}: ${n.path}` : undefined}
              onClick={() => go({ at: n.path })}
            >
              <span
                class={`twisty${n.leaf ? " leaf" : isClosed ? " closed" : ""}`}
                aria-hidden="true"
                onClick={(e) => {
                  if (n.leaf || !n.path) return;
                  e.stopPropagation();
                  setClosed(n.path, !isClosed);
                }}
              />
              <span class="name">{n.name}</span>
              {mark && (
                <>
                  <QualityShape mark={mark} />
                  <span class="unseen">{x.mark[mark]}</span>
                </>
              )}
            </li>
          );
        })}
      </ul>
    </nav>
  );
}
