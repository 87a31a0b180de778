// A second OPC UA server (node-opcua, which we did not write) for the adapter's tests. It has an
// endpoint without security as well, without which it answers no GetEndpoints.
//
// Arguments as key=value: port (0: any), folder (of its certificates), per_call, per_subscription (its limits), shift
// (namespaces before ours). Says `ready <port>` and then obeys lines on standard input: `set <name> <json>`, `get <name>`,
// `count <ms>`, `delete <name>`, `add <name>` (one of the many), `alarm <temperature>`, `sessions`, `items` (that are
// monitored), `forget` (all subscriptions), `expire` (the oldest
// one, which says so and stays), `break <n>` (the connection, instead of making the n-th subscription from now).
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant } = require("node-opcua-variant");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { StatusChangeNotification } = require("node-opcua-service-subscription");
const { StatusCodes } = require("node-opcua-status-code");

const OURS = "http://twinway.test/node";
const options = Object.fromEntries(process.argv.slice(2).map((a) => a.split(/=(.*)/s)));
const made = {};
let many;

async function main() {
  const serverCertificateManager = new OPCUACertificateManager({
    rootFolder: path.join(options.folder, "pki"),
    automaticallyAcceptUnknownCertificate: true,
  });
  await serverCertificateManager.initialize();
  const limit = Number(options.per_call || 1000);
  const server = new OPCUAServer({
    port: Number(options.port || 0),
    hostname: "127.0.0.1",
    alternateHostname: ["127.0.0.1"],
    nodeset_filename: [nodesets.standard],
    serverCertificateManager,
    userCertificateManager: serverCertificateManager,
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: true,
    disableDiscovery: true,
    serverCapabilities: {
      maxMonitoredItemsPerSubscription: Number(options.per_subscription || 1000),
      operationLimits: {
        maxNodesPerRead: limit,
        maxMonitoredItemsPerCall: limit,
        maxNodesPerBrowse: limit,
        maxNodesPerHistoryReadData: limit,
      },
    },
    userManager: { isValidUser: (name, password) => name === "operator" && password === "secret" },
  });
  await server.initialize();
  fill(server);
  await server.start();
  console.log("ready", server.endpoints[0].port);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      await obey(server, line);
      console.log("done", line);
    } catch (error) {
      console.log("failed", line, String(error));
    }
  }
}

function fill(server) {
  const space = server.engine.addressSpace;
  for (let n = 0; n < Number(options.shift || 0); n++) space.registerNamespace(`http://twinway.test/other${n}`);
  const ns = space.registerNamespace(OURS);
  const id = (name) => `s=${name}`;
  const plant = ns.addObject({
    browseName: "Plant",
    nodeId: id("Plant"),
    organizedBy: space.rootFolder.objects,
    eventSourceOf: space.rootFolder.objects.server,
    eventNotifier: 1,
  });
  const add = (name, dataType, value, more = {}) => {
    made[name] = ns.addVariable({
      browseName: name,
      nodeId: id(name),
      componentOf: plant,
      dataType,
      accessLevel: "CurrentRead",
      userAccessLevel: "CurrentRead",
      ...more,
    });
    made[name].setValueFromSource(new Variant({ dataType: DataType[dataType], value }));
  };
  const writable = { accessLevel: "CurrentRead | CurrentWrite", userAccessLevel: "CurrentRead | CurrentWrite" };
  add("Temp", "Double", 20.5);
  add("Speed", "Int16", 10, writable);
  add("Count", "UInt32", 0, { minimumSamplingInterval: 0 });
  add("Resets", "Int32", 0);
  many = (n) => add(`Many${n}`, "Double", n);
  for (let n = 0; n < 30; n++) many(n);
  add("Logged", "UInt32", 0, { accessLevel: "CurrentRead | HistoryRead", userAccessLevel: "CurrentRead | HistoryRead" });
  space.installHistoricalDataNode(made.Logged, { maxOnlineValues: 10_000 });

  const kind = ns.addEnumerationType({ browseName: "Mode", enumeration: ["Off", "Manual", "Auto"] });
  made.Mode = ns.addVariable({ browseName: "Mode", nodeId: id("Mode"), componentOf: plant, dataType: kind.nodeId });
  made.Mode.setValueFromSource(new Variant({ dataType: DataType.Int32, value: 1 }));
  const sparse = ns.addEnumerationType({
    browseName: "Level",
    enumeration: [{ displayName: "Low", value: 10 }, { displayName: "High", value: 20 }],
  });
  made.Level = ns.addVariable({ browseName: "Level", nodeId: id("Level"), componentOf: plant, dataType: sparse.nodeId });
  made.Level.setValueFromSource(new Variant({ dataType: DataType.Int32, value: 20 }));

  const reset = ns.addMethod(plant, {
    browseName: "Reset",
    nodeId: id("Reset"),
    inputArguments: [{ name: "to", dataType: DataType.Int32 }],
    outputArguments: [],
  });
  reset.bindMethod(async (given, _context) => {
    if (given[0].value < 0) return { statusCode: StatusCodes.BadOutOfRange };
    set("Resets", given[0].value);
    return { statusCode: StatusCodes.Good, outputArguments: [] };
  });
  ns.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "TempAlarm",
    conditionName: "TempAlarm",
    conditionSource: plant,
    inputNode: made.Temp,
    highLimit: 80,
    highHighLimit: 100,
    lowLimit: -10,
    lowLowLimit: -20,
  });
}

function set(name, value) {
  const held = made[name].readValue().value.dataType;
  made[name].setValueFromSource(new Variant({ dataType: held, value }));
}

// Each with its session, oldest first.
function subscriptions(server) {
  const of = (session) => session.publishEngine.subscriptions.map((s) => [session, s]);
  return Object.values(server.engine._sessions).flatMap(of).sort(([, a], [, b]) => a.id - b.id);
}

async function obey(server, line) {
  const [verb, name, ...rest] = line.split(" ");
  if (verb === "set") set(name, JSON.parse(rest.join(" ")));
  else if (verb === "get") console.log("value", made[name].readValue().value.value);
  else if (verb === "count") {
    let n = 0;
    setInterval(() => {
      n += 1;
      set("Count", n);
      set("Logged", n);
    }, Number(name));
  } else if (verb === "delete") {
    server.engine.addressSpace.deleteNode(made[name]);
    delete made[name];
  } else if (verb === "add") many(Number(name.replace("Many", "")));
  else if (verb === "alarm") set("Temp", Number(name));
  else if (verb === "sessions") console.log("value", server.engine.currentSessionCount);
  else if (verb === "items") {
    console.log("value", subscriptions(server).reduce((sum, [, s]) => sum + s.monitoredItemCount, 0));
  } else if (verb === "forget") {
    for (const [session, subscription] of subscriptions(server)) session.deleteSubscription(subscription.id);
  } else if (verb === "expire") {
    const [[, oldest]] = subscriptions(server);
    oldest._addNotificationMessage(new StatusChangeNotification({ status: StatusCodes.BadTimeout }));
  } else if (verb === "break") {
    const make = server._on_CreateSubscriptionRequest;
    let left = Number(name);
    server._on_CreateSubscriptionRequest = (message, channel) => {
      left -= 1;
      if (left !== 0) return make.call(server, message, channel);
      channel.abruptlyInterrupt();
    };
  } else throw new Error("what?");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
