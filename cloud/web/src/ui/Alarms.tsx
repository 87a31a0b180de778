// The alarm list: what is wrong, by urgency; acknowledging with a comment, shelving for a time. Boxes judge alarms: a
// row changes when the box has told so, never before.
import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { acts } from "../api/acts";
import { ApiError, type ErrorCode } from "../api/client";
import type { AlarmView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { say } from "../state/announce";
import { isRinging, isShelved, ordered } from "../state/alarms";
import { roleAt } from "../state/access";
import { alarms, link, me, pointOf, twinById } from "../state/plant";
import { WarnMark } from "./marks";
import { PriorityMark } from "./Ringing";
import "../styles/later.css";

const MIN = 60_000;
const TIMES = [15 * MIN, 60 * MIN, 8 * 60 * MIN, 24 * 60 * MIN, 7 * 24 * 60 * MIN] as const;
const COMMENT = 500;

type Act = "acknowledge" | "shelve" | "unshelve";
type Show = "ringing" | "all";
const show = signal<Show>("all");
const asked = signal<{ alarm: AlarmView; act: Act } | null>(null);

/** Why nothing can be done with the alarm now; empty if it can. */
function whyNot(alarm: AlarmView): string {
  const x = tl.value.command.why;
  const role = roleAt(me.value?.grants ?? [], alarm.asset) ?? "viewer";
  if (role === "viewer") return tl.value.alarms.role(tl.value.role[role]);
  if (link.value !== "live") return x.link;
  return twinById.value.get(alarm.twin)?.online ? "" : x.offline;
}

function openForm(alarm: AlarmView, act: Act): void {
  asked.value = { alarm, act };
  requestAnimationFrame(() => document.querySelector<HTMLElement>("#alarm-comment")?.focus());
}

function Form({ alarm, act }: { alarm: AlarmView; act: Act }): JSX.Element {
  const x = tl.value.alarms;
  const comment = useSignal("");
  const ms = useSignal<number>(60 * MIN);
  const error = useSignal<ErrorCode | null>(null);
  const busy = useSignal(false);
  const close = (): void => {
    asked.value = null;
    requestAnimationFrame(() => document.querySelector<HTMLElement>("#alarm-list")?.focus());
  };
  const send = async (): Promise<void> => {
    busy.value = true;
    error.value = null;
    try {
      if (act === "acknowledge") await acts.acknowledge(alarm.id, alarm.raised_us ?? 0, comment.value);
      else if (act === "shelve") await acts.shelve(alarm.id, ms.value, comment.value);
      else await acts.unshelve(alarm.id, comment.value);
      say(x.asked(`${alarm.point} ${alarm.name}`));
      close();
    } catch (e) {
      error.value = e instanceof ApiError ? e.code : "network";
    }
    busy.value = false;
  };
  return (
    <form
      class="alarm-form"
      aria-labelledby="alarm-form-title"
      onSubmit={(e) => { e.preventDefault(); void send(); }}
      onKeyDown={(e) => {
        if (e.key !== "Escape") return;
        e.stopPropagation();
        close();
      }}
    >
      <h3 id="alarm-form-title">{x.act[act]}: {alarm.asset}/{alarm.point} {alarm.name}</h3>
      {act === "shelve" && (
        <label>
          {x.time}
          <select value={ms.value} onChange={(e) => { ms.value = Number(e.currentTarget.value); }}>
            {TIMES.map((time) => <option key={time} value={time}>{format.span(time, t.value.age)}</option>)}
          </select>
        </label>
      )}
      <label>
        {x.comment}
        <input
          id="alarm-comment"
          type="text"
          maxLength={COMMENT}
          value={comment.value}
          onInput={(e) => { comment.value = e.currentTarget.value; }}
        />
      </label>
      <span class="buttons">
        <button type="submit" disabled={busy.value}>{x.act[act]}</button>
        <button type="button" onClick={close}>{tl.value.command.back}</button>
      </span>
      <div role="alert">{error.value && <WarnMark text={tl.value.code[error.value]} />}</div>
    </form>
  );
}

function Row({ alarm }: { alarm: AlarmView }): JSX.Element {
  const x = tl.value.alarms;
  const point = pointOf(twinById.value.get(alarm.twin), alarm.point);
  const why = whyNot(alarm);
  const name = `${alarm.asset}/${alarm.point} ${alarm.name}`;
  const shelved = isShelved(alarm);
  const off = alarm.state === "out_of_service";
  const unacknowledged = alarm.state === "active" || alarm.state === "returned";
  const button = (act: Act): JSX.Element => (
    <button type="button" disabled={why !== ""} title={why} aria-label={`${x.act[act]}: ${name}`} onClick={() => openForm(alarm, act)}>
      {x.act[act]}
    </button>
  );
  return (
    <tr class={isRinging(alarm) ? "ringing" : undefined}>
      <td><PriorityMark priority={alarm.priority} quiet={!isRinging(alarm)} /></td>
      <td class="nowrap">{alarm.raised_us ? format.stamp(alarm.raised_us / 1000) : "–"}</td>
      <td>
        {x.state[alarm.state]}
        {shelved && <span class="detail-text">{alarm.shelved_once ? x.once : x.until(format.stamp((alarm.shelved_until_us ?? 0) / 1000))}</span>}
      </td>
      <td><span class="path">{alarm.asset}/</span>{alarm.point}</td>
      <td>
        {alarm.text || x.kind[alarm.kind]}
        <span class="detail-text">{[alarm.group, alarm.name].filter(Boolean).join(" · ")}</span>
      </td>
      <td class="num nowrap">
        {alarm.value === undefined ? t.value.quality[alarm.quality] : point ? format.withUnit(point, alarm.value) : JSON.stringify(alarm.value)}
        {alarm.limit !== undefined && <span class="detail-text">{x.limit(`${alarm.limit} ${alarm.unit ?? ""}`.trim())}</span>}
      </td>
      <td>
        {alarm.actor !== "system" && alarm.actor}
        {alarm.comment && <span class="detail-text">{alarm.comment}</span>}
      </td>
      <td class="nowrap buttons">
        {unacknowledged && button("acknowledge")}
        {!off && button(shelved ? "unshelve" : "shelve")}
      </td>
    </tr>
  );
}

export function Alarms(): JSX.Element {
  const x = tl.value.alarms;
  const list = ordered(show.value === "all" ? alarms.value : alarms.value.filter(isRinging));
  return (
    <div class="page">
      <div class="bar">
        <h2 id="alarms-title">{x.title}</h2>
        <label>
          {x.show}
          <select value={show.value} onChange={(e) => { show.value = e.currentTarget.value as Show; }}>
            <option value="all">{x.all}</option>
            <option value="ringing">{x.ringing}</option>
          </select>
        </label>
      </div>
      {asked.value && <Form key={`${asked.value.alarm.id}/${asked.value.act}`} alarm={asked.value.alarm} act={asked.value.act} />}
      <div class="scroll" id="alarm-list" tabIndex={0} role="region" aria-labelledby="alarms-title">
        {list.length === 0 ? (
          <p class="none">{x.none}</p>
        ) : (
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{x.priority}</th>
                <th scope="col">{x.raised}</th>
                <th scope="col">{tl.value.command.state}</th>
                <th scope="col">{tl.value.command.target}</th>
                <th scope="col" class="wide">{x.what}</th>
                <th scope="col" class="num">{tl.value.command.asked}</th>
                <th scope="col">{tl.value.command.who}</th>
                <th scope="col">{x.actions}</th>
              </tr>
            </thead>
            <tbody>{list.map((alarm) => <Row key={alarm.id} alarm={alarm} />)}</tbody>
          </table>
        )}
      </div>
    </div>
  );
}
