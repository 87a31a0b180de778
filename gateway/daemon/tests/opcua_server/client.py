"""An OPC UA client that we did not write (asyncua), driven by lines of JSON: one question in, one answer out."""
import asyncio
import datetime
import json
import logging
import sys
from pathlib import Path

from asyncua import Client, Server, ua
from asyncua.crypto import security_policies as policies
from asyncua.ua.ua_binary import struct_from_binary
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

logging.disable(logging.CRITICAL)
client = None
subscriptions = []
told = []
events = []

TYPES = {
    "bool": ua.VariantType.Boolean, "i64": ua.VariantType.Int64, "u64": ua.VariantType.UInt64,
    "f64": ua.VariantType.Double, "text": ua.VariantType.String, "i32": ua.VariantType.Int32,
    "bytes": ua.VariantType.ByteString, "localized": ua.VariantType.LocalizedText,
}


def certificate(folder, name, uri, days=365):
    """A self-signed certificate and its key, made once."""
    cert, key = Path(folder) / f"{name}.der", Path(folder) / f"{name}.pem"
    if not cert.exists():
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        start = now - datetime.timedelta(days=30)
        end = now + datetime.timedelta(days=days)
        built = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(made.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
            .sign(made, hashes.SHA256())
        )
        cert.write_bytes(built.public_bytes(serialization.Encoding.DER))
        key.write_bytes(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    return str(cert), str(key)


def plain(value):
    """A value as JSON."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if isinstance(value, (ua.NodeId, ua.ExpandedNodeId)):
        return value.to_string()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=datetime.timezone.utc).timestamp()
    if hasattr(value, "__dataclass_fields__"):
        return {k: plain(getattr(value, k)) for k in value.__dataclass_fields__ if k not in ("data_type",)}
    return str(value)


def data(value):
    """A data value as JSON."""
    return {
        "value": plain(value.Value.Value) if value.Value is not None else None,
        "type": value.Value.VariantType.name if value.Value is not None else None,
        "status": ua.StatusCode(value.StatusCode_.value).name if value.StatusCode_ else "Good",
        "source": plain(value.SourceTimestamp),
        "server": plain(value.ServerTimestamp),
    }


class Handler:
    def datachange_notification(self, node, value, change):
        told.append({"node": node.nodeid.Identifier, **data(change.monitored_item.Value)})

    def event_notification(self, event):
        try:
            hidden = set(event.internal_properties) | {"internal_properties"}
            events.append({k: plain(v) for k, v in vars(event).items() if k not in hidden})
        except Exception as e:
            print(f"event: {e!r}", file=sys.stderr, flush=True)

    def status_change_notification(self, status):
        told.append({"node": None, "status": str(status)})


def variant(asked):
    return ua.Variant(bytes.fromhex(asked["value"]) if asked["type"] == "bytes" else
                      ua.LocalizedText(asked["value"]) if asked["type"] == "localized" else asked["value"],
                      TYPES[asked["type"]])


async def connect(a):
    global client
    client = Client(a["url"], timeout=a.get("timeout", 20))
    client.application_uri = a.get("uri", "urn:test:client")
    if a.get("policy"):
        cert, key = certificate(a["folder"], a.get("name", "client"), client.application_uri, a.get("days", 365))
        mode = getattr(ua.MessageSecurityMode, a.get("mode", "SignAndEncrypt"))
        policy = getattr(policies, "SecurityPolicy" + a["policy"])
        await client.set_security(policy, certificate=cert, private_key=key, mode=mode)
    if a.get("user_certificate"):
        # Signed with the key of another, if that is named: who has a certificate has not its key.
        cert, _ = certificate(a["folder"], a["user_certificate"], "urn:test:user", a.get("user_days", 365))
        _, key = certificate(a["folder"], a.get("user_key", a["user_certificate"]), "urn:test:user")
        await client.load_client_certificate(cert)
        await client.load_private_key(key)
    elif a.get("user"):
        client.set_user(a["user"])
        client.set_password(a["password"])
    # asyncua takes no notice of a connection that is closed while it is made, and waits for its time to be over.
    making = asyncio.ensure_future(client.connect())
    while not (await asyncio.wait({making}, timeout=0.02))[0]:
        protocol = client.uaclient.protocol
        closed = protocol is not None and protocol.state == protocol.CLOSED
        if closed and not (await asyncio.wait({making}, timeout=1))[0]:
            making.cancel()
            raise ConnectionError("closed by the server")
    await making
    return await client.get_namespace_array()


async def endpoints(a):
    found = await Client(a["url"], timeout=10).connect_and_get_server_endpoints()
    return [{"url": e.EndpointUrl, "policy": e.SecurityPolicyUri.split("#")[1], "mode": e.SecurityMode.name,
             "tokens": [t.TokenType.name for t in e.UserIdentityTokens]} for e in found]


async def tree(a):
    """Every node below one, once: path of browse names, class, type definition, data type."""
    out, seen = {}, set()
    waiting = [(client.get_node(a["node"]), "")]
    while waiting:
        node, path = waiting.pop()
        if node.nodeid in seen or path.count("/") >= a.get("depth", 99):
            continue
        seen.add(node.nodeid)
        for r in await node.get_references(refs=ua.ObjectIds.HierarchicalReferences, direction=ua.BrowseDirection.Forward):
            below = f"{path}/{r.BrowseName.Name}"
            out[below] = {"id": r.NodeId.to_string(), "class": r.NodeClass_.name, "ns": r.BrowseName.NamespaceIndex,
                          "type": r.TypeDefinition.to_string()}
            waiting.append((client.get_node(r.NodeId), below))
    return out


async def answer(a):
    node = client.get_node(a["node"]) if client and a.get("node") else None
    match a["do"]:
        case "connect":
            return await connect(a)
        case "endpoints":
            return await endpoints(a)
        case "disconnect":
            await client.disconnect()
        case "tree":
            return await tree(a)
        case "read":
            return data(await node.read_data_value(raise_on_bad_status=False))
        case "read_part":
            asked = ua.ReadValueId(node.nodeid, getattr(ua.AttributeIds, a.get("attribute", "Value")), a.get("range"))
            if a.get("encoding"):
                asked.DataEncoding = ua.QualifiedName(a["encoding"], 0)
            parameters = ua.ReadParameters()
            parameters.NodesToRead = [asked] * a.get("times", 1)
            return data((await client.uaclient.read(parameters))[0])
        case "attribute":
            value = await node.read_attribute(getattr(ua.AttributeIds, a["attribute"]), raise_on_bad_status=False)
            return data(value)
        case "write":
            value = ua.DataValue(variant(a))
            await node.write_attribute(getattr(ua.AttributeIds, a.get("attribute", "Value")), value, a.get("range"))
        case "subscribe":
            subscription = await client.create_subscription(a.get("period", 50), Handler())
            subscriptions.append(subscription)
            nodes = [client.get_node(n) for n in a["nodes"]]
            made = await subscription.subscribe_data_change(nodes, queuesize=a.get("queue", 100),
                                                            sampling_interval=a.get("sampling", 0.0))
            return [m if isinstance(m, int) else str(m) for m in (made if isinstance(made, list) else [made])]
        case "write_reason":
            # What became of it, and what the server says of that where it is asked for (part 4, 7.12).
            request = ua.WriteRequest()
            request.RequestHeader.ReturnDiagnostics = 0x80
            value = ua.WriteValue()
            value.NodeId, value.AttributeId, value.Value = node.nodeid, ua.AttributeIds.Value, ua.DataValue(variant(a))
            request.Parameters.NodesToWrite.append(value)
            answered = await client.uaclient.protocol.send_request(request)
            response = struct_from_binary(ua.WriteResponse, answered)
            why = response.DiagnosticInfos
            return {"status": response.Results[0].name, "reason": why[0].AdditionalInfo if why else None}
        case "write_all":
            parameters = ua.WriteParameters()
            for n in a["nodes"]:
                value = ua.WriteValue()
                value.NodeId, value.AttributeId = ua.NodeId.from_string(n), ua.AttributeIds.Value
                value.Value = ua.DataValue(variant(a))
                parameters.NodesToWrite.append(value)
            return [status.name for status in await client.uaclient.write(parameters)]
        case "monitor":
            # One item: what the server makes of it.
            subscription = await client.create_subscription(50, Handler())
            subscriptions.append(subscription)
            attribute = getattr(ua.AttributeIds, a.get("attribute", "Value"))
            return await subscription._subscribe(node, attribute, queuesize=1)
        case "told":
            taken, told[:] = list(told), []
            return taken
        case "events":
            subscription = await client.create_subscription(50, Handler())
            subscriptions.append(subscription)
            await subscription.subscribe_events(node, [client.get_node(t) for t in a["types"]], queuesize=100,
                                                where_clause_generation=False)
            return subscription.subscription_id
        case "told_events":
            taken, events[:] = list(events), []
            return taken
        case "call":
            arguments = [variant(v) for v in a["arguments"]]
            return plain(await node.call_method(client.get_node(a["method"]), *arguments))
        case "nodeset":
            # A server of others that takes the model over.
            server = Server()
            await server.init()
            made = await server.import_xml(xmlstring=a["xml"].encode())
            index = await server.get_namespace_index(a["uri"])
            values = {n: plain(await server.get_node(ua.NodeId(n, index)).read_value()) for n in a["nodes"]}
            return {"count": len(made), "values": values}
        case "history":
            time = lambda us: None if us is None else datetime.datetime.fromtimestamp(us / 1e6, datetime.timezone.utc).replace(tzinfo=None)
            values = await node.read_raw_history(time(a["from"]), time(a["to"]), a.get("count", 0))
            return [data(v) for v in values]
        case "history_status":
            details = ua.ReadRawModifiedDetails()
            details.IsReadModified = a.get("modified", False)
            zero = datetime.datetime(1601, 1, 1)
            time = lambda us: zero if us is None else datetime.datetime.fromtimestamp(us / 1e6, datetime.timezone.utc).replace(tzinfo=None)
            details.StartTime, details.EndTime = time(a.get("from")), time(a.get("to"))
            details.NumValuesPerNode, details.ReturnBounds = a.get("count", 0), False
            asked = ua.HistoryReadValueId()
            asked.NodeId = node.nodeid
            asked.ContinuationPoint = bytes.fromhex(a["continue"]) if a.get("continue") else None
            parameters = ua.HistoryReadParameters()
            parameters.HistoryReadDetails, parameters.NodesToRead = details, [asked]
            parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
            parameters.ReleaseContinuationPoints = False
            result = (await client.uaclient.history_read(parameters))[0]
            return result.StatusCode.name
        case other:
            raise ValueError(other)


async def main():
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        try:
            out = {"ok": await answer(json.loads(line))}
        except ua.UaStatusCodeError as e:
            out = {"status": ua.StatusCode(e.code).name}
        except (Exception, asyncio.TimeoutError) as e:
            out = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(out), flush=True)


asyncio.run(main())
