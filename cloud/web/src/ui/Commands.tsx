// Lists of commands: all of them as a view, a twin's last ones in its points.
import type { JSX } from "preact";
import type { CommandView } from "../api/types";
import * as format from "../format";
import { tl } from "../i18n/later";
import { commands, pointOf, twinById } from "../state/plant";
import { CommandMark } from "./CommandMark";
import "../styles/later.css";

function Asked({ command }: { command: CommandView }): JSX.Element {
  const point = pointOf(twinById.value.get(command.twin), command.point);
  return <>{point ? format.withUnit(point, command.value) : JSON.stringify(command.value)}</>;
}

export function CommandTable({ commands: list, asset }: { commands: CommandView[]; asset: boolean }): JSX.Element {
  const x = tl.value.command;
  if (list.length === 0) return <p class="none">{x.none}</p>;
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">{x.time}</th>
          <th scope="col">{x.target}</th>
          <th scope="col" class="num">{x.asked}</th>
          <th scope="col">{x.state}</th>
          <th scope="col">{x.who}</th>
          {asset && <th scope="col">{x.reason}</th>}
        </tr>
      </thead>
      <tbody>
        {list.map((c) => (
          <tr key={c.id}>
            <td class="nowrap">{asset ? format.stamp(c.created_us / 1000) : format.clock(c.created_us / 1000)}</td>
            <td>
              {asset && <span class="path">{c.asset}/</span>}
              {c.point}
            </td>
            <td class="num nowrap"><Asked command={c} /></td>
            <td title={c.detail}>
              <CommandMark state={c.state} />
              {c.code && <span class="detail-text">{tl.value.code[c.code]}</span>}
            </td>
            <td>{c.requester.name}</td>
            {asset && <td>{c.reason}</td>}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function CommandList(): JSX.Element {
  return (
    <div class="page">
      <div class="bar">
        <h2 id="commands-title">{tl.value.command.all}</h2>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-labelledby="commands-title">
        <CommandTable commands={commands.value} asset />
      </div>
    </div>
  );
}
