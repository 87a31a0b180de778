// Holds the page's types against the cloud's OpenAPI document, when types are checked: `npm run check` makes
// `src/api/schema.ts` from it first. Nothing here runs.
import type { components } from "../src/api/schema";
import type * as page from "../src/api/types";

type Cloud = components["schemas"];

/** The document allows null for what the cloud leaves out. */
type Loose<T> = T extends readonly (infer U)[]
  ? Loose<U>[]
  : T extends object
    ? { [K in keyof T]: Record<never, never> extends Pick<T, K> ? Loose<T[K]> | null : Loose<T[K]> }
    : T;

type Keys<T> = T extends unknown ? keyof T : never;

/** What the cloud says fits the page's type, and neither has a field more. */
type Same<C, P> = [C] extends [Loose<P>]
  ? [Keys<C>] extends [Keys<P>]
    ? [Keys<P>] extends [Keys<C>]
      ? true
      : ["only in the page", Exclude<Keys<P>, Keys<C>>]
    : ["only in the cloud", Exclude<Keys<C>, Keys<P>>]
  : ["does not fit", C, P];

/** What the page sends is what the cloud takes. */
type Takes<C, P> = [P] extends [C] ? true : ["is not taken", P, C];

export const checks: {
  quality: Same<Cloud["Quality"], page.Quality>;
  value: Same<Cloud["Value"], page.Value>;
  role: Same<Cloud["Role"], page.Role>;
  severity: Same<Cloud["Severity"], page.Severity>;
  commandState: Same<Cloud["CommandState"], page.CommandState>;
  desiredState: Same<Cloud["DesiredState"], page.DesiredState>;
  asset: Same<Cloud["AssetNode"], page.AssetNode>;
  point: Same<Cloud["PointView"], page.PointView>;
  twin: Same<Cloud["TwinView"], page.TwinView>;
  command: Same<Cloud["CommandView"], page.CommandView>;
  desired: Same<Cloud["DesiredView"], page.DesiredView>;
  alarm: Same<Cloud["AlarmView"], page.AlarmView>;
  log: Same<Cloud["LogEntry"], page.LogEntry>;
  history: Same<Cloud["HistoryResponse"], page.HistoryResponse>;
  historyPoint: Same<Cloud["HistoryPoint"], page.HistoryPoint>;
  historyTimes: Same<Cloud["HistoryTimes"], page.HistoryTimes>;
  historyGap: Same<Cloud["HistoryGap"], page.HistoryGap>;
  gateway: Same<Cloud["GatewayView"], page.GatewayView>;
  configuration: Same<Cloud["ConfigurationView"], page.ConfigurationView>;
  health: Same<Cloud["GatewayHealth"], page.GatewayHealth>;
  buffer: Same<Cloud["BufferHealth"], page.BufferHealth>;
  device: Same<Cloud["DeviceHealth"], page.DeviceHealth>;
  poll: Same<Cloud["PollHealth"], page.PollHealth>;
  part: Same<Cloud["PartStatus"], page.PartStatus>;
  code: Same<Cloud["Code"], page.Code>;
  live: Same<Cloud["ServerMessage"], page.ServerMessage>;
  whoAmI: Same<Cloud["WhoAmI"], page.WhoAmI>;
  commandRequest: Takes<Cloud["CommandRequest"], page.CommandRequest>;
  desiredEntry: Takes<Cloud["DesiredEntry"], page.DesiredEntry>;
} = {
  quality: true, value: true, role: true, severity: true, commandState: true, desiredState: true, asset: true,
  point: true, twin: true, command: true, desired: true, alarm: true, log: true, history: true, historyPoint: true, historyTimes: true, historyGap: true,
  gateway: true, configuration: true, health: true, buffer: true, device: true, poll: true, part: true, code: true, live: true, whoAmI: true, commandRequest: true,
  desiredEntry: true,
};
