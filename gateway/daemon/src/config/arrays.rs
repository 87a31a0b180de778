//! Arrays: one `[[device.point]]` with `modbus = { ..., array = n }` is n points, `<name>_0` to `<name>_<n-1>`, which
//! have everything else in common. Names follow from the place in the array alone, so they stay when others come.

use super::sections::PointSection;

/// The points that a section stands for. One whose array is wrong stays as it is, and `points` tells what is wrong.
pub(super) fn expand(section: PointSection) -> Vec<PointSection> {
    let Some(place) = section.modbus.as_ref().filter(|m| m.array.is_some() && m.check().is_ok()) else {
        return vec![section];
    };
    let named = |(end, element)| PointSection {
        name: format!("{}{end}", section.name),
        modbus: Some(element),
        ..section.clone()
    };
    place.elements().into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use common::config::Source;

    fn load(array: &str) -> Result<Config, String> {
        let text = format!(
            "[gateway]\nid = \"g\"\n[[device]]\nname = \"d\"\nasset = \"s/d\"\n[device.modbus]\nhost = \"h\"\n\
             [[device.point]]\nname = \"zone\"\ntype = \"f64\"\nscale = 0.1\n\
             modbus = {{ table = \"input\", address = 5, {array} }}\n\
             [[device.point]]\nname = \"last\"\ntype = \"f64\"\nmodbus = {{ table = \"input\", address = 90 }}\n"
        );
        Config::from_sources(vec![Source { path: "0.toml".into(), text }]).map_err(|e| e.to_string())
    }

    #[test]
    fn an_array_is_as_many_points_in_order() {
        let config = load("type = \"i16\", array = 3, stride = 4").unwrap();
        let names: Vec<_> = config.registry.points().map(|p| p.schema.name.to_string()).collect();
        assert_eq!(names, ["zone_0", "zone_1", "zone_2", "last"]);
        let places: Vec<_> =
            config.devices[0].point.iter().map(|p| p.modbus.as_ref().unwrap().address).collect();
        assert_eq!(places, [5, 9, 13, 90]);
        let error = load("array = 0").unwrap_err();
        assert!(error.contains("0.toml:12:") && error.contains("number of elements"), "{error}");
    }
}
