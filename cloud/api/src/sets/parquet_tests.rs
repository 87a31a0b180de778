//! What is written is read back by the crate's own reader. That others read it is shown by `tests/tests/history_export.rs`.

use common::Quality;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use super::*;

#[test]
fn every_kind_of_value_comes_back() {
    let row = |n: i64, value| ExportRow { t_us: n, received_us: n + 5, quality: Quality::GOOD, value };
    let rows = [
        row(1, Some(Value::F64(0.1))),
        row(2, Some(Value::I64(-7))),
        row(3, Some(Value::U64(u64::MAX))),
        row(4, Some(Value::Bool(true))),
        row(5, Some("text".into())),
        ExportRow { quality: Quality::BAD_TIMEOUT, ..row(6, None) },
    ];
    let mut parquet = Parquet::new().unwrap();
    let mut file = parquet.rows("plant/oven", "a", &rows).unwrap();
    assert!(!file.is_empty(), "a page can be sent before the end");
    file.extend(parquet.rows("plant/oven", "b", &rows[..1]).unwrap());
    file.extend(parquet.end().unwrap());
    let reader = SerializedFileReader::new(axum::body::Bytes::from(file)).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2);
    let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), 7);
    let at = |i: usize| &read[i];
    assert_eq!(
        (at(0).get_string(0).unwrap().as_str(), at(0).get_string(1).unwrap().as_str()),
        ("plant/oven", "a")
    );
    assert_eq!((at(0).get_timestamp_micros(2).unwrap(), at(0).get_timestamp_micros(3).unwrap()), (1, 6));
    assert_eq!(at(0).get_double(5).unwrap(), 0.1);
    assert_eq!((at(1).get_double(5).unwrap(), at(1).get_long(6).unwrap()), (-7.0, -7));
    assert_eq!(at(2).get_string(7).unwrap(), &u64::MAX.to_string());
    assert_eq!(at(3).get_long(6).unwrap(), 1);
    assert_eq!(at(4).get_string(7).unwrap(), "text");
    assert_eq!(at(5).get_string(4).unwrap(), "bad_timeout");
    assert!((5..8).all(|c| at(5).get_column_iter().nth(c).unwrap().1 == &parquet::record::Field::Null));
    assert_eq!(at(6).get_string(1).unwrap(), "b");
}

/// A file can have 32,767 row groups: more points than that must not each be one, nor each page of a waveform.
#[test]
fn more_points_than_a_file_can_have_row_groups_fit() {
    let row = ExportRow { t_us: 1, received_us: 2, quality: Quality::GOOD, value: Some(Value::F64(0.5)) };
    let mut parquet = Parquet::new().unwrap();
    let mut file = Vec::new();
    for n in 0..40_000 {
        file.extend(
            parquet.rows("plant/oven", &format!("p{n}"), &[row.clone(), row.clone(), row.clone()]).unwrap(),
        );
    }
    file.extend(parquet.end().unwrap());
    let reader = SerializedFileReader::new(axum::body::Bytes::from(file)).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 3, "the first page, a full group, and the rest");
    let mut read = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    for n in 0..120_000 {
        assert_eq!(read.next().unwrap().get_string(1).unwrap(), &format!("p{}", n / 3));
    }
    assert!(read.next().is_none());
}
