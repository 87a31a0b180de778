//! The tunnel oven: three heated zones, and the web that passes through them.

use super::lag;

/// Above this the binder burns, degC.
pub const SCORCH_DEGC: f64 = 165.0;
/// The oven's controller cuts a heater above this, degC, whatever the setpoint.
const TRIP_DEGC: f64 = 240.0;
/// Length of a zone, m.
const ZONE_M: f64 = 2.0;
/// Degrees a second at full heat.
const HEAT_DEGC_S: f64 = 6.0;

/// One zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Air temperature, degC.
    pub degc: f64,
    /// What its sensor shows, degC; 3 s behind.
    pub shown_degc: f64,
    /// Heater, 0 to 1.
    pub power: f64,
    /// Web temperature at the end of the zone, degC.
    pub web_degc: f64,
    /// Whether the controller has cut the heater.
    pub tripped: bool,
    integral: f64,
}

/// All zones and the web.
#[derive(Debug, Clone, PartialEq)]
pub struct Oven {
    /// In the order of the web.
    pub zones: [Zone; 3],
    /// Water left in the film at the exit, 0 to 1.
    pub moisture: f64,
    /// Whether the web at the exit is scorched now.
    pub scorched: bool,
    /// Length scorched so far, m.
    pub scorched_m: f64,
    moisture_in: [f64; 3],
}

impl Oven {
    /// A cold oven.
    pub fn new(hall_degc: f64) -> Self {
        let zone = Zone {
            degc: hall_degc,
            shown_degc: hall_degc,
            power: 0.0,
            web_degc: hall_degc,
            tripped: false,
            integral: 0.0,
        };
        Self {
            zones: [zone.clone(), zone.clone(), zone],
            moisture: 1.0,
            scorched: false,
            scorched_m: 0.0,
            moisture_in: [1.0; 3],
        }
    }

    /// Lets `dt` seconds pass.
    pub fn step(&mut self, setpoints: &[f64; 3], line_m_min: f64, wet_um: f64, hall_degc: f64, dt: f64) {
        let stay_s = ZONE_M / (line_m_min / 60.0).max(0.01);
        let mut web = hall_degc;
        let mut moisture = 1.0;
        for (at, (zone, set)) in self.zones.iter_mut().zip(setpoints).enumerate() {
            zone.heat(*set, line_m_min * wet_um * moisture, hall_degc, dt);
            let end = zone.degc + (web - zone.degc) * (-stay_s / 6.0).exp();
            zone.web_degc = lag(zone.web_degc, end, stay_s.min(20.0), dt);
            web = zone.web_degc;
            let rate = (web - 50.0).max(0.0) * 0.006 / (wet_um.max(20.0) / 150.0);
            let left = moisture * (-rate * stay_s.min(60.0)).exp();
            self.moisture_in[at] = lag(self.moisture_in[at], left, stay_s.min(20.0), dt);
            moisture = self.moisture_in[at];
        }
        self.moisture = moisture;
        let hottest = self.zones.iter().map(|z| z.web_degc).fold(f64::MIN, f64::max);
        self.scorched = hottest > SCORCH_DEGC;
        if self.scorched {
            self.scorched_m += line_m_min / 60.0 * dt;
        }
    }
}

impl Zone {
    /// A PI controller, as the oven's controller runs it, on a heater with loss to the hall and to the wet web.
    fn heat(&mut self, set: f64, load: f64, hall_degc: f64, dt: f64) {
        self.tripped = self.degc > TRIP_DEGC || (self.tripped && self.degc > TRIP_DEGC - 20.0);
        let error = set - self.shown_degc;
        let wanted = error * 0.05 + self.integral;
        // No wind-up while the heater is at its end.
        if (0.0..=1.0).contains(&wanted) || (wanted > 1.0) == (error < 0.0) {
            self.integral = (self.integral + error * 0.002 * dt).clamp(0.0, 1.0);
        }
        self.power = if self.tripped { 0.0 } else { wanted.clamp(0.0, 1.0) };
        let loss = (self.degc - hall_degc) * 0.018 + load * 0.000_25;
        self.degc += (self.power * HEAT_DEGC_S - loss) * dt;
        self.degc = self.degc.max(hall_degc - 5.0);
        self.shown_degc = lag(self.shown_degc, self.degc, 3.0, dt);
    }
}
