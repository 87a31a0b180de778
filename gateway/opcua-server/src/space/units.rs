//! Engineering units as OPC UA tells them (part 8, 5.6.3): the number of a UNECE code where the unit has one.

use opcua::types::{EUInformation, LocalizedText};

const UNECE: &str = "http://www.opcfoundation.org/UA/units/un/cefact";

/// UCUM or plain text, and the common code of UNECE recommendation 20.
const CODES: &[(&str, &str)] = &[
    ("Cel", "CEL"),
    ("degC", "CEL"),
    ("°C", "CEL"),
    ("[degF]", "FAH"),
    ("°F", "FAH"),
    ("K", "KEL"),
    ("%", "P1"),
    ("1", "C62"),
    ("m", "MTR"),
    ("mm", "MMT"),
    ("cm", "CMT"),
    ("km", "KMT"),
    ("um", "4H"),
    ("µm", "4H"),
    ("m2", "MTK"),
    ("m3", "MTQ"),
    ("l", "LTR"),
    ("L", "LTR"),
    ("ml", "MLT"),
    ("s", "SEC"),
    ("ms", "C26"),
    ("us", "B98"),
    ("min", "MIN"),
    ("h", "HUR"),
    ("d", "DAY"),
    ("kg", "KGM"),
    ("g", "GRM"),
    ("mg", "MGM"),
    ("t", "TNE"),
    ("N", "NEW"),
    ("kN", "B47"),
    ("N.m", "NU"),
    ("Nm", "NU"),
    ("Pa", "PAL"),
    ("hPa", "A97"),
    ("kPa", "KPA"),
    ("MPa", "MPA"),
    ("bar", "BAR"),
    ("mbar", "MBR"),
    ("J", "JOU"),
    ("kJ", "KJO"),
    ("W", "WTT"),
    ("kW", "KWT"),
    ("MW", "MAW"),
    ("W.h", "WHR"),
    ("Wh", "WHR"),
    ("kW.h", "KWH"),
    ("kWh", "KWH"),
    ("MWh", "MWH"),
    ("V.A", "D46"),
    ("VA", "D46"),
    ("kVA", "KVA"),
    ("var", "D44"),
    ("kvar", "KVR"),
    ("V", "VLT"),
    ("mV", "2Z"),
    ("kV", "KVT"),
    ("A", "AMP"),
    ("mA", "4K"),
    ("Ohm", "OHM"),
    ("Hz", "HTZ"),
    ("kHz", "KHZ"),
    ("MHz", "MHZ"),
    ("rad", "C81"),
    ("deg", "DD"),
    ("m/s", "MTS"),
    ("m/min", "2X"),
    ("km/h", "KMH"),
    ("m/s2", "MSK"),
    ("mm/s", "C16"),
    ("m3/h", "MQH"),
    ("m3/s", "MQS"),
    ("l/min", "L2"),
    ("L/min", "L2"),
    ("l/h", "E32"),
    ("kg/h", "E93"),
    ("g/l", "GL"),
    ("kg/m3", "KMQ"),
    ("1/min", "RPM"),
    ("/min", "RPM"),
    ("rpm", "RPM"),
    ("{rev}/min", "RPM"),
    ("dB", "2N"),
    ("lx", "LUX"),
    ("lm", "LUM"),
    ("cd", "CDL"),
    ("mol", "C34"),
    ("S/m", "D10"),
    ("[ppm]", "59"),
    ("ppm", "59"),
    ("[pH]", "Q30"),
    ("pH", "Q30"),
];

/// A unit, and the namespace of those that UNECE does not have.
pub(crate) fn information(unit: &str, own_namespace: &str) -> EUInformation {
    let code = CODES.iter().find(|(u, _)| *u == unit).map(|(_, code)| *code);
    EUInformation {
        namespace_uri: if code.is_some() { UNECE } else { own_namespace }.into(),
        unit_id: code.map_or(-1, number),
        display_name: LocalizedText::new("", unit),
        description: LocalizedText::new("", code.unwrap_or_default()),
    }
}

/// The letters of a code as the bytes of a number.
fn number(code: &str) -> i32 {
    code.bytes().fold(0, |n, byte| n << 8 | i32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_the_numbers_of_the_standard_s_own_table() {
        assert_eq!(information("Cel", "x").unit_id, 4_408_652);
        assert_eq!(information("%", "x").unit_id, 20_529);
        let unknown = information("furlong", "urn:x");
        assert_eq!((unknown.unit_id, unknown.namespace_uri.as_ref()), (-1, "urn:x"));
    }

    #[test]
    fn no_unit_stands_twice() {
        let mut units: Vec<_> = CODES.iter().map(|(u, _)| *u).collect();
        units.sort_unstable();
        assert!(units.windows(2).all(|w| w[0] != w[1]));
    }
}
