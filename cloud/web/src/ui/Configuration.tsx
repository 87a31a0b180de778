// The configuration documents of a gateway: which is wanted, which runs, and why not. Read only: documents are put from the
// command line. Shown to those who may read them, that is, engineers of the whole plant.
import { Component, type JSX } from "preact";
import { ApiError, json } from "../api/client";
import type { ConfigurationEntry, ConfigurationView, GatewayView } from "../api/types";
import * as format from "../format";
import { tl } from "../i18n/later";
import { UpMark, WarnMark } from "./marks";

const EVERY_MS = 5_000;

interface Props { gateway: GatewayView }

export class Configuration extends Component<Props, { view?: ConfigurationView }> {
  private readonly gone = new AbortController();
  private timer = 0;

  override componentDidMount(): void {
    const path = `/gateways/${encodeURIComponent(this.props.gateway.id)}/configuration`;
    const look = (): void => {
      // Who may not read it is shown nothing; what cannot be had now is asked for again, and what was there stays.
      json<ConfigurationView>(path, { signal: this.gone.signal }).then(
        (view) => this.setState({ view }),
        (e: unknown) => {
          if (e instanceof ApiError && e.code === "forbidden") clearInterval(this.timer);
        },
      );
    };
    this.timer = window.setInterval(look, EVERY_MS);
    look();
  }

  override componentWillUnmount(): void {
    clearInterval(this.timer);
    this.gone.abort();
  }

  override render(): JSX.Element | null {
    const { view } = this.state;
    return view?.wanted ? <Shown view={view} wanted={view.wanted} /> : null;
  }
}

function Shown({ view, wanted }: { view: ConfigurationView; wanted: ConfigurationEntry }): JSX.Element {
  const x = tl.value.configuration;
  const { report, state } = view;
  const name = (d: { version: number } | undefined): string => (d ? String(d.version) : format.NONE);
  return (
    <dl class="facts wide">
      <div>
        <dt>{x.title}</dt>
        <dd>
          {state === "refused" || state === "not_accepted"
            ? <WarnMark text={x[state]} />
            : <UpMark up={state === "applied"} text={x[state]} />}
        </dd>
      </div>
      <div>
        <dt>{x.wanted}</dt>
        <dd>
          {wanted.version} <span class="hint">{wanted.author}, {format.stamp(wanted.at_us / 1000)} {wanted.note}</span>
        </dd>
      </div>
      <div>
        <dt>{x.running}</dt>
        <dd>{name(report?.running)} {report?.changed && <WarnMark text={x.changed} />}</dd>
      </div>
      {view.reason && (
        <div>
          <dt>{x.reason}</dt>
          <dd>{view.reason}</dd>
        </div>
      )}
    </dl>
  );
}
