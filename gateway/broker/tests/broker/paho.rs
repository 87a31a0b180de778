//! paho in Python, a client that others wrote, in both versions: what most programs on a box speak.

use std::process::Stdio;

use tokio::process::Command;
use tokio::time::timeout;

use crate::rig::*;

const SCRIPT: &str = r#"
import sys, threading
import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

port = int(sys.argv[1])
for version in (mqtt.MQTTv311, mqtt.MQTTv5):
    for qos in (0, 1, 2):
        got, done, ready = [], threading.Event(), threading.Event()
        c = mqtt.Client(client_id=f"paho-{version}-{qos}", protocol=version)
        c.on_subscribe = lambda *a: ready.set()
        def on_message(c, u, m):
            got.append((m.topic, m.qos, m.payload))
            if len(got) == 300:
                done.set()
        c.on_message = on_message
        c.will_set("wills/paho", b"gone", qos=1)
        c.connect("127.0.0.1", port)
        c.loop_start()
        c.subscribe(f"paho/{version}/#", qos=qos)
        assert ready.wait(20), "no SUBACK"
        for n in range(300):
            if version == mqtt.MQTTv5:
                p = Properties(PacketTypes.PUBLISH)
                p.UserProperty = ("n", str(n))
                p.MessageExpiryInterval = 60
                c.publish(f"paho/{version}/{n % 7}", str(n), qos=qos, properties=p)
            else:
                c.publish(f"paho/{version}/{n % 7}", str(n), qos=qos)
        assert done.wait(20), f"{len(got)} of 300 at QoS {qos}"
        assert [int(p) for _, _, p in got] == list(range(300)), "order"
        assert all(q == qos for _, q, _ in got), "QoS"
        c.disconnect()
        c.loop_stop()
print("ok")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn paho_speaks_both_versions_in_every_qos() {
    let rig = Rig::start(|_| {}).await;
    let run = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT, &rig.addr().port().to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT * 3, run).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"ok\n", "{told}");
    assert!(rig.drops.list().iter().all(|(_, n)| *n == 0), "{:?}", rig.drops.list());
    rig.stop().await;
}
