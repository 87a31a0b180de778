//! What a person asks of a server: browsing and reading.

use std::time::Duration;

use common::Clock;
use gateway_adapters::opcua::{Bounds, DeviceConfig, Kit, Security};
use gateway_opcua::NodeRef;
use gateway_opcua::pki::Application;
use opcua::types::{NodeClass, NodeId, StatusCode, VariantScalarTypeId};

use crate::rig::{Server, folder};

fn kit(root: &std::path::Path) -> Kit {
    let application = Application { name: "tool".into(), uri: "urn:twinway:test:tool".into(), hosts: vec![] };
    Kit::new(root.join("pki"), application, Clock::system())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_browsed_within_bounds_and_its_nodes_are_read() {
    let (_keep, place) = folder();
    let server = Server::start(&["many=2500"]);
    let kit = kit(&place);
    let mut config = DeviceConfig::new(server.url());
    config.security = Security::None;
    let tool = kit.tool(&config).await.unwrap();
    let objects = NodeId::objects_folder_id();
    let bounds = Bounds { depth: 20, nodes: 100_000, time: Duration::from_secs(30) };
    let all = tool.browse(objects.clone(), &bounds).await.unwrap();
    assert_eq!(all.cut, None);
    // More references of one node than the server gives in an answer: continuation points were followed.
    let many = all.nodes.iter().filter(|f| f.path.starts_with("Plant/Many")).count();
    assert_eq!(many, 2500);
    let of = |path: &str| all.nodes.iter().find(|f| f.path == path).unwrap();
    let speed = of("Plant/Speed");
    assert_eq!(
        (speed.scalar, speed.access, speed.array),
        (Some(VariantScalarTypeId::Int16), (true, true), None)
    );
    assert_eq!(of("Plant/Locked").access, (true, false));
    assert!(of("Plant/Zones").array.is_some());
    assert_eq!(of("Plant/Start").class, NodeClass::Method);
    assert_eq!(tool.name(&speed.node).to_string(), "nsu=http://twinway.test/plant;s=Speed");
    let few = tool.browse(objects, &Bounds { nodes: 100, ..bounds }).await.unwrap();
    assert_eq!(few.nodes.len(), 100);
    assert!(few.cut.unwrap().contains("more than 100"));
    let node = |text: &str| tool.node(&text.parse::<NodeRef>().unwrap()).unwrap();
    let read =
        tool.read(&[node("nsu=http://twinway.test/plant;s=Temp"), node("ns=2;s=Nothing")]).await.unwrap();
    assert_eq!((read[0].text.as_str(), read[0].status), ("20.5", StatusCode::Good));
    assert_eq!(read[1].status, StatusCode::BadNodeIdUnknown);
    tool.close().await;
    let none = kit.tool(&DeviceConfig::new("opc.tcp://127.0.0.1:1")).await;
    assert!(none.is_err_and(|e| e.to_string().contains("cannot reach")));
}
