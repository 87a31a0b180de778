// How each gateway fares: link, switch, clock, buffer, drops, devices, parts.
import type { ComponentChildren, JSX } from "preact";
import type { GatewayHealth, GatewayView } from "../api/types";
import * as format from "../format";
import { t } from "../i18n";
import { tl } from "../i18n/later";
import { gateways, now } from "../state/plant";
import { Configuration } from "./Configuration";
import { UpMark, WarnMark } from "./marks";
import "../styles/later.css";

function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Devices({ health }: { health: GatewayHealth }): JSX.Element {
  const x = tl.value.gateways;
  return (
    <table class="list">
      <caption>{x.devices}</caption>
      <thead>
        <tr>
          <th scope="col">{x.device}</th>
          <th scope="col">{x.protocol}</th>
          <th scope="col">{x.state}</th>
          <th scope="col" class="num">{x.good}</th>
          <th scope="col" class="num">{x.bad}</th>
          <th scope="col" class="wide">{x.lastError}</th>
        </tr>
      </thead>
      <tbody>
        {health.devices.map((d) => (
          <tr key={d.name}>
            <td>{d.name}</td>
            <td>{d.protocol}</td>
            <td>
              <UpMark up={d.connected} text={d.connected ? x.answers : x.silent} />{" "}
              <span class="hint">{x.since(format.stamp(d.since_us / 1000))}</span>
            </td>
            <td class="num">{format.fixed(d.good, 0)}</td>
            <td class="num">{format.fixed(d.bad, 0)}</td>
            <td>{d.last_error ?? format.NONE}</td>
          </tr>
        ))}
      </tbody>
      {!!health.left_out && (
        <tfoot>
          <tr><td colSpan={6}>{x.leftOut(health.left_out)}</td></tr>
        </tfoot>
      )}
    </table>
  );
}

function Parts({ health }: { health: GatewayHealth }): JSX.Element {
  const x = tl.value.gateways;
  return (
    <table class="list">
      <caption>{x.parts}</caption>
      <thead>
        <tr>
          <th scope="col">{x.part}</th>
          <th scope="col">{x.state}</th>
          <th scope="col" class="num">{x.restarts}</th>
          <th scope="col" class="wide">{x.lastError}</th>
        </tr>
      </thead>
      <tbody>
        {health.parts.map((p) => (
          <tr key={p.name}>
            <td>{p.name}</td>
            <td><UpMark up={p.state === "running"} text={x[p.state]} /></td>
            <td class="num">{p.restarts}</td>
            <td>{p.last_error ?? format.NONE}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Dropped({ health }: { health: GatewayHealth }): JSX.Element {
  const x = tl.value.gateways;
  const drops = Object.entries(health.dropped).filter(([, n]) => n > 0);
  if (drops.length === 0) return <p class="hint">{x.noneDropped}</p>;
  return (
    <table class="list">
      <caption>{x.dropped}</caption>
      <thead>
        <tr>
          <th scope="col">{x.cause}</th>
          <th scope="col" class="num">{x.number}</th>
        </tr>
      </thead>
      <tbody>
        {drops.map(([cause, n]) => (
          <tr key={cause}>
            <td><WarnMark text={cause} /></td>
            <td class="num">{format.fixed(n, 0)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Health({ health }: { health: GatewayHealth }): JSX.Element {
  const x = tl.value.gateways;
  const units = t.value.age;
  const b = health.buffer;
  const full = b.quota_bytes > 0 ? b.disk_bytes / b.quota_bytes : 0;
  return (
    <>
      <dl class="facts wide">
        <Fact name={x.switch}>
          {health.switch === "remote" ? <UpMark up text={x.remote} /> : <WarnMark text={x.local} />}{" "}
          <span class="hint">{health.switch === "remote" ? x.remoteHint : x.localHint}</span>
        </Fact>
        <Fact name={x.clock}>
          {health.clock_synchronised ? <UpMark up text={x.synced} /> : <WarnMark text={x.unsynced} />}
        </Fact>
        <Fact name={x.uplink}><UpMark up={health.uplink} text={health.uplink ? x.up : x.down} /></Fact>
        <Fact name={x.version}>{health.version}</Fact>
        <Fact name={x.uptime}>{format.age(health.uptime_ms, units)}</Fact>
        <Fact name={x.unacked}>{format.fixed(b.unacked_frames, 0)}</Fact>
        <Fact name={x.oldest}>{b.unacked_frames > 0 ? format.age(b.oldest_unacked_ms, units) : format.NONE}</Fact>
        <Fact name={x.disk}>
          <meter min={0} max={1} high={0.8} value={full} aria-label={x.disk} /> {format.bytes(b.disk_bytes)} / {format.bytes(b.quota_bytes)}
        </Fact>
        <Fact name={x.durable}>
          {format.fixed(b.durable_seq, 0)} / {format.fixed(b.last_seq, 0)} <span class="hint" title={b.incarnation}>{b.incarnation.slice(0, 8)}</span>
        </Fact>
        {b.fault && <Fact name={x.fault}><WarnMark text={b.fault} /></Fact>}
      </dl>
      <Devices health={health} />
      <div class="pair">
        <Parts health={health} />
        <Dropped health={health} />
      </div>
    </>
  );
}

function Gateway({ gateway: g }: { gateway: GatewayView }): JSX.Element {
  const x = tl.value.gateways;
  const id = `gateway-${g.id}`;
  return (
    <article class="card" aria-labelledby={id}>
      <div class="title">
        <h3 id={id}>{g.id}</h3>
        <UpMark up={g.connected} text={g.connected ? x.connected : x.disconnected} />
        <span class="hint">{x.since(format.stamp(g.since_us / 1000))}</span>
        <span class="hint">
          {x.seen}: {format.age(now.value - g.last_seen_us / 1000, t.value.age)}
        </span>
        <span class="hint">
          {x.twins}: {g.twins}
        </span>
      </div>
      <Configuration gateway={g} />
      {g.health ? <Health health={g.health} /> : <p class="none">{x.noHealth}</p>}
    </article>
  );
}

export function Gateways(): JSX.Element {
  const x = tl.value.gateways;
  return (
    <div class="page">
      <div class="bar">
        <h2 id="gateways-title">{x.title}</h2>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-labelledby="gateways-title">
        {gateways.value.length === 0 && <p class="none">{x.none}</p>}
        {gateways.value.map((g) => <Gateway key={g.id} gateway={g} />)}
      </div>
    </div>
  );
}
