// The list of shortcut keys.
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import "../styles/later.css";

export function Help({ open }: { open: Signal<boolean> }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const x = tl.value.help;
  const rows: [string, string][] = [
    ["/", x.filter], ["p", x.points], ["a", x.alarms], ["c", x.commands], ["e", x.events], ["g", x.gateways], ["t", x.tree],
    ["↑ ↓ ← →", x.move], ["Enter", x.openRow], ["Esc", x.close], ["?", x.help],
  ];
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={() => { open.value = false; }}>
      <h2 id="help-title">{x.title}</h2>
      <dl class="keys">
        {rows.map(([key, what]) => (
          <div key={key}>
            <dt><kbd>{key}</kbd></dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <button type="button" autofocus onClick={() => dialog.current?.close()}>
        {t.value.app.close}
      </button>
    </dialog>
  );
}
