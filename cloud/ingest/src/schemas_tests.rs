//! Tests of assembly and of what a schema must not be.

use common::wire::split_schema;
use common::{DeviceSchema, PointKind, PointSchema, TenantId, TwinId, ValueType};
use proptest::prelude::*;

use super::*;

fn key() -> GatewayKey {
    GatewayKey { tenant: TenantId::default(), gateway: "g1".parse().unwrap() }
}

fn point(name: &str) -> PointSchema {
    PointKind { description: "x".repeat(50), stale_ms: 1000, ..PointKind::new(ValueType::F64) }.named(name)
}

fn schema(devices: u32, points: u32) -> Schema {
    let key = key();
    let device = |d: u32| DeviceSchema {
        name: format!("d{d}"),
        twin: TwinId::derived(&key.tenant, &key.gateway, &format!("d{d}")),
        asset: format!("plant/area/line/d{d}"),
        description: String::new(),
        first_point: d * points,
        points: (0..points).map(|p| point(&format!("p{p}"))).collect(),
    };
    Schema {
        tenant: key.tenant.clone(),
        gateway: key.gateway.clone(),
        devices: (0..devices).map(device).collect(),
    }
}

fn put_all(assembly: &mut Assembly, schema: &Schema) -> Vec<u8> {
    let parts = split_schema(schema.hash(), &schema.to_json());
    let mut last = None;
    for part in parts {
        assert_eq!(last, None);
        last = assembly.put(part).unwrap();
    }
    last.expect("complete after the last part")
}

#[test]
fn a_schema_in_parts_is_read_back() {
    let big = schema(40, 100);
    let mut assembly = Assembly::default();
    let json = put_all(&mut assembly, &big);
    assert!(json.len() > 400_000);
    assert_eq!(read(&json, big.hash(), &key()), Ok(big));
    assert_eq!(assembly.bytes, 0);
}

#[test]
fn parts_out_of_order_or_with_a_wrong_hash_are_refused_and_doubled_ones_ignored() {
    let big = schema(40, 100);
    let parts = split_schema(big.hash(), &big.to_json());
    assert!(parts.len() > 2);
    let mut assembly = Assembly::default();
    assert!(matches!(assembly.put(parts[1].clone()), Err(SchemaError::Order { expected: 0, .. })));
    assert_eq!(assembly.put(parts[0].clone()), Ok(None));
    assert_eq!(assembly.put(parts[0].clone()), Ok(None));
    let mut wrong = split_schema(SchemaHash([9; 16]), b"{}");
    assert!(matches!(assembly.put(wrong.remove(0)), Err(SchemaError::Hash { .. })));
}

#[test]
fn more_than_the_limit_is_refused() {
    let mut assembly = Assembly::default();
    let part =
        |index| SchemaPart { hash: SchemaHash([1; 16]), index, count: u32::MAX, bytes: vec![0; 200_000] };
    let refused = (0..100).find_map(|i| assembly.put(part(i)).err());
    assert!(matches!(refused, Some(SchemaError::TooLarge { .. })));
}

#[test]
fn what_the_rest_of_the_cloud_takes_for_granted_is_checked() {
    let refused = |change: &dyn Fn(&mut Schema)| {
        let mut s = schema(2, 2);
        change(&mut s);
        read(&s.to_json(), s.hash(), &key()).unwrap_err().to_string()
    };
    assert!(refused(&|s| s.gateway = "g2".parse().unwrap()).contains("g2"));
    assert!(refused(&|s| s.tenant = "other".parse().unwrap()).contains("other"));
    assert!(refused(&|s| s.devices[1].name = "d0".into()).contains("twice"));
    assert!(refused(&|s| s.devices[1].name = "a/b".into()).contains("not a name"));
    assert!(refused(&|s| s.devices[1].twin = s.devices[0].twin).contains("two devices"));
    assert!(refused(&|s| s.devices[1].asset = s.devices[0].asset.clone()).contains("twice"));
    assert!(refused(&|s| s.devices[1].asset = "plant//x".into()).contains("not a name"));
    assert!(refused(&|s| s.devices[1].asset = "a/b/c/d/e/f/g/h/i".into()).contains("more than 8"));
    assert!(refused(&|s| s.devices[1].first_point = 1).contains("overlap"));
    assert!(refused(&|s| s.devices[1].first_point = u32::MAX).contains("too large"));
    assert!(refused(&|s| s.devices[1].points[1].name = "p0".into()).contains("twice"));
    let s = schema(1, 1);
    let mut spaced = s.to_json();
    spaced.push(b' ');
    let hash = Schema::hash_of(&spaced);
    assert!(read(&spaced, hash, &key()).unwrap_err().to_string().contains("canonical"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        parts in prop::collection::vec((0..3u8, 0..4u32, 0..4u32, prop::collection::vec(any::<u8>(), 0..40)), 0..20)
    ) {
        let mut assembly = Assembly::default();
        for (hash, index, count, bytes) in parts {
            let _ = assembly.put(SchemaPart { hash: SchemaHash([hash; 16]), index, count, bytes: bytes.clone() });
            let _ = read(&bytes, SchemaHash([hash; 16]), &key());
        }
    }
}
