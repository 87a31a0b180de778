// A second OPC UA client that we did not write (node-opcua), driven as client.py is: one question a line in, one answer out.
"use strict";
const readline = require("node:readline");
const path = require("node:path");
const ua = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

let client = null;
let session = null;
const told = [];
const events = [];

const TYPES = {
  bool: ua.DataType.Boolean, i64: ua.DataType.Int64, u64: ua.DataType.UInt64, f64: ua.DataType.Double,
  text: ua.DataType.String, i32: ua.DataType.Int32,
};

/** 64-bit numbers are pairs of 32 bits there. */
function plain(value, dataType) {
  if (dataType === ua.DataType.UInt64) return value[0] * 2 ** 32 + value[1];
  if (dataType === ua.DataType.Int64) return (value[0] | 0) * 2 ** 32 + value[1];
  if (value instanceof ua.LocalizedText) return value.text;
  if (value instanceof ua.NodeId) return value.toString();
  if (Buffer.isBuffer(value)) return { bytes: value.toString("hex") };
  if (value instanceof Date) return value.getTime() / 1000;
  if (ArrayBuffer.isView(value) || Array.isArray(value)) return Array.from(value, (v) => plain(v));
  return value ?? null;
}

function data(value) {
  const has = value.value && value.value.dataType !== ua.DataType.Null;
  return {
    value: has ? plain(value.value.value, value.value.dataType) : null,
    type: has ? ua.DataType[value.value.dataType] : null,
    status: value.statusCode.name,
    source: value.sourceTimestamp ? value.sourceTimestamp.getTime() / 1000 : null,
  };
}

function variant(asked) {
  const wide = { i64: true, u64: true }[asked.type];
  const value = wide ? [Math.floor(asked.value / 2 ** 32), asked.value >>> 0] : asked.value;
  return new ua.Variant({ dataType: TYPES[asked.type], arrayType: ua.VariantArrayType.Scalar, value });
}

function good(status) {
  if (status.isNot(ua.StatusCodes.Good)) throw Object.assign(new Error(status.toString()), { status: status.name });
}

async function connect(a) {
  const certificates = new OPCUACertificateManager({
    rootFolder: path.join(a.folder, "node-pki"), automaticallyAcceptUnknownCertificate: true,
  });
  await certificates.initialize();
  client = ua.OPCUAClient.create({
    applicationName: "node-opcua", endpointMustExist: false, clientCertificateManager: certificates,
    securityMode: ua.MessageSecurityMode[a.mode ?? "SignAndEncrypt"], securityPolicy: ua.SecurityPolicy[a.policy],
    connectionStrategy: { maxRetry: 0, initialDelay: 100, maxDelay: 100 }, transportTimeout: 15000,
  });
  await client.connect(a.url);
  session = await client.createSession({ type: ua.UserTokenType.UserName, userName: a.user, password: a.password });
  return session.readNamespaceArray();
}

async function tree(a) {
  const out = {};
  const seen = new Set();
  const waiting = [[ua.resolveNodeId(a.node), ""]];
  while (waiting.length) {
    const [nodeId, at] = waiting.pop();
    if (seen.has(nodeId.toString())) continue;
    seen.add(nodeId.toString());
    let page = await session.browse({
      nodeId, referenceTypeId: "HierarchicalReferences", includeSubtypes: true, resultMask: 63,
      browseDirection: ua.BrowseDirection.Forward,
    });
    good(page.statusCode);
    const found = [...(page.references ?? [])];
    while (page.continuationPoint && page.continuationPoint.length) {
      page = await session.browseNext(page.continuationPoint, false);
      good(page.statusCode);
      found.push(...(page.references ?? []));
    }
    for (const r of found) {
      const below = `${at}/${r.browseName.name}`;
      out[below] = { id: r.nodeId.toString(), class: ua.NodeClass[r.nodeClass], type: r.typeDefinition.toString() };
      waiting.push([r.nodeId, below]);
    }
  }
  return out;
}

async function subscription() {
  return session.createSubscription2({
    requestedPublishingInterval: 50, requestedLifetimeCount: 600, requestedMaxKeepAliveCount: 20,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 0,
  });
}

async function subscribe(a) {
  const made = await subscription();
  for (const nodeId of a.nodes) {
    const item = await made.monitor(
      { nodeId, attributeId: ua.AttributeIds.Value },
      { samplingInterval: 0, queueSize: 100, discardOldest: true }, ua.TimestampsToReturn.Both,
    );
    good(item.statusCode ?? ua.StatusCodes.Good);
    item.on("changed", (value) => told.push({ node: nodeId.split(";s=")[1], ...data(value) }));
  }
  return made.subscriptionId;
}

const FIELDS = [
  "EventId", "EventType", "SourceName", "ConditionName", "Message", "Severity", "Retain", "ConditionId",
  "ActiveState.Id", "AckedState.Id", "ShelvingState.CurrentState",
];

async function watchEvents(a) {
  const filter = ua.constructEventFilter(FIELDS, ua.ofType(ua.resolveNodeId(a.types[0])));
  const made = await subscription();
  const item = await made.monitor(
    { nodeId: a.node, attributeId: ua.AttributeIds.EventNotifier },
    { samplingInterval: 0, queueSize: 100, discardOldest: true, filter }, ua.TimestampsToReturn.Both,
  );
  item.on("changed", (values) => {
    events.push(Object.fromEntries(FIELDS.map((f, n) => [f, plain(values[n].value, values[n].dataType)])));
  });
  return made.subscriptionId;
}

async function answer(a) {
  switch (a.do) {
    case "connect": return connect(a);
    case "disconnect": await session.close(); await client.disconnect(); return null;
    case "tree": return tree(a);
    case "read": return data(await session.read({ nodeId: a.node, attributeId: ua.AttributeIds.Value }));
    case "write":
      good(await session.write({
        nodeId: a.node, attributeId: ua.AttributeIds.Value, value: { value: variant(a) },
      }));
      return null;
    case "subscribe": return subscribe(a);
    case "told": return told.splice(0);
    case "events": return watchEvents(a);
    case "told_events": return events.splice(0);
    case "acknowledge":
      good(await session.acknowledgeCondition(
        ua.resolveNodeId(a.node), Buffer.from(a.event, "hex"), a.comment,
      ));
      return null;
    case "call": {
      const done = await session.call({ objectId: a.node, methodId: a.method, inputArguments: a.arguments.map(variant) });
      good(done.statusCode);
      return (done.outputArguments ?? []).map((v) => plain(v.value, v.dataType));
    }
    case "history": {
      const from = new Date(a.from / 1000);
      const read = await session.readHistoryValue(a.node, from, new Date(a.to / 1000), { numValuesPerNode: a.count ?? 0 });
      good(read.statusCode);
      return (read.historyData?.dataValues ?? []).map(data);
    }
    default: throw new Error(`unknown question ${a.do}`);
  }
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let out;
    try {
      out = { ok: (await answer(JSON.parse(line))) ?? null };
    } catch (e) {
      const status = e.status ?? /\b(Bad[A-Za-z]+)\b/.exec(e.message)?.[1];
      out = status ? { status } : { error: `${e.name}: ${e.message}` };
    }
    process.stdout.write(`${JSON.stringify(out)}\n`);
  }
  process.exit(0);
}

// What the library says goes to where it does not mix with answers.
console.log = console.info = console.warn = console.error;
main();
