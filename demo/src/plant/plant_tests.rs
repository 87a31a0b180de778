//! The line behaves as its documentation says.

use super::*;

fn run(plant: &mut Plant, set: &Setpoints, seconds: usize) {
    for _ in 0..seconds * 10 {
        plant.step(set, 0.1);
    }
}

#[test]
fn a_settled_line_is_on_its_setpoints_and_spoils_nothing() {
    let set = Setpoints::default();
    let mut plant = Plant::settled(&set, 1);
    run(&mut plant, &set, 120);
    for (zone, wanted) in plant.oven.zones.iter().zip(set.zone_degc) {
        assert!((zone.shown_degc - wanted).abs() < 3.0, "{zone:?}");
    }
    assert!((plant.line_m_min - set.line_m_min).abs() < 0.1);
    assert!(plant.oven.scorched_m == 0.0 && !plant.oven.scorched);
    assert!(plant.oven.moisture < 0.05, "{}", plant.oven.moisture);
    assert!((1.5..4.0).contains(&plant.density_g_cm3), "{}", plant.density_g_cm3);
    assert!(plant.thickness_um > FOIL_UM + 20.0);
}

#[test]
fn too_hot_an_oven_scorches_the_foil_and_a_cooler_one_stops_it() {
    let mut set = Setpoints::default();
    let mut plant = Plant::settled(&set, 2);
    set.zone_degc[1] = 200.0;
    run(&mut plant, &set, 120);
    assert!(plant.oven.scorched && plant.oven.scorched_m > 1.0, "{:?}", plant.oven);
    set.zone_degc[1] = 120.0;
    run(&mut plant, &set, 300);
    let spoiled = plant.oven.scorched_m;
    run(&mut plant, &set, 30);
    assert!(!plant.oven.scorched);
    assert!((plant.oven.scorched_m - spoiled).abs() < f64::EPSILON);
}

#[test]
fn a_cold_oven_leaves_the_film_wet() {
    let mut set = Setpoints::default();
    let mut plant = Plant::settled(&set, 3);
    set.zone_degc = [40.0; 3];
    run(&mut plant, &set, 600);
    assert!(plant.oven.moisture > 0.5, "{}", plant.oven.moisture);
}

#[test]
fn a_faster_line_makes_a_thinner_film() {
    let mut set = Setpoints::default();
    let mut plant = Plant::settled(&set, 4);
    let thick = plant.wet_um;
    set.line_m_min = 18.0;
    run(&mut plant, &set, 60);
    assert!(plant.wet_um < thick * 0.85, "{} {thick}", plant.wet_um);
}

#[test]
fn the_controller_cuts_the_heater_before_the_oven_burns() {
    let mut set = Setpoints::default();
    let mut plant = Plant::settled(&set, 5);
    set.zone_degc = [400.0; 3];
    set.line_m_min = 0.0;
    for _ in 0..20_000 {
        plant.step(&set, 0.1);
        assert!(plant.oven.zones.iter().all(|z| z.degc < 250.0));
    }
}

#[test]
fn without_the_pump_the_film_goes() {
    let mut set = Setpoints::default();
    let mut plant = Plant::settled(&set, 6);
    set.pump_on = false;
    run(&mut plant, &set, 60);
    assert!(plant.flow_l_min < 0.01 && plant.wet_um < 5.0, "{} {}", plant.flow_l_min, plant.wet_um);
}

#[test]
fn the_same_seed_gives_the_same_line() {
    let set = Setpoints::default();
    assert_eq!(Plant::settled(&set, 7), Plant::settled(&set, 7));
}
