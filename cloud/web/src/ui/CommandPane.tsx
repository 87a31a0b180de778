// Acting on a point: select, review, pending, result.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useReducer, useRef } from "preact/hooks";
import type { CommandView, PointView, TwinView } from "../api/types";
import { isFinal, reduce, type Draft, type Step } from "../command/machine";
import { follow, newKey, send } from "../command/send";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { alarm, say } from "../state/announce";
import { refusal, type Refusal } from "../state/access";
import { commands, gatewayById, link, me, takeCommand, values } from "../state/plant";
import { CommandMark } from "./CommandMark";
import { WarnMark } from "./marks";
import { useShown } from "./PointRow";
import { ValueForm } from "./ValueForm";

const TIMES = [5_000, 10_000, 30_000, 60_000, 300_000] as const;
const USUAL = 10_000;

/** Why the twin cannot be commanded now, for people. */
export function whyNot(twin: TwinView): string | null {
  const r: Refusal | null = refusal(twin, me.value?.grants ?? [], link.value, gatewayById.value.get(twin.gateway ?? ""));
  if (!r) return null;
  return r.why === "role" ? tl.value.command.why.role(tl.value.role[r.has]) : tl.value.command.why[r.why];
}

function change(point: PointView, now: number, next: Draft["value"]): string {
  if (typeof next !== "number" || Number.isNaN(now) || point.labels?.length) return "";
  const by = next - now;
  return `${by > 0 ? "+" : ""}${format.withUnit({ ...point, labels: [] }, by)}`;
}

interface ReviewProps {
  title: string;
  confirm: string;
  point: PointView;
  slot: number;
  value: Draft["value"];
  rows: [string, string][];
  disabled: string | null;
  onConfirm: () => void;
  onBack: () => void;
}

/** Old and new value side by side, and the only button that acts. */
export function Review({ title, confirm, point, slot, value, rows, disabled, onConfirm, onBack }: ReviewProps): JSX.Element {
  const x = tl.value.command;
  const now = useShown(slot, point);
  const head = useRef<HTMLHeadingElement>(null);
  const by = change(point, values.number[slot]!, value);
  useEffect(() => head.current?.focus(), []);
  return (
    <div class="review" role="group" aria-label={title}>
      <h4 ref={head} tabIndex={-1}>{title}</h4>
      <p class="from-to">
        <span>
          <span class="hint">{x.now}</span>
          <span class="number">{now}</span>
        </span>
        <span class="arrow" aria-hidden="true">→</span>
        <span>
          <span class="hint">{x.value}</span>
          <strong class="number">{format.withUnit(point, value)}</strong>
        </span>
        {by && (
          <span>
            <span class="hint">{x.change}</span>
            <span class="number">{by}</span>
          </span>
        )}
      </p>
      <dl class="facts">
        {rows.map(([name, text]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{text || format.NONE}</dd>
          </div>
        ))}
      </dl>
      {disabled && <p class="why">{x.disabled}: {disabled}.</p>}
      <p class="buttons">
        <button type="button" class="primary" disabled={disabled !== null} onClick={onConfirm}>{confirm}</button>
        <button type="button" onClick={onBack}>{x.back}</button>
      </p>
    </div>
  );
}

function Steps({ command }: { command: CommandView }): JSX.Element {
  const x = t.value;
  return (
    <ol class="steps" aria-label={tl.value.command.steps}>
      {command.steps.map((s, i) => (
        <li key={s.state}>
          {tl.value.commandState[s.state]}{" "}
          <span class="hint">
            {i === 0 ? format.clock(s.at_us / 1000) : `+${Math.max(0, Math.round((s.at_us - command.steps[0]!.at_us) / 1000))} ${x.age.ms}`}
          </span>
        </li>
      ))}
    </ol>
  );
}

function Outcome({ step, point, onAgain, onNew }: { step: Step; point: PointView; onAgain: () => void; onNew: () => void }): JSX.Element | null {
  const x = tl.value.command;
  switch (step.at) {
    case "sending":
      return <p class="outcome pending">{x.sending}</p>;
    case "pending":
      return (
        <div class="outcome pending">
          <p><strong>{x.pending}</strong> <CommandMark state={step.command.state} /></p>
          <p class="hint">{tl.value.commandMeaning[step.command.state]}</p>
          <Steps command={step.command} />
        </div>
      );
    case "unsure":
      return (
        <div class="outcome">
          <WarnMark text={x.unsure} />
          <p class="buttons">
            <button type="button" class="primary" onClick={onAgain}>{x.askAgain}</button>
            <button type="button" onClick={onNew}>{x.back}</button>
          </p>
        </div>
      );
    case "refused":
      return (
        <div class="outcome">
          <p><WarnMark text={x.refused} /></p>
          <p>{tl.value.code[step.code]}{step.detail && `: ${step.detail}`}</p>
          <p class="buttons"><button type="button" onClick={onNew}>{x.another}</button></p>
        </div>
      );
    case "done": {
      const c = step.command;
      return (
        <div class={`outcome ${c.state}`}>
          <p>
            <CommandMark state={c.state} /> <span class="number">{format.withUnit(point, c.value)}</span>
          </p>
          <p>{c.code ? `${tl.value.code[c.code]}${c.detail ? `: ${c.detail}` : ""}` : tl.value.commandMeaning[c.state]}</p>
          {c.read_back !== undefined && (
            <p>{x.readBack}: <strong class="number">{format.withUnit(point, c.read_back)}</strong></p>
          )}
          <Steps command={c} />
          <p class="buttons"><button type="button" onClick={onNew}>{x.another}</button></p>
        </div>
      );
    }
    default:
      return null;
  }
}

export function CommandPane({ twin, point }: { twin: TwinView; point: PointView }): JSX.Element {
  const x = tl.value.command;
  const slot = values.slot(twin.id, point.name);
  const [step, tell] = useReducer(reduce, { at: "edit" } as Step);
  const gone = useRef(new AbortController());
  useEffect(() => () => gone.current.abort(), []);
  const disabled = whyNot(twin);

  // The live link tells steps too, and late results of commands that had ended.
  const id = step.at === "pending" || step.at === "done" ? step.command.id : "";
  const watched = useSignal("");
  watched.value = id;
  useSignalEffect(() => {
    const command = watched.value ? commands.value.find((c) => c.id === watched.value) : undefined;
    if (command) tell({ type: "view", command });
  });

  const outcome = step.at === "done" ? step.command.state : step.at;
  useEffect(() => {
    const name = `${twin.name} ${point.name}`;
    if (step.at === "done") {
      const { state, code } = step.command;
      const text = x.announce(name, tl.value.commandState[state], code ? tl.value.code[code] : tl.value.commandMeaning[state]);
      if (state === "succeeded") say(text);
      else alarm(text);
    } else if (step.at === "refused") alarm(x.announce(name, x.refused, tl.value.code[step.code]));
    else if (step.at === "unsure") alarm(x.announce(name, x.unsure, ""));
    else if (step.at === "pending") say(x.announce(name, x.pending, ""));
  }, [outcome]);

  const post = async (draft: Draft, key: string): Promise<void> => {
    const answer = await send(twin.id, draft, key);
    tell(answer);
    if (answer.type !== "view") return;
    takeCommand(answer.command);
    if (!isFinal(answer.command.state)) await follow(answer.command.id, takeCommand, gone.current.signal);
  };

  return (
    <section class="command" aria-labelledby="command-title">
      <h3 id="command-title">{x.title}</h3>
      {(step.at === "edit") && (
        <ValueForm
          point={point}
          times={TIMES}
          usual={USUAL}
          timeLabel={x.ttl}
          disabled={disabled}
          onFilled={({ value, ms, reason }) =>
            tell({ type: "review", draft: { point: point.name, value, ttl_ms: ms, reason }, key: newKey() })
          }
        />
      )}
      {step.at === "review" && (
        <Review
          title={x.reviewTitle}
          confirm={x.confirm}
          point={point}
          slot={slot}
          value={step.draft.value}
          rows={[[x.target, `${twin.asset}/${point.name}`], [x.ttl, format.span(step.draft.ttl_ms, t.value.age)], [x.reason, step.draft.reason]]}
          disabled={disabled}
          onConfirm={() => {
            tell({ type: "confirm" });
            void post(step.draft, step.key);
          }}
          onBack={() => tell({ type: "back" })}
        />
      )}
      <Outcome
        step={step}
        point={point}
        onAgain={() => {
          if (step.at !== "unsure") return;
          tell({ type: "again" });
          void post(step.draft, step.key);
        }}
        onNew={() => tell({ type: "back" })}
      />
    </section>
  );
}
