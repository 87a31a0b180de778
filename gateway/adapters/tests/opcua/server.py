"""An OPC UA server (asyncua, which we did not write) for the adapter's tests.

Arguments as key=value: port (0: any), shift (namespaces before ours), folder (of its certificate), security (none or
all), uri, host and days (of its certificate: whom it is for, how long it is valid), ca (signs it), x509 (sign-in by the
certificate user-cert.der of the folder alone), many (further variables), structure, history. Says `ready <port>` and then
obeys lines on standard input: `set <name> <python literal>`, `bad <name of a Double> <status code>`, `delete <name>`,
`add <name>`, `get <name>`, `count <ms>`, `event <text>`, `hang <seconds>`, `short <values>` (that answers to several
reads lack from now on), `lag <seconds>` (until it tells a history that it has read), `stop`.
"""

import ast
import asyncio
import datetime
import sys
import time
from pathlib import Path

from asyncua import Server, ua
from asyncua.crypto import uacrypto
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager

import certificates

OURS = "http://twinway.test/plant"


class Users(UserManager):
    def __init__(self, known=None):
        self.known = known

    def get_user(self, iserver, username=None, password=None, certificate=None):
        # The channel's certificate comes along with every kind of sign-in.
        if self.known is not None:
            der = certificate if isinstance(certificate, bytes) else uacrypto.der_from_x509(certificate)
            return User(role=UserRole.User, name="by certificate") if der == self.known else None
        if username is None:
            return User(role=UserRole.User, name="anonymous")
        ok = username == "operator" and password == "secret"
        return User(role=UserRole.User, name=username) if ok else None


read = InternalSession.read
LACKING = 0


async def read_short(session, params):
    results = await read(session, params)
    return results[: len(results) - LACKING] if len(results) > 1 else results


InternalSession.read = read_short
history_read = InternalSession.history_read
LAG = 0.0


async def history_read_late(session, params):
    results = await history_read(session, params)
    await asyncio.sleep(LAG)
    return results


InternalSession.history_read = history_read_late


def own(value):
    return ua.NodeId(value, INDEX)


async def variables(server, plant):
    made = {}

    async def add(name, value, kind, writable=False):
        node = await plant.add_variable(own(name), name, value, kind)
        if writable:
            await node.set_writable()
        made[name] = node

    await add("Temp", 20.5, ua.VariantType.Double)
    await add("Count", 0, ua.VariantType.UInt32)
    await add("Name", "press", ua.VariantType.String)
    await add("Running", True, ua.VariantType.Boolean)
    await add("Speed", 10, ua.VariantType.Int16, True)
    await add("Level", 1.5, ua.VariantType.Float, True)
    await add("Locked", 1, ua.VariantType.Int32)
    await add("Zones", [1.0, 2.0, 3.0, 4.0, 5.0], ua.VariantType.Double, True)
    await add("Wide", 2**63 + 1, ua.VariantType.UInt64)
    await add("At", datetime.datetime(2026, 11, 27, 1, 2, 3, 4000), ua.VariantType.DateTime)
    await add("Started", "", ua.VariantType.String)
    await add("Resets", 0, ua.VariantType.Int32)
    for n in range(MANY):
        made[f"Many{n}"] = await plant.add_variable(own(f"Many{n}"), f"Many{n}", float(n), ua.VariantType.Double)
    return made


async def methods(server, plant, made):
    async def start(parent, speed, ramp, mode):
        if speed.Value > 50:
            return ua.StatusCode(ua.StatusCodes.BadOutOfRange)
        said = f"{speed.VariantType.name}={speed.Value} {ramp.VariantType.name}={ramp.Value} {mode.Value}"
        await made["Started"].write_value(said, ua.VariantType.String)
        return []

    async def reset(parent):
        await made["Resets"].write_value(await made["Resets"].read_value() + 1, ua.VariantType.Int32)
        return []

    kinds = [ua.VariantType.Double, ua.VariantType.UInt16, ua.VariantType.String]
    await plant.add_method(own("Start"), "Start", start, kinds, [])
    await plant.add_method(own("Reset"), "Reset", reset, [], [])


async def structure(server, plant):
    from asyncua.common.structures104 import new_struct, new_struct_field

    fields = [new_struct_field("number", ua.VariantType.Int32), new_struct_field("weight", ua.VariantType.Double)]
    await new_struct(server, INDEX, "Recipe", fields)
    custom = await server.load_data_type_definitions()
    recipe = custom["Recipe"]()
    recipe.number = 42
    recipe.weight = 2.5
    await plant.add_variable(own("Recipe"), "Recipe", ua.Variant(recipe, ua.VariantType.ExtensionObject))


async def counter(node, ms):
    n = await node.read_value()
    due = time.monotonic()
    while True:
        n += 1
        await node.write_value(n, ua.VariantType.UInt32)
        due += ms / 1000
        await asyncio.sleep(max(0, due - time.monotonic()))


async def obey(server, plant, made, line):
    global LACKING, LAG
    verb, _, rest = line.partition(" ")
    name, _, text = rest.partition(" ")
    if verb == "set":
        node = made[name]
        kind = (await node.read_data_value(raise_on_bad_status=False)).Value
        kind = (await node.read_data_type_as_variant_type()) if kind is None else kind.VariantType
        await node.write_value(ua.DataValue(ua.Variant(ast.literal_eval(text), kind)))
    elif verb == "bad":
        held = ua.Variant(77.0, ua.VariantType.Double)
        value = ua.DataValue(held, ua.StatusCode(int(text, 0)), datetime.datetime.now(datetime.timezone.utc))
        await server.iserver.aspace.write_attribute_value(made[name].nodeid, ua.AttributeIds.Value, value)
    elif verb == "delete":
        await server.delete_nodes([made.pop(name)])
    elif verb == "add":
        made[name] = await plant.add_variable(own(name), name, 1.0, ua.VariantType.Double)
    elif verb == "count":
        asyncio.ensure_future(counter(made["Count"], float(name)))
    elif verb == "get":
        print("value", repr(await made[name].read_value()), flush=True)
    elif verb == "event":
        generator = await server.get_event_generator()
        generator.event.Severity = 700
        await generator.trigger(message=rest)
    elif verb == "hang":
        print("begun", line, flush=True)
        time.sleep(float(name))
    elif verb == "short":
        LACKING = int(name)
    elif verb == "lag":
        LAG = float(name)
    print("done", line, flush=True)


async def main(options):
    global INDEX, MANY
    MANY = int(options.get("many", 0))
    known = None
    if options.get("x509"):
        folder = Path(options["folder"])
        if not (folder / "user-cert.der").exists():
            certificates.make(folder, "user-", "urn:twinway:test:user", "user")
            certificates.make(folder, "stranger-", "urn:twinway:test:stranger", "stranger")
        known = (folder / "user-cert.der").read_bytes()
    server = Server(user_manager=Users(known))
    await server.init()
    port = int(options.get("port", 0))
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    policies = [ua.SecurityPolicyType.NoSecurity]
    if options.get("security") == "all":
        policies += [
            ua.SecurityPolicyType.Basic256Sha256_Sign,
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
            ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
        ]
        folder = Path(options["folder"])
        uri = options.get("uri", "urn:twinway:test:server")
        await server.set_application_uri("urn:twinway:test:server")
        key, cert = folder / "key.pem", folder / "cert.der"
        if not cert.exists():
            ca = certificates.authority(folder) if options.get("ca") else None
            host, days = options.get("host", "127.0.0.1"), int(options.get("days", 300))
            certificates.make(folder, "", uri, host, days, ca)
        await server.load_certificate(str(cert))
        await server.load_private_key(str(key))
    server.set_security_policy(policies, permission_ruleset=SimpleRoleRuleset())
    if known is not None:
        server.set_identity_tokens([ua.X509IdentityToken])
    for n in range(int(options.get("shift", 0))):
        await server.register_namespace(f"http://twinway.test/other{n}")
    INDEX = await server.register_namespace(OURS)
    plant = await server.nodes.objects.add_object(own("Plant"), "Plant")
    made = await variables(server, plant)
    await methods(server, plant, made)
    if options.get("history"):
        await server.historize_node_data_change(made["Count"], period=None, count=100_000)
    if options.get("structure"):
        await structure(server, plant)
    async with server:
        bound = server.bserver._server.sockets[0].getsockname()[1]
        print("ready", bound, flush=True)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().strip():
            if line == "stop":
                break
            try:
                await obey(server, plant, made, line)
            except Exception as error:
                print("failed", line, error, flush=True)


if __name__ == "__main__":
    asyncio.run(main(dict(a.split("=", 1) for a in sys.argv[1:])))
