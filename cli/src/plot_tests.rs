//! Tests of the plot.

use common::Quality;
use common::api::Resolution;

use super::*;

const SIZE: Size = Size { columns: 60, rows: 14 };

fn raw(t_us: i64, value: Option<f64>) -> HistoryPoint {
    let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
    HistoryPoint::raw(t_us, value.map(Value::F64), quality)
}

fn history(points: Vec<HistoryPoint>) -> HistoryResponse {
    let (from_us, to_us) = (1_795_000_000_000_000, 1_795_000_100_000_000);
    HistoryResponse {
        twin: "line1/oven".into(),
        point: "t".into(),
        unit: "Cel".into(),
        from_us,
        to_us,
        resolution: Resolution::Raw,
        points: points
            .into_iter()
            .map(|p| HistoryPoint { t_us: from_us + p.t_us * 1_000_000, ..p })
            .collect(),
        gaps: vec![],
        times: None,
    }
}

fn dots(text: &str) -> u32 {
    text.chars()
        .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
        .map(|c| (c as u32 - 0x2800).count_ones())
        .sum()
}

#[test]
fn a_ramp_runs_from_corner_to_corner_and_fits_the_terminal() {
    let text = plot(&history((0..=100).map(|t| raw(t, Some(t as f64))).collect()), SIZE).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() <= usize::from(SIZE.rows), "{text}");
    assert!(lines.iter().all(|l| l.width() <= usize::from(SIZE.columns)), "{text}");
    assert_eq!(lines[0], "line1/oven t [Cel]");
    assert!(lines[1].starts_with("100 ┤") && lines[1].width() == usize::from(SIZE.columns), "{text}");
    assert!(lines[9].starts_with("  0 ┤"), "{text}");
    assert!(lines[5].starts_with(" 50 ┤"), "{text}");
    assert!(lines[9].chars().nth(5).unwrap() > '\u{2800}', "{text}");
    assert!(lines.last().unwrap().contains("2026-11-18T11:06:40.000Z"), "{text}");
}

#[test]
fn a_bad_sample_breaks_the_line_and_is_marked() {
    let whole = plot(&history(vec![raw(0, Some(0.0)), raw(100, Some(1.0))]), SIZE).unwrap();
    let broken = plot(&history(vec![raw(0, Some(0.0)), raw(50, None), raw(100, Some(1.0))]), SIZE).unwrap();
    assert!(dots(&whole) > 50);
    assert_eq!(dots(&broken), 2);
    assert!(broken.contains('×') && !whole.contains('×'));
}

#[test]
fn a_roll_up_shows_a_band_around_its_mean() {
    let bucket = |t| HistoryPoint {
        min: Some(0.0),
        max: Some(10.0),
        mean: Some(5.0),
        count: 9,
        good: 9,
        ..raw(t, Some(5.0))
    };
    let band = plot(&history((0..=100).map(bucket).collect()), SIZE).unwrap();
    let line = plot(&history((0..=100).map(|t| raw(t, Some(5.0))).collect()), SIZE).unwrap();
    assert!(dots(&band) > 10 * dots(&line), "{band}");
    assert!(band.contains("10 ┤"));
}

#[test]
fn a_constant_and_the_ends_of_floats_are_plotted_and_text_is_not() {
    assert!(dots(&plot(&history(vec![raw(0, Some(3.0)), raw(100, Some(3.0))]), SIZE).unwrap()) > 50);
    let far = history(vec![raw(0, Some(f64::MIN)), raw(100, Some(f64::MAX)), raw(50, Some(f64::NAN))]);
    assert!(plot(&far, Size { columns: 0, rows: 0 }).is_some());
    let text = HistoryPoint { value: Some("a".into()), ..raw(0, None) };
    assert_eq!(plot(&history(vec![text]), SIZE), None);
    assert_eq!(plot(&history(vec![]), SIZE), None);
}
