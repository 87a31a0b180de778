"""A Sparkplug B node or host by pysparkplug, which we did not write. First argument: `node` or `host`; second: the
broker's port. Says in a line each what happens, and does what comes in lines.

node: a device `press` with `force` (Float) and `setpoint` (Int16, alias 77), which does as it is commanded. Lines:
      `force X`, `gone` (the device dies), `back`.
host: tells births and data of the device `plc`. Lines: `write NAME TYPE VALUE`.
"""

import sys

import pysparkplug as psp

role, port = sys.argv[1], int(sys.argv[2])


def say(*words):
    print(*words, flush=True)


def now():
    return psp.get_current_timestamp()


def node():
    force = psp.Metric(timestamp=now(), name="force", datatype=psp.DataType.FLOAT, value=1.5)
    setpoint = psp.Metric(timestamp=now(), name="setpoint", datatype=psp.DataType.INT16, value=-5, alias=77)
    edge = psp.EdgeNode("plant", "line2", (), client=psp.Client(client_id="line2"))

    def command(_, message):
        for metric in message.payload.metrics:
            say("command", metric.name, metric.alias, metric.datatype.name, metric.value)
            answer = psp.Metric(timestamp=now(), name="setpoint", datatype=psp.DataType.INT16,
                                value=metric.value, alias=77)
            edge.update_device("press", (answer,))

    device = psp.Device("press", (force, setpoint), cmd_callback=command)
    edge.register(device)
    edge.connect("127.0.0.1", port=port)
    say("ready")
    for line in sys.stdin:
        match line.split():
            case ["force", value]:
                metric = psp.Metric(timestamp=now(), name="force", datatype=psp.DataType.FLOAT, value=float(value))
                edge.update_device("press", (metric,))
            case ["gone"]:
                edge.deregister("press")
            case ["back"]:
                edge.register(device)
    edge.disconnect()


def host():
    client = psp.Client(client_id="host")

    def heard(_, message):
        topic, payload = message.topic, message.payload
        if topic.device_id not in (None, "plc"):
            return
        if isinstance(payload, (psp.DBirth, psp.DData)):
            for metric in payload.metrics:
                say(topic.message_type.value, metric.name or metric.alias, metric.datatype.name, metric.value)
        else:
            say(topic.message_type.value)

    every = psp.Topic(group_id="plant", message_type=psp.SINGLE_LEVEL_WILDCARD, edge_node_id="g1",
                      device_id=psp.MULTI_LEVEL_WILDCARD)
    client.subscribe(every, psp.QoS.AT_LEAST_ONCE, heard)
    client.connect("127.0.0.1", port=port, callback=lambda _: say("ready"))
    for line in sys.stdin:
        match line.split():
            case ["rebirth"]:
                metric = psp.Metric(timestamp=now(), name="Node Control/Rebirth",
                                    datatype=psp.DataType.BOOLEAN, value=True)
                topic = psp.Topic(group_id="plant", message_type=psp.MessageType.NCMD, edge_node_id="g1")
                payload = psp.NCmd(timestamp=now(), metrics=(metric,))
                client.publish(psp.Message(topic, payload, psp.QoS.AT_MOST_ONCE, False), include_dtypes=True)
            case ["write", name, kind, value]:
                metric = psp.Metric(timestamp=now(), name=name, datatype=psp.DataType[kind], value=int(value))
                topic = psp.Topic(group_id="plant", message_type=psp.MessageType.DCMD, edge_node_id="g1",
                                  device_id="plc")
                payload = psp.DCmd(timestamp=now(), metrics=(metric,))
                client.publish(psp.Message(topic, payload, psp.QoS.AT_MOST_ONCE, False), include_dtypes=True)
    client.disconnect()


{"node": node, "host": host}[role]()
