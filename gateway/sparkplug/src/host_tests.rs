//! The host's state under births, deaths, gaps and nonsense.

use proptest::prelude::*;

use super::*;

fn metric(name: &str, alias: u64, value: f64) -> Metric {
    Metric { alias: Some(alias), ..Metric::new(name, &Value::F64(value)) }
}

fn by_alias(alias: u64, value: f64) -> Metric {
    Metric { name: None, datatype: None, ..metric("", alias, value) }
}

fn payload(seq: u64, metrics: Vec<Metric>) -> Payload {
    Payload { timestamp_ms: Some(1000), seq: Some(seq), metrics }
}

fn bd(n: i64) -> Metric {
    Metric::new(BD_SEQ, &Value::I64(n))
}

fn born() -> Host {
    let mut host = Host::new();
    let steps = host.receive(Kind::NBirth, None, &payload(0, vec![bd(3), metric("n", 1, 1.0)]));
    assert_eq!(steps.len(), 2, "{steps:?}");
    let steps = host.receive(Kind::DBirth, Some("d"), &payload(1, vec![metric("t", 2, 2.0)]));
    assert_eq!(steps.len(), 2, "{steps:?}");
    host
}

fn read(steps: &[Step]) -> Vec<(String, f64)> {
    let one = |s: &Step| match s {
        Step::Value { device, metric, value: Ok(Some(Value::F64(x))), .. } => {
            Some((format!("{}/{metric}", device.as_deref().unwrap_or("-")), *x))
        }
        _ => None,
    };
    steps.iter().filter_map(one).collect()
}

fn reason(steps: &[Step]) -> &RebirthReason {
    let Some(Step::Rebirth(reason)) = steps.last() else { panic!("{steps:?}") };
    reason
}

#[test]
fn data_is_read_by_alias_or_name_with_the_births_type() {
    let mut host = born();
    let steps = host.receive(Kind::DData, Some("d"), &payload(2, vec![by_alias(2, 5.0)]));
    assert_eq!(read(&steps), [("d/t".to_owned(), 5.0)]);
    let steps = host.receive(Kind::NData, None, &payload(3, vec![metric("n", 1, 6.0)]));
    assert_eq!(read(&steps), [("-/n".to_owned(), 6.0)]);
    assert!(matches!(steps[0], Step::Value { timestamp_ms: Some(1000), historical: false, .. }));
}

#[test]
fn a_missing_number_makes_all_stale_until_the_next_birth() {
    let mut host = born();
    let steps = host.receive(Kind::DData, Some("d"), &payload(3, vec![by_alias(2, 5.0)]));
    assert_eq!(steps[0], Step::Dead { device: None });
    assert_eq!(*reason(&steps), RebirthReason::Gap { expected: 2, got: 3 });
    assert_eq!(steps.len(), 2, "nothing of it is believed");
    let steps = host.receive(Kind::DData, Some("d"), &payload(4, vec![by_alias(2, 5.0)]));
    assert_eq!(steps, [Step::Rebirth(RebirthReason::NodeUnborn)]);
    let steps = host.receive(Kind::NBirth, None, &payload(0, vec![bd(3)]));
    assert_eq!(steps, [Step::Born { device: None }]);
    let steps = host.receive(Kind::DData, Some("d"), &payload(1, vec![by_alias(2, 5.0)]));
    assert_eq!(*reason(&steps), RebirthReason::DeviceUnborn { device: "d".to_owned() });
}

#[test]
fn what_no_birth_named_asks_for_births() {
    for (device, metric, told) in [
        (Some("d"), by_alias(9, 1.0), "alias 9"),
        (Some("d"), by_alias(1, 1.0), "alias 1"),
        (None, metric("x", 1, 1.0), "metric `x`"),
        (None, Metric::default(), "a metric without name and alias"),
    ] {
        let mut host = born();
        let kind = if device.is_some() { Kind::DData } else { Kind::NData };
        let steps = host.receive(kind, device, &payload(2, vec![metric]));
        assert_eq!(*reason(&steps), RebirthReason::Unknown { metric: told.to_owned() });
        assert!(!host.is_born());
    }
}

#[test]
fn deaths_end_what_they_name_and_an_old_will_ends_nothing() {
    let mut host = born();
    let death = |n| Payload { metrics: vec![bd(n)], ..Payload::default() };
    assert_eq!(host.receive(Kind::NDeath, None, &death(2)), []);
    let steps = host.receive(Kind::DDeath, Some("d"), &payload(2, vec![]));
    assert_eq!(steps, [Step::Dead { device: Some("d".into()) }]);
    let steps = host.receive(Kind::NDeath, None, &death(3));
    assert_eq!(steps, [Step::Dead { device: None }]);
    assert_eq!(host.receive(Kind::NDeath, None, &death(3)), []);
    // Older ones go round the end of the numbers; the next one is a goodbye.
    for (died, ends) in [(3, true), (4, true), (2, false), (255, false), (200, false)] {
        assert_eq!(born().receive(Kind::NDeath, None, &death(died)).is_empty(), !ends, "{died}");
    }
}

#[test]
fn a_new_birth_of_the_node_ends_its_devices() {
    let mut host = born();
    let steps = host.receive(Kind::NBirth, None, &payload(0, vec![bd(4)]));
    assert_eq!(steps, [Step::Dead { device: Some("d".into()) }, Step::Born { device: None }]);
}

#[test]
fn a_device_that_is_born_again_has_new_aliases_only() {
    let mut host = born();
    host.receive(Kind::DBirth, Some("d"), &payload(2, vec![metric("t", 7, 2.0)]));
    let steps = host.receive(Kind::DData, Some("d"), &payload(3, vec![by_alias(7, 5.0)]));
    assert_eq!(read(&steps), [("d/t".to_owned(), 5.0)]);
    let steps = host.receive(Kind::DData, Some("d"), &payload(4, vec![by_alias(2, 5.0)]));
    assert!(matches!(reason(&steps), RebirthReason::Unknown { .. }));
}

/// `TWINWAY_FUZZ_CASES` makes a long run.
fn cases() -> u32 {
    std::env::var("TWINWAY_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

prop_compose! {
    fn any_message()(
        kind in prop_oneof![
            Just(Kind::NBirth), Just(Kind::NDeath), Just(Kind::NData), Just(Kind::DBirth), Just(Kind::DData),
            Just(Kind::DDeath), Just(Kind::DCmd),
        ],
        device in prop::option::of("[ab]"),
        seq in prop::option::of(0u64..6),
        aliases in prop::collection::vec((0u64..4, any::<bool>()), 0..3),
    ) -> (Kind, Option<String>, Payload) {
        let metrics = aliases
            .into_iter()
            .map(|(a, named)| if named { metric(&format!("m{a}"), a, 1.0) } else { by_alias(a, 1.0) })
            .collect();
        (kind, device, Payload { timestamp_ms: None, seq, metrics })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Values come only while born, and only with the next number.
    #[test]
    fn no_order_of_messages_gives_a_value_that_may_not_be_believed(
        messages in prop::collection::vec(any_message(), 0..40),
    ) {
        let mut host = Host::new();
        let mut last = None;
        for (kind, device, payload) in messages {
            let was_born = host.is_born();
            let steps = host.receive(kind, device.as_deref(), &payload);
            let has_value = steps.iter().any(|s| matches!(s, Step::Value { .. }));
            if has_value && kind != Kind::NBirth {
                prop_assert!(was_born);
            }
            if host.is_born() && kind != Kind::NDeath && kind != Kind::DCmd && (device.is_some() || !kind.has_device()) {
                if kind != Kind::NBirth {
                    prop_assert_eq!(payload.seq, last.map(|l: u64| (l + 1) & 0xff));
                }
                last = payload.seq;
            }
            if steps.iter().any(|s| matches!(s, Step::Rebirth(_))) {
                prop_assert!(!host.is_born());
            }
        }
    }
}

#[test]
fn a_metric_is_commanded_as_its_birth_names_and_types_it() {
    let mut host = born();
    let double = Address { alias: Some(2), datatype: DataType::Double };
    assert_eq!(host.address(Some("d"), "t"), Ok(double));
    assert_eq!(host.address(Some("d"), "n"), Err(Unreachable::Missing), "that is the node's");
    assert_eq!(host.address(Some("e"), "t"), Err(Unreachable::DeviceUnborn));
    let int8 = Metric { alias: None, ..Metric::of(DataType::Int8, Some(&Value::I64(1))) };
    let plain = Metric { name: Some("small".to_owned()), ..int8.clone() };
    let untyped = Metric { name: Some("bare".to_owned()), datatype: None, ..int8 };
    host.receive(Kind::DBirth, Some("e"), &payload(2, vec![plain, untyped]));
    assert_eq!(host.address(Some("e"), "small"), Ok(Address { alias: None, datatype: DataType::Int8 }));
    assert_eq!(host.address(Some("e"), "bare"), Err(Unreachable::Type { code: 0 }));
    // Two metrics with one alias: neither is written.
    host.receive(Kind::DBirth, Some("f"), &payload(3, vec![metric("a", 9, 1.0), metric("b", 9, 1.0)]));
    for name in ["a", "b"] {
        assert_eq!(host.address(Some("f"), name), Err(Unreachable::Ambiguous { alias: 9 }), "{name}");
    }
    host.receive(Kind::DDeath, Some("d"), &payload(4, vec![]));
    assert_eq!(host.address(Some("d"), "t"), Err(Unreachable::DeviceUnborn));
    host.receive(Kind::NDeath, None, &payload(0, vec![bd(3)]));
    assert_eq!(host.address(Some("e"), "small"), Err(Unreachable::NodeUnborn));
}
