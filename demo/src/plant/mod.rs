//! The coating line's physics: how an electrode coating line answers its setpoints. First-order lags,
//! couplings and noise; good enough that a wrong setpoint spoils foil as it would in a plant, and no
//! better. Pure: time comes in as `dt`, noise from a seed.
//!
//! What flows where: the mixer makes slurry, the pump feeds it to the coater, the coater lays a wet film
//! on the foil, three oven zones dry it, the press densifies it, the winder takes it up.
//!
//! | part | model |
//! |---|---|
//! | mixer | level falls with the flow and is refilled at 20 %; viscosity follows agitation and temperature, 30 s |
//! | pump | flow follows speed, 2 s; pressure grows with flow and viscosity |
//! | coater | line speed follows its setpoint, 4 s; wet film = slurry per area, at most the gap |
//! | oven zone | PI controller on a heater, loss to the hall, load of wet web; heater cut off at 240 degC |
//! | web | nears each zone's temperature with the time it stays there; water leaves above 50 degC |
//! | scorch | web above 165 degC burns the binder: the length that passes is scorched |
//! | press | thickness follows gap and dry film, 1 s; density from both |
//! | winder | length and diameter grow with speed; a full roll is changed |

mod noise;
mod oven;

pub use noise::Noise;
pub use oven::{Oven, SCORCH_DEGC, Zone};

/// Width of the coated foil, m.
const WIDTH_M: f64 = 0.3;
/// Temperature of the hall, degC.
const HALL_DEGC: f64 = 22.0;
/// Thickness of the bare foil, um.
const FOIL_UM: f64 = 12.0;
/// Solids in the slurry by volume.
const SOLIDS: f64 = 0.45;

/// Setpoints and switches, as the PLC and the oven's controller hold them.
#[derive(Debug, Clone, PartialEq)]
pub struct Setpoints {
    /// Agitator speed, rpm.
    pub agitator_rpm: f64,
    /// Pump on.
    pub pump_on: bool,
    /// Pump speed, percent.
    pub pump_percent: f64,
    /// Line speed, m/min.
    pub line_m_min: f64,
    /// Coating gap, um.
    pub coat_gap_um: f64,
    /// Oven zones, degC.
    pub zone_degc: [f64; 3],
    /// Roll gap of the press, um.
    pub press_gap_um: f64,
    /// Web tension at the winder, N.
    pub tension_n: f64,
}

impl Default for Setpoints {
    fn default() -> Self {
        Self {
            agitator_rpm: 120.0,
            pump_on: true,
            pump_percent: 55.0,
            line_m_min: 12.0,
            coat_gap_um: 260.0,
            zone_degc: [95.0, 120.0, 105.0],
            press_gap_um: 80.0,
            tension_n: 90.0,
        }
    }
}

/// What sensors see.
#[derive(Debug, Clone, PartialEq)]
pub struct Plant {
    /// Mixer level, percent.
    pub level_percent: f64,
    /// Slurry temperature, degC.
    pub slurry_degc: f64,
    /// Slurry viscosity, Pa s.
    pub viscosity_pa_s: f64,
    /// Agitator speed, rpm.
    pub agitator_rpm: f64,
    /// Pump flow, l/min.
    pub flow_l_min: f64,
    /// Pump pressure, bar.
    pub pressure_bar: f64,
    /// Pump vibration, mm/s.
    pub vibration_mm_s: f64,
    /// Line speed, m/min.
    pub line_m_min: f64,
    /// Wet film, um.
    pub wet_um: f64,
    /// Oven and web.
    pub oven: Oven,
    /// Thickness after the press, um.
    pub thickness_um: f64,
    /// Density of the coating after the press, g/cm3.
    pub density_g_cm3: f64,
    /// Press force, kN.
    pub press_kn: f64,
    /// Web tension, N.
    pub tension_n: f64,
    /// Length on the roll, m.
    pub length_m: f64,
    /// Diameter of the roll, mm.
    pub diameter_mm: f64,
    /// Rolls finished.
    pub rolls: u64,
    /// Hall temperature, degC.
    pub hall_degc: f64,
    /// Hall humidity, percent.
    pub hall_humidity_percent: f64,
    noise: Noise,
}

impl Plant {
    /// A line that has run on `setpoints` for a while, with noise from `seed`.
    pub fn settled(setpoints: &Setpoints, seed: u64) -> Self {
        let mut plant = Self {
            level_percent: 80.0,
            slurry_degc: 25.0,
            viscosity_pa_s: 2.5,
            agitator_rpm: setpoints.agitator_rpm,
            flow_l_min: 0.0,
            pressure_bar: 0.0,
            vibration_mm_s: 0.0,
            line_m_min: 0.0,
            wet_um: 0.0,
            oven: Oven::new(HALL_DEGC),
            thickness_um: FOIL_UM,
            density_g_cm3: 0.0,
            press_kn: 0.0,
            tension_n: setpoints.tension_n,
            length_m: 0.0,
            diameter_mm: 0.0,
            rolls: 0,
            hall_degc: HALL_DEGC,
            hall_humidity_percent: 45.0,
            noise: Noise::new(seed),
        };
        for _ in 0..6000 {
            plant.step(setpoints, 0.1);
        }
        plant.level_percent = 80.0;
        plant.length_m = 120.0;
        plant.rolls = 0;
        plant.oven.scorched_m = 0.0;
        plant
    }

    /// Lets `dt` seconds pass (at most 1 s a step).
    pub fn step(&mut self, set: &Setpoints, dt: f64) {
        let dt = dt.clamp(0.0, 1.0);
        self.mix_and_pump(set, dt);
        self.coat(set, dt);
        self.oven.step(&set.zone_degc, self.line_m_min, self.wet_um, self.hall_degc, dt);
        self.press_and_wind(set, dt);
        self.hall_degc = lag(self.hall_degc, HALL_DEGC + self.noise.next() * 2.0, 300.0, dt);
        self.hall_humidity_percent =
            lag(self.hall_humidity_percent, 45.0 + self.noise.next() * 6.0, 300.0, dt);
    }

    fn mix_and_pump(&mut self, set: &Setpoints, dt: f64) {
        self.agitator_rpm = lag(self.agitator_rpm, set.agitator_rpm, 3.0, dt);
        let warm = HALL_DEGC + self.agitator_rpm * 0.03;
        self.slurry_degc = lag(self.slurry_degc, warm, 60.0, dt);
        // Shear thins, warmth thins; still slurry thickens.
        let thick =
            2.5 * (120.0 / self.agitator_rpm.max(20.0)).powf(0.4) * (-0.02 * (self.slurry_degc - 25.0)).exp();
        self.viscosity_pa_s = lag(self.viscosity_pa_s, thick, 30.0, dt);
        let has_slurry = self.level_percent > 2.0;
        let wanted = if set.pump_on && has_slurry { set.pump_percent * 0.014 } else { 0.0 };
        self.flow_l_min = lag(self.flow_l_min, wanted, 2.0, dt);
        self.pressure_bar = self.flow_l_min * self.viscosity_pa_s * 1.3 + self.noise.next() * 0.02;
        self.vibration_mm_s = (0.4 + self.flow_l_min * 0.9 + self.noise.next() * 0.1).max(0.0);
        // 200 l in the tank; a fresh batch comes at 20 %.
        self.level_percent -= self.flow_l_min / 60.0 * dt / 2.0;
        if self.level_percent < 20.0 {
            self.level_percent = 95.0;
        }
    }

    fn coat(&mut self, set: &Setpoints, dt: f64) {
        self.line_m_min = lag(self.line_m_min, set.line_m_min.max(0.0), 4.0, dt);
        // Litres over square metres: um of film, as far as the gap lets it through.
        let area_m2_min = (self.line_m_min * WIDTH_M).max(0.05);
        let film_um = self.flow_l_min / area_m2_min * 1000.0;
        self.wet_um =
            lag(self.wet_um, film_um.min(set.coat_gap_um) + self.noise.next() * 0.6, 1.0, dt).max(0.0);
    }

    fn press_and_wind(&mut self, set: &Setpoints, dt: f64) {
        let dry_um = self.wet_um * (SOLIDS + (1.0 - SOLIDS) * self.oven.moisture);
        let loose_um = FOIL_UM + dry_um * 1.25;
        let squeezed = loose_um.min(set.press_gap_um.max(FOIL_UM + dry_um * 0.8));
        self.thickness_um = lag(self.thickness_um, squeezed + self.noise.next() * 0.3, 1.0, dt);
        self.press_kn = ((loose_um - squeezed) * 4.0 + 2.0 + self.noise.next() * 0.2).max(0.0);
        let coat_um = (self.thickness_um - FOIL_UM).max(1.0);
        self.density_g_cm3 = (2.9 * dry_um / coat_um).clamp(0.0, 4.5);
        self.tension_n = lag(self.tension_n, set.tension_n + self.noise.next() * 1.5, 0.8, dt);
        self.length_m += self.line_m_min / 60.0 * dt;
        // A roll on a 76 mm core: area of the spiral = length x thickness.
        let core_mm = 76.0f64;
        let wound_mm2 = self.length_m * 1000.0 * self.thickness_um / 1000.0;
        self.diameter_mm = (core_mm * core_mm + wound_mm2 * 4.0 / std::f64::consts::PI).sqrt();
        if self.length_m >= 1500.0 {
            self.length_m = 0.0;
            self.rolls += 1;
        }
    }
}

/// One step of a first-order lag.
fn lag(now: f64, target: f64, tau_s: f64, dt: f64) -> f64 {
    now + (target - now) * (1.0 - (-dt / tau_s).exp())
}

#[cfg(test)]
#[path = "plant_tests.rs"]
mod tests;
